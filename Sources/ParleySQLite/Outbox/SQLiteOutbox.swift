public import ParleyCore
public import ParleyMessaging

/// The outbox in the file, beside the business rows: see `OutboxStore`.
///
/// ``append(_:in:)`` takes any ``Transaction`` on this file. One of ``SQLiteBackend`` wakes the relay when it commits;
/// a transaction on a connection of the application's own is found by the relay's poll, at most a second later.
public final class SQLiteOutbox: OutboxStore {
    private let core: SQLiteCore
    private static let leaseName = "outbox"

    init(core: SQLiteCore) {
        self.core = core
    }

    /// - Throws: ``MessagingError`` with `invalidMessage` or `invalidTopic` for a message that no transport would take:
    ///   it would block the messages behind it for ever.
    public func append(_ messages: [Message], in transaction: any Transaction) throws {
        for message in messages { try message.validate(maximumBytes: self.core.configuration.maximumMessageBytes) }
        let now = SQLValue.integer(self.core.time.wallTime.microseconds)
        for message in messages {
            try transaction.execute(
                """
                INSERT INTO parley_outbox (\(MessageRow.columns), appended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
                MessageRow.values(message) + CollectionOfOne(now)
            )
        }
        // Whose commit it is decides who can ring; this asks for no capability.
        (transaction as? SQLiteTransaction)?.rings.channels.insert(.outbox)
    }

    public func lease(to owner: String, for duration: Duration) async throws -> OutboxEpoch? {
        let time = self.core.time
        return try await self.core.write { transaction in
            let connection = try transaction.connection
            let now = time.wallTime
            let current = try connection.first(
                "SELECT owner, epoch, renewed_at, expires_at FROM parley_lease WHERE name = ?",
                [.text(Self.leaseName)]
            ) {
                (
                    owner: $0.optionalText(0), epoch: $0.integer(1), renewedAt: $0.timestamp(2),
                    expiresAt: $0.timestamp(3)
                )
            }
            if let current, let holder = current.owner, holder != owner, current.expiresAt > now,
                // A lease from the future was written before the clock jumped back, and says nothing any more.
                current.renewedAt <= now + Claim.clockTolerance
            {
                return nil
            }
            let epoch = current.map { $0.owner == owner ? $0.epoch : $0.epoch + 1 } ?? 1
            try connection.execute(
                """
                INSERT INTO parley_lease (name, owner, epoch, renewed_at, expires_at) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, epoch = excluded.epoch,
                    renewed_at = excluded.renewed_at, expires_at = excluded.expires_at
                """,
                [
                    .text(Self.leaseName), .text(owner), .integer(epoch), .integer(now.microseconds),
                    .integer((now + min(duration, Settling.longestDelay)).microseconds),
                ]
            )
            return OutboxEpoch(owner: owner, number: epoch)
        }
    }

    public func release(_ epoch: OutboxEpoch) async throws {
        try await self.core.write(isEssential: true) { transaction in
            let released = try transaction.connection.execute(
                "UPDATE parley_lease SET owner = NULL, expires_at = 0 WHERE name = ? AND owner = ? AND epoch = ?",
                [.text(Self.leaseName), .text(epoch.owner), .integer(epoch.number)]
            )
            // The others need not wait for their next look.
            if released > 0 { transaction.rings.channels.insert(.outbox) }
        }
    }

    public func pending(limit: Int) async throws -> OutboxBatch {
        let now = SQLValue.integer(self.core.time.wallTime.microseconds)
        let limit = min(1_000, max(1, limit))
        return try await self.core.read { connection in
            let rows = try connection.rows(
                """
                SELECT seq, failures, \(MessageRow.columns) FROM parley_outbox AS message
                WHERE next_try <= ?1 AND (key IS NULL OR NOT EXISTS (
                    SELECT 1 FROM parley_outbox AS earlier
                    WHERE earlier.key = message.key AND earlier.seq < message.seq AND earlier.next_try > ?1
                        AND earlier.next_try > 0
                )) ORDER BY seq LIMIT ?2
                """,
                [now, .integer(limit)]
            ) { row in
                let (message, isReadable) = MessageRow.read(row, from: 2)
                guard isReadable else {
                    throw MessageRow.corrupt(path: connection.path, table: "parley_outbox", row: row.integer(0))
                }
                return OutboxRow(id: row.integer(0), message: message, failures: row.int(1))
            }
            let nextDue =
                try connection.first(
                    "SELECT min(next_try) FROM parley_outbox WHERE next_try > 0 AND next_try > ?",
                    [now]
                ) { $0.optionalInteger(0) } ?? nil
            return OutboxBatch(rows: rows, nextDue: nextDue.map { Timestamp(microseconds: $0) })
        }
    }

    public func record(sent: [Int64], failed: [OutboxFailure], under epoch: OutboxEpoch) async throws -> Bool {
        try await self.core.write(isEssential: true) { transaction in
            let connection = try transaction.connection
            let newest = try connection.first(
                "SELECT epoch FROM parley_lease WHERE name = ?",
                [.text(Self.leaseName)],
                { $0.integer(0) }
            )
            guard newest == epoch.number else { return false }
            for id in sent { try connection.execute("DELETE FROM parley_outbox WHERE seq = ?", [.integer(id)]) }
            for failure in failed {
                try connection.execute(
                    "UPDATE parley_outbox SET failures = failures + 1, next_try = ?, last_error = ? WHERE seq = ?",
                    [
                        // 0 would mean that it has never failed.
                        .integer(max(1, failure.nextTry.microseconds)), .text(String(failure.reason.prefix(2_000))),
                        .integer(failure.id),
                    ]
                )
            }
            return true
        }
    }

    public func statistics() async throws -> OutboxStatistics {
        try await self.core.read { connection in
            let (pending, oldest) =
                try connection.first(
                    "SELECT count(*), (SELECT appended_at FROM parley_outbox ORDER BY seq LIMIT 1) FROM parley_outbox",
                    [],
                    { ($0.int(0), $0.optionalInteger(1)) }
                ) ?? (0, nil)
            let blocked =
                try connection.first(
                    """
                    SELECT count(*) FROM parley_outbox AS message
                    WHERE next_try > 0 OR (key IS NOT NULL AND EXISTS (
                        SELECT 1 FROM parley_outbox AS earlier
                        WHERE earlier.key = message.key AND earlier.seq < message.seq AND earlier.next_try > 0
                    ))
                    """,
                    [],
                    { $0.int(0) }
                ) ?? 0
            let worst =
                try connection.first(
                    "SELECT last_error FROM parley_outbox WHERE next_try > 0 ORDER BY failures DESC, seq LIMIT 1",
                    [],
                    { $0.optionalText(0) }
                ) ?? nil
            return OutboxStatistics(
                pending: pending,
                blocked: blocked,
                oldest: oldest.map { Timestamp(microseconds: $0) },
                worstFailure: worst
            )
        }
    }

    public func waitForAppend(after generation: UInt64, until instant: ContinuousClock.Instant?) async -> UInt64 {
        await self.core.bells.wait(for: self.core.bells.outbox, after: generation, until: instant, on: self.core.time)
    }
}
