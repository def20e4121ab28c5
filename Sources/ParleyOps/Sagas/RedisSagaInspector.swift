public import Logging
public import ParleyCore
internal import ParleyRESP
public import ParleyRedis
internal import ParleySagas

/// The sagas of a `RedisSagaStore`: those that a coordinator leads, and what people have set in their hashes.
///
/// An edited saga has the status `edited`, whatever it was before, until somebody accepts or rejects the edit. Looking
/// parks it, as every other touch of the store does.
public struct RedisSagaInspector: SagaInspector {
    private let store: RedisSagaStore
    private let sagas: OrchestratedSagaInspector
    private let time: any TimeSource

    /// How long an intervention waits for a server that has gone away in its middle.
    static let patience: Duration = .seconds(30)

    /// - Parameter store: With `SagaHashes.stored`, unless the application's own hashes are known: a hash that is
    ///   written anew must show what it has shown.
    public init(_ store: RedisSagaStore, time: any TimeSource = SystemTimeSource(), logger: Logger) {
        self.store = store
        self.sagas = OrchestratedSagaInspector(store: store, transactions: store.transactions, logger: logger)
        self.time = time
    }

    public func sagas(matching query: SagaListQuery) async throws -> [SagaSummary] {
        // All of them, because those that are not shown as edited are not to be shown as stuck.
        let edits = try await self.store.edits(limit: 1_000)
        let edited = edits.map(Self.summary)
        let ids = Set(edited.map(\.id))
        var all = query.status == nil || query.status == "edited" ? edited : []
        if query.status != "edited" {
            var wider = query
            wider.limit = min(1_000, query.limit + edited.count)
            all += try await self.sagas.sagas(matching: wider).filter { !ids.contains($0.id) }
        }
        return Array(all.sorted(by: SagaSummary.comesFirst).prefix(query.limit))
    }

    public func saga(_ name: String) async throws -> SagaReport {
        let found = try await self.sagas.find(name)
        guard let edit = try await self.store.edit(of: found.id) else { return try await self.sagas.saga(found.id) }
        var report = try await self.sagas.saga(found.id)
        report.saga = Self.summary(edit)
        report.edits = [
            SagaReport.Edit(
                key: edit.key,
                content: edit.content.description,
                changes: edit.changes.map { .init(field: $0.field, stored: $0.stored, edited: $0.edited) },
                storedBy: edit.storedBy,
                storedAt: edit.storedAt,
                noticedAt: edit.noticedAt
            )
        ]
        report.commands = try await self.commands(edit)
        return report
    }

    public func intervene(
        _ intervention: SagaIntervention,
        on name: String,
        by person: String,
        because reason: String,
        isDryRun: Bool
    ) async throws -> SagaInterventionReport {
        // What was cut short is asked for again by the store; a person does not wait for ever.
        var context = RequestContext.current ?? RequestContext(requestID: UUIDv7Generator.shared.next().description)
        context.deadline = context.deadline ?? Deadline(after: Self.patience, on: self.time)
        return try await context.withCurrent {
            do {
                let found = try await self.sagas.find(name)
                let edit = try await self.store.edit(of: found.id)
                switch (intervention.verb, edit) {
                case (.accept, let edit?):
                    return try await self.accept(edit, by: person, because: reason, isDryRun: isDryRun)
                case (.reject, let edit?):
                    return try await self.reject(edit, by: person, because: reason, isDryRun: isDryRun)
                case (.accept, nil), (.reject, nil): throw Self.hasNoEdit(found)
                case (_, let edit?): throw Self.mustDecide(edit)
                case (_, nil):
                    return try await self.sagas.intervene(
                        intervention,
                        on: found.id,
                        by: person,
                        because: reason,
                        isDryRun: isDryRun
                    )
                }
            } catch var error as SagaError where error.code == .conflict {
                error.message += ": parley sagas show \(name)"
                throw error
            } catch var error as RESPError where error.retry == .mayHaveRun && !isDryRun {
                error.message += "; it may have been done all the same: see parley sagas show \(name)"
                throw error
            }
        }
    }

    // MARK: Decisions

