/// The instant after which nobody waits for an answer any more.
///
/// A deadline is set once, at the edge, and travels with the request: each hop sends the *remaining* time (clocks of
/// two machines differ, durations do not), and work that arrives after its deadline is dropped with a reason, not
/// started.
public struct Deadline: Sendable, Hashable, Comparable {
    package let moment: Moment

    public init(_ instant: ContinuousClock.Instant) {
        self.moment = Moment(instant)
    }

    package init(_ moment: Moment) {
        self.moment = moment
    }

    public var instant: ContinuousClock.Instant { self.moment.instant }

    /// A deadline `duration` from now.
    public init(after duration: Duration, on time: any TimeSource) {
        self.moment = time.moment.advanced(by: duration)
    }

    /// What is left; zero once it has passed.
    public func remaining(at now: ContinuousClock.Instant) -> Duration { self.remaining(at: Moment(now)) }

    package func remaining(at now: Moment) -> Duration { max(.zero, now.duration(to: self.moment)) }

    public func hasPassed(at now: ContinuousClock.Instant) -> Bool { self.hasPassed(at: Moment(now)) }

    package func hasPassed(at now: Moment) -> Bool { now >= self.moment }

    public static func < (lhs: Deadline, rhs: Deadline) -> Bool { lhs.moment < rhs.moment }
}
