/// How a request that was sent to a peer ended, as nginx's `max_fails` sees it.
package enum PeerOutcome: Sendable, Hashable {
    /// Also an answer that is passed on although it is an error. nginx counts a client that left as this, too.
    case succeeded
    /// Connecting, sending, reading or the head of the answer failed, or another peer is tried for its answer.
    case failed
    /// Says nothing about the peer: the request ended before it had a chance.
    case notCounted
}

/// The state of one peer, without its name: plain numbers, so that looking at all of them touches little memory.
struct Peer: Sendable, BitwiseCopyable {
    /// Weights that take part in a choice are counted in this part of one, so that a slow start can be a fraction.
    static let share: Int64 = 256
    static let longAgo = Int64.min / 4

    var generation: UInt32 = 0
    /// Whether it is in the group now; if not, it stays until its last request has ended.
    var isMember = false
    var isBackup = false
    var isDown = false
    /// The place of its name among the names of the group.
    var server: UInt32 = 0

    var weight: Int64 = 1
    var maxConnections: Int64 = 0
    var maxFails: Int64 = 1
    /// Seconds.
    var failTimeout: Int64 = 10
    var slowStart: Int64 = 0

    /// What failures have left of the weight.
    var effectiveWeight: Int64 = 1
    /// Smooth weighted round robin's account, in ``share``s.
    var currentWeight: Int64 = 0
    var active: Int64 = 0
    var selections: UInt64 = 0

    var fails: Int64 = 0
    /// Second of the last failure.
    var accessed = Self.longAgo
    /// Second from which the fail timeout counts: of the last failure, or of the last trial since.
    var checked = Self.longAgo

    /// From when on the slow start counts.
    var recovered = Self.longAgo
    var health = HealthState()
    var outlier = OutlierState()
    var latency = LatencyAverage()

    /// Takes over what is configured; what has been learnt stays.
    mutating func configure(_ model: PeerModel) {
        let weight = Int64(model.weight)
        if weight != self.weight {
            self.effectiveWeight = self.effectiveWeight == self.weight ? weight : min(self.effectiveWeight, weight)
            self.weight = weight
        }
        self.maxConnections = Int64(max(model.maxConnections, 0))
        self.maxFails = Int64(max(model.maxFails, 0))
        self.failTimeout = Int64(min(max(model.failTimeout, 0), 1 << 32))
        self.slowStart = Int64(min(max(model.slowStart, 0), 1 << 20)) * 1_000
        self.isBackup = model.isBackup
        self.isDown = model.isDown
        self.isMember = true
    }

    // MARK: - Whether it may be chosen

    /// `max_fails` requests have failed, and the fail timeout has not passed since.
    func isFailed(seconds: Int64) -> Bool {
        self.maxFails > 0 && self.fails >= self.maxFails && seconds &- self.checked <= self.failTimeout
    }

    var isFull: Bool { self.maxConnections > 0 && self.active >= self.maxConnections }

    func isSound(now: Int64) -> Bool { self.health.isHealthy && self.outlier.ejectedUntil <= now }

    // MARK: - Its part in a choice

    /// A weight in ``share``s, less in the time after a recovery.
    func shares(of weight: Int64, now: Int64) -> Int64 {
        guard self.slowStart > 0 else { return weight &* Self.share }
        let elapsed = now &- self.recovered
        guard elapsed < self.slowStart else { return weight &* Self.share }
        return weight == 0 ? 0 : max(weight &* Self.share &* max(elapsed, 0) / self.slowStart, 1)
    }

    /// Adds its weight to its account of the round robin, and answers what it added.
    mutating func advance(now: Int64) -> Int64 {
        let shares = self.shares(of: self.effectiveWeight, now: now)
        self.currentWeight &+= shares
        if self.effectiveWeight < self.weight { self.effectiveWeight &+= 1 }
        return shares
    }

    // MARK: - What it has lived through

    mutating func noteSelection(seconds: Int64) {
        if seconds &- self.checked > self.failTimeout { self.checked = seconds }
    }

    mutating func noteFailure(seconds: Int64) {
        self.fails &+= 1
        self.accessed = seconds
        self.checked = seconds
        if self.maxFails > 0 { self.effectiveWeight = max(self.effectiveWeight &- self.weight / self.maxFails, 0) }
    }

    /// Only a request that was sent a fail timeout after the last failure proves that the peer is back.
    mutating func noteSuccess(now: Int64) {
        guard self.accessed < self.checked else { return }
        if self.maxFails > 0, self.fails >= self.maxFails { self.recovered = now }
        self.fails = 0
    }
}

/// What is known of a peer at a moment, for status, metrics and the story of a request.
package struct PeerState: Sendable, Hashable {
    /// Why it would or would not be chosen now, the first reason that holds.
    package enum Standing: Sendable, Hashable {
        case available
        case down
        /// `max_fails` requests have failed, and the fail timeout runs.
        case failed
        case unhealthy
        case ejected
        /// At `max_conns`.
        case full
    }

    package var id: PeerID
    package var peer: PeerModel
    package var standing: Standing
    package var effectiveWeight: Int
    package var active: Int
    package var fails: Int
    package var selections: UInt64
    package var isHealthy: Bool
    /// Milliseconds of the clock that calls are made with, or `nil`.
    package var ejectedUntil: Int64?
    /// When its fail timeout is over, by the same clock; `nil` when it is not `failed`.
    package var failedUntil: Int64?
    /// How often in a row it has been ejected.
    package var ejections: Int
    /// Whether it is in the time after a recovery in which it gets less.
    package var isStarting: Bool
    /// Microseconds, by the peak-EWMA; `nil` before the first answer.
    package var latency: Int64?
}
