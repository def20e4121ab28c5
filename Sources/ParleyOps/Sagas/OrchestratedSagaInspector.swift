public import Logging
public import ParleyCore
public import ParleySagas

/// Sagas that a coordinator leads, in any `SagaStore`. It works beside a running system and without one: it writes what
/// the operator says, and a coordinator goes on from there.
public struct OrchestratedSagaInspector: SagaInspector {
    private let store: any SagaStore
    let coordinator: SagaCoordinator

    /// - Parameter transactions: The store's own backend.
    public init(store: any SagaStore, transactions: any TransactionRunner, logger: Logger) {
        self.store = store
        self.coordinator = SagaCoordinator(store: store, transactions: transactions, sagas: [], logger: logger)
    }

    public func sagas(matching query: SagaListQuery) async throws -> [SagaSummary] {
        var wanted = SagaQuery(limit: query.limit)
        if let status = query.status {
            guard let known = SagaStatus(rawValue: status) else { return [] }
            wanted.status = known
        }
        return try await self.store.instances(matching: wanted).map(Self.summary)
    }

    public func saga(_ name: String) async throws -> SagaReport {
        let saga = try await self.find(name)
        let definition = try await self.definition(of: saga)
        let history = try await self.store.history(of: saga.id)
        let isOver = saga.status.isTerminal
        let step = definition?.states[saga.state]
        return SagaReport(
            saga: Self.summary(saga),
            timeline: history.map { event in
                let move = event.state == event.nextState ? event.state : "\(event.state) → \(event.nextState)"
                let tries = event.attempt > 1 ? " (try \(event.attempt))" : ""
                return SagaReport.Line(
                    at: event.at,
                    what: [event.action, event.kind.rawValue].compactMap(\.self).joined(separator: " ") + tries,
                    depth: 0,
                    who: move,
                    detail: event.detail,
                    messages: []
                )
            },
            effects: saga.effects.map { .init(what: $0.step, status: $0.status.rawValue) },
            findings: [],
            awaited: isOver
                ? []
                : [step?.action].compactMap(\.self).map {
                    .init(oneOf: [$0], from: [], dueAt: saga.dueAt, isLate: saga.status == .stuck)
                },
            remaining: isOver ? [] : Self.remaining(from: saga.state, definition),
            interventions: history.filter { $0.kind == .forced || $0.kind == .resumed }.map {
                .init(at: $0.at, kind: $0.kind.rawValue, by: "", because: $0.detail ?? "", events: [$0.nextState])
            },
            commands: isOver
                ? []
                : [
                    "parley sagas replay \(saga.businessKey) --reason '…'",
                    "parley sagas set-state \(saga.businessKey) \(saga.state) --reason '…' --dry-run",
                ]
        )
    }

    public func intervene(
        _ intervention: SagaIntervention,
        on name: String,
        by person: String,
        because reason: String,
        isDryRun: Bool
    ) async throws -> SagaInterventionReport {
        let saga = try await self.find(name)
        guard !saga.status.isTerminal else {
            if [.accept, .reject].contains(intervention.verb) { throw Self.hasNoHash(saga.id) }
            throw SagaError(.notAllowed, "saga '\(saga.id)' has ended (\(saga.status.rawValue)); start a new one")
        }
        let definition = try await self.definition(of: saga)
        var effects: [String]
        switch intervention.verb {
        case .setState:
            guard let state = intervention.target, let step = definition?.states[state] else {
                let known = definition?.states.keys.sorted().joined(separator: ", ") ?? "none that can be read"
                throw SagaError(
                    .unknownState,
                    "saga '\(saga.id)' has no state '\(intervention.target ?? "")'; it has \(known)"
                )
            }
            effects = ["\(saga.state) → \(state)", "then \(step.action) is called"]
            if !isDryRun {
                try await self.coordinator.force(saga.id, to: state, by: person, because: reason)
            }
        case .replay:
            guard intervention.target == nil else {
                throw SagaError(.notAllowed, "a coordinator leads saga '\(saga.id)': to go on elsewhere, set its state")
            }
            guard let step = definition?.states[saga.state] else {
                throw SagaError(
                    .notAllowed,
                    "saga '\(saga.id)' waits in '\(saga.state)', where there is nothing to try; set it to another state"
                )
            }
            effects = ["\(step.action) is tried again, under the same idempotency key"]
            if !isDryRun { try await self.coordinator.retry(saga.id, by: "\(person): \(reason)") }
        case .accept, .reject: throw Self.hasNoHash(saga.id)
        default:
            throw SagaError(
                .notAllowed,
                "a coordinator leads saga '\(saga.id)': '\(intervention.verb)' is for choreographies; use set-state "
                    + "or replay"
            )
        }
        effects += Self.kept(by: saga)
        return SagaInterventionReport(
            saga: saga.id,
            intervention: intervention.verb.description,
            isDryRun: isDryRun,
            effects: effects,
            warnings: []
        )
    }

    /// What a saga has done or may have done, in words.
    static func kept(by saga: SagaInstance) -> [String] {
        let outstanding = saga.effects.filter { $0.status == .applied || $0.status == .maybe }
        guard !outstanding.isEmpty else { return [] }
        let list = outstanding.map { "\($0.step) (\($0.status.rawValue))" }.joined(separator: ", ")
        return ["kept, and undone before it counts as failed: \(list)"]
    }

    /// Why there is nothing to accept or to reject.
    static func hasNoHash(_ saga: String) -> SagaError {
        SagaError(
            .notAllowed,
            "saga '\(saga)' is in a store without hashes that a person could edit, so there is nothing to accept or "
                + "reject; those are on Redis: --store redis://host:port. Here: parley sagas set-state, or replay"
        )
    }

    func find(_ name: String) async throws -> SagaInstance {
        for query in [SagaQuery(id: name), SagaQuery(businessKey: name)] {
            if let saga = try await self.store.instances(matching: query).first { return saga }
        }
        throw SagaError(.unknownSaga, "there is no saga '\(name)'; list them to see which there are")
    }

    func definition(of saga: SagaInstance) async throws -> SagaDefinition? {
        guard let json = try await self.store.definition(saga.definition) else { return nil }
        return try SagaDefinition.read(json: Array(json.utf8)).first
    }

    private static func remaining(from state: String, _ definition: SagaDefinition?) -> [String] {
        var steps: [String] = []
        var seen: Set<String> = []
        var next: String? = state
        while let name = next, seen.insert(name).inserted, let step = definition?.states[name] {
            steps.append(step.action)
            next = step.onSuccess
        }
        return steps
    }

    static func summary(_ saga: SagaInstance) -> SagaSummary {
        SagaSummary(
            id: saga.id,
            type: saga.type,
            style: .orchestration,
            businessKey: saga.businessKey,
            status: saga.status.rawValue,
            state: saga.state,
            reason: saga.reason,
            dueAt: saga.dueAt,
            createdAt: saga.createdAt,
            updatedAt: saga.updatedAt
        )
    }
}
