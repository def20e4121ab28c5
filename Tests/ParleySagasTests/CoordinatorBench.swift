import Logging
import ParleyCore
import ParleyMessaging
import ParleySagas
import ParleyTestKit
import ServiceLifecycle
import Testing

/// A store, a clock, and coordinators on them.
struct CoordinatorBench: Sendable {
    let clock = ManualClock()
    let store: InMemorySagaStore
    let backend: InMemoryBackend

    init() {
        self.store = InMemorySagaStore(time: self.clock)
        self.backend = InMemoryBackend(time: self.clock)
    }

    func coordinator(
        _ definition: SagaDefinition,
        _ actions: [String: SagaAction],
        configuration: SagaCoordinator.Configuration = .init(),
        owner: String = "one",
        isPaused: Bool = false
    ) throws -> SagaCoordinator {
        self.coordinator(
            sagas: [try SagaRegistration(definition, actions: actions)],
            configuration: configuration,
            owner: owner,
            isPaused: isPaused
        )
    }

    /// - Parameter isPaused: For it no time passes, and nothing wakes it: of its lease it hears when it next writes.
    func coordinator(
        sagas: [SagaRegistration],
        configuration: SagaCoordinator.Configuration = .init(),
        owner: String = "one",
        isPaused: Bool = false
    ) -> SagaCoordinator {
        SagaCoordinator(
            store: isPaused ? UnwakingStore(inner: self.store) : self.store,
            transactions: self.backend,
            sagas: sagas,
            configuration: configuration,
            owner: owner,
            time: isPaused ? ManualClock() : self.clock,
            logger: .silent
        )
    }

    /// Runs coordinators for the length of `body`, then cancels them.
    func running<Value: Sendable>(
        _ coordinators: SagaCoordinator...,
        body: () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for coordinator in coordinators { group.addTask { try await coordinator.run() } }
            defer { group.cancelAll() }
            return try await body()
        }
    }

    func load(_ id: String) async throws -> SagaInstance {
        try #require(try await self.store.instances(matching: SagaQuery(id: id)).first)
    }

    /// Lets time jump from try to try until `condition` holds.
    @discardableResult
    func settle(
        _ id: String,
        until condition: @Sendable (SagaInstance) -> Bool = { $0.status.isTerminal }
    ) async throws -> SagaInstance {
        while true {
            try Task.checkCancellation()
            let saga = try await self.load(id)
            if condition(saga) { return saga }
            if saga.owner == nil, let dueAt = saga.dueAt { self.clock.advance(to: dueAt) }
            await Task.yield()
        }
    }

    func kinds(_ id: String) async throws -> [SagaEvent.Kind] { try await self.store.history(of: id).map(\.kind) }
}

/// A store that looks for work once and then wakes nobody.
struct UnwakingStore: SagaStore {
    let inner: any SagaStore

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
    ) async throws -> SagaCommit { try await self.inner.commit(expected, body) }

    func claim(owner: String, lease: Duration?, limit: Int) async throws -> SagaClaim {
        try await self.inner.claim(owner: owner, lease: lease, limit: limit)
    }

    func renew(owner: String, lease: Duration) async throws {
        try await self.inner.renew(owner: owner, lease: lease)
    }

    func instances(matching query: SagaQuery) async throws -> [SagaInstance] {
        try await self.inner.instances(matching: query)
    }

    func history(of id: String) async throws -> [SagaEvent] { try await self.inner.history(of: id) }

    func definition(_ fingerprint: String) async throws -> String? { try await self.inner.definition(fingerprint) }

    func waitForWork(after generation: UInt64, until instant: ContinuousClock.Instant?) async -> UInt64 {
        let stopped = ManualClock()
        try? await stopped.sleep(for: .seconds(1))
        return generation
    }
}

/// Lets a task wait until a test lets it go on, or cancels it.
final class Gate: Sendable {
    private struct State: Sendable {
        var isOpen = false
        var waiting = 0
    }

    private let state = Guarded(State())

    var waiting: Int { self.state.current.waiting }

    func open() { self.state.withLock { $0.isOpen = true } }

    func pass() async {
        self.state.withLock { $0.waiting += 1 }
        while !self.state.current.isOpen, !Task.isCancelled { await Task.yield() }
        self.state.withLock { $0.waiting -= 1 }
    }

    func waitForOne() async throws {
        while self.waiting == 0 {
            try Task.checkCancellation()
            await Task.yield()
        }
    }
}

/// One step, and what undoes it.
enum SmallSaga {
    static func make(
        onUnknown: Bool = false,
        attempts: Int = 3,
        onFailure: String? = "SAGA_FAILED"
    ) -> SagaDefinition {
        let backoff = Backoff(initial: .seconds(1), cap: .seconds(2), jitter: 0)
        let retry = SagaDefinition.Retry(maximumAttempts: attempts, timeout: .seconds(60), backoff: backoff)
        return SagaDefinition(
            name: "small",
            initial: "A",
            states: [
                "A": .init(
                    action: "reserve_x",
                    onSuccess: "SAGA_COMPLETED",
                    onFailure: onFailure,
                    onUnknown: onUnknown ? "U" : nil,
                    retry: retry
                ),
                "U": .init(action: "release_x", onSuccess: "SAGA_FAILED", retry: retry),
            ]
        )
    }

    static func actions(
        reserve: @escaping @Sendable (SagaCommand) async -> SagaOutcome,
        release: @escaping @Sendable (SagaCommand) async -> SagaOutcome = { _ in .success(output: nil) }
    ) -> [String: SagaAction] {
        ["reserve_x": .remote(reserve), "release_x": .remote(release)]
    }
}
