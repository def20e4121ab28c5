import Logging
import ParleyCore
import ParleyMessaging
import ParleyTestKit
import ServiceLifecycle
import Testing

@Suite(.timeLimit(.minutes(1))) struct MessageRouterTests {
    private let clock = ManualClock()
    private let transport: InMemoryTransport

    init() {
        self.transport = InMemoryTransport(time: self.clock)
    }

    private struct Oops: Error, CustomStringConvertible {
        var description: String { "oops" }
    }

    private struct Hopeless: RetryClassifiedError, CustomStringConvertible {
        let retry = RetrySafety.permanent
        var description: String { "hopeless" }
    }

    private func router(
        _ middleware: [any MessageMiddleware] = [],
        transport: (any MessageTransport)? = nil
    ) -> MessageRouter {
        MessageRouter(
            transport: transport ?? self.transport,
            middleware: middleware,
            drainTimeout: .seconds(3),
            time: self.clock,
            random: SeededRandomSource(seed: 1),
            logger: .silent
        )
    }

    private func group(_ maximumDeliveries: Int = 10) throws -> ConsumerGroup {
        try ConsumerGroup("g", bindings: ["#"], maximumDeliveries: maximumDeliveries, lease: .seconds(3_600))
    }

    private func message(_ id: String, key: String? = nil) -> Message {
        Message(id: id, source: "s", type: "t", time: self.clock.wallTime, data: [], key: key)
    }

    private func running<Value: Sendable>(
        _ router: MessageRouter,
        body: () async throws -> Value
    ) async throws -> Value {
        try await router.declareGroups()
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await router.run() }
            defer { group.cancelAll() }
            return try await body()
        }
    }

    @Test func `a transport that is not there yet is asked again to declare`() async throws {
        let transport = BrokenTransport(inner: self.transport)
        transport.refusedDeclarations.withLock { $0 = 3 }
        let handled = Guarded(false)
        var router = self.router(transport: transport)
        router.consume(try self.group()) { _ in handled.withLock { $0 = true } }
        try await withThrowingTaskGroup(of: Void.self) { [router] group in
            group.addTask { try await router.run() }
            while transport.refusedDeclarations.current > 0 {
                try Task.checkCancellation()
                self.clock.advance(by: .milliseconds(500))
                await Task.yield()
            }
            try await self.eventually {
                self.clock.advance(by: .milliseconds(500))
                return try await self.transport.statistics().count == 1
            }
            try await self.transport.publish([self.message("1")])
            try await self.eventually { handled.current }
            group.cancelAll()
        }
    }

    @Test func `no more handlers run than allowed, whatever the transport hands out`() async throws {
        let running = Guarded((now: 0, most: 0, begun: 0))
        let gate = Guarded(false)
        var router = self.router(transport: Flooding(inner: self.transport))
        router.consume(try self.group(), concurrency: 3) { _ in
            running.withLock { running in
                running.now += 1
                running.begun += 1
                running.most = max(running.most, running.now)
            }
            while !gate.current, !Task.isCancelled { await Task.yield() }
            running.withLock { $0.now -= 1 }
        }
        try await self.running(router) {
            try await self.eventually { running.current.begun == 3 }
            for _ in 0..<100 { await Task.yield() }
            #expect(running.current.begun == 3)
            gate.withLock { $0 = true }
            try await self.eventually { running.current.begun > 20 }
        }
        #expect(running.current.most == 3)
    }

    private func eventually(_ condition: () async throws -> Bool) async throws {
        while try await !condition() {
            try Task.checkCancellation()
            await Task.yield()
        }
    }

    private func figures() async throws -> GroupStatistics {
        try #require(try await self.transport.statistics().first { $0.group == "g" })
    }

    private func isIdle() async throws -> Bool {
        let figures = try await self.figures()
        return figures.ready + figures.delayed + figures.unacknowledged == 0
    }

    private func letters() async throws -> [DeadLetter] {
        try await self.transport.deadLetters.list(group: "g", after: 0, limit: 100)
    }

    @Test func `a handler that returns acks`() async throws {
        let seen = Guarded<[String]>([])
        var router = self.router()
        router.consume(try self.group()) { delivery in seen.withLock { $0.append(delivery.message.id) } }
        try await self.running(router) {
            try await self.transport.publish((0..<20).map { self.message("\($0)", key: "k") })
            try await self.eventually { try await self.isIdle() }
        }
        #expect(seen.current == (0..<20).map(String.init))
    }

    @Test func `a handler that throws is run again at once, then later, then it is a dead letter`() async throws {
        let attempts = Guarded<[Int]>([])
        var router = self.router()
        let tiers = RetryTiers(
            immediate: 2,
            delayed: Backoff(initial: .seconds(1), factor: 3, cap: .seconds(300), jitter: 0)
        )
        router.consume(try self.group(3), retry: tiers) { delivery in
            attempts.withLock { $0.append(delivery.attempt) }
            throw Oops()
        }
        try await self.running(router) {
            try await self.transport.publish([self.message("1")])
            try await self.eventually { try await self.figures().delayed == 1 }
            #expect(attempts.current == [1, 1, 1])
            self.clock.advance(by: .milliseconds(999))
            #expect(try await self.figures().delayed == 1)
            self.clock.advance(by: .milliseconds(1))
            try await self.eventually { attempts.current.count == 6 }
            try await self.eventually { try await self.figures().delayed == 1 }
            self.clock.advance(by: .seconds(3))
            try await self.eventually { try await self.letters().count == 1 }
        }
        #expect(attempts.current == [1, 1, 1, 2, 2, 2, 3, 3, 3])
        let letter = try #require(try await self.letters().first)
        #expect(letter.attempts == 3 && letter.reason.contains("oops") && letter.reason.contains("last"))
    }

    @Test func `a permanent error goes to the dead letters at once`() async throws {
        let runs = Guarded(0)
        var router = self.router()
        router.consume(try self.group()) { _ in
            runs.withLock { $0 += 1 }
            throw Hopeless()
        }
        try await self.running(router) {
            try await self.transport.publish([self.message("1")])
            try await self.eventually { try await self.letters().count == 1 }
        }
        #expect(runs.current == 1)
        #expect(try await self.letters().map(\.reason) == ["hopeless"])
    }

    @Test func `a handler may settle itself`() async throws {
        var router = self.router()
        router.consumeAndSettle(try self.group()) { delivery in
            switch (delivery.message.id, delivery.attempt) {
            case ("late", 1): .retry(after: .seconds(5))
            case ("bad", _): .deadLetter(reason: "because")
            default: .ack
            }
        }
        try await self.running(router) {
            try await self.transport.publish([self.message("late"), self.message("bad"), self.message("good")])
            try await self.eventually {
                let figures = try await self.figures()
                return figures.delayed == 1 && figures.deadLettered == 1 && figures.ready + figures.unacknowledged == 0
            }
            self.clock.advance(by: .seconds(5))
            try await self.eventually { try await self.isIdle() }
        }
        #expect(try await self.letters().map(\.reason) == ["because"])
    }

    private struct Tracing: MessageMiddleware {
        let name: String
        let trace: Guarded<[String]>

        func handle(
            _ delivery: Delivery,
            next: @Sendable (Delivery) async throws -> Settlement
        ) async throws -> Settlement {
            self.trace.withLock { $0.append("\(self.name)>") }
            defer { self.trace.withLock { $0.append("<\(self.name)") } }
            return try await next(delivery)
        }
    }

    @Test func `middleware goes around the handler, outermost first, and around each try`() async throws {
        let trace = Guarded<[String]>([])
        var router = self.router([Tracing(name: "a", trace: trace), Tracing(name: "b", trace: trace)])
        router.consume(try self.group(), retry: RetryTiers(immediate: 1)) { _ in
            trace.withLock { $0.append("handler") }
            if trace.current.count < 5 { throw Oops() }
        }
        try await self.running(router) {
            try await self.transport.publish([self.message("1")])
            try await self.eventually { try await self.isIdle() }
        }
        let once = ["a>", "b>", "handler", "<b", "<a"]
        #expect(trace.current == once + once)
    }

    @Test func `a handler runs in its message's context`() async throws {
        let seen = Guarded<[RequestContext?]>([])
        var router = self.router()
        router.consume(try self.group()) { _ in seen.withLock { $0.append(RequestContext.current) } }
        let sender = RequestContext(
            requestID: "r-1",
            caller: "gateway",
            deadline: Deadline(after: .seconds(9), on: self.clock),
            correlationID: "saga-1",
            causationID: "m-0"
        )
        try await self.running(router) {
            try await self.transport.publish([self.message("m-1").carrying(sender, on: self.clock)])
            try await self.eventually { try await self.isIdle() }
        }
        var wanted = sender
        wanted.causationID = "m-1"
        #expect(seen.current == [wanted])
    }

    @Test func `a message past its time is not handled`() async throws {
        let runs = Guarded(0)
        var router = self.router([ExpiryMiddleware(time: self.clock)])
        router.consume(try self.group()) { _ in runs.withLock { $0 += 1 } }
        var late = self.message("late")
        late.expiresAt = self.clock.wallTime + .seconds(1)
        var early = self.message("early")
        early.expiresAt = self.clock.wallTime + .seconds(2)
        try await router.declareGroups()
        try await self.transport.publish([late, early, self.message("never")])
        self.clock.advance(by: .seconds(1))
        try await self.running(router) { try await self.eventually { try await self.isIdle() } }
        #expect(runs.current == 2)
        #expect(try await self.letters().map(\.message.id) == ["late"])
        #expect(try await self.letters().first?.reason.contains("expired") == true)
    }

    @Test func `no more handlers run than allowed, and as many as allowed`() async throws {
        let state = Guarded((running: 0, most: 0, isOpen: false))
        var router = self.router()
        router.consume(try self.group(), concurrency: 3) { _ in
            state.withLock { state in
                state.running += 1
                state.most = max(state.most, state.running)
            }
            while !state.current.isOpen, !Task.isCancelled { await Task.yield() }
            state.withLock { $0.running -= 1 }
        }
        try await self.running(router) {
            try await self.transport.publish((0..<20).map { self.message("\($0)") })
            try await self.eventually { state.current.running == 3 }
            for _ in 0..<100 { await Task.yield() }
            #expect(try await self.figures().unacknowledged == 3)
            state.withLock { $0.isOpen = true }
            try await self.eventually { try await self.isIdle() }
        }
        #expect(state.current.most == 3)
    }

    @Test func `a slow key holds up itself alone`() async throws {
        let done = Guarded<[String]>([])
        let isOpen = Guarded(false)
        var router = self.router()
        router.consume(try self.group(), concurrency: 8) { delivery in
            if delivery.message.id == "slow1" { while !isOpen.current, !Task.isCancelled { await Task.yield() } }
            done.withLock { $0.append(delivery.message.id) }
        }
        try await self.running(router) {
            let slow = (1...3).map { self.message("slow\($0)", key: "slow") }
            let fast = (1...5).map { self.message("fast\($0)", key: "fast") }
            try await self.transport.publish(slow + fast)
            try await self.eventually { done.current.count == 5 }
            #expect(done.current == (1...5).map { "fast\($0)" })
            isOpen.withLock { $0 = true }
            try await self.eventually { try await self.isIdle() }
        }
        #expect(done.current.suffix(3) == ["slow1", "slow2", "slow3"])
    }

    // MARK: Shutdown

    /// Two handlers at work, more messages waiting, and a shutdown in the middle.
    private func withShutdown(
        _ handler: @escaping MessageRouter.Handler,
        _ body: (ServiceGroup) async throws -> Void
    ) async throws {
        var router = self.router()
        router.consumeAndSettle(try self.group(), concurrency: 2, handler)
        try await router.declareGroups()
        try await self.transport.publish((0..<10).map { self.message("\($0)") })
        let group = ServiceGroup(services: [router], logger: .silent)
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            try await body(group)
            try await tasks.waitForAll()
        }
    }

    @Test func `on shutdown handlers finish, and nothing more is taken in`() async throws {
        let state = Guarded((started: 0, isOpen: false, cancelled: 0))
        try await self.withShutdown { _ in
            state.withLock { $0.started += 1 }
            while !state.current.isOpen { await Task.yield() }
            if Task.isCancelled { state.withLock { $0.cancelled += 1 } }
            return .ack
        } _: { group in
            try await self.eventually { state.current.started == 2 }
            await group.triggerGracefulShutdown()
            for _ in 0..<100 { await Task.yield() }
            state.withLock { $0.isOpen = true }
        }
        #expect(state.current.started == 2 && state.current.cancelled == 0)
        let figures = try await self.figures()
        #expect(figures.ready == 8 && figures.unacknowledged == 0)
    }

    @Test func `a backlog does not keep a router from shutting down`() async throws {
        let backlog = 20_000
        var router = self.router()
        let services = Guarded<ServiceGroup?>(nil)
        let handled = Guarded(0)
        router.consume(try self.group(), concurrency: 1_000) { delivery in
            handled.withLock { $0 += 1 }
            if delivery.message.id == "0" { await services.current?.triggerGracefulShutdown() }
        }
        try await router.declareGroups()
        try await self.transport.publish((0..<backlog).map { self.message("\($0)") })
        let group = ServiceGroup(services: [router], logger: .silent)
        services.withLock { $0 = group }
        try await group.run()
        let figures = try await self.figures()
        #expect(figures.ready > 0 && figures.unacknowledged == 0)
        #expect(figures.ready + handled.current == backlog)
    }

    @Test func `after the drain timeout handlers are cancelled, and their messages come again`() async throws {
        let state = Guarded((started: 0, cancelled: 0))
        try await self.withShutdown { _ in
            state.withLock { $0.started += 1 }
            do {
                try await self.clock.sleep(for: .seconds(1_000))
            } catch {
                state.withLock { $0.cancelled += 1 }
                throw error
            }
            return .ack
        } _: { group in
            try await self.eventually { state.current.started == 2 }
            await group.triggerGracefulShutdown()
            // Two handlers and the drain timeout.
            await self.clock.waitForSleepers(3)
            self.clock.advance(by: .milliseconds(2_999))
            #expect(state.current.cancelled == 0)
            self.clock.advance(by: .milliseconds(1))
        }
        #expect(state.current.started == 2 && state.current.cancelled == 2)
        let figures = try await self.figures()
        #expect(figures.ready == 10 && figures.delayed == 0 && figures.deadLettered == 0)
    }

    // MARK: A transport that fails

    @Test func `a settlement that cannot be stored is tried again, and the handler is not`() async throws {
        let broken = BrokenTransport(inner: self.transport)
        broken.refusedSettlements.withLock { $0 = 5 }
        var router = self.router(transport: broken)
        let runs = Guarded<[String]>([])
        router.consume(try self.group(), concurrency: 1) { delivery in
            runs.withLock { $0.append(delivery.message.id) }
        }
        try await self.running(router) {
            try await self.transport.publish([self.message("1", key: "k"), self.message("2", key: "k")])
            while runs.current != ["1", "2"] {
                try Task.checkCancellation()
                self.clock.advance(by: .milliseconds(50))
                for _ in 0..<10 { await Task.yield() }
            }
            try await self.eventually { try await self.isIdle() }
        }
        #expect(broken.refusedSettlements.current < 0)
    }

    @Test func `a transport that fails is tried again after a second, not at once`() async throws {
        let broken = BrokenTransport(inner: self.transport)
        var router = self.router(transport: broken)
        let seen = Guarded(0)
        router.consume(try self.group()) { _ in seen.withLock { $0 += 1 } }
        try await self.running(router) {
            try await self.eventually { broken.state.current.subscriptions == 1 }
            for fault in [BrokenTransport.Fault.refusesSubscription, .failsToReceive, .ends] {
                broken.state.withLock { $0 = (fault, 0) }
                // Ends a subscription that works.
                try await self.transport.publish([self.message("wake-\(fault)")])
                for attempt in 1...3 {
                    await self.clock.waitForSleepers(1)
                    for _ in 0..<100 { await Task.yield() }
                    #expect(broken.state.current.subscriptions == attempt - 1, "\(fault)")
                    if attempt == 3 { broken.state.withLock { $0.fault = nil } }
                    self.clock.advance(by: .seconds(1))
                }
                let before = seen.current
                try await self.transport.publish([self.message("after-\(fault)")])
                try await self.eventually { seen.current > before }
                try await self.eventually { try await self.isIdle() }
            }
        }
    }
}

