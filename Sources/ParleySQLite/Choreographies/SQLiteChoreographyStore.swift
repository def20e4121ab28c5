public import ParleyCore
public import ParleyMessaging
public import ParleySagas

/// The watched choreographies in the file: see `ChoreographyStore`.
///
/// Errors: ``SagaError`` with `corrupt` for a row that cannot be read (it names the row), ``SQLiteError`` for the file.
public final class SQLiteChoreographyStore: ChoreographyStore {
    private let core: SQLiteCore

    init(core: SQLiteCore) {
        self.core = core
    }

    public func instance(
        _ id: String,
        of type: String,
        in transaction: any Transaction
    ) throws -> ChoreographyInstance? {
        let key: [SQLValue] = [.text(type), .text(id)]
        let rows = try transaction.query(
            "SELECT \(ChoreographyRow.columns) FROM parley_choreography WHERE type = ? AND id = ?",
            key
        )
        guard let row = rows.first else { return nil }
        var instance = try self.row(row, "parley_choreography").instance()
        instance.events = try transaction.query(
            """
            SELECT \(ChoreographyRow.eventColumns) FROM parley_choreography_event
            WHERE choreography = ? AND instance = ? ORDER BY arrival
            """,
            key
        ).map { try self.row($0, "parley_choreography_event").event() }
        instance.interventions = try transaction.query(
            """
            SELECT \(ChoreographyRow.interventionColumns) FROM (
                SELECT * FROM parley_choreography_intervention WHERE choreography = ? AND instance = ?
                ORDER BY seq DESC LIMIT \(ChoreographyMachine.maximumInterventions)
            ) ORDER BY seq
            """,
            key
        ).map { try self.row($0, "parley_choreography_intervention").intervention() }
        return instance
    }

    public func message(
        _ messageID: String,
        of instance: String,
        type: String,
        in transaction: any Transaction
    ) throws -> Message? {
        let rows = try transaction.query(
            """
            SELECT \(MessageRow.columns) FROM parley_choreography_event
            WHERE choreography = ? AND instance = ? AND id = ?
            """,
            [.text(type), .text(instance), .text(messageID)]
        )
        return try rows.first.map { try self.row($0, "parley_choreography_event").message() }
    }

    public func definition(_ fingerprint: String, in transaction: any Transaction) throws -> String? {
        try transaction.query(
            "SELECT json FROM parley_choreography_definition WHERE fingerprint = ?",
            [.text(fingerprint)]
        ).first?.first?.text
    }

