public import ParleyCore

/// Why a registry could not begin.
public struct RegistryError: RetryClassifiedError, Sendable, CustomStringConvertible {
    /// What kind of failure it is.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Value: String {
            case invalidConfiguration, unreadableStore
        }

        private let value: Value

        private init(_ value: Value) { self.value = value }

        /// The configuration cannot work on any machine.
        public static let invalidConfiguration = Code(.invalidConfiguration)
        /// The file holds what this program cannot read.
        public static let unreadableStore = Code(.unreadableStore)

        public var description: String { self.value.rawValue }
    }

    public var code: Code
    /// What happened, where, and what to do about it.
    public var message: String
    public var retry: RetrySafety { .permanent }
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    public var description: String { "RegistryError(\(self.code)): \(self.message)" }
}
