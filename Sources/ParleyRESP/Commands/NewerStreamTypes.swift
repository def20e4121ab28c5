/// How a server recognizes that an entry comes for the second time. Since Redis 8.6.
public struct StreamIdempotence: Sendable, Hashable {
    package let words: [RESPArgument]

    private init(_ words: [RESPArgument]) { self.words = words }

    /// By an id of the caller's, which must be the same for every try and different for every other entry of this
    /// producer.
    public static func id(_ id: String, producer: String) -> StreamIdempotence {
        StreamIdempotence(["IDMP", RESPArgument(producer), RESPArgument(id)])
    }

    /// By the content: two entries of this producer with the same fields are one, also when two were meant.
    public static func content(producer: String) -> StreamIdempotence {
        StreamIdempotence(["IDMPAUTO", RESPArgument(producer)])
    }
}

/// What is deleted besides an entry. Since Redis 8.2.
public struct StreamReferences: Sendable, Hashable {
    package let word: RESPArgument

    private init(_ word: RESPArgument) { self.word = word }

    /// Groups keep the entry's id among what is pending, without the entry, as after `XDEL`.
    public static let keep = StreamReferences("KEEPREF")
    /// The id is also removed from what is pending in every group.
    public static let delete = StreamReferences("DELREF")
    /// The entry is deleted only when every group has read and acknowledged it.
    public static let unlessNeeded = StreamReferences("ACKED")
}

/// What became of one id that was to be deleted. A number that is none of these is from a newer server.
public struct StreamDeletion: RawRepresentable, Sendable, Hashable {
    public var rawValue: Int

    public init(rawValue: Int) { self.rawValue = rawValue }

    /// There is no such entry.
    public static let notFound = StreamDeletion(rawValue: -1)
    public static let deleted = StreamDeletion(rawValue: 1)
    /// It stays, because a group still needs it. An acknowledgement that belonged to it was made.
    public static let stillNeeded = StreamDeletion(rawValue: 2)
}

/// Why a consumer hands entries back, which decides about their count of deliveries. Since Redis 8.8.
public struct StreamRelease: Sendable, Hashable {
    package let word: RESPArgument

    private init(_ word: RESPArgument) { self.word = word }

    /// The delivery does not count: the consumer stops, for example. The count goes down by one.
    public static let silent = StreamRelease("SILENT")
    /// The delivery counts. The count stays.
    public static let failed = StreamRelease("FAIL")
    /// No consumer can handle it. The count becomes the largest number there is.
    public static let fatal = StreamRelease("FATAL")
}

/// An entry as `XREADGROUP … CLAIM` delivers it.
public struct StreamDelivery: Sendable, Hashable {
    public var entry: StreamEntry
    /// For how long it had been pending with another consumer or this one; `nil` or zero for one that is new.
    public var idle: Duration?
    /// How often it had been delivered before; `nil` or zero for one that is new.
    public var deliveries: Int?
}
