internal import CoreMetrics
internal import Logging
internal import ParleyCore
internal import ParleyMessaging
internal import ParleyRESP
internal import Synchronization

/// What this process has of one consumer group: the entries that Redis counts as its consumer's, in lanes by their
/// keys, and the subscriptions that they are handed to.
///
/// The pending list on the server is the truth: its owner says whose an entry is, its idle time when that one last gave
/// a sign of life, its count how often the entry was handed to a handler. Reading counts as the first time, because a
/// handler usually follows; where none does, the count is set back when the entry is given back.
final class GroupConsumer: Sendable {
    /// What is known of an entry beside its message.
    struct Handle: Sendable {
        let entry: StreamEntry
    }

    struct State {
        var queue: LaneQueue<Handle>
        /// The entries in the queue, and what the server counts for each.
        var known: [StreamID: Known] = [:]
        var declaration: GroupDeclaration
        var subscribers = 0
        /// Whether ``drive()`` is at work, which is from the first subscriber until everything has been given back.
        var isDriven = false
        /// Until when nobody may have claimed what is here; without a sign of life, nothing is handed out after it.
        var leasedUntil: ContinuousClock.Instant?
        /// Being settled: a second settlement finds them gone already.
        var settling: Set<Int64> = []
        /// Settled, as far as one knows: the answer was lost.
        var doubtful: Set<Int64> = []
        /// Which answers with entries were lost: what the server then counts as this consumer's is not all known here.
        var isReadInDoubt = false
        var isClaimInDoubt = false
        /// About how long an entry is, in bytes.
        var entryBytes = 0
        var nextSequence: Int64 = 1
        var nextHolder: UInt64 = 1
        /// Why nothing will ever come, as far as one can tell.
        var failure: MessagingError?
        var isClosed = false

        struct Known {
            var sequence: Int64
            var count: Int
        }

        var isWanted: Bool { self.subscribers > 0 && !self.isClosed }
    }

    let name: String
    let link: StreamLink
    let metrics: StreamMetrics.Group?
    let state: Mutex<State>
    let signal = Signal()

    init(_ declaration: GroupDeclaration, link: StreamLink) {
        self.name = declaration.group.name
        self.link = link
        self.metrics = link.metrics.group(declaration.group.name)
        self.state = Mutex(State(queue: LaneQueue(group: declaration.group), declaration: declaration))
    }

    var group: ConsumerGroup { self.state.withLock { $0.queue.group } }

    /// What of the group is here.
    var statistics: GroupStatistics { self.state.withLock { $0.queue.statistics(deadLettered: 0) } }

    func redeclare(_ declaration: GroupDeclaration) {
        self.state.withLock { state in
            state.queue.redeclare(declaration.group)
            state.declaration = declaration
        }
        self.signal.ring()
    }

    /// Takes a declaration as it is in Redis; one that cannot be read changes nothing.
    ///
    /// - Returns: Whether it is another one.
    @discardableResult
    func adopt(_ json: String) -> Bool {
        guard self.state.withLock({ $0.declaration.json != json }) else { return false }
        do {
            self.redeclare(try GroupDeclaration(json, of: self.name))
            return true
        } catch {
            self.link.logger.warning(
                "A consumer group's declaration cannot be read",
                metadata: ["messaging.group": "\(self.name)", "error": "\(error)"]
            )
            return false
        }
    }

    // MARK: Subscribing

    func join() async throws -> UInt64 {
        // A drive that is about to end gives everything back first.
        while true {
            let generation = self.signal.generation
            let (holder, isFirst): (UInt64?, Bool) = self.state.withLock { state in
                if state.isDriven && state.subscribers == 0 && !state.isClosed { return (nil, false) }
                state.subscribers += 1
                state.nextHolder += 1
                state.failure = nil
                defer { state.isDriven = true }
                return (state.nextHolder, !state.isDriven)
            }
            if isFirst { self.link.start { await self.drive() } }
            if let holder { return holder }
            try Task.checkCancellation()
            await self.signal.wait(after: generation, until: nil, on: self.link.time)
        }
    }

    /// Gives back what the subscription holds. After the last one, returns when Redis has everything back.
    func leave(_ holder: UInt64) async {
        self.state.withLock { state in
            state.queue.release(holder: holder)
            state.subscribers -= 1
        }
        // After the last one, this ends the drive.
        self.signal.ring()
        while !Task.isCancelled {
            let generation = self.signal.generation
            if self.state.withLock({ !$0.isDriven || $0.isWanted || $0.isClosed }) { return }
            await self.signal.wait(after: generation, until: nil, on: self.link.time)
        }
    }

    /// The transport has ended.
    func close() {
        self.state.withLock { $0.isClosed = true }
        self.signal.ring()
    }

