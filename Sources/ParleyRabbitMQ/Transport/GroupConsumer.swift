internal import Logging
internal import ParleyAMQP
internal import ParleyCore
internal import ParleyMessaging
internal import Synchronization

/// What this process has of one consumer group: one consumer on the broker, as long as anybody here is subscribed, and
/// the messages that it was sent, in lanes by their keys.
///
/// The broker keeps every message until it is acked here. What this process forgets, because its connection was lost,
/// is sent again, to it or to another.
final class GroupConsumer: Sendable {
    /// What came with a message, and is needed to be done with it.
    struct Handle: Sendable {
        let delivery: AMQPDelivery
        let copy: String
        /// What a process would take its attempts for if it came there again, without a further line in the ledger.
        let presumedAttempts: Int
    }

    private struct State {
        var queue: LaneQueue<Handle>
        var subscribers = 0
        /// Whether ``drive()`` is at work, which is from the first subscriber until everything has been given back.
        var isDriven = false
        /// A line about these may have been written, although the hand-out did not happen.
        var doubtful: Set<Int64> = []
        /// Arrived, and cut off before anybody looked at it.
        var unlooked: AMQPDelivery?
        /// Being settled: a second settlement finds them gone already.
        var settling: Set<Int64> = []
        var nextSequence: Int64 = 1
        var nextHolder: UInt64 = 1
        /// Why nothing will ever come, as far as one can tell.
        var failure: MessagingError?
        var isClosed = false
    }

    private let name: String
    private let link: BrokerLink
    private let ledger: AttemptLedger
    private let ladder: RetryLadder
    private let letters: DeadLetterQueue
    private let state: Mutex<State>
    private let signal = Signal()

    init(group: ConsumerGroup, link: BrokerLink, ladder: RetryLadder, letters: DeadLetterQueue) {
        self.name = group.name
        self.link = link
        self.ledger = AttemptLedger(group: group.name, link: link)
        self.ladder = ladder
        self.letters = letters
        self.state = Mutex(State(queue: LaneQueue(group: group)))
    }

    func redeclare(_ group: ConsumerGroup) {
        self.state.withLock { $0.queue.redeclare(group) }
        self.signal.ring()
    }

    /// What of the group is here.
    var statistics: GroupStatistics { self.state.withLock { $0.queue.statistics(deadLettered: 0) } }

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

    /// Gives back what the subscription holds. After the last one, returns when the broker has everything back.
    func leave(_ holder: UInt64) async {
        self.state.withLock { state in
            state.queue.release(holder: holder)
            state.subscribers -= 1
        }
        // After the last one, this ends the drive.
        self.signal.ring()
        while !Task.isCancelled {
            let generation = self.signal.generation
            if self.state.withLock({ !$0.isDriven || $0.subscribers > 0 || $0.isClosed }) { return }
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
            let now = self.link.time.wallTime
            let (taken, isClosed, failure) = self.state.withLock { state in
                let isFull = state.queue.held[holder] ?? 0 >= prefetch
                return (
                    isFull || state.isClosed ? nil : state.queue.take(holder: holder, now: now), state.isClosed,
                    state.failure
                )
            }
            if isClosed { return nil }
            var nextDue: Timestamp?
            switch taken {
            case .delivery(let delivery):
                if try await self.isCounted(delivery) { return delivery }
                continue
            case .exhausted(let entry):
                try await self.bury(entry, reason: LaneQueue<Handle>.neverSettled(entry.attempts))
                continue
            case .nothing(let due):
                if let failure { throw failure }
                nextDue = due
            case nil: break
            }
            let instant = nextDue.map { self.link.time.instant(of: $0) }
            await self.signal.wait(after: generation, until: instant, on: self.link.time)
        }
    }

