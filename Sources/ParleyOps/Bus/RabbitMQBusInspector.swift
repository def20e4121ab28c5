internal import ParleyCore
public import ParleyMessaging
public import ParleyRabbitMQ

/// A virtual host of RabbitMQ: queues and consumers by the management API, dead letters by a transport.
///
/// Numbers are the broker's statistics and lag by up to five seconds. The queues that stand beside a group's own (its
/// dead letters, its delays, its bookkeeping) are shown as figures of the group.
public struct RabbitMQBusInspector: BusInspector {
    private let management: RabbitMQManagement
    private let virtualHost: String
    private let transport: TransportSource
    private let time: any TimeSource

    public init(_ management: RabbitMQManagement, virtualHost: String, transport: TransportSource) {
        self.init(management, virtualHost: virtualHost, transport: transport, time: SystemTimeSource())
    }

    init(
        _ management: RabbitMQManagement,
        virtualHost: String,
        transport: TransportSource,
        time: any TimeSource
    ) {
        self.management = management
        self.virtualHost = virtualHost
        self.transport = transport
        self.time = time
    }

    public func queues() async throws -> [BusQueue] {
        let now = self.time.wallTime
        let queues = try await self.management.queues(in: self.virtualHost).sorted { $0.name < $1.name }
        let names = Set(queues.map(\.name))
        var dead: [String: Int] = [:]
        var delayed: [String: Int] = [:]
        let own = queues.filter { queue in
            switch GroupQueues.role(of: queue.name, isQueue: { names.contains($0) }) {
            case .messages: return true
            case .deadLetters(let group): dead[group] = queue.messages
            case .delay(let group): delayed[group, default: 0] += queue.messages ?? 0
            case .bookkeeping: break
            }
            return false
        }
        return own.map { queue in
            BusQueue(
                queue: queue.name,
                messages: queue.messages,
                ready: queue.ready,
                unacknowledged: queue.unacknowledged,
                delayed: dead[queue.name] == nil ? nil : delayed[queue.name] ?? 0,
                dead: dead[queue.name],
                consumers: queue.consumers,
                inRate: queue.publishRate,
                outRate: queue.deliverRate,
                oldestAgeSeconds: queue.headTimestamp.map { max(0, (now - $0).inSeconds) }
            )
        }
    }

    public func consumers() async throws -> [BusConsumer] {
        try await self.management.consumers(in: self.virtualHost)
            .sorted { ($0.queue, $0.tag) < ($1.queue, $1.tag) }
            .map { consumer in
                BusConsumer(
                    queue: consumer.queue,
                    consumer: consumer.tag,
                    peer: consumer.peer ?? consumer.connection,
                    user: consumer.user,
                    prefetch: consumer.prefetch,
                    isActive: consumer.isActive
                )
            }
    }

    public func streams() async throws -> [BusStream] { throw Self.hasNoStreams }

    public func pending(stream: String, group: String, limit: Int) async throws -> [BusPending] {
        throw Self.hasNoStreams
    }

    private static let hasNoStreams = BusAddressError(
        "RabbitMQ has queues: parley queues, parley consumers and parley dead-letters show them"
    )

    public func withDeadLetters<Value: Sendable>(
        _ body: @Sendable (any DeadLetterStore) async throws -> Value
    ) async throws -> Value {
        try await self.transport.with { try await body($0.deadLetters) }
    }
}
