/// The small part of JSON that rows hold: arrays and objects of strings, `null` and each other.
///
/// Written by hand because it runs for every row on the writer's thread, where a `Codable` pass costs more than the
/// statement. What is read may be anything (an editor, another program): it is checked byte by byte and never traps.
enum JSONText: Equatable {
    case null
    case string(String)
    case array([JSONText])
    case object([(name: String, value: JSONText)])

    static func == (lhs: JSONText, rhs: JSONText) -> Bool {
        switch (lhs, rhs) {
        case (.null, .null): true
        case (.string(let lhs), .string(let rhs)): lhs == rhs
        case (.array(let lhs), .array(let rhs)): lhs == rhs
        case (.object(let lhs), .object(let rhs)): lhs.elementsEqual(rhs) { $0.name == $1.name && $0.value == $1.value }
        default: false
        }
    }

    var string: String? { if case .string(let value) = self { value } else { nil } }

    /// `nil` when `text` is anything else.
    static func parse(_ text: String) -> JSONText? {
        var text = text
        return text.withUTF8 { bytes in
            var parser = Parser(bytes: bytes)
            guard let value = parser.value(depth: 0) else { return nil }
            parser.skipSpace()
            return parser.position == bytes.count ? value : nil
        }
    }

    // MARK: Writing

    static func write(string: String, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        for byte in string.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                output.append(UInt8(ascii: "\\"))
                output.append(byte)
            case 0..<32:
                output.append(contentsOf: "\\u00".utf8)
                output.append(Self.hexDigit(byte >> 4))
                output.append(Self.hexDigit(byte & 15))
            default: output.append(byte)
            }
        }
        output.append(UInt8(ascii: "\""))
    }

    static func text(of strings: [String]) -> String {
        var output: [UInt8] = [UInt8(ascii: "[")]
        for (index, string) in strings.enumerated() {
            if index > 0 { output.append(UInt8(ascii: ",")) }
            Self.write(string: string, to: &output)
        }
        output.append(UInt8(ascii: "]"))
        return String(decoding: output, as: UTF8.self)
    }

    /// Names in order, so that equal dictionaries give equal texts.
    static func text(of strings: [String: String]) -> String {
        if strings.isEmpty { return "{}" }
        var output: [UInt8] = [UInt8(ascii: "{")]
        output.reserveCapacity(strings.count * 48)
        for (name, value) in strings.sorted(by: { $0.key < $1.key }) {
            if output.count > 1 { output.append(UInt8(ascii: ",")) }
            Self.write(string: name, to: &output)
            output.append(UInt8(ascii: ":"))
            Self.write(string: value, to: &output)
        }
        output.append(UInt8(ascii: "}"))
        return String(decoding: output, as: UTF8.self)
    }

    /// `nil` when `text` is no array of strings.
    static func strings(_ text: String) -> [String]? {
        guard case .array(let elements)? = Self.parse(text) else { return nil }
        let strings = elements.compactMap(\.string)
        return strings.count == elements.count ? strings : nil
    }

    /// `nil` when `text` is no object of strings.
    static func dictionary(_ text: String) -> [String: String]? {
        if text == "{}" { return [:] }
        guard case .object(let members)? = Self.parse(text) else { return nil }
        var strings: [String: String] = [:]
        for member in members {
            guard let value = member.value.string else { return nil }
            strings[member.name] = value
        }
        return strings
    }

    private static func hexDigit(_ value: UInt8) -> UInt8 { value < 10 ? 48 + value : 87 + value }
}

private struct Parser {
    let bytes: UnsafeBufferPointer<UInt8>
    var position = 0

    /// Rows hold two levels; a file full of brackets must not use up the stack.
    private static let maximumDepth = 8

    init(bytes: UnsafeBufferPointer<UInt8>) {
        self.bytes = bytes
    }

    private var next: UInt8? { self.position < self.bytes.count ? self.bytes[self.position] : nil }

    mutating func skipSpace() {
        while let byte = self.next, byte == 32 || byte == 10 || byte == 13 || byte == 9 { self.position += 1 }
    }