    public func write(_ change: ChoreographyChange, in transaction: any Transaction) throws {
        let instance = change.instance
        let key: [SQLValue] = [.text(instance.type), .text(instance.id)]
        try transaction.execute(
            """
            INSERT INTO parley_choreography_definition (fingerprint, json) VALUES (?, ?)
            ON CONFLICT (fingerprint) DO NOTHING
            """,
            [.text(instance.definition), .text(change.definition)]
        )
        try transaction.execute(
            """
            INSERT INTO parley_choreography (\(ChoreographyRow.columns)) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (type, id) DO UPDATE SET business_key = excluded.business_key,
                definition = excluded.definition, status = excluded.status, reason = excluded.reason,
                due_at = excluded.due_at, dropped = excluded.dropped, created_at = excluded.created_at,
                updated_at = excluded.updated_at
            """,
            ChoreographyRow.values(instance)
        )
        if let message = change.added, let event = instance.events.last(where: { $0.id == message.id }) {
            try transaction.execute(
                """
                INSERT INTO parley_choreography_event (choreography, instance, \(MessageRow.columns),
                    causation, replay_of, injected_by, observed_at, arrival, copies)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
                key + MessageRow.values(message) + [
                    .optional(event.causationID), .optional(event.replayOf), .optional(event.injectedBy),
                    .integer(event.observedAt.microseconds), .integer(event.arrival), .integer(event.copies),
                ]
            )
        }
        if let id = change.repeated, let event = instance.events.first(where: { $0.id == id }) {
            try transaction.execute(
                """
                UPDATE parley_choreography_event SET copies = ?
                WHERE choreography = ? AND instance = ? AND id = ?
                """,
                [.integer(event.copies)] + key + [.text(id)]
            )
        }
        if let intervention = change.intervention {
            try transaction.execute(
                """
                INSERT INTO parley_choreography_intervention (choreography, instance, kind, at, by, because, events,
                    messages)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                """,
                key + [
                    .text(intervention.kind.rawValue), .integer(intervention.at.microseconds), .text(intervention.by),
                    .text(intervention.because), .text(JSONText.text(of: intervention.events)),
                    .text(JSONText.text(of: intervention.messageIDs)),
                ]
            )
        }
    }

    public func instances(matching query: ChoreographyQuery) async throws -> [ChoreographyInstance] {
        var conditions: [String] = []
        var values: [SQLValue] = []
        for (column, value) in [("id", query.id), ("type", query.type), ("business_key", query.businessKey)] {
            guard let value else { continue }
            conditions.append("\(column) = ?")
            values.append(.text(value))
        }
        // A question for each, because one index cannot give both orders: what needs a person first, then by age.
        // Whoever asks for one by name is not to go through all that are stuck: the plus keeps SQLite off that index.
        let status = query.id == nil && query.businessKey == nil ? "status" : "+status"
        let parts =
            query.status.map { ["\(status) = '\($0.rawValue)'"] }
            ?? ["\(status) = 'stuck'", "\(status) = 'late'", "\(status) NOT IN ('stuck', 'late')"]
        let filters = parts.map { ([$0] + conditions).joined(separator: " AND ") }
        let limit = query.limit
        return try await self.core.read { [values] connection in
            var found: [ChoreographyInstance] = []
            for filter in filters where found.count < limit {
                found += try connection.rows(
                    """
                    SELECT \(ChoreographyRow.columns) FROM parley_choreography WHERE \(filter)
                    ORDER BY created_at, id LIMIT ?
                    """,
                    values + [.integer(limit - found.count)]
                ) { try self.row($0.values, "parley_choreography").instance() }
            }
            return found
        }
    }

    public func due(at now: Timestamp, limit: Int) async throws -> ChoreographyDue {
        let limit = min(1_000, max(1, limit))
        return try await self.core.read { connection in
            let instances = try connection.rows(
                """
                SELECT \(ChoreographyRow.columns) FROM parley_choreography WHERE due_at <= ?
                ORDER BY due_at, id LIMIT ?
                """,
                [.integer(now.microseconds), .integer(limit)]
            ) { try self.row($0.values, "parley_choreography").instance() }
            let next =
                try connection.first(
                    "SELECT min(due_at) FROM parley_choreography WHERE due_at > ?",
                    [.integer(now.microseconds)]
                ) { $0.optionalInteger(0) } ?? nil
            return ChoreographyDue(instances: instances, next: next.map { Timestamp(microseconds: $0) })
        }
    }

    public func forget(endedBefore time: Timestamp, limit: Int) async throws -> Int {
        let limit = min(1_000, max(1, limit))
        let old = """
            SELECT type, id FROM parley_choreography INDEXED BY parley_choreography_ended
            WHERE status IN ('completed', 'failed') AND updated_at < ? ORDER BY updated_at, id LIMIT ?
            """
        let values: [SQLValue] = [.integer(time.microseconds), .integer(limit)]
        // Nothing to do is the usual case, and it need not wait for the writer.
        guard try await self.core.read({ try $0.first(old, values) { _ in true } }) != nil else { return 0 }
        return try await self.core.write { transaction in
            let connection = try transaction.connection
            for table in ["parley_choreography_event", "parley_choreography_intervention"] {
                try connection.execute("DELETE FROM \(table) WHERE (choreography, instance) IN (\(old))", values)
            }
            return try connection.execute("DELETE FROM parley_choreography WHERE (type, id) IN (\(old))", values)
        }
    }

    private func row(_ values: [SQLValue], _ table: String) -> ChoreographyRow {
        ChoreographyRow(row: values, table: table, path: self.core.path)
    }
}
