import Logging
import ParleyCore
import ParleyMessaging
import ParleyTestKit
import ServiceLifecycle
import Testing

@Suite(.timeLimit(.minutes(1))) struct OutboxRelayTests {
    private let clock = ManualClock()
    private let backend: InMemoryBackend
    private let logger = Logger.silent

    init() { self.backend = InMemoryBackend(time: self.clock) }

    private func message(_ id: String, key: String? = nil) -> Message {
        Message(id: id, source: "test", type: "t.\(id)", time: self.clock.wallTime, data: [], key: key)
    }

    private func append(_ messages: [Message]) async throws {
        let outbox = self.backend.outbox
        try await self.backend.withTransaction { try outbox.append(messages, in: $0) }
    }

    private func relay(_ owner: String = "one", over transport: any MessageTransport, batch: Int = 256) -> OutboxRelay {
        OutboxRelay(
            store: self.backend.outbox,
            transport: transport,
            configuration: .init(
                batchSize: batch,
                lease: .seconds(4),
                backoff: Backoff(initial: .seconds(1), factor: 1, cap: .seconds(1), jitter: 0)
            ),
            owner: owner,
            time: self.clock,
            random: SeededRandomSource(seed: 1),
            logger: self.logger
        )
    }

    /// Moves the clock, little by little, until it is so.
    private func until(_ condition: () async throws -> Bool) async throws {
        while try await !condition() {
            try Task.checkCancellation()
            self.clock.advance(by: .milliseconds(20))
            for _ in 0..<20 { await Task.yield() }
        }
    }

    private func whileRunning(
        _ services: [any Service],
        _ body: () async throws -> Void
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for service in services { group.addTask { try await service.run() } }
            try await body()
            group.cancelAll()
        }
    }

    private func ready() async throws -> Int {
        try await self.backend.transport.statistics().first?.ready ?? 0
    }

    @Test func `sends in order and removes what is confirmed`() async throws {
        try await self.backend.transport.declare(ConsumerGroup("g", bindings: ["#"]))
        try await self.append((0..<500).map { self.message("\($0)", key: "k") })
        let transport = FaultyTransport(self.backend.transport) { _ in nil }
        try await self.whileRunning([self.relay(over: transport)]) {
            try await self.until { try await self.backend.outbox.statistics().pending == 0 }
        }
        #expect(transport.attempts.flatMap(\.self) == (0..<500).map(String.init))
        #expect(try await self.ready() == 500)
    }

    @Test func `one poisoned message holds back its key and nothing else`() async throws {
        try await self.backend.transport.declare(ConsumerGroup("g", bindings: ["#"]))
        try await self.append([
            self.message("a1", key: "a"), self.message("poison", key: "b"), self.message("b2", key: "b"),
            self.message("a2", key: "a"), self.message("free"),
        ])
        let transport = FaultyTransport(self.backend.transport) { messages in
            messages.contains { $0.id == "poison" }
                ? .fail(MessagingError(.invalidMessage, "poison", retry: .permanent)) : nil
        }
        try await self.whileRunning([self.relay(over: transport)]) {
            try await self.until { try await self.backend.outbox.statistics().pending == 2 }
            let statistics = try await self.backend.outbox.statistics()
            #expect(statistics.blocked == 2)
            #expect(statistics.worstFailure?.contains("poison") == true)
            // It goes on being tried, and does not get in the way of what comes later.
            let before = transport.attempts.count { $0 == ["poison"] }
            try await self.append([self.message("late", key: "c")])
            try await self.until {
                let tries = transport.attempts.count { $0.contains("poison") }
                return try await self.ready() == 4 && tries > before + 2
            }
        }
        #expect(try await self.ready() == 4)
    }

    @Test func `a lost confirmation sends again under the same id`() async throws {
        try await self.backend.transport.declare(ConsumerGroup("g", bindings: ["#"]))
        try await self.append([self.message("m")])
        let tries = Guarded(0)
        let transport = FaultyTransport(self.backend.transport) { _ in
            tries.withLock { $0 += 1 }
            return tries.current == 1 ? .loseConfirmation : nil
        }
        try await self.whileRunning([self.relay(over: transport)]) {
            try await self.until { try await self.backend.outbox.statistics().pending == 0 }
        }
        #expect(transport.attempts == [["m"], ["m"]])
        #expect(try await self.ready() == 2)
    }

    @Test func `another relay takes over within five seconds, and the paused one does no harm`() async throws {
        try await self.backend.transport.declare(ConsumerGroup("g", bindings: ["#"]))
        try await self.append([self.message("m")])
        // The first hangs in its send, as a process does that is stopped there.
        let hanging = FaultyTransport(self.backend.transport) { _ in .hang }
        try await self.whileRunning([self.relay("one", over: hanging)]) {
            await hanging.waitForHanging(1)
            let epoch = try #require(try await self.backend.outbox.lease(to: "one", for: .seconds(4)))
            let start = self.clock.now
            try await self.whileRunning([self.relay("two", over: self.backend.transport)]) {
                try await self.until { try await self.backend.outbox.statistics().pending == 0 }
                #expect(start.duration(to: self.clock.now) <= .seconds(5))
                #expect(start.duration(to: self.clock.now) >= .seconds(4), "not while the first one's lease runs")
                // Now it wakes up: what it sent comes a second time, what it records is refused.
                try await self.append([self.message("next", key: "n")])
                hanging.release()
                let isRecorded = try await self.backend.outbox.record(sent: [2], failed: [], under: epoch)
                #expect(!isRecorded)
                try await self.until { try await self.ready() >= 2 }
            }
        }
        #expect(try await self.backend.outbox.statistics().pending == 0)
    }

    @Test func `a graceful shutdown gives the lease back at once`() async throws {
        try await self.append([self.message("m")])
        try await self.whileRunning([self.relay(over: self.backend.transport)]) {
            try await self.until { try await self.backend.outbox.statistics().pending == 0 }
            #expect(try await self.backend.outbox.lease(to: "two", for: .seconds(4)) == nil)
        }
        #expect(try await self.backend.outbox.lease(to: "two", for: .seconds(4)) != nil)
    }
}
