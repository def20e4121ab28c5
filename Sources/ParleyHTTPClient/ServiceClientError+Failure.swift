internal import ParleyCore
internal import ParleyResilience

extension ServiceClientError {
    /// What the policy made of a call, in the words of this client.
    init(_ failure: CallFailure, service: ServiceName) {
        if failure.kind == .attemptFailed, let error = failure.cause as? ServiceClientError {
            self = error
        } else {
            let (code, message) = Self.words(for: failure, service: service)
            self.init(code, message, service: service, retry: failure.retry, cause: failure.cause)
        }
        self.attempts = failure.attempts
        // One try that may have been carried out decides for all of them.
        self.retry = failure.retry
        self.retryAfter = failure.retryAfter
        self.explanation = failure.explanation
    }

    private static func words(for failure: CallFailure, service: ServiceName) -> (Code, String) {
        let wait = failure.retryAfter.map { " Come back in \(max(1, $0.inMilliseconds)) ms." } ?? ""
        switch failure.kind {
        case .attemptFailed:
            return (.connectionLost, "The call to \(service) failed: \(failure.cause.map { "\($0)" } ?? "unknown")")
        case .deadlinePassed:
            return (.deadlinePassed, "The deadline passed before \(service) was called; nothing was sent.")
        case .nobody:
            return (
                .noInstance,
                "No instance of \(service) is registered now. Is it running, is its name spelled like this, and does "
                    + "it pass its health checks?"
            )
        case .resolverFailed:
            return (
                .resolverFailed,
                "The instances of \(service) could not be looked up: \(failure.cause.map { "\($0)" } ?? "unknown")"
            )
        case .unavailable:
            let list = failure.explanation.considered.map { "\($0.instance) is \($0.standing.rawValue)" }
            return (
                .instancesUnavailable,
                "All \(failure.explanation.instances) instances of \(service) have failed lately or were taken out, so "
                    + "none was asked: \(list.joined(separator: ", ")).\(wait)"
            )
        case .tooManyCalls:
            return (
                .tooManyCalls,
                "As many calls to \(service) are under way as its bulkhead lets through, and this one has waited long "
                    + "enough, or too many wait already. Is \(service) slow, or is the limit too low?"
            )
        case .rateLimited:
            return (.rateLimited, "The rate limit for calls to \(service) is reached.\(wait)")
        }
    }
}
