internal import ParleyCore
internal import ParleyMessaging

/// Settles one attempt. The token in every `WHERE` is the fence: after a take-over the row has another one, or no
/// owner.
enum Settling {
    /// `false`, and nothing done, when the attempt is no longer its consumer's.
    static func settle(
        _ id: Delivery.ID,
        group: Int64,
        _ settlement: Settlement,
        at now: Timestamp,
        _ transaction: SQLiteTransaction
    ) throws -> Bool {
        let connection = try transaction.connection
        switch settlement {
        case .ack: return try Self.acknowledge(id, group, transaction, connection)
        case .retry(let delay):
            return try Self.retry(id, group, after: delay, at: now, transaction, connection)
        case .deadLetter(let reason):
            guard let held = try Self.held(id, group, connection) else { return false }
            try Self.kill(id, group, held, reason: reason, at: now, transaction, connection)
            return true
        }
    }

    private struct Held {
        var attempts: Int64
        var key: String?
    }

    private static func held(_ id: Delivery.ID, _ group: Int64, _ connection: SQLConnection) throws -> Held? {
        try connection.first(
            "SELECT attempts, key FROM parley_delivery WHERE seq = ? AND grp = ? AND token = ? AND owner IS NOT NULL",
            [.integer(id.sequence), .integer(group), .integer(id.token)]
        ) { Held(attempts: $0.integer(0), key: $0.optionalText(1)) }
    }

    private static func acknowledge(
        _ id: Delivery.ID,
        _ group: Int64,
        _ transaction: SQLiteTransaction,
        _ connection: SQLConnection
    ) throws -> Bool {
        let deleted = try connection.first(
            """
            DELETE FROM parley_delivery WHERE seq = ? AND grp = ? AND token = ? AND owner IS NOT NULL
            RETURNING key
            """,
            [.integer(id.sequence), .integer(group), .integer(id.token)]
        ) { $0.optionalText(0) }
        guard let key = deleted else { return false }
        if try DeliveryRows.promote(key: key, group: group, connection) { transaction.rings.ring(group: group) }
        try DeliveryRows.dropMessageIfUnused(id.sequence, connection)
        return true
    }

    private static func retry(
        _ id: Delivery.ID,
        _ group: Int64,
        after delay: Duration,
        at now: Timestamp,
        _ transaction: SQLiteTransaction,
        _ connection: SQLConnection
    ) throws -> Bool {
        guard let held = try Self.held(id, group, connection) else { return false }
        let maximum =
            try connection.first(
                "SELECT maximum_deliveries FROM parley_group WHERE id = ?",
                [.integer(group)],
                { $0.int(0) }
            ) ?? 0
        if held.attempts >= maximum {
            try Self.kill(
                id,
                group,
                held,
                reason: DeliveryRows.limitReason(maximum),
                at: now,
                transaction,
                connection
            )
            return true
        }
        let dueAt = delay <= .zero ? 0 : (now + min(delay, Self.longestDelay)).microseconds
        try connection.execute(
            "UPDATE parley_delivery SET owner = NULL, due_at = ? WHERE seq = ? AND grp = ?",
            [.integer(dueAt), .integer(id.sequence), .integer(group)]
        )
        // Also when it is not due yet: those who wait must learn until when.
        transaction.rings.ring(group: group)
        return true
    }

    /// Ten years: so that adding it to the present cannot overflow.
    static let longestDelay: Duration = .seconds(315_360_000)

    private static func kill(
        _ id: Delivery.ID,
        _ group: Int64,
        _ held: Held,
        reason: String,
        at now: Timestamp,
        _ transaction: SQLiteTransaction,
        _ connection: SQLConnection
    ) throws {
        let isNextReady = try DeliveryRows.kill(
            seq: id.sequence,
            group: group,
            key: held.key,
            attempts: held.attempts,
            reason: reason,
            at: now,
            connection
        )
        if isNextReady { transaction.rings.ring(group: group) }
    }

    /// Gives back what a subscription holds at its end: uncounted what nobody has seen, counted what was received.
    static func giveBack(
        unseen: [Delivery.ID],
        owner: Int64,
        group: Int64,
        isEnd: Bool,
        _ transaction: SQLiteTransaction
    ) throws {
        let connection = try transaction.connection
        for id in unseen {
            try connection.execute(
                """
                UPDATE parley_delivery SET owner = NULL, attempts = attempts - 1
                WHERE seq = ? AND grp = ? AND token = ? AND owner = ?
                """,
                [.integer(id.sequence), .integer(group), .integer(id.token), .integer(owner)]
            )
        }
        if isEnd { try Claim.release(owner, connection) }
        transaction.rings.ring(group: group)
    }
}
