import Logging
import ParleyCore
import ParleyMessaging
import ParleySagas
import ParleyTestKit
import ServiceLifecycle
import Testing

/// Monitor and operator over the in-memory backend.
@Suite(.timeLimit(.minutes(1)))
struct ChoreographyMonitorTests {
    fileprivate struct Rig: Sendable {
        let clock = ManualClock()
        let backend: InMemoryBackend
        let store = InMemoryChoreographyStore()
        let choreography: Choreography
        let monitor: ChoreographyMonitor
        let operators: ChoreographyOperator
        static let type = "order_choreography"

        init(_ configure: (inout ChoreographyMonitor.Configuration) -> Void = { _ in }) throws {
            self.backend = InMemoryBackend(time: self.clock)
            self.choreography = try OrderChoreography.load()
            var configuration = ChoreographyMonitor.Configuration()
            configure(&configuration)
            self.monitor = try ChoreographyMonitor(
                self.choreography,
                store: self.store,
                inbox: self.backend.inbox,
                transactions: self.backend,
                transport: self.backend.transport,
                configuration: configuration,
                time: self.clock,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            )
            self.operators = ChoreographyOperator(
                store: self.store,
                outbox: self.backend.outbox,
                transactions: self.backend,
                time: self.clock
            )
        }

        func message(
            _ type: String,
            of id: String? = "i1",
            after cause: String? = nil,
            id message: String? = nil
        ) -> Message {
            var headers: [String: String] = [:]
            headers["correlationid"] = id
            headers["causationid"] = cause
            return Message(
                id: message ?? "\(id ?? "none")-\(type)",
                source: "test",
                type: type,
                subject: "order-\(id ?? "none")",
                time: self.clock.wallTime,
                data: Array(#"{"of":"\#(type)"}"#.utf8),
                key: id,
                headers: headers
            )
        }

        func load(_ id: String = "i1") async throws -> ChoreographyInstance? {
            try await self.backend.withTransaction { try self.store.instance(id, of: Self.type, in: $0) }
        }

        func outgoing() async throws -> [Message] {
            try await self.backend.outbox.pending(limit: 100).rows.map(\.message)
        }

        /// Runs the monitor while `body` does.
        func running(_ body: () async throws -> Void) async throws {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await self.monitor.run() }
                try await body()
                group.cancelAll()
                try? await group.waitForAll()
            }
        }

