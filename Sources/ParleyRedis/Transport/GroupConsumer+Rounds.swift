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
        while self.state.withLock({ $0.isWanted }), !Task.isCancelled {
            let began = self.link.time.now
            do {
                try await self.consume()
                failures = 0
            } catch {
                guard !Task.isCancelled else { break }
                // One that held for a while was good.
                failures = began.duration(to: self.link.time.now) > .seconds(1) ? 1 : failures + 1
                self.hasFailed(error)
                do { try await self.link.pause(afterFailures: failures) } catch { break }
            }
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

    private func consume() async throws {
        try await self.makeGroup()
        try await self.releaseUnknown()
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
                rounds.beatDue = time.now.advanced(by: min(lease / 4, .seconds(1)))
            }
            if rounds.isActive, rounds.isTakingOver || time.now >= rounds.lookDue {
                try await self.look(&rounds, lease: lease)
            }
            // What was just done may have taken long: nothing is read under a role that is over.
            if time.now >= rounds.beatDue { continue }
            let wake = rounds.isActive ? min(rounds.beatDue, rounds.lookDue) : rounds.beatDue
            let room = self.room
            guard rounds.isActive, !rounds.isTakingOver, room > self.worthReading else {
                await self.signal.wait(after: generation, until: wake, on: time)
                continue
            }
            try await self.read(room, until: wake, on: connection)
        }
    }

    private var window: Int { min(10_000, max(1, self.link.configuration.window)) }

    private var room: Int {
        let window = self.window
        return self.state.withLock { state in
            let held = state.known.count
            guard held >= window, held < window * 10 else { return max(0, window - held) }
            return max(0, window - (held - state.queue.waitingForTime))
        }
    }

    /// A full window is not refilled for each message that is done with.
    private var worthReading: Int {
        self.state.withLock { $0.known.count } > self.window / 2 ? self.window / 8 : 0
    }

    private func beat() async throws -> Bool {
        let began = self.link.time.now
        let (group, entries) = self.state.withLock { state in
            let entries = state.known.map { id, known in
                (id: id, count: state.queue.entries[known.sequence]?.attempts ?? known.count)
            }
            return (state.queue.group, entries)
        }
        var isActive = true
        // A script holds up everybody else on the server, so none is long.
        for start in stride(from: 0, to: max(1, entries.count), by: 500) {
            let beat = try await self.link.beat(
                group,
                holding: Array(entries[start..<min(entries.count, start + 500)])
            )
            isActive = isActive && beat.isActive
            if let declaration = beat.declaration {
                self.adopt(declaration)
            } else {
                // Somebody has emptied the server: what others should know of the group is written again.
                let known = self.state.withLock { $0.declaration.json }
                try await self.link.client.send([
                    "HSETNX", RESPArgument(self.link.keys.groups), RESPArgument(self.name), RESPArgument(known),
                ])
            }
            for (ids, isGone) in [(beat.lost, false), (beat.gone, true)] {
                for id in ids {
                    guard let sequence = self.state.withLock({ $0.known[id]?.sequence }) else { continue }
                    // What is being settled just now is gone because of that.
                    let isSettling = self.state.withLock { $0.settling.contains(sequence) }
                    if !isSettling { self.forget(sequence, isLost: isGone) }
                }
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
        // Many entries that lie aside must not hide those of a process that has died.
        var pages = 20
        while room > 0, pages > 0 {
            let claim = try await self.claiming {
                try await self.link.claim(
                    group,
                    after: rounds.cursor,
                    limit: room,
                    fromAll: rounds.isTakingOver && self.link.configuration.sharing == .oneProcess
                )
            }
            try await self.sort(claim.claimed)
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
            let due = try await self.claiming { try await self.link.unpark(group, limit: min(room, self.batch)) }
            try await self.sort(due.claimed)
            self.report(0, lost: due.gone)
            next = due.next
        }
        let pause = min(max(lease / 4, .milliseconds(50)), .seconds(1))
        let isLookingOn = rounds.isTakingOver && room > 0
        let wait = isLookingOn ? .zero : min(pause, next.map { max($0, .milliseconds(5)) } ?? pause)
        rounds.lookDue = self.link.time.now.advanced(by: wait)
    }

    /// Remembers that an answer with entries was lost.
    private func claiming<Value>(_ body: () async throws -> sending Value) async throws -> sending Value {
        do {
            return try await body()
        } catch {
            if error.retrySafety == .mayHaveRun { self.state.withLock { $0.isClaimInDoubt = true } }
            throw error
        }
    }

    /// So many entries are asked for at a time that an answer stays below ``StreamLink/bytesOfAReply``.
    private var batch: Int {
        let bytes = self.state.withLock { $0.entryBytes }
        return min(500, max(1, StreamLink.bytesOfAReply / max(1, bytes)))
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
        let wait = max(.milliseconds(1), min(self.link.time.now.duration(to: wake), .seconds(1)))
        let entries: [StreamEntry]
        do throws(RESPError) {
            entries =
                try await connection.xreadGroup(
                    self.name,
                    consumer: self.link.consumer,
                    [(self.link.keys.stream, .new)],
                    count: min(room, self.batch),
                    block: wait,
                    deadline: self.link.deadline(of: self.group, blocking: wait)
                )[self.link.keys.stream] ?? []
        } catch {
            if error.retry == .mayHaveRun { self.state.withLock { $0.isReadInDoubt = true } }
            guard error.code == .unblocked, !self.state.withLock({ $0.isWanted }) else { throw error }
            return
        }
        guard !entries.isEmpty else { return }
        let mayFollow = self.group.maximumDeliveries > 1
        // Read counts as handed out; where that is the only chance, a message that nobody saw would have lost it.
        if !mayFollow { try await self.link.recount(entries.map { ($0.id, 0) }, of: self.name) }
        let count = mayFollow ? 1 : 0
        try await self.sort(entries.map { StreamLink.Claimed(entry: $0, deliveries: count) }, areUnseen: true)
    }

    /// Keeps what the group takes and acknowledges the rest, by the declaration that holds on the server: one that has
    /// been extended a moment ago must not lose what it was extended for.
    ///
    /// - Parameter areUnseen: Whether no handler has had them, though they count as handed out.
    private func sort(_ entries: [StreamLink.Claimed], areUnseen: Bool = false) async throws {
        var rest = entries
        while !rest.isEmpty {
            let judge = self.state.withLock { $0.declaration }
            rest = rest.filter { !self.take($0, isUnseen: areUnseen, judgedBy: judge) }
            self.signal.ring()
            guard !rest.isEmpty else { return }
            guard let newer = try await self.link.skip(rest.map(\.entry.id), of: self.name, judgedBy: judge.json) else {
                return
            }
            self.adopt(newer)
            guard self.state.withLock({ $0.declaration.json }) != judge.json else {
                // They stay pending, and are given back and looked at again.
                throw MessagingError(
                    .invalidGroup,
                    "the declaration of the group '\(self.name)' in Redis cannot be read; declare the group again",
                    retry: .notSent
                )
            }
        }
    }

    /// - Parameter judge: What says whether the group takes it; `nil` when that was said before.
    /// - Returns: `false` when the message is none of the group's.
    @discardableResult
    func take(
        _ claimed: StreamLink.Claimed,
        isUnseen: Bool = false,
        judgedBy judge: GroupDeclaration? = nil
    ) -> Bool {
        let incoming = self.link.coding.incoming(claimed.entry)
        let id = claimed.entry.id
        if let judge, !judge.takes(incoming, at: id) { return false }
        let due = claimed.wait.flatMap { $0 > .zero ? self.link.time.wallTime + $0 : nil }
        let bytes = claimed.entry.fields.reduce(0) { $0 + $1.name.count + $1.value.count }
        self.state.withLock { state in
            // It was lost and has come back before that was noticed: what the server says now is right.
            if let former = state.known[id] { state.queue.remove(former.sequence) }
            state.known[id] = .init(sequence: state.nextSequence, count: claimed.deliveries)
            state.entryBytes = (state.entryBytes * 7 + bytes) / 8
            state.queue.append(
                incoming.message,
                Handle(entry: claimed.entry),
                sequence: state.nextSequence,
                publishedAt: incoming.publishedAt,
                attempts: isUnseen ? 0 : claimed.deliveries,
                due: due
            )
            state.nextSequence += 1
        }
        return true
    }

    // MARK: The group on the server

    /// Makes the group when somebody has deleted it, or the stream with it: from the beginning of what there is. What
    /// was handled comes again, and an inbox knows it; what lay aside, or with another process, would be lost.
    private func makeGroup() async throws {
        do throws(RESPError) {
            try await self.link.client.xgroupCreate(self.link.keys.stream, self.name, from: .after(.zero))
        } catch {
            guard error.code == .groupExists else { throw error }
            return
        }
        self.link.logger.warning(
            "The consumer group was not there and has been made again, from the stream's beginning",
            metadata: ["messaging.group": "\(self.name)", "redis.stream": "\(self.link.keys.stream)"]
        )
    }

    /// Gives back what the server counts as this consumer's and is not known here: the answer that held it was lost, or
    /// it could not be given back before. The next look takes it up as it does others' entries, each in its time.
    private func releaseUnknown() async throws {
        // Only what was lost on the way of a read has been seen by nobody.
        let areUnseen = self.state.withLock { $0.isReadInDoubt && !$0.isClaimInDoubt }
        let client = self.link.client
        var last: StreamID?
        while true {
            let page = try await self.ownPending(after: last, of: client)
            let unknown = page.filter { pending in self.state.withLock { $0.known[pending.id] == nil } }
            try await self.release(unknown, counting: [:], areUnseen: areUnseen, by: client)
            guard page.count == Self.page else { break }
            last = page.last?.id
        }
        self.state.withLock { state in
            state.isReadInDoubt = false
            state.isClaimInDoubt = false
        }
    }

    private func release(
        _ entries: [PendingEntry],
        counting attempts: [StreamID: Int],
        areUnseen: Bool,
        by executor: some RESPExecutor
    ) async throws {
        try await self.link.hand(
            entries.map { entry in
                (entry.id, attempts[entry.id] ?? (areUnseen && entry.deliveries == 1 ? 0 : entry.deliveries))
            },
            of: self.name,
            to: StreamKeys.released,
            idle: StreamLink.idleOfReleased,
            by: executor
        )
    }

    private static let page = 200

    private func ownPending(after last: StreamID?, of executor: some RESPExecutor) async throws -> [PendingEntry] {
        try await executor.xpending(
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
        let (attempts, areUnseen) = self.state.withLock { state in
            let attempts = Dictionary(
                state.queue.entries.values.map { ($0.payload.entry.id, $0.attempts) },
                uniquingKeysWith: { first, _ in first }
            )
            state.queue = LaneQueue(group: state.queue.group)
            state.known = [:]
            state.doubtful = []
            state.leasedUntil = nil
            return (attempts, state.isReadInDoubt && !state.isClaimInDoubt)
        }
        // Whoever ends the process does not wait for long; whoever subscribes again gives back what is left.
        let executor = self.link.client.within(Deadline(self.link.time.now.advanced(by: .seconds(3))))
        for failures in 1...3 {
            do {
                return try await self.giveBack(counting: attempts, areUnseen: areUnseen, by: executor)
            } catch {
                if Task.isCancelled { return }
                guard failures < 3, error.retrySafety != .permanent else {
                    self.link.logger.warning(
                        "Messages could not be given back; others take them when the lease has run out",
                        metadata: [
                            "messaging.group": "\(self.name)", "messages": "\(attempts.count)", "error": "\(error)",
                        ]
                    )
                    return
                }
                do { try await self.link.pause(afterFailures: failures) } catch { return }
            }
        }
    }

    private func giveBack(
        counting attempts: [StreamID: Int],
        areUnseen: Bool,
        by executor: some RESPExecutor
    ) async throws {
        while true {
            // What was given back is this consumer's no more, so the first page is always the next.
            let page = try await self.ownPending(after: nil, of: executor)
            try await self.release(page, counting: attempts, areUnseen: areUnseen, by: executor)
            if page.count < Self.page { break }
        }
        _ = try await executor.eval(
            StreamScripts.resign,
            keys: [self.link.keys.active(self.name)],
            arguments: [RESPArgument(self.link.consumer)]
        )
    }
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
