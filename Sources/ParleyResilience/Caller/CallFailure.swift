public import ParleyCore

/// Why a call has no value.
public struct CallFailure: RetryClassifiedError, Sendable {
    /// At which stage it ended; there are as many as there are stages.
    public enum Kind: Sendable, Equatable {
        /// The last try failed; `cause` says how.
        case attemptFailed
        /// The deadline had passed before anybody was asked.
        case deadlinePassed
        /// There is no instance.
        case nobody
        /// There are instances, and none may be called.
        case unavailable
        /// The instances could not be looked up; `cause` says why.
        case resolverFailed
        /// The bulkhead is full.
        case tooManyCalls
        case rateLimited
    }

    public var kind: Kind
    /// About the whole call: `notSent` only if no try can have reached the service.
    public var retry: RetrySafety
    /// The instance of the last try.
    public var target: CallTarget?
    /// When it makes sense to come back, if that is known.
    public var retryAfter: Duration?
    public var cause: (any Error)?
    public var attempts: Int
    public var explanation: CallExplanation
}

/// A try came to its limit.
public struct AttemptTimedOut: Error, Sendable {
    public init() {}
}

/// What the others should know while it happens: for logs and metrics.
package enum CallEvent: Sendable {
    /// Another try follows.
    case retry(service: ServiceName, attempt: Int, delay: Duration)
    /// An instance stands otherwise than before.
    case changed(service: ServiceName, PoolChange)
}
