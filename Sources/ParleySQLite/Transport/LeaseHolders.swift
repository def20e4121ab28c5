public import ParleyCore

/// A consumer that holds messages at this moment, as the file knows it.
public struct LeaseHolder: Sendable, Hashable {
    /// Never used again for another.
    public var id: Int64
    public var group: String
    /// How many deliveries it holds.
    public var deliveries: Int
    public var renewedAt: Timestamp
    /// From then on its deliveries go to others, unless it renews before.
    public var expiresAt: Timestamp
}

extension SQLiteTransport {
    /// Who holds messages, by group: of all processes that use the file, the dead ones included until another consumer
    /// takes over. A consumer that holds nothing leaves no trace in the file.
    public func leaseHolders() async throws -> [LeaseHolder] {
        try await self.reading { connection in
            try connection.rows(
                """
                SELECT parley_owner.id, parley_group.name, parley_owner.renewed_at, parley_owner.expires_at,
                    (SELECT count(*) FROM parley_delivery WHERE owner = parley_owner.id)
                FROM parley_owner JOIN parley_group ON parley_group.id = parley_owner.grp
                ORDER BY parley_group.name, parley_owner.id
                """
            ) { row in
                LeaseHolder(
                    id: row.integer(0),
                    group: row.text(1),
                    deliveries: row.int(4),
                    renewedAt: row.timestamp(2),
                    expiresAt: row.timestamp(3)
                )
            }
        }
    }
}
