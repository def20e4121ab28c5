import ParleyCore
import ParleyMessaging
import ParleySagas
import ParleyTestKit
import Testing

/// A store whose answers get lost, or that is away for a while.
@Suite(.timeLimit(.minutes(1))) struct SagaFaultTests {
    private let bench = CoordinatorBench()
    private let fault = Fault()

    private func coordinator(
        _ definition: SagaDefinition = SmallSaga.make(),
        _ actions: [String: SagaAction] = SmallSaga.actions { _ in .success(output: nil) }
    ) throws -> SagaCoordinator {
        SagaCoordinator(
            store: FaultyStore(inner: self.bench.store, fault: self.fault),
            transactions: FaultyTransactions(inner: self.bench.backend, fault: self.fault),
            sagas: [try SagaRegistration(definition, actions: actions)],
            owner: "one",
            time: self.bench.clock,
            logger: .silent
        )
    }

    /// Lets a tenth of a lease pass again and again until `condition` holds.
    private func pass(until condition: () async throws -> Bool) async throws {
        while !(try await condition()) {
            try Task.checkCancellation()
            self.bench.clock.advance(by: .milliseconds(400))
            await Task.yield()
        }
    }

    @Test func `a start whose answer was lost is driven by the coordinator that lives on`() async throws {
        let coordinator = try self.coordinator()
        try await self.bench.running(coordinator) {
            try await self.untilRunning(coordinator)
            self.fault.arm(.transactionAnswer)
            await #expect(throws: Lost.self) {
                try await coordinator.start("small", businessKey: "k", input: "")
            }
            // Somebody who is at work all the time keeps the lease alive.
            try await self.pass {
                try await coordinator.start("small", businessKey: UUIDv7Generator.shared.next().description, input: "")
                return try await self.saga("k").status == .completed
            }
        }
    }

    @Test func `a claim whose answer was lost is given back and driven`() async throws {
        let coordinator = try self.coordinator()
        self.fault.arm(.claimAnswer)
        // Started by a coordinator that does not run, it waits to be claimed.
        try await coordinator.start("small", businessKey: "k", input: "")
        try await self.bench.running(coordinator) {
            try await self.pass {
                try await coordinator.start("small", businessKey: UUIDv7Generator.shared.next().description, input: "")
                return try await self.saga("k").status == .completed
            }
        }
        #expect(self.fault.wasHit)
    }

    @Test func `a definition that cannot be read for a moment does not park the saga`() async throws {
        let old = try self.coordinator(SmallSaga.make(attempts: 9))
        let id = try await old.start("small", businessKey: "k", input: "").id
        let coordinator = try self.coordinator()
        self.fault.arm(.definition)
        try await self.bench.running(coordinator) {
            try await self.pass { try await self.saga("k").status == .completed }
        }
        #expect(self.fault.wasHit)
        #expect(try await self.bench.kinds(id).contains(.stuck) == false)
    }

    @Test func `a saga without its action is stuck, and goes on with a program that has it`() async throws {
        let old = try self.coordinator()
        let id = try await old.start("small", businessKey: "k", input: "").id
        // The same definition's name, and of its actions only others.
        let other = SagaDefinition(
            name: "small",
            initial: "B",
            states: ["B": .init(action: "other", onSuccess: "SAGA_COMPLETED", onFailure: "SAGA_FAILED")]
        )
        let lacking = try self.coordinator(other, ["other": .remote { _ in .success(output: nil) }])
        try await self.bench.running(lacking) {
            try await self.pass { try await self.saga("k").status == .stuck }
            let before = try await self.saga("k").version
            try await self.pass { try await self.saga("k").version > before + 6 }
        }
        #expect(try await self.bench.kinds(id).count { $0 == .stuck } == 1, "one line, however often it is tried")
        #expect(try await self.saga("k").reason?.contains("reserve_x") == true)
        try await self.bench.running(try self.coordinator()) {
            try await self.pass { try await self.saga("k").status == .completed }
        }
    }

    @Test func `a saga that could not be parked is given back`() async throws {
        let old = try self.coordinator()
        try await old.start("small", businessKey: "k", input: "")
        let other = SagaDefinition(
            name: "small",
            initial: "B",
            states: ["B": .init(action: "other", onSuccess: "SAGA_COMPLETED", onFailure: "SAGA_FAILED")]
        )
        let lacking = try self.coordinator(other, ["other": .remote { _ in .success(output: nil) }])
        self.fault.arm(.commit)
        try await self.bench.running(lacking) {
            try await self.pass {
                try await lacking.start("small", businessKey: UUIDv7Generator.shared.next().description, input: "")
                return try await self.saga("k").status == .stuck
            }
        }
        #expect(self.fault.wasHit)
    }

    private func saga(_ key: String) async throws -> SagaInstance {
        try #require(try await self.bench.store.instances(matching: SagaQuery(businessKey: key)).first)
    }

    private func untilRunning(_ coordinator: SagaCoordinator) async throws {
        let id = try await coordinator.start("small", businessKey: "first", input: "").id
        try await self.bench.settle(id)
    }
}

private struct Lost: Error {}

/// What goes wrong next, once.
private final class Fault: Sendable {
    enum Point: Sendable { case transactionAnswer, claimAnswer, definition, commit }

    private let state = Guarded<(next: Point?, hits: Int)>((nil, 0))

    var wasHit: Bool { self.state.current.hits > 0 }

    func arm(_ point: Point) { self.state.withLock { $0.next = point } }

    func hit(_ point: Point) throws {
        try self.state.withLock { state in
            guard state.next == point else { return }
            state.next = nil
            state.hits += 1
            throw Lost()
        }
    }
}

private struct FaultyTransactions: TransactionRunner {
    let inner: any TransactionRunner
    let fault: Fault

    func withTransaction<Value: Sendable>(
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        let value = try await self.inner.withTransaction(body)
        try self.fault.hit(.transactionAnswer)
        return value
    }
}

private struct FaultyStore: SagaStore {
    let inner: any SagaStore
    let fault: Fault

    func create(
        _ instance: SagaInstance,
        definition: String,
        events: [SagaEvent],
        in transaction: any Transaction
    ) throws -> SagaInstance? {
        try self.inner.create(instance, definition: definition, events: events, in: transaction)
    }

    func commit(
        _ expected: SagaInstance,
        _ body: @escaping @Sendable (any Transaction) throws -> SagaTransition
    ) async throws -> SagaCommit {
        try self.fault.hit(.commit)
        return try await self.inner.commit(expected, body)
    }

    func claim(owner: String, lease: Duration?, limit: Int) async throws -> SagaClaim {
        let claim = try await self.inner.claim(owner: owner, lease: lease, limit: limit)
        if !claim.instances.isEmpty { try self.fault.hit(.claimAnswer) }
        return claim
    }

    func renew(owner: String, lease: Duration) async throws {
        try await self.inner.renew(owner: owner, lease: lease)
    }

    func instances(matching query: SagaQuery) async throws -> [SagaInstance] {
        try await self.inner.instances(matching: query)
    }

    func history(of id: String) async throws -> [SagaEvent] { try await self.inner.history(of: id) }

    func definition(_ fingerprint: String) async throws -> String? {
        try self.fault.hit(.definition)
        return try await self.inner.definition(fingerprint)
    }

    func waitForWork(after generation: UInt64, until instant: ContinuousClock.Instant?) async -> UInt64 {
        await self.inner.waitForWork(after: generation, until: instant)
    }
}
