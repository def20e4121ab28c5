public import ParleyCore
public import ParleyMessaging

/// Where a monitor keeps what it has seen. What `ChoreographyStoreConformance` in ParleyTestKit proves of every
/// backend.
///
/// Rules of every store:
/// - ``write(_:in:)`` and the reads inside a transaction see and join that transaction: instance, event, inbox row and
///   outgoing messages commit together or not at all.
/// - Transactions that read an instance and write it are serialised: no change is lost, whoever else writes.
/// - What is not over is never forgotten, however old it is.
public protocol ChoreographyStore: Sendable {
    /// The instance whole, as this transaction sees it.
    func instance(_ id: String, of type: String, in transaction: any Transaction) throws -> ChoreographyInstance?

    /// The message of an event that was observed, with its body.
    func message(
        _ messageID: String,
        of instance: String,
        type: String,
        in transaction: any Transaction
    ) throws -> Message?

    /// The canonical JSON of a choreography that some instance is or was judged by.
    func definition(_ fingerprint: String, in transaction: any Transaction) throws -> String?

    /// Adds one change to the transaction.
    func write(_ change: ChoreographyChange, in transaction: any Transaction) throws

    /// Instances, those that are stuck first, then the late ones, then by age. Their events and interventions are left
    /// out.
    func instances(matching query: ChoreographyQuery) async throws -> [ChoreographyInstance]

    /// Up to `limit` instances (1 to 1,000) whose ``ChoreographyInstance/dueAt`` is not after `now`, the longest
    /// overdue first; events and interventions are left out.
    func due(at now: Timestamp, limit: Int) async throws -> ChoreographyDue

    /// Deletes up to `limit` instances (1 to 1,000) that were over before `time`, with all that belongs to them; says
    /// how many.
    func forget(endedBefore time: Timestamp, limit: Int) async throws -> Int
}

/// What one commit changes about an instance.
public struct ChoreographyChange: Sendable, Hashable {
    /// As it is to be.
    public var instance: ChoreographyInstance
    /// The choreography that it is judged by, as canonical JSON.
    public var definition: String
    /// The message of an event that was not there before; its line is among the instance's events.
    public var added: Message?
    /// The event that was delivered once more.
    public var repeated: String?
    /// What an operator has done now; it is the last of the instance's interventions.
    public var intervention: ChoreographyIntervention?

    public init(
        instance: ChoreographyInstance,
        definition: String,
        added: Message? = nil,
        repeated: String? = nil,
        intervention: ChoreographyIntervention? = nil
    ) {
        self.instance = instance
        self.definition = definition
        self.added = added
        self.repeated = repeated
        self.intervention = intervention
    }
}

/// Which instances time has something to say about.
public struct ChoreographyDue: Sendable, Hashable {
    public var instances: [ChoreographyInstance]
    /// When the next one will be due.
    public var next: Timestamp?

    public init(instances: [ChoreographyInstance], next: Timestamp?) {
        self.instances = instances
        self.next = next
    }
}

/// Which instances to list. All given conditions must hold.
public struct ChoreographyQuery: Sendable, Hashable {
    public var id: String?
    public var type: String?
    public var businessKey: String?
    public var status: ChoreographyStatus?
    /// 1 to 1,000.
    public var limit: Int

    public init(
        id: String? = nil,
        type: String? = nil,
        businessKey: String? = nil,
        status: ChoreographyStatus? = nil,
        limit: Int = 100
    ) {
        self.id = id
        self.type = type
        self.businessKey = businessKey
        self.status = status
        self.limit = min(1_000, max(1, limit))
    }
}
