public import ParleyCore

/// An event that is to be appended.
public struct EventData: Sendable, Hashable {
    /// Unique within its stream: appending an id again adds nothing. 1 to 64 bytes of visible ASCII.
    ///
    /// Make it once, before the first try, and keep it over all tries: it is what makes trying again safe.
    public var id: String
    /// What has happened, `order.placed`: 1 to 255 bytes of visible ASCII.
    public var type: String
    /// Anything; stored as it is.
    public var data: [UInt8]
    /// Who, why, under which request; at most 64 entries with non-empty names. Their bytes count like the data's.
    public var metadata: [String: String]

    public init(
        id: String = UUIDv7Generator.shared.next().description,
        type: String,
        data: [UInt8],
        metadata: [String: String] = [:]
    ) {
        self.id = id
        self.type = type
        self.data = data
        self.metadata = metadata
    }

    var bytes: Int {
        self.metadata.reduce(self.data.count) { $0 + $1.key.utf8.count + $1.value.utf8.count }
    }
}

/// What one append, and one page of a read, may hold.
public struct EventStoreLimits: Sendable, Hashable {
    /// The longest event: its data and metadata together.
    public var maximumEventBytes: Int
    /// The most events in one append.
    public var maximumEventsPerAppend: Int
    /// The data and metadata of one append together.
    public var maximumAppendBytes: Int

    /// The most events in one page; a larger `limit` means this.
    public static let maximumPage = 1_000
    /// The most metadata entries of one event.
    public static let maximumMetadata = 64
    /// A page ends with the event that brings it to this many bytes, however many events were asked for.
    package static let pageBytes = 8 << 20

    public init(
        maximumEventBytes: Int = 1 << 20,
        maximumEventsPerAppend: Int = 1_000,
        maximumAppendBytes: Int = 8 << 20
    ) {
        self.maximumEventBytes = maximumEventBytes
        self.maximumEventsPerAppend = maximumEventsPerAppend
        self.maximumAppendBytes = maximumAppendBytes
    }

    /// What every store asks before it looks at the stream.
    ///
    /// - Throws: ``EventStoreError`` with `invalidEvent` or `tooLarge`.
    package func check(_ events: [EventData], for stream: StreamName) throws(EventStoreError) {
        guard !events.isEmpty else {
            throw EventStoreError(.invalidEvent, stream: stream, "there is nothing to append")
        }
        guard events.count <= self.maximumEventsPerAppend else {
            let message = "\(events.count) events in one append; at most \(self.maximumEventsPerAppend): split it"
            throw EventStoreError(.tooLarge, stream: stream, message)
        }
        var ids: Set<String> = []
        var total = 0
        for event in events {
            guard Self.isWord(event.id, atMost: 64) else {
                let message = "the id '\(event.id.prefix(80))' is not 1 to 64 bytes of visible ASCII"
                throw EventStoreError(.invalidEvent, stream: stream, message)
            }
            guard Self.isWord(event.type, atMost: 255) else {
                let message = "the type '\(event.type.prefix(80))' is not 1 to 255 bytes of visible ASCII"
                throw EventStoreError(.invalidEvent, stream: stream, message)
            }
            guard ids.insert(event.id).inserted else {
                let message = "the id '\(event.id)' stands twice in one append; give each event an id of its own"
                throw EventStoreError(.invalidEvent, stream: stream, message)
            }
            guard event.metadata.count <= Self.maximumMetadata, event.metadata[""] == nil else {
                let message = "event '\(event.id)': at most \(Self.maximumMetadata) metadata entries, each with a name"
                throw EventStoreError(.invalidEvent, stream: stream, message)
            }
            let bytes = event.bytes
            guard bytes <= self.maximumEventBytes else {
                let message =
                    "event '\(event.id)' has \(bytes) bytes; at most \(self.maximumEventBytes): "
                    + "keep large contents elsewhere, and their address in the event"
                throw EventStoreError(.tooLarge, stream: stream, message)
            }
            total += bytes
        }
        guard total <= self.maximumAppendBytes else {
            let message = "\(total) bytes in one append; at most \(self.maximumAppendBytes): split it"
            throw EventStoreError(.tooLarge, stream: stream, message)
        }
    }

    private static func isWord(_ text: String, atMost limit: Int) -> Bool {
        (1...limit).contains(text.utf8.count) && text.utf8.allSatisfy { (0x21...0x7E).contains($0) }
    }
}
