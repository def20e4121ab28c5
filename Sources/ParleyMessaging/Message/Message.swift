public import ParleyCore

/// One message, with the attributes of CloudEvents 1.0 (https://github.com/cloudevents/spec), so that other languages
/// read it: `specversion` is always 1.0, `headers` are the extension attributes.
public struct Message: Sendable, Hashable {
    /// Identifies the message for ever: it stays the same over resends and redeliveries, and the inbox knows it by
    /// this.
    public var id: String
    /// The context in which it happened: by convention the service's name.
    public var source: String
    /// What happened: `order.created`.
    public var type: String
    /// What it happened to, within the source: the order's id.
    public var subject: String?
    public var time: Timestamp
    public var dataContentType: String?
    public var data: [UInt8]
    /// What bindings are matched against; the type unless said otherwise.
    public var topic: String
    /// Messages with the same key are delivered in the order of publishing, one at a time within a consumer group;
    /// messages without a key are not ordered.
    public var key: String?
    /// CloudEvents extension attributes, lower-case names: the context's fields among them.
    public var headers: [String: String]

    public init(
        id: String = UUIDv7Generator.shared.next().description,
        source: String,
        type: String,
        subject: String? = nil,
        time: Timestamp = SystemTimeSource().wallTime,
        dataContentType: String? = "application/json",
        data: [UInt8],
        topic: String? = nil,
        key: String? = nil,
        headers: [String: String] = [:]
    ) {
        self.id = id
        self.source = source
        self.type = type
        self.subject = subject
        self.time = time
        self.dataContentType = dataContentType
        self.data = data
        self.topic = topic ?? type
        self.key = key
        self.headers = headers
    }

    /// When nobody wants it any more (CloudEvents extension `expirytime`).
    public var expiresAt: Timestamp? {
        get { self.headers["expirytime"].flatMap { Timestamp($0) } }
        set { self.headers["expirytime"] = newValue?.description }
    }

    /// A copy that carries `context`, as every message sent on somebody's behalf does.
    ///
    /// The deadline goes as an absolute `expirytime`: a message may wait in a queue for longer than any duration is
    /// worth.
    public func carrying(_ context: RequestContext, on time: any TimeSource) -> Message {
        var copy = self
        var fields = context
        fields.deadline = nil
        RequestContextFields.message.write(fields, now: time.now) { copy.headers[$0] = $1 }
        if let deadline = context.deadline {
            copy.expiresAt = time.wallTime + deadline.remaining(at: time.now)
        }
        return copy
    }

    /// The context in which this message is to be handled: the sender's, with this message as the cause.
    public func context(on time: any TimeSource) -> RequestContext {
        var context = RequestContextFields.message.read(now: time.now, orElse: self.id) { self.headers[$0] }
        context.causationID = self.id
        if let expiresAt = self.expiresAt { context.deadline = Deadline(time.instant(of: expiresAt)) }
        return context
    }

    /// Checks what every transport relies on: ids of 1 to 128 visible ASCII characters, a valid topic, a key of at most
    /// 255 bytes, a body of at most `maximumBytes`.
    ///
    /// - Throws: ``MessagingError`` with ``MessagingError/Code/invalidMessage`` or
    ///   ``MessagingError/Code/invalidTopic``.
    public func validate(maximumBytes: Int) throws {
        try TopicPattern.validate(topic: self.topic)
        func refuse(_ reason: String) -> MessagingError {
            MessagingError(.invalidMessage, "message '\(self.id.prefix(128))': \(reason)", retry: .permanent)
        }
        guard RequestContext.isAcceptableID(self.id) else {
            throw refuse("its id must be 1 to 128 visible ASCII characters")
        }
        guard !self.source.isEmpty, !self.type.isEmpty else { throw refuse("source and type must not be empty") }
        guard self.key?.utf8.count ?? 1 <= 255, self.key != "" else { throw refuse("its key must have 1 to 255 bytes") }
        guard self.data.count <= maximumBytes else {
            throw refuse(
                "its body has \(self.data.count) bytes, the limit is \(maximumBytes); store it elsewhere, send a link"
            )
        }
    }
}
