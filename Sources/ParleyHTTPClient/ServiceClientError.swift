public import ParleyCore
public import ParleyResilience

/// Why a call to a service gave no answer, or not the answer that was asked for.
///
/// ``retry`` is about the *whole* call: it is `notSent` only if no try of it can have reached the service.
public struct ServiceClientError: RetryClassifiedError, Sendable, CustomStringConvertible {
    /// What kind of failure it is.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Value: String {
            case noInstance, resolverFailed, connectFailed, timedOut, deadlinePassed, connectionLost, invalidResponse
            case responseTooLarge, invalidRequest, unexpectedStatus, undecodableBody, shutDown
            case instancesUnavailable, tooManyCalls, rateLimited, wrongInstance
        }

        private let value: Value

        private init(_ value: Value) { self.value = value }

        /// The resolver knows no instance of the service that can be called now.
        public static let noInstance = Code(.noInstance)
        /// The resolver could not find out which instances there are.
        public static let resolverFailed = Code(.resolverFailed)
        /// No connection could be opened: refused, unknown host, no answer within the connect timeout.
        public static let connectFailed = Code(.connectFailed)
        /// A try took longer than `attemptTimeout`.
        public static let timedOut = Code(.timedOut)
        /// The deadline of the call passed.
        public static let deadlinePassed = Code(.deadlinePassed)
        /// The connection broke after the request may have been sent.
        public static let connectionLost = Code(.connectionLost)
        /// What came back is not HTTP.
        public static let invalidResponse = Code(.invalidResponse)
        /// The body of the answer is larger than `maxResponseBytes`.
        public static let responseTooLarge = Code(.responseTooLarge)
        /// The request cannot be sent as it is.
        public static let invalidRequest = Code(.invalidRequest)
        /// The service answered with another status than the caller accepts; see ``ServiceClientError/response``.
        public static let unexpectedStatus = Code(.unexpectedStatus)
        /// The body of the answer is not what the caller wants to read; see ``ServiceClientError/response``.
        public static let undecodableBody = Code(.undecodableBody)
        /// The client has been shut down.
        public static let shutDown = Code(.shutDown)
        /// There are instances, and none may be called now: their breakers are open, or they were taken out by hand.
        /// Nothing was sent; ``ServiceClientError/retryAfter`` says when one may be called again.
        public static let instancesUnavailable = Code(.instancesUnavailable)
        /// More calls to the service are under way than the policy's bulkhead lets through.
        public static let tooManyCalls = Code(.tooManyCalls)
        /// The policy's rate limit is reached.
        public static let rateLimited = Code(.rateLimited)
        /// Somebody else answers at the address of the instance, or (if the policy requires it) the answer does not say
        /// whose it is. The answer was thrown away.
        public static let wrongInstance = Code(.wrongInstance)

        public var description: String { self.value.rawValue }
    }

    public var code: Code
    /// What happened, where, and what to do next.
    public var message: String
    public var service: ServiceName
    /// The instance of the last try.
    public var endpoint: Endpoint?
    public var retry: RetrySafety
    /// How many tries were made.
    public var attempts: Int
    /// The answer, when there was one.
    public var response: ServiceResponse?
    /// When it makes sense to come back, if that is known.
    public var retryAfter: Duration?
    /// How the call went; empty for one that could not be begun.
    public var explanation: CallExplanation
    public var cause: (any Error)?

    public init(
        _ code: Code,
        _ message: String,
        service: ServiceName,
        endpoint: Endpoint? = nil,
        retry: RetrySafety,
        attempts: Int = 0,
        response: ServiceResponse? = nil,
        explanation: CallExplanation? = nil,
        cause: (any Error)? = nil
    ) {
        self.code = code
        self.message = message
        self.service = service
        self.endpoint = endpoint
        self.retry = retry
        self.attempts = attempts
        self.response = response
        self.retryAfter = nil
        self.explanation = explanation ?? CallExplanation(service: service.description, stop: .permanent)
        self.cause = cause
    }

    public var description: String {
        let tries = self.attempts > 1 ? " (after \(self.attempts) tries)" : ""
        return "ServiceClientError(\(self.code)): \(self.message)\(tries)"
    }
}

extension ServiceClientError: ProblemConvertible {
    /// A service that fails because another one does is not itself broken: 503 when it may be tried again, 504 when
    /// time ran out, 502 otherwise. Addresses stay inside.
    public var problem: ProblemDetails {
        let status: Int
        let detail: String
        switch self.code {
        case .noInstance, .resolverFailed, .connectFailed, .instancesUnavailable, .tooManyCalls, .rateLimited:
            (status, detail) = (503, "\(self.service) cannot be reached; try again later.")
        case .timedOut, .deadlinePassed:
            (status, detail) = (504, "\(self.service) did not answer in time.")
        case .invalidRequest, .shutDown:
            (status, detail) = (500, "\(self.service) could not be called.")
        default:
            (status, detail) = (502, "\(self.service) gave no usable answer.")
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
