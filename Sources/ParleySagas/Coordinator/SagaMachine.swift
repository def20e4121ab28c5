internal import ParleyCore

/// What a saga does next, as a function of what has happened: no clock, no chance, no waiting, no storage.
struct SagaMachine {
    let definition: SagaDefinition
    /// The definition's own, kept because making them means encoding it whole.
    let canonicalJSON: String
    let fingerprint: String
    /// How long a stuck saga waits before it is tried again.
    let stuckInterval: Duration
    private let compensatedActions: Set<String>

    init(definition: SagaDefinition, stuckInterval: Duration = .seconds(60)) {
        self.definition = definition
        self.canonicalJSON = definition.canonicalJSON
        self.fingerprint = definition.fingerprint
        self.stuckInterval = stuckInterval
        self.compensatedActions = definition.compensatedActions
    }

    /// Beyond this many visits a saga runs in circles.
    static let maximumVisits = 1_000
    /// Further tries leave a line in the history only every so often.
    static let loggedAttempts = 20

    func start(id: String, businessKey: String, input: String, owner: String?, now: Timestamp) -> SagaTransition {
        let instance = SagaInstance(
            id: id,
            type: self.definition.name,
            businessKey: businessKey,
            definition: self.fingerprint,
            state: self.definition.initial,
            owner: owner,
            enteredAt: now,
            dueAt: owner == nil ? now : nil,
            input: input,
            createdAt: now,
            updatedAt: now
        )
        let event = SagaEvent(
            version: instance.version,
            at: now,
            kind: .started,
            state: instance.state,
            nextState: instance.state,
            action: nil,
            attempt: 0,
            detail: nil
        )
        return SagaTransition(instance: instance, events: [event])
    }

    /// The action to try now; `nil` when the saga has ended or its state has none.
    func command(for instance: SagaInstance) -> SagaCommand? {
        guard !instance.status.isTerminal, let state = self.definition.states[instance.state] else { return nil }
        var outputs: [String: String] = [:]
        for effect in instance.effects { outputs[effect.action] = effect.output }
        return SagaCommand(
            sagaID: instance.id,
            businessKey: instance.businessKey,
            action: state.action,
            operation: state.compensates == nil ? .action : .compensate,
            step: self.step(of: state, in: instance),
            epoch: instance.epoch,
            attempt: instance.attempt + 1,
            input: instance.input,
            outputs: outputs,
            reason: instance.reason
        )
    }

    /// - Parameter chance: Uniform in 0..<1, for the jitter of the next wait.
    func apply(_ outcome: SagaOutcome, to instance: SagaInstance, now: Timestamp, chance: Double) -> SagaTransition {
        guard let state = self.definition.states[instance.state] else {
            return self.park(instance, now: now, reason: "the definition has no state '\(instance.state)'")
        }
        switch outcome {
        case .success(let output):
            return self.succeed(instance, state, output: output, now: now)
        case .rejected(let reason):
            if state.compensates == nil { return self.refuse(instance, state, reason: reason, now: now) }
            // An undo has no "no": what was done must be undone, so it is asked again.
            return self.tryAgain(instance, state, reason: reason, isUncertain: true, now: now, chance: chance)
        case .unknown(let reason, let retry):
            return self.tryAgain(
                instance,
                state,
                reason: reason,
                isUncertain: retry != .notSent,
                now: now,
                chance: chance
            )
        case .ongoing(let wait):
            return self.wait(instance, state, for: wait, now: now)
        }
    }

    // MARK: Outcomes

    private func succeed(
        _ instance: SagaInstance,
        _ state: SagaDefinition.State,
        output: String?,
        now: Timestamp
    ) -> SagaTransition {
        var next = instance
        if let undone = state.compensates {
            let index = next.effects.lastIndex {
                $0.action == undone && ($0.status == .applied || $0.status == .maybe)
            }
            if let index { next.effects[index].status = .undone }
        } else {
            next.effects.append(
                SagaEffect(
                    step: self.step(of: state, in: instance),
                    action: state.action,
                    status: .applied,
                    output: output
                )
            )
        }
        return self.leave(
            next,
            state,
            to: state.onSuccess,
            kind: .succeeded,
            edge: "on_success",
            detail: output,
            now: now
        )
    }

