public import ParleyCore
public import ParleyMessaging

/// Mends instances of choreographies: says an event in a service's place, has effects taken back, says an event again.
///
/// Each intervention is one commit: the messages go into the outbox of the monitor's database, and who did it, when and
/// why goes into the instance. It works beside a running system and without one; what it sends goes out as soon as a
/// relay runs. With `isDryRun`, nothing is written and the plan is returned.
public struct ChoreographyOperator: Sendable {
    private let store: any ChoreographyStore
    private let outbox: any OutboxStore
    private let transactions: any TransactionRunner
    private let time: any TimeSource
    private let ids: UUIDv7Generator

    /// - Parameter transactions: The backend of store and outbox.
    public init(
        store: any ChoreographyStore,
        outbox: any OutboxStore,
        transactions: any TransactionRunner,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) {
        self.store = store
        self.outbox = outbox
        self.transactions = transactions
        self.time = time
        self.ids = UUIDv7Generator(time: time, random: random)
    }

    /// Says `event` in its service's place: the next one that can follow, or with `isForced` any that is declared.
    ///
    /// - Parameter data: Its body; without it, the body of the event that it follows.
    /// - Throws: ``SagaError`` with `unknownSaga`, `unknownEvent` or `notAllowed`.
    @discardableResult
    public func inject(
        _ event: String,
        into id: String,
        of type: String,
        data: [UInt8]? = nil,
        isForced: Bool = false,
        by person: String,
        because reason: String,
        isDryRun: Bool = false
    ) async throws -> ChoreographyPlan {
        try await self.intervene(id, type, by: person, because: reason, isDryRun: isDryRun) { mending, transaction in
            let cause = try mending.cause(of: event).messageID.flatMap {
                try self.store.message($0, of: id, type: type, in: transaction)
            }
            return try mending.inject(
                event,
                data: data,
                after: cause,
                isForced: isForced,
                id: self.ids.next().description
            )
        }
    }

    /// Asks the services to take back what they did, and what they may be doing.
    ///
    /// - Throws: ``SagaError`` with `unknownSaga`, or `notAllowed`: it has ended, has no effects, or nobody can be
    ///   asked.
    @discardableResult
    public func compensate(
        _ id: String,
        of type: String,
        by person: String,
        because reason: String,
        isDryRun: Bool = false
    ) async throws -> ChoreographyPlan {
        try await self.intervene(id, type, by: person, because: reason, isDryRun: isDryRun) { mending, transaction in
            let first = mending.instance.events.min { ($0.time, $0.id) < ($1.time, $1.id) }
            let template = try first.flatMap { try self.store.message($0.id, of: id, type: type, in: transaction) }
            return try mending.compensate(like: template) { self.ids.next().description }
        }
    }

    /// Says an event of the instance once more, under a new id: those who hear it act again, with their barriers'
    /// recorded answers, and the instance goes on from there.
    ///
    /// - Parameter from: The event's type (its newest happening) or a message's id; without it the event after which
    ///   something is late or, when nothing is, awaited.
    /// - Throws: ``SagaError`` with `unknownSaga` or `unknownEvent`; `notAllowed` when nothing is awaited and `from` is
    ///   not given.
    @discardableResult
    public func replay(
        _ id: String,
        of type: String,
        from: String? = nil,
        by person: String,
        because reason: String,
        isDryRun: Bool = false
    ) async throws -> ChoreographyPlan {
        try await self.intervene(id, type, by: person, because: reason, isDryRun: isDryRun) { mending, transaction in
            let awaited = mending.verdict.awaited.first { $0.afterMessage != nil }
            guard let from = from ?? awaited?.afterMessage
            else {
                throw SagaError(.notAllowed, "nothing is awaited in instance '\(id)'; say which event to replay")
            }
            let original = try mending.original(of: from)
            guard let message = try self.store.message(original, of: id, type: type, in: transaction) else {
                throw SagaError(.corrupt, "the message '\(original)' of instance '\(id)' is not in the store")
            }
            return mending.replay(message, id: self.ids.next().description)
        }
    }

    private func intervene(
        _ id: String,
        _ type: String,
        by person: String,
        because reason: String,
        isDryRun: Bool,
        _ plan: @escaping @Sendable (ChoreographyMending, any Transaction) throws -> ChoreographyPlan
    ) async throws -> ChoreographyPlan {
        let now = self.time.wallTime
        let reason = String(reason.prefix(2_000))
        let person = String(person.prefix(200))
        return try await self.transactions.withTransaction { transaction in
            guard var instance = try self.store.instance(id, of: type, in: transaction) else {
                throw SagaError(
                    .unknownSaga,
                    "there is no instance '\(id)' of '\(type)'; list them to see which there are"
                )
            }
            let machine = try ChoreographyMachine.pinned(instance, store: self.store, in: transaction)
            let mending = ChoreographyMending(
                machine: machine,
                instance: instance,
                person: person,
                reason: reason,
                now: now
            )
            let plan = try plan(mending, transaction)
            if isDryRun { return plan }
            try self.outbox.append(plan.messages, in: transaction)
            let intervention = ChoreographyIntervention(
                kind: plan.intervention,
                at: now,
                by: person,
                because: reason,
                events: plan.messages.map(\.type),
                messageIDs: plan.messages.map(\.id)
            )
            instance.interventions.append(intervention)
            instance.interventions = instance.interventions.suffix(ChoreographyMachine.maximumInterventions)
            try self.store.write(
                ChoreographyChange(
                    instance: machine.judged(instance, now: now),
                    definition: machine.canonicalJSON,
                    intervention: intervention
                ),
                in: transaction
            )
            return plan
        }
    }
}
