/// How a group chooses among its peers. What the key of a hash is made of is not its concern.
package enum BalancingMethod: Sendable, Hashable {
    case roundRobin
    case leastConnections
    /// The key is the client's address: 4 bytes, of which the first three count, or 16.
    case ipHash
    case hash
    case consistentHash
    case random
    /// Two by chance, then the one with fewer requests for its weight.
    case randomTwo
    /// Two by chance, then the one whose peak-EWMA of latency promises the shorter wait.
    case ewma

    package init(_ method: UpstreamModel.Method) {
        switch method {
        case .roundRobin: self = .roundRobin
        case .leastConnections: self = .leastConnections
        case .ipHash: self = .ipHash
        case .hash(_, let isConsistent): self = isConsistent ? .consistentHash : .hash
        case .random(let isTwo): self = isTwo ? .randomTwo : .random
        case .ewma: self = .ewma
        }
    }
}

/// Envoy's ejection by success rate: a peer that answers well less often than its neighbours do.
package struct SuccessRateRules: Sendable, Hashable {
    package var minHosts = 5
    package var minRequests = 100
    /// Thousandths of a standard deviation below the mean.
    package var deviations = 1_900

    package init() {}
}

package struct PeerGroupSettings: Sendable, Hashable {
    package var method = BalancingMethod.roundRobin
    package var outliers: OutlierRules?
    package var successRate: SuccessRateRules?
    package var healthCheck: HealthCheckRules?
    /// Without an answer of its checks yet, a peer counts as healthy.
    package var startsHealthy = true
    package var limits: CircuitRules?
    package var retryBudget: RetryBudgetRules?
    /// With less than this share of peers healthy, health is not looked at; 0 is never.
    package var panicPercent = 0

    package init() {}

    package init(_ model: UpstreamModel) {
        self.method = BalancingMethod(model.method)
        self.outliers = model.outliers
        self.healthCheck = model.healthCheck
        self.limits = model.limits
        self.retryBudget = model.retryBudget
    }
}

/// Peers that cannot be a group.
package struct PeerGroupError: Error, Sendable, Hashable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        case tooManyPeers
        case weightOutOfRange
        case ringTooLarge
    }

    package let code: Code
    /// What is wrong, where, why, and what to do.
    package let description: String

    package static let maxPeers = 4_096
    package static let maxWeight = 65_535
    package static let maxRingWeight = 16_384

    static func check(_ peers: [PeerModel], of group: String, method: BalancingMethod) throws(PeerGroupError) {
        guard peers.count <= Self.maxPeers else {
            throw PeerGroupError(
                code: .tooManyPeers,
                description: "upstream \"\(group)\" has \(peers.count) instances, and every choice may look at each: "
                    + "\(Self.maxPeers) is the most; split it"
            )
        }
        for peer in peers where !(1...Self.maxWeight).contains(peer.weight) {
            throw PeerGroupError(
                code: .weightOutOfRange,
                description: "upstream \"\(group)\": \(peer.name) has weight \(peer.weight); only the ratio of weights "
                    + "matters, write 1 to \(Self.maxWeight)"
            )
        }
        let total = peers.reduce(0) { $0 &+ ($1.isBackup ? 0 : $1.weight) }
        guard method != .consistentHash || total <= Self.maxRingWeight else {
            throw PeerGroupError(
                code: .ringTooLarge,
                description: "upstream \"\(group)\": weights of \(total) in all make \(total) times "
                    + "\(HashRing.pointsPerWeight) points on the ring of its consistent hash; divide the weights by a "
                    + "common number to stay below \(Self.maxRingWeight)"
            )
        }
    }
}
