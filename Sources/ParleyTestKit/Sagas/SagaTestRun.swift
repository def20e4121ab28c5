internal import Logging
internal import ParleyCore
internal import ParleySagas

/// One run of a saga on one stage: the coordinators, the clock and what goes wrong.
final class SagaTestRun: Sendable {
    private struct State: Sendable {
        var lossesLeft: Int
        var isHealed = false
        var actions = 0
        var disagreement: String?
    }

    private let stage: SagaTest.Stage
    private let clock: ManualClock
    private let fault: @Sendable (SagaCall) -> SagaFault
    private let state: Guarded<State>
    /// What the first coordinator sees; it goes dark when that one crashes.
    private let store: CrashingSagaStore

    init(
        stage: SagaTest.Stage,
        clock: ManualClock,
        crash: SagaCrash?,
        losses: Int,
        fault: @escaping @Sendable (SagaCall) -> SagaFault
    ) {
        self.stage = stage
        self.clock = clock
        self.fault = fault
        self.state = Guarded(State(lossesLeft: losses))
        self.store = CrashingSagaStore(stage.store, crash: crash)
    }

    var hasCrashed: Bool { self.store.isDead }

    /// Starts the saga and takes it to its end.
    func play() async throws -> SagaInstance {
        let configuration = SagaCoordinator.Configuration()
        let first = try self.coordinator(on: self.store, configuration, crashes: true)
        let (id, saga) = try await self.whileRunning(first) {
            await self.store.waitForClaim()
            let started = try await first.start(
                self.stage.registration.definition.name,
                businessKey: self.stage.businessKey,
                input: self.stage.input
            )
            return (started.id, try await self.settle(started.id, on: self.store))
        }
        if let saga { return try self.checked(saga) }
        // The first one is dead. Nobody knows but by its silence.
        self.clock.advance(by: configuration.lease + .milliseconds(1))
        let survivor = CrashingSagaStore(self.stage.store, crash: nil)
        let second = try self.coordinator(on: survivor, configuration, crashes: false)
        let ended = try await self.whileRunning(second) { try await self.settle(id, on: survivor) }
        return try self.checked(try require(ended, "the saga to end after a take-over"))
    }

    private func checked(_ saga: SagaInstance) throws -> SagaInstance {
        if let disagreement = self.state.current.disagreement {
            throw ConformanceFailure("the same answer when a step is done twice", got: disagreement)
        }
        return saga
    }

    private func coordinator(
        on store: CrashingSagaStore,
        _ configuration: SagaCoordinator.Configuration,
        crashes: Bool
    ) throws -> SagaCoordinator {
        let registration = self.stage.registration
        let actions = registration.actions.mapValues { self.disturbed($0, crashes ? store : nil) }
        return SagaCoordinator(
            store: store,
            transactions: self.stage.transactions,
            sagas: [try SagaRegistration(registration.definition, actions: actions, acceptsFindings: true)],
            configuration: configuration,
            time: self.clock,
            logger: Logger(label: "saga-test") { _ in SwiftLogNoOpLogHandler() }
        )
    }

    private func whileRunning<Value: Sendable>(
        _ coordinator: SagaCoordinator,
        _ body: () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await coordinator.run() }
            defer { group.cancelAll() }
            return try await body()
        }
    }

    /// Lets time jump to whenever the saga wants to go on, until it ends; `nil` when its coordinator has crashed.
    private func settle(_ id: String, on store: CrashingSagaStore) async throws -> SagaInstance? {
        while true {
            try Task.checkCancellation()
            let generation = store.signal.generation
            if store.isDead { return nil }
            let stored = try await self.stage.store.instances(matching: SagaQuery(id: id)).first
            let saga = try require(stored, "the saga to be stored")
            if saga.status.isTerminal { return saga }
            if saga.status == .stuck {
                self.state.withLock { $0.isHealed = true }
                if saga.owner == nil, saga.dueAt == nil {
                    throw ConformanceFailure("an end", got: "stuck in '\(saga.state)': \(saga.reason ?? "")")
                }
            }
            // While somebody drives it, time stands still: a slow test machine is no timeout.
            if saga.owner == nil, let dueAt = saga.dueAt { self.clock.advance(to: dueAt) }
            await store.signal.wait(after: generation, until: nil, on: self.clock)
        }
    }

    // MARK: Disturbing actions

    private struct Lost: Error {}

    private func disturbed(_ action: SagaAction, _ crashing: CrashingSagaStore?) -> SagaAction {
        switch action.kind {
        case .remote(let perform):
            return .remote { command in
                await crashing?.beforeAction()
                switch self.takeFault(command) {
                case .none: return await perform(command)
                case .refuse: return .rejected(reason: "refused by the test")
                case .twice:
                    let first = await perform(command)
                    let second = await perform(command)
                    self.compare(first, second, command)
                    return second
                case .loseAnswer:
                    _ = await perform(command)
                    return .unknown(reason: "the answer was lost by the test", retry: .mayHaveRun)
                case .loseRequest:
                    return .unknown(reason: "the request was lost by the test", retry: .mayHaveRun)
                }
            }
        case .local(let perform):
            // One transaction with the saga's own step: it cannot be done twice, and what is lost is rolled back.
            return .local { command, transaction in
                switch self.takeFault(command) {
                case .none, .twice: return try perform(command, transaction)
                case .refuse: return .rejected(reason: "refused by the test")
                case .loseAnswer:
                    _ = try perform(command, transaction)
                    throw Lost()
                case .loseRequest:
                    throw Lost()
                }
            }
        }
    }

    private func takeFault(_ command: SagaCommand) -> SagaFault {
        let fault = self.fault(SagaCall(action: command.action, operation: command.operation))
        switch fault {
        case .none, .twice, .refuse: return fault
        case .loseAnswer, .loseRequest:
            return self.state.withLock { state in
                guard !state.isHealed, state.lossesLeft > 0 else { return SagaFault.none }
                state.lossesLeft -= 1
                return fault
            }
        }
    }

    private func compare(_ first: SagaOutcome, _ second: SagaOutcome, _ command: SagaCommand) {
        switch (first, second) {
        // A participant may not know yet, or be busy with the first one.
        case (.unknown, _), (.ongoing, _), (_, .unknown), (_, .ongoing): return
        default: break
        }
        guard first != second else { return }
        self.state.withLock { state in
            state.disagreement = state.disagreement ?? "\(command.action): first \(first), then \(second)"
        }
    }
}