    private func accept(
        _ edit: SagaEdit,
        by person: String,
        because reason: String,
        isDryRun: Bool
    ) async throws -> SagaInterventionReport {
        let state = try edit.accepted().state
        let name = edit.saga.businessKey
        let saga: SagaInstance
        do {
            let coordinator = self.sagas.coordinator
            if isDryRun {
                saga = try await coordinator.forcing(edit.saga.id, to: state, by: person, because: reason)
                    .transition.instance
            } else {
                saga = try await self.store.accept(edit, through: coordinator, by: person, because: reason)
            }
        } catch var error as SagaError where error.code == .unknownState {
            error.message += "; set one of them in '\(edit.key)', or: parley sagas reject \(name) --reason '…'"
            throw error
        } catch var error as SagaError where error.code == .notAllowed && edit.saga.status.isTerminal {
            error.message += "; to have its hash as it was: parley sagas reject \(name) --reason '…'"
            throw error
        }
        let action = try await self.sagas.definition(of: saga)?.states[state]?.action
        return SagaInterventionReport(
            saga: saga.id,
            intervention: SagaIntervention.Verb.accept.description,
            isDryRun: isDryRun,
            effects: ["\(edit.saga.state) → \(state), as '\(edit.key)' says"]
                + (action.map { ["then \($0) is called"] } ?? []) + OrchestratedSagaInspector.kept(by: saga),
            warnings: []
        )
    }

    private func reject(
        _ edit: SagaEdit,
        by person: String,
        because reason: String,
        isDryRun: Bool
    ) async throws -> SagaInterventionReport {
        if let obstacle = edit.obstacle { throw obstacle }
        if !isDryRun { try await self.store.reject(edit, by: person, because: reason) }
        let saga = edit.before
        var effects = edit.changes.map { change in
            switch (change.stored, change.edited) {
            case (let stored?, let edited?): "\(change.field) is '\(stored)' again, not '\(edited)'"
            case (let stored?, nil): "\(change.field) is '\(stored)' again"
            default: "\(change.field) is removed"
            }
        }
        switch saga.status {
        case .running:
            effects.append("the saga goes on in \(saga.state)")
            if saga.isUncertain {
                effects.append("what was under way there is asked for again, under the same idempotency key")
            }
        case .stuck: effects.append("the saga is stuck in \(saga.state), as it was")
        case .completed, .failed: effects.append("the saga has ended (\(saga.status.rawValue)), and stays so")
        }
        return SagaInterventionReport(
            saga: saga.id,
            intervention: SagaIntervention.Verb.reject.description,
            isDryRun: isDryRun,
            effects: effects,
            warnings: []
        )
    }

    // MARK: Words

    private static func summary(_ edit: SagaEdit) -> SagaSummary {
        var summary = OrchestratedSagaInspector.summary(edit.saga)
        summary.status = "edited"
        let end = edit.saga.status.isTerminal ? "; the saga has ended (\(edit.saga.status.rawValue))" : ""
        summary.reason = "'\(edit.key)' was edited by hand: \(Self.changes(edit))\(end)"
        return summary
    }

    private static func changes(_ edit: SagaEdit) -> String {
        guard edit.content.description == "hash" else { return "there is \(edit.content) now" }
        guard !edit.changes.isEmpty else { return "it is as it was again" }
        return edit.changes.map { "\($0.field) \($0.stored ?? "nothing") → \($0.edited ?? "nothing")" }
            .joined(separator: ", ")
    }

    /// What can be done about an edit, without the options that say where the saga is.
    private func commands(_ edit: SagaEdit) async throws -> [String] {
        let name = edit.saga.businessKey
        guard edit.obstacle == nil else { return ["redis-cli RENAME \(edit.key) \(edit.key):moved"] }
        let reject = "parley sagas reject \(name) --reason '…'"
        guard !edit.saga.status.isTerminal, let state = try? edit.accepted().state,
            let definition = try await self.sagas.definition(of: edit.saga), definition.states[state] != nil
        else { return [reject] }
        return ["parley sagas accept \(name) --reason '…' --dry-run", reject]
    }

    private static func hasNoEdit(_ saga: SagaInstance) -> SagaError {
        SagaError(
            .notAllowed,
            "nobody has edited the hash of saga '\(saga.id)', so there is nothing to accept or reject; to set its "
                + "state: parley sagas set-state \(saga.businessKey) STATE --reason '…'"
        )
    }

    private static func mustDecide(_ edit: SagaEdit) -> SagaError {
        let name = edit.saga.businessKey
        return SagaError(
            .notAllowed,
            "'\(edit.key)' was edited by hand (\(Self.changes(edit))); decide that first: "
                + "parley sagas accept \(name) --reason '…', or parley sagas reject \(name) --reason '…'"
        )
    }
}