        /// Two events of an order that then waits for its payment.
        func stopAtPayment() async throws {
            try await self.monitor.observe(self.message("order.created"))
            try await self.monitor.observe(self.message("inventory.reserved", after: "i1-order.created"))
        }
    }

    private func until(_ condition: () async throws -> Bool) async throws {
        while try await !condition() {
            try Task.checkCancellation()
            await Task.yield()
        }
    }

    // MARK: Watching

    @Test func eventsOfTheBusBecomeAnInstance() async throws {
        let rig = try Rig()
        try await rig.backend.transport.declare(rig.monitor.group)
        let types = ["order.created", "inventory.reserved", "payment.processed", "order.confirmed"]
        try await rig.backend.transport.publish(
            zip(types, [nil] + types.map { "i1-\($0)" }).map { rig.message($0, after: $1) }
        )
        try await rig.running {
            try await self.until { try await rig.load()?.status == .completed }
        }
        let instance = try #require(try await rig.load())
        #expect(instance.businessKey == "order-i1")
        #expect(Set(instance.events.map(\.type)) == Set(types))
        #expect(rig.choreography.topics.allSatisfy { rig.monitor.group.takes(topic: $0) })
    }

    @Test func theSameEventTwiceIsOneWithTwoCopies() async throws {
        let rig = try Rig()
        for _ in 0..<3 { try await rig.monitor.observe(rig.message("order.created")) }
        let instance = try #require(try await rig.load())
        #expect(instance.events.map(\.copies) == [3])
        let body = try await rig.backend.withTransaction {
            try rig.store.message("i1-order.created", of: "i1", type: Rig.type, in: $0)
        }
        #expect(body == rig.message("order.created"))
    }

    @Test func whatBelongsToNothingIsLeftOut() async throws {
        let rig = try Rig { $0.requiresMark = true }
        try await rig.monitor.observe(rig.message("order.created"))
        var foreign = rig.message("order.created", of: "i2")
        foreign.choreography = "another"
        try await rig.monitor.observe(foreign)
        var lost = rig.message("order.created", of: nil)
        lost.choreography = Rig.type
        try await rig.monitor.observe(lost)
        #expect(try await rig.store.instances(matching: ChoreographyQuery()) == [])
        var own = rig.message("order.created", of: "i3")
        own.choreography = Rig.type
        try await rig.monitor.observe(own)
        #expect(try await rig.store.instances(matching: ChoreographyQuery()).map(\.id) == ["i3"])
    }

    /// Nothing happens, and that is noticed: by the clock, to the moment.
    @Test func latenessIsNoticedByTime() async throws {
        let rig = try Rig()
        try await rig.stopAtPayment()
        #expect(try await rig.load()?.status == .running)
        try await rig.running {
            for (status, step) in [(ChoreographyStatus.late, Duration.seconds(11)), (.stuck, .seconds(61))] {
                rig.clock.advance(by: step)
                try await self.until {
                    // Whoever sleeps now has looked before the clock was moved.
                    rig.clock.advance(by: .milliseconds(100))
                    return try await rig.load()?.status == status
                }
            }
            #expect(try await rig.load()?.reason?.contains("payment-service") == true)
            #expect(try await rig.store.instances(matching: ChoreographyQuery(status: .stuck)).map(\.id) == ["i1"])
        }
    }

    @Test func whatIsOverIsForgottenAndADuplicateDoesNotBringItBack() async throws {
        let rig = try Rig { $0.retention = .seconds(3_600) }
        let end = rig.message("order.confirmed")
        try await rig.monitor.observe(end)
        #expect(try await rig.load()?.status == .completed)
        try await rig.running {
            rig.clock.advance(by: .seconds(3_700))
            try await self.until {
                rig.clock.advance(by: .seconds(1))
                return try await rig.load() == nil
            }
        }
        try await rig.monitor.observe(end)
        #expect(try await rig.load() == nil)
    }

    private struct Lost: Error {}

    /// Fails before a commit, or after it, as a process does that dies there.
    private struct FlakyTransactions: TransactionRunner {
        let backend: InMemoryBackend
        let random: SeededRandomSource

        func withTransaction<Value: Sendable>(
            _ body: @escaping @Sendable (any Transaction) throws -> Value
        ) async throws -> Value {
            if self.random.next() % 5 == 0 { throw Lost() }
            let value = try await self.backend.withTransaction(body)
            if self.random.next() % 5 == 0 { throw Lost() }
            return value
        }
    }

    /// Two monitors, each of whose commits may fail, or succeed without knowing it; events in any order, many twice.
    @Test(arguments: 0..<5) func eachEventCountsOnceWhateverFails(_ seed: UInt64) async throws {
        let rig = try Rig()
        let random = SeededRandomSource(seed: seed)
        let types = ["order.created", "inventory.reserved", "payment.processed", "order.confirmed"]
        var messages: [Message] = []
        for number in 0..<25 {
            for (type, cause) in zip(types, [nil] + types) {
                var message = rig.message(type, of: "i\(number)", after: cause.map { "i\(number)-\($0)" })
                // Without a key, so that the bus keeps no order, either.
                message.key = nil
                messages.append(message)
                if random.next() % 3 == 0 { messages.append(message) }
            }
        }
        for index in messages.indices { messages.swapAt(index, Int(random.next() % UInt64(messages.count))) }
        try await rig.backend.transport.declare(rig.monitor.group)
        try await rig.backend.transport.publish(messages)
        let monitors = try (0..<2).map { number in
            try ChoreographyMonitor(
                rig.choreography,
                store: rig.store,
                inbox: rig.backend.inbox,
                transactions: FlakyTransactions(
                    backend: rig.backend,
                    random: SeededRandomSource(seed: seed * 2 + UInt64(number))
                ),
                transport: rig.backend.transport,
                time: rig.clock,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            )
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for monitor in monitors { group.addTask { try await monitor.run() } }
            try await self.until {
                rig.clock.advance(by: .milliseconds(100))
                let statistics = try await rig.backend.transport.statistics()
                return statistics.allSatisfy { $0.ready + $0.delayed + $0.unacknowledged == 0 }
            }
            group.cancelAll()
            try? await group.waitForAll()
        }
        #expect(try await rig.backend.transport.deadLetters.list(group: nil, after: 0, limit: 10).isEmpty)
        for number in 0..<25 {
            let instance = try #require(try await rig.load("i\(number)"))
            #expect(instance.status == .completed)
            #expect(Set(instance.events.map(\.type)) == Set(types) && instance.events.count == types.count)
            #expect(instance.events.map(\.arrival) == Array(1...types.count))
            #expect(rig.verdict(instance).findings.allSatisfy { $0.isAboutDelivery })
        }
    }

    @Test func aChoreographyWithErrorsIsNotWatched() throws {
        let rig = try Rig()
        var broken = rig.choreography
        broken.events["payment.failed"]?.then = []
        func monitor(_ accepts: Bool) throws {
            _ = try ChoreographyMonitor(
                broken,
                store: rig.store,
                inbox: rig.backend.inbox,
                transactions: rig.backend,
                transport: rig.backend.transport,
                acceptsFindings: accepts,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            )
        }
        let error = #expect(throws: SagaError.self) { try monitor(false) }
        #expect(error?.code == .unsafeDefinition && error?.message.contains("C006") == true)
        try monitor(true)
    }

    /// A new version of the declaration does not judge what began under the old one.
    @Test func anInstanceKeepsItsChoreography() async throws {
        let rig = try Rig()
        try await rig.stopAtPayment()
        var changed = rig.choreography
        changed.events["inventory.reserved"]?.then = [
            .one(of: "payment.processed", "payment.failed", within: .seconds(900))
        ]
        let next = try ChoreographyMonitor(
            changed,
            store: rig.store,
            inbox: rig.backend.inbox,
            transactions: rig.backend,
            transport: rig.backend.transport,
            time: rig.clock,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        rig.clock.advance(by: .seconds(30))
        try await next.observe(rig.message("order.created"))
        try await next.observe(rig.message("order.created", of: "i2"))
        try await next.observe(rig.message("inventory.reserved", of: "i2", after: "i2-order.created"))
        rig.clock.advance(by: .seconds(30))
        try await next.observe(rig.message("order.created", of: "i2"))
        #expect(try await rig.load()?.status == .late)
        #expect(try await rig.load()?.definition == rig.choreography.fingerprint)
        #expect(try await rig.load("i2")?.status == .running)
    }

    // MARK: Mending

    @Test func injectSaysTheNextEventInTheServicesPlace() async throws {
        let rig = try Rig()
        try await rig.stopAtPayment()
        let dry = try await rig.operators.inject(
            "payment.processed",
            into: "i1",
            of: Rig.type,
            by: "ada",
            because: "paid by phone",
            isDryRun: true
        )
        #expect(dry.messages.map(\.type) == ["payment.processed"] && !dry.warnings.isEmpty)
        #expect(try await rig.outgoing() == [])
        #expect(try await rig.load()?.interventions == [])

        try await rig.operators.inject(
            "payment.processed",
            into: "i1",
            of: Rig.type,
            by: "ada",
            because: "paid by phone"
        )
        let message = try #require(try await rig.outgoing().first)
        #expect(message.correlationID == "i1" && message.subject == "order-i1" && message.key == "i1")
        #expect(message.headers["causationid"] == "i1-inventory.reserved")
        #expect(message.choreography == Rig.type && message.injectedBy == "ada")
        #expect(message.data == Array(#"{"of":"inventory.reserved"}"#.utf8))
        let audit = try #require(try await rig.load()?.interventions.first)
        #expect(audit.kind == .injected && audit.by == "ada" && audit.because == "paid by phone")
        #expect(audit.messageIDs == [message.id])
        try await rig.monitor.observe(message)
        let verdict = rig.verdict(try #require(try await rig.load()))
        #expect(verdict.findings == [] && verdict.timeline.last?.injectedBy == "ada")
        #expect(verdict.awaited.first?.oneOf == ["order.confirmed"])
    }

    @Test func injectRefusesWhatDoesNotFollowUnlessForced() async throws {
        let rig = try Rig()
        try await rig.stopAtPayment()
        func inject(_ event: String, _ id: String = "i1", isForced: Bool = false) async throws {
            try await rig.operators.inject(
                event,
                into: id,
                of: Rig.type,
                isForced: isForced,
                by: "ada",
                because: "test"
            )
        }
        for (event, id, code) in [
            ("order.confirmed", "i1", SagaError.Code.notAllowed), ("order.shipped", "i1", .unknownEvent),
            ("payment.processed", "i9", .unknownSaga),
        ] {
            let error = await #expect(throws: SagaError.self) { try await inject(event, id) }
            #expect(error?.code == code)
        }
        #expect(try await rig.outgoing() == [])
        try await inject("order.confirmed", isForced: true)
        #expect(try await rig.outgoing().map(\.type) == ["order.confirmed"])
    }

    /// One request, to the one that leads to all the others; what may be under way counts as done.
    @Test func compensateAsksTheFirstOfTheWayBack() async throws {
        let rig = try Rig()
        try await rig.stopAtPayment()
        let plan = try await rig.operators.compensate("i1", of: Rig.type, by: "ada", because: "customer called")
        #expect(plan.messages.map(\.type) == ["order.cancel"])
        let message = try #require(try await rig.outgoing().first)
        let request = try CompensationRequest(json: message.data)
        #expect(request.instance == "i1" && request.businessKey == "order-i1" && request.reason == "customer called")
        #expect(request.effects == ["inventory.reserved"])
        #expect(try await rig.load()?.interventions.map(\.kind) == [.compensated])
        // Even before anything has answered.
        try await rig.monitor.observe(rig.message("order.created", of: "i2"))
        #expect(
            try await rig.operators.compensate("i2", of: Rig.type, by: "ada", because: "x").messages.count == 1
        )
        // What has ended stays as it is.
        try await rig.monitor.observe(rig.message("order.confirmed"))
        let error = await #expect(throws: SagaError.self) {
            try await rig.operators.compensate("i1", of: Rig.type, by: "ada", because: "x")
        }
        #expect(error?.code == .notAllowed)
    }

    @Test func replaySaysTheSameAgainUnderANewID() async throws {
        let rig = try Rig()
        try await rig.stopAtPayment()
        rig.clock.advance(by: .seconds(30))
        // Without a word: the event after which something is awaited.
        try await rig.operators.replay("i1", of: Rig.type, by: "ada", because: "bus was down")
        try await rig.operators.replay("i1", of: Rig.type, from: "order.created", by: "ada", because: "again")
        let messages = try await rig.outgoing()
        #expect(messages.map(\.replayOf) == ["i1-inventory.reserved", "i1-order.created"])
        #expect(messages.map(\.type) == ["inventory.reserved", "order.created"])
        #expect(Set(messages.map(\.id)).count == 2 && !messages.contains { $0.id == $0.replayOf })
        #expect(messages.first?.data == Array(#"{"of":"inventory.reserved"}"#.utf8))
        for message in messages { try await rig.monitor.observe(message) }
        let instance = try #require(try await rig.load())
        #expect(rig.verdict(instance).timeline.count == 2)
        #expect(!rig.verdict(instance).findings.contains { $0.kind == .repeated })
        #expect(instance.interventions.map(\.because) == ["bus was down", "again"])
        // A replay of a replay is one of the original.
        try await rig.operators.replay("i1", of: Rig.type, from: messages[0].id, by: "ada", because: "third")
        #expect(try await rig.outgoing().last?.replayOf == "i1-inventory.reserved")
        let error = await #expect(throws: SagaError.self) {
            try await rig.operators.replay("i1", of: Rig.type, from: "payment.failed", by: "ada", because: "x")
        }
        #expect(error?.code == .unknownEvent)
    }
}

extension ChoreographyMonitorTests.Rig {
    fileprivate func verdict(_ instance: ChoreographyInstance) -> ChoreographyVerdict {
        ChoreographyMachine(self.choreography).verdict(of: instance, at: self.clock.wallTime)
    }
}
