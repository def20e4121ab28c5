public import ParleyCore

/// What an operator can see of sagas, and mend: the same for both styles and for every store.
///
/// A saga is named by its id or by its business key (the order's id). Errors are `SagaError`: `unknownSaga` when no
/// saga has that name, `notAllowed` when it cannot be mended this way (the message says how it can).
public protocol SagaInspector: Sendable {
    /// Sagas, those that were edited by hand first, then the stuck ones, then the late ones, then by age.
    func sagas(matching query: SagaListQuery) async throws -> [SagaSummary]

    /// Everything there is to know about one.
    func saga(_ name: String) async throws -> SagaReport

    /// Mends one; who did it and why is kept with it for ever.
    ///
    /// - Parameter isDryRun: Whether to say only what would be done.
    func intervene(
        _ intervention: SagaIntervention,
        on name: String,
        by person: String,
        because reason: String,
        isDryRun: Bool
    ) async throws -> SagaInterventionReport
}

/// Which sagas to list.
public struct SagaListQuery: Sendable, Hashable {
    /// `running`, `late`, `stuck`, `edited`, `completed` or `failed`; a style or store that does not know a status has
    /// none in it. One that is `edited` is in no other.
    public var status: String?
    /// 1 to 1,000.
    public var limit: Int

    public init(status: String? = nil, limit: Int = 100) {
        self.status = status
        self.limit = min(1_000, max(1, limit))
    }
}

/// A means to mend a saga. Not every style and store has each.
public struct SagaIntervention: Sendable, Hashable {
    public struct Verb: Sendable, Hashable, CustomStringConvertible {
        public let description: String

        /// Sets the state by hand and goes on from there.
        public static let setState = Verb(description: "set-state")
        /// Tries the present step again, or says an event again.
        public static let replay = Verb(description: "replay")
        /// Says an event in its service's place.
        public static let inject = Verb(description: "inject")
        /// Has everything taken back.
        public static let compensate = Verb(description: "compensate")
        /// Takes over the state that somebody has set in the saga's hash.
        public static let accept = Verb(description: "accept")
        /// Puts the saga's hash back as it was before somebody edited it.
        public static let reject = Verb(description: "reject")
    }

    public var verb: Verb
    /// The state, or the event.
    public var target: String?
    /// The body of an injected event.
    public var data: [UInt8]?
    /// Whether it may be an event that does not follow.
    public var isForced: Bool

    public init(_ verb: Verb, _ target: String? = nil, data: [UInt8]? = nil, isForced: Bool = false) {
        self.verb = verb
        self.target = target
        self.data = data
        self.isForced = isForced
    }
}

/// What an intervention did, or would do.
public struct SagaInterventionReport: Sendable, Hashable, Encodable {
    public var saga: String
    public var intervention: String
    public var isDryRun: Bool
    /// In words for people.
    public var effects: [String]
    public var warnings: [String]

    private enum CodingKeys: String, CodingKey {
        case saga, intervention, effects, warnings
        case isDryRun = "dryRun"
    }
}

/// One saga in a list.
public struct SagaSummary: Sendable, Hashable, Encodable {
    public enum Style: String, Sendable, Hashable, Encodable {
        /// A coordinator leads it.
        case orchestration
        /// Its services lead each other.
        case choreography
    }

    public var id: String
    public var type: String
    public var style: Style
    public var businessKey: String
    public var status: String
    /// The state it is in; a choreography has none.
    public var state: String?
    /// Why it turned back, or what it waits for.
    public var reason: String?
    /// When time or a new try will move it.
    public var dueAt: Timestamp?
    public var createdAt: Timestamp
    public var updatedAt: Timestamp

    private enum CodingKeys: String, CodingKey {
        case id, type, style, businessKey, status, state, reason, dueAt, createdAt, updatedAt
    }

