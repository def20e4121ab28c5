import ParleyCore
import ParleyMessaging
import ParleyTestKit
import Testing

/// What goes wrong around a relay, beyond `OutboxRelayTests`.
@Suite(.timeLimit(.minutes(1))) struct OutboxRelayFaultTests {
    private let clock = ManualClock()
    private let backend: InMemoryBackend

    init() {
        self.backend = InMemoryBackend(time: self.clock)
    }

    private func relay(
        _ transport: any MessageTransport,
        owner: String = "one",
        batchSize: Int = 256
    ) -> OutboxRelay {
        OutboxRelay(
            store: self.backend.outbox,
            transport: transport,
            configuration: .init(
                batchSize: batchSize,
                backoff: Backoff(initial: .seconds(1), cap: .seconds(8), jitter: 0)
            ),
            owner: owner,
            time: self.clock,
            logger: .silent
        )
    }

    private func message(_ id: String, key: String? = nil) -> Message {
        Message(id: id, source: "s", type: "t", time: self.clock.wallTime, data: [], key: key)
    }

    private func append(_ messages: Message...) async throws {
        let outbox = self.backend.outbox
        try await self.backend.withTransaction { try outbox.append(messages, in: $0) }
    }

    /// Runs relays for the length of `body`, then cancels them.
    private func running<Value: Sendable>(
        _ relays: OutboxRelay...,
        body: () async throws -> Value
    ) async throws -> Value {
        try await self.backend.transport.declare(try ConsumerGroup("group", bindings: ["#"], lease: .seconds(3_600)))
        return try await withThrowingTaskGroup(of: Void.self) { group in
            for relay in relays { group.addTask { try await relay.run() } }
            defer { group.cancelAll() }
            return try await body()
        }
    }

    private func received(_ count: Int) async throws -> [String] {
        let transport = self.backend.transport
        return try await transport.withSubscription(to: "group", prefetch: 100) { deliveries in
            var ids: [String] = []
            for try await delivery in deliveries {
                ids.append(delivery.message.id)
                try await transport.settle(delivery.id, .ack)
                if ids.count == count { break }
            }
            return ids
        }
    }

    private func nextDue() async throws -> Timestamp {
        while true {
            try Task.checkCancellation()
            if let due = try await self.backend.outbox.pending(limit: 1).nextDue { return due }
            await Task.yield()
        }
    }

    private func waitUntilEmpty() async throws {
        while try await self.backend.outbox.statistics().pending > 0 {
            try Task.checkCancellation()
            await Task.yield()
        }
    }

    @Test func `an append is sent without any time passing`() async throws {
        try await self.running(self.relay(self.backend.transport)) {
            for round in 0..<50 {
                try await self.append(self.message("a\(round)", key: "k"), self.message("b\(round)", key: "k"))
                #expect(try await self.received(2) == ["a\(round)", "b\(round)"])
            }
            try await self.waitUntilEmpty()
        }
    }

    @Test func `a broker that is down is asked again, with growing waits`() async throws {
        let failures = Guarded(3)
        let faulty = FaultyTransport(self.backend.transport) { _ in
            failures.withLock { left in
                left -= 1
                return left >= 0 ? .fail() : nil
            }
        }
        try await self.append(self.message("1", key: "k"))
        try await self.running(self.relay(faulty)) {
            for (attempt, wait) in [1, 2, 4].enumerated() {
                await faulty.waitForAttempts(attempt + 1)
                let due = try await self.nextDue()
                #expect(due - self.clock.wallTime == .seconds(wait))
                #expect(try await self.backend.outbox.statistics().worstFailure?.contains("down") == true)
                self.clock.advance(to: due)
            }
            #expect(try await self.received(1) == ["1"])
            try await self.waitUntilEmpty()
        }
        #expect(faulty.attempts == [["1"], ["1"], ["1"], ["1"]])
    }

    @Test func `what is sent twice has its effect once, by the inbox`() async throws {
        let isFirst = Guarded(true)
        let faulty = FaultyTransport(self.backend.transport) { _ in
            isFirst.withLock { first in
                defer { first = false }
                return first ? .loseConfirmation : nil
            }
        }
        try await self.append(self.message("1", key: "k"))
        try await self.running(self.relay(faulty)) {
            self.clock.advance(to: try await self.nextDue())
            let ids = try await self.received(2)
            let inbox = self.backend.inbox
            let admitted = try await self.backend.withTransaction { transaction in
                try ids.map { try inbox.admit($0, to: "c", in: transaction) }
            }
            #expect(admitted == [true, false])
        }
    }

    @Test func `a relay that was replaced sends nothing more`() async throws {
        let hanging = FaultyTransport(self.backend.transport) { _ in .hang }
        let working = FaultyTransport(self.backend.transport) { _ in nil }
        try await self.append(self.message("1", key: "k"), self.message("2", key: "k"))
        try await self.running(self.relay(hanging, owner: "one")) {
            await hanging.waitForHanging(1)
            let start = self.clock.wallTime
            try await self.running(self.relay(working, owner: "two")) {
                while working.attempts.isEmpty {
                    await self.clock.waitForSleepers(1)
                    self.clock.advance(by: .milliseconds(100))
                }
                let silence = self.clock.wallTime - start
                #expect(silence >= .seconds(4) && silence <= .seconds(5), "\(silence)")
                #expect(try await self.received(2) == ["1", "2"])
                try await self.waitUntilEmpty()
                // Its publish goes through at last: at least once, under the same ids.
                hanging.release()
                #expect(try await self.received(2) == ["1", "2"])
                for id in ["3", "4"] {
                    try await self.append(self.message(id, key: "k"))
                    #expect(try await self.received(1) == [id])
                }
                try await self.waitUntilEmpty()
            }
        }
        #expect(hanging.attempts == [["1", "2"]])
    }

    @Test func `a send that is cut off by the shutdown is no failure`() async throws {
        let hanging = FaultyTransport(self.backend.transport) { _ in .hang }
        try await self.append(self.message("1", key: "k"), self.message("2", key: "k"))
        try await self.running(self.relay(hanging, owner: "one")) { await hanging.waitForHanging(1) }
        let batch = try await self.backend.outbox.pending(limit: 10)
        #expect(batch.rows.map(\.message.id) == ["1", "2"] && batch.rows.map(\.failures) == [0, 0])
        #expect(hanging.attempts.count == 1)
    }

    @Test func `of three relays one sends`() async throws {
        let transports = (0..<3).map { _ in FaultyTransport(self.backend.transport) { _ in nil } }
        for number in 0..<100 { try await self.append(self.message("\(number)", key: "k")) }
        try await self.running(
            self.relay(transports[0], owner: "0", batchSize: 7),
            self.relay(transports[1], owner: "1", batchSize: 7),
            self.relay(transports[2], owner: "2", batchSize: 7)
        ) {
            #expect(try await self.received(100) == (0..<100).map(String.init))
            try await self.waitUntilEmpty()
        }
        #expect(transports.count { !$0.attempts.isEmpty } == 1)
    }
}
