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

    public func withDeadLetters<Value: Sendable>(
        _ body: @Sendable (any DeadLetterStore) async throws -> Value
    ) async throws -> Value {
        try await body(self.transport.deadLetters)
    }
}
