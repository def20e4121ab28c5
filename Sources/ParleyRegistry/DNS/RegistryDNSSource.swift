public import ParleyDiscovery

/// What the DNS server reads of a registry.
///
/// It is asked once or twice for each question, from the threads of the sockets, and must answer at once: from memory,
/// under a lock that is held briefly. What it answers with may be a moment old; each single answer must be consistent.
/// Names come from anybody on the network. They are compared without regard to the case of their letters.
public protocol RegistryDNSSource: Sendable {
    /// Every instance of the service, whatever its status; none for a service that is not known.
    func instances(ofService name: String) -> [RegistryDNSInstance]
    /// The node of this name.
    func node(named name: String) -> RegistryDNSNode?
    /// Every instance and every node at an address, for the way back from addresses to names.
    ///
    /// - Parameter address: An IPv4 address, or an IPv6 address in its shortest form (RFC 5952).
    func names(at address: String) -> RegistryDNSNames
}

/// A machine that services run on.
public struct RegistryDNSNode: Sendable, Hashable {
    public var name: String
    /// Usually an IP address; a host name is answered with a CNAME record.
    public var address: String
    /// Answered as TXT records, `key=value`.
    public var meta: [String: String]

    public init(name: String, address: String, meta: [String: String] = [:]) {
        self.name = name
        self.address = address
        self.meta = meta
    }
}

/// One instance of a service.
public struct RegistryDNSInstance: Sendable, Hashable {
    /// What callers should prefer, and by how much, in each of the two states in which they may call.
    public struct Weights: Sendable, Hashable {
        /// 0 to 65,535; what is outside counts as the nearest.
        public var passing: Int
        /// 0 to 65,535; what is outside counts as the nearest.
        public var warning: Int

        public init(passing: Int = 1, warning: Int = 1) {
            self.passing = passing
            self.warning = warning
        }
    }

    public var service: String
    /// An IP address or a host name; empty for the node's own address.
    public var address: String
    /// 0 when it has none.
    public var port: Int
    public var tags: [String]
    public var weights: Weights
    /// Of the instance and its node together. A critical one is not answered.
    public var status: HealthStatus
    public var node: RegistryDNSNode

    public init(
        service: String,
        address: String = "",
        port: Int,
        tags: [String] = [],
        weights: Weights = Weights(),
        status: HealthStatus = .passing,
        node: RegistryDNSNode
    ) {
        self.service = service
        self.address = address
        self.port = port
        self.tags = tags
        self.weights = weights
        self.status = status
        self.node = node
    }
}

/// Who is at an address.
public struct RegistryDNSNames: Sendable, Hashable {
    /// The nodes' names.
    public var nodes: [String]
    /// The services' names.
    public var services: [String]

    public init(nodes: [String] = [], services: [String] = []) {
        self.nodes = nodes
        self.services = services
    }
}