    /// The next delivery for a subscription, or `nil` when the transport has ended.
    func next(holder: UInt64, prefetch: Int) async throws -> Delivery? {
        while true {
            try Task.checkCancellation()
            let generation = self.signal.generation
            let time = self.link.time
            let now = time.wallTime
            let instant = time.now
            let (taken, isClosed, failure) = self.state.withLock { state in
                let isFull = state.queue.held[holder] ?? 0 >= prefetch
                let isLeased = state.leasedUntil.map { instant < $0 } ?? false
                let mayTake = !isFull && isLeased && !state.isClosed
                return (mayTake ? state.queue.take(holder: holder, now: now) : nil, state.isClosed, state.failure)
            }
            if isClosed { return nil }
            var nextDue: Timestamp?
            switch taken {
            case .delivery(let delivery):
                guard try await self.isCounted(delivery) else { continue }
                self.metrics?.delivered.increment()
                return delivery
            case .exhausted(let entry):
                await self.bury(entry)
                continue
            case .nothing(let due):
                if let failure { throw failure }
                nextDue = due
            case nil:
                if let failure { throw failure }
            }
            await self.signal.wait(after: generation, until: nextDue.map { time.instant(of: $0) }, on: time)
        }
    }

    /// Writes the hand-out down before it happens, where the server's count does not say so already.
    ///
    /// `false` when the message is not this process's any more.
    private func isCounted(_ delivery: Delivery) async throws -> Bool {
        let (entry, count) = self.state.withLock { state in
            let entry = state.queue.holding(delivery.id)
            return (entry, entry.flatMap { state.known[$0.payload.entry.id]?.count })
        }
        guard let entry, let count else { return false }
        guard entry.attempts != count else { return true }
        do {
            let holding = try await self.link.change(
                StreamScripts.begin,
                [self.link.keys.stream, self.link.keys.waits(self.name)],
                self.name,
                entry.payload.entry.id,
                [RESPArgument(entry.attempts)]
            )
            guard holding == .held else {
                self.forget(delivery.id.sequence, isLost: holding == .gone)
                return false
            }
            self.state.withLock { $0.known[entry.payload.entry.id]?.count = entry.attempts }
            return true
        } catch {
            self.state.withLock { state in
                state.queue.untake(delivery.id)
                // Whether it was written is not known: the next time it is written again.
                state.known[entry.payload.entry.id]?.count = -1
            }
            self.signal.ring()
            try Task.checkCancellation()
            self.link.logger.warning(
                "A delivery could not be counted, so it waits",
                metadata: ["message.id": "\(entry.message.id)", "error": "\(error)"]
            )
            try await self.link.pause(afterFailures: 3)
            return false
        }
    }

    /// Drops an entry that is not this consumer's any more.
    func forget(_ sequence: Int64, isLost: Bool = false) {
        let message = self.state.withLock { state -> Message? in
            guard let entry = state.queue.entries[sequence] else { return nil }
            state.queue.remove(sequence)
            state.known[entry.payload.entry.id] = nil
            state.doubtful.remove(sequence)
            return entry.message
        }
        if isLost, let message {
            self.metrics?.lost.increment()
            self.link.logger.warning(
                "A message was trimmed, deleted or acknowledged by somebody else before it was handled",
                metadata: ["message.id": "\(message.id)", "messaging.group": "\(self.name)"]
            )
        }
        self.signal.ring()
    }

    // MARK: Settling

    func settle(_ id: Delivery.ID, _ settlement: Settlement) async throws {
        let entry = self.state.withLock { state -> LaneQueue<Handle>.Entry? in
            guard let entry = state.queue.holding(id), state.settling.insert(id.sequence).inserted else { return nil }
            return entry
        }
        guard let entry else { throw self.leaseLost(id) }
        defer {
            _ = self.state.withLock { $0.settling.remove(id.sequence) }
            self.signal.ring()
        }
        let holding: StreamLink.Holding
        do throws(RESPError) {
            holding = try await self.store(entry, settlement)
        } catch {
            self.hasNotSettled(id, error)
            // With the group its pending list has gone: this delivery is nobody's any more.
            if error.code == .noGroup { throw self.leaseLost(id) }
            throw StreamLink.messagingError(error)
        }
        // An entry that nobody has any more was settled by the try whose answer was lost.
        let isSettled = self.state.withLock { state in
            holding == .held || (holding == .gone && state.doubtful.contains(id.sequence))
        }
        guard isSettled else {
            self.forget(id.sequence, isLost: holding == .gone)
            throw self.leaseLost(id)
        }
        self.metrics?.settled.increment()
        if case .retry(let wait) = settlement, entry.attempts < self.group.maximumDeliveries,
            self.isKeptHere(entry, wait)
        {
            let now = self.link.time.wallTime
            self.state.withLock { state in
                state.settling.remove(id.sequence)
                _ = state.queue.settle(id, settlement, now: now)
                state.doubtful.remove(id.sequence)
            }
        } else {
            self.forget(id.sequence)
        }
    }

