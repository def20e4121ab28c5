public import ParleyCore

/// One queue or consumer group and how it is doing. What the backend does not know is `nil`, and `null` in JSON.
public struct BusQueue: Sendable, Hashable, Encodable {
    public var queue: String
    /// Ready, delayed and unacknowledged together.
    public var messages: Int?
    public var ready: Int?
    public var unacknowledged: Int?
    public var delayed: Int?
    public var dead: Int?
    /// Of an embedded bus: those that hold messages now; `nil` when none does, for an idle one leaves no trace.
    public var consumers: Int?
    /// Messages a second.
    public var inRate: Double?
    public var outRate: Double?
    public var oldestAgeSeconds: Double?

    public init(
        queue: String,
        messages: Int? = nil,
        ready: Int? = nil,
        unacknowledged: Int? = nil,
        delayed: Int? = nil,
        dead: Int? = nil,
        consumers: Int? = nil,
        inRate: Double? = nil,
        outRate: Double? = nil,
        oldestAgeSeconds: Double? = nil
    ) {
        self.queue = queue
        self.messages = messages
        self.ready = ready
        self.unacknowledged = unacknowledged
        self.delayed = delayed
        self.dead = dead
        self.consumers = consumers
        self.inRate = inRate
        self.outRate = outRate
        self.oldestAgeSeconds = oldestAgeSeconds
    }

    private enum CodingKeys: String, CodingKey {
        case queue, messages, ready, unacknowledged, delayed, dead, consumers, inRate, outRate, oldestAgeSeconds
    }

    /// Every key, always: a script need not ask whether it is there.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.queue, forKey: .queue)
        try container.encode(self.messages, forKey: .messages)
        try container.encode(self.ready, forKey: .ready)
        try container.encode(self.unacknowledged, forKey: .unacknowledged)
        try container.encode(self.delayed, forKey: .delayed)
        try container.encode(self.dead, forKey: .dead)
        try container.encode(self.consumers, forKey: .consumers)
        try container.encode(self.inRate, forKey: .inRate)
        try container.encode(self.outRate, forKey: .outRate)
        try container.encode(self.oldestAgeSeconds, forKey: .oldestAgeSeconds)
    }
}

/// One consumer.
public struct BusConsumer: Sendable, Hashable, Encodable {
    public var queue: String
    /// The consumer tag, or the number of the lease.
    public var consumer: String
    /// Where it is connected from.
    public var peer: String?
    public var user: String?
    /// How many messages it may hold at a time.
    public var prefetch: Int?
    /// How many it holds.
    public var unacknowledged: Int?
    /// Whether it gets messages: a standby of a single active consumer does not, nor does one whose lease is over.
    public var isActive: Bool
    public var leaseUntil: Timestamp?

    private enum CodingKeys: String, CodingKey {
        case queue, consumer, peer, user, prefetch, unacknowledged, leaseUntil
        case isActive = "active"
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.queue, forKey: .queue)
        try container.encode(self.consumer, forKey: .consumer)
        try container.encode(self.peer, forKey: .peer)
        try container.encode(self.user, forKey: .user)
        try container.encode(self.prefetch, forKey: .prefetch)
        try container.encode(self.unacknowledged, forKey: .unacknowledged)
        try container.encode(self.isActive, forKey: .isActive)
        try container.encode(self.leaseUntil, forKey: .leaseUntil)
    }
}
