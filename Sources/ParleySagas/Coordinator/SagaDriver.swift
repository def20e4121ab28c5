internal import Logging
internal import ParleyCore

/// Takes one saga from commit to commit until it ends, has to wait, or belongs to somebody else.
struct SagaDriver: Sendable {
    let store: any SagaStore
    let definitions: SagaDefinitions
    let attemptTimeout: Duration
    let time: any TimeSource
    let random: any RandomSource
    let logger: Logger

    /// - Parameter isWelcome: Whether to begin another action; `false` once the coordinator is shutting down.
    func drive(_ start: SagaInstance, while isWelcome: @Sendable () -> Bool) async {
        var instance = start
        do {
            let machine = try await self.definitions.machine(for: instance)
            while isWelcome(), !Task.isCancelled, let command = machine.command(for: instance) {
                guard let next = try await self.step(instance, machine, command) else { return }
                instance = next
                if instance.owner == nil { return }
            }
        } catch is CancellationError {
            return
        } catch {
            self.logger.error(
                "A saga cannot be driven",
                metadata: ["saga.id": "\(instance.id)", "saga.state": "\(instance.state)", "error": "\(error)"]
            )
            await self.park(instance, because: "\(error)")
        }
    }

    /// One action and its commit; `nil` when the saga is no longer ours.
    private func step(
        _ instance: SagaInstance,
        _ machine: SagaMachine,
        _ command: SagaCommand
    ) async throws -> SagaInstance? {
        guard let action = self.definitions.action(command.action, of: instance.type) else {
            throw SagaError(
                .missingAction,
                "no action '\(command.action)' is registered for '\(instance.type)' here; deploy it, then retry"
            )
        }
        let outcome: SagaOutcome
        switch action.kind {
        case .local(let perform):
            do {
                return try await self.commit(instance, machine) { try perform(command, $0) }
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                // Rolled back with everything it wrote: it has not run.
                outcome = .unknown(reason: "\(error)", retry: .notSent)
            }
        case .remote(let perform):
            outcome = await self.perform(command, perform)
            // Cancelled in the middle: whoever takes over finds the saga uncertain, and asks again.
            if Task.isCancelled { return nil }
        }
        return try await self.commitPersistently(instance, machine, outcome)
    }

    private func perform(
        _ command: SagaCommand,
        _ action: @escaping @Sendable (SagaCommand) async -> SagaOutcome
    ) async -> SagaOutcome {
        let deadline = Deadline(after: self.attemptTimeout, on: self.time)
        let context = RequestContext(
            requestID: command.sagaID,
            trace: TraceParent(random: self.random),
            deadline: deadline,
            correlationID: command.sagaID
        )
        return await withTaskGroup(of: SagaOutcome?.self) { group in
            group.addTask { await context.withCurrent { await action(command) } }
            group.addTask {
                try? await self.time.sleep(until: deadline.instant)
                return nil
            }
            defer { group.cancelAll() }
            if let first = await group.next(), let outcome = first { return outcome }
            return .unknown(reason: "no answer within \(self.attemptTimeout)", retry: .mayHaveRun)
        }
    }

    private func commit(
        _ instance: SagaInstance,
        _ machine: SagaMachine,
        _ outcome: @escaping @Sendable (any Transaction) throws -> SagaOutcome
    ) async throws -> SagaInstance? {
        let now = self.time.wallTime
        let chance = self.random.unitInterval()
        let result = try await self.store.commit(instance) { transaction in
            machine.apply(try outcome(transaction), to: instance, now: now, chance: chance)
        }
        if case .written(let written) = result { return written }
        self.logger.info(
            "A saga moved on without this coordinator",
            metadata: ["saga.id": "\(instance.id)", "saga.epoch": "\(instance.epoch)"]
        )
        return nil
    }

    /// The outcome is known and must not be lost to a full disk or a busy database: tried until it is written, until
    /// somebody else has taken the saga over, or until the process ends (then it is asked for again).
    private func commitPersistently(
        _ instance: SagaInstance,
        _ machine: SagaMachine,
        _ outcome: SagaOutcome
    ) async throws -> SagaInstance? {
        var failures = 0
        let backoff = Backoff(initial: .milliseconds(50), cap: .seconds(1), jitter: 0.5)
        while true {
            do {
                return try await self.commit(instance, machine) { _ in outcome }
            } catch {
                try Task.checkCancellation()
                failures += 1
                self.logger.warning(
                    "A saga's step could not be stored, trying again",
                    metadata: ["saga.id": "\(instance.id)", "error": "\(error)"]
                )
                try await self.time.sleep(for: backoff.delay(afterFailures: failures, random: self.random))
            }
        }
    }

    /// Marks a saga that this program cannot drive, so that it is seen and not picked up again and again.
    private func park(_ instance: SagaInstance, because reason: String) async {
        let now = self.time.wallTime
        var next = instance
        next.version += 1
        next.status = .stuck
        next.owner = nil
        next.dueAt = nil
        next.reason = reason
        next.updatedAt = now
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
        let transition = SagaTransition(instance: next, events: [event])
        do {
            _ = try await self.store.commit(instance) { _ in transition }
        } catch {
            self.logger.error(
                "A saga could not be parked; it comes back when the lease has run out",
                metadata: ["saga.id": "\(instance.id)", "error": "\(error)"]
            )
        }
    }
}
