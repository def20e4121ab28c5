/// Reads JSON strictly (RFC 8259) into a ``JSONValue``, with Go's words for what is wrong: Consul's clients know them.
package struct JSONReader {
    /// Why a text is not JSON.
    package struct Fault: Error, Equatable {
        package var message: String
    }

    /// Deeper nesting is refused: no honest request has it, and it costs stack to read.
    package static let maxDepth = 64

    private let bytes: [UInt8]
    private var position = 0

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The first value of `bytes`. Like Go's decoder, and therefore Consul, it does not look at what follows.
    package static func read(_ bytes: [UInt8]) throws(Fault) -> JSONValue {
        var reader = JSONReader(bytes)
        reader.skipSpace()
        guard reader.current != nil else { throw Fault(message: "EOF") }
        return try reader.value(depth: 0)
    }

    private var current: UInt8? { self.position < self.bytes.count ? self.bytes[self.position] : nil }

    private mutating func skipSpace() {
        while let byte = self.current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
            self.position += 1
        }
    }

    private func invalid(_ place: String) -> Fault {
        guard let byte = self.current else { return Fault(message: "unexpected EOF") }
        let character = (32...126).contains(byte) ? "'\(Character(UnicodeScalar(byte)))'" : "'\\x\(Self.hex(byte))'"
        return Fault(message: "invalid character \(character) \(place)")
    }

    private static func hex(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }

    private mutating func value(depth: Int) throws(Fault) -> JSONValue {
        guard depth < Self.maxDepth else { throw Fault(message: "exceeded max depth") }
        self.skipSpace()
        switch self.current {
        case UInt8(ascii: "{"): return try self.object(depth: depth)
        case UInt8(ascii: "["): return try self.array(depth: depth)
        case UInt8(ascii: "\""): return .string(try self.string())
        case UInt8(ascii: "t"): return try self.literal("true", .bool(true))
        case UInt8(ascii: "f"): return try self.literal("false", .bool(false))
        case UInt8(ascii: "n"): return try self.literal("null", .null)
        case .some(UInt8(ascii: "-")), .some(UInt8(ascii: "0")...UInt8(ascii: "9")): return try self.number()
        default: throw self.invalid("looking for beginning of value")
        }
    }

    private mutating func literal(_ text: String, _ value: JSONValue) throws(Fault) -> JSONValue {
        for byte in text.utf8 {
            guard self.current == byte else { throw self.invalid("in literal \(text)") }
            self.position += 1
        }
        return value
    }

    private mutating func object(depth: Int) throws(Fault) -> JSONValue {
        self.position += 1
        var members: [JSONValue.Member] = []
        self.skipSpace()
        if self.take("}") { return .object([]) }
        while true {
            self.skipSpace()
            guard self.current == UInt8(ascii: "\"") else {
                throw self.invalid("looking for beginning of object key string")
            }
            let key = try self.string()
            self.skipSpace()
            guard self.take(":") else { throw self.invalid("after object key") }
            members.append(JSONValue.Member(key, try self.value(depth: depth + 1)))
            self.skipSpace()
            if self.take("}") { return .object(members) }
            guard self.take(",") else { throw self.invalid("after object key:value pair") }
        }
    }

    private mutating func array(depth: Int) throws(Fault) -> JSONValue {
        self.position += 1
        var values: [JSONValue] = []
        self.skipSpace()
        if self.take("]") { return .array([]) }
        while true {
            values.append(try self.value(depth: depth + 1))
            self.skipSpace()
            if self.take("]") { return .array(values) }
            guard self.take(",") else { throw self.invalid("after array element") }
        }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard self.current == UInt8(ascii: character) else { return false }
        self.position += 1
        return true
    }

    private mutating func digits() throws(Fault) {
        guard let first = self.current, (48...57).contains(first) else { throw self.invalid("in numeric literal") }
        while let byte = self.current, (48...57).contains(byte) { self.position += 1 }
    }

    private mutating func number() throws(Fault) -> JSONValue {
        let start = self.position
        _ = self.take("-")
        if !self.take("0") { try self.digits() }
        if self.take(".") { try self.digits() }
        if self.take("e") || self.take("E") {
            if !self.take("+") { _ = self.take("-") }
            try self.digits()
        }
        return .number(String(decoding: self.bytes[start..<self.position], as: UTF8.self))
    }

    private mutating func string() throws(Fault) -> String {
        self.position += 1
        var text: [UInt8] = []
        while let byte = self.current {
            switch byte {
            case UInt8(ascii: "\""):
                self.position += 1
                // Broken UTF-8 becomes U+FFFD, as in Go.
                return String(decoding: text, as: UTF8.self)
            case UInt8(ascii: "\\"):
                self.position += 1
                try self.escape(into: &text)
            case 0..<0x20: throw self.invalid("in string literal")
            default:
                text.append(byte)
                self.position += 1
            }
        }
        throw Fault(message: "unexpected EOF")
    }

    private mutating func escape(into text: inout [UInt8]) throws(Fault) {
        guard let byte = self.current else { throw Fault(message: "unexpected EOF") }
        let plain: [UInt8: UInt8] = [34: 34, 92: 92, 47: 47, 98: 8, 102: 12, 110: 10, 114: 13, 116: 9]
        if let plain = plain[byte] {
            text.append(plain)
            self.position += 1
            return
        }
        guard byte == UInt8(ascii: "u") else { throw self.invalid("in string escape code") }
        self.position += 1
        var unit = UInt32(try self.hexUnit())
        if (0xD800..<0xDC00).contains(unit), self.bytes[self.position...].starts(with: #"\u"#.utf8) {
            let before = self.position
            self.position += 2
            let low = UInt32(try self.hexUnit())
            if (0xDC00..<0xE000).contains(low) {
                unit = 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
            } else {
                self.position = before
            }
        }
        // Half of a pair becomes U+FFFD, as in Go.
        text += Array(String(Unicode.Scalar(unit) ?? "\u{FFFD}").utf8)
    }

    private mutating func hexUnit() throws(Fault) -> UInt16 {
        var unit: UInt16 = 0
        for _ in 0..<4 {
            guard let byte = self.current, let digit = Character(UnicodeScalar(byte)).hexDigitValue else {
                throw self.invalid("in \\u hexadecimal character escape")
            }
            unit = unit << 4 | UInt16(digit)
            self.position += 1
        }
        return unit
    }
}