    private func hasNotSettled(_ id: Delivery.ID, _ error: RESPError) {
        if error.code == .noGroup {
            self.forget(id.sequence)
            return
        }
        let later = self.link.time.wallTime + Self.afterRefusal
        self.state.withLock { state in
            if error.retry == .mayHaveRun { state.doubtful.insert(id.sequence) }
            // The caller gives up, and nobody else would ever have it.
            if error.retry == .permanent { state.queue.postpone(id, until: later) }
        }
    }

    /// How long an entry waits that the server refuses to settle: somebody has to mend something first.
    private static let afterRefusal: Duration = .seconds(5)

    private func leaseLost(_ id: Delivery.ID) -> MessagingError {
        MessagingError(
            .leaseLost,
            "delivery \(id.sequence) of group '\(id.group)' is no longer this consumer's",
            retry: .permanent
        )
    }

    /// A key's order is kept by holding its message here: laid aside, the others would overtake it.
    private func isKeptHere(_ entry: LaneQueue<Handle>.Entry, _ wait: Duration) -> Bool {
        entry.message.key != nil || wait <= self.link.configuration.longestLocalDelay
    }

    private func store(
        _ entry: LaneQueue<Handle>.Entry,
        _ settlement: Settlement
    ) async throws(RESPError) -> StreamLink.Holding {
        let keys = self.link.keys
        let id = entry.payload.entry.id
        switch settlement {
        case .ack:
            return try await self.link.change(
                StreamScripts.acknowledge,
                [keys.stream, keys.waits(self.name)],
                self.name,
                id
            )
        case .deadLetter(let reason):
            return try await self.store(letter: entry, reason: reason)
        case .retry(let wait):
            if entry.attempts >= self.group.maximumDeliveries {
                let reason = LaneQueue<Handle>.lastDelivery(entry.attempts)
                return try await self.store(letter: entry, reason: reason)
            }
            let milliseconds = RESPArgument(min(wait.wholeMilliseconds, Self.longestWait))
            if self.isKeptHere(entry, wait) {
                return try await self.link.change(
                    StreamScripts.hold,
                    [keys.stream, keys.waits(self.name)],
                    self.name,
                    id,
                    [milliseconds]
                )
            }
            return try await self.link.change(
                StreamScripts.park,
                [keys.stream, keys.parked(self.name), keys.waits(self.name)],
                self.name,
                id,
                [milliseconds, RESPArgument(StreamKeys.parking)]
            )
        }
    }

    /// A hundred years: scores are exact up to 2⁵³.
    private static let longestWait: Int64 = 3_153_600_000_000

    private func store(
        letter entry: LaneQueue<Handle>.Entry,
        reason: String
    ) async throws(RESPError) -> StreamLink.Holding {
        let keys = self.link.keys
        // A script takes some thousands of arguments; one with more fields is stored as the message it was read as.
        var fields = DeadLetterFields.removed(from: entry.payload.entry.fields)
        if fields.count > 1_000 { fields = self.link.coding.fields(of: entry.message) }
        fields += DeadLetterFields.make(
            stream: keys.stream,
            id: entry.payload.entry.id,
            group: self.name,
            deliveries: entry.attempts,
            reason: reason,
            consumer: self.link.consumer,
            at: self.link.time.wallTime
        )
        let holding = try await self.link.change(
            StreamScripts.bury,
            [keys.stream, keys.deadLetters, keys.waits(self.name)],
            self.name,
            entry.payload.entry.id,
            fields.flatMap { [RESPArgument($0.name), RESPArgument($0.value)] }
        )
        if holding == .held {
            self.metrics?.dead.increment()
            self.link.logger.warning(
                "A message became a dead letter",
                metadata: [
                    "message.id": "\(entry.message.id)", "messaging.group": "\(self.name)", "reason": "\(reason)",
                ]
            )
        }
        return holding
    }

    /// Has had its chances, and is in no lane any more.
    private func bury(_ entry: LaneQueue<Handle>.Entry) async {
        let handle = entry.payload.entry
        do {
            _ = try await self.store(letter: entry, reason: LaneQueue<Handle>.neverSettled(entry.attempts))
            self.state.withLock { $0.known[handle.id] = nil }
        } catch {
            self.link.logger.warning(
                "A dead letter could not be stored, trying again",
                metadata: ["message.id": "\(entry.message.id)", "error": "\(error)"]
            )
            // Back in its lane it is found again to have had its chances. The others go on meanwhile.
            self.state.withLock { $0.known[handle.id] = nil }
            self.take(StreamLink.Claimed(entry: handle, deliveries: entry.attempts, wait: .seconds(1)))
        }
        self.signal.ring()
    }
}
