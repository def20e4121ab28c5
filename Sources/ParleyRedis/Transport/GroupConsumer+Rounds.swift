internal import CoreMetrics
internal import Logging
internal import ParleyCore
internal import ParleyMessaging
internal import ParleyRESP
internal import Synchronization

// How a consumer comes by its entries: rounds of a sign of life, a look at what others have left, and reading.
extension GroupConsumer {
    /// Consumes as long as there are subscribers; then gives back what is left.
    func drive() async {
        var failures = 0
        var isFirst = true
        while self.state.withLock({ $0.isWanted }), !Task.isCancelled {
            do {
                try await self.consume(mayHaveMore: !isFirst)
                failures = 0
            } catch {
                guard !Task.isCancelled else { break }
                failures += 1
                self.hasFailed(error)
                do { try await self.link.pause(afterFailures: failures) } catch { break }
            }
            isFirst = false
        }
        await self.giveBack()
        self.state.withLock { $0.isDriven = false }
        self.signal.ring()
    }

    private func hasFailed(_ error: any Error) {
        self.link.logger.warning(
            "A consumer of the stream has ended, trying again",
            metadata: ["messaging.group": "\(self.name)", "error": "\(error)"]
        )
        // What is permanent for a command need not be for the group: it was deleted, and will be made again.
        guard let error = error as? RESPError, error.retry == .permanent, error.code != .noGroup else { return }
        self.state.withLock { $0.failure = StreamLink.messagingError(error) }
        self.signal.ring()
    }

