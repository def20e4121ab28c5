public import Logging
internal import ParleyAMQP
public import ParleyCore
public import ParleyMessaging
public import ServiceLifecycle
internal import Synchronization

/// The bus on RabbitMQ: a durable topic exchange, a queue for each consumer group, publisher confirms, and the rules of
/// every ``ParleyMessaging/MessageTransport``.
///
/// On the broker a group `mail` is the queue `mail`, its dead letters are in `mail.dead-letters`, its long waits in
/// `mail.retry.60000ms` and the like, the counts of its deliveries in the stream `mail.attempts`. All groups of the
/// virtual host, whatever exchange they are bound to, are named in the stream `parley.groups`. Other programs publish
/// to the exchange and read from the queues as usual; a message without an id is given one when it is first seen.
///
/// What RabbitMQ cannot promise:
/// - A settlement is sent, not confirmed. When the connection is lost in that moment, the message comes again, as after
///   any crash: consumers have an ``ParleyMessaging/Inbox``.
/// - A group's lease is the connection: messages of a process that hangs go to another when its heartbeats stay away,
///   whatever ``ParleyMessaging/ConsumerGroup/lease`` says.
/// - Messages that lay in the memory of a process that was killed count as handed out once.
/// - While the broker blocks publishers (memory or disk alarm), messages are handled and settled as usual, but nothing
///   is handed out a second time and no process starts to consume: both would have to be written down.
/// - ``ParleyMessaging/GroupStatistics/unacknowledged`` and ``ParleyMessaging/GroupStatistics/oldest`` speak of this
///   process; the management API knows the other ones.
public final class RabbitMQTransport: MessageTransport, Service {
    private let configuration: RabbitMQConfiguration
    private let link: BrokerLink
    private let registry: GroupRegistry
    private let ladder: RetryLadder
    private let letters: DeadLetterQueue
    private let consumers: Consumers
    private let isExchangeDeclared = Mutex(false)

    public init(
        _ configuration: RabbitMQConfiguration,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource(),
        logger: Logger
    ) {
        let consumers = Consumers()
        self.configuration = configuration
        self.consumers = consumers
        self.link = BrokerLink(configuration, time: time, random: random, logger: logger)
        self.registry = GroupRegistry(link: self.link) { consumers.find($0.name)?.redeclare($0) }
        self.ladder = RetryLadder(link: self.link, registry: self.registry)
        self.letters = DeadLetterQueue(link: self.link, registry: self.registry, numbers: LetterNumbers())
    }

    public var capabilities: TransportCapabilities {
        TransportCapabilities(
            isDurable: true,
            isSharedBetweenProcesses: true,
            maximumMessageBytes: RabbitMQConfiguration.maximumMessageBytes
        )
    }

    /// What the broker can do; empty before it was first reached.
    public var features: BrokerFeatures { self.link.features }

    public var deadLetters: any DeadLetterStore { self.letters }

