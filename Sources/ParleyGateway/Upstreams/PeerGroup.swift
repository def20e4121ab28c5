internal import Synchronization

/// The peers of one upstream, shared by all event loops: who is next, and what became of it.
///
/// A choice looks at each peer once or twice and allocates nothing in groups of up to 64. Time is in milliseconds of a
/// clock that only goes forward and that all callers share.
package final class PeerGroup: Sendable {
    package let name: String
    package let settings: PeerGroupSettings
    /// Limits on what is under way, when there are any.
    package let circuit: CircuitBreaker?
    private let table: Mutex<PeerTable>

    package init(
        name: String,
        peers: [PeerModel],
        settings: PeerGroupSettings = PeerGroupSettings()
    ) throws(PeerGroupError) {
        let members = try PeerGroupMembers(peers, of: name, method: settings.method)
        var table = PeerTable(settings: settings)
        table.replace(members, now: 0)
        self.name = name
        self.settings = settings
        self.table = Mutex(table)
        if settings.limits != nil || settings.retryBudget != nil {
            // A budget alone limits nothing but retries.
            var unlimited = CircuitRules()
            unlimited.maxConnections = 0
            unlimited.maxPending = 0
            unlimited.maxRequests = 0
            let limits = CircuitLimits(settings.limits ?? unlimited, retryBudget: settings.retryBudget)
            self.circuit = CircuitBreaker(limits)
        } else {
            self.circuit = nil
        }
    }

    /// The peer for the next attempt of a request, or `nil`: no live upstreams. Every pick is followed by one `finish`.
    ///
    /// - Parameters:
    ///   - tried: Of this request, empty at its first attempt.
    ///   - key: What a hash goes by, the same at each attempt: the client's address (4 or 16 bytes) for `ip_hash`, the
    ///     value of its expression for `hash`; else it is not looked at.
    ///   - chance: 64 bits that nobody can foretell; only methods that draw lots look at them.
    package func pick(tried: inout PeerSet, key: Span<UInt8>, now: Int64, chance: UInt64) -> PeerID? {
        self.table.withLock { $0.pick(tried: &tried, key: key, now: now, chance: chance) }
    }

    /// An attempt has ended.
    ///
    /// - Parameters:
    ///   - answer: For outlier detection.
    ///   - latency: Microseconds to the head of the answer, for the EWMA.
    /// - Returns: Whether the peer was ejected for it.
    @discardableResult
    package func finish(
        _ peer: PeerID,
        _ outcome: PeerOutcome,
        answer: AnswerClass,
        latency: Int64? = nil,
        now: Int64
    ) -> Bool {
        self.table.withLock { $0.finish(peer, outcome, answer: answer, latency: latency, now: now) }
    }

    /// An attempt has ended of which no more is known.
    package func finish(_ peer: PeerID, _ outcome: PeerOutcome, now: Int64) {
        self.finish(peer, outcome, answer: outcome == .failed ? .gatewayFailure : .good, now: now)
    }

    /// How often a request may be sent when `proxy_next_upstream_tries` does not say: to each peer that is not `down`,
    /// and once where there is only one.
    package var tries: Int { self.table.withLock { $0.tries } }

    /// Puts other peers in the place of those that are there; one that stays, by name and address, keeps its state.
    package func replace(peers: [PeerModel], now: Int64) throws(PeerGroupError) {
        let members = try PeerGroupMembers(peers, of: self.name, method: self.settings.method)
        self.table.withLock { $0.replace(members, now: now) }
    }

    /// The result of an active check.
    ///
    /// - Returns: What it has changed, if anything.
    package func recordCheck(of peer: PeerID, hasPassed: Bool, now: Int64) -> HealthChange? {
        self.table.withLock { $0.recordCheck(of: peer, hasPassed: hasPassed, now: now) }
    }

    /// To be called at the end of each interval of outlier detection (Envoy's is 10 s).
    ///
    /// - Returns: The peers ejected for their success rate.
    package func endOutlierInterval(now: Int64) -> [PeerID] {
        self.table.withLock { $0.endOutlierInterval(now: now) }
    }

    /// As configured; `nil` once it has left and its last request has ended.
    package func model(of peer: PeerID) -> PeerModel? { self.table.withLock { $0.model(of: peer) } }

    /// All peers, the backups last.
    package func states(now: Int64) -> [PeerState] { self.table.withLock { $0.states(now: now) } }
}
