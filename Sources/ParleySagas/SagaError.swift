public import ParleyCore

/// A failure of the saga engine: what, in which saga, and what to do about it.
public struct SagaError: RetryClassifiedError, CustomStringConvertible {
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Kind: String {
            case invalidDefinition, unsafeDefinition, unknownDefinition, unknownSaga, unknownState, missingAction,
                unknownEvent
            case notAllowed, corrupt, conflict
        }

        private let kind: Kind
        public var description: String { self.kind.rawValue }

        /// The JSON is no saga definition.
        public static let invalidDefinition = Code(kind: .invalidDefinition)
        /// The linter found errors in the definition.
        public static let unsafeDefinition = Code(kind: .unsafeDefinition)
        /// No definition of this name is registered.
        public static let unknownDefinition = Code(kind: .unknownDefinition)
        public static let unknownSaga = Code(kind: .unknownSaga)
        /// The instance's pinned definition has no such state.
        public static let unknownState = Code(kind: .unknownState)
        /// The choreography, or its instance, has no such event.
        public static let unknownEvent = Code(kind: .unknownEvent)
        /// A definition names an action that is not registered in this process.
        public static let missingAction = Code(kind: .missingAction)
        /// The saga's status does not allow this.
        public static let notAllowed = Code(kind: .notAllowed)
        /// What the store holds cannot be read.
        public static let corrupt = Code(kind: .corrupt)
        /// Somebody else changed the saga at the same time; look again.
        public static let conflict = Code(kind: .conflict)
    }

    public var code: Code
    public var message: String
    public var retry: RetrySafety
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, retry: RetrySafety = .permanent, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.retry = retry
        self.cause = cause
    }

    public var description: String { "\(self.code): \(self.message)" + (self.cause.map { " (\($0))" } ?? "") }
}
