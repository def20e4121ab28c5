package import ParleyCore

/// Sends the same request to a second instance when the first is slow, and takes whichever answers first.
///
/// Only for calls that may be repeated; each further try counts against the retry budgets like a retry.
public struct HedgePolicy: Sendable, Hashable {
    /// How long a try may be slow before the next one begins: about the 95th percentile of what calls take. Brought
    /// into 1 ms…1 h.
    public var delay: Duration
    /// How many tries there are at most, the first included. Brought into 1…10.
    public var maxAttempts: Int

    public init(delay: Duration, maxAttempts: Int = 2) {
        self.delay = delay
        self.maxAttempts = maxAttempts
    }
}

/// Decides when a hedged call begins another try, and which outcome is the call's.
///
/// The first outcome that is not worth another try wins, a failure too. A retryable failure begins the next try at once
/// (after the `Retry-After` that came with it); when none is left, the last one to fail is the call's outcome.
package struct HedgeMachine: Equatable, Sendable {
    package enum Action: Equatable, Sendable {
        /// Take this outcome and cancel the others.
        case finish(StopReason)
        /// Go on: wait for an outcome, or for ``nextStart``.
        case goOn
    }

    private let delay: Duration
    private let maxAttempts: Int
    private let deadline: Deadline
    private let longestRetryAfter: Duration
    package private(set) var started = 0
    package private(set) var running = 0
    private var isSpent: StopReason?
    /// When the next try begins, unless the call has ended by then.
    package private(set) var nextStart: Moment?

    package init(policy: HedgePolicy, deadline: Deadline, longestRetryAfter: Duration) {
        self.delay = policy.delay.between(.milliseconds(1), .seconds(3_600))
        self.maxAttempts = min(max(1, policy.maxAttempts), 10)
        self.deadline = deadline
        self.longestRetryAfter = longestRetryAfter
    }

    /// Whether a try is due.
    package func isDue(at now: Moment) -> Bool { self.nextStart.map { $0 <= now } ?? false }

    package mutating func start(at now: Moment) {
        self.started += 1
        self.running += 1
        // A hedge that would come after the deadline is not planned; a failure may still begin the next try before it.
        let next = now.advanced(by: self.delay)
        let mayFollow = self.isSpent == nil && self.started < self.maxAttempts && next < self.deadline.moment
        self.nextStart = mayFollow ? next : nil
    }

    /// A try that was due is not allowed; there will be no other.
    ///
    /// - Returns: `true` if nothing is under way any more.
    package mutating func refuse(_ reason: StopReason) -> Bool {
        self.isSpent = reason
        self.nextStart = nil
        return self.running == 0
    }

    /// A try found nobody who may be called; there will be no other.
    ///
    /// - Returns: `true` if nothing is under way any more.
    package mutating func foundNobody() -> Bool {
        self.running = max(0, self.running - 1)
        return self.refuse(.nobodyAvailable)
    }

    package mutating func ended(_ verdict: Verdict, at now: Moment) -> Action {
        self.running = max(0, self.running - 1)
        switch verdict.outcome {
        case .success: return .finish(.answered)
        case .ignorable: return .finish(.cancelled)
        case .permanentFailure: return .finish(.permanent)
        case .retryableFailure: break
        }
        if verdict.safety == .permanent { return .finish(.permanent) }
        let asked = max(.zero, verdict.retryAfter ?? .zero)
        if asked > self.longestRetryAfter {
            _ = self.refuse(.retryAfterTooLong)
        } else {
            self.plan(now.advanced(by: asked.between(.zero, .seconds(86_400))))
        }
        guard self.running == 0, self.nextStart == nil else { return .goOn }
        return .finish(self.isSpent ?? .attemptsSpent)
    }

    private mutating func plan(_ start: Moment) {
        self.nextStart = nil
        guard self.isSpent == nil, self.started < self.maxAttempts else { return }
        guard start < self.deadline.moment else {
            self.isSpent = .deadline
            return
        }
        self.nextStart = start
    }
}
