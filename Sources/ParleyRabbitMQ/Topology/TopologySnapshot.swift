/// What a broker has, as far as a topology may touch it.
public struct TopologySnapshot: Sendable, Hashable {
    /// A user as the broker keeps it.
    public struct User: Sendable, Hashable {
        public var name: String
        public var hash: RabbitMQPasswordHash
        public var tags: [String]

        public init(_ name: String, hash: RabbitMQPasswordHash, tags: [String] = []) {
            self.name = name
            self.hash = hash
            self.tags = tags
        }
    }

    /// A queue with what decides whether it may go.
    public struct Queue: Sendable, Hashable {
        public var queue: RabbitMQTopology.Queue
        /// `classic`, `quorum` or `stream`.
        public var type: String
        /// Belongs to one connection.
        public var isExclusive: Bool
        /// `nil` until the broker's statistics have come.
        public var messages: Int?
        /// As the statistics have it, too.
        public var consumers: Int?

        public init(
            _ queue: RabbitMQTopology.Queue,
            type: String = "classic",
            isExclusive: Bool = false,
            messages: Int? = nil,
            consumers: Int? = nil
        ) {
            self.queue = queue
            self.type = type
            self.isExclusive = isExclusive
            self.messages = messages
            self.consumers = consumers
        }
    }

    /// A binding with the name that the management API gives it.
    public struct Binding: Sendable, Hashable {
        public var binding: RabbitMQTopology.Binding
        public var propertiesKey: String

        public init(_ binding: RabbitMQTopology.Binding, propertiesKey: String = "~") {
            self.binding = binding
            self.propertiesKey = propertiesKey
        }
    }

    /// Who asked: its permissions are never taken away.
    public var operatorName: String
    public var virtualHosts: [RabbitMQTopology.VirtualHost] = []
    /// Virtual hosts that were begun and not finished: who dies while the broker makes one leaves it without some of
    /// its own exchanges, or not running. Only those that have no queue and nothing that is not in the topology.
    public var unfinishedHosts: Set<String> = []
    public var users: [User] = []
    public var permissions: [RabbitMQTopology.Permission] = []
    public var exchanges: [RabbitMQTopology.Exchange] = []
    public var queues: [Queue] = []
    public var bindings: [Binding] = []
    public var policies: [RabbitMQTopology.Policy] = []

    public init(operatorName: String) {
        self.operatorName = operatorName
    }
}
