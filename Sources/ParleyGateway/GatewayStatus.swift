package import ParleyCore

/// How a gateway is, at one moment: what `parley gateway status` shows and `GET /status` of the admin API answers.
package struct GatewayStatus: Sendable, Hashable, Codable {
    package struct Listener: Sendable, Hashable, Codable {
        /// `https://127.0.0.1:8443`
        package var address: String
        /// The names of its virtual servers; the default one first.
        package var servers: [String]

        package init(address: String, servers: [String]) {
            self.address = address
            self.servers = servers
        }
    }

    package struct Peer: Sendable, Hashable, Codable {
        package var name: String
        package var weight: Int
        package var activeRequests: Int
        package var fails: Int
        package var state: ExchangeRecord.Candidate.State
        /// Until when it is out.
        package var until: Timestamp?
        package var reason: String?

        package init(_ candidate: ExchangeRecord.Candidate) {
            self.name = candidate.name
            self.weight = candidate.weight
            self.activeRequests = candidate.activeRequests
            self.fails = candidate.fails
            self.state = candidate.state
            self.until = candidate.until
            self.reason = candidate.reason
        }
    }

    package struct Upstream: Sendable, Hashable, Codable {
        package var name: String
        package var method: String
        package var peers: [Peer]
        package var idleConnections: Int
        package var activeConnections: Int

        package init(name: String, method: String, peers: [Peer], idleConnections: Int, activeConnections: Int) {
            self.name = name
            self.method = method
            self.peers = peers
            self.idleConnections = idleConnections
            self.activeConnections = activeConnections
        }
    }

    package struct Zone: Sendable, Hashable, Codable {
        package enum Kind: String, Sendable, Codable { case requests, connections }

        package var name: String
        package var kind: Kind
        package var keys: Int
        package var usedBytes: Int
        package var maxBytes: Int

        package init(name: String, kind: Kind, keys: Int, usedBytes: Int, maxBytes: Int) {
            self.name = name
            self.kind = kind
            self.keys = keys
            self.usedBytes = usedBytes
            self.maxBytes = maxBytes
        }
    }

    /// Counts the configurations that were in force; 1 is the first.
    package var generation: Int
    /// Since when this one is.
    package var since: Timestamp
    package var isDraining: Bool
    package var connections: Int
    package var listeners: [Listener]
    package var upstreams: [Upstream]
    package var zones: [Zone]

    package init(
        generation: Int,
        since: Timestamp,
        isDraining: Bool,
        connections: Int,
        listeners: [Listener],
        upstreams: [Upstream],
        zones: [Zone]
    ) {
        self.generation = generation
        self.since = since
        self.isDraining = isDraining
        self.connections = connections
        self.listeners = listeners
        self.upstreams = upstreams
        self.zones = zones
    }
}
