public import ParleyCore

/// A failure of Consul's HTTP API: what was asked where, why it failed, and what to do. Never holds a token.
public struct ConsulError: RetryClassifiedError, Sendable, CustomStringConvertible {
    /// What kind of failure it is.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Kind: String {
            case invalidConfiguration, refused, forbidden, notFound, unavailable, timedOut, invalidAnswer
            case answerTooLarge, closed
        }

        private let kind: Kind
        public var description: String { self.kind.rawValue }

        /// An address, a certificate or another setting cannot be used.
        public static let invalidConfiguration = Code(kind: .invalidConfiguration)
        /// Consul does not take the request as it is; ``ConsulError/reason`` has its words.
        public static let refused = Code(kind: .refused)
        /// The token is missing, unknown, or may not do this.
        public static let forbidden = Code(kind: .forbidden)
        /// The service, check or path is not known to this agent.
        public static let notFound = Code(kind: .notFound)
        /// The agent cannot be reached, broke off, or has no leader.
        public static let unavailable = Code(kind: .unavailable)
        /// No whole answer came in time.
        public static let timedOut = Code(kind: .timedOut)
        /// What answers there is not Consul's API.
        public static let invalidAnswer = Code(kind: .invalidAnswer)
        /// An answer over ``ConsulConfiguration/maximumAnswerBytes``.
        public static let answerTooLarge = Code(kind: .answerTooLarge)
        /// The client has been shut down.
        public static let closed = Code(kind: .closed)
    }

    public var code: Code
    /// What happened, to what, and what to do.
    public var message: String
    /// Reading twice does no harm, so a read that failed on the way is `notSent`.
    public var retry: RetrySafety
    /// The HTTP status, where there was an answer.
    public var status: Int?
    /// Consul's own words, where it gave some; at most 500 characters.
    public var reason: String?
    public var cause: (any Error)?

    public init(
        _ code: Code,
        _ message: String,
        retry: RetrySafety = .permanent,
        status: Int? = nil,
        reason: String? = nil,
        cause: (any Error)? = nil
    ) {
        self.code = code
        self.message = message
        self.retry = retry
        self.status = status
        self.reason = reason
        self.cause = cause
    }

    public var description: String {
        "ConsulError(\(self.code)): \(self.message)" + (self.cause.map { " (\($0))" } ?? "")
    }
}

extension ConsulError {
    /// What an answer that is no success means.
    ///
    /// Consul answers many things with 500 that are not its own fault, and older agents more than newer ones; only the
    /// text tells them apart.
    ///
    /// - Parameters:
    ///   - what: Method and path, with the agent's address.
    ///   - isRead: Whether doing it twice is the same as once.
    init(status: Int, text: String, what: String, isRead: Bool) {
        let reason = String(text.split(whereSeparator: \.isWhitespace).joined(separator: " ").prefix(500))
        let (code, advice) = Self.meaning(of: status, reason)
        let retry: RetrySafety = code == .unavailable ? (isRead || status == 429 ? .notSent : .mayHaveRun) : .permanent
        self.init(
            code,
            "\(what) is answered \(status)" + (reason.isEmpty ? "" : " (\(reason))") + ": \(advice)",
            retry: retry,
            status: status,
            reason: reason.isEmpty ? nil : reason
        )
    }

    private static let wrongToken = ["Permission denied", "ACL not found", "token does not exist", "lacks permission"]
    private static let unknownThing = [
        "does not have associated TTL", "Unknown check", "Unknown service", "unknown service", "does not exist",
    ]
    private static let wrongRequest = [
        "No path to datacenter", "boolean expression", "Scripts are disabled", "ServiceID missing", "CheckID missing",
    ]

    private static func meaning(of status: Int, _ reason: String) -> (Code, String) {
        func says(_ texts: [String]) -> Bool { texts.contains { reason.contains($0) } }
        switch status {
        case 401, 403:
            return (.forbidden, "give the client a token that may do this")
        case 404:
            return (.notFound, "this agent does not know it; register it, and with the agent that is asked")
        case 429:
            return (.unavailable, "the agent has too much to do; wait, then try again")
        case 500... where says(Self.wrongToken):
            return (.forbidden, "give the client a token that may do this")
        case 500... where says(Self.unknownThing):
            return (.notFound, "this agent does not know it; register it, and with the agent that is asked")
        case 500... where says(Self.wrongRequest):
            return (.refused, "mend the request")
        case 500...:
            return (.unavailable, "Consul itself fails, perhaps until it has a leader again; try again")
        case 300..<400:
            return (.invalidAnswer, "Consul's API redirects nowhere: check host and port (8500 by default)")
        default:
            return (.refused, "mend the request")
        }
    }
}
