internal import NIOCore
internal import ParleyAMQP
internal import ParleyCore
internal import ParleyMessaging

/// A message as it travels: CloudEvents 1.0 in binary mode, attributes with the prefix `cloudEvents:` that the AMQP
/// binding gives them, and AMQP's own properties where it has one with that meaning, so that other clients and the
/// broker's tools show what they know.
///
/// Messages that do not come from Parley (a bare JSON body, published by hand) are read as well: the routing key is
/// their topic and type.
enum MessageCoding {
    /// What Parley adds for itself.
    enum Header {
        static let key = "x-parley-key"
        static let published = "x-parley-published"
        /// The routing key that it was published with, on a copy that went through another queue.
        static let topic = "x-parley-topic"
        /// Names this copy: a message that is replayed has its deliveries counted anew.
        static let copy = "x-parley-copy"
        static let attempts = "x-parley-attempts"
        static let notBefore = "x-parley-not-before"
        static let prefix = "x-parley-"
    }

    private static let attribute = "cloudEvents:"

    struct Incoming {
        var message: Message
        var publishedAt: Timestamp
        var copy: String
        /// Those of earlier copies.
        var attempts: Int
        var notBefore: Timestamp?
        /// It came without an id; the one it has now was made up.
        var isNameless: Bool
    }

    static func outgoing(
        _ message: Message,
        exchange: String,
        routingKey: String,
        publishedAt: Timestamp,
        priorities: UInt8 = 0
    ) -> AMQPMessage {
        var headers: AMQPTable = [
            Self.attribute + "specversion": "1.0",
            Self.attribute + "id": .string(message.id),
            Self.attribute + "source": .string(message.source),
            Self.attribute + "type": .string(message.type),
            Self.attribute + "time": .string(message.time.preciseDescription),
            Header.published: .int64(publishedAt.microseconds),
        ]
        headers.reserveCapacity(8 + message.headers.count)
        if let subject = message.subject { headers[Self.attribute + "subject"] = .string(subject) }
        if let key = message.key { headers[Header.key] = .string(key) }
        if routingKey != message.topic { headers[Header.topic] = .string(message.topic) }
        for (name, value) in message.headers { headers[Self.attribute + name] = .string(value) }
        var properties = AMQPProperties(
            contentType: message.dataContentType,
            headers: headers,
            persistent: true,
            messageID: message.id,
            timestamp: UInt64(max(0, message.time.microseconds / 1_000_000))
        )
        if message.type.utf8.count <= 255 { properties.type = message.type }
        if message.source.utf8.count <= 255 { properties.appID = message.source }
        if let correlation = message.headers["correlationid"], correlation.utf8.count <= 255 {
            properties.correlationID = correlation
        }
        if priorities > 0, let priority = message.headers["priority"].flatMap({ UInt8($0) }) {
            properties.priority = min(priority, priorities)
        }
        return AMQPMessage(
            ByteBuffer(bytes: message.data),
            exchange: exchange,
            routingKey: routingKey,
            properties: properties
        )
    }

    static func incoming(_ delivery: AMQPDelivery, now: Timestamp, makeID: () -> String) -> Incoming {
        let properties = delivery.properties
        let table = properties.headers ?? [:]
        let given = table[Self.attribute + "id"]?.string ?? properties.messageID
        let id = given.flatMap { RequestContext.isAcceptableID($0) ? $0 : nil }
        let topic = table[Header.topic]?.string ?? delivery.routingKey
        let sent = properties.timestamp.map { Timestamp(microseconds: Int64(min($0, 9_000_000_000_000)) * 1_000_000) }
        var headers: [String: String] = [:]
        for (name, value) in table {
            if name.hasPrefix(Self.attribute) {
                let short = String(name.dropFirst(Self.attribute.count))
                if !Self.core.contains(short), let text = value.string { headers[short] = text }
            } else if !name.hasPrefix(Header.prefix), !name.hasPrefix("x-"), let text = Self.text(value) {
                headers[name.lowercased()] = text
            }
        }
        if headers["correlationid"] == nil, let correlation = properties.correlationID, !correlation.isEmpty {
            headers["correlationid"] = correlation
        }
        let type = table[Self.attribute + "type"]?.string ?? properties.type ?? topic
        let source = table[Self.attribute + "source"]?.string ?? properties.appID ?? "rabbitmq"
        let message = Message(
            id: id ?? makeID(),
            source: source.isEmpty ? "rabbitmq" : source,
            type: type.isEmpty ? "message" : type,
            subject: table[Self.attribute + "subject"]?.string,
            time: table[Self.attribute + "time"]?.string.flatMap { Timestamp($0) } ?? sent ?? now,
            dataContentType: properties.contentType,
            data: Array(delivery.body.readableBytesView),
            topic: topic,
            key: table[Header.key]?.string.flatMap { $0.isEmpty ? nil : $0 },
            headers: headers
        )
        return Incoming(
            message: message,
            publishedAt: table[Header.published]?.integer.map { Timestamp(microseconds: $0) } ?? sent ?? now,
            copy: "\(message.id) \(table[Header.copy]?.string ?? "")",
            // Whoever may publish may write anything here.
            attempts: Int(min(1_000_000, max(0, table[Header.attempts]?.integer ?? 0))),
            notBefore: table[Header.notBefore]?.integer.map { Timestamp(microseconds: $0) },
            isNameless: id == nil
        )
    }

    private static let core: Set<String> = ["specversion", "id", "source", "type", "time", "subject"]

    private static func text(_ value: AMQPValue) -> String? {
        if case .bool(let flag) = value { return flag ? "true" : "false" }
        return value.string ?? value.integer.map(String.init)
    }
}
