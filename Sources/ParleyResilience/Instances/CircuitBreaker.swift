public import ParleyCore

/// When an instance that fails is left alone, and for how long.
public struct CircuitBreakerPolicy: Sendable, Hashable {
    /// Opens after so many failures in a row; 0 does not look at them. Brought into 0…1,000,000.
    public var consecutiveFailures: Int
    /// Opens when this share of the calls in `window` failed; 0 does not look at it. Brought into 0…100.
    public var failurePercent: Int
    /// How many calls the window must hold before `failurePercent` counts. Brought into 1…1,000,000.
    public var minimumThroughput: Int
    /// Brought into 1 s…1 h.
    public var window: Duration
    /// How long it stays open: the first time, the second in a row, and so on. With little jitter, so that an open
    /// instance is left alone for most of it; it only keeps clients from coming back together.
    public var openTime: Backoff
    /// How many calls may try an instance after that, and must succeed before it is closed. Brought into 1…1,000.
    public var probes: Int

    public init(
        consecutiveFailures: Int = 5,
        failurePercent: Int = 50,
        minimumThroughput: Int = 20,
        window: Duration = .seconds(30),
        openTime: Backoff = Backoff(initial: .seconds(5), cap: .seconds(60), jitter: 0.2),
        probes: Int = 1
    ) {
        self.consecutiveFailures = consecutiveFailures
        self.failurePercent = failurePercent
        self.minimumThroughput = minimumThroughput
        self.window = window
        self.openTime = openTime
        self.probes = probes
    }
}

extension CircuitBreakerPolicy {
    /// Opens by hand only.
    public static let never = CircuitBreakerPolicy(consecutiveFailures: 0, failurePercent: 0)
}

/// How a breaker stands.
public enum BreakerState: String, Sendable, Hashable, Codable, CaseIterable {
    /// Calls pass.
    case closed
    /// Calls are refused until its time is over.
    case open
    /// A few calls pass, to see.
    case halfOpen
    /// Calls are refused until a person releases it.
    case isolated
}

