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
    /// - Returns: Whether the saga was left in order; `false` when the store may still name this coordinator as the one
    ///   that drives it.
    func drive(_ start: SagaInstance, while isWelcome: @Sendable () -> Bool) async -> Bool {
        var instance = start
        do {
            let machine = try await self.machine(for: instance)
            while isWelcome(), !Task.isCancelled, let command = machine.command(for: instance) {
                guard let next = try await self.step(instance, machine, command) else { return true }
                instance = next
                if instance.owner == nil { return true }
            }
            // Ended, or this coordinator is ending, and then gives up all that it has.
            return true
        } catch is CancellationError {
            return true
        } catch {
            self.logger.error(
                "A saga cannot be driven",
                metadata: ["saga.id": "\(instance.id)", "saga.state": "\(instance.state)", "error": "\(error)"]
            )
            return await self.park(instance, because: "\(error)")
        }
    }

    /// The definition is there or it is not; a store that cannot say so now is asked again.
    private func machine(for instance: SagaInstance) async throws -> SagaMachine {
        let found: Result<SagaMachine, SagaError> = try await self.persistently(
            "A saga's definition could not be read, trying again",
            instance
        ) {
            do {
                return .success(try await self.definitions.machine(for: instance))
            } catch let error as SagaError {
                return .failure(error)
            }
        }
        return try found.get()
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
        try await self.persistently("A saga's step could not be stored, trying again", instance) {
            try await self.commit(instance, machine) { _ in outcome }
        }
    }

    /// Tries `body` until it does not throw, or the task is cancelled.
    private func persistently<Value>(
        _ warning: Logger.Message,
        _ instance: SagaInstance,
        _ body: () async throws -> Value
    ) async throws -> Value {
        var failures = 0
        let backoff = Backoff(initial: .milliseconds(50), cap: .seconds(1), jitter: 0.5)
        while true {
            do {
                return try await body()
            } catch {
                try Task.checkCancellation()
                failures += 1
                self.logger.warning(warning, metadata: ["saga.id": "\(instance.id)", "error": "\(error)"])
                try await self.time.sleep(for: backoff.delay(afterFailures: failures, random: self.random))
            }
        }
    }

    /// Marks a saga that this program cannot drive, so that it is seen; it is tried again slowly, for the next program
    /// may have what this one lacks.
    ///
    /// - Returns: Whether that is stored.
    private func park(_ instance: SagaInstance, because reason: String) async -> Bool {
        let transition = instance.parked(because: reason, at: self.time.wallTime, for: self.definitions.stuckInterval)
        do {
            _ = try await self.store.commit(instance) { _ in transition }
            return true
        } catch {
            self.logger.error(
                "A saga could not be parked; it is given back",
                metadata: ["saga.id": "\(instance.id)", "error": "\(error)"]
            )
            return false
        }
    }
}
