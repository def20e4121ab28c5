internal import ParleyCore
public import ParleyMessaging
public import ParleySQLite

/// The bus in a SQLite file, seen beside the processes that use it.
public struct EmbeddedBusInspector: BusInspector {
    private let transport: SQLiteTransport
    private let time: any TimeSource

    public init(_ transport: SQLiteTransport) {
        self.init(transport, time: SystemTimeSource())
    }

    init(_ transport: SQLiteTransport, time: any TimeSource) {
        self.transport = transport
        self.time = time
    }

    public func queues() async throws -> [BusQueue] {
        let now = self.time.wallTime
        let holders = try await self.transport.leaseHolders().filter { $0.expiresAt > now && $0.deliveries > 0 }
        let counts = Dictionary(grouping: holders, by: \.group).mapValues(\.count)
        return try await self.transport.statistics().map { group in
            BusQueue(
                queue: group.group,
                messages: group.ready + group.delayed + group.unacknowledged,
                ready: group.ready,
                unacknowledged: group.unacknowledged,
                delayed: group.delayed,
                dead: group.deadLettered,
                consumers: counts[group.group],
                oldestAgeSeconds: group.oldest.map { max(0, (now - $0).inSeconds) }
            )
        }
    }

    public func consumers() async throws -> [BusConsumer] {
        let now = self.time.wallTime
        return try await self.transport.leaseHolders().map { holder in
            BusConsumer(
                queue: holder.group,
                consumer: "lease \(holder.id)",
                unacknowledged: holder.deliveries,
                isActive: holder.expiresAt > now,
                leaseUntil: holder.expiresAt
            )
        }
    }

    /// The file is one stream; a message leaves it when the last of its groups has done with it.
    static let stream = "bus"

    public func streams() async throws -> [BusStream] {
        let now = self.time.wallTime
        let messages = try await self.transport.messages()
        let last = messages.last.map { "\($0)" }
        let groups = try await self.transport.statistics()
        guard !groups.isEmpty else { return [BusStream(stream: Self.stream, length: messages.count, last: last)] }
        let holders = Dictionary(grouping: try await self.transport.leaseHolders(), by: \.group)
        var rows: [BusStream] = []
        for group in groups {
            let oldest = try await self.transport.pendingDeliveries(of: group.group, limit: 1).first
            rows.append(
                BusStream(
                    stream: Self.stream,
                    length: messages.count,
                    last: last,
                    group: group.group,
                    consumers: holders[group.group]?.count ?? 0,
                    pending: group.unacknowledged,
                    lag: group.ready + group.delayed,
                    oldestIdleSeconds: oldest?.renewedAt.map { max(0, (now - $0).inSeconds) }
                )
            )
        }
        return rows
    }

    public func pending(stream: String, group: String, limit: Int) async throws -> [BusPending] {
        guard stream == Self.stream, try await self.transport.statistics().contains(where: { $0.group == group }) else {
            throw BusAddressError("there is no stream '\(stream)' with a group '\(group)'; see: parley streams")
        }
        let now = self.time.wallTime
        return try await self.transport.pendingDeliveries(of: group, limit: limit).map { delivery in
            BusPending(
                entry: "\(delivery.sequence)",
                message: delivery.messageID,
                consumer: delivery.holder.map { "lease \($0)" } ?? "-",
                idleSeconds: delivery.renewedAt.map { max(0, (now - $0).inSeconds) },
                deliveries: delivery.attempts,
                dueAt: delivery.dueAt,
                isInStream: true
            )
        }
    }

    public func withDeadLetters<Value: Sendable>(
        _ body: @Sendable (any DeadLetterStore) async throws -> Value
    ) async throws -> Value {
        try await body(self.transport.deadLetters)
    }
}
