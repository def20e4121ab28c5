internal import Foundation
internal import ParleyCore
internal import ParleyMessaging
internal import ParleyRESP

/// A message as an entry of a stream: flat fields, so that `redis-cli XRANGE` shows all of it.
///
/// | Field | Holds |
/// |---|---|
/// | `event_type`, `timestamp` | type and time, under the names that the guide's own producers and consumers use |
/// | `order_id` … | the members of a flat JSON body, to be looked at; what counts is `data` |
/// | `ce_specversion`, `ce_id`, `ce_source`, `ce_type`, `ce_time`, `ce_subject`, `ce_…` | CloudEvents 1.0 |
/// | `content_type`, `data` | the body, byte for byte |
/// | `parley_topic`, `parley_key` | when there is one beside the type, when there is one |
/// | `parley_group`, `parley_id`, `parley_time` | on a replayed message: for whom, its former id and time |
///
/// An entry without `ce_specversion` comes from another program (`XADD order-events '*' event_type order.created
/// order_id 123`): its fields become a JSON object, and its place in the stream its id.
struct StreamMessageCoding: Sendable {
    let stream: String
    let foreignKeyField: String?
    let addsReadableFields: Bool

    init(_ configuration: StreamConfiguration) {
        self.stream = configuration.stream
        self.foreignKeyField = configuration.foreignKeyField
        self.addsReadableFields = configuration.addsReadableFields
    }

    enum Field {
        static let type = "event_type"
        static let time = "timestamp"
        static let attribute = "ce_"
        static let contentType = "content_type"
        static let data = "data"
        static let own = "parley_"
        static let topic = "parley_topic"
        static let key = "parley_key"
        static let group = "parley_group"
        static let id = "parley_id"
        static let formerTime = "parley_time"
    }

    struct Incoming {
        var message: Message
        var publishedAt: Timestamp
        /// The only group it is for; `nil` is all of them.
        var group: String?
    }

    // MARK: To the stream

    func fields(of message: Message) -> [StreamField] {
        var fields = [
            StreamField(Field.type, message.type), StreamField(Field.time, message.time.preciseDescription),
        ]
        if self.addsReadableFields { fields += Self.readable(message) }
        func attribute(_ name: String, _ value: String) { fields.append(StreamField(Field.attribute + name, value)) }
        attribute("specversion", "1.0")
        attribute("id", message.id)
        attribute("source", message.source)
        attribute("type", message.type)
        attribute("time", message.time.preciseDescription)
        if let subject = message.subject { attribute("subject", subject) }
        for (name, value) in message.headers.sorted(by: { $0.key < $1.key }) where !Self.core.contains(name) {
            attribute(name, value)
        }
        if message.topic != message.type { fields.append(StreamField(Field.topic, message.topic)) }
        if let key = message.key { fields.append(StreamField(Field.key, key)) }
        if let type = message.dataContentType { fields.append(StreamField(Field.contentType, type)) }
        fields.append(StreamField(Field.data, bytes: message.data))
        return fields
    }

    /// Longer bodies, and those with more members, are shown by `data` alone.
    private static let readableBytes = 16_384, readableMembers = 64

    private static func readable(_ message: Message) -> [StreamField] {
        guard message.data.first == UInt8(ascii: "{"), message.data.count <= Self.readableBytes,
            message.dataContentType?.contains("json") ?? true,
            let object = try? JSONDecoder().decode([String: Member].self, from: Data(message.data)),
            object.count <= Self.readableMembers
        else { return [] }
        return object.sorted { $0.key < $1.key }.compactMap { name, member in
            guard let text = member.text else { return nil }
            let name = Self.snakeCase(name)
            return Self.isReserved(name) ? nil : StreamField(name, text)
        }
    }

    /// A member of a JSON object; `nil` is one that is not flat.
    private struct Member: Decodable {
        let text: String?

        init(from decoder: any Decoder) throws {
            let value = try decoder.singleValueContainer()
            if let text = try? value.decode(String.self) {
                self.text = text
            } else if let flag = try? value.decode(Bool.self) {
                self.text = flag ? "true" : "false"
            } else if let number = try? value.decode(Int64.self) {
                self.text = String(number)
            } else if let number = try? value.decode(Double.self) {
                self.text = String(number)
            } else {
                self.text = nil
            }
        }
    }

    private static func snakeCase(_ name: String) -> String {
        var result = ""
        for character in name {
            if character.isUppercase, let last = result.last, last != "_", !last.isUppercase { result.append("_") }
            result += character.lowercased()
        }
        return result
    }

