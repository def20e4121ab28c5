internal import ParleyCore

/// What becomes of a saga whose definition is of no help: it is not known here, or not needed.
extension SagaInstance {
    /// Nobody's, and due at once. Whoever drove it may have been in the middle of its action.
    func handedBack(at now: Timestamp) -> SagaTransition {
        var next = self
        next.version += 1
        next.epoch += 1
        next.owner = nil
        next.dueAt = now
        next.isUncertain = true
        next.updatedAt = now
        return SagaTransition(instance: next, events: [])
    }

    /// Stuck in its state, for `reason`, to be tried again after `interval`.
    func parked(because reason: String, at now: Timestamp, for interval: Duration) -> SagaTransition {
        var next = self
        next.version += 1
        next.status = .stuck
        next.owner = nil
        next.dueAt = now + interval
        next.reason = reason
        next.updatedAt = now
        // Tried again for ever, it would fill its history with one and the same line.
        let isKnown = self.status == .stuck && self.reason == reason
        let event = SagaEvent(
            version: next.version,
            at: now,
            kind: .stuck,
            state: next.state,
            nextState: next.state,
            action: nil,
            attempt: next.attempt,
            detail: reason
        )
        return SagaTransition(instance: next, events: isKnown ? [] : [event])
    }
}
