/// Which stream carries the bus, and every limit.
public struct StreamConfiguration: Sendable {
    /// How the processes of a group share its messages: the same for all of them. While it is being changed, process by
    /// process, messages may be handled twice at the same time.
    public enum Sharing: Sendable, Hashable {
        /// One process hands out all messages of a group, the others stand by and take over when it goes. Messages with
        /// the same key are in order whatever happens.
        case oneProcess
        /// Every process gets a part of the messages. Within a process, messages with the same key are in order;
        /// between processes they are not.
        case allProcesses
    }

    /// How long entries stay in the stream. `XACK` alone frees no memory.
    public struct Retention: Sendable, Hashable {
        let milliseconds: Int64?

        /// Nothing is ever trimmed by Parley.
        public static let forever = Retention(milliseconds: nil)
        /// What is older than `age` *and* done with by every group, foreign groups included, is trimmed. A group that
        /// nobody reads for keeps everything from its place on.
        public static func handled(olderThan age: Duration) -> Retention {
            Retention(milliseconds: age.wholeMilliseconds)
        }
    }

    /// How many replicas must have a message before it counts as published (`WAIT`).
    ///
    /// It makes a loss by fail-over less likely, and does not rule it out: Redis replicates after it has answered.
    public struct Replication: Sendable, Hashable {
        public var replicas: Int
        public var timeout: Duration

        public init(replicas: Int, timeout: Duration) {
            self.replicas = replicas
            self.timeout = timeout
        }
    }

    /// The stream's key. In a cluster with a hash tag, `{order-events}`, so that all that belongs to it is on one node.
    public var stream: String
    public var sharing: Sharing
    public var retention: Retention
    /// How many messages of a group a process may hold, handed out or not; 1 to 10,000. No more than there is room for
    /// are asked for. What waits for a time, and what waits behind it because it has the same key, does not count until
    /// there is ten times as much in all: one key whose first message is tried again later does not stop the others.
    public var window: Int
    /// A message without a key that waits for longer is laid aside on the server, where it takes no room of the
    /// window.
    public var longestLocalDelay: Duration
    /// The field whose value becomes the key of messages that other programs add, `order_id` say; `nil` gives them
    /// none.
    public var foreignKeyField: String?
    /// Beside the exact body, write the members of a flat JSON object as fields of their own, as `redis-cli XRANGE`
    /// shows them: `orderId` becomes `order_id`.
    public var addsReadableFields: Bool
    /// For how long a message id is remembered, so that publishing again after a lost answer adds no second entry; up
    /// to a day. `nil` remembers none: consumers then remove duplicates by their inbox.
    public var deduplication: Duration?
    public var replication: Replication?
    /// How often each process records the metrics, and one of them trims and removes dead consumers; 0.1 s at least.
    public var upkeepInterval: Duration

    public init(
        stream: String = "parley-events",
        sharing: Sharing = .oneProcess,
        retention: Retention = .handled(olderThan: .seconds(86_400)),
        window: Int = 1_000,
        longestLocalDelay: Duration = .seconds(5),
        foreignKeyField: String? = nil,
        addsReadableFields: Bool = true,
        deduplication: Duration? = nil,
        replication: Replication? = nil,
        upkeepInterval: Duration = .seconds(10)
    ) {
        self.stream = stream
        self.sharing = sharing
        self.retention = retention
        self.window = window
        self.longestLocalDelay = longestLocalDelay
        self.foreignKeyField = foreignKeyField
        self.addsReadableFields = addsReadableFields
        self.deduplication = deduplication
        self.replication = replication
        self.upkeepInterval = upkeepInterval
    }

    /// Longest body: the server's own limit for one value is 512 MB, its output buffers are smaller.
    static let maximumMessageBytes = 32 * 1_024 * 1_024
}
