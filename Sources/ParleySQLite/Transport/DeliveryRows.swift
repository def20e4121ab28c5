internal import ParleyCore

/// The steps that publishing, claiming and settling share.
///
/// The rule behind `is_head`: of the deliveries of one group and key, exactly the one with the lowest position has it.
/// Only heads are handed out, so a key's messages go one at a time and in order, and no claim looks at the thousands
/// that may wait behind one head. Whoever removes a head calls ``promote(key:group:_:)``.
enum DeliveryRows {
    static func insert(seq: Int64, group: Int64, key: SQLValue, _ connection: SQLConnection) throws {
        if key == .null {
            try connection.execute(
                "INSERT INTO parley_delivery (seq, grp, is_head) VALUES (?, ?, 1)",
                [.integer(seq), .integer(group)]
            )
        } else {
            try connection.execute(
                """
                INSERT INTO parley_delivery (seq, grp, key, is_head)
                VALUES (?1, ?2, ?3, NOT EXISTS (SELECT 1 FROM parley_delivery WHERE grp = ?2 AND key = ?3))
                """,
                [.integer(seq), .integer(group), key]
            )
        }
    }

    /// Makes the next message of the key deliverable; says whether there is one.
    static func promote(key: String?, group: Int64, _ connection: SQLConnection) throws -> Bool {
        guard let key else { return false }
        return try connection.execute(
            """
            UPDATE parley_delivery SET is_head = 1
            WHERE grp = ?1
                AND seq = (SELECT seq FROM parley_delivery WHERE grp = ?1 AND key = ?2 ORDER BY seq LIMIT 1)
            """,
            [.integer(group), .text(key)]
        ) > 0
    }

    /// The message itself goes with the last delivery or dead letter that refers to it.
    static func dropMessageIfUnused(_ seq: Int64, _ connection: SQLConnection) throws {
        try connection.execute(
            """
            DELETE FROM parley_message
            WHERE seq = ?1 AND NOT EXISTS (SELECT 1 FROM parley_delivery WHERE seq = ?1)
                AND NOT EXISTS (SELECT 1 FROM parley_dead_letter WHERE seq = ?1)
            """,
            [.integer(seq)]
        )
    }

    /// Moves a delivery to the dead letters; says whether another one has become deliverable by that.
    static func kill(
        seq: Int64,
        group: Int64,
        key: String?,
        attempts: Int64,
        reason: String,
        at now: Timestamp,
        _ connection: SQLConnection
    ) throws -> Bool {
        try connection.execute(
            "INSERT INTO parley_dead_letter (seq, grp, reason, attempts, died_at) VALUES (?, ?, ?, ?, ?)",
            [.integer(seq), .integer(group), .text(reason), .integer(attempts), .integer(now.microseconds)]
        )
        try connection.execute(
            "DELETE FROM parley_delivery WHERE seq = ? AND grp = ?",
            [.integer(seq), .integer(group)]
        )
        return try Self.promote(key: key, group: group, connection)
    }

    static func limitReason(_ maximum: Int) -> String { "not settled in \(maximum) deliveries, the group's limit" }
}
