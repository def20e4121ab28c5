public import ParleyCore

/// The messages that a service has promised to send, in the service's own database: they commit together with the
/// business rows, and an ``OutboxRelay`` sends them afterwards. What `OutboxConformance` in ParleyTestKit proves.
///
/// One relay at a time works on a store, by a lease with an epoch. Every write of a relay names its epoch and changes
/// nothing when another relay has taken over: a process that was paused past its lease cannot do harm.
public protocol OutboxStore: Sendable {
    /// Adds messages, in this order, to the transaction.
    func append(_ messages: [Message], in transaction: any Transaction) throws

    /// Takes or renews the lease for `duration`. `nil` while another owner's lease runs. Taking it from a former owner
    /// raises the epoch; renewing keeps it.
    func lease(to owner: String, for duration: Duration) async throws -> OutboxEpoch?

    /// Gives the lease back, so that the next relay need not wait for it to run out.
    func release(_ epoch: OutboxEpoch) async throws

    /// The oldest unsent messages that may be sent now, at most `limit`: none whose key has an earlier message that is
    /// unsent and not in this batch.
    func pending(limit: Int) async throws -> OutboxBatch

    /// Removes what the transport has confirmed and records what has failed, in one commit; `false`, and nothing done,
    /// when `epoch` is no longer the newest.
    func record(sent: [Int64], failed: [OutboxFailure], under epoch: OutboxEpoch) async throws -> Bool

    func statistics() async throws -> OutboxStatistics

    /// Suspends until something may have been appended since `generation`, or `instant` has come. Returns the
    /// generation to wait after next. It may return early, never late by more than a second.
    func waitForAppend(after generation: UInt64, until instant: ContinuousClock.Instant?) async -> UInt64
}

/// The right to relay: the number that every write of a relay carries.
public struct OutboxEpoch: Sendable, Hashable {
    public let owner: String
    public let number: Int64

    public init(owner: String, number: Int64) {
        self.owner = owner
        self.number = number
    }
}

/// A message in the outbox.
public struct OutboxRow: Sendable, Hashable {
    public let id: Int64
    public let message: Message
    /// How often sending it has failed.
    public let failures: Int

    public init(id: Int64, message: Message, failures: Int) {
        self.id = id
        self.message = message
        self.failures = failures
    }
}

public struct OutboxBatch: Sendable, Hashable {
    /// In the order of appending.
    public let rows: [OutboxRow]
    /// When the next message that waits for another try is due.
    public let nextDue: Timestamp?

    public init(rows: [OutboxRow], nextDue: Timestamp?) {
        self.rows = rows
        self.nextDue = nextDue
    }
}

public struct OutboxFailure: Sendable, Hashable {
    public let id: Int64
    public let reason: String
    /// When to try again.
    public let nextTry: Timestamp

    public init(id: Int64, reason: String, nextTry: Timestamp) {
        self.id = id
        self.reason = reason
        self.nextTry = nextTry
    }
}

public struct OutboxStatistics: Sendable, Hashable {
    /// Messages not sent yet, the blocked ones included.
    public var pending: Int
    /// Messages whose last try failed, and the messages behind them with the same key.
    public var blocked: Int
    /// When the oldest of them was appended: the figure to alarm on.
    public var oldest: Timestamp?
    /// The last error of the message that has failed most often.
    public var worstFailure: String?

    public init(pending: Int, blocked: Int, oldest: Timestamp?, worstFailure: String?) {
        self.pending = pending
        self.blocked = blocked
        self.oldest = oldest
        self.worstFailure = worstFailure
    }
}