    private func refuse(
        _ instance: SagaInstance,
        _ state: SagaDefinition.State,
        reason: String,
        now: Timestamp
    ) -> SagaTransition {
        var next = instance
        next.effects.append(
            SagaEffect(step: self.step(of: state, in: instance), action: state.action, status: .rejected)
        )
        next.reason = next.reason ?? reason
        return self.leave(
            next,
            state,
            to: state.onFailure,
            kind: .rejected,
            edge: "on_failure",
            detail: reason,
            now: now
        )
    }

    private func tryAgain(
        _ instance: SagaInstance,
        _ state: SagaDefinition.State,
        reason: String,
        isUncertain: Bool,
        now: Timestamp,
        chance: Double
    ) -> SagaTransition {
        var next = instance
        next.attempt += 1
        next.isUncertain = next.isUncertain || isUncertain
        let end = instance.enteredAt + state.retry.timeout
        if next.status != .stuck, next.attempt < state.retry.maximumAttempts, now < end {
            let wait = state.retry.backoff.delay(afterFailures: next.attempt, chance: chance)
            next.owner = nil
            next.dueAt = min(now + wait, end)
            let isLogged = next.attempt <= Self.loggedAttempts || next.attempt % 100 == 0
            return self.commit(next, from: instance, kind: isLogged ? .retrying : nil, detail: reason, now: now)
        }
        if state.compensates != nil || next.status == .stuck {
            return self.park(next, from: instance, now: now, reason: "\(state.action): \(reason)")
        }
        let spent = "\(state.action) did not succeed in \(next.attempt) tries: \(reason)"
        guard next.isUncertain else { return self.refuse(instance, state, reason: spent, now: now) }
        guard let onUnknown = state.onUnknown else {
            return self.park(next, from: instance, now: now, reason: spent + "; whether it was done is not known")
        }
        next = instance
        next.effects.append(
            SagaEffect(step: self.step(of: state, in: instance), action: state.action, status: .maybe)
        )
        next.reason = next.reason ?? spent
        return self.leave(next, state, to: onUnknown, kind: .unknown, edge: "on_unknown", detail: spent, now: now)
    }

    private func wait(
        _ instance: SagaInstance,
        _ state: SagaDefinition.State,
        for wait: Duration,
        now: Timestamp
    ) -> SagaTransition {
        if state.compensates == nil, now >= instance.enteredAt + state.retry.timeout {
            // Still ongoing at the end of its time: it may yet be done, which is what "uncertain" means.
            return self.tryAgain(
                instance,
                state,
                reason: "still ongoing after \(state.retry.timeout)",
                isUncertain: true,
                now: now,
                chance: 0
            )
        }
        var next = instance
        next.isUncertain = true
        next.owner = nil
        next.dueAt = now + min(max(wait, .milliseconds(10)), .seconds(3_600))
        return self.commit(next, from: instance, kind: nil, detail: nil, now: now)
    }

    // MARK: Moves

    private func leave(
        _ instance: SagaInstance,
        _ state: SagaDefinition.State,
        to target: String?,
        kind: SagaEvent.Kind,
        edge: String,
        detail: String?,
        now: Timestamp
    ) -> SagaTransition {
        guard let target else {
            return self.park(
                instance,
                now: now,
                reason: "the state '\(instance.state)' has no \(edge): \(detail ?? kind.rawValue)"
            )
        }
        guard instance.effects.count < Self.maximumVisits else {
            return self.park(instance, now: now, reason: "it has made \(Self.maximumVisits) visits and runs in circles")
        }
        var next = instance
        next.state = target
        next.status = .running
        next.attempt = 0
        next.isUncertain = false
        next.enteredAt = now
        next.dueAt = nil
        var transition = self.commit(next, from: instance, kind: kind, detail: detail, now: now)
        if self.definition.parked.contains(target) {
            return self.settle(transition, as: .stuck, reason: "it reached '\(target)'", now: now)
        }
        if self.definition.terminals.contains(target) {
            if self.definition.successes.contains(target) { return self.settle(transition, as: .completed, now: now) }
            let outstanding = self.outstandingEffects(of: next)
            if outstanding.isEmpty { return self.settle(transition, as: .failed, now: now) }
            let names = outstanding.map(\.step).joined(separator: ", ")
            return self.settle(
                transition,
                as: .stuck,
                reason: "it reached '\(target)' with effects not undone: \(names)",
                now: now
            )
        }
        if self.definition.states[target] == nil {
            transition = self.settle(
                transition,
                as: .stuck,
                reason: "the definition has no state '\(target)' (\(edge) of its state before)",
                now: now
            )
        }
        return transition
    }

