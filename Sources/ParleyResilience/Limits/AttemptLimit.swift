package import ParleyCore

/// Until when a call and each of its tries may take.
package struct AttemptLimit: Equatable, Sendable {
    /// The end of the whole call.
    package let deadline: Deadline
    private let attemptTimeout: Duration
    /// A tenth of it.
    private let fairShare: Duration

    /// - Parameter attemptTimeout: for each try; `nil` leaves the deadline alone. Brought into 1 ms…1 day.
    package init(deadline: Deadline, attemptTimeout: Duration?) {
        self.deadline = deadline
        self.attemptTimeout = (attemptTimeout ?? .seconds(86_400)).between(.milliseconds(1), .seconds(86_400))
        self.fairShare = self.attemptTimeout / 10
    }

    /// Until when a try that begins now may take.
    package func limit(at now: Moment) -> Deadline {
        min(self.deadline, Deadline(now.advanced(by: self.attemptTimeout)))
    }

    /// Whether a try that came to its limit says something about the instance: a caller that left it less than a tenth
    /// of the attempt timeout has only itself to blame, and must not open the breaker for everybody.
    package func blamesInstance(began start: Moment, limit: Deadline) -> Bool {
        start.duration(to: limit.moment) >= self.fairShare
    }
}
