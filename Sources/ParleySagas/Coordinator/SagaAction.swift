public import ParleyCore

/// How an action of a definition is carried out by this process.
public struct SagaAction: Sendable {
    package enum Kind: Sendable {
        case remote(@Sendable (SagaCommand) async -> SagaOutcome)
        case local(@Sendable (SagaCommand, any Transaction) throws -> SagaOutcome)
    }

    package let kind: Kind

    /// Asks somebody else: another service, a broker, a device.
    ///
    /// It runs at least once under one ``SagaCommand/idempotencyKey``; the participant makes that once
    /// (``SagaBarrier``). It should give up by the deadline in `RequestContext.current`, and is cancelled then.
    public static func remote(_ perform: @escaping @Sendable (SagaCommand) async -> SagaOutcome) -> SagaAction {
        SagaAction(kind: .remote(perform))
    }

    /// Writes to the saga store's own database, in the very commit that moves the saga on: exactly once, no barrier
    /// needed. When it throws, its writes are rolled back and it is tried again.
    public static func local(
        _ perform: @escaping @Sendable (SagaCommand, any Transaction) throws -> SagaOutcome
    ) -> SagaAction {
        SagaAction(kind: .local(perform))
    }
}

/// A definition with the actions that this process has for it.
public struct SagaRegistration: Sendable {
    package let definition: SagaDefinition
    package let actions: [String: SagaAction]

    /// - Parameter acceptsFindings: Whether a definition with lint errors may run all the same. Instances that reach
    ///   the flaw end `stuck`, never `failed` with effects left behind.
    /// - Throws: ``SagaError`` with `unsafeDefinition` (naming every error) or `missingAction`.
    public init(
        _ definition: SagaDefinition,
        actions: [String: SagaAction],
        acceptsFindings: Bool = false
    ) throws {
        let errors = SagaLinter.check(definition).filter { $0.severity == .error }
        guard acceptsFindings || errors.isEmpty else {
            throw SagaError(
                .unsafeDefinition,
                "'\(definition.name)' can lose effects: \(errors.map(\.description).joined(separator: "; "))"
            )
        }
        let missing = Set(definition.states.values.map(\.action)).subtracting(actions.keys).sorted()
        guard missing.isEmpty else {
            throw SagaError(
                .missingAction,
                "'\(definition.name)' needs actions that are not registered: \(missing.joined(separator: ", "))"
            )
        }
        self.definition = definition
        self.actions = actions
    }
}
