public import ParleyCore

/// How an instance of a choreography stands.
public enum ChoreographyStatus: String, Sendable, Hashable, Codable {
    /// Everything that was to follow has followed, or still has time.
    case running
    /// Something that was to follow has not, and its time is over.
    case late
    /// Late for so long that a person should look; or it ended failed with effects that nobody has taken back.
    case stuck
    /// Ended in success.
    case completed
    /// Ended without success, with every effect taken back.
    case failed

    public var isTerminal: Bool { self == .completed || self == .failed }
}

/// An event as the monitor has seen it: the message without its body.
public struct ObservedEvent: Sendable, Hashable {
    /// The message's id.
    public var id: String
    public var type: String
    /// Who said it.
    public var source: String
    /// When it happened, by the clock of who said it.
    public var time: Timestamp
    /// The message that caused it, as far as it says so.
    public var causationID: String?
    /// The message that this one says once more, on an operator's behalf.
    public var replayOf: String?
    /// The operator who said it in the service's place.
    public var injectedBy: String?
    /// When the monitor saw it first.
    public var observedAt: Timestamp
    /// Its place in the order in which the monitor saw the instance's events: 1 for the first.
    public var arrival: Int
    /// How often it was delivered.
    public var copies: Int

    public init(
        id: String,
        type: String,
        source: String,
        time: Timestamp,
        causationID: String? = nil,
        replayOf: String? = nil,
        injectedBy: String? = nil,
        observedAt: Timestamp,
        arrival: Int = 0,
        copies: Int = 1
    ) {
        self.id = id
        self.type = type
        self.source = source
        self.time = time
        self.causationID = causationID
        self.replayOf = replayOf
        self.injectedBy = injectedBy
        self.observedAt = observedAt
        self.arrival = arrival
        self.copies = copies
    }
}

/// What an operator did to an instance: kept with it for ever, in the commit that sends the messages.
public struct ChoreographyIntervention: Sendable, Hashable {
    public enum Kind: String, Sendable, Hashable {
        /// An event was said in a service's place.
        case injected
        /// The services were asked to take back what they did.
        case compensated
        /// An event was said once more, so that those after it act again.
        case replayed
    }

    public var kind: Kind
    public var at: Timestamp
    public var by: String
    public var because: String
    /// The type of the event, or the types of the requests.
    public var events: [String]
    /// The messages that were sent.
    public var messageIDs: [String]

    public init(
        kind: Kind,
        at: Timestamp,
        by person: String,
        because reason: String,
        events: [String],
        messageIDs: [String]
    ) {
        self.kind = kind
        self.at = at
        self.by = person
        self.because = reason
        self.events = events
        self.messageIDs = messageIDs
    }
}

/// One run of a choreography, as far as it has been seen.
///
/// It is a *set* of events with the interventions beside it: what the instance means is worked out from them
/// (``ChoreographyMachine``), so the order of arrival, repetitions and gaps cannot lead it astray.
public struct ChoreographyInstance: Sendable, Hashable {
    /// The correlation id of its events.
    public var id: String
    /// The choreography's name.
    public var type: String
    /// The messages' subject: the order's id.
    public var businessKey: String
    /// The fingerprint of the choreography that it is judged by for its whole life.
    public var definition: String
    /// As it was judged at ``updatedAt``.
    public var status: ChoreographyStatus
    /// What it waits for or why it is wrong, in words for people, as of ``updatedAt``.
    public var reason: String?
    /// When time alone will change the status.
    public var dueAt: Timestamp?
    /// In the order of arrival.
    public var events: [ObservedEvent]
    /// Events that were seen and not kept, because there were too many: ``ChoreographyMachine/maximumEvents``.
    public var dropped: Int
    public var interventions: [ChoreographyIntervention]
    public var createdAt: Timestamp
    public var updatedAt: Timestamp

    public init(
        id: String,
        type: String,
        businessKey: String,
        definition: String,
        status: ChoreographyStatus = .running,
        reason: String? = nil,
        dueAt: Timestamp? = nil,
        events: [ObservedEvent] = [],
        dropped: Int = 0,
        interventions: [ChoreographyIntervention] = [],
        createdAt: Timestamp,
        updatedAt: Timestamp
    ) {
        self.id = id
        self.type = type
        self.businessKey = businessKey
        self.definition = definition
        self.status = status
        self.reason = reason
        self.dueAt = dueAt
        self.events = events
        self.dropped = dropped
        self.interventions = interventions
        self.createdAt = createdAt
        self.updatedAt = updatedAt
    }
}