    /// Keeps the connections until graceful shutdown or cancellation. Everything else waits for it.
    ///
    /// - Throws: ``ParleyMessaging/MessagingError`` when the broker refuses for good: wrong password, no such virtual
    ///   host, a certificate that is not trusted.
    public func run() async throws {
        defer { self.end() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.link.reporting { try await self.link.publishing.run() } }
            group.addTask { try await self.link.reporting { try await self.link.consuming.run() } }
            group.addTask { await self.work() }
            defer { group.cancelAll() }
            // The first to end is one of the connections, by its shutdown or its failure.
            try await group.next()
            self.end()
            try await group.next()
        }
    }

    private func work() async {
        await withDiscardingTaskGroup { group in
            for await job in self.link.jobs.stream { group.addTask { await job() } }
            group.cancelAll()
        }
    }

    private func end() {
        self.consumers.closeAll()
        self.link.jobs.continuation.finish()
    }

    /// A transport that runs for the time of `body`.
    ///
    /// - Throws: what `body` throws, or why there is no connection: as ``run()``, and
    ///   ``ParleyMessaging/MessagingError/Code/closed`` when it is shut down meanwhile.
    public static func withTransport<Value: Sendable>(
        _ configuration: RabbitMQConfiguration,
        logger: Logger,
        _ body: @Sendable (RabbitMQTransport) async throws -> Value
    ) async throws -> Value {
        let transport = RabbitMQTransport(configuration, logger: logger)
        return try await withoutActuallyEscaping(body) { body in
            try await withThrowingTaskGroup(of: Value.self) { group in
                group.addTask {
                    try await transport.run()
                    throw MessagingError(.closed, "the connection to RabbitMQ has ended", retry: .mayHaveRun)
                }
                group.addTask { try await body(transport) }
                defer { group.cancelAll() }
                guard let value = try await group.next() else { throw CancellationError() }
                return value
            }
        }
    }

    // MARK: Groups

    private func declareExchange() async throws {
        if self.isExchangeDeclared.withLock({ $0 }) { return }
        try await self.link.ask { try await $0.declareExchange(self.configuration.exchange, type: "topic") }
        self.isExchangeDeclared.withLock { $0 = true }
    }

    public func declare(_ group: ConsumerGroup) async throws {
        guard group.name.utf8.count <= 100, !group.name.hasPrefix("amq.") else {
            throw MessagingError(
                .invalidGroup,
                "the group '\(group.name)' needs a name of up to 100 bytes that does not begin with 'amq.'",
                retry: .permanent
            )
        }
        try await self.declareExchange()
        try await self.registry.journal.sync()
        let former = self.registry.find(group.name)
        let topology = GroupTopology(
            group: group,
            exchange: self.configuration.exchange,
            configuration: self.configuration
        )
        try await self.link.ask { channel in
            try await topology.declareQueues(on: channel)
            try await topology.bind(on: channel, insteadOf: former)
        }
        try await self.registry.add(group, boundTo: self.configuration.exchange)
    }

    // MARK: Publishing

    public func publish(_ messages: [Message]) async throws {
        for message in messages { try message.validate(maximumBytes: RabbitMQConfiguration.maximumMessageBytes) }
        guard !messages.isEmpty else { return }
        try await self.declareExchange()
        let now = self.link.time.wallTime
        let outgoing = messages.map {
            MessageCoding.outgoing(
                $0,
                exchange: self.configuration.exchange,
                routingKey: $0.topic,
                publishedAt: now,
                priorities: self.configuration.queues.priorities
            )
        }
        do {
            try await self.link.publish(outgoing)
        } catch let error as MessagingError where (error.cause as? AMQPError)?.code == .notFound {
            // Somebody has deleted the exchange, and with it the bindings, which the groups' consumers do not notice.
            self.isExchangeDeclared.withLock { $0 = false }
            throw error
        }
    }

    // MARK: Consuming

    public func withSubscription<Value>(
        to group: String,
        prefetch: Int,
        _ body: (DeliverySequence) async throws -> Value
    ) async throws -> Value {
        // One that another process has just declared is asked for; for one that is known, nothing is written.
        if self.registry.find(group) == nil { try await self.registry.journal.sync() }
        guard let known = self.registry.find(group) else {
            throw MessagingError(
                .unknownGroup,
                "no consumer group '\(group)'; declare it before subscribing",
                retry: .permanent
            )
        }
        let consumer = self.consumers.find(group) {
            GroupConsumer(group: known.group, link: self.link, ladder: self.ladder, letters: self.letters)
        }
        let holder = try await consumer.join()
        let prefetch = min(1_000, max(1, prefetch))
        let value: Value
        do {
            value = try await body(
                DeliverySequence { try await consumer.next(holder: holder, prefetch: prefetch) }
            )
        } catch {
            await consumer.leave(holder)
            throw error
        }
        await consumer.leave(holder)
        return value
    }

    public func settle(_ delivery: Delivery.ID, _ settlement: Settlement) async throws {
        guard let consumer = self.consumers.find(delivery.group) else {
            throw MessagingError(
                .leaseLost,
                "delivery \(delivery.sequence) of group '\(delivery.group)' is no longer this consumer's",
                retry: .permanent
            )
        }
        try await consumer.settle(delivery, settlement)
    }

    // MARK: Looking

    public func statistics() async throws -> [GroupStatistics] {
        try await self.registry.journal.syncOnce()
        var statistics: [GroupStatistics] = []
        for known in self.registry.all() {
            let name = known.group.name
            let ready = try await self.messages(in: name)
            var delayed = 0
            for rung in known.rungs { delayed += try await self.messages(in: GroupQueues.delay(rung, of: name)) }
            let dead = try await self.messages(in: GroupQueues.deadLetters(of: name))
            let here = self.consumers.find(name)?.statistics
            statistics.append(
                GroupStatistics(
                    group: name,
                    ready: ready + (here?.ready ?? 0),
                    delayed: delayed + (here?.delayed ?? 0),
                    unacknowledged: here?.unacknowledged ?? 0,
                    deadLettered: dead,
                    oldest: here?.oldest
                )
            )
        }
        return statistics
    }

    /// Those that are ready; none where the queue is gone.
    private func messages(in queue: String) async throws -> Int {
        do {
            return try await self.link.ask { try await $0.inspectQueue(queue).messages }
        } catch let error as MessagingError where (error.cause as? AMQPError)?.code == .notFound {
            return 0
        }
    }
}

/// The groups that this process has subscribed to.
private final class Consumers: Sendable {
    private let consumers = Mutex<[String: GroupConsumer]>([:])
    private let isClosed = Mutex(false)

    func find(_ name: String) -> GroupConsumer? { self.consumers.withLock { $0[name] } }

    func find(_ name: String, orMake make: () -> GroupConsumer) -> GroupConsumer {
        self.consumers.withLock { consumers in
            if let consumer = consumers[name] { return consumer }
            let consumer = make()
            consumers[name] = consumer
            if self.isClosed.withLock({ $0 }) { consumer.close() }
            return consumer
        }
    }

    func closeAll() {
        self.isClosed.withLock { $0 = true }
        for consumer in self.consumers.withLock({ Array($0.values) }) { consumer.close() }
    }
}
