internal import ParleyCore
internal import ParleyMessaging

/// Takes messages for one subscription, in one transaction: attempts are counted before anybody sees the message.
struct Claim: Sendable {
    var deliveries: [Delivery] = []
    /// When to look again, if nobody rings before: a delayed message is due or a consumer's lease runs out.
    var nextWake: Timestamp?
    /// The row that stands for the subscription, if it holds anything.
    var owner: Int64?
    /// Whether the lease was written new.
    var isRenewed = false
    var lease: Duration = .zero

    /// Who asks, and for how much.
    struct Request: Sendable {
        var group: Int64
        var groupName: String
        var owner: Int64?
        var limit: Int
        /// A third of the lease has passed since it was last written.
        var needsRenewal: Bool
    }

    /// A clock that reads earlier than a lease was written has jumped back; that lease says nothing any more.
    static let clockTolerance: Duration = .seconds(1)
    /// A thousand messages may be eight gigabytes.
    private static let maximumBytes = 16 << 20
    /// A backlog of dying messages is cleared over several transactions.
    private static let maximumRounds = 4

    static func take(_ request: Request, at now: Timestamp, _ transaction: SQLiteTransaction) throws -> Claim {
        let connection = try transaction.connection
        var claim = Claim()
        claim.owner = request.owner
        guard
            let (maximum, lease) = try connection.first(
                "SELECT maximum_deliveries, lease_us FROM parley_group WHERE id = ?",
                [.integer(request.group)],
                { ($0.int(0), $0.integer(1)) }
            )
        else {
            throw MessagingError(.unknownGroup, "the group '\(request.groupName)' does not exist", retry: .permanent)
        }
        claim.lease = .microseconds(lease)
        try Self.releaseExpired(request, at: now, connection)
        try connection.execute(
            "UPDATE parley_delivery SET due_at = 0 WHERE grp = ? AND owner IS NULL AND due_at > 0 AND due_at <= ?",
            [.integer(request.group), .integer(now.microseconds)]
        )
        var bytes = 0
        var rounds = 0
        while claim.deliveries.count < request.limit, bytes < Self.maximumBytes {
            let candidates = try Self.candidates(request.group, request.limit - claim.deliveries.count, connection)
            if candidates.isEmpty { break }
            rounds += 1
            if rounds > Self.maximumRounds {
                claim.nextWake = now
                break
            }
            for candidate in candidates where bytes < Self.maximumBytes {
                if candidate.attempts >= maximum {
                    try Self.kill(candidate, request.group, DeliveryRows.limitReason(maximum), now, connection)
                    continue
                }
                guard let message = try Self.message(of: candidate, request.group, now, connection) else { continue }
                let owner = try Self.ownerRow(&claim, request, at: now, connection)
                try connection.execute(
                    """
                    UPDATE parley_delivery SET owner = ?, attempts = attempts + 1, token = token + 1
                    WHERE seq = ? AND grp = ?
                    """,
                    [.integer(owner), .integer(candidate.seq), .integer(request.group)]
                )
                bytes += message.data.count
                claim.deliveries.append(
                    Delivery(
                        id: .init(group: request.groupName, sequence: candidate.seq, token: candidate.token + 1),
                        message: message,
                        attempt: Int(candidate.attempts) + 1,
                        isLastAttempt: candidate.attempts + 1 >= maximum
                    )
                )
            }
        }
        if claim.deliveries.isEmpty, claim.nextWake == nil {
            claim.nextWake = try Self.nextWake(request, connection)
        }
        return claim
    }

    private struct Candidate {
        var seq: Int64
        var attempts: Int64
        var token: Int64
        var key: String?
    }

    private static func candidates(_ group: Int64, _ limit: Int, _ connection: SQLConnection) throws -> [Candidate] {
        try connection.rows(
            """
            SELECT seq, attempts, token, key FROM parley_delivery
            WHERE grp = ? AND is_head = 1 AND owner IS NULL AND due_at = 0 ORDER BY seq LIMIT ?
            """,
            [.integer(group), .integer(limit)]
        ) { Candidate(seq: $0.integer(0), attempts: $0.integer(1), token: $0.integer(2), key: $0.optionalText(3)) }
    }