    /// Writes the hand-out down before it happens, where it is not what everybody would presume.
    ///
    /// `false` when the message is not this process's any more.
    private func isCounted(_ delivery: Delivery) async throws -> Bool {
        let entry = self.state.withLock { $0.queue.holding(delivery.id) }
        guard let entry, !entry.payload.delivery.isStale else {
            self.state.withLock { $0.queue.remove(delivery.id.sequence) }
            return false
        }
        guard entry.attempts != entry.payload.presumedAttempts else { return true }
        do {
            try await self.ledger.write([.init(copy: entry.payload.copy, attempts: entry.attempts)])
            return true
        } catch {
            self.state.withLock { state in
                state.queue.untake(delivery.id)
                state.doubtful.insert(delivery.id.sequence)
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

    // MARK: Settling

    func settle(_ id: Delivery.ID, _ settlement: Settlement) async throws {
        let entry = self.state.withLock { state -> LaneQueue<Handle>.Entry? in
            guard let entry = state.queue.holding(id), !entry.payload.delivery.isStale,
                state.settling.insert(id.sequence).inserted
            else { return nil }
            return entry
        }
        guard let entry else {
            throw MessagingError(
                .leaseLost,
                "delivery \(id.sequence) of group '\(id.group)' is no longer this consumer's",
                retry: .permanent
            )
        }
        defer {
            _ = self.state.withLock { $0.settling.remove(id.sequence) }
            self.signal.ring()
        }
        do {
            switch settlement {
            case .ack: break
            case .deadLetter(let reason):
                try await self.store(letter: entry, reason: reason)
            case .retry(let wait):
                if try await !self.isOnLadder(entry, wait) {
                    let now = self.link.time.wallTime
                    let result = self.state.withLock { state -> LaneQueue<Handle>.SettleResult in
                        // The last attempt: out of its lane only when the letter is stored.
                        guard entry.attempts < state.queue.group.maximumDeliveries else {
                            return .deadLettered(reason: LaneQueue<Handle>.lastDelivery(entry.attempts))
                        }
                        return state.queue.settle(id, settlement, now: now)
                    }
                    guard case .deadLettered(let reason) = result else { return }
                    try await self.store(letter: entry, reason: reason)
                }
            }
        } catch  where Self.cannotBeCopied(error) {
            self.moveAsItIs(id.sequence, entry)
            return
        }
        self.finish(id.sequence, entry)
    }

    /// Whether what another program wrote into the message leaves no room for what is to be added.
    private static func cannotBeCopied(_ error: any Error) -> Bool {
        let code = ((error as? MessagingError)?.cause as? AMQPError)?.code
        return code == .invalidArgument || code == .contentTooLarge
    }

    /// The broker itself puts it among the dead letters, as it came.
    private func moveAsItIs(_ sequence: Int64, _ entry: LaneQueue<Handle>.Entry) {
        self.state.withLock { $0.queue.remove(sequence) }
        try? entry.payload.delivery.nack(requeue: false)
        self.link.logger.warning(
            "A message could not be copied, so it is a dead letter without a reason",
            metadata: ["message.id": "\(entry.message.id)", "messaging.group": "\(self.name)"]
        )
    }

    private func isOnLadder(_ entry: LaneQueue<Handle>.Entry, _ wait: Duration) async throws -> Bool {
        // A key's order is kept here, by holding the message; in a queue of its own the others would overtake it.
        guard entry.message.key == nil, wait > self.link.configuration.longestLocalDelay,
            self.state.withLock({ entry.attempts < $0.queue.group.maximumDeliveries })
        else { return false }
        return try await self.ladder.store(
            entry.message,
            of: self.name,
            publishedAt: entry.publishedAt,
            attempts: entry.attempts,
            notBefore: self.link.time.wallTime + wait
        )
    }

    private func store(letter entry: LaneQueue<Handle>.Entry, reason: String) async throws {
        try await self.letters.bury(
            entry.message,
            of: self.name,
            publishedAt: entry.publishedAt,
            reason: reason,
            attempts: entry.attempts
        )
    }

    /// The message's outcome is stored elsewhere, or there is none to store: the broker may forget it.
    private func finish(_ sequence: Int64, _ entry: LaneQueue<Handle>.Entry) {
        self.state.withLock { $0.queue.remove(sequence) }
        do {
            try entry.payload.delivery.ack()
        } catch {
            // Its connection has just gone: it comes again, and the inbox knows it.
            self.link.logger.info(
                "A message was settled and comes again, for its connection was lost",
                metadata: ["message.id": "\(entry.message.id)", "error": "\(error)"]
            )
        }
    }

    /// Has had its chances, and is in no lane any more: tried until it is stored.
    private func bury(_ entry: LaneQueue<Handle>.Entry, reason: String) async throws {
        var failures = 0
        while !entry.payload.delivery.isStale {
            do {
                try await self.store(letter: entry, reason: reason)
                try? entry.payload.delivery.ack()
                return
            } catch  where Self.cannotBeCopied(error) {
                try? entry.payload.delivery.nack(requeue: false)
                return
            } catch {
                failures += 1
                self.link.logger.warning(
                    "A dead letter could not be stored, trying again",
                    metadata: ["message.id": "\(entry.message.id)", "error": "\(error)"]
                )
                do {
                    try await self.link.pause(afterFailures: failures)
                } catch {
                    // Given back, it is found again to have had its chances.
                    try? entry.payload.delivery.nack(requeue: true)
                    throw error
                }
            }
        }
    }
}

// MARK: - The consumer on the broker

extension GroupConsumer {
    /// Consumes as long as there are subscribers; then gives back what is left.
    private func drive() async {
        var failures = 0
        while self.state.withLock({ $0.subscribers > 0 && !$0.isClosed }), !Task.isCancelled {
            do {
                try await self.consume()
                failures = 0
            } catch {
                guard !Task.isCancelled else { break }
                failures += 1
                self.hasFailed(error)
                do { try await self.link.pause(afterFailures: failures) } catch { break }
            }
        }
        self.state.withLock { $0.isDriven = false }
        self.signal.ring()
    }

    /// What the broker has given before, it will give again; only what was never there is an answer for those who wait.
    private struct Ended: Error, CustomStringConvertible {
        let cause: any Error
        var description: String { "\(self.cause)" }
    }

    private func hasFailed(_ error: any Error) {
        self.link.logger.warning(
            "A consumer of the bus has ended, trying again",
            metadata: ["messaging.group": "\(self.name)", "error": "\(error)"]
        )
        let failure = (error as? AMQPError).map(BrokerLink.messagingError) ?? error as? MessagingError
        guard let failure, failure.retry == .permanent else { return }
        self.state.withLock { $0.failure = failure }
        self.signal.ring()
    }

    private func consume() async throws {
        try await self.link.consuming.withChannel(BrokerLink.unrecorded) { channel in
            // Somebody may have deleted them.
            if let known = self.ladder.registry.find(self.name) {
                let topology = GroupTopology(
                    group: known.group,
                    exchange: known.exchange,
                    configuration: self.link.configuration
                )
                try await topology.declareQueues(on: channel)
                try await channel.declareExchange(known.exchange, type: "topic")
                try await topology.bind(on: channel, insteadOf: nil)
            }
            let window = UInt16(clamping: self.link.configuration.window)
            let consumer = try await channel.consume(self.name, prefetch: window)
            self.state.withLock { $0.failure = nil }
            let result = await self.takeWhileWanted(from: consumer)
            // Not cancelled before: the broker would have the next process begin while this one still holds messages.
            // With the channel's end they go back first.
            await self.giveBack(consumer.takeArrived())
            // A quorum queue's channel holds settlements back while many are on their way, and drops those when it is
            // closed. It sends them on between two questions.
            if case .success = result { for _ in 0..<3 { _ = try await channel.inspectQueue(self.name) } }
            if case .failure(let error) = result { throw Ended(cause: error) }
        }
    }

    /// Until nobody is subscribed any more, or the consumer ends.
    private func takeWhileWanted(from consumer: AMQPConsumer) async -> Result<Void, any Error> {
        await withTaskGroup(of: Result<Void, any Error>.self) { group in
            group.addTask {
                do { return .success(try await self.take(from: consumer)) } catch { return .failure(error) }
            }
            group.addTask {
                await self.waitForTheLastToLeave()
                return .success(())
            }
            let first = await group.next() ?? .success(())
            group.cancelAll()
            return first
        }
    }

    private func waitForTheLastToLeave() async {
        while !Task.isCancelled {
            let generation = self.signal.generation
            if self.state.withLock({ $0.subscribers == 0 || $0.isClosed }) { return }
            await self.signal.wait(after: generation, until: nil, on: self.link.time)
        }
    }

    private func take(from consumer: AMQPConsumer) async throws {
        var generation: UInt64?
        for try await delivery in consumer {
            self.state.withLock { $0.unlooked = delivery }
            if delivery.generation != generation {
                // The first one, or the first after the connection was made anew. From here on no other process hands
                // out messages of this group, so what they have written down is all there is.
                let isFirst = generation == nil
                try await self.ledger.journal.sync()
                if !isFirst { await self.forgetStale() }
                generation = delivery.generation
            } else if self.link.configuration.sharing == .allProcesses, delivery.isRedelivered {
                try await self.ledger.journal.sync()
            }
            self.accept(delivery)
            self.state.withLock { $0.unlooked = nil }
        }
    }

    private func accept(_ delivery: AMQPDelivery) {
        let now = self.link.time.wallTime
        let incoming = MessageCoding.incoming(delivery, now: now) { UUIDv7Generator.shared.next().description }
        if incoming.isNameless {
            self.persistently(delivery) {
                try await self.name(incoming.message, publishedAt: incoming.publishedAt)
                return true
            }
            return
        }
        let known = self.ledger.find(incoming.copy)
        let presumed = known?.attempts ?? incoming.attempts + 1
        let attempts = delivery.isRedelivered ? presumed : incoming.attempts
        var due = incoming.notBefore
        if delivery.isRedelivered, let notBefore = known?.notBefore { due = Timestamp(microseconds: notBefore) }
        if let time = due { due = time <= now ? nil : min(time, now + Self.longestDelay) }
        // Only a part of its wait was spent in a delay queue.
        if let due, incoming.message.key == nil, due - now > self.link.configuration.longestLocalDelay,
            RetryLadder.rung(for: due - now) != nil
        {
            self.persistently(delivery) {
                let isStored = try await self.ladder.store(
                    incoming.message,
                    of: self.name,
                    publishedAt: incoming.publishedAt,
                    attempts: attempts,
                    notBefore: due
                )
                // So little of the wait is left by now that it is spent here.
                if !isStored { self.hold(incoming, delivery, presumed: presumed, attempts: attempts, due: due) }
                return isStored
            }
            return
        }
        self.hold(incoming, delivery, presumed: presumed, attempts: attempts, due: due)
    }

    private func hold(
        _ incoming: MessageCoding.Incoming,
        _ delivery: AMQPDelivery,
        presumed: Int,
        attempts: Int,
        due: Timestamp?
    ) {
        let handle = Handle(delivery: delivery, copy: incoming.copy, presumedAttempts: presumed)
        self.state.withLock { state in
            state.queue.append(
                incoming.message,
                handle,
                sequence: state.nextSequence,
                publishedAt: incoming.publishedAt,
                attempts: attempts,
                due: due
            )
            state.nextSequence += 1
        }
        self.signal.ring()
    }

    /// A wait that a header asks for goes no further than a day at a time.
    private static let longestDelay: Duration = .seconds(86_400)

    /// Stores a message elsewhere beside the others' way, and acks it then; tried until it is done or the message is no
    /// longer this process's. There are at most as many as the window.
    ///
    /// - Parameter store: Says whether it is elsewhere now.
    private func persistently(_ delivery: AMQPDelivery, _ store: @escaping @Sendable () async throws -> Bool) {
        self.link.start {
            var failures = 0
            while !delivery.isStale {
                do {
                    if try await store() { try? delivery.ack() }
                    return
                } catch  where Self.cannotBeCopied(error) {
                    try? delivery.nack(requeue: false)
                    return
                } catch {
                    failures += 1
                    do { try await self.link.pause(afterFailures: failures) } catch { return }
                }
            }
        }
    }

    /// A message that another program has published without an id gets one, in a copy at the end of the queue: without,
    /// a second delivery could not be told from a second message.
    private func name(_ message: Message, publishedAt: Timestamp) async throws {
        var copy = MessageCoding.outgoing(
            message,
            exchange: "",
            routingKey: self.name,
            publishedAt: publishedAt,
            priorities: self.link.configuration.queues.priorities
        )
        copy.mandatory = true
        try await self.link.publish([copy])
    }

    /// Forgets what came over a connection that is gone; it comes again. What others have counted meanwhile stands.
    private func forgetStale() async {
        let lines = self.state.withLock { state in
            let stale = state.queue.entries.filter { $0.value.payload.delivery.isStale }
            let lines = stale.compactMap { Self.line(for: $0.value, isDoubtful: state.doubtful.contains($0.key)) }
            for sequence in stale.keys { state.queue.remove(sequence) }
            state.doubtful.subtract(stale.keys)
            return lines
        }
        await self.write(lines.filter { (self.ledger.find($0.copy)?.attempts ?? -1) < $0.attempts })
    }

    /// Writes down what the others would not presume, and forgets everything: it goes back with the channel's end.
    ///
    /// - Parameter arrived: What nobody has looked at yet.
    private func giveBack(_ arrived: [AMQPDelivery]) async {
        let now = self.link.time.wallTime
        var lines = self.state.withLock { state in
            let entries = state.queue.entries
            let lines = entries.compactMap { Self.line(for: $0.value, isDoubtful: state.doubtful.contains($0.key)) }
            for sequence in entries.keys { state.queue.remove(sequence) }
            state.doubtful = []
            return lines
        }
        let unlooked = self.state.withLock { state in
            defer { state.unlooked = nil }
            return state.unlooked.map { [$0] } ?? []
        }
        for delivery in unlooked + arrived where !delivery.isRedelivered && !delivery.isStale {
            let incoming = MessageCoding.incoming(delivery, now: now) { "" }
            guard !incoming.isNameless, self.ledger.find(incoming.copy) == nil else { continue }
            lines.append(.init(copy: incoming.copy, attempts: incoming.attempts))
        }
        await self.write(lines)
        self.signal.ring()
    }

    private static func line(for entry: LaneQueue<Handle>.Entry, isDoubtful: Bool) -> AttemptLedger.Entry? {
        let isPresumed = entry.attempts == entry.payload.presumedAttempts && entry.due == nil && !isDoubtful
        // What is in a handler's hands has been counted when it got there.
        guard !isPresumed, entry.holder == nil else { return nil }
        return .init(copy: entry.payload.copy, attempts: entry.attempts, notBefore: entry.due?.microseconds)
    }

    private func write(_ lines: [AttemptLedger.Entry]) async {
        guard !lines.isEmpty else { return }
        do {
            try await self.ledger.write(lines)
        } catch {
            self.link.logger.warning(
                "Some messages that nobody has handled will count as handed out once",
                metadata: ["messaging.group": "\(self.name)", "messages": "\(lines.count)", "error": "\(error)"]
            )
        }
    }
}
