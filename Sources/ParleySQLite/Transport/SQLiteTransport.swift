internal import ParleyCore
public import ParleyMessaging
internal import Synchronization

/// The bus in the file: several processes on one machine publish and consume, and nothing else needs to run.
///
/// A message is stored once, with one small row for each group that takes it. Publishing returns after the commit; a
/// batch is one commit. Consumers in this process are woken by it at once, those in other processes within about a
/// millisecond, and at the latest after a second.
///
/// - A topic that no group takes is not stored.
/// - Limits: bodies up to ``SQLiteConfiguration/maximumMessageBytes``; claims of up to 16 MiB at a time.
/// - Errors: ``MessagingError`` as the port says, ``SQLiteError`` for the file (`busy`, `diskFull` and `overloaded` can
///   be tried again; nothing was stored).
public final class SQLiteTransport: MessageTransport {
    private let core: SQLiteCore
    private let groups = GroupCache()
    /// Whom to tell that a delivery is settled.
    private let receivers = Mutex<[Delivery.ID: Subscription]>([:])
    private let groupIDs = Mutex<[String: Int64]>([:])

    init(core: SQLiteCore) {
        self.core = core
    }

    public var capabilities: TransportCapabilities {
        TransportCapabilities(
            isDurable: true,
            isSharedBetweenProcesses: true,
            maximumMessageBytes: self.core.configuration.maximumMessageBytes
        )
    }

    public var deadLetters: any DeadLetterStore { SQLiteDeadLetters(core: self.core) }

    public func declare(_ group: ConsumerGroup) async throws {
        let bindings = JSONText.text(of: group.bindings.map(\.description))
        // Not only counted up: a commit that fails would let the same number stand for two states.
        let step = Int64(SystemRandomSource().next() >> 32) + 1
        let id = try await translatingClosed {
            try await self.core.write { transaction in
                let connection = try transaction.connection
                let values: [SQLValue] = [
                    .text(bindings), .integer(group.maximumDeliveries), .integer(group.lease.inMicroseconds),
                    .text(group.name),
                ]
                let changed = try connection.execute(
                    """
                    INSERT INTO parley_group (bindings, maximum_deliveries, lease_us, name) VALUES (?, ?, ?, ?)
                    ON CONFLICT (name) DO UPDATE SET bindings = excluded.bindings,
                        maximum_deliveries = excluded.maximum_deliveries, lease_us = excluded.lease_us
                    WHERE bindings <> excluded.bindings OR maximum_deliveries <> excluded.maximum_deliveries
                        OR lease_us <> excluded.lease_us
                    """,
                    values
                )
                if changed > 0 {
                    try connection.execute(
                        "UPDATE parley_groups_version SET version = version + ?",
                        [.integer(step)]
                    )
                }
                return try Self.id(of: group.name, connection)
            }
        }
        if let id { self.groupIDs.withLock { $0[group.name] = id } }
    }

    public func publish(_ messages: [Message]) async throws {
        guard !messages.isEmpty else { return }
        for message in messages { try message.validate(maximumBytes: self.core.configuration.maximumMessageBytes) }
        let rows = messages.map(MessageRow.values)
        let topics = messages.map(\.topic)
        let time = self.core.time
        try await translatingClosed {
            try await self.core.write { transaction in
                let connection = try transaction.connection
                let now = SQLValue.integer(time.wallTime.microseconds)
                let groups = try self.groups.ids(taking: topics, connection)
                for (row, ids) in zip(rows, groups) where !ids.isEmpty {
                    try connection.execute(
                        """
                        INSERT INTO parley_message (\(MessageRow.columns), published_at)
                        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                        """,
                        row + CollectionOfOne(now)
                    )
                    let seq = connection.lastInsertedRow
                    for group in ids {
                        try DeliveryRows.insert(seq: seq, group: group, key: row[MessageRow.keyIndex], connection)
                        transaction.rings.ring(group: group)
                    }
                }
            }
        }
    }

