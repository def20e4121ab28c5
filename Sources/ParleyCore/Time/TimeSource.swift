/// The clock that every shell takes, so that tests and simulations can pass their own.
///
/// Two readings, because they answer two questions. ``now`` is monotonic: it measures how long something takes inside
/// this process and never jumps. ``wallTime`` is the calendar: it is what gets stored, compared after a restart and
/// shown to people; it may jump, so nothing that must be exact inside one process is computed from it.
public protocol TimeSource: Sendable {
    /// The monotonic reading.
    var now: ContinuousClock.Instant { get }
    /// The calendar reading.
    var wallTime: Timestamp { get }
    /// Suspends until ``now`` has reached `instant`.
    ///
    /// - Throws: `CancellationError` as soon as the task is cancelled.
    func sleep(until instant: ContinuousClock.Instant) async throws
}

extension TimeSource {
    /// Suspends for `duration`, measured on the monotonic reading.
    public func sleep(for duration: Duration) async throws {
        try await self.sleep(until: self.now.advanced(by: duration))
    }

    /// The monotonic instant at which the calendar will read `timestamp`, if the calendar does not jump until then.
    public func instant(of timestamp: Timestamp) -> ContinuousClock.Instant {
        self.now.advanced(by: timestamp - self.wallTime)
    }
}

/// The operating system's clocks.
public struct SystemTimeSource: TimeSource {
    public init() {}

    public var now: ContinuousClock.Instant { ContinuousClock.now }

    public var wallTime: Timestamp { Timestamp.fromSystem() }

    public func sleep(until instant: ContinuousClock.Instant) async throws {
        try await ContinuousClock().sleep(until: instant, tolerance: nil)
    }
}

extension Moment {
    /// Any would do; one that is near keeps the numbers small.
    static let origin = ContinuousClock.now
}
