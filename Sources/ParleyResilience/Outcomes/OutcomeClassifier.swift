public import ParleyCore

/// Which answers are failures, and which of them are worth another try.
public struct OutcomeClassifier: Sendable, Hashable {
    /// Statuses of servers that refused before they began: sent again whatever the request is.
    public var refusedStatuses: Set<Int> = [421, 429]
    /// Statuses of servers that refuse *and* of proxies whose upstream broke half-way: sent again if that is harmless.
    public var retryableStatuses: Set<Int> = [502, 503, 504]
    /// Statuses that count against the instance, with those of ``retryableStatuses``.
    public var failureStatuses: ClosedRange<Int> = 500...599
    /// gRPC codes that are sent again if that is harmless: `DEADLINE_EXCEEDED`, `RESOURCE_EXHAUSTED`, `UNAVAILABLE`.
    public var retryableCodes: Set<Int> = [4, 8, 14]
    /// gRPC codes that count against the instance: `UNKNOWN`, `DEADLINE_EXCEEDED`, `INTERNAL`, `UNAVAILABLE`,
    /// `DATA_LOSS`.
    public var failureCodes: Set<Int> = [2, 4, 13, 14, 15]

    public init() {}

    /// - Parameter retryAfter: what the answer asks for.
    public func verdict(httpStatus status: Int, retryAfter: Duration? = nil) -> Verdict {
        if self.refusedStatuses.contains(status) {
            // That *this* caller was refused says nothing about how the instance is.
            return Verdict(.retryableFailure, safety: .notSent, health: .unknown, retryAfter: retryAfter)
        }
        if self.retryableStatuses.contains(status) {
            return Verdict(.retryableFailure, safety: .mayHaveRun, health: .ill, retryAfter: retryAfter)
        }
        if self.failureStatuses.contains(status) {
            return Verdict(.permanentFailure, safety: .mayHaveRun, health: .ill)
        }
        return .success
    }

    /// - Parameter retryAfter: what the trailer `grpc-retry-pushback-ms` asks for.
    public func verdict(grpcCode code: Int, retryAfter: Duration? = nil) -> Verdict {
        let health: InstanceHealth = self.failureCodes.contains(code) ? .ill : .well
        // CANCELLED is our own doing.
        if code == 1 { return .cancelled }
        if self.retryableCodes.contains(code) {
            return Verdict(.retryableFailure, safety: .mayHaveRun, health: health, retryAfter: retryAfter)
        }
        if health == .ill { return Verdict(.permanentFailure, safety: .mayHaveRun, health: .ill) }
        return .success
    }

    /// A try that ended without an answer.
    ///
    /// - Parameter blamesInstance: whether it is the instance's failure; `false` where the request or the caller is.
    public func verdict(failure safety: RetrySafety, blamesInstance: Bool) -> Verdict {
        let outcome: Outcome = safety == .permanent ? .permanentFailure : .retryableFailure
        return Verdict(outcome, safety: safety, health: blamesInstance ? .ill : .unknown)
    }
}
