/// What travels beside a message's body. Every field is optional, as on the wire.
public struct AMQPProperties: Sendable, Hashable {
    public var contentType: String?
    public var contentEncoding: String?
    public var headers: AMQPTable?
    /// 1 is transient, 2 is persistent; see ``isPersistent``.
    public var deliveryMode: UInt8?
    public var priority: UInt8?
    public var correlationID: String?
    public var replyTo: String?
    /// Milliseconds, as text: the broker refuses anything else with 406.
    public var expiration: String?
    public var messageID: String?
    /// Whole seconds since 1970.
    public var timestamp: UInt64?
    public var type: String?
    /// The broker refuses another name than the connection's user with 406.
    public var userID: String?
    public var appID: String?
    public var clusterID: String?

    public init(
        contentType: String? = nil,
        headers: AMQPTable? = nil,
        persistent: Bool = false,
        priority: UInt8? = nil,
        correlationID: String? = nil,
        replyTo: String? = nil,
        expiration: String? = nil,
        messageID: String? = nil,
        timestamp: UInt64? = nil,
        type: String? = nil
    ) {
        self.contentType = contentType
        self.headers = headers
        self.deliveryMode = persistent ? 2 : nil
        self.priority = priority
        self.correlationID = correlationID
        self.replyTo = replyTo
        self.expiration = expiration
        self.messageID = messageID
        self.timestamp = timestamp
        self.type = type
    }

    /// Whether a durable queue keeps the message over a restart of the broker.
    public var isPersistent: Bool {
        get { self.deliveryMode == 2 }
        set { self.deliveryMode = newValue ? 2 : 1 }
    }
}

extension AMQPProperties {
    init(from reader: inout WireReader) throws(AMQPWireError) {
        self.init()
        let flags = try reader.short()
        // The lowest bit announces further flags; Basic has none, so a set one is a peer that speaks something else.
        guard flags & 0b11 == 0 else { throw .trailingBytes }
        func has(_ bit: UInt16) -> Bool { flags & (1 << bit) != 0 }
        if has(15) { self.contentType = try reader.shortstr() }
        if has(14) { self.contentEncoding = try reader.shortstr() }
        if has(13) { self.headers = try reader.table() }
        if has(12) { self.deliveryMode = try reader.octet() }
        if has(11) { self.priority = try reader.octet() }
        if has(10) { self.correlationID = try reader.shortstr() }
        if has(9) { self.replyTo = try reader.shortstr() }
        if has(8) { self.expiration = try reader.shortstr() }
        if has(7) { self.messageID = try reader.shortstr() }
        if has(6) { self.timestamp = try reader.longlong() }
        if has(5) { self.type = try reader.shortstr() }
        if has(4) { self.userID = try reader.shortstr() }
        if has(3) { self.appID = try reader.shortstr() }
        if has(2) { self.clusterID = try reader.shortstr() }
    }

    func write(to writer: inout WireWriter) throws(AMQPWireError) {
        var flags: UInt16 = 0
        func flag(_ bit: UInt16, _ present: Bool) { if present { flags |= 1 << bit } }
        flag(15, self.contentType != nil)
        flag(14, self.contentEncoding != nil)
        flag(13, self.headers != nil)
        flag(12, self.deliveryMode != nil)
        flag(11, self.priority != nil)
        flag(10, self.correlationID != nil)
        flag(9, self.replyTo != nil)
        flag(8, self.expiration != nil)
        flag(7, self.messageID != nil)
        flag(6, self.timestamp != nil)
        flag(5, self.type != nil)
        flag(4, self.userID != nil)
        flag(3, self.appID != nil)
        flag(2, self.clusterID != nil)
        writer.short(flags)
        if let value = self.contentType { try writer.shortstr(value) }
        if let value = self.contentEncoding { try writer.shortstr(value) }
        if let value = self.headers { try writer.table(value) }
        if let value = self.deliveryMode { writer.octet(value) }
        if let value = self.priority { writer.octet(value) }
        if let value = self.correlationID { try writer.shortstr(value) }
        if let value = self.replyTo { try writer.shortstr(value) }
        if let value = self.expiration { try writer.shortstr(value) }
        if let value = self.messageID { try writer.shortstr(value) }
        if let value = self.timestamp { writer.longlong(value) }
        if let value = self.type { try writer.shortstr(value) }
        if let value = self.userID { try writer.shortstr(value) }
        if let value = self.appID { try writer.shortstr(value) }
        if let value = self.clusterID { try writer.shortstr(value) }
    }
}
