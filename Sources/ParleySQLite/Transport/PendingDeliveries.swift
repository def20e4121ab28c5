public import ParleyCore
internal import ParleyMessaging

/// A delivery that a consumer holds, or that was tried and waits for its next time.
public struct PendingDelivery: Sendable, Hashable {
    /// The message's place in the order of the bus.
    public var sequence: Int64
    public var messageID: String
    public var key: String?
    /// How often it was handed out.
    public var attempts: Int
    /// The lease that holds it; `nil` while nobody does.
    public var holder: Int64?
    /// When its holder was last heard of.
    public var renewedAt: Timestamp?
    /// When it is tried again.
    public var dueAt: Timestamp?
    public var publishedAt: Timestamp
}

extension SQLiteTransport {
    /// What of a group is neither new nor done, in the order of the bus.
    ///
    /// - Parameters:
    ///   - after: Only what lies behind this place.
    ///   - limit: At most so many, 1 to 10,000.
    public func pendingDeliveries(
        of group: String,
        after: Int64 = 0,
        limit: Int = 100
    ) async throws -> [PendingDelivery] {
        try await self.reading { connection in
            try connection.rows(
                """
                SELECT d.seq, m.id, d.key, d.attempts, d.owner, o.renewed_at, d.due_at, m.published_at
                FROM parley_delivery d
                JOIN parley_group g ON g.id = d.grp
                JOIN parley_message m ON m.seq = d.seq
                LEFT JOIN parley_owner o ON o.id = d.owner
                WHERE g.name = ? AND d.seq > ? AND (d.owner IS NOT NULL OR d.attempts > 0 OR d.due_at > 0)
                ORDER BY d.seq LIMIT ?
                """,
                [.text(group), .integer(after), .integer(min(10_000, max(1, limit)))]
            ) { row in
                let due = row.timestamp(6)
                return PendingDelivery(
                    sequence: row.integer(0),
                    messageID: row.text(1),
                    key: row.optionalText(2),
                    attempts: row.int(3),
                    holder: row.isNull(4) ? nil : row.integer(4),
                    renewedAt: row.isNull(5) ? nil : row.timestamp(5),
                    dueAt: due.microseconds == 0 ? nil : due,
                    publishedAt: row.timestamp(7)
                )
            }
        }
    }

    /// How many messages the file holds for any group, and the places of the first and the last.
    public func messages() async throws -> (count: Int, first: Int64?, last: Int64?) {
        try await self.reading { connection in
            try connection.rows("SELECT count(*), min(seq), max(seq) FROM parley_message") { row in
                (row.int(0), row.isNull(1) ? nil : row.integer(1), row.isNull(2) ? nil : row.integer(2))
            }.first ?? (0, nil, nil)
        }
    }
}
