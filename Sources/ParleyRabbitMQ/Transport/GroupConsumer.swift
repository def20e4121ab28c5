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
        /// What a process would take its attempts for if it came there again, without a line in the ledger.
        let presumedAttempts: Int
    }

    private struct State {
        var queue: LaneQueue<Handle>
        var subscribers = 0
        /// Whether ``drive()`` is at work, which is from the first subscriber until everything has been given back.
        var isDriven = false
        var consumer: AMQPConsumer?
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
        let consumer: AMQPConsumer? = self.state.withLock { state in
            state.queue.release(holder: holder)
            state.subscribers -= 1
            return state.subscribers == 0 ? state.consumer : nil
        }
        self.signal.ring()
        guard let consumer else { return }
        // Ends the drive.
        try? await consumer.cancel()
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
        guard entry.attempts > entry.payload.presumedAttempts else { return true }
        do {
            try await self.ledger.write([.init(copy: entry.payload.copy, attempts: entry.attempts)])
            return true
        } catch {
            self.state.withLock { $0.queue.untake(delivery.id) }
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
        switch settlement {
        case .ack: break
        case .deadLetter(let reason):
            try await self.store(letter: entry, reason: reason)
        case .retry(let wait):
            let isLast = self.state.withLock { entry.attempts >= $0.queue.group.maximumDeliveries }
            if isLast {
                try await self.store(letter: entry, reason: LaneQueue<Handle>.lastDelivery(entry.attempts))
            } else if try await !self.isOnLadder(entry, wait) {
                let now = self.link.time.wallTime
                _ = self.state.withLock { $0.queue.settle(id, settlement, now: now) }
                return
            }
        }
        self.finish(id.sequence, entry)
    }

    private func isOnLadder(_ entry: LaneQueue<Handle>.Entry, _ wait: Duration) async throws -> Bool {
        // A key's order is kept here, by holding the message; in a queue of its own the others would overtake it.
        guard entry.message.key == nil, wait > self.link.configuration.longestLocalDelay else { return false }
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
            } catch {
                if Task.isCancelled {
                    // Given back, it is found again to have had its chances.
                    try? entry.payload.delivery.nack(requeue: true)
                    throw CancellationError()
                }
                failures += 1
                self.link.logger.warning(
                    "A dead letter could not be stored, trying again",
                    metadata: ["message.id": "\(entry.message.id)", "error": "\(error)"]
                )
                try await self.link.pause(afterFailures: failures)
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
        self.state.withLock { state in
            state.isDriven = false
            state.consumer = nil
        }
        self.signal.ring()
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
        try await self.link.consuming.withChannel(.init(confirms: false)) { channel in
            // Somebody may have deleted them.
            if let known = self.ladder.registry.find(self.name) {
                let topology = GroupTopology(
                    group: known.group,
                    exchange: known.exchange,
                    configuration: self.link.configuration,
                    features: self.link.features
                )
                try await topology.declareQueues(on: channel)
                try await channel.declareExchange(known.exchange, type: "topic")
                try await topology.bind(on: channel, insteadOf: nil)
            }
            let consumer = try await channel.consume(self.name, prefetch: UInt16(self.link.configuration.window))
            let isWanted = self.state.withLock { state in
                state.consumer = consumer
                state.failure = nil
                return state.subscribers > 0
            }
            // The last subscriber left before there was a consumer that it could have cancelled.
            if !isWanted { try await consumer.cancel() }
            let result: Result<Void, any Error>
            do {
                try await self.take(from: consumer)
                result = .success(())
            } catch {
                result = .failure(error)
            }
            await self.giveBack()
            try result.get()
        }
    }

    private func take(from consumer: AMQPConsumer) async throws {
        var generation: UInt64?
        for try await delivery in consumer {
            if delivery.generation != generation {
                // The first one, or the first after the connection was made anew. From here on no other process hands
                // out messages of this group, so what they have written down is all there is.
                if generation != nil { await self.forgetStale() }
                try await self.ledger.journal.sync()
                generation = delivery.generation
            } else if self.link.configuration.sharing == .allProcesses, delivery.isRedelivered {
                try await self.ledger.journal.sync()
            }
            try await self.accept(delivery)
        }
    }

    private func accept(_ delivery: AMQPDelivery) async throws {
        let now = self.link.time.wallTime
        let incoming = MessageCoding.incoming(delivery, now: now) { UUIDv7Generator.shared.next().description }
        if incoming.isNameless {
            try await self.name(incoming.message, delivery, publishedAt: incoming.publishedAt)
            return
        }
        var attempts = incoming.attempts
        var due = incoming.notBefore
        if delivery.isRedelivered {
            let known = self.ledger.find(incoming.copy)
            attempts = known?.attempts ?? incoming.attempts + 1
            if let notBefore = known?.notBefore { due = Timestamp(microseconds: notBefore) }
        }
        if let time = due, time <= now { due = nil }
        // Only a part of its wait was spent in a delay queue.
        if let due, due - now > self.link.configuration.longestLocalDelay, incoming.message.key == nil {
            let isStored = try await self.ladder.store(
                incoming.message,
                of: self.name,
                publishedAt: incoming.publishedAt,
                attempts: attempts,
                notBefore: due
            )
            if isStored { return try delivery.ack() }
        }
        let handle = Handle(
            delivery: delivery,
            copy: incoming.copy,
            presumedAttempts: incoming.attempts + 1
        )
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

    /// A message that another program has published without an id gets one, in a copy at the end of the queue: without,
    /// a second delivery could not be told from a second message.
    private func name(_ message: Message, _ delivery: AMQPDelivery, publishedAt: Timestamp) async throws {
        var copy = MessageCoding.outgoing(
            message,
            exchange: "",
            routingKey: self.name,
            publishedAt: publishedAt,
            priorities: self.link.configuration.queues.priorities
        )
        copy.mandatory = true
        try await self.link.publish([copy])
        try delivery.ack()
    }

    /// Forgets what came over a connection that is gone; it comes again.
    private func forgetStale() async {
        let lines = self.state.withLock { state in
            let stale = state.queue.entries.filter { $0.value.payload.delivery.isStale }
            for sequence in stale.keys { state.queue.remove(sequence) }
            return stale.values.compactMap { self.line(for: $0) }
        }
        await self.write(lines)
    }

    /// Writes down what the others would not presume, and forgets everything: it goes back with the channel's end.
    private func giveBack() async {
        let lines = self.state.withLock { state in
            state.consumer = nil
            let entries = state.queue.entries
            for sequence in entries.keys { state.queue.remove(sequence) }
            return entries.values.compactMap { self.line(for: $0) }
        }
        await self.write(lines)
        self.signal.ring()
    }

    private func line(for entry: LaneQueue<Handle>.Entry) -> AttemptLedger.Entry? {
        let isPresumed = entry.attempts == entry.payload.presumedAttempts && entry.due == nil
        // What is in a handler's hands has been counted when it got there.
        guard !isPresumed, entry.holder == nil else { return nil }
        return .init(copy: entry.payload.copy, attempts: entry.attempts, notBefore: entry.due?.microseconds)
    }

    private func write(_ lines: [AttemptLedger.Entry]) async {
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
