public import Logging
public import ParleyCore
public import ServiceLifecycle
internal import Synchronization

/// Consumes for a service: each consumer group has a handler, run for many messages at once.
///
/// - A handler that returns settles its delivery; one that throws goes through ``RetryTiers``.
/// - At most `concurrency` handlers of a group run at a time; the transport keeps the order of each key.
/// - On graceful shutdown it takes in nothing more, lets handlers finish for up to ``drainTimeout``, then cancels them;
///   what they did not settle is delivered again.
public struct MessageRouter: Service {
    public typealias Handler = @Sendable (Delivery) async throws -> Settlement

    private struct Consumer: Sendable {
        var group: ConsumerGroup
        var concurrency: Int
        var retry: RetryTiers
        var handler: Handler
    }

    private let transport: any MessageTransport
    private let middleware: [any MessageMiddleware]
    private let drainTimeout: Duration
    private let time: any TimeSource
    private let random: any RandomSource
    private let logger: Logger
    private var consumers: [Consumer] = []

    /// - Parameter middleware: Around every handler, outermost first, inside of the message's ``RequestContext``.
    public init(
        transport: any MessageTransport,
        middleware: [any MessageMiddleware] = [],
        drainTimeout: Duration = .seconds(3),
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource(),
        logger: Logger
    ) {
        self.transport = transport
        self.middleware = [ContextMiddleware(time: time)] + middleware
        self.drainTimeout = drainTimeout
        self.time = time
        self.random = random
        self.logger = logger
    }

    /// Adds a handler that says itself what becomes of the delivery.
    ///
    /// - Parameter concurrency: How many handlers of this group run at a time; 1 to 1,000.
    public mutating func consumeAndSettle(
        _ group: ConsumerGroup,
        concurrency: Int = 32,
        retry: RetryTiers = RetryTiers(),
        _ handler: @escaping Handler
    ) {
        self.consumers.append(
            Consumer(group: group, concurrency: min(1_000, max(1, concurrency)), retry: retry, handler: handler)
        )
    }

    /// Adds a handler whose return is an `ack`.
    public mutating func consume(
        _ group: ConsumerGroup,
        concurrency: Int = 32,
        retry: RetryTiers = RetryTiers(),
        _ handler: @escaping @Sendable (Delivery) async throws -> Void
    ) {
        self.consumeAndSettle(group, concurrency: concurrency, retry: retry) { delivery in
            try await handler(delivery)
            return .ack
        }
    }

    /// Declares the groups, so that nothing published from now on is missed, without consuming yet.
    public func declareGroups() async throws {
        for consumer in self.consumers { try await self.transport.declare(consumer.group) }
    }

    /// Declares the groups, then consumes, until graceful shutdown or cancellation. A transport that fails, or is not
    /// there yet, is tried again after a second.
    ///
    /// - Throws: what trying again would not change about a declaration.
    public func run() async throws {
        for consumer in self.consumers {
            while !Task.isCancelled, !Task.isShuttingDownGracefully, try await !self.hasDeclared(consumer.group) {}
        }
        await withDiscardingTaskGroup { group in
            for consumer in self.consumers {
                group.addTask { await self.consume(consumer) }
            }
        }
    }

    private func hasDeclared(_ group: ConsumerGroup) async throws -> Bool {
        do {
            try await cancelWhenGracefulShutdown { try await self.transport.declare(group) }
            return true
        } catch  where error.retrySafety != .permanent {
            if Task.isCancelled || Task.isShuttingDownGracefully { return false }
            self.logger.warning(
                "A group could not be declared, trying again",
                metadata: ["group": "\(group.name)", "error": "\(error)"]
            )
            await cancelWhenGracefulShutdown { try? await self.time.sleep(for: .seconds(1)) }
            return false
        }
    }

    private func consume(_ consumer: Consumer) async {
        while !Task.isCancelled, !Task.isShuttingDownGracefully {
            do {
                try await self.transport.withSubscription(
                    to: consumer.group.name,
                    prefetch: consumer.concurrency
                ) { deliveries in
                    await self.handleAll(deliveries, of: consumer)
                }
            } catch {
                self.logger.warning(
                    "A subscription ended with an error, subscribing again",
                    metadata: ["group": "\(consumer.group.name)", "error": "\(error)"]
                )
            }
            if Task.isCancelled || Task.isShuttingDownGracefully { return }
            // However it ended, with an error or by the transport's own will: not again at once.
            await cancelWhenGracefulShutdown { try? await self.time.sleep(for: .seconds(1)) }
        }
    }

