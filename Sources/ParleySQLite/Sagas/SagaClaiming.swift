internal import ParleyCore
internal import ParleySagas

/// Finds sagas that nobody drives, in one transaction, by indexes that hold only those that are not over.
enum SagaClaiming {
    static func claim(
        owner: String,
        limit: Int,
        at now: Timestamp,
        _ connection: SQLConnection
    ) throws -> (claim: SagaClaim, corrupt: [any Error]) {
        var claim = SagaClaim(instances: [], nextDue: nil)
        var corrupt: [any Error] = []
        func take(_ id: String, isTakeOver: Bool) throws {
            let row = try connection.first(
                """
                UPDATE parley_saga SET owner = ?, due_at = NULL, epoch = epoch + 1, version = version + 1,
                    is_uncertain = max(is_uncertain, ?)
                WHERE id = ? RETURNING \(SagaRow.columns)
                """,
                [.text(owner), .integer(isTakeOver ? 1 : 0), .text(id)],
                { $0.values }
            )
            guard let row else { return }
            do {
                claim.instances.append(try SagaRow.read(row, path: connection.path))
            } catch {
                // Not to be claimed again and again, and not in the way of the others: a person must look.
                corrupt.append(error)
                try connection.execute(
                    "UPDATE parley_saga SET owner = NULL, due_at = NULL, status = 'stuck' WHERE id = ?",
                    [.text(id)]
                )
            }
        }
        let due = try connection.rows(
            """
            SELECT id FROM parley_saga
            WHERE owner IS NULL AND due_at IS NOT NULL AND status IN ('running', 'stuck') AND due_at <= ?
            ORDER BY due_at LIMIT ?
            """,
            [.integer(now.microseconds), .integer(limit)]
        ) { $0.text(0) }
        for id in due { try take(id, isTakeOver: false) }

        var nextExpiry: Int64?
        for holder in try Self.holders(connection) {
            let expiresAt = try Self.expiry(of: holder, at: now, connection)
            if let expiresAt {
                nextExpiry = min(nextExpiry ?? .max, expiresAt)
                continue
            }
            // One look more than there is room for says whether some are left.
            let room = max(0, limit - claim.instances.count - corrupt.count)
            let held = try Self.held(by: holder, isClaimer: holder == owner, claim, room + 1, connection)
            for id in held.prefix(room) { try take(id, isTakeOver: true) }
            if held.count > room {
                nextExpiry = now.microseconds
            } else if holder != owner {
                try connection.execute("DELETE FROM parley_saga_worker WHERE owner = ?", [.text(holder)])
            }
        }
        let nextDue =
            try connection.first(
                """
                SELECT min(due_at) FROM parley_saga
                WHERE owner IS NULL AND due_at IS NOT NULL AND status IN ('running', 'stuck')
                """,
                [],
                { $0.optionalInteger(0) }
            ) ?? nil
        claim.nextDue = [nextDue, nextExpiry].compactMap { $0 }.min().map { Timestamp(microseconds: $0) }
        return (claim, corrupt)
    }

    /// Whoever drives anything; one step through the index for each, however many sagas each of them has.
    private static func holders(_ connection: SQLConnection) throws -> [String] {
        var holders: [String] = []
        while true {
            let next = try connection.first(
                """
                SELECT owner FROM parley_saga
                WHERE owner IS NOT NULL AND status IN ('running', 'stuck') AND owner > ? ORDER BY owner LIMIT 1
                """,
                [.text(holders.last ?? "")],
                { $0.text(0) }
            )
            guard let next else { return holders }
            holders.append(next)
        }
    }

    /// Until when the driver holds its sagas; `nil` when it does no longer.
    private static func expiry(of holder: String, at now: Timestamp, _ connection: SQLConnection) throws -> Int64? {
        try connection.first(
            // A lease from the future was written before the clock jumped back, and says nothing any more.
            "SELECT expires_at FROM parley_saga_worker WHERE owner = ? AND expires_at > ? AND renewed_at <= ?",
            [
                .text(holder), .integer(now.microseconds), .integer((now + Claim.clockTolerance).microseconds),
            ]
        ) { $0.integer(0) }
    }

    private static func held(
        by holder: String,
        isClaimer: Bool,
        _ claim: SagaClaim,
        _ limit: Int,
        _ connection: SQLConnection
    ) throws -> [String] {
        // What was just claimed has the claimer as its owner too, and must not be taken a second time.
        let taken = isClaimer ? Set(claim.instances.map(\.id)) : []
        return try connection.rows(
            """
            SELECT id FROM parley_saga WHERE owner IS NOT NULL AND status IN ('running', 'stuck') AND owner = ? LIMIT ?
            """,
            [.text(holder), .integer(limit + taken.count)],
            { $0.text(0) }
        ).filter { !taken.contains($0) }
    }
}
