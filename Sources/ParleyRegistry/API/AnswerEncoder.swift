internal import ParleyDiscovery

/// Writes Codable values as JSON, straight into bytes.
///
/// Foundation's encoder takes much longer for the same text, which decided how many questions a registry
/// answers while its state changes. Members come in the order in which a value encodes them, those of dictionaries
/// sorted: the same answer has the same bytes.
///
/// It writes what Consul's answers consist of. Nested containers, and numbers that JSON does not know, are errors.
enum AnswerEncoder {
    static func encode(_ value: some Encodable) throws -> [UInt8] {
        let writer = JSONWriter()
        try writer.write(value)
        if let unsupported = writer.unsupported { throw unsupported }
        return writer.bytes
    }
}

/// The bytes so far; also the encoder of each value in turn.
private final class JSONWriter: Encoder {
    /// What the value that is being encoded has begun.
    private enum Begun {
        case nothing, value, array, object
    }

    private(set) var bytes: [UInt8] = []
    /// What cannot be said where it is found.
    private(set) var unsupported: EncodingError?
    private var begun = Begun.nothing

    var codingPath: [any CodingKey] { [] }
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
        if self.begun != .object { self.begin(.object, "{") }
        return KeyedEncodingContainer(Members<Key>(writer: self))
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        if self.begun != .array { self.begin(.array, "[") }
        return Elements(writer: self)
    }

    func singleValueContainer() -> any SingleValueEncodingContainer { OneValue(writer: self) }

    private func begin(_ begun: Begun, _ mark: Unicode.Scalar) {
        self.begun = begun
        self.bytes.append(UInt8(ascii: mark))
    }

    // MARK: Values

    func write(_ value: String) { JSONValue.write(value, into: &self.bytes) }
    func write(_ value: Bool) { self.bytes += (value ? "true" : "false").utf8 }
    func writeNumber(_ value: some BinaryInteger) { self.bytes += String(value).utf8 }
    func writeNil() { self.bytes += "null".utf8 }

    func write<Value: Encodable>(_ value: Value) throws {
        let outer = self.begun
        self.begun = .nothing
        if let members = value as? any StringKeyed {
            try members.write(to: self)
        } else if let number = value as? any BinaryInteger {
            self.writeNumber(number)
            self.begun = .value
        } else if value is any BinaryFloatingPoint {
            self.refuse(value, "a fraction")
        } else {
            // Texts and truths come back by the way of a single value.
            try value.encode(to: self)
        }
        switch self.begun {
        case .nothing: self.bytes += "{}".utf8
        case .value: break
        case .array: self.bytes.append(UInt8(ascii: "]"))
        case .object: self.bytes.append(UInt8(ascii: "}"))
        }
        self.begun = outer
    }

    /// What `write` writes is all that the value says.
    func writeAll(_ write: () throws -> Void) rethrows {
        try write()
        self.begun = .value
    }

    func writeMembers(_ members: some Sequence<(key: String, value: some Encodable)>) throws {
        self.begin(.object, "{")
        for (key, value) in members {
            self.key(key)
            try self.write(value)
        }
    }

    func key(_ key: String) {
        self.separate(after: "{")
        JSONValue.write(key, into: &self.bytes)
        self.bytes.append(UInt8(ascii: ":"))
    }

    /// No value ends with what begins one.
    func separate(after mark: Unicode.Scalar) {
        if self.bytes.last != UInt8(ascii: mark) { self.bytes.append(UInt8(ascii: ",")) }
    }

    func refuse(_ value: Any, _ what: String) {
        let context = EncodingError.Context(codingPath: [], debugDescription: "\(what) has no place in an answer")
        self.unsupported = self.unsupported ?? EncodingError.invalidValue(value, context)
    }
}

/// A dictionary whose keys are texts.
private protocol StringKeyed {
    func write(to writer: JSONWriter) throws
}

extension Dictionary: StringKeyed where Key == String, Value: Encodable {
    fileprivate func write(to writer: JSONWriter) throws {
        try writer.writeMembers(self.sorted { $0.key < $1.key })
    }
}

private struct Members<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let writer: JSONWriter

    var codingPath: [any CodingKey] { [] }

    func encodeNil(forKey key: Key) {
        self.writer.key(key.stringValue)
        self.writer.writeNil()
    }

    func encode(_ value: String, forKey key: Key) {
        self.writer.key(key.stringValue)
        self.writer.write(value)
    }

    func encode(_ value: Bool, forKey key: Key) {
        self.writer.key(key.stringValue)
        self.writer.write(value)
    }

    func encode(_ value: Int, forKey key: Key) {
        self.writer.key(key.stringValue)
        self.writer.writeNumber(value)
    }

    func encode(_ value: UInt64, forKey key: Key) {
        self.writer.key(key.stringValue)
        self.writer.writeNumber(value)
    }

    func encode<Value: Encodable>(_ value: Value, forKey key: Key) throws {
        self.writer.key(key.stringValue)
        try self.writer.write(value)
    }

    func nestedContainer<Nested: CodingKey>(
        keyedBy type: Nested.Type,
        forKey key: Key
    ) -> KeyedEncodingContainer<Nested> {
        self.superEncoder().container(keyedBy: type)
    }

    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
        self.superEncoder().unkeyedContainer()
    }

    func superEncoder(forKey key: Key) -> any Encoder { self.superEncoder() }

    func superEncoder() -> any Encoder { self.writer.elsewhere() }
}

private struct Elements: UnkeyedEncodingContainer {
    let writer: JSONWriter
    private(set) var count = 0

    init(writer: JSONWriter) { self.writer = writer }

    var codingPath: [any CodingKey] { [] }

    private mutating func next() {
        self.count += 1
        self.writer.separate(after: "[")
    }

    mutating func encodeNil() {
        self.next()
        self.writer.writeNil()
    }

    mutating func encode(_ value: String) {
        self.next()
        self.writer.write(value)
    }

    mutating func encode<Value: Encodable>(_ value: Value) throws {
        self.next()
        try self.writer.write(value)
    }

    func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) -> KeyedEncodingContainer<Nested> {
        self.superEncoder().container(keyedBy: type)
    }

    func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { self.superEncoder().unkeyedContainer() }

    func superEncoder() -> any Encoder { self.writer.elsewhere() }
}

private struct OneValue: SingleValueEncodingContainer {
    let writer: JSONWriter

    var codingPath: [any CodingKey] { [] }

    func encodeNil() { self.writer.writeAll { self.writer.writeNil() } }
    func encode(_ value: String) { self.writer.writeAll { self.writer.write(value) } }
    func encode(_ value: Bool) { self.writer.writeAll { self.writer.write(value) } }
    func encode<Value: Encodable>(_ value: Value) throws { try self.writer.writeAll { try self.writer.write(value) } }
}

extension JSONWriter {
    /// Where nested containers write to: nothing of it comes into the answer, which is refused.
    fileprivate func elsewhere() -> JSONWriter {
        self.refuse(self.bytes.count, "a nested container")
        return JSONWriter()
    }
}