/// A transport whose subscriptions go wrong while a test says so.
struct BrokenTransport: MessageTransport {
    enum Fault: Sendable { case refusesSubscription, failsToReceive, ends }

    let inner: any MessageTransport
    let state = Guarded<(fault: Fault?, subscriptions: Int)>((nil, 0))

    /// How many declarations fail.
    let refusedDeclarations = Guarded(0)
    /// How many settlements are not stored.
    let refusedSettlements = Guarded(0)

    private var error: MessagingError { MessagingError(.unavailable, "down", retry: .notSent) }

    var capabilities: TransportCapabilities { self.inner.capabilities }
    var deadLetters: any DeadLetterStore { self.inner.deadLetters }
    func declare(_ group: ConsumerGroup) async throws {
        let isRefused = self.refusedDeclarations.withLock { left in
            left -= 1
            return left >= 0
        }
        if isRefused { throw self.error }
        try await self.inner.declare(group)
    }
    func publish(_ messages: [Message]) async throws { try await self.inner.publish(messages) }
    func statistics() async throws -> [GroupStatistics] { try await self.inner.statistics() }
    func settle(_ delivery: Delivery.ID, _ settlement: Settlement) async throws {
        let isRefused = self.refusedSettlements.withLock { left in
            left -= 1
            return left >= 0
        }
        if isRefused { throw self.error }
        try await self.inner.settle(delivery, settlement)
    }