    /// `nil` when it cannot be read; then it is where a person finds it, and no longer in the way of the others.
    private static func message(
        of candidate: Candidate,
        _ group: Int64,
        _ now: Timestamp,
        _ connection: SQLConnection
    ) throws -> Message? {
        let found = try connection.first(
            "SELECT \(MessageRow.columns) FROM parley_message WHERE seq = ?",
            [.integer(candidate.seq)]
        ) { MessageRow.read($0, from: 0) }
        guard let found else {
            // Somebody has deleted the message by hand: there is nothing to deliver or to keep.
            try connection.execute(
                "DELETE FROM parley_delivery WHERE seq = ? AND grp = ?",
                [.integer(candidate.seq), .integer(group)]
            )
            _ = try DeliveryRows.promote(key: candidate.key, group: group, connection)
            return nil
        }
        guard found.isReadable else {
            let error = MessageRow.corrupt(path: connection.path, table: "parley_message", row: candidate.seq)
            try Self.kill(candidate, group, "\(error.code): \(error.message)", now, connection)
            return nil
        }
        return found.message
    }

    private static func kill(
        _ candidate: Candidate,
        _ group: Int64,
        _ reason: String,
        _ now: Timestamp,
        _ connection: SQLConnection
    ) throws {
        // Whether another one became deliverable need not be told: this claim looks again.
        _ = try DeliveryRows.kill(
            seq: candidate.seq,
            group: group,
            key: candidate.key,
            attempts: candidate.attempts,
            reason: reason,
            at: now,
            connection
        )
    }

    /// The row to own with, made or renewed when needed.
    private static func ownerRow(
        _ claim: inout Claim,
        _ request: Request,
        at now: Timestamp,
        _ connection: SQLConnection
    ) throws -> Int64 {
        if let owner = claim.owner, !claim.deliveries.isEmpty { return owner }
        let expiresAt = now + claim.lease
        if let owner = claim.owner {
            // While it held nothing, its lease may have run out and its row been swept away by another consumer.
            if request.needsRenewal {
                claim.isRenewed = try Self.renew(owner, at: now, lease: claim.lease, connection)
                if claim.isRenewed { return owner }
            } else if try connection.first("SELECT 1 FROM parley_owner WHERE id = ?", [.integer(owner)], { _ in true })
                != nil
            {
                return owner
            }
        }
        try connection.execute(
            "INSERT INTO parley_owner (grp, renewed_at, expires_at) VALUES (?, ?, ?)",
            [.integer(request.group), .integer(now.microseconds), .integer(expiresAt.microseconds)]
        )
        let owner = connection.lastInsertedRow
        claim.owner = owner
        claim.isRenewed = true
        return owner
    }

    /// `false` when another consumer has taken what the owner held.
    static func renew(_ owner: Int64, at now: Timestamp, lease: Duration, _ connection: SQLConnection) throws -> Bool {
        try connection.execute(
            "UPDATE parley_owner SET renewed_at = ?, expires_at = ? WHERE id = ?",
            [.integer(now.microseconds), .integer((now + lease).microseconds), .integer(owner)]
        ) > 0
    }

    /// Frees what dead consumers hold. Their attempts stay counted: the messages may have been handled.
    private static func releaseExpired(_ request: Request, at now: Timestamp, _ connection: SQLConnection) throws {
        let expired = try connection.rows(
            "SELECT id FROM parley_owner WHERE grp = ? AND id <> ? AND (expires_at <= ? OR renewed_at > ?)",
            [
                .integer(request.group), .integer(request.owner ?? 0), .integer(now.microseconds),
                .integer((now + Self.clockTolerance).microseconds),
            ]
        ) { $0.integer(0) }
        for owner in expired { try Self.release(owner, connection) }
    }

    static func release(_ owner: Int64, _ connection: SQLConnection) throws {
        try connection.execute("UPDATE parley_delivery SET owner = NULL WHERE owner = ?", [.integer(owner)])
        try connection.execute("DELETE FROM parley_owner WHERE id = ?", [.integer(owner)])
    }

    private static func nextWake(_ request: Request, _ connection: SQLConnection) throws -> Timestamp? {
        let due =
            try connection.first(
                "SELECT min(due_at) FROM parley_delivery WHERE grp = ? AND owner IS NULL AND due_at > 0",
                [.integer(request.group)]
            ) { $0.optionalInteger(0) } ?? nil
        let expiry =
            try connection.first(
                "SELECT min(expires_at) FROM parley_owner WHERE grp = ? AND id <> ?",
                [.integer(request.group), .integer(request.owner ?? 0)]
            ) { $0.optionalInteger(0) } ?? nil
        return [due, expiry].compactMap { $0 }.min().map { Timestamp(microseconds: $0) }
    }
}
