/// The id of a stream's entry: milliseconds and a sequence number. Ordered as the server orders them.
public struct StreamID: Sendable, Hashable, Comparable, CustomStringConvertible {
    public var milliseconds: UInt64
    public var sequence: UInt64

    public init(_ milliseconds: UInt64, _ sequence: UInt64 = 0) {
        self.milliseconds = milliseconds
        self.sequence = sequence
    }

    /// Reads `1526919030474-55`, or `1526919030474` for its first.
    public init?(_ text: String) { self.init(utf8: text.utf8) }

    /// The same from bytes.
    package init?(utf8 bytes: some Sequence<UInt8>) {
        var numbers: (UInt64, UInt64) = (0, 0)
        var isSecond = false
        var digits = 0
        for byte in bytes {
            if byte == UInt8(ascii: "-"), !isSecond, digits > 0 {
                (isSecond, digits) = (true, 0)
                continue
            }
            guard (0x30...0x39).contains(byte) else { return nil }
            let former = isSecond ? numbers.1 : numbers.0
            let (product, tooLong) = former.multipliedReportingOverflow(by: 10)
            let (sum, tooLarge) = product.addingReportingOverflow(UInt64(byte - 0x30))
            guard !tooLong, !tooLarge else { return nil }
            if isSecond { numbers.1 = sum } else { numbers.0 = sum }
            digits += 1
        }
        guard digits > 0 else { return nil }
        self.init(numbers.0, numbers.1)
    }

    /// `0-0`, before every entry.
    public static let zero = StreamID(0)

    public var description: String { "\(self.milliseconds)-\(self.sequence)" }

    public static func < (lhs: StreamID, rhs: StreamID) -> Bool {
        (lhs.milliseconds, lhs.sequence) < (rhs.milliseconds, rhs.sequence)
    }
}

/// A field of an entry. The same name may come more than once.
public struct StreamField: Sendable, Hashable {
    public var name: [UInt8]
    public var value: [UInt8]

    public init(_ name: String, _ value: String) {
        self.name = Array(name.utf8)
        self.value = Array(value.utf8)
    }

    public init(_ name: String, bytes: [UInt8]) {
        self.name = Array(name.utf8)
        self.value = bytes
    }

    package init(name: [UInt8], value: [UInt8]) {
        self.name = name
        self.value = value
    }
}

/// An entry of a stream.
public struct StreamEntry: Sendable, Hashable {
    public var id: StreamID
    /// In the order of the stream.
    public var fields: [StreamField]
    /// It was delivered and not acknowledged, and has been deleted or trimmed since: only its id is left.
    public var isDeleted: Bool

    public init(id: StreamID, fields: [StreamField], isDeleted: Bool = false) {
        self.id = id
        self.fields = fields
        self.isDeleted = isDeleted
    }

    /// The first field of this name, if it is UTF-8.
    public subscript(name: String) -> String? {
        let wanted = Array(name.utf8)
        return self.fields.first { $0.name == wanted }.flatMap { String(validating: $0.value, as: UTF8.self) }
    }
}

/// How much of a stream is kept.
public struct StreamTrimming: Sendable, Hashable {
    package let words: [RESPArgument]

    private init(_ kind: RESPArgument, _ threshold: RESPArgument, approximately: Bool, limit: Int?) {
        let count: [RESPArgument] = approximately ? (limit.map { ["LIMIT", RESPArgument($0)] } ?? []) : []
        self.words = [kind, approximately ? "~" : "=", threshold] + count
    }

    /// At most `count` entries. Approximately is much cheaper and keeps some more. `limit`: how many to look at.
    public static func maximumLength(_ count: Int, approximately: Bool = true, limit: Int? = nil) -> StreamTrimming {
        StreamTrimming("MAXLEN", RESPArgument(count), approximately: approximately, limit: limit)
    }

    /// Nothing before `id`.
    public static func minimumID(_ id: StreamID, approximately: Bool = true, limit: Int? = nil) -> StreamTrimming {
        StreamTrimming("MINID", RESPArgument("\(id)"), approximately: approximately, limit: limit)
    }
}

/// Where a read begins.
public struct StreamPosition: Sendable, Hashable {
    package let word: RESPArgument

    private init(_ word: RESPArgument) { self.word = word }

    /// Behind `id`. In a group: what this consumer was given and has not acknowledged, behind `id`; never blocks, and
    /// counts as another delivery.
    public static func after(_ id: StreamID) -> StreamPosition { StreamPosition(RESPArgument("\(id)")) }
    /// What is added from now on. Between two reads entries can be missed: go on with ``after(_:)``.
    public static let end = StreamPosition("$")
    /// In a group: what was never given to anybody.
    public static let new = StreamPosition(">")
}

/// An entry that a consumer has and has not acknowledged.
public struct PendingEntry: Sendable, Hashable {
    public var id: StreamID
    /// Empty when it was released to nobody, by `XNACK`.
    public var consumer: String
    /// Since it was last delivered or claimed; zero when it was released.
    public var idle: Duration
    public var deliveries: Int
}

/// What a group has not acknowledged.
public struct PendingSummary: Sendable, Hashable {
    public var count: Int
    public var first: StreamID?
    public var last: StreamID?
    public var consumers: [String: Int]
}

/// What `XAUTOCLAIM` took over.
public struct StreamClaim: Sendable, Hashable {
    /// Where the next call goes on; ``StreamID/zero`` when the whole list was seen.
    public var cursor: StreamID
    /// With `justIDs`, entries without fields.
    public var entries: [StreamEntry]
    /// Were pending and are no longer in the stream: lost by trimming or deletion. Servers before 7 do not tell.
    public var deleted: [StreamID]
}

/// What `XINFO STREAM` says.
public struct StreamInfo: Sendable, Hashable {
    public var length: Int
    public var groups: Int
    public var lastGeneratedID: StreamID
    /// Since Redis 7.
    public var maximumDeletedID: StreamID?
    public var entriesAdded: Int?
    public var firstEntry: StreamEntry?
    public var lastEntry: StreamEntry?
}

/// What `XINFO GROUPS` says of one group.
public struct StreamGroupInfo: Sendable, Hashable {
    public var name: String
    public var consumers: Int
    public var pending: Int
    public var lastDeliveredID: StreamID
    public var entriesRead: Int?
    /// How many entries the group has not read. `nil` is "not known", not zero; Redis 7.0 was seen to be wrong after
    /// deletions, so never alarm on this alone.
    public var lag: Int?
}

/// What `XINFO CONSUMERS` says of one consumer.
public struct StreamConsumerInfo: Sendable, Hashable {
    public var name: String
    public var pending: Int
    /// Since it last asked for something.
    public var idle: Duration
    /// Since it last got something; since Redis 7.2, `nil` when never.
    public var inactive: Duration?
}
