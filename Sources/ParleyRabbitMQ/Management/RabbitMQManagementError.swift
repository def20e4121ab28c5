public import ParleyCore

/// A failure of the management API: what was asked where, why it failed, and what to do. Never holds a password.
public struct RabbitMQManagementError: RetryClassifiedError, CustomStringConvertible {
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Kind: String {
            case invalidAddress, cannotConnect, wrongCredentials, forbidden, notFound, inequivalent, refused
            case timedOut, connectionLost, notManagement, answerTooLarge, unavailable, notEmpty, closed
        }

        private let kind: Kind
        public var description: String { self.kind.rawValue }

        /// The address is no `http://user:password@host:port`.
        public static let invalidAddress = Code(kind: .invalidAddress)
        /// Nobody listens there, or the name has no address, or TLS fails.
        public static let cannotConnect = Code(kind: .cannotConnect)
        /// User or password is wrong.
        public static let wrongCredentials = Code(kind: .wrongCredentials)
        /// The user is known and lacks a tag (`administrator`, `management`) or a permission.
        public static let forbidden = Code(kind: .forbidden)
        /// The virtual host, exchange, queue or other thing is not there.
        public static let notFound = Code(kind: .notFound)
        /// It is there with other settings, which cannot be changed.
        public static let inequivalent = Code(kind: .inequivalent)
        /// The broker refuses for another reason, which it gives.
        public static let refused = Code(kind: .refused)
        /// No answer within ``RabbitMQManagementConfiguration/requestTimeout``.
        public static let timedOut = Code(kind: .timedOut)
        /// The connection broke before the answer was there.
        public static let connectionLost = Code(kind: .connectionLost)
        /// What answers there is not RabbitMQ's management API.
        public static let notManagement = Code(kind: .notManagement)
        /// An answer over ``RabbitMQManagementConfiguration/maximumAnswerBytes`` or
        /// ``RabbitMQManagementConfiguration/maximumItems``.
        public static let answerTooLarge = Code(kind: .answerTooLarge)
        /// The broker is there and fails (5xx).
        public static let unavailable = Code(kind: .unavailable)
        /// A queue that was to be deleted holds messages.
        public static let notEmpty = Code(kind: .notEmpty)
        /// The client has been shut down.
        public static let closed = Code(kind: .closed)
    }

    public var code: Code
    /// What happened, to what, and what to do.
    public var message: String
    public var retry: RetrySafety
    /// The HTTP status, where there was an answer.
    public var status: Int?
    /// The broker's own words, where it gave some.
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
        "\(self.code): \(self.message)" + (self.cause.map { " (\($0))" } ?? "")
    }
}

extension RabbitMQManagementError {
    /// What a refusal of the broker means.
    ///
    /// RabbitMQ answers 401 to a wrong password and to a lacking right alike; only its reason tells them apart.
    ///
    /// - Parameter what: Method and path, with the server's address.
    init(status: Int, reason: String, user: String, what: String) {
        let (code, advice, retry): (Code, String, RetrySafety) =
            switch status {
            case 401, 403: Self.refusal(status, reason, user)
            case 404:
                (.notFound, "it is not there: create it first, and look at the spelling of its name", .permanent)
            case 400 where reason.contains("inequivalent arg"):
                (.inequivalent, "it exists with other settings: use those, or replace it", .permanent)
            case 500...:
                (.unavailable, "look into the broker's log, and try again", .mayHaveRun)
            default: (.refused, "mend the request", .permanent)
            }
        let said = reason.isEmpty ? "" : " (\(Self.oneLine(reason)))"
        self.init(
            code,
            "\(what) is answered \(status)\(said): \(advice)",
            retry: retry,
            status: status,
            reason: reason.isEmpty ? nil : reason
        )
    }

    private static func refusal(_ status: Int, _ reason: String, _ user: String) -> (Code, String, RetrySafety) {
        let text = reason.lowercased()
        if text.contains("login failed") || (status == 401 && text.isEmpty) {
            return (.wrongCredentials, "the user '\(user)' or its password is wrong", .permanent)
        }
        let advice: String
        let grant = #"rabbitmqctl set_permissions -p VHOST \#(user) ".*" ".*" ".*""#
        if text.contains("not management user") {
            advice = "the user '\(user)' needs a tag: rabbitmqctl set_user_tags \(user) management"
        } else if text.contains("not administrator") {
            advice = "this needs a user with the tag 'administrator', which '\(user)' has not"
        } else if text.contains("access virtual host") {
            advice = "the user '\(user)' has no permissions on the virtual host: \(grant)"
        } else if text.contains("localhost") {
            advice = "the user '\(user)' may log in from the broker's own machine only: use another user"
        } else {
            advice = "the user '\(user)' lacks a permission (configure, write or read) on the virtual host: \(grant)"
        }
        return (.forbidden, advice, .permanent)
    }

    /// The broker breaks some reasons over lines.
    private static func oneLine(_ text: String) -> String {
        String(text.split(whereSeparator: \.isWhitespace).joined(separator: " ").prefix(500))
    }
}
