internal import Synchronization

/// What a group may have under way at once.
package enum CircuitResource: Sendable, Hashable {
    case connection
    /// A request that waits for a connection.
    case pendingRequest
    case request
    case retry
}

/// Envoy's circuit breakers: counters with a limit each. What does not fit is answered at once instead of queued.
package struct CircuitLimits: Sendable {
    package struct Counts: Sendable, Hashable {
        package var connections = 0
        package var pending = 0
        package var requests = 0
        package var retries = 0
        /// Times that something did not fit.
        package var overflows: UInt64 = 0
    }

    private var rules: CircuitRules
    private var budget: RetryBudgetRules?
    package private(set) var counts = Counts()

    /// - Parameter retryBudget: Takes the place of the limit on retries: a share of what is under way.
    package init(_ rules: CircuitRules, retryBudget: RetryBudgetRules? = nil) {
        self.rules = rules
        self.budget = retryBudget
    }

    /// Whether one more fits. It is then counted, and given back with ``give(_:)``.
    package mutating func take(_ resource: CircuitResource) -> Bool {
        let fits: Bool
        switch resource {
        case .connection: fits = Self.take(&self.counts.connections, limit: self.rules.maxConnections)
        case .pendingRequest: fits = Self.take(&self.counts.pending, limit: self.rules.maxPending)
        case .request: fits = Self.take(&self.counts.requests, limit: self.rules.maxRequests)
        case .retry:
            if let budget = self.budget {
                let underWay = self.counts.requests &+ self.counts.pending
                let share = underWay &* min(max(budget.percent, 0), 100) / 100
                // A budget of nothing means none at all, where a limit of 0 means no limit.
                fits = Self.take(&self.counts.retries, below: max(share, budget.minimum))
            } else {
                fits = Self.take(&self.counts.retries, limit: self.rules.maxRetries)
            }
        }
        if !fits { self.counts.overflows &+= 1 }
        return fits
    }

    package mutating func give(_ resource: CircuitResource) {
        switch resource {
        case .connection: self.counts.connections = max(self.counts.connections &- 1, 0)
        case .pendingRequest: self.counts.pending = max(self.counts.pending &- 1, 0)
        case .request: self.counts.requests = max(self.counts.requests &- 1, 0)
        case .retry: self.counts.retries = max(self.counts.retries &- 1, 0)
        }
    }

    private static func take(_ count: inout Int, limit: Int) -> Bool {
        Self.take(&count, below: limit > 0 ? limit : .max)
    }

    private static func take(_ count: inout Int, below limit: Int) -> Bool {
        guard count < limit else { return false }
        count &+= 1
        return true
    }
}

/// ``CircuitLimits`` of a group, shared by all event loops.
package final class CircuitBreaker: Sendable {
    private let limits: Mutex<CircuitLimits>

    package init(_ limits: CircuitLimits) { self.limits = Mutex(limits) }

    package func take(_ resource: CircuitResource) -> Bool { self.limits.withLock { $0.take(resource) } }
    package func give(_ resource: CircuitResource) { self.limits.withLock { $0.give(resource) } }
    package var counts: CircuitLimits.Counts { self.limits.withLock { $0.counts } }
}
