internal import ParleyCore

/// When one instance is registered, shows that it is alive, and is deregistered; as values.
///
/// Phases: *unknown* (the agent may or may not know us; after a failure it waits) → *registered* → *unknown* again when
/// the agent has forgotten us → *leaving* → *gone*. Registering again leads back from every phase to *unknown*.
struct RegistrationMachine: Equatable {
    struct Rules: Sendable, Hashable {
        /// Between two signs of life, or two looks at whether the agent still knows us.
        var beat: Duration
        var backoff: Backoff
    }

    enum Action: Equatable {
        case register
        case beat
        case deregister
        case wait(until: ContinuousClock.Instant)
        /// It is over. Without `isClean` the agent could not be told.
        case end(isClean: Bool)
    }

    private enum Phase: Equatable {
        case unknown, registered
        case leaving(limit: ContinuousClock.Instant)
        case gone(isClean: Bool)
    }

    private let rules: Rules
    private var phase = Phase.unknown
    private var failures = 0
    private var due: ContinuousClock.Instant?

    init(_ rules: Rules) {
        self.rules = rules
    }

    var isLeaving: Bool {
        switch self.phase {
        case .unknown, .registered: false
        case .leaving, .gone: true
        }
    }

    func next(now: ContinuousClock.Instant) -> Action {
        if case .gone(let isClean) = self.phase { return .end(isClean: isClean) }
        if case .leaving(let limit) = self.phase, now >= limit { return .end(isClean: false) }
        if let due, now < due {
            guard case .leaving(let limit) = self.phase else { return .wait(until: due) }
            return .wait(until: min(due, limit))
        }
        switch self.phase {
        case .unknown: return .register
        case .registered: return .beat
        case .leaving: return .deregister
        case .gone(let isClean): return .end(isClean: isClean)
        }
    }

    /// The instance is another, or is to be known again.
    mutating func renew() { self = RegistrationMachine(self.rules) }

    /// - Parameter limit: When it gives up.
    mutating func leave(limit: ContinuousClock.Instant) {
        guard !self.isLeaving else { return }
        self.phase = .leaving(limit: limit)
        self.failures = 0
        self.due = nil
    }

    /// The agent has taken the registration or the sign of life.
    ///
    /// - Parameter chance: Uniform in 0..<1. Signs of life of many instances should not come together.
    mutating func succeeded(now: ContinuousClock.Instant, chance: Double) {
        self.failures = 0
        switch self.phase {
        case .unknown, .registered:
            self.phase = .registered
            // At least three in the agent's patience, so a late one, or a lost one, does no harm.
            self.due = now.advanced(by: self.rules.beat * (1 - 0.2 * chance))
        case .leaving: self.phase = .gone(isClean: true)
        case .gone: break
        }
    }

    /// The agent does not know us.
    mutating func forgotten() {
        switch self.phase {
        case .unknown, .registered:
            self.phase = .unknown
            self.due = nil
        case .leaving: self.phase = .gone(isClean: true)
        case .gone: break
        }
    }

    /// The agent could not be asked, or refused.
    mutating func failed(now: ContinuousClock.Instant, chance: Double) {
        self.failures = min(self.failures + 1, 1_000)
        var delay = self.rules.backoff.delay(afterFailures: self.failures, chance: chance)
        // The agent may be back, and its patience with us ends.
        delay = min(delay, self.rules.beat)
        self.due = now.advanced(by: delay)
    }
}
