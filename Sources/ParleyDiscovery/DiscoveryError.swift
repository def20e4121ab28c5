public import ParleyCore

/// Why a resolver or a registrar could not do its work.
public struct DiscoveryError: RetryClassifiedError, Sendable, CustomStringConvertible {
    /// What kind of failure it is.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Value: String {
            case registryUnavailable, registryFull, invalidInstance, invalidConfiguration
        }

        private let value: Value

        private init(_ value: Value) { self.value = value }

        /// The registry could not be asked.
        public static let registryUnavailable = Code(.registryUnavailable)
        /// The registry holds as many instances as it may.
        public static let registryFull = Code(.registryFull)
        /// The instance cannot be registered as it is.
        public static let invalidInstance = Code(.invalidInstance)
        /// The resolver cannot work as it is configured.
        public static let invalidConfiguration = Code(.invalidConfiguration)

        public var description: String { self.value.rawValue }
    }

    public var code: Code
    /// What happened and what to do about it.
    public var message: String
    /// Resolving and registering send nothing to the service itself.
    public var retry: RetrySafety
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, retry: RetrySafety, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.retry = retry
        self.cause = cause
    }

    public var description: String { "DiscoveryError(\(self.code)): \(self.message)" }
}
