/// The settings of one ``SQLiteBackend``. Values out of range are moved to the nearest allowed one.
public struct SQLiteConfiguration: Sendable {
    /// What a commit survives.
    public struct Durability: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String { case full, relaxed }
        private let kind: Kind
        public var description: String { self.kind.rawValue }

        /// Power loss: the file is synced in every commit (`synchronous=FULL`). Writes that wait together share one
        /// sync.
        public static let full = Durability(kind: .full)
        /// The death of the process, but power loss takes the last commits back; the file stays consistent
        /// (`synchronous=NORMAL`).
        public static let relaxed = Durability(kind: .relaxed)
    }

    public var durability: Durability = .full
    /// How long a write waits for other processes before it fails with ``SQLiteError/Code/busy``; 1 ms to 10 min.
    public var busyLimit: Duration = .seconds(10)
    /// How many writes may wait in this process before further ones fail with ``SQLiteError/Code/overloaded``.
    public var maximumQueuedWrites = 8_192
    /// How many writes share one commit at most.
    public var maximumWritesPerCommit = 256
    /// How many reads run at a time; each has a connection of its own.
    public var maximumReaders = 4
    /// The log is moved into the file when it has this many pages of 4 KiB.
    public var checkpointPages = 4_000
    /// A warning is logged when the log is longer than this: a reader keeps it from being moved into the file.
    public var logAlarmBytes = 64 << 20
    /// The longest message body.
    public var maximumMessageBytes = 8 << 20

    public init() {}

    func clamped() -> SQLiteConfiguration {
        var copy = self
        copy.busyLimit = min(.seconds(600), max(.milliseconds(1), self.busyLimit))
        copy.maximumQueuedWrites = max(1, self.maximumQueuedWrites)
        copy.maximumWritesPerCommit = min(4_096, max(1, self.maximumWritesPerCommit))
        copy.maximumReaders = min(64, max(1, self.maximumReaders))
        copy.checkpointPages = max(8, self.checkpointPages)
        copy.logAlarmBytes = max(1 << 20, self.logAlarmBytes)
        copy.maximumMessageBytes = min(512 << 20, max(1, self.maximumMessageBytes))
        return copy
    }
}
