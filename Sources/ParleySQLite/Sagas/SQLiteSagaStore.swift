internal import Logging
public import ParleyCore
public import ParleySagas

/// The sagas in the file: see `SagaStore`.
///
/// Errors: ``SagaError`` with `corrupt` for a row that cannot be read (it names the row), ``SQLiteError`` for the file.
public final class SQLiteSagaStore: SagaStore {
    let core: SQLiteCore

    init(core: SQLiteCore) {
        self.core = core
    }

    public func create(
        _ instance: SagaInstance,
        definition: String,
        events: [SagaEvent],
        in transaction: any Transaction
    ) throws -> SagaInstance? {
        let created = try transaction.execute(
            """
            INSERT INTO parley_saga (\(SagaRow.columns))
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (type, business_key) DO NOTHING
            """,
            SagaRow.values(instance)
        )
        if created == 0 {
            let rows = try transaction.query(
                "SELECT \(SagaRow.columns) FROM parley_saga WHERE type = ? AND business_key = ?",
                [.text(instance.type), .text(instance.businessKey)]
            )
            if let row = rows.first { return try SagaRow.read(row, path: self.core.path) }
        }
        try transaction.execute(
            "INSERT INTO parley_saga_definition (fingerprint, json) VALUES (?, ?) ON CONFLICT (fingerprint) DO NOTHING",
            [.text(instance.definition), .text(definition)]
        )
        for event in events { try transaction.execute(SagaRow.insertEvent, SagaRow.values(event, of: instance.id)) }
        self.ringIfWaiting(instance, transaction)
        return nil
    }

    public func commit(
        _ expected: SagaInstance,
        _ body: @escaping @Sendable (any Transaction) throws -> SagaTransition
    ) async throws -> SagaCommit {
        do {
            return try await self.core.write { transaction in
                let connection = try transaction.connection
                let fence: [SQLValue] = [.text(expected.id), .integer(expected.version), .integer(expected.epoch)]
                // Before the body too: on a state that has moved on it might fail for a reason that is none.
                let isCurrent = try connection.first(
                    "SELECT 1 FROM parley_saga WHERE id = ? AND version = ? AND epoch = ?",
                    fence,
                    { _ in true }
                )
                guard isCurrent != nil else { return .fenced }
                let transition = try body(transaction)
                let saga = transition.instance
                let written = try connection.execute(Self.update, SagaRow.values(saga) + fence)
                // The body's own writes go back with the savepoint.
                guard written > 0 else { throw Fenced() }
                for event in transition.events {
                    try connection.execute(SagaRow.insertEvent, SagaRow.values(event, of: expected.id))
                }
                self.ringIfWaiting(saga, transaction)
                return .written(saga)
            }
        } catch is Fenced {
            return .fenced
        }
    }

    private struct Fenced: Error {}

    private static let update = """
        UPDATE parley_saga SET id = ?, type = ?, business_key = ?, definition = ?, state = ?, status = ?, version = ?,
            epoch = ?, owner = ?, attempt = ?, is_uncertain = ?, entered_at = ?, due_at = ?, input = ?, effects = ?,
            reason = ?, created_at = ?, updated_at = ?
        WHERE id = ? AND version = ? AND epoch = ?
        """

    public func claim(owner: String, lease: Duration?, limit: Int) async throws -> SagaClaim {
        let time = self.core.time
        let limit = min(1_000, max(1, limit))
        let (claim, corrupt) = try await self.core.write { transaction in
            let connection = try transaction.connection
            let now = time.wallTime
            let result = try SagaClaiming.claim(owner: owner, limit: limit, at: now, connection)
            if let lease, !result.claim.instances.isEmpty {
                try Self.renew(owner, lease, at: now, connection)
            }
            return result
        }
        for error in corrupt {
            self.core.logger.error(
                "A saga cannot be read and was parked; nobody drives it until its row is corrected.",
                metadata: ["error": "\(error)"]
            )
        }
        return claim
    }

    public func renew(owner: String, lease: Duration) async throws {
        let time = self.core.time
        let isEnd = lease <= .zero
        try await self.core.write(isEssential: true) { transaction in
            try Self.renew(owner, lease, at: time.wallTime, try transaction.connection)
            if isEnd { transaction.rings.channels.insert(.sagas) }
        }
    }

    private static func renew(
        _ owner: String,
        _ lease: Duration,
        at now: Timestamp,
        _ connection: SQLConnection
    ) throws {
        let end = now + min(Settling.longestDelay, max(.zero, lease))
        try connection.execute(
            """
            INSERT INTO parley_saga_worker (owner, renewed_at, expires_at) VALUES (?, ?, ?)
            ON CONFLICT (owner) DO UPDATE SET renewed_at = excluded.renewed_at, expires_at = excluded.expires_at
            """,
            [.text(owner), .integer(now.microseconds), .integer(end.microseconds)]
        )
    }

    public func instances(matching query: SagaQuery) async throws -> [SagaInstance] {
        var conditions: [String] = []
        var values: [SQLValue] = []
        for (column, value) in [
            ("id", query.id), ("type", query.type), ("business_key", query.businessKey),
            ("status", query.status?.rawValue), ("owner", query.owner),
        ] {
            guard let value else { continue }
            conditions.append("\(column) = ?")
            values.append(.text(value))
        }
        let limit = query.limit
        // Two questions, because one index cannot give both orders: stuck ones first, then by age.
        let parts = query.status == nil ? ["status = 'stuck'", "status <> 'stuck'"] : ["true"]
        let filters = parts.map { ([$0] + conditions).joined(separator: " AND ") }
        return try await self.core.read { [values] connection in
            var found: [SagaInstance] = []
            for filter in filters where found.count < limit {
                found += try connection.rows(
                    """
                    SELECT \(SagaRow.columns) FROM parley_saga WHERE \(filter) ORDER BY created_at, id LIMIT ?
                    """,
                    values + [.integer(limit - found.count)]
                ) { try SagaRow.read($0.values, path: connection.path) }
            }
            return found
        }
    }

    public func history(of id: String) async throws -> [SagaEvent] {
        try await self.core.read { connection in
            try connection.rows(
                """
                SELECT seq, version, at, kind, state, next_state, action, attempt, detail FROM parley_saga_event
                WHERE saga = ? ORDER BY seq
                """,
                [.text(id)]
            ) { try SagaRow.event($0, path: connection.path) }
        }
    }

    public func definition(_ fingerprint: String) async throws -> String? {
        try await self.core.read { connection in
            try connection.first(
                "SELECT json FROM parley_saga_definition WHERE fingerprint = ?",
                [.text(fingerprint)]
            ) { $0.text(0) }
        }
    }

    public func waitForWork(after generation: UInt64, until instant: ContinuousClock.Instant?) async -> UInt64 {
        await self.core.bells.wait(for: self.core.bells.sagas, after: generation, until: instant, on: self.core.time)
    }

    /// Wakes the coordinators when a saga waits for somebody to drive it before they would look by themselves.
    private func ringIfWaiting(_ saga: SagaInstance, _ transaction: any Transaction) {
        guard saga.owner == nil, !saga.status.isTerminal, let dueAt = saga.dueAt,
            dueAt <= self.core.time.wallTime + Bells.poll
        else { return }
        // Whose commit it is decides who can ring; this asks for no capability.
        (transaction as? SQLiteTransaction)?.rings.channels.insert(.sagas)
    }
}
