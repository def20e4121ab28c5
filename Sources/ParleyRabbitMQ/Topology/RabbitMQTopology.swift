/// What a broker is to have: the whole of it as a value, in RabbitMQ's own words.
public struct RabbitMQTopology: Sendable, Hashable {
    public var virtualHosts: [VirtualHost] = []
    public var users: [User] = []
    public var permissions: [Permission] = []
    public var exchanges: [Exchange] = []
    public var queues: [Queue] = []
    public var bindings: [Binding] = []
    public var policies: [Policy] = []

    public init() {}

    public struct VirtualHost: Sendable, Hashable {
        public var name: String
        /// Left as it is when `nil`; so are the tags.
        public var description: String?
        public var tags: [String]?

        public init(_ name: String, description: String? = nil, tags: [String]? = nil) {
            self.name = name
            self.description = description
            self.tags = tags
        }
    }

    public struct User: Sendable, Hashable {
        public var name: String
        /// Left as it is when `nil`; a user that is created without one cannot log in with a password.
        public var password: RabbitMQPassword?
        /// `administrator`, `monitoring`, `policymaker`, `management`, or none; left as they are when `nil`.
        public var tags: [String]?

        public init(_ name: String, password: RabbitMQPassword? = nil, tags: [String]? = nil) {
            self.name = name
            self.password = password
            self.tags = tags
        }
    }

    public struct Permission: Sendable, Hashable, Codable {
        public var user: String
        public var virtualHost: String
        /// Regular expressions over names of exchanges and queues; an empty one allows nothing.
        public var configure: String
        public var write: String
        public var read: String

        public init(
            user: String,
            virtualHost: String,
            configure: String = ".*",
            write: String = ".*",
            read: String = ".*"
        ) {
            self.user = user
            self.virtualHost = virtualHost
            self.configure = configure
            self.write = write
            self.read = read
        }

        private enum CodingKeys: String, CodingKey {
            case user, configure, write, read
            case virtualHost = "vhost"
        }
    }

    public struct Exchange: Sendable, Hashable, Codable {
        public var virtualHost: String
        public var name: String
        /// `direct`, `fanout`, `topic`, `headers`, or a plugin's.
        public var type: String
        public var durable: Bool
        public var autoDelete: Bool
        /// Takes messages from other exchanges only.
        public var isInternal: Bool
        public var arguments: [String: RabbitMQValue]

        public init(
            virtualHost: String,
            name: String,
            type: String,
            durable: Bool = true,
            autoDelete: Bool = false,
            isInternal: Bool = false,
            arguments: [String: RabbitMQValue] = [:]
        ) {
            self.virtualHost = virtualHost
            self.name = name
            self.type = type
            self.durable = durable
            self.autoDelete = autoDelete
            self.isInternal = isInternal
            self.arguments = arguments
        }

        private enum CodingKeys: String, CodingKey {
            case name, type, durable, arguments
            case virtualHost = "vhost"
            case autoDelete = "auto_delete"
            case isInternal = "internal"
        }
    }

    public struct Queue: Sendable, Hashable, Codable {
        public var virtualHost: String
        public var name: String
        public var durable: Bool
        public var autoDelete: Bool
        /// The type is among them: `x-queue-type`. A queue that names none may be of any type.
        public var arguments: [String: RabbitMQValue]

        public init(
            virtualHost: String,
            name: String,
            durable: Bool = true,
            autoDelete: Bool = false,
            arguments: [String: RabbitMQValue] = [:]
        ) {
            self.virtualHost = virtualHost
            self.name = name
            self.durable = durable
            self.autoDelete = autoDelete
            self.arguments = arguments
        }

        private enum CodingKeys: String, CodingKey {
            case name, durable, arguments
            case virtualHost = "vhost"
            case autoDelete = "auto_delete"
        }
    }

    public enum DestinationType: String, Sendable, Hashable, Codable { case queue, exchange }

    /// Has no settings of its own: another routing key or argument is another binding.
    public struct Binding: Sendable, Hashable, Codable {
        public var virtualHost: String
        /// The exchange that messages come from.
        public var source: String
        public var destination: String
        public var destinationType: DestinationType
        public var routingKey: String
        public var arguments: [String: RabbitMQValue]

        public init(
            virtualHost: String,
            source: String,
            destination: String,
            destinationType: DestinationType = .queue,
            routingKey: String = "",
            arguments: [String: RabbitMQValue] = [:]
        ) {
            self.virtualHost = virtualHost
            self.source = source
            self.destination = destination
            self.destinationType = destinationType
            self.routingKey = routingKey
            self.arguments = arguments
        }

        private enum CodingKeys: String, CodingKey {
            case source, destination, arguments
            case virtualHost = "vhost"
            case destinationType = "destination_type"
            case routingKey = "routing_key"
        }
    }

    public struct Policy: Sendable, Hashable, Codable {
        public var virtualHost: String
        public var name: String
        /// A regular expression over names.
        public var pattern: String
        /// `all`, `queues`, `exchanges`; newer brokers also `classic_queues`, `quorum_queues`, `streams`.
        public var applyTo: String
        public var definition: [String: RabbitMQValue]
        public var priority: Int

        public init(
            virtualHost: String,
            name: String,
            pattern: String,
            applyTo: String = "all",
            definition: [String: RabbitMQValue],
            priority: Int = 0
        ) {
            self.virtualHost = virtualHost
            self.name = name
            self.pattern = pattern
            self.applyTo = applyTo
            self.definition = definition
            self.priority = priority
        }

        private enum CodingKeys: String, CodingKey {
            case name, pattern, definition, priority
            case virtualHost = "vhost"
            case applyTo = "apply-to"
        }
    }
}
