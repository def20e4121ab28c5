public import ParleyAMQP

/// How the bus lives on a broker.
public struct RabbitMQConfiguration: Sendable {
    /// How the queues of consumer groups are made. It is fixed when a group is first declared: the broker refuses to
    /// change a queue.
    public struct Queues: Sendable, Hashable {
        enum Kind: Sendable, Hashable {
            case quorum
            case classic(priorities: UInt8)
        }

        let kind: Kind

        /// Replicated, every message on disk: the default.
        public static let quorum = Queues(kind: .quorum)

        /// On one node; a message's header `priority` (0 to `priorities`) lets it overtake those below it, as far as
        /// they have not been handed to a consumer. For groups whose messages have no key: a key's order and a
        /// priority contradict each other, and the priority wins.
        public static func classic(priorities: UInt8 = 0) -> Queues { Queues(kind: .classic(priorities: priorities)) }
    }

    /// How the processes that consume for one group share it.
    public struct Sharing: Sendable, Hashable {
        enum Kind: Sendable, Hashable { case oneProcess, allProcesses }

        let kind: Kind

        /// One process has all of the group's messages and the others stand by (RabbitMQ's single active consumer):
        /// messages of one key are in order whatever happens. The default.
        public static let oneProcess = Sharing(kind: .oneProcess)
        /// All processes get messages at the same time. The order of a key holds only within each process: for groups
        /// whose messages have no key, or whose handlers do not care.
        public static let allProcesses = Sharing(kind: .allProcesses)
    }

    /// Where the broker is. Two connections are made from it, for a broker in need answers nothing on one that
    /// publishes.
    public var broker: AMQPConfiguration
    /// The durable topic exchange that everything is published to.
    public var exchange: String
    public var queues: Queues
    public var sharing: Sharing
    /// How many messages of a group are fetched ahead: among these, messages of different keys are found that can go
    /// in parallel. Messages that wait for a retry are among them, if they have a key or wait for less than
    /// ``longestLocalDelay``; when all do, the group stands until the first is due. 1 to 10,000.
    public var window: Int
    /// Retries of messages without a key that wait for longer than this do so in the broker's delay queues.
    public var longestLocalDelay: Duration

    public init(
        broker: AMQPConfiguration,
        exchange: String = "parley.events",
        queues: Queues = .quorum,
        sharing: Sharing = .oneProcess,
        window: Int = 500,
        longestLocalDelay: Duration = .seconds(5)
    ) {
        self.broker = broker
        self.exchange = exchange
        self.queues = queues
        self.sharing = sharing
        self.window = min(10_000, max(1, window))
        self.longestLocalDelay = longestLocalDelay
    }

    /// The longest body: what brokers from 4.0 on take without being told to.
    public static let maximumMessageBytes = 16 * 1_024 * 1_024 - 65_536
}
