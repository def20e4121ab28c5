public import ParleyCore

/// A failure of the bus: what happened, to what, whether trying again is safe, and what to do about it.
public struct MessagingError: RetryClassifiedError, CustomStringConvertible {
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Kind: String {
            case invalidTopic, invalidPattern, invalidMessage, invalidGroup, unknownGroup, leaseLost, closed
            case unsupported, unavailable
        }

        private let kind: Kind
        public var description: String { self.kind.rawValue }

        /// A topic that is empty, longer than 255 bytes, or has an empty word or a wildcard.
        public static let invalidTopic = Code(kind: .invalidTopic)
        /// A binding pattern that is empty or longer than 255 bytes, or has an empty word.
        public static let invalidPattern = Code(kind: .invalidPattern)
        /// A message over a limit of the transport.
        public static let invalidMessage = Code(kind: .invalidMessage)
        /// A consumer group with a name, binding or limit out of range.
        public static let invalidGroup = Code(kind: .invalidGroup)
        /// A consumer group that nobody has declared.
        public static let unknownGroup = Code(kind: .unknownGroup)
        /// A settlement came after the lease was gone: the message was, or will be, delivered again.
        public static let leaseLost = Code(kind: .leaseLost)
        /// The transport has been shut down.
        public static let closed = Code(kind: .closed)
        /// The backend cannot do this; its capabilities say so.
        public static let unsupported = Code(kind: .unsupported)
        /// The backend cannot be reached or refuses for now.
        public static let unavailable = Code(kind: .unavailable)
    }

    public var code: Code
    /// What happened, to what, and what to do.
    public var message: String
    public var retry: RetrySafety
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, retry: RetrySafety, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.retry = retry
        self.cause = cause
    }

    public var description: String {
        "\(self.code): \(self.message)" + (self.cause.map { " (\($0))" } ?? "")
    }
}
