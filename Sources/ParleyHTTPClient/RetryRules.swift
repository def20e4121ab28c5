internal import HTTPTypes
internal import ParleyCore

/// Decides after each try whether there is another one. Pure: time and chance come in as arguments.
struct RetryRules {
    enum Action: Equatable {
        case retry(after: Duration)
        case giveUp
    }

    /// Whether doing the request twice has the effect of once: the method says so (RFC 9110, section 9.2.2), or the
    /// server recognises the second one by its `Idempotency-Key`.
    let isRepeatable: Bool
    let backoff: Backoff
    let deadline: Deadline
    /// How many further tries may be made, by this client's limit and by what all hops together have left.
    private(set) var retriesLeft: Int
    /// What is left of the budget of all hops, to be told to the next one.
    private(set) var budget: Int?
    private(set) var attempts = 0
    /// Whether any try so far may have been carried out.
    private(set) var mayHaveRun = false

    init(request: HTTPRequest, maxAttempts: Int, budget: Int?, backoff: Backoff, deadline: Deadline) {
        let methods: [HTTPRequest.Method] = [.get, .head, .options, .put, .delete, .trace]
        self.isRepeatable = methods.contains(request.method) || request.headerFields[named: "Idempotency-Key"] != nil
        self.retriesLeft = max(0, min(maxAttempts - 1, budget ?? .max))
        self.budget = budget
        self.backoff = backoff
        self.deadline = deadline
    }

    mutating func begin() { self.attempts += 1 }

    mutating func failed(_ retry: RetrySafety, at now: ContinuousClock.Instant, random: any RandomSource) -> Action {
        switch retry {
        case .permanent:
            return .giveUp
        case .notSent:
            return self.next(minimum: .zero, at: now, random: random)
        case .mayHaveRun:
            self.mayHaveRun = true
            return self.isRepeatable ? self.next(minimum: .zero, at: now, random: random) : .giveUp
        }
    }

    /// 429 says that the request was refused, so it may be sent again whatever it is. 502, 503 and 504 come from
    /// servers that refuse *and* from proxies whose upstream broke half-way: only what is repeatable is sent again.
    mutating func answered(
        _ status: Int,
        retryAfter: Duration?,
        at now: ContinuousClock.Instant,
        random: any RandomSource
    ) -> Action {
        switch status {
        case 429:
            return self.next(minimum: retryAfter ?? .zero, at: now, random: random)
        case 502, 503, 504:
            self.mayHaveRun = true
            guard self.isRepeatable else { return .giveUp }
            return self.next(minimum: retryAfter ?? .zero, at: now, random: random)
        default:
            return .giveUp
        }
    }

    private mutating func next(
        minimum: Duration,
        at now: ContinuousClock.Instant,
        random: any RandomSource
    ) -> Action {
        guard self.retriesLeft > 0 else { return .giveUp }
        let delay = max(minimum, self.backoff.delay(afterFailures: self.attempts, random: random))
        // A try that could only begin after the deadline is not worth the wait.
        guard now.advanced(by: delay) < self.deadline.instant else { return .giveUp }
        self.retriesLeft -= 1
        self.budget = self.budget.map { $0 - 1 }
        return .retry(after: delay)
    }

    /// The wait that a `Retry-After` header asks for: seconds, or a date. `nil` when it is neither.
    static func retryAfter(_ value: String?, wallTime: Timestamp) -> Duration? {
        guard let value else { return nil }
        if let seconds = Int64(value) { return seconds >= 0 ? .seconds(min(seconds, 86_400)) : nil }
        return HTTPDate.parse(value).map { max(.zero, $0 - wallTime) }
    }
}
