internal import Logging
internal import ParleyCore
internal import Synchronization

/// The shell around ``RegistryStateMachine`` and ``CheckScheduleMachine``: the lock, the clock, who waits, and what is
/// still to be written.
final class RegistryEngine: Sendable {
    struct State: Sendable {
        var machine: RegistryStateMachine
        var schedule: CheckScheduleMachine
        var waiters: [RegistryStateMachine.WatcherID: Waiter] = [:]
        var isDraining = false
        var unsaved = UnsavedChanges()
    }

    let state: Mutex<State>
    let time: any TimeSource
    let random: any RandomSource
    /// Rings when a check was begun, ended or moved.
    let checksChanged = Signal()
    /// Rings when there is something to write.
    let hasUnsaved = Signal()
    /// Rings when something was written, or could not be.
    let saved = Signal()
    /// Whether what changes is to be kept on disk.
    let isPersistent: Bool

    init(
        machine: RegistryStateMachine,
        isPersistent: Bool,
        time: any TimeSource,
        random: any RandomSource
    ) {
        self.time = time
        self.random = random
        self.isPersistent = isPersistent
        self.state = Mutex(
            State(
                machine: machine,
                schedule: CheckScheduleMachine(
                    maximumRunning: machine.limits.maximumRunningChecks,
                    maximumRunningPerHost: machine.limits.maximumRunningChecksPerHost
                )
            )
        )
        let now = time.now
        self.state.withLock { state in
            for check in state.machine.checks.values where check.plan != nil {
                self.plan(check.key, &state, now: now)
            }
        }
    }

    func read<Value: Sendable, Failure: Error>(
        _ body: (borrowing RegistryStateMachine) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        try self.state.withLock { state throws(Failure) in try body(state.machine) }
    }

    /// Makes a change whose loss in a crash is repaired by the next of its kind: the result of a check.
    func change(_ body: (inout RegistryStateMachine) -> RegistryStateMachine.Effects) {
        let rung = self.state.withLock { state in
            let effects = body(&state.machine)
            return self.perform(effects, &state, isUrgent: false)
        }
        self.ring(rung)
    }

    /// Makes a change and returns when it is on disk.
    ///
    /// - Throws: What `body` throws, and then nothing was changed. ``StoreFailure`` when it could not be written: it is
    ///   in effect, and is written as soon as that is possible, but a crash before would lose it; unless it was refused
    ///   because too much waits to be written (``StoreFailure/isInEffect``).
    func durableResult<Value: Sendable, Failure: Error>(
        _ body: (inout RegistryStateMachine) throws(Failure) -> (RegistryStateMachine.Effects, Value)
    ) async throws -> Value {
        if let refusal = self.state.withLock({ $0.unsaved.refusal(limit: $0.machine.limits.maximumUnsaved) }) {
            throw refusal
        }
        let (rung, ticket, value) = try self.state.withLock { state throws(Failure) in
            let (effects, value) = try body(&state.machine)
            let rung = self.perform(effects, &state, isUrgent: true)
            return (rung, state.unsaved.ticket, value)
        }
        self.ring(rung)
        try await self.waitUntilSaved(ticket)
        return value
    }

    /// The same without a result.
    func durableChange<Failure: Error>(
        _ body: (inout RegistryStateMachine) throws(Failure) -> RegistryStateMachine.Effects
    ) async throws {
        try await self.durableResult { machine throws(Failure) in (try body(&machine), ()) }
    }

    /// Whom a change is to be told to, once the lock is free.
    struct Rung {
        var waiters: [Waiter] = []
        var checks = false
        var unsaved = false
    }

    func ring(_ rung: Rung) {
        for waiter in rung.waiters { waiter.fire() }
        if rung.checks { self.checksChanged.ring() }
        if rung.unsaved { self.hasUnsaved.ring() }
    }

    func perform(
        _ effects: RegistryStateMachine.Effects,
        _ state: inout State,
        isUrgent: Bool
    ) -> Rung {
        var rung = Rung()
        rung.waiters = effects.woken.compactMap { state.waiters.removeValue(forKey: $0) }
        let now = self.time.now
        for key in effects.unplanned { state.schedule.unplan(key) }
        for key in effects.planned { self.plan(key, &state, now: now) }
        for case .check(let key) in effects.dirty {
            if let check = state.machine.checks[key] { state.schedule.noted(key, check.status, now: now) }
        }
        rung.checks = !effects.planned.isEmpty || !effects.unplanned.isEmpty
        if self.isPersistent, !effects.dirty.isEmpty {
            state.unsaved.add(effects.dirty, isUrgent: isUrgent)
            rung.unsaved = true
        }
        return rung
    }

    private func plan(_ key: NodeItemKey, _ state: inout State, now: ContinuousClock.Instant) {
        guard let check = state.machine.checks[key], let plan = check.plan else { return }
        state.schedule.plan(key, plan, status: check.status, now: now, chance: self.random.unitInterval())
    }

    /// From now on nobody waits: questions that do are answered with what there is.
    func drain() {
        let waiters = self.state.withLock { state in
            state.isDraining = true
            return Array(state.waiters.values)
        }
        for waiter in waiters { waiter.fire() }
    }
}
