internal import ParleyCore
internal import Synchronization

extension RegistryEngine {
    /// Takes the checks that are to be made now, and notes the signs of life that did not come: in one step with
    /// finding that out, so that one that comes at this moment is not overwritten.
    ///
    /// - Returns: Also when to ask again; `nil` when something has to change first.
    func takeDueChecks() -> (probes: [CheckScheduleMachine.Probe], next: ContinuousClock.Instant?) {
        let (probes, next, rung) = self.state.withLock { state in
            let due = state.schedule.takeDue(now: self.time.now)
            var effects = RegistryStateMachine.Effects()
            for key in due.expired { effects.merge(Self.expire(key, in: &state.machine)) }
            return (due.probes, state.schedule.nextDue, self.perform(effects, &state, isUrgent: false))
        }
        self.ring(rung)
        return (probes, next)
    }

    private static func expire(
        _ key: NodeItemKey,
        in machine: inout RegistryStateMachine
    ) -> RegistryStateMachine.Effects {
        guard let check = machine.checks[key], let plan = check.plan else { return RegistryStateMachine.Effects() }
        let last = check.output
        let output = last.isEmpty ? "TTL expired" : "TTL expired (last output before timeout follows): \(last)"
        return machine.update(key, status: .critical, output: CheckOutput.cut(output, to: plan.outputMaxSize))
    }

    /// Notes what a check has found, unless it is another check by now.
    func noteResult(_ result: CheckResult, of probe: CheckScheduleMachine.Probe) {
        let rung = self.state.withLock { state in
            let status = state.schedule.finished(probe, result.status, now: self.time.now)
            var effects = RegistryStateMachine.Effects()
            if let status {
                let output = CheckOutput.cut(result.output, to: probe.plan.outputMaxSize)
                effects = state.machine.update(probe.key, status: status, output: output)
            }
            var rung = self.perform(effects, &state, isUrgent: false)
            // There is room for the next one.
            rung.checks = true
            return rung
        }
        self.ring(rung)
    }

    /// Deregisters the services that were critical for longer than they may be.
    func reap(minimum: Duration) {
        let rung = self.state.withLock { state in
            var effects = RegistryStateMachine.Effects()
            for key in state.schedule.overdue(now: self.time.now, minimum: minimum) {
                guard let check = state.machine.checks[key], !check.serviceID.isEmpty else { continue }
                effects.merge(state.machine.deregister(check.serviceKey))
            }
            return self.perform(effects, &state, isUrgent: false)
        }
        self.ring(rung)
    }

    /// What a sign of life says about a check.
    enum SignOfLife: Sendable {
        case noted, unknownCheck, notTTL
    }

    func signOfLife(_ key: NodeItemKey, status: CheckStatus, output: String) -> SignOfLife {
        let (answer, rung) = self.state.withLock { state -> (SignOfLife, Rung) in
            guard let check = state.machine.checks[key] else { return (.unknownCheck, Rung()) }
            guard let plan = check.plan, plan.probe == .ttl, state.schedule.signOfLife(key, now: self.time.now) else {
                return (.notTTL, Rung())
            }
            let output = CheckOutput.cut(output, to: plan.outputMaxSize)
            let effects = state.machine.update(key, status: status, output: output)
            var rung = self.perform(effects, &state, isUrgent: false)
            // One that had expired comes due again.
            rung.checks = check.status == .critical
            return (.noted, rung)
        }
        self.ring(rung)
        return answer
    }
}

/// What a check says, within its size.
enum CheckOutput {
    static func cut(_ text: String, to limit: Int) -> String {
        let count = text.utf8.count
        guard limit > 0, count > limit else { return text }
        // Half a character at the end becomes U+FFFD.
        let head = String(decoding: text.utf8.prefix(limit), as: UTF8.self)
        return "\(head) ... (captured \(limit) of \(count) bytes)"
    }
}
