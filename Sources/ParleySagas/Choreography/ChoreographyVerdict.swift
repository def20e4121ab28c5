public import ParleyCore

/// What is to be said about an instance at a moment.
public struct ChoreographyVerdict: Sendable, Hashable {
    public var status: ChoreographyStatus
    /// Why it is late or stuck, in words for people.
    public var reason: String?
    /// What must follow now: the legal next events, the one that is due first at the beginning.
    public var awaited: [Awaited]
    /// Every event that may still come, nearest first: the remaining steps. Alternatives are all listed.
    public var remaining: [String]
    public var effects: [Effect]
    public var findings: [ChoreographyFinding]
    /// Each event below the one that caused it.
    public var timeline: [TimelineEntry]
    /// When time alone will change the status.
    public var nextChange: Timestamp?

    /// One of some events, from somebody, until some time.
    public struct Awaited: Sendable, Hashable {
        public var oneOf: [String]
        /// The services that can say them.
        public var from: [String]
        /// The event that it is to follow; `nil` when the beginning itself has not been seen.
        public var after: String?
        /// The message of ``after``.
        public var afterMessage: String?
        /// When ``after`` happened.
        public var since: Timestamp
        /// Counted from when the monitor saw ``after``.
        public var dueAt: Timestamp?
        public var isLate: Bool
    }

    /// What an event has left in the world.
    public struct Effect: Sendable, Hashable {
        public enum Status: String, Sendable, Hashable, Codable {
            /// It is there, and the instance has not ended.
            case outstanding
            /// It has been taken back.
            case undone
            /// It is there to stay: the instance ended in success.
            case kept
        }

        public var event: String
        public var status: Status

        public init(event: String, status: Status) {
            self.event = event
            self.status = status
        }
    }

    /// One event in the tree of causes.
    public struct TimelineEntry: Sendable, Hashable {
        public var event: String
        /// The messages that said it; the first is the original, the others repetitions.
        public var messageIDs: [String]
        public var source: String
        public var at: Timestamp
        /// The position in the timeline of the event that caused it.
        public var cause: Int?
        /// How deep in the tree it stands; 0 for a beginning.
        public var depth: Int
        /// The operator who said it, if it was one.
        public var injectedBy: String?
        /// Whether the cause is a guess from the declaration, because the message does not name one that was seen.
        public var isCauseInferred: Bool
    }
}

/// Something that is not as declared.
public struct ChoreographyFinding: Sendable, Hashable {
    /// What kind of thing; stable, for scripts.
    public struct Kind: Sendable, Hashable, CustomStringConvertible {
        public let description: String

        /// It came, after its time.
        public static let late = Kind(description: "late")
        /// It has not come, and its time is long over; or it had not come when the instance ended in success.
        public static let missing = Kind(description: "missing")
        /// Nothing leads to it, or what it follows does not lead to it.
        public static let unexpected = Kind(description: "unexpected")
        /// Two answers to what allows one, or two different ends.
        public static let contradiction = Kind(description: "contradiction")
        /// It was said again as another message, and no operator asked for that.
        public static let repeated = Kind(description: "repeated")
        /// It happened more often than declared.
        public static let tooOften = Kind(description: "too often")
        /// It happened when the instance was over.
        public static let afterEnd = Kind(description: "after the end")
        /// Its effect is in the world although the instance ended without success.
        public static let outstanding = Kind(description: "outstanding")
        /// The same message was delivered more than once. Harmless.
        public static let duplicate = Kind(description: "duplicate")
        /// It was seen before its cause. Harmless.
        public static let outOfOrder = Kind(description: "out of order")
        /// There were more events than are kept.
        public static let dropped = Kind(description: "dropped")
    }

    public var kind: Kind
    public var event: String
    public var messageID: String?
    public var message: String
    /// Whether it says how messages travelled, and nothing about what happened: it depends on the order of arrival.
    public var isAboutDelivery: Bool { [.duplicate, .outOfOrder].contains(self.kind) }
}
