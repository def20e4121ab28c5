public import GRPCCore
public import ParleyCore
public import ParleyResilience

/// Why a call over gRPC gave no answer, or a status other than `OK`.
///
/// ``retry`` is about the *whole* call: it is `notSent` only if no try of it can have reached the service.
public struct GRPCCallError: RetryClassifiedError, Sendable, CustomStringConvertible {
    /// What kind of failure it is.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Value: String {
            case noInstance, noInstanceAvailable, resolverFailed, connectFailed, deadlinePassed, status, tooManyCalls
            case rateLimited, wrongInstance, invalidSecurity, shutDown
        }

        private let value: Value

        private init(_ value: Value) { self.value = value }

        /// The resolver knows no instance of the service.
        public static let noInstance = Code(.noInstance)
        /// There are instances, and breakers, ejections or operators keep all of them from being called.
        public static let noInstanceAvailable = Code(.noInstanceAvailable)
        /// The resolver could not find out which instances there are.
        public static let resolverFailed = Code(.resolverFailed)
        /// No connection could be opened.
        public static let connectFailed = Code(.connectFailed)
        /// The deadline had passed before anybody was asked.
        public static let deadlinePassed = Code(.deadlinePassed)
        /// The call ended with a status that is not `OK`; see ``GRPCCallError/status``.
        public static let status = Code(.status)
        /// Too many calls to the service are under way, or all connections of the client are in use.
        public static let tooManyCalls = Code(.tooManyCalls)
        /// The client's own rate limit is reached.
        public static let rateLimited = Code(.rateLimited)
        /// Another instance answered than the one that was meant: the registry is out of date.
        public static let wrongInstance = Code(.wrongInstance)
        /// The client's certificate, key or trust roots cannot be used.
        public static let invalidSecurity = Code(.invalidSecurity)
        /// The client has been shut down.
        public static let shutDown = Code(.shutDown)

        public var description: String { self.value.rawValue }
    }

    public var code: Code
    /// What happened, where, and what to do next.
    public var message: String
    public var service: ServiceName
    /// The instance of the last try.
    public var endpoint: Endpoint?
    /// What the call ended with, when it was begun.
    public var status: RPCError?
    public var retry: RetrySafety
    /// When it makes sense to come back, if that is known.
    public var retryAfter: Duration?
    /// How many tries were made.
    public var attempts: Int
    /// Who was asked, what came of it, and why it ended there.
    public var explanation: CallExplanation

    public var description: String {
        let tries = self.attempts > 1 ? " (after \(self.attempts) tries)" : ""
        return "GRPCCallError(\(self.code)): \(self.message)\(tries)"
    }

    init(_ failure: CallFailure, service: ServiceName) {
        let cause = failure.cause as? GRPCAttemptFailure
        let status = cause?.status
        let place = failure.target.map { "\(service) at \($0.endpoint)" } ?? "\(service)"
        switch failure.kind {
        case .nobody:
            self.code = .noInstance
            self.message =
                "No instance of \(service) is registered now. Is it running, is its name spelled like this, and does "
                + "it pass its health checks?"
        case .unavailable:
            self.code = .noInstanceAvailable
            self.message =
                "Every instance of \(service) is taken out for now, because calls to it failed; nothing was sent."
        case .resolverFailed:
            self.code = .resolverFailed
            self.message = "The instances of \(service) could not be looked up: \(failure.cause.map { "\($0)" } ?? "")"
        case .deadlinePassed:
            self.code = .deadlinePassed
            self.message = "The deadline passed before \(service) was called; nothing was sent."
        case .tooManyCalls:
            self.code = .tooManyCalls
            self.message = "Too many calls to \(service) are under way; nothing was sent."
        case .rateLimited:
            self.code = .rateLimited
            self.message = "The rate limit for calls to \(service) is reached; nothing was sent."
        case .attemptFailed where failure.cause is GRPCServiceError:
            let error = failure.cause as? GRPCServiceError
            switch error?.code {
            case .tooManyConnections: self.code = .tooManyCalls
            case .invalidSecurity: self.code = .invalidSecurity
            default: self.code = .shutDown
            }
            self.message = error?.message ?? ""
        case .attemptFailed:
            if case .unsent(let error) = cause {
                self.code = .connectFailed
                self.message = "No connection to \(place) could be used: \(error.message)"
                break
            }
            if case .foreign(let named, _) = cause {
                self.code = .wrongInstance
                self.message =
                    "\(named ?? "A server that does not say who it is") answered in place of "
                    + "\(failure.target?.id ?? "?"), the instance of \(place). The "
                    + "registry's entry is out of date; the address has passed to another program."
                break
            }
            self.code = .status
            self.message = "\(place) answered \(status?.code.description ?? "an error"): \(status?.message ?? "")"
        }
        self.service = service
        self.endpoint = failure.target?.endpoint
        self.status = status
        self.retry = failure.retry
        self.retryAfter = failure.retryAfter
        self.attempts = failure.attempts
        self.explanation = failure.explanation
    }
}

extension GRPCCallError: ProblemConvertible {
    /// A service that fails because another one does is not itself broken: 503 when it may be tried again, 504 when
    /// time ran out, 502 otherwise. Addresses stay inside.
    public var problem: ProblemDetails {
        let status: Int
        let detail: String
        switch self.code {
        case .deadlinePassed: (status, detail) = (504, "\(self.service) did not answer in time.")
        case _ where self.status?.code == .deadlineExceeded:
            (status, detail) = (504, "\(self.service) did not answer in time.")
        case .status where self.status?.code != .unavailable && self.status?.code != .resourceExhausted, .wrongInstance:
            (status, detail) = (502, "\(self.service) gave no usable answer.")
        case .shutDown, .invalidSecurity: (status, detail) = (500, "\(self.service) could not be called.")
        default: (status, detail) = (503, "\(self.service) cannot be reached; try again later.")
        }
        return ProblemDetails(
            title: "Call to \(self.service) failed",
            status: status,
            detail: detail,
            code: "upstream_\(self.code)",
            extra: ["service": self.service.description]
        )
    }
}

/// How a try failed.
enum GRPCAttemptFailure: Error {
    /// Before there was a connection to send it on.
    case unsent(RPCError)
    /// Later; it may have been carried out.
    case status(RPCError)
    /// Another instance than the one that was meant answered, or one that does not say who it is, and perhaps refused
    /// to do anything.
    case foreign(named: String?, isRefused: Bool)
    /// The caller's closure threw something of its own.
    case other(any Error)

    var status: RPCError? {
        switch self {
        case .unsent(let error), .status(let error): error
        case .foreign, .other: nil
        }
    }
}