    mutating func take(_ byte: UInt8) -> Bool {
        guard self.next == byte else { return false }
        self.position += 1
        return true
    }

    mutating func value(depth: Int) -> JSONText? {
        guard depth < Self.maximumDepth else { return nil }
        self.skipSpace()
        switch self.next {
        case UInt8(ascii: "\""): return self.string().map(JSONText.string)
        case UInt8(ascii: "["): return self.array(depth: depth)
        case UInt8(ascii: "{"): return self.object(depth: depth)
        case UInt8(ascii: "n"):
            for byte in "null".utf8 where !self.take(byte) { return nil }
            return .null
        default: return nil
        }
    }

    private mutating func array(depth: Int) -> JSONText? {
        self.position += 1
        var elements: [JSONText] = []
        self.skipSpace()
        if self.take(UInt8(ascii: "]")) { return .array([]) }
        while let element = self.value(depth: depth + 1) {
            elements.append(element)
            self.skipSpace()
            if self.take(UInt8(ascii: "]")) { return .array(elements) }
            guard self.take(UInt8(ascii: ",")) else { return nil }
        }
        return nil
    }

    private mutating func object(depth: Int) -> JSONText? {
        self.position += 1
        var members: [(name: String, value: JSONText)] = []
        self.skipSpace()
        if self.take(UInt8(ascii: "}")) { return .object([]) }
        while true {
            self.skipSpace()
            guard let name = self.string() else { return nil }
            self.skipSpace()
            guard self.take(UInt8(ascii: ":")), let value = self.value(depth: depth + 1) else { return nil }
            members.append((name, value))
            self.skipSpace()
            if self.take(UInt8(ascii: "}")) { return .object(members) }
            guard self.take(UInt8(ascii: ",")) else { return nil }
        }
    }

    private mutating func string() -> String? {
        guard self.take(UInt8(ascii: "\"")) else { return nil }
        let start = self.position
        // Nearly every string has no escape, and is copied as it stands.
        while let byte = self.next, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte >= 32 {
            self.position += 1
        }
        let plain = UnsafeBufferPointer(rebasing: self.bytes[start..<self.position])
        if self.take(UInt8(ascii: "\"")) { return String(decoding: plain, as: UTF8.self) }
        var output = Array(plain)
        while let byte = self.next {
            self.position += 1
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: output, as: UTF8.self)
            case UInt8(ascii: "\\"): guard self.escape(into: &output) else { return nil }
            case 0..<32: return nil
            default: output.append(byte)
            }
        }
        return nil
    }

    private mutating func escape(into output: inout [UInt8]) -> Bool {
        guard let byte = self.next else { return false }
        self.position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): output.append(byte)
        case UInt8(ascii: "n"): output.append(10)
        case UInt8(ascii: "r"): output.append(13)
        case UInt8(ascii: "t"): output.append(9)
        case UInt8(ascii: "b"): output.append(8)
        case UInt8(ascii: "f"): output.append(12)
        case UInt8(ascii: "u"):
            guard var scalar = self.hexadecimal() else { return false }
            if (0xD800..<0xDC00).contains(scalar) {
                guard self.take(UInt8(ascii: "\\")), self.take(UInt8(ascii: "u")), let low = self.hexadecimal(),
                    (0xDC00..<0xE000).contains(low)
                else { return false }
                scalar = 0x1_0000 + (scalar - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let character = Unicode.Scalar(scalar) else { return false }
            output.append(contentsOf: UTF8.encode(character).map(Array.init) ?? [])
        default: return false
        }
        return true
    }

    private mutating func hexadecimal() -> UInt32? {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = self.next else { return nil }
            self.position += 1
            switch byte {
            case 48...57: value = value << 4 | UInt32(byte - 48)
            case 65...70: value = value << 4 | UInt32(byte - 55)
            case 97...102: value = value << 4 | UInt32(byte - 87)
            default: return nil
            }
        }
        return value
    }
}