    public func withSubscription<Value>(
        to group: String,
        prefetch: Int,
        _ body: (DeliverySequence) async throws -> Value
    ) async throws -> Value {
        let entry = try await translatingClosed { try await self.core.read { try GroupCache.find(group, $0) } }
        guard let entry else { throw Self.unknown(group) }
        self.groupIDs.withLock { $0[group] = entry.id }
        let subscription = Subscription(core: self.core, group: entry, prefetch: min(1_000, max(1, prefetch)))
        let registration = self.core.bells.register(subscription.signal, group: entry.id)
        let result: Result<Value, any Error>
        do {
            let value = try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask { await subscription.keepLease() }
                defer { tasks.cancelAll() }
                return try await body(DeliverySequence { try await self.next(of: subscription) })
            }
            result = .success(value)
        } catch {
            result = .failure(error)
        }
        self.core.bells.unregister(registration, group: entry.id)
        let unsettled = await subscription.end()
        self.receivers.withLock { receivers in
            for id in unsettled { receivers.removeValue(forKey: id) }
        }
        return try result.get()
    }

    private func next(of subscription: Subscription) async throws -> Delivery? {
        guard let delivery = try await subscription.next() else { return nil }
        self.receivers.withLock { $0[delivery.id] = subscription }
        return delivery
    }

    public func settle(_ delivery: Delivery.ID, _ settlement: Settlement) async throws {
        let time = self.core.time
        let known = self.groupIDs.withLock { $0[delivery.group] }
        let isSettled = try await translatingClosed {
            // Essential: there are never more of them than deliveries are out.
            try await self.core.write(isEssential: true) { transaction in
                guard let group = try known ?? Self.id(of: delivery.group, try transaction.connection) else {
                    throw Self.unknown(delivery.group)
                }
                return try Settling.settle(delivery, group: group, settlement, at: time.wallTime, transaction)
            }
        }
        // Also when it was lost: it takes no room any more.
        self.receivers.withLock { $0.removeValue(forKey: delivery) }?.settled(delivery)
        guard isSettled else {
            throw MessagingError(
                .leaseLost,
                "delivery \(delivery.sequence) of group '\(delivery.group)' is no longer this consumer's; it "
                    + "was settled before, or its lease has run out and it goes to another",
                retry: .permanent
            )
        }
    }

    public func statistics() async throws -> [GroupStatistics] {
        let now = self.core.time.wallTime
        return try await translatingClosed {
            try await self.core.read { connection in
                try connection.rows(
                    """
                    WITH delivery AS (
                        SELECT grp, sum(owner IS NULL AND due_at <= ?1) AS ready,
                            sum(owner IS NULL AND due_at > ?1) AS delayed, sum(owner IS NOT NULL) AS held,
                            min(seq) AS first
                        FROM parley_delivery GROUP BY grp
                    ), dead AS (SELECT grp, count(*) AS count FROM parley_dead_letter GROUP BY grp)
                    SELECT name, ready, delayed, held, dead.count, parley_message.published_at
                    FROM parley_group LEFT JOIN delivery ON delivery.grp = parley_group.id
                        LEFT JOIN dead ON dead.grp = parley_group.id
                        LEFT JOIN parley_message ON parley_message.seq = delivery.first
                    ORDER BY name
                    """,
                    [.integer(now.microseconds)]
                ) { row in
                    GroupStatistics(
                        group: row.text(0),
                        ready: row.int(1),
                        delayed: row.int(2),
                        unacknowledged: row.int(3),
                        deadLettered: row.int(4),
                        oldest: row.optionalInteger(5).map { Timestamp(microseconds: $0) }
                    )
                }
            }
        }
    }

    /// Runs a query of this transport's own on one committed state.
    func reading<Value: Sendable>(_ body: @escaping @Sendable (SQLConnection) throws -> Value) async throws -> Value {
        try await translatingClosed { try await self.core.read(body) }
    }

    private static func id(of group: String, _ connection: SQLConnection) throws -> Int64? {
        try connection.first("SELECT id FROM parley_group WHERE name = ?", [.text(group)]) { $0.integer(0) }
    }

    private static func unknown(_ group: String) -> MessagingError {
        MessagingError(
            .unknownGroup,
            "nobody has declared the consumer group '\(group.prefix(128))'; declare it first",
            retry: .permanent
        )
    }
}