    private static func isReserved(_ name: String) -> Bool {
        [Field.type, Field.time, Field.contentType, Field.data].contains(name) || name.hasPrefix(Field.attribute)
            || name.hasPrefix(Field.own) || name.hasPrefix(DeadLetterFields.prefix) || name.isEmpty
    }

    /// The fields of a copy for one group only, under the id and the time of the first one: an inbox knows it by them.
    func readdressed(_ entry: StreamEntry, to group: String) -> [StreamField] {
        let former = [Field.group, Field.id, Field.formerTime].map { Array($0.utf8) }
        var fields = entry.fields.filter { !former.contains($0.name) }
        fields.append(StreamField(Field.group, group))
        if entry[Field.attribute + "id"] == nil {
            let message = self.incoming(entry).message
            fields.append(StreamField(Field.id, message.id))
            fields.append(StreamField(Field.formerTime, message.time.preciseDescription))
        }
        return fields
    }

    // MARK: From the stream

    /// What a foreign entry is called: its place, which stays the same however often it is delivered.
    func name(of id: StreamID) -> String { "\(self.stream)/\(id)" }

    func incoming(_ entry: StreamEntry) -> Incoming {
        let published = Timestamp(microseconds: Int64(min(entry.id.milliseconds, 9_000_000_000_000)) * 1_000)
        let message =
            entry[Field.attribute + "specversion"] == nil
            ? self.foreign(entry, published) : self.own(entry, published)
        return Incoming(message: message, publishedAt: published, group: entry[Field.group])
    }

    private func own(_ entry: StreamEntry, _ published: Timestamp) -> Message {
        var values: [String: String] = [:]
        var headers: [String: String] = [:]
        var data: [UInt8] = []
        for field in entry.fields {
            let name = String(decoding: field.name, as: UTF8.self)
            if name == Field.data {
                data = field.value
                continue
            }
            let value = String(decoding: field.value, as: UTF8.self)
            guard name.hasPrefix(Field.attribute) else {
                values[name] = value
                continue
            }
            let attribute = String(name.dropFirst(Field.attribute.count))
            if Self.core.contains(attribute) { values[name] = value } else { headers[attribute] = value }
        }
        func attribute(_ name: String) -> String? { values[Field.attribute + name].flatMap { $0.isEmpty ? nil : $0 } }
        let type = attribute("type") ?? values[Field.type] ?? "message"
        return Message(
            id: self.id(attribute("id") ?? values[Field.id], entry),
            source: attribute("source") ?? "redis",
            type: type,
            subject: attribute("subject"),
            time: attribute("time").flatMap { Timestamp($0) } ?? published,
            dataContentType: values[Field.contentType],
            data: data,
            topic: Self.topic(values[Field.topic] ?? type),
            key: values[Field.key].flatMap { $0.isEmpty || $0.utf8.count > 255 ? nil : $0 },
            headers: headers
        )
    }

    private static let core: Set<String> = ["specversion", "id", "source", "type", "time", "subject"]

    private func foreign(_ entry: StreamEntry, _ published: Timestamp) -> Message {
        var members: [String: String] = [:]
        for field in entry.fields {
            let name = String(decoding: field.name, as: UTF8.self)
            if !name.hasPrefix(Field.own) { members[name] = String(decoding: field.value, as: UTF8.self) }
        }
        let type = [members[Field.type], members["type"]].compactMap { $0 }.first { !$0.isEmpty } ?? "message"
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let key = self.foreignKeyField.flatMap { members[$0] }
        return Message(
            id: self.id(entry[Field.id], entry),
            source: "redis",
            type: type,
            time: (members[Field.time] ?? entry[Field.formerTime]).flatMap { Timestamp($0) } ?? published,
            data: (try? encoder.encode(members)).map { Array($0) } ?? [],
            topic: Self.topic(type),
            key: key.flatMap { $0.isEmpty || $0.utf8.count > 255 ? nil : $0 }
        )
    }

    private func id(_ given: String?, _ entry: StreamEntry) -> String {
        if let given, RequestContext.isAcceptableID(given) { return given }
        let name = self.name(of: entry.id)
        return RequestContext.isAcceptableID(name) ? name : "\(entry.id)"
    }

    /// Whoever may add may write anything; a type that is no topic is taken by groups that take everything.
    private static func topic(_ text: String) -> String {
        (try? TopicPattern.validate(topic: text)) == nil ? "message" : text
    }
}
