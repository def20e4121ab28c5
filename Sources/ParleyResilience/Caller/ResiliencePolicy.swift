internal import ParleyCore

/// What a client does so that a failing service, or a failing instance of one, harms as little as possible.
///
/// Every stage can be left out with `nil`. Each call passes them in this order, the outermost first; a number that
/// makes no sense is brought into the range that its stage names.
///
/// 1. ``rateLimit``, ``bulkhead``: for each service
/// 2. ``timeout``: the whole call
/// 3. ``hedge`` or ``retry``, within ``retryBudget``: for each service
/// 4. ``balancing``, ``outliers``, ``identity``: chooses an instance
/// 5. ``breaker``: for each instance
/// 6. ``attemptTimeout``: each try
public struct ResiliencePolicy: Sendable, Hashable {
    /// How many calls may begin in a time; off by default.
    public var rateLimit: RateLimitPolicy?
    /// How many calls to a service are under way at once.
    public var bulkhead: BulkheadPolicy?
    /// How long a call may take with all its tries, when neither the caller nor the context has a deadline.
    public var timeout: Duration
    /// `nil` for one try.
    public var retry: RetryPolicy?
    /// Which share of the calls may be repeated; `nil` for all.
    public var retryBudget: RetryBudgetPolicy?
    /// Begins a second try while the first is under way, for calls that may be repeated; it takes the place of `retry`
    /// for them. Off by default.
    public var hedge: HedgePolicy?
    public var balancing: LoadBalancing
    /// `nil` treats all instances alike.
    public var outliers: OutlierPolicy?
    /// `nil` for breakers that are opened by hand only.
    public var breaker: CircuitBreakerPolicy?
    public var identity: IdentityPolicy
    /// How long one try may take, from choosing an instance to the last byte of the answer; `nil` for as long as the
    /// call.
    public var attemptTimeout: Duration?
    /// Which answers are failures.
    public var classifier: OutcomeClassifier
    /// Below this share of instances that may be called, breakers and ejections are disregarded (Envoy's panic mode,
    /// 50 there). 0, the default, never does that: our breakers try an instance again by themselves every few seconds,
    /// so sending everything to instances that are known to fail only makes callers wait, and what they get without it
    /// is an error that says nothing was sent. Brought into 0…100.
    public var panicPercent: Int

    public init() {
        self.rateLimit = nil
        self.bulkhead = BulkheadPolicy()
        self.timeout = .seconds(30)
        self.retry = RetryPolicy()
        self.retryBudget = RetryBudgetPolicy()
        self.hedge = nil
        self.balancing = .leastConnections
        // Failures in a row are the breakers' business, who let an instance prove itself after seconds; this finds
        // those that fail too often for long, and too seldom for a breaker.
        self.outliers = OutlierPolicy(consecutiveFailures: 0, failurePercent: 25)
        self.breaker = CircuitBreakerPolicy()
        self.identity = IdentityPolicy()
        self.attemptTimeout = .seconds(10)
        self.classifier = OutcomeClassifier()
        self.panicPercent = 0
    }

    /// One try, on any instance, with the time limits and nothing else.
    public static let plain: ResiliencePolicy = {
        var policy = ResiliencePolicy()
        policy.bulkhead = nil
        policy.retry = nil
        policy.retryBudget = nil
        policy.outliers = nil
        policy.breaker = nil
        return policy
    }()
}