    private func handleAll(_ deliveries: DeliverySequence, of consumer: Consumer) async {
        await withTaskGroup(of: Void.self) { drain in
            // The handlers live in a group of their own, so that the drain timeout can cancel them alone.
            drain.addTask {
                let running = RunningHandlers(limit: consumer.concurrency)
                await withDiscardingTaskGroup { handlers in
                    while let delivery = await self.next(of: deliveries, consumer) {
                        running.begin()
                        handlers.addTask {
                            await self.handle(delivery, consumer)
                            running.end()
                        }
                        // A transport that has lost its connection hands out anew what is still being handled.
                        await running.waitForRoom(on: self.time)
                    }
                }
            }
            drain.addTask {
                try? await gracefulShutdown()
                try? await self.time.sleep(for: self.drainTimeout)
            }
            await drain.next()
            drain.cancelAll()
        }
    }

    /// `nil` ends the intake: shutdown, cancellation, the transport's end, or its failure.
    private func next(of deliveries: DeliverySequence, _ consumer: Consumer) async -> Delivery? {
        // A transport may hand out what it has at once, cancelled or not; a backlog must not hold up the shutdown.
        if Task.isCancelled || Task.isShuttingDownGracefully { return nil }
        do {
            return try await cancelWhenGracefulShutdown { try await deliveries.makeAsyncIterator().next() }
        } catch is CancellationError {
            return nil
        } catch {
            self.logger.warning(
                "Receiving failed",
                metadata: ["group": "\(consumer.group.name)", "error": "\(error)"]
            )
            return nil
        }
    }

    private func handle(_ delivery: Delivery, _ consumer: Consumer) async {
        let settlement = await self.settlement(for: delivery, consumer)
        // Cancelled before it was done: say nothing, the transport hands it out again.
        guard let settlement else { return }
        // Until it is stored: unsettled, the message and its key would be held for as long as this consumer lives.
        let backoff = Backoff(initial: .milliseconds(50), cap: .seconds(1), jitter: 0.5)
        var failures = 0
        while true {
            do {
                try await self.transport.settle(delivery.id, settlement)
                return
            } catch {
                failures += 1
                let isFinal = error.retrySafety == .permanent || Task.isCancelled
                self.logger.warning(
                    isFinal
                        ? "A delivery could not be settled; it will come again"
                        : "A delivery could not be settled, trying again",
                    metadata: [
                        "group": "\(delivery.id.group)", "message.id": "\(delivery.message.id)", "error": "\(error)",
                    ]
                )
                if isFinal { return }
            }
            try? await self.time.sleep(for: backoff.delay(afterFailures: failures, random: self.random))
        }
    }

    private func settlement(for delivery: Delivery, _ consumer: Consumer) async -> Settlement? {
        var tries = 0
        while true {
            tries += 1
            do {
                return try await self.chain(from: 0, consumer.handler)(delivery)
            } catch {
                if Task.isCancelled { return nil }
                let decision = consumer.retry.decide(
                    after: error,
                    delivery: delivery,
                    tryInDelivery: tries,
                    random: self.random
                )
                self.logger.info(
                    "A handler failed",
                    metadata: [
                        "group": "\(delivery.id.group)", "message.id": "\(delivery.message.id)",
                        "delivery.attempt": "\(delivery.attempt)", "error": "\(error)", "decision": "\(decision)",
                    ]
                )
                if case .settle(let settlement) = decision { return settlement }
            }
        }
    }

    private func chain(from index: Int, _ handler: @escaping Handler) -> Handler {
        guard index < self.middleware.count else { return handler }
        let rest = self.chain(from: index + 1, handler)
        return { try await self.middleware[index].handle($0, next: rest) }
    }
}

/// How many handlers of a group are at work.
private final class RunningHandlers: Sendable {
    private let limit: Int
    private let count = Mutex(0)
    private let signal = Signal()

    init(limit: Int) {
        self.limit = limit
    }

    func begin() { self.count.withLock { $0 += 1 } }

    func end() {
        self.count.withLock { $0 -= 1 }
        self.signal.ring()
    }

    /// Returns when another one may begin, or the task is to end.
    func waitForRoom(on time: any TimeSource) async {
        while !Task.isCancelled, !Task.isShuttingDownGracefully {
            let generation = self.signal.generation
            if self.count.withLock({ $0 < self.limit }) { return }
            await cancelWhenGracefulShutdown { await self.signal.wait(after: generation, until: nil, on: time) }
        }
    }
}
