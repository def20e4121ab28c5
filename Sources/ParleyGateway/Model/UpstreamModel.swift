/// The instances behind a name, and how one is chosen.
package struct UpstreamModel: Sendable, Hashable {
    package enum Method: Sendable, Hashable {
        case roundRobin
        case leastConnections
        case ipHash
        case hash(Template, isConsistent: Bool)
        case random(isTwo: Bool)
        /// Peak-EWMA over two random choices.
        case ewma
    }

    package enum Instances: Sendable, Hashable {
        case fixed([PeerModel])
        /// Of a name in the registry, followed live.
        case service(String)
        /// Of a name in DNS (A and AAAA, or SRV), followed live.
        case dns(name: String, port: Int)
    }

    package var name: String
    package var method = Method.roundRobin
    package var instances: Instances
    /// What instances that are followed have beside their address: weight, `max_fails` and the like.
    package var found = PeerModel(host: "", port: 0, name: "")
    package var keepalive = UpstreamKeepalive()
    package var outliers: OutlierRules?
    package var limits: CircuitRules?
    package var healthCheck: HealthCheckRules?
    package var retryBudget: RetryBudgetRules?

    package init(name: String, instances: Instances) {
        self.name = name
        self.instances = instances
    }
}

package struct PeerModel: Sendable, Hashable {
    /// As it was written: `127.0.0.1:8001`, `unix:/path` is not supported.
    package var name: String
    package var host: String
    package var port: Int
    package var weight = 1
    /// 0 is no limit.
    package var maxConnections = 0
    package var maxFails = 1
    /// Seconds.
    package var failTimeout = 10
    /// Seconds; 0 is at once.
    package var slowStart = 0
    package var isBackup = false
    package var isDown = false
    /// The id under which the instance knows itself (decisions/0010); only then can it be asked for by it.
    package var instanceID: String?

    package init(host: String, port: Int, name: String? = nil) {
        self.host = host
        self.port = port
        self.name = name ?? "\(host):\(port)"
    }
}

package struct UpstreamKeepalive: Sendable, Hashable {
    /// Idle connections that each event loop keeps; 0 is none.
    package var connections = 0
    package var requests = 1_000
    package var time = 3_600_000
    package var timeout = 60_000

    package init() {}
}

/// Envoy's outlier detection, with its defaults.
package struct OutlierRules: Sendable, Hashable {
    package var consecutive5xx = 5
    package var consecutiveGatewayFailures = 5
    package var baseEjection = 30_000
    package var maxEjection = 300_000
    package var maxEjectedPercent = 10

    package init() {}
}

/// Envoy's circuit breakers; 0 is no limit.
package struct CircuitRules: Sendable, Hashable {
    package var maxConnections = 1_024
    package var maxPending = 1_024
    package var maxRequests = 1_024
    package var maxRetries = 3

    package init() {}
}

package struct RetryBudgetRules: Sendable, Hashable {
    package var percent = 20
    package var minimum = 3

    package init() {}
}

package struct HealthCheckRules: Sendable, Hashable {
    package enum Kind: Sendable, Hashable {
        case tcp
        case http(path: String, host: String?, statuses: ClosedRange<Int>)
        case grpc(service: String)
    }

    package var kind: Kind
    package var interval = 5_000
    package var timeout = 2_000
    package var healthyThreshold = 1
    package var unhealthyThreshold = 1

    package init(kind: Kind) {
        self.kind = kind
    }
}
