/// How a client sees the services that it calls: breakers, budgets, and what is under way, at one moment.
public struct ResilienceSnapshot: Sendable, Hashable, Codable {
    public struct Instance: Sendable, Hashable, Codable {
        public var id: String
        public var endpoint: String
        public var standing: InstanceStanding
        public var breaker: BreakerState
        /// Until it may be called again, if time alone decides.
        public var millisecondsLeft: Int64?
        /// How often its breaker has opened without a longer recovery in between.
        public var openings: Int
        /// How often it has been ejected, less how often it has proved itself since.
        public var ejections: Int
        /// Tries of this client that are under way.
        public var inFlight: Int
    }

    public struct Service: Sendable, Hashable, Codable {
        public var name: String
        /// Calls under way, and calls that wait for one of them to end; 0 without a bulkhead.
        public var running: Int
        public var waiting: Int
        /// `nil` without a budget.
        public var retryBudgetLeft: Int?
        /// In the order of the resolver.
        public var instances: [Instance]
        /// Ids that are taken out by hand, also of instances that are not there now; sorted.
        public var isolated: [String]
    }

    /// Sorted by name.
    public var services: [Service]

    public init(services: [Service]) {
        self.services = services
    }
}