    /// Every key, always: a script need not ask whether it is there.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.id, forKey: .id)
        try container.encode(self.type, forKey: .type)
        try container.encode(self.style, forKey: .style)
        try container.encode(self.businessKey, forKey: .businessKey)
        try container.encode(self.status, forKey: .status)
        try container.encode(self.state, forKey: .state)
        try container.encode(self.reason, forKey: .reason)
        try container.encode(self.dueAt, forKey: .dueAt)
        try container.encode(self.createdAt, forKey: .createdAt)
        try container.encode(self.updatedAt, forKey: .updatedAt)
    }

    /// What needs a person comes first.
    static func comesFirst(_ lhs: SagaSummary, _ rhs: SagaSummary) -> Bool {
        func rank(_ saga: SagaSummary) -> Int { ["edited", "stuck", "late"].firstIndex(of: saga.status) ?? 3 }
        return (rank(lhs), lhs.createdAt, lhs.id) < (rank(rhs), rhs.createdAt, rhs.id)
    }
}

/// One saga, whole.
public struct SagaReport: Sendable, Hashable, Encodable {
    /// What happened, oldest first; of a choreography as a tree of causes.
    public struct Line: Sendable, Hashable, Encodable {
        public var at: Timestamp
        public var what: String
        /// How deep in the tree.
        public var depth: Int
        public var who: String?
        public var detail: String?
        /// The messages that said it.
        public var messages: [String]
    }

    public struct Effect: Sendable, Hashable, Encodable {
        public var what: String
        public var status: String
    }

    public struct Finding: Sendable, Hashable, Encodable {
        public var kind: String
        public var message: String
    }

    /// What must come next.
    public struct Awaited: Sendable, Hashable, Encodable {
        public var oneOf: [String]
        public var from: [String]
        public var dueAt: Timestamp?
        public var isLate: Bool

        private enum CodingKeys: String, CodingKey {
            case oneOf, from, dueAt
            case isLate = "late"
        }
    }

    /// What operators did.
    public struct Intervention: Sendable, Hashable, Encodable {
        public var at: Timestamp
        public var kind: String
        public var by: String
        public var because: String
        public var events: [String]
    }

    /// What somebody has changed in the hash that shows the saga, see `SagaEdit`.
    public struct Edit: Sendable, Hashable, Encodable {
        /// One field that is not as the store wrote it; `null` where there is none.
        public struct Change: Sendable, Hashable, Encodable {
            public var field: String
            public var stored: String?
            public var edited: String?

            private enum CodingKeys: String, CodingKey { case field, stored, edited }

            public func encode(to encoder: any Encoder) throws {
                var container = encoder.container(keyedBy: CodingKeys.self)
                try container.encode(self.field, forKey: .field)
                try container.encode(self.stored, forKey: .stored)
                try container.encode(self.edited, forKey: .edited)
            }
        }

        /// The hash: `saga:order:123`.
        public var key: String
        /// What is there now: `hash`, `nothing`, or something that belongs to somebody else.
        public var content: String
        public var changes: [Change]
        /// Who made the last step before the edit, and when; the store does not know who edited.
        public var storedBy: String?
        public var storedAt: Timestamp
        /// When the edit was noticed; of a saga that had ended it is not kept.
        public var noticedAt: Timestamp?

        private enum CodingKeys: String, CodingKey { case key, content, changes, storedBy, storedAt, noticedAt }

        public func encode(to encoder: any Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(self.key, forKey: .key)
            try container.encode(self.content, forKey: .content)
            try container.encode(self.changes, forKey: .changes)
            try container.encode(self.storedBy, forKey: .storedBy)
            try container.encode(self.storedAt, forKey: .storedAt)
            try container.encode(self.noticedAt, forKey: .noticedAt)
        }
    }

    public var saga: SagaSummary
    /// Empty, or the one edit that waits for a decision.
    public var edits: [Edit] = []
    public var timeline: [Line]
    public var effects: [Effect]
    public var findings: [Finding]
    public var awaited: [Awaited]
    /// The steps that may still come, nearest first.
    public var remaining: [String]
    public var interventions: [Intervention]
    /// What to run next, ready to be copied; without the options that say where the saga is.
    public var commands: [String]
}