/// Leaves an instance alone that fails. One for each instance.
package struct CircuitBreaker: Equatable, Sendable {
    /// What a call that was let through brings back with its outcome. An outcome counts only in the period in which its
    /// call began: a call from before the failure says nothing about the recovery.
    package struct Permit: Equatable, Sendable {
        fileprivate var period: UInt64
        /// For a call that is made in spite of the breaker; its outcome does not count.
        package static let unasked = Permit(period: .max)
    }

    package enum Answer: Equatable, Sendable {
        case admitted(Permit)
        /// - Parameter until: when it may be asked again; `nil` when that depends on others.
        case refused(until: Moment?)
    }

    private enum State: Equatable {
        /// Leaves by failures, to open; by hand, to isolated.
        case closed
        /// Leaves by time, to half-open; by hand, to isolated.
        case open(until: Moment)
        /// Leaves by enough successes, to closed; by one failure, to open; by hand, to isolated.
        case halfOpen(running: Int, succeeded: Int)
        /// Leaves by hand, to closed.
        case isolated
    }

    private let policy: CircuitBreakerPolicy
    private var current: State = .closed
    private var period: UInt64 = 0
    private var consecutive = 0
    private var window: CountWindow
    /// How often it has opened without having been well in between.
    package private(set) var openings = 0
    private var closedAt: Moment?

    package init(_ policy: CircuitBreakerPolicy) {
        var policy = policy
        policy.consecutiveFailures = min(max(0, policy.consecutiveFailures), 1_000_000)
        policy.failurePercent = min(max(0, policy.failurePercent), 100)
        policy.minimumThroughput = min(max(1, policy.minimumThroughput), 1_000_000)
        policy.window = policy.window.between(.seconds(1), .seconds(3_600))
        policy.openTime.initial = policy.openTime.initial.between(.zero, .seconds(86_400))
        policy.openTime.cap = policy.openTime.cap.between(.zero, .seconds(86_400))
        policy.probes = min(max(1, policy.probes), 1_000)
        self.policy = policy
        self.window = CountWindow(length: policy.window)
    }

    package func state(at now: Moment) -> BreakerState {
        switch self.current {
        case .closed: .closed
        case .open(let until): now < until ? .open : .halfOpen
        case .halfOpen: .halfOpen
        case .isolated: .isolated
        }
    }

    /// Whether ``admit(at:)`` would let a call through.
    package func allows(at now: Moment) -> Bool {
        switch self.current {
        case .closed: true
        case .open(let until): now >= until
        case .halfOpen(let running, let succeeded): running + succeeded < self.policy.probes
        case .isolated: false
        }
    }

    /// When an open breaker lets the next call through.
    package var opensUntil: Moment? {
        if case .open(let until) = self.current { until } else { nil }
    }

    package var isIsolated: Bool { self.current == .isolated }

    package var isClosed: Bool { self.current == .closed }

    package mutating func admit(at now: Moment) -> Answer {
        switch self.current {
        case .closed:
            return .admitted(Permit(period: self.period))
        case .open(let until):
            guard now >= until else { return .refused(until: until) }
            self.period += 1
            self.current = .halfOpen(running: 1, succeeded: 0)
            return .admitted(Permit(period: self.period))
        case .halfOpen(let running, let succeeded):
            guard running + succeeded < self.policy.probes else { return .refused(until: nil) }
            self.current = .halfOpen(running: running + 1, succeeded: succeeded)
            return .admitted(Permit(period: self.period))
        case .isolated:
            return .refused(until: nil)
        }
    }

    /// The outcome of a call that was admitted; each permit is brought back once.
    ///
    /// - Parameter chance: uniform in 0..<1.
    /// - Returns: the new state, if it is another one.
    package mutating func record(
        _ health: InstanceHealth,
        _ permit: Permit,
        at now: Moment,
        chance: Double
    ) -> BreakerState? {
        guard permit.period == self.period else { return nil }
        switch self.current {
        case .open, .isolated:
            return nil
        case .halfOpen(let running, let succeeded):
            switch health {
            case .unknown, .foreign:
                self.current = .halfOpen(running: max(0, running - 1), succeeded: succeeded)
                return nil
            case .ill:
                return self.open(at: now, chance: chance)
            case .well:
                self.current = .halfOpen(running: max(0, running - 1), succeeded: succeeded + 1)
                return succeeded + 1 >= self.policy.probes ? self.close(at: now) : nil
            }
        case .closed:
            return self.count(health, at: now, chance: chance)
        }
    }

    private mutating func count(
        _ health: InstanceHealth,
        at now: Moment,
        chance: Double
    ) -> BreakerState? {
        guard health == .well || health == .ill else { return nil }
        self.window.advance(to: now)
        self.window.add(total: 1, bad: health == .ill ? 1 : 0)
        guard health == .ill else {
            self.consecutive = 0
            return nil
        }
        self.consecutive += 1
        let (row, percent, counts) = (self.policy.consecutiveFailures, self.policy.failurePercent, self.window.sum)
        let isTooMuch =
            percent > 0 && counts.total >= self.policy.minimumThroughput
            && counts.bad * 100 >= counts.total * percent
        return row > 0 && self.consecutive >= row || isTooMuch ? self.open(at: now, chance: chance) : nil
    }

    private mutating func open(at now: Moment, chance: Double) -> BreakerState {
        // Well for as long as the longest opening: what was before is over.
        if let closedAt, closedAt.duration(to: now) >= self.policy.openTime.cap { self.openings = 0 }
        // That counts once: a breaker that opens again from half-open was not well in between.
        self.closedAt = nil
        self.openings = min(self.openings + 1, 1_000)
        let delay = self.policy.openTime.delay(afterFailures: self.openings, chance: chance)
        self.reset(to: .open(until: now.advanced(by: delay)))
        return .open
    }

    private mutating func close(at now: Moment) -> BreakerState {
        self.closedAt = now
        self.reset(to: .closed)
        return .closed
    }

    /// Refuses all calls until ``release()``.
    package mutating func isolate() { self.reset(to: .isolated) }

    /// Ends what ``isolate()`` began; does nothing otherwise.
    package mutating func release() {
        guard self.current == .isolated else { return }
        self.openings = 0
        self.closedAt = nil
        self.reset(to: .closed)
    }

    private mutating func reset(to state: State) {
        self.current = state
        self.period += 1
        self.consecutive = 0
        self.window.clear()
    }
}