    /// - Parameter mayHaveMore: Whether the server may have given this consumer entries that never got here.
    private func consume(mayHaveMore: Bool) async throws {
        try await self.makeGroup()
        if mayHaveMore { try await self.fetchOwn() }
        let client = self.link.client
        try await client.withConnection { connection in
            guard let number = try await connection.send(["CLIENT", "ID"]).integer else { return }
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask { try await self.goRound(on: connection) }
                tasks.addTask {
                    // A read that is cut off may have been answered; one that is ended by the server has not.
                    await self.waitUntilUnwanted()
                    _ = try? await client.send(["CLIENT", "UNBLOCK", RESPArgument(number)])
                }
                defer { tasks.cancelAll() }
                try await tasks.next()
                try await tasks.next()
            }
        }
    }

    private func waitUntilUnwanted() async {
        while !Task.isCancelled {
            let generation = self.signal.generation
            if self.state.withLock({ !$0.isWanted }) { return }
            await self.signal.wait(after: generation, until: nil, on: self.link.time)
        }
    }

    /// What one consumer remembers from round to round.
    private struct Rounds {
        var beatDue: ContinuousClock.Instant
        var lookDue: ContinuousClock.Instant
        var isActive = false
        /// Whether what former processes have left is still being taken over: nothing new is read before, so that a
        /// key's messages stay in order.
        var isTakingOver = false
        var cursor: StreamID?
    }

    private func goRound(on connection: RESPConnection) async throws {
        let time = self.link.time
        var rounds = Rounds(beatDue: time.now, lookDue: time.now)
        while self.state.withLock({ $0.isWanted }) {
            try Task.checkCancellation()
            let generation = self.signal.generation
            let lease = self.group.lease
            if time.now >= rounds.beatDue {
                let isActive = try await self.beat()
                if isActive, !rounds.isActive {
                    rounds.isTakingOver = true
                    rounds.cursor = nil
                }
                rounds.isActive = isActive
                rounds.beatDue = time.now.advanced(by: min(lease / 4, .seconds(isActive ? 5 : 1)))
            }
            if rounds.isActive, rounds.isTakingOver || time.now >= rounds.lookDue {
                try await self.look(&rounds, lease: lease)
            }
            let wake = rounds.isActive ? min(rounds.beatDue, rounds.lookDue) : rounds.beatDue
            let room = self.room
            guard rounds.isActive, !rounds.isTakingOver, room > 0 else {
                await self.signal.wait(after: generation, until: wake, on: time)
                continue
            }
            try await self.read(room, until: wake, on: connection)
        }
    }

    private var room: Int {
        let window = min(10_000, max(1, self.link.configuration.window))
        return self.state.withLock { max(0, window - $0.known.count) }
    }

    private func beat() async throws -> Bool {
        let began = self.link.time.now
        let (group, ids) = self.state.withLock { ($0.queue.group, Array($0.known.keys)) }
        var isActive = true
        // A script holds up everybody else on the server, so none is long.
        for start in stride(from: 0, to: max(1, ids.count), by: 500) {
            let part = Array(ids[start..<min(ids.count, start + 500)])
            let beat = try await self.link.beat(group, holding: part)
            isActive = isActive && beat.isActive
            if let declaration = beat.declaration {
                self.adopt(declaration)
            } else {
                // Somebody has emptied the server: what others should know of the group is written again.
                let known = self.state.withLock { $0.declaration.json }
                _ = try await self.link.client.hset(self.link.keys.groups, [self.name: RESPArgument(known)])
            }
            for id in beat.lost {
                guard let sequence = self.state.withLock({ $0.known[id]?.sequence }) else { continue }
                self.forget(sequence)
            }
        }
        // Some room, so that what is handed out at the very end has not been claimed on its way.
        self.state.withLock { $0.leasedUntil = isActive ? began.advanced(by: group.lease * 9 / 10) : nil }
        self.signal.ring()
        return isActive
    }

    /// Looks at what others have left, and what was laid aside.
    private func look(_ rounds: inout Rounds, lease: Duration) async throws {
        let group = self.group
        var room = self.room
        var pages = rounds.isTakingOver ? 20 : 2
        while room > 0, pages > 0 {
            let claim = try await self.link.claim(
                group,
                after: rounds.cursor,
                limit: room,
                fromAll: rounds.isTakingOver && self.link.configuration.sharing == .oneProcess
            )
            for claimed in claim.claimed { self.take(claimed) }
            self.report(claim.claimed.count, lost: claim.gone)
            rounds.cursor = claim.cursor
            if claim.cursor == nil {
                rounds.isTakingOver = false
                break
            }
            pages -= 1
            room = self.room
        }
        room = self.room
        var next: Duration?
        if room > 0 {
            let due = try await self.link.unpark(group.name, limit: min(room, 500))
            for claimed in due.claimed { self.take(claimed) }
            self.report(0, lost: due.gone)
            next = due.next
        }
        let pause = min(max(lease / 4, .milliseconds(50)), .seconds(1))
        let isLookingOn = rounds.isTakingOver && room > 0
        let wait = isLookingOn ? .zero : min(pause, next.map { max($0, .milliseconds(5)) } ?? pause)
        rounds.lookDue = self.link.time.now.advanced(by: wait)
    }

    private func report(_ claimed: Int, lost: [StreamID]) {
        if claimed > 0 { self.metrics?.claimed.increment(by: Int64(claimed)) }
        guard !lost.isEmpty else { return }
        self.metrics?.lost.increment(by: Int64(lost.count))
        self.link.logger.warning(
            "Entries were trimmed or deleted before they were handled",
            metadata: [
                "messaging.group": "\(self.name)", "entries": "\(lost.prefix(10).map(\.description))",
                "count": "\(lost.count)",
            ]
        )
    }

    private func read(_ room: Int, until wake: ContinuousClock.Instant, on connection: RESPConnection) async throws {
        let wait = self.link.time.now.duration(to: wake)
        let entries: [StreamEntry]
        do throws(RESPError) {
            entries =
                try await connection.xreadGroup(
                    self.name,
                    consumer: self.link.consumer,
                    [(self.link.keys.stream, .new)],
                    count: min(room, 500),
                    block: max(.milliseconds(1), min(wait, .seconds(1)))
                )[self.link.keys.stream] ?? []
        } catch {
            guard error.code == .unblocked, !self.state.withLock({ $0.isWanted }) else { throw error }
            return
        }
        guard !entries.isEmpty else { return }
        try await self.sort(entries.map { StreamLink.Claimed(entry: $0, deliveries: 1) }, areNew: true)
    }

    /// Keeps what the group takes and acknowledges the rest, by the declaration that holds on the server: one that has
    /// been extended a moment ago must not lose what it was extended for.
    private func sort(_ entries: [StreamLink.Claimed], areNew: Bool) async throws {
        var rest = entries
        while true {
            let declaration = self.state.withLock { $0.declaration.json }
            var foreign: [StreamID] = []
            rest = rest.filter { claimed in
                if self.take(claimed, isNew: areNew) { return false }
                foreign.append(claimed.entry.id)
                return true
            }
            self.signal.ring()
            guard !foreign.isEmpty else { return }
            guard let newer = try await self.link.skip(foreign, of: self.name, judgedBy: declaration) else { return }
            // One that cannot be read keeps these entries pending: whoever declares the group anew gets them.
            guard self.adopt(newer) else { return }
        }
    }

    /// - Parameter isNew: Read just now: counted by the server, and handed to nobody.
    /// - Returns: `false` when the message is none of the group's.
    @discardableResult
    func take(_ claimed: StreamLink.Claimed, isNew: Bool = false) -> Bool {
        let incoming = self.link.coding.incoming(claimed.entry)
        let time = self.link.time
        let due = claimed.due.map { Timestamp(microseconds: $0.multipliedReportingOverflow(by: 1_000).partialValue) }
        let isTaken = self.state.withLock { state in
            let id = claimed.entry.id
            if state.known[id] != nil { return true }
            // What was taken once stays taken, whatever the bindings have become.
            if isNew, !state.declaration.takes(incoming, at: id) { return false }
            state.known[id] = .init(sequence: state.nextSequence, count: claimed.deliveries)
            state.lastSeen = max(state.lastSeen ?? id, id)
            state.queue.append(
                incoming.message,
                Handle(entry: claimed.entry),
                sequence: state.nextSequence,
                publishedAt: incoming.publishedAt,
                attempts: isNew ? 0 : claimed.deliveries,
                due: due.flatMap { $0 > time.wallTime ? $0 : nil }
            )
            state.nextSequence += 1
            return true
        }
        if !isNew { self.signal.ring() }
        return isTaken
    }

    // MARK: The group on the server

    /// Makes the group when somebody has deleted it, or the stream with it: from where this process had come to, or
    /// from the beginning. What was handled may come again; nothing is passed over.
    private func makeGroup() async throws {
        let position = self.state.withLock { state -> StreamID in
            guard let first = state.known.keys.min() else { return state.lastSeen ?? .zero }
            return StreamID(first.milliseconds, first.sequence).predecessor
        }
        do throws(RESPError) {
            try await self.link.client.xgroupCreate(self.link.keys.stream, self.name, from: .after(position))
        } catch {
            guard error.code == .groupExists else { throw error }
            return
        }
        self.link.logger.warning(
            "The consumer group was not there and has been made again",
            metadata: ["messaging.group": "\(self.name)", "from": "\(position)"]
        )
    }

    /// Fetches what the server counts as this consumer's and is not known here: the answer that held it was lost.
    private func fetchOwn() async throws {
        var last: StreamID?
        while true {
            let page = try await self.ownPending(after: last)
            for pending in page {
                if self.state.withLock({ $0.known[pending.id] != nil }) { continue }
                let found = try await self.link.client.xrange(
                    self.link.keys.stream,
                    from: pending.id,
                    through: pending.id
                )
                guard let entry = found.first else {
                    try await self.link.client.xack(self.link.keys.stream, self.name, [pending.id])
                    self.report(0, lost: [pending.id])
                    continue
                }
                let isUnseen = pending.deliveries == 1
                let claimed = StreamLink.Claimed(entry: entry, deliveries: pending.deliveries)
                try await self.sort([claimed], areNew: isUnseen)
            }
            guard page.count == Self.page else { return }
            last = page.last?.id
        }
    }

    private static let page = 200

    private func ownPending(after last: StreamID?) async throws -> [PendingEntry] {
        try await self.link.client.xpending(
            self.link.keys.stream,
            self.name,
            from: last?.successor,
            count: Self.page,
            consumer: self.link.consumer
        )
    }

    // MARK: The end

    /// Gives everything back: others claim it at once, and what no handler has seen is not counted.
    private func giveBack() async {
        let attempts = self.state.withLock { state in
            defer {
                for sequence in state.queue.entries.keys { state.queue.remove(sequence) }
                state.known = [:]
                state.doubtful = []
                state.leasedUntil = nil
            }
            return Dictionary(
                state.queue.entries.values.map { ($0.payload.entry.id, $0.attempts) },
                uniquingKeysWith: { first, _ in first }
            )
        }
        do {
            var last: StreamID?
            while true {
                let page = try await self.ownPending(after: last)
                let words = page.flatMap { pending -> [RESPArgument] in
                    let count = attempts[pending.id] ?? (pending.deliveries == 1 ? 0 : pending.deliveries)
                    return [RESPArgument("\(pending.id)"), RESPArgument(count)]
                }
                if !words.isEmpty {
                    _ = try await self.link.client.eval(
                        StreamScripts.release,
                        keys: [self.link.keys.stream],
                        arguments: [
                            RESPArgument(self.name), RESPArgument(self.link.consumer),
                            RESPArgument(StreamKeys.released), RESPArgument(Self.idleOfReleased),
                        ] + words
                    )
                }
                guard page.count == Self.page else { break }
                last = page.last?.id
            }
            _ = try await self.link.client.eval(
                StreamScripts.resign,
                keys: [self.link.keys.active(self.name)],
                arguments: [RESPArgument(self.link.consumer)]
            )
        } catch {
            if Task.isCancelled { return }
            self.link.logger.warning(
                "Messages could not be given back; others take them when the lease has run out",
                metadata: ["messaging.group": "\(self.name)", "messages": "\(attempts.count)", "error": "\(error)"]
            )
        }
    }

    /// Longer than any lease, in milliseconds: whoever looks next may have it.
    private static let idleOfReleased: Int64 = 7_200_000
}

extension StreamID {
    var successor: StreamID {
        self.sequence == .max
            ? StreamID(self.milliseconds == .max ? .max : self.milliseconds + 1)
            : StreamID(self.milliseconds, self.sequence + 1)
    }

    var predecessor: StreamID {
        if self.sequence > 0 { return StreamID(self.milliseconds, self.sequence - 1) }
        return self.milliseconds > 0 ? StreamID(self.milliseconds - 1, .max) : .zero
    }
}
