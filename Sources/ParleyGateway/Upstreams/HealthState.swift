/// What the active checks of one peer have said. Between the states lie thresholds, so that a single lost answer need
/// not take a peer out; the first answer counts at once, since there is nothing to weigh it against.
struct HealthState: Sendable, BitwiseCopyable {
    private(set) var isHealthy = true
    private var isKnown = false
    /// Answers in a row that speak against the present state.
    private var streak = 0

    init(isHealthy: Bool = true) { self.isHealthy = isHealthy }

    /// Whether the state has changed.
    mutating func record(hasPassed: Bool, _ rules: HealthCheckRules) -> Bool {
        defer { self.isKnown = true }
        guard hasPassed != self.isHealthy else {
            self.streak = 0
            return false
        }
        self.streak &+= 1
        let threshold = hasPassed ? rules.healthyThreshold : rules.unhealthyThreshold
        guard self.streak >= threshold || !self.isKnown else { return false }
        self.isHealthy = hasPassed
        self.streak = 0
        return true
    }
}

/// What a check has changed.
package enum HealthChange: Sendable, Hashable {
    case becameHealthy
    case becameUnhealthy
}

extension HealthCheckRules {
    /// Milliseconds to the next check of a peer: the interval, and up to a tenth more, so that the gateways of a fleet
    /// do not ask all at once.
    package func delay(chance: UInt64) -> Int64 {
        let interval = UInt64(max(self.interval, 1))
        return Int64(clamping: interval &+ chance % (interval / 10 &+ 1))
    }

    /// Milliseconds to the first check of a peer: somewhere within the interval.
    package func firstDelay(chance: UInt64) -> Int64 { Int64(clamping: chance % UInt64(max(self.interval, 1))) }
}
