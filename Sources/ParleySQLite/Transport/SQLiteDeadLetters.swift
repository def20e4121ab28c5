internal import ParleyCore
internal import ParleyMessaging

/// The dead letters of a ``SQLiteTransport``.
struct SQLiteDeadLetters: DeadLetterStore {
    let core: SQLiteCore

    private static let maximumList = 1_000

    /// A letter whose headers cannot be read is listed without them: its reason says so, and the list must go on.
    func list(group: String?, after: Int64, limit: Int) async throws -> [DeadLetter] {
        let limit = min(Self.maximumList, max(1, limit))
        let columns = MessageRow.columns.split(separator: ", ").map { "message.\($0)" }.joined(separator: ", ")
        let condition = group == nil ? "" : "AND letter.grp = (SELECT id FROM parley_group WHERE name = ?3)"
        return try await translatingClosed {
            try await self.core.read { connection in
                try connection.rows(
                    """
                    SELECT letter.id, parley_group.name, letter.reason, letter.attempts, letter.died_at, \(columns)
                    FROM parley_dead_letter AS letter JOIN parley_group ON parley_group.id = letter.grp
                        JOIN parley_message AS message ON message.seq = letter.seq
                    WHERE letter.id > ?1 \(condition) ORDER BY letter.id LIMIT ?2
                    """,
                    [.integer(after), .integer(limit)] + (group.map { [SQLValue.text($0)] } ?? [])
                ) { row in
                    DeadLetter(
                        id: row.integer(0),
                        group: row.text(1),
                        message: MessageRow.read(row, from: 5).message,
                        reason: row.text(2),
                        attempts: row.int(3),
                        diedAt: row.timestamp(4)
                    )
                }
            }
        }
    }

    func replay(_ ids: [Int64]) async throws -> Int {
        try await translatingClosed {
            try await self.core.write { transaction in
                let connection = try transaction.connection
                var count = 0
                for id in ids {
                    guard let letter = try Self.remove(id, connection) else { continue }
                    // A copy gets a new position, at the end; the original may still be in use by other groups.
                    try connection.execute(
                        """
                        INSERT INTO parley_message (\(MessageRow.columns), published_at)
                        SELECT \(MessageRow.columns), published_at FROM parley_message WHERE seq = ?
                        """,
                        [.integer(letter.seq)]
                    )
                    let seq = connection.lastInsertedRow
                    let key =
                        try connection.first(
                            "SELECT key FROM parley_message WHERE seq = ?",
                            [.integer(seq)],
                            { $0.optionalText(0) }
                        ) ?? nil
                    try DeliveryRows.insert(seq: seq, group: letter.group, key: .optional(key), connection)
                    try DeliveryRows.dropMessageIfUnused(letter.seq, connection)
                    transaction.rings.ring(group: letter.group)
                    count += 1
                }
                return count
            }
        }
    }

    func discard(_ ids: [Int64]) async throws -> Int {
        try await translatingClosed {
            try await self.core.write { transaction in
                let connection = try transaction.connection
                var count = 0
                for id in ids {
                    guard let letter = try Self.remove(id, connection) else { continue }
                    try DeliveryRows.dropMessageIfUnused(letter.seq, connection)
                    count += 1
                }
                return count
            }
        }
    }

    private static func remove(_ id: Int64, _ connection: SQLConnection) throws -> (seq: Int64, group: Int64)? {
        try connection.first(
            "DELETE FROM parley_dead_letter WHERE id = ? RETURNING seq, grp",
            [.integer(id)]
        ) { ($0.integer(0), $0.integer(1)) }
    }
}