/// A ``ParleySagas/SagaStore`` that rings at each change, and at a given point goes dark for whoever uses it: nothing
/// that it is asked after that is done, or answered before the asker is cancelled.
final class CrashingSagaStore: SagaStore {
    private struct State: Sendable {
        var isDead = false
        var actions = 0
        var commits = 0
        var claims = 0
    }

    let signal = Signal()
    private let inner: any SagaStore
    private let crash: SagaCrash?
    private let state = Guarded(State())

    init(_ inner: any SagaStore, crash: SagaCrash?) {
        self.inner = inner
        self.crash = crash
    }

    var isDead: Bool { self.state.current.isDead }

    /// Returns once a coordinator looks for work: it is running.
    func waitForClaim() async {
        while !Task.isCancelled {
            let generation = self.signal.generation
            if self.state.current.claims > 0 { return }
            await self.signal.wait(after: generation, until: nil, on: SystemTimeSource())
        }
    }

    func beforeAction() async {
        let number = self.state.withLock { state in
            state.actions += 1
            return state.actions
        }
        guard self.isDead || self.isCrash(.beforeAction, number) else { return }
        self.die()
        try? await self.darkness()
    }

    private func isCrash(_ side: SagaCrash.Side, _ number: Int) -> Bool {
        self.crash?.side == side && self.crash?.number == number
    }

    private func die() {
        self.state.withLock { $0.isDead = true }
        self.signal.ring()
    }

    private func darkness() async throws {
        while true {
            try Task.checkCancellation()
            await self.signal.wait(after: self.signal.generation, until: nil, on: SystemTimeSource())
        }
    }

    private func live<Value>(_ body: () async throws -> Value) async throws -> Value {
        if self.isDead { try await self.darkness() }
        return try await body()
    }

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
        let number = self.state.withLock { state in
            state.commits += 1
            return state.commits
        }
        return try await self.live {
            if self.isCrash(.beforeCommit, number) {
                self.die()
                try await self.darkness()
            }
            let result = try await self.inner.commit(expected, body)
            if self.isCrash(.afterCommit, number) {
                self.die()
                try await self.darkness()
            }
            self.signal.ring()
            return result
        }
    }

    func claim(owner: String, lease: Duration?, limit: Int) async throws -> SagaClaim {
        try await self.live {
            let claim = try await self.inner.claim(owner: owner, lease: lease, limit: limit)
            self.state.withLock { $0.claims += 1 }
            self.signal.ring()
            return claim
        }
    }

    func renew(owner: String, lease: Duration) async throws {
        try await self.live { try await self.inner.renew(owner: owner, lease: lease) }
    }

    func instances(matching query: SagaQuery) async throws -> [SagaInstance] {
        try await self.live { try await self.inner.instances(matching: query) }
    }

    func history(of id: String) async throws -> [SagaEvent] {
        try await self.live { try await self.inner.history(of: id) }
    }

    func definition(_ fingerprint: String) async throws -> String? {
        try await self.live { try await self.inner.definition(fingerprint) }
    }

    func waitForWork(after generation: UInt64, until instant: ContinuousClock.Instant?) async -> UInt64 {
        await self.inner.waitForWork(after: generation, until: instant)
    }
}
