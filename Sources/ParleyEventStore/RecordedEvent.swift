public import ParleyCore

/// A place in the order of all events of a store. The first event has position 1, and positions have no gaps.
public struct GlobalPosition: Sendable, Hashable, Comparable, CustomStringConvertible {
    public var number: Int64

    public init(_ number: Int64) { self.number = number }

    /// Before the first event.
    public static let start = GlobalPosition(0)

    public static func < (lhs: GlobalPosition, rhs: GlobalPosition) -> Bool { lhs.number < rhs.number }

    public var description: String { "\(self.number)" }
}

/// An event as the store has it.
public struct RecordedEvent: Sendable, Hashable {
    public var stream: StreamName
    /// Its place in its stream; the first has 1, and there are no gaps.
    public var version: Int64
    /// Its place among the events of all streams.
    public var position: GlobalPosition
    /// When the store took it, by the store's own clock: for people to read, not to order by.
    public var recordedAt: Timestamp
    public var id: String
    public var type: String
    public var data: [UInt8]
    public var metadata: [String: String]

    public init(
        stream: StreamName,
        version: Int64,
        position: GlobalPosition,
        recordedAt: Timestamp,
        id: String,
        type: String,
        data: [UInt8],
        metadata: [String: String]
    ) {
        self.stream = stream
        self.version = version
        self.position = position
        self.recordedAt = recordedAt
        self.id = id
        self.type = type
        self.data = data
        self.metadata = metadata
    }
}

/// Where the events of an append are.
public struct AppendResult: Sendable, Hashable {
    /// The version of the append's first event.
    public var firstVersion: Int64
    /// One for each event, in order. Those of one append follow each other; those of a repetition are where the events
    /// were stored, which may have been in several appends.
    public var positions: [GlobalPosition]
    /// Whether the events were there already, and nothing was added.
    public var isRepetition: Bool

    public init(firstVersion: Int64, positions: [GlobalPosition], isRepetition: Bool) {
        self.firstVersion = firstVersion
        self.positions = positions
        self.isRepetition = isRepetition
    }

    /// The version of the append's last event: what the next append expects.
    public var lastVersion: Int64 { self.firstVersion + Int64(self.positions.count) - 1 }
}
