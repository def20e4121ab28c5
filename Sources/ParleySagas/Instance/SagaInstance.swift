public import ParleyCore

/// How a saga stands.
public enum SagaStatus: String, Sendable, Hashable, Codable {
    /// On its way, forward or back.
    case running
    /// It cannot go on by itself: an undo keeps failing, an outcome stays unknown, or the definition leads nowhere. Its
    /// outstanding effects are kept, it is tried again slowly, and a person should look.
    case stuck
    /// Ended in a success terminal.
    case completed
    /// Ended without success, with every effect undone.
    case failed

    public var isTerminal: Bool { self == .completed || self == .failed }
}

/// What one visit to a state has done in the world.
public struct SagaEffect: Sendable, Hashable, Codable {
    public enum Status: String, Sendable, Hashable, Codable {
        /// The action succeeded.
        case applied
        /// The action may have run: its outcome never became known.
        case maybe
        /// The action was definitely refused.
        case rejected
        /// The action's effect has been taken back, or was found never to have happened.
        case undone
    }

    /// Identifies the visit for participants: the action's name, with `#2` and so on for later visits.
    public var step: String
    public var action: String
    public var status: Status
    /// What the action returned, as JSON text.
    public var output: String?

    public init(step: String, action: String, status: Status, output: String? = nil) {
        self.step = step
        self.action = action
        self.status = status
        self.output = output
    }
}

/// One run of a saga definition: everything that must survive a crash.
public struct SagaInstance: Sendable, Hashable {
    public var id: String
    /// The definition's name.
    public var type: String
    /// Unique among the instances of one type: starting a saga twice gives the one that exists.
    public var businessKey: String
    /// The fingerprint of the definition that this instance is pinned to for its whole life.
    public var definition: String
    public var state: String
    public var status: SagaStatus
    /// Rises by one with each commit.
    public var version: Int64
    /// Rises with each take-over; writes under an older epoch change nothing.
    public var epoch: Int64
    /// Who drives it; `nil` while it waits for ``dueAt`` or has ended.
    public var owner: String?
    /// How many tries at the present state have not succeeded.
    public var attempt: Int
    /// Whether a try at the present state may have had its effect.
    public var isUncertain: Bool
    /// When the present state was entered.
    public var enteredAt: Timestamp
    /// When to go on, while nobody drives it.
    public var dueAt: Timestamp?
    /// What it was started with, as JSON text.
    public var input: String
    public var effects: [SagaEffect]
    /// Why it turned back or is stuck: the first definite failure, in words for people.
    public var reason: String?
    public var createdAt: Timestamp
    public var updatedAt: Timestamp

    public init(
        id: String,
        type: String,
        businessKey: String,
        definition: String,
        state: String,
        status: SagaStatus = .running,
        version: Int64 = 1,
        epoch: Int64 = 1,
        owner: String? = nil,
        attempt: Int = 0,
        isUncertain: Bool = false,
        enteredAt: Timestamp,
        dueAt: Timestamp?,
        input: String,
        effects: [SagaEffect] = [],
        reason: String? = nil,
        createdAt: Timestamp,
        updatedAt: Timestamp
    ) {
        self.id = id
        self.type = type
        self.businessKey = businessKey
        self.definition = definition
        self.state = state
        self.status = status
        self.version = version
        self.epoch = epoch
        self.owner = owner
        self.attempt = attempt
        self.isUncertain = isUncertain
        self.enteredAt = enteredAt
        self.dueAt = dueAt
        self.input = input
        self.effects = effects
        self.reason = reason
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }

    /// What the newest successful visit of `action` returned.
    public func output(of action: String) -> String? {
        self.effects.last { $0.action == action && $0.status == .applied }?.output
    }
}

/// One line of a saga's history.
public struct SagaEvent: Sendable, Hashable {
    public enum Kind: String, Sendable, Hashable {
        case started, succeeded, rejected, unknown, retrying, stuck, resumed, forced, ended
    }

    /// The instance's version after it.
    public var version: Int64
    public var at: Timestamp
    public var kind: Kind
    /// The state it happened in.
    public var state: String
    /// The state after it.
    public var nextState: String
    public var action: String?
    public var attempt: Int
    public var detail: String?

    public init(
        version: Int64,
        at: Timestamp,
        kind: Kind,
        state: String,
        nextState: String,
        action: String?,
        attempt: Int,
        detail: String?
    ) {
        self.version = version
        self.at = at
        self.kind = kind
        self.state = state
        self.nextState = nextState
        self.action = action
        self.attempt = attempt
        self.detail = detail
    }
}

/// What one commit changes: the instance as it is to be, and what is added to its history.
public struct SagaTransition: Sendable, Hashable {
    public var instance: SagaInstance
    public var events: [SagaEvent]

    public init(instance: SagaInstance, events: [SagaEvent]) {
        self.instance = instance
        self.events = events
    }
}
