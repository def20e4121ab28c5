public import ParleyCore

/// One consumer group of one stream. What the backend does not know is `nil`, and `null` in JSON.
public struct BusStream: Sendable, Hashable, Encodable {
    public var stream: String
    /// How many entries the stream holds.
    public var length: Int
    /// The entry that was added last.
    public var last: String?
    /// `nil` for a stream without a group.
    public var group: String?
    /// Consumers that the group remembers, whether they live or not.
    public var consumers: Int?
    /// Delivered and not acknowledged.
    public var pending: Int?
    /// Not delivered yet. Redis forgets it at a restart until the group has read everything.
    public var lag: Int?
    /// The last entry that was delivered.
    public var delivered: String?
    /// Since the oldest pending entry's consumer was last heard of.
    public var oldestIdleSeconds: Double?

    private enum CodingKeys: String, CodingKey {
        case stream, length, last, group, consumers, pending, lag, delivered, oldestIdleSeconds
    }

    /// Every key, always: a script need not ask whether it is there.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.stream, forKey: .stream)
        try container.encode(self.length, forKey: .length)
        try container.encode(self.last, forKey: .last)
        try container.encode(self.group, forKey: .group)
        try container.encode(self.consumers, forKey: .consumers)
        try container.encode(self.pending, forKey: .pending)
        try container.encode(self.lag, forKey: .lag)
        try container.encode(self.delivered, forKey: .delivered)
        try container.encode(self.oldestIdleSeconds, forKey: .oldestIdleSeconds)
    }
}

/// One entry that a group was given and has not done.
public struct BusPending: Sendable, Hashable, Encodable {
    /// The entry's place in the stream.
    public var entry: String
    /// The message's own id; `nil` when the entry is gone from the stream, or came from a program that gives none.
    public var message: String?
    /// Who holds it; `parley.parked` while it waits for its time, `parley.released` until somebody takes it.
    public var consumer: String
    /// Since that one was last heard of.
    public var idleSeconds: Double?
    /// How often a handler was given it.
    public var deliveries: Int
    /// When it is tried again.
    public var dueAt: Timestamp?
    /// Whether it is still in the stream: a trimmed one is lost.
    public var isInStream: Bool

    private enum CodingKeys: String, CodingKey {
        case entry, message, consumer, idleSeconds, deliveries, dueAt
        case isInStream = "inStream"
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.entry, forKey: .entry)
        try container.encode(self.message, forKey: .message)
        try container.encode(self.consumer, forKey: .consumer)
        try container.encode(self.idleSeconds, forKey: .idleSeconds)
        try container.encode(self.deliveries, forKey: .deliveries)
        try container.encode(self.dueAt, forKey: .dueAt)
        try container.encode(self.isInStream, forKey: .isInStream)
    }
}