    func withSubscription<Value>(
        to group: String,
        prefetch: Int,
        _ body: (DeliverySequence) async throws -> Value
    ) async throws -> Value {
        let fault = self.state.withLock { state in
            state.subscriptions += 1
            return state.fault
        }
        switch fault {
        case .refusesSubscription: throw self.error
        case .failsToReceive: return try await body(DeliverySequence { throw self.error })
        case .ends: return try await body(DeliverySequence { nil })
        case nil:
            return try await self.inner.withSubscription(to: group, prefetch: prefetch) { deliveries in
                try await body(
                    DeliverySequence {
                        if self.state.current.fault != nil { throw self.error }
                        return try await deliveries.makeAsyncIterator().next()
                    }
                )
            }
        }
    }
}

/// Hands out for ever, as after one lost connection after another.
struct Flooding: MessageTransport {
    let inner: any MessageTransport

    var capabilities: TransportCapabilities { self.inner.capabilities }
    var deadLetters: any DeadLetterStore { self.inner.deadLetters }
    func declare(_ group: ConsumerGroup) async throws { try await self.inner.declare(group) }
    func publish(_ messages: [Message]) async throws { try await self.inner.publish(messages) }
    func statistics() async throws -> [GroupStatistics] { try await self.inner.statistics() }
    func settle(_ delivery: Delivery.ID, _ settlement: Settlement) async throws {}

    func withSubscription<Value>(
        to group: String,
        prefetch: Int,
        _ body: (DeliverySequence) async throws -> Value
    ) async throws -> Value {
        let count = Guarded<Int64>(0)
        return try await body(
            DeliverySequence {
                try Task.checkCancellation()
                let sequence = count.withLock { count in
                    count += 1
                    return count
                }
                return Delivery(
                    id: .init(group: group, sequence: sequence, token: sequence),
                    message: Message(id: "\(sequence)", source: "s", type: "t", data: []),
                    attempt: 1,
                    isLastAttempt: false
                )
            }
        )
    }
}
