package import ParleyCore

/// Which share of a client's calls may be repeated.
public struct RetryBudgetPolicy: Sendable, Hashable {
    /// Retries allowed for each hundred calls of the window. Brought into 0…1,000.
    public var percent: Int
    /// Retries allowed in a window whatever the traffic, so that a quiet client is not left without. 0…1,000,000.
    public var minimum: Int
    /// How long a call counts. Brought into 1 s…1 h.
    public var window: Duration

    public init(percent: Int = 20, minimum: Int = 3, window: Duration = .seconds(10)) {
        self.percent = percent
        self.minimum = minimum
        self.window = window
    }
}

/// What keeps retries from making an overload worse: shared by all calls of a client to one service.
///
/// This is Finagle's kind (each call pays in a share of a retry, which is good for the length of the window) with
/// Envoy's figures (20 %, at least 3). Envoy counts what is under way at the moment; counting a window also holds back
/// short calls that fail one after the other. Integers only: a call pays in `percent`, a retry takes out 100.
package struct RetryBudget: Equatable, Sendable {
    private let percent: Int
    private let minimum: Int
    /// Calls as `total`, retries as `bad`.
    private var window: CountWindow

    package init(_ policy: RetryBudgetPolicy) {
        self.percent = min(max(0, policy.percent), 1_000)
        self.minimum = min(max(0, policy.minimum), 1_000_000)
        self.window = CountWindow(length: policy.window.between(.seconds(1), .seconds(3_600)))
    }

    package mutating func deposit(at now: Moment) {
        self.window.advance(to: now)
        self.window.add(total: 1)
    }

    /// Takes one retry; `false` when there is none.
    package mutating func withdraw(at now: Moment) -> Bool {
        guard self.left(at: now) > 0 else { return false }
        self.window.add(bad: 1)
        return true
    }

    /// How many retries are left at this moment.
    package mutating func left(at now: Moment) -> Int {
        self.window.advance(to: now)
        let units = self.window.sum.total * self.percent + (self.minimum - self.window.sum.bad) * 100
        return max(0, units / 100)
    }
}
