internal import ParleyCore
public import ParleyDiscovery

extension Consul {
    /// What an agent is told about a service.
    public struct Registration: Sendable, Hashable {
        /// Unique on the agent; registering it again replaces what was there. Empty for the name.
        public var id: String
        public var name: String
        /// Empty for the node's.
        public var address: String
        public var port: Int
        public var tags: [String]
        /// Keys of letters, digits, `-` and `_`.
        public var meta: [String: String]
        /// `nil` for 1 while it passes and 1 while it warns.
        public var weights: Weights?
        public var checks: [CheckDefinition]

        public init(
            name: String,
            id: String = "",
            address: String = "",
            port: Int = 0,
            tags: [String] = [],
            meta: [String: String] = [:],
            weights: Weights? = nil,
            checks: [CheckDefinition] = []
        ) {
            self.name = name
            self.id = id
            self.address = address
            self.port = port
            self.tags = tags
            self.meta = meta
            self.weights = weights
            self.checks = checks
        }
    }

    /// How much an instance gets compared with others.
    public struct Weights: Sendable, Hashable {
        public var passing: Int
        public var warning: Int

        public init(passing: Int = 1, warning: Int = 1) {
            self.passing = passing
            self.warning = warning
        }
    }

    /// How the agent finds out how something is doing. Scripts and containers are not offered: agents refuse them from
    /// clients unless they are made unsafe.
    public struct CheckDefinition: Sendable, Hashable {
        /// What is done. Addresses are `host:port`.
        public enum Kind: Sendable, Hashable {
            /// Whoever is checked says so, at least this often.
            case ttl(Duration)
            /// 2xx passes, 429 warns, everything else is critical.
            case http(url: String, method: String = "GET", headers: [String: [String]] = [:], body: String = "")
            /// Whether a connection can be opened.
            case tcp(address: String)
            /// Whether a datagram is not refused.
            case udp(address: String)
            /// gRPC's health protocol; `address/service` asks for one service.
            case grpc(address: String, usesTLS: Bool = false)
            /// Whether an HTTP/2 ping comes back.
            case http2Ping(address: String, usesTLS: Bool = true)
            /// As another service is doing, or a node, or a service of a node.
            case alias(service: String = "", node: String = "")
        }

        /// Empty for one that the agent makes up.
        public var id: String
        /// Empty for one that the agent makes up; a check without a service needs one.
        public var name: String
        public var kind: Kind
        /// How often; at least a second. Of no meaning for ``Kind/ttl(_:)`` and ``Kind/alias(service:node:)``.
        public var interval: Duration
        /// How long one check may take; `nil` for the agent's 10 s.
        public var timeout: Duration?
        /// Before it was checked for the first time.
        public var status: HealthStatus
        /// A service that is critical for this long is deregistered; Consul takes at least a minute. `nil` for never.
        public var deregisterAfter: Duration?
        public var notes: String
        /// For certificates that nobody can verify.
        public var skipsTLSVerification: Bool
        /// How often it must succeed in a row, and fail, before the status changes. 0 for at once.
        public var successesBeforePassing: Int
        public var failuresBeforeCritical: Int

        public init(
            _ kind: Kind,
            id: String = "",
            name: String = "",
            every interval: Duration = .seconds(10),
            timeout: Duration? = nil,
            status: HealthStatus = .critical,
            deregisterAfter: Duration? = nil,
            notes: String = ""
        ) {
            self.kind = kind
            self.id = id
            self.name = name
            self.interval = interval
            self.timeout = timeout
            self.status = status
            self.deregisterAfter = deregisterAfter
            self.notes = notes
            self.skipsTLSVerification = false
            self.successesBeforePassing = 0
            self.failuresBeforeCritical = 0
        }
    }
}

extension Consul.Registration {
    var definition: ConsulServiceDefinition {
        var definition = ConsulServiceDefinition(name: self.name, id: self.id)
        definition.address = self.address
        definition.port = self.port
        definition.tags = self.tags
        definition.meta = self.meta
        definition.weights = self.weights.map { ConsulWeights(passing: $0.passing, warning: $0.warning) }
        definition.checks = self.checks.map(\.definition)
        return definition
    }
}

extension Consul.CheckDefinition {
    var definition: ConsulCheckDefinition {
        var definition = ConsulCheckDefinition()
        definition.checkID = self.id
        definition.name = self.name
        definition.notes = self.notes
        definition.status = self.status.rawValue
        definition.timeout = self.timeout ?? .zero
        definition.interval = self.interval
        definition.deregisterCriticalServiceAfter = self.deregisterAfter ?? .zero
        definition.tlsSkipVerify = self.skipsTLSVerification
        definition.successBeforePassing = self.successesBeforePassing
        definition.failuresBeforeCritical = self.failuresBeforeCritical
        switch self.kind {
        case .ttl(let duration):
            definition.ttl = duration
            definition.interval = .zero
            definition.timeout = .zero
        case .http(let url, let method, let headers, let body):
            definition.http = url
            definition.method = method == "GET" ? "" : method
            definition.header = headers
            definition.body = body
        case .tcp(let address): definition.tcp = address
        case .udp(let address): definition.udp = address
        case .grpc(let address, let usesTLS):
            definition.grpc = address
            definition.grpcUseTLS = usesTLS
        case .http2Ping(let address, let usesTLS):
            definition.h2ping = address
            definition.h2pingUseTLS = usesTLS
        case .alias(let service, let node):
            definition.aliasService = service
            definition.aliasNode = node
            definition.interval = .zero
        }
        return definition
    }
}
