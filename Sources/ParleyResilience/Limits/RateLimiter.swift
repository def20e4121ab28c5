package import ParleyCore

/// How many calls may begin in a time.
public struct RateLimitPolicy: Sendable, Hashable {
    /// Calls in each `period`. Brought into 1…1,000,000,000.
    public var calls: Int
    /// Brought into 1 ms…1 day.
    public var period: Duration
    /// How many may come at once after a pause. Brought into 1…1,000,000,000.
    public var burst: Int
    /// How long a call waits for its turn before it is refused. Brought into 0…1 h.
    public var longestWait: Duration

    public init(calls: Int, per period: Duration, burst: Int = 1, longestWait: Duration = .zero) {
        self.calls = calls
        self.period = period
        self.burst = burst
        self.longestWait = longestWait
    }
}

/// The generic cell rate algorithm (ITU-T I.371), in integers: a token bucket that is one number, the time at which the
/// next call is due. One nanosecond is `calls` units and one call costs `period` of them, so no rate is rounded.
package struct RateLimiter: Equatable, Sendable {
    package enum Answer: Equatable, Sendable {
        /// Now.
        case admit
        /// After this time; the turn is taken.
        case wait(Duration)
        /// Not now, and it would be this long until its turn; nothing is taken.
        case refuse(retryAfter: Duration)
    }

    private let unitsPerNanosecond: Int128
    private let cost: Int128
    private let tolerance: Int128
    private let longestWait: Duration
    private var origin: Moment?
    /// When the next call is due, in units since `origin`.
    private var due: Int128 = 0
    /// The latest reading; a clock that goes back stands still here.
    private var latest: Int128 = 0

    package init(_ policy: RateLimitPolicy) {
        let period = policy.period.between(.milliseconds(1), .seconds(86_400))
        self.unitsPerNanosecond = Int128(min(max(1, policy.calls), 1_000_000_000))
        self.cost = Int128(period.inMicroseconds) * 1_000
        self.tolerance = self.cost * Int128(min(max(1, policy.burst), 1_000_000_000) - 1)
        self.longestWait = policy.longestWait.between(.zero, .seconds(3_600))
    }

    /// - Parameter patience: a turn that comes later is of no use, and is not taken.
    package mutating func take(at now: Moment, patience: Duration? = nil) -> Answer {
        let origin = self.origin ?? now
        self.origin = origin
        self.latest = max(self.latest, Self.nanoseconds(origin.duration(to: now)) * self.unitsPerNanosecond)
        let due = max(self.due, self.latest)
        let missing = due - self.tolerance - self.latest
        guard missing > 0 else {
            self.due = due + self.cost
            return .admit
        }
        let wait = (missing + self.unitsPerNanosecond - 1) / self.unitsPerNanosecond
        let duration = Duration.nanoseconds(Int64(clamping: wait))
        guard duration <= min(self.longestWait, patience ?? self.longestWait) else {
            return .refuse(retryAfter: duration)
        }
        self.due = due + self.cost
        return .wait(duration)
    }

    private static func nanoseconds(_ duration: Duration) -> Int128 {
        let (seconds, attoseconds) = duration.components
        return Int128(seconds) * 1_000_000_000 + Int128(attoseconds / 1_000_000_000)
    }
}
