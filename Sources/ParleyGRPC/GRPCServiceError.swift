public import ParleyCore

/// Why a gRPC server could not serve, or a call could not be made at all. What a call itself answers is an `RPCError`.
public struct GRPCServiceError: RetryClassifiedError, Sendable, CustomStringConvertible {
    /// What kind of failure it is.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Value: String {
            case cannotListen, invalidSecurity, invalidDescriptors, tooManyConnections, shutDown
        }

        private let value: Value

        private init(_ value: Value) { self.value = value }

        /// The address cannot be listened on: in use, not this machine's, no permission.
        public static let cannotListen = Code(.cannotListen)
        /// A certificate or a key cannot be read, or they do not belong together.
        public static let invalidSecurity = Code(.invalidSecurity)
        /// What reflection was to tell is not a set of protobuf file descriptors.
        public static let invalidDescriptors = Code(.invalidDescriptors)
        /// Every connection that the client may have is in use.
        public static let tooManyConnections = Code(.tooManyConnections)
        /// It has been shut down.
        public static let shutDown = Code(.shutDown)

        public var description: String { self.value.rawValue }
    }

    public var code: Code
    /// What happened, where, and what to do next.
    public var message: String
    public var retry: RetrySafety
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, retry: RetrySafety = .permanent, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.retry = retry
        self.cause = cause
    }

    public var description: String { "GRPCServiceError(\(self.code)): \(self.message)" }
}