    /// What a failed end may not leave behind: effects that the definition knows how to take back.
    func outstandingEffects(of instance: SagaInstance) -> [SagaEffect] {
        instance.effects.filter {
            ($0.status == .applied || $0.status == .maybe) && self.compensatedActions.contains($0.action)
        }
    }

    /// Ends a transition: nobody drives the saga any more.
    private func settle(
        _ transition: SagaTransition,
        as status: SagaStatus,
        reason: String? = nil,
        now: Timestamp
    ) -> SagaTransition {
        var transition = transition
        transition.instance.status = status
        transition.instance.owner = nil
        transition.instance.dueAt = nil
        if let reason { transition.instance.reason = reason }
        transition.events.append(
            SagaEvent(
                version: transition.instance.version,
                at: now,
                kind: status == .stuck ? .stuck : .ended,
                state: transition.instance.state,
                nextState: transition.instance.state,
                action: nil,
                attempt: 0,
                detail: reason ?? status.rawValue
            )
        )
        return transition
    }

    /// Stuck in a state with an action: visible, and tried again slowly.
    private func park(
        _ instance: SagaInstance,
        from before: SagaInstance? = nil,
        now: Timestamp,
        reason: String
    ) -> SagaTransition {
        var next = instance
        let isNew = instance.status != .stuck
        next.status = .stuck
        next.owner = nil
        next.dueAt = self.definition.states[instance.state] == nil ? nil : now + self.stuckInterval
        // The first reason stays in the history; this one says what a person must mend.
        next.reason = reason
        let isLogged = isNew || next.attempt % 100 == 0
        return self.commit(next, from: before ?? instance, kind: isLogged ? .stuck : nil, detail: reason, now: now)
    }

    private func commit(
        _ instance: SagaInstance,
        from before: SagaInstance,
        kind: SagaEvent.Kind?,
        detail: String?,
        now: Timestamp
    ) -> SagaTransition {
        var next = instance
        next.version = before.version + 1
        next.updatedAt = now
        let event = kind.map {
            SagaEvent(
                version: next.version,
                at: now,
                kind: $0,
                state: before.state,
                nextState: next.state,
                action: self.definition.states[before.state]?.action,
                attempt: before.attempt + 1,
                detail: detail
            )
        }
        return SagaTransition(instance: next, events: event.map { [$0] } ?? [])
    }

    /// The visit that the state's action does, or undoes.
    private func step(of state: SagaDefinition.State, in instance: SagaInstance) -> String {
        if let undone = state.compensates {
            let effect = instance.effects.last {
                $0.action == undone && ($0.status == .applied || $0.status == .maybe)
            }
            return effect?.step ?? undone
        }
        let visits = instance.effects.count { $0.action == state.action }
        return visits == 0 ? state.action : "\(state.action)#\(visits + 1)"
    }
}

// MARK: Operators

extension SagaMachine {
    /// Tries a waiting or stuck saga again now, with a fresh budget. A driver that is at work on it at this moment is
    /// fenced off, and what it was doing may have its effect.
    func retryNow(_ instance: SagaInstance, by person: String, now: Timestamp) -> SagaTransition {
        var next = instance
        next.attempt = 0
        next.enteredAt = now
        next.status = .running
        next.isUncertain = instance.isUncertain || instance.owner != nil
        next.owner = nil
        next.dueAt = now
        next.epoch += 1
        return self.commit(next, from: instance, kind: .resumed, detail: "tried again by \(person)", now: now)
    }

    /// Sets the state by hand. The epoch rises, so that whoever drives the saga at this moment writes nothing more.
    ///
    /// What the state that is left may have done is not forgotten: it counts among the effects, as `maybe`.
    func force(
        _ instance: SagaInstance,
        to state: String,
        by person: String,
        because reason: String,
        now: Timestamp
    ) -> SagaTransition {
        var next = self.retryNow(instance, by: person, now: now)
        if state != instance.state {
            if next.instance.isUncertain, let left = self.definition.states[instance.state], left.compensates == nil {
                next.instance.effects.append(
                    SagaEffect(step: self.step(of: left, in: instance), action: left.action, status: .maybe)
                )
            }
            next.instance.state = state
            next.instance.isUncertain = false
        }
        next.events = [
            SagaEvent(
                version: next.instance.version,
                at: now,
                kind: .forced,
                state: instance.state,
                nextState: state,
                action: nil,
                attempt: 0,
                detail: "by \(person): \(reason)"
            )
        ]
        return next
    }
}
