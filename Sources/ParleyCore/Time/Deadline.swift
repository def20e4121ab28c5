/// The instant after which nobody waits for an answer any more.
///
/// A deadline is set once, at the edge, and travels with the request: each hop sends the *remaining* time (clocks of
/// two machines differ, durations do not), and work that arrives after its deadline is dropped with a reason, not
/// started.
public struct Deadline: Sendable, Hashable, Comparable {
    public let instant: ContinuousClock.Instant

    public init(_ instant: ContinuousClock.Instant) {
        self.instant = instant
    }

    /// A deadline `duration` from now.
    public init(after duration: Duration, on time: any TimeSource) {
        self.instant = time.now.advanced(by: duration)
    }

    /// What is left; zero once it has passed.
    public func remaining(at now: ContinuousClock.Instant) -> Duration {
        max(.zero, now.duration(to: self.instant))
    }

    public func hasPassed(at now: ContinuousClock.Instant) -> Bool { now >= self.instant }

    public static func < (lhs: Deadline, rhs: Deadline) -> Bool { lhs.instant < rhs.instant }
}
