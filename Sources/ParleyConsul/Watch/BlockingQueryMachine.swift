internal import ParleyCore

/// The rules by which a client asks Consul again and again for the same thing, as values.
///
/// - The first question has no index and is answered at once; each further one carries the index of the answer before
///   and waits for a newer one.
/// - An index that goes back (a server was restored, or lost everything) is forgotten: the next question has none.
/// - The index 0 counts as 1, because 0 would never wait.
/// - A bucket of tokens limits the questions: two at once, then one an interval, whatever the server answers.
/// - After a failure it waits, longer each time and by chance, and then asks with the index that it has, and for a
///   short time: a server that has lost everything would let a question with an index of its past wait to the end.
/// - A server that knows no leader, or has not heard of it for long, says nothing that counts.
struct BlockingQueryMachine: Equatable {
    struct Rules: Sendable, Hashable {
        var wait: Duration
        var shortWait: Duration
        var backoff: Backoff
        /// In which time one question is allowed, beyond the first two.
        var interval: Duration
        /// An answer of a server that has not heard of its leader for longer does not count.
        var maximumLag: Duration
    }

    struct Question: Equatable {
        /// 0 for one that does not wait.
        var index: UInt64
        var wait: Duration
        /// Whether any server may answer, or only the leader because the others have lagged.
        var allowsStale: Bool
    }

    enum NextAction: Equatable {
        case ask(Question)
        /// Then ask what is next again.
        case wait(until: ContinuousClock.Instant)
    }

    enum AnswerAction: Equatable {
        /// Somebody wants to know it.
        case report
        /// Nothing has changed.
        case ignore
        /// It does not count.
        case distrust
    }

    static let burst = 2

    private let rules: Rules
    private(set) var index: UInt64 = 0
    private(set) var failures = 0
    private var hasAnswer = false
    private var allowsStale = true
    private var notBefore: ContinuousClock.Instant?
    private var tokens = Self.burst
    private var refilledAt: ContinuousClock.Instant?

    init(_ rules: Rules) {
        self.rules = rules
    }

    /// - Parameter isCrowded: Whether others wait for their turn to ask.
    mutating func next(now: ContinuousClock.Instant, isCrowded: Bool = false) -> NextAction {
        if let notBefore, now < notBefore { return .wait(until: notBefore) }
        self.refill(now)
        guard self.tokens > 0 else {
            return .wait(until: (self.refilledAt ?? now).advanced(by: self.rules.interval))
        }
        self.notBefore = nil
        self.tokens -= 1
        let isShort = isCrowded || self.failures > 0
        let wait = isShort ? min(self.rules.wait, self.rules.shortWait) : self.rules.wait
        return .ask(Question(index: self.index, wait: self.index == 0 ? .zero : wait, allowsStale: self.allowsStale))
    }

    /// One token for each whole interval that has passed, at most ``burst`` in all, however far the clock has moved.
    private mutating func refill(_ now: ContinuousClock.Instant) {
        guard self.tokens < Self.burst, let since = self.refilledAt, self.rules.interval > .zero else {
            if self.rules.interval <= .zero { self.tokens = Self.burst }
            self.refilledAt = now
            return
        }
        guard since <= now else {
            self.refilledAt = now  // a clock that goes back starts the interval anew
            return
        }
        let missing = Self.burst - self.tokens
        let whole = Int(min(Double(missing), since.duration(to: now) / self.rules.interval))
        guard whole > 0 else { return }
        self.tokens += whole
        self.refilledAt = whole == missing ? now : since.advanced(by: self.rules.interval * whole)
    }

    /// - Parameters:
    ///   - index: Of the answer; 0 when it had none.
    ///   - chance: Uniform in 0..<1.
    mutating func answered(
        index: UInt64,
        hasLeader: Bool,
        lag: Duration,
        now: ContinuousClock.Instant,
        chance: Double
    ) -> AnswerAction {
        guard hasLeader, lag <= self.rules.maximumLag else {
            // Perhaps only this server is cut off; the leader itself never is.
            self.allowsStale = false
            self.failed(now: now, chance: chance)
            return .distrust
        }
        let wasFailing = self.failures > 0
        // Without an index nobody can tell whether something has changed.
        let isNews = !self.hasAnswer || index == 0 || index != self.index
        let index = max(1, index)
        self.failures = 0
        self.hasAnswer = true
        self.allowsStale = true
        self.index = index < self.index ? 0 : index
        return isNews || wasFailing ? .report : .ignore
    }

    /// The question was not answered, or with an error.
    mutating func failed(now: ContinuousClock.Instant, chance: Double) {
        self.failures = min(self.failures + 1, 1_000)
        let delay = self.rules.backoff.delay(afterFailures: self.failures, chance: chance)
        self.notBefore = now.advanced(by: delay)
    }
}
