public import ParleyCore

/// A message bus: what every backend implements, and what `TransportConformance` in ParleyTestKit proves of it.
///
/// Guarantees of every transport:
/// - ``publish(_:)`` returns after every message is stored as safely as ``TransportCapabilities/isDurable`` says. When
///   it throws, any of them may or may not be stored: publishing again with the same ids is right, consumers remove
///   duplicates by ``Message/id`` (see ``Inbox``).
/// - At least once: what is stored is delivered to each group that was declared before and takes the topic, until it is
///   settled with `ack` or dead-lettered. A consumer that dies has its messages delivered to another after
///   ``ConsumerGroup/lease``.
/// - Order: within a group, messages with the same key are handed out one at a time and in the order of publishing; the
///   next one only after the one before is acked or dead-lettered. Different keys, and messages without one, go in
///   parallel.
/// - ``ConsumerGroup/maximumDeliveries`` is checked before a message is handed out.
public protocol MessageTransport: Sendable {
    var capabilities: TransportCapabilities { get }

    /// Makes the group exist with these bindings and limits; declaring it again replaces them and keeps its messages.
    func declare(_ group: ConsumerGroup) async throws

    /// Stores `messages`, in this order.
    ///
    /// - Throws: ``MessagingError`` with `invalidMessage` or `invalidTopic` before anything is stored.
    func publish(_ messages: [Message]) async throws

    /// Consumes from a declared group for as long as `body` runs.
    ///
    /// When `body` returns or throws, deliveries that it never received go back uncounted; those that it received and
    /// did not settle go back at once, counted.
    ///
    /// - Parameter prefetch: How many deliveries may be unsettled at a time; 1 to 1,000.
    /// - Throws: ``MessagingError`` with `unknownGroup` when the group was never declared.
    func withSubscription<Value>(
        to group: String,
        prefetch: Int,
        _ body: (DeliverySequence) async throws -> Value
    ) async throws -> Value

    /// Settles one delivery; returns once that is stored.
    ///
    /// - Throws: ``MessagingError`` with `leaseLost` when the delivery is no longer this consumer's.
    func settle(_ delivery: Delivery.ID, _ settlement: Settlement) async throws

    /// One entry for each declared group, by name.
    func statistics() async throws -> [GroupStatistics]

    var deadLetters: any DeadLetterStore { get }
}

/// What a transport can do, as data.
public struct TransportCapabilities: Sendable, Hashable {
    /// What ``MessageTransport/publish(_:)`` has accepted survives the death of the process.
    public var isDurable: Bool
    /// Several processes can publish and consume.
    public var isSharedBetweenProcesses: Bool
    /// The longest body, in bytes.
    public var maximumMessageBytes: Int

    public init(isDurable: Bool, isSharedBetweenProcesses: Bool, maximumMessageBytes: Int) {
        self.isDurable = isDurable
        self.isSharedBetweenProcesses = isSharedBetweenProcesses
        self.maximumMessageBytes = maximumMessageBytes
    }
}

/// How one group is doing.
public struct GroupStatistics: Sendable, Hashable {
    public var group: String
    /// Waiting, and deliverable now or as soon as the message before it with the same key is done.
    public var ready: Int
    /// Waiting for the time of their next attempt.
    public var delayed: Int
    /// Handed out, or held for a consumer, and not settled.
    public var unacknowledged: Int
    public var deadLettered: Int
    /// When the oldest message that is not done was published.
    public var oldest: Timestamp?

    public init(
        group: String,
        ready: Int,
        delayed: Int,
        unacknowledged: Int,
        deadLettered: Int,
        oldest: Timestamp?
    ) {
        self.group = group
        self.ready = ready
        self.delayed = delayed
        self.unacknowledged = unacknowledged
        self.deadLettered = deadLettered
        self.oldest = oldest
    }
}

/// A message that could not be handled, with all that a person needs to decide what to do.
public struct DeadLetter: Sendable, Hashable {
    public var id: Int64
    public var group: String
    public var message: Message
    /// Why: the last error, or that the limit of deliveries was reached.
    public var reason: String
    public var attempts: Int
    public var diedAt: Timestamp

    public init(
        id: Int64,
        group: String,
        message: Message,
        reason: String,
        attempts: Int,
        diedAt: Timestamp
    ) {
        self.id = id
        self.group = group
        self.message = message
        self.reason = reason
        self.attempts = attempts
        self.diedAt = diedAt
    }
}

/// The dead letters of a transport.
public protocol DeadLetterStore: Sendable {
    /// Dead letters, oldest first, of one group or of all; at most `limit` (1 to 1,000) with an id above `after`.
    func list(group: String?, after: Int64, limit: Int) async throws -> [DeadLetter]
    /// Puts letters back at the end of *their own group's* order, with no attempts counted; says how many existed.
    func replay(_ ids: [Int64]) async throws -> Int
    /// Deletes letters; says how many existed.
    func discard(_ ids: [Int64]) async throws -> Int
}
