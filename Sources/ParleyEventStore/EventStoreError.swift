public import ParleyCore

/// A failure of an event store: what, in which stream, whether trying again is safe, and what to do.
public struct EventStoreError: RetryClassifiedError, CustomStringConvertible {
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Kind: String {
            case wrongVersion, partialOverlap, invalidEvent, tooLarge, corrupt, unavailable, unsupported, closed
        }

        private let kind: Kind
        public var description: String { self.kind.rawValue }

        /// The stream is not at the expected version; ``EventStoreError/currentVersion`` says where it is.
        public static let wrongVersion = Code(kind: .wrongVersion)
        /// Some of the ids are in the stream already, but not all of them, in this order and side by side.
        public static let partialOverlap = Code(kind: .partialOverlap)
        /// An id, a type or the metadata is not of the form that stores take, or an id stands twice in one append.
        public static let invalidEvent = Code(kind: .invalidEvent)
        /// More than the store's ``EventStoreLimits``.
        public static let tooLarge = Code(kind: .tooLarge)
        /// What the store holds cannot be read.
        public static let corrupt = Code(kind: .corrupt)
        /// The store cannot be reached at the moment, or refuses work; `cause` says why.
        public static let unavailable = Code(kind: .unavailable)
        /// This store cannot do that.
        public static let unsupported = Code(kind: .unsupported)
        /// The store has been shut down.
        public static let closed = Code(kind: .closed)
    }

    public var code: Code
    public var stream: StreamName?
    /// What happened and what to do about it.
    public var message: String
    /// The stream's version when the append was refused; for ``Code/wrongVersion`` and ``Code/partialOverlap``.
    public var currentVersion: Int64?
    /// Appending the same events again is safe whatever this says: their ids are what makes it so.
    public var retry: RetrySafety
    public var cause: (any Error)?

    public init(
        _ code: Code,
        stream: StreamName? = nil,
        _ message: String,
        currentVersion: Int64? = nil,
        retry: RetrySafety = .permanent,
        cause: (any Error)? = nil
    ) {
        self.code = code
        self.stream = stream
        self.message = message
        self.currentVersion = currentVersion
        self.retry = retry
        self.cause = cause
    }

    public var description: String {
        "\(self.code): " + (self.stream.map { "\($0): " } ?? "") + self.message + (self.cause.map { " (\($0))" } ?? "")
    }
}

extension EventStoreError {
    /// The refusals that every store words the same.
    package static func wrongVersion(
        _ stream: StreamName,
        expected: ExpectedVersion,
        current: Int64
    ) -> EventStoreError {
        EventStoreError(
            .wrongVersion,
            stream: stream,
            "the stream is at version \(current), expected was \(expected); read what is new and decide again",
            currentVersion: current
        )
    }

    package static func partialOverlap(_ stream: StreamName, current: Int64) -> EventStoreError {
        EventStoreError(
            .partialOverlap,
            stream: stream,
            "some of the ids are in the stream already, but not all of them, in this order and side by side; "
                + "a repetition must have the events of its first try, and other events need ids of their own",
            currentVersion: current
        )
    }
}
