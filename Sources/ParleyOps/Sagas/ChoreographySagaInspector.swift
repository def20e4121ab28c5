public import ParleyCore
public import ParleyMessaging
public import ParleySagas

/// Watched choreographies, in any `ChoreographyStore`. It works beside a running system and without one: what it sends
/// lies in the outbox until a relay runs.
public struct ChoreographySagaInspector: SagaInspector {
    private let store: any ChoreographyStore
    private let transactions: any TransactionRunner
    private let operators: ChoreographyOperator
    private let time: any TimeSource

    /// - Parameter transactions: The backend of store and outbox.
    public init(
        store: any ChoreographyStore,
        outbox: any OutboxStore,
        transactions: any TransactionRunner,
        time: any TimeSource = SystemTimeSource()
    ) {
        self.store = store
        self.transactions = transactions
        self.operators = ChoreographyOperator(store: store, outbox: outbox, transactions: transactions, time: time)
        self.time = time
    }

    public func sagas(matching query: SagaListQuery) async throws -> [SagaSummary] {
        var wanted = ChoreographyQuery(limit: query.limit)
        if let status = query.status {
            guard let known = ChoreographyStatus(rawValue: status) else { return [] }
            wanted.status = known
        }
        let found = try await self.store.instances(matching: wanted)
        // What is overdue and was not judged since: with a monitor that runs, nothing. Without one, a list that said
        // 'running' would hide exactly what one looks for.
        let now = self.time.wallTime
        let overdue = try await self.store.due(at: now, limit: 1_000).instances
        let judged = try await self.judge(overdue, at: now).filter {
            wanted.status == nil || $0.status == wanted.status
        }
        let ids = Set(overdue.map { [$0.type, $0.id] })
        let all = found.filter { !ids.contains([$0.type, $0.id]) } + judged
        return Array(all.map(Self.summary).sorted(by: SagaSummary.comesFirst).prefix(query.limit))
    }

    private func judge(
        _ instances: [ChoreographyInstance],
        at now: Timestamp
    ) async throws -> [ChoreographyInstance] {
        var judged: [ChoreographyInstance] = []
        for instance in instances {
            judged += try await self.transactions.withTransaction { transaction in
                guard let whole = try self.store.instance(instance.id, of: instance.type, in: transaction) else {
                    return []
                }
                let machine = try ChoreographyMachine.pinned(whole, store: self.store, in: transaction)
                var now = machine.judged(whole, now: now)
                now.updatedAt = whole.updatedAt
                return [now]
            }
        }
        return judged
    }

    public func saga(_ name: String) async throws -> SagaReport {
        let found = try await self.find(name)
        let (instance, machine) = try await self.transactions.withTransaction { transaction in
            guard let whole = try self.store.instance(found.id, of: found.type, in: transaction) else {
                throw Self.unknown(name)
            }
            return (whole, try ChoreographyMachine.pinned(whole, store: self.store, in: transaction))
        }
        // As it is now: a monitor that is down has not noticed what is late.
        let now = self.time.wallTime
        let verdict = machine.verdict(of: instance, at: now)
        var judged = Self.summary(instance)
        judged.status = verdict.status.rawValue
        judged.reason = verdict.reason
        judged.dueAt = verdict.nextChange
        return SagaReport(
            saga: judged,
            timeline: verdict.timeline.map { entry in
                let notes = [
                    entry.injectedBy.map { "said by \($0)" },
                    entry.messageIDs.count > 1 ? "said \(entry.messageIDs.count) times" : nil,
                    entry.isCauseInferred ? "its cause is a guess" : nil,
                ].compactMap(\.self)
                return SagaReport.Line(
                    at: entry.at,
                    what: entry.event,
                    depth: entry.depth,
                    who: entry.source,
                    detail: notes.isEmpty ? nil : notes.joined(separator: ", "),
                    messages: entry.messageIDs
                )
            },
            effects: verdict.effects.map { .init(what: $0.event, status: $0.status.rawValue) },
            findings: verdict.findings.map { .init(kind: $0.kind.description, message: $0.message) },
            awaited: verdict.awaited.map {
                .init(oneOf: $0.oneOf, from: $0.from, dueAt: $0.dueAt, isLate: $0.isLate)
            },
            remaining: verdict.remaining,
            interventions: instance.interventions.map {
                .init(at: $0.at, kind: $0.kind.rawValue, by: $0.by, because: $0.because, events: $0.events)
            },
            commands: Self.commands(instance, verdict)
        )
    }

    public func intervene(
        _ intervention: SagaIntervention,
        on name: String,
        by person: String,
        because reason: String,
        isDryRun: Bool
    ) async throws -> SagaInterventionReport {
        let instance = try await self.find(name)
        let (id, type) = (instance.id, instance.type)
        let plan: ChoreographyPlan
        switch intervention.verb {
        case .inject:
            guard let event = intervention.target else { throw SagaError(.unknownEvent, "say which event to inject") }
            plan = try await self.operators.inject(
                event,
                into: id,
                of: type,
                data: intervention.data,
                isForced: intervention.isForced,
                by: person,
                because: reason,
                isDryRun: isDryRun
            )
        case .compensate:
            plan = try await self.operators.compensate(id, of: type, by: person, because: reason, isDryRun: isDryRun)
        case .replay:
            plan = try await self.operators.replay(
                id,
                of: type,
                from: intervention.target,
                by: person,
                because: reason,
                isDryRun: isDryRun
            )
        case .accept, .reject: throw OrchestratedSagaInspector.hasNoHash(id)
        default:
            throw SagaError(
                .notAllowed,
                "nobody leads instance '\(id)', so it has no state that could be set: use inject, compensate or replay"
            )
        }
        return SagaInterventionReport(
            saga: id,
            intervention: intervention.verb.description,
            isDryRun: isDryRun,
            effects: plan.messages.map { message in
                // The id of a dry run means nothing: the next plan has another.
                let id = isDryRun ? "" : " as \(message.id)"
                return "\(message.type) is published\(id)" + (message.replayOf.map { ", once more for \($0)" } ?? "")
            },
            warnings: plan.warnings
        )
    }

    private func find(_ name: String) async throws -> ChoreographyInstance {
        for query in [ChoreographyQuery(id: name), ChoreographyQuery(businessKey: name)] {
            if let instance = try await self.store.instances(matching: query).first { return instance }
        }
        throw Self.unknown(name)
    }

    private static func unknown(_ name: String) -> SagaError {
        SagaError(.unknownSaga, "there is no saga '\(name)'; list them to see which there are")
    }

    private static func commands(_ instance: ChoreographyInstance, _ verdict: ChoreographyVerdict) -> [String] {
        let name = instance.businessKey
        guard !verdict.status.isTerminal else { return [] }
        var commands: [String] = []
        if let awaited = verdict.awaited.first {
            if let after = awaited.after {
                commands.append("parley sagas replay \(name) --from \(after) --reason '…'")
            }
            for event in awaited.oneOf {
                commands.append("parley sagas inject \(name) \(event) --reason '…' --dry-run")
            }
        }
        commands.append("parley sagas compensate \(name) --reason '…' --dry-run")
        return commands
    }

    private static func summary(_ instance: ChoreographyInstance) -> SagaSummary {
        SagaSummary(
            id: instance.id,
            type: instance.type,
            style: .choreography,
            businessKey: instance.businessKey,
            status: instance.status.rawValue,
            state: nil,
            reason: instance.reason,
            dueAt: instance.dueAt,
            createdAt: instance.createdAt,
            updatedAt: instance.updatedAt
        )
    }
}
