public import ParleyCore
public import ParleyMessaging

/// The inbox in the file, beside the business rows: see `Inbox`.
public final class SQLiteInbox: Inbox {
    private let core: SQLiteCore

    /// A purge deletes in portions, so that it holds up nobody's commit for long.
    private static let portion = 1_000

    init(core: SQLiteCore) {
        self.core = core
    }

    public func admit(_ messageID: String, to consumer: String, in transaction: any Transaction) throws -> Bool {
        // Never earlier than the newest one: after a clock has jumped back, what is admitted now must not look older
        // than what was admitted before, or the next purge would forget it first.
        try transaction.execute(
            """
            INSERT INTO parley_inbox (consumer, message, admitted_at)
            VALUES (?1, ?2, max(?3, coalesce((SELECT max(admitted_at) FROM parley_inbox WHERE consumer = ?1), 0)))
            ON CONFLICT (consumer, message) DO NOTHING
            """,
            [.text(consumer), .text(messageID), .integer(self.core.time.wallTime.microseconds)]
        ) > 0
    }

    public func purge(consumer: String, window: Duration, keep: Int) async throws -> Int {
        var total = 0
        while true {
            let deleted = try await self.core.write { transaction in
                try Self.purgePortion(consumer, window, keep, try transaction.connection)
            }
            total += deleted
            if deleted < Self.portion { return total }
        }
    }

    private static func purgePortion(
        _ consumer: String,
        _ window: Duration,
        _ keep: Int,
        _ connection: SQLConnection
    ) throws -> Int {
        let newest =
            try connection.first(
                "SELECT max(admitted_at) FROM parley_inbox WHERE consumer = ?",
                [.text(consumer)],
                { $0.optionalInteger(0) }
            ) ?? nil
        guard let newest else { return 0 }
        var limit = newest.subtractingReportingOverflow(max(0, window.inMicroseconds)).partialValue
        if keep > 0 {
            // The oldest of those to keep; when there are fewer, all stay.
            let oldestKept = try connection.first(
                "SELECT admitted_at FROM parley_inbox WHERE consumer = ? ORDER BY admitted_at DESC LIMIT 1 OFFSET ?",
                [.text(consumer), .integer(keep - 1)],
                { $0.integer(0) }
            )
            guard let oldestKept else { return 0 }
            limit = min(limit, oldestKept)
        }
        return try connection.execute(
            """
            DELETE FROM parley_inbox WHERE consumer = ?1 AND message IN (
                SELECT message FROM parley_inbox WHERE consumer = ?1 AND admitted_at < ?2
                ORDER BY admitted_at LIMIT ?3
            )
            """,
            [.text(consumer), .integer(limit), .integer(Self.portion)]
        )
    }
}
