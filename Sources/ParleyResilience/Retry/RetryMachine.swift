package import ParleyCore

/// Decides after each try of one call whether there is another. Pure: time and chance come in as arguments.
package struct RetryMachine: Equatable, Sendable {
    package enum Action: Equatable, Sendable {
        case retry(after: Duration)
        case stop(StopReason)
    }

    /// Whether doing the request twice has the effect of once.
    package let isRepeatable: Bool
    private let policy: RetryPolicy
    private let deadline: Deadline
    /// What is left of the budget of all hops, to be told to the next one; `nil` where no edge has set one.
    package private(set) var hopBudget: Int?
    package private(set) var attempts = 0
    /// Whether any try so far may have been carried out.
    package private(set) var mayHaveRun = false

    package init(policy: RetryPolicy?, isRepeatable: Bool, hopBudget: Int?, deadline: Deadline) {
        self.policy = policy ?? .never
        self.isRepeatable = isRepeatable
        self.hopBudget = hopBudget.map { max(0, $0) }
        self.deadline = deadline
    }

    package mutating func begin() { self.attempts += 1 }

    /// - Parameters:
    ///   - chance: uniform in 0..<1.
    ///   - withdraw: takes one retry from the client's own budget, if that has one. Asked last, so that nothing is
    ///     taken for a try that is not made.
    package mutating func ended(
        _ verdict: Verdict,
        at now: Moment,
        chance: Double,
        withdraw: () -> Bool
    ) -> Action {
        if verdict.safety == .mayHaveRun { self.mayHaveRun = true }
        switch verdict.outcome {
        case .success: return .stop(.answered)
        case .ignorable: return .stop(.cancelled)
        case .permanentFailure: return .stop(.permanent)
        case .retryableFailure: break
        }
        guard verdict.safety != .permanent else { return .stop(.permanent) }
        guard verdict.safety == .notSent || self.isRepeatable else { return .stop(.notRepeatable) }
        guard self.attempts < min(max(1, self.policy.maxAttempts), 100) else { return .stop(.attemptsSpent) }
        guard self.hopBudget != 0 else { return .stop(.hopBudgetSpent) }
        let asked = max(.zero, verdict.retryAfter ?? .zero)
        guard asked <= max(.zero, self.policy.longestRetryAfter) else { return .stop(.retryAfterTooLong) }
        let delay = max(asked, self.policy.backoff.delay(afterFailures: self.attempts, chance: chance))
        // A try that could only begin after the deadline is not worth the wait.
        guard delay < self.deadline.remaining(at: now) else { return .stop(.deadline) }
        guard withdraw() else { return .stop(.clientBudgetSpent) }
        self.hopBudget = self.hopBudget.map { $0 - 1 }
        return .retry(after: delay)
    }

    /// Another try has begun without being asked for here: a hedge.
    package mutating func hedged() {
        self.attempts += 1
        self.hopBudget = self.hopBudget.map { max(0, $0 - 1) }
    }
}
