/// What a failure says about trying again: the one question every retry must answer first.
public enum RetrySafety: Sendable, Hashable {
    /// Nothing reached the other side: trying again cannot do it twice.
    case notSent
    /// The other side may have done it: try again only if doing it twice has the effect of once.
    case mayHaveRun
    /// Trying again gives the same answer.
    case permanent
}

/// An error that knows its ``RetrySafety``. Errors that do not are treated as ``RetrySafety/mayHaveRun``.
public protocol RetryClassifiedError: Error {
    var retry: RetrySafety { get }
}

extension Error {
    /// The error's own ``RetrySafety``, or the careful assumption.
    public var retrySafety: RetrySafety { (self as? any RetryClassifiedError)?.retry ?? .mayHaveRun }
}
