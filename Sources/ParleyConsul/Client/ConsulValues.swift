internal import ParleyCore
public import ParleyDiscovery

/// What Consul's API speaks of. The wire has more fields; these are the ones that say something without a mesh.
public enum Consul {
    /// The machine of one agent.
    public struct Node: Sendable, Hashable {
        public var id: String
        public var name: String
        public var address: String
        public var datacenter: String
        public var meta: [String: String]
    }

    /// A service as it was registered.
    public struct Service: Sendable, Hashable {
        /// Unique on its node only.
        public var id: String
        public var name: String
        /// Empty for the node's.
        public var address: String
        /// 0 for none.
        public var port: Int
        public var tags: [String]
        public var meta: [String: String]
        /// How much it gets compared with others, while it passes.
        public var passingWeight: Int
        /// The same while it warns.
        public var warningWeight: Int
    }

    /// The state of one check.
    public struct Check: Sendable, Hashable {
        public var id: String
        public var name: String
        public var status: HealthStatus
        /// Why, in the words of who checked.
        public var output: String
        public var notes: String
        /// Empty for a check of the node.
        public var serviceID: String
        public var serviceName: String
        public var node: String
        /// `ttl`, `http`, …; empty from agents that do not say.
        public var kind: String
    }

    /// A service with its node, and, where it was asked for its health, all checks that decide about it.
    public struct Instance: Sendable, Hashable {
        public var node: Node
        public var service: Service
        public var checks: [Check]

        /// The worst of its checks; without any it passes.
        public var status: HealthStatus { self.checks.map(\.status).max() ?? .passing }
        /// Where it is reached: at its own address, or at its node's.
        public var host: String { self.service.address.isEmpty ? self.node.address : self.service.address }
        /// How much it gets in its present state.
        public var weight: Int {
            self.status == .passing ? self.service.passingWeight : self.service.warningWeight
        }
    }

    /// One entry of the key-value store.
    public struct KeyValue: Sendable, Hashable {
        public var key: String
        public var value: [UInt8]
        /// Whatever its writer means by it.
        public var flags: UInt64
        /// Which session holds the lock on it.
        public var session: String?
        public var createIndex: UInt64
        /// For ``ConsulClient/set(_:at:flags:ifIndex:)`` and ``ConsulClient/delete(_:ifIndex:)``.
        public var modifyIndex: UInt64
    }

    /// Who the agent is.
    public struct Agent: Sendable, Hashable {
        public var nodeName: String
        public var datacenter: String
        public var version: String
    }

    /// How much an answer may lag behind.
    public enum Consistency: Sendable, Hashable {
        /// The leader answers; right after a change of leader it may be an old one.
        case leader
        /// Any server answers, also without a leader; usually milliseconds behind.
        case stale
        /// The leader makes sure that it is one.
        case consistent
    }

    /// What is asked for. What an endpoint does not know, it ignores.
    public struct Query: Sendable, Hashable {
        /// `nil` for the configuration's, and without one for the agent's own.
        public var datacenter: String?
        public var consistency: Consistency
        /// Only instances with all of these.
        public var tags: [String]
        /// Only instances all of whose checks pass.
        public var isPassingOnly: Bool
        /// An expression over the answer: `Service.Meta.version == "2"`.
        public var filter: String?
        /// Nearest first: a node's name, or `_agent`.
        public var near: String?

        public init(
            datacenter: String? = nil,
            consistency: Consistency = .leader,
            tags: [String] = [],
            isPassingOnly: Bool = false,
            filter: String? = nil,
            near: String? = nil
        ) {
            self.datacenter = datacenter
            self.consistency = consistency
            self.tags = tags
            self.isPassingOnly = isPassingOnly
            self.filter = filter
            self.near = near
        }
    }

    /// What was found, and how fresh it is.
    public struct Answer<Value: Sendable>: Sendable {
        public var value: Value
        /// Rises whenever the answer changes, at times also without a change. 0 when the server said none.
        public var index: UInt64
        /// Whether the server that answered knew of a leader.
        public var hasLeader: Bool
        /// How long ago that server heard of the leader.
        public var lastContact: Duration
    }
}

extension Consul.Answer: Equatable where Value: Equatable {}

extension Consul.Node {
    init(_ node: ConsulNode) {
        self.init(
            id: node.id,
            name: node.name,
            address: node.address,
            datacenter: node.datacenter,
            meta: node.meta ?? [:]
        )
    }
}

extension Consul.Service {
    init(_ service: ConsulService) {
        self.init(
            id: service.id,
            name: service.service,
            address: service.address,
            port: service.port,
            tags: service.tags,
            meta: service.meta,
            passingWeight: service.weights.passing,
            warningWeight: service.weights.warning
        )
    }
}

extension Consul.Check {
    init(_ check: ConsulCheck) {
        self.init(
            id: check.checkID,
            name: check.name,
            // A word that we do not know is no reason to send requests there.
            status: HealthStatus(rawValue: check.status) ?? .critical,
            output: check.output,
            notes: check.notes,
            serviceID: check.serviceID,
            serviceName: check.serviceName,
            node: check.node,
            kind: check.type
        )
    }
}

extension Consul.Instance {
    init(_ entry: ConsulHealthEntry) {
        self.init(
            node: Consul.Node(entry.node),
            service: Consul.Service(entry.service),
            checks: entry.checks.map { Consul.Check($0) }
        )
    }

    init(_ entry: ConsulCatalogEntry) {
        self.init(node: Consul.Node(entry.node), service: Consul.Service(entry.service), checks: [])
    }
}
