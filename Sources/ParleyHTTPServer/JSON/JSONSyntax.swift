/// Reads JSON strictly (RFC 8259) and says where it ends to be JSON.
///
/// The decoder that we use says only "not valid JSON", also when a number does not fit, and lets a trailing comma pass.
/// Somebody who writes a request by hand deserves the line and the column.
struct JSONSyntax {
    struct Fault: Error, Equatable {
        /// Counted from 1, columns in bytes.
        var line: Int
        var column: Int
        var reason: String
    }

    /// A number that is no 64-bit whole number: right where a fraction is expected, and the likely reason where not.
    struct OddNumber: Equatable {
        var path: String
        var text: String
    }

    /// Deeper nesting is refused: no honest request has it, and it costs stack to read.
    static let maxDepth = 128

    private let bytes: [UInt8]
    private var position = 0
    private var path: [String] = []
    private var oddNumber: OddNumber?

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The first number that is not a whole one, in a text that is JSON.
    static func check(_ bytes: [UInt8]) throws(Fault) -> OddNumber? {
        var reader = JSONSyntax(bytes)
        reader.skipSpace()
        try reader.value(depth: 0)
        reader.skipSpace()
        if reader.position < bytes.count { throw reader.fault("something follows the value") }
        return reader.oddNumber
    }

    private var current: UInt8? { self.position < self.bytes.count ? self.bytes[self.position] : nil }

    private func fault(_ reason: String) -> Fault {
        let before = self.bytes.prefix(self.position)
        let lineStart = before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
        let line = before.reduce(1) { $0 + ($1 == UInt8(ascii: "\n") ? 1 : 0) }
        return Fault(line: line, column: self.position - lineStart + 1, reason: reason)
    }

    /// What stands here instead of what should.
    private func expected(_ what: String) -> Fault {
        guard let byte = self.current else { return self.fault("it ends where \(what) should be") }
        let found = (33...126).contains(byte) ? "`\(Character(UnicodeScalar(byte)))`" : "a byte of value \(byte)"
        return self.fault("\(found) stands where \(what) should be")
    }

    private mutating func skipSpace() {
        while let byte = self.current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
            self.position += 1
        }
    }

    private mutating func take(_ byte: Unicode.Scalar) -> Bool {
        guard self.current == UInt8(truncatingIfNeeded: byte.value) else { return false }
        self.position += 1
        return true
    }

    private mutating func value(depth: Int) throws(Fault) {
        guard depth <= Self.maxDepth else { throw self.fault("it is nested deeper than \(Self.maxDepth)") }
        switch self.current {
        case UInt8(ascii: "{"): try self.object(depth: depth)
        case UInt8(ascii: "["): try self.array(depth: depth)
        case UInt8(ascii: "\""): _ = try self.string()
        case UInt8(ascii: "t"): try self.word("true")
        case UInt8(ascii: "f"): try self.word("false")
        case UInt8(ascii: "n"): try self.word("null")
        case UInt8(ascii: "-"), .some(48...57): try self.number()
        default: throw self.expected("a value")
        }
    }

    private mutating func object(depth: Int) throws(Fault) {
        self.position += 1
        self.skipSpace()
        if self.take("}") { return }
        while true {
            guard self.current == UInt8(ascii: "\"") else { throw self.expected("a member's name in quotes") }
            let name = try self.string()
            self.skipSpace()
            guard self.take(":") else { throw self.expected("`:`") }
            self.skipSpace()
            self.path.append(self.path.isEmpty ? name : "." + name)
            try self.value(depth: depth + 1)
            self.path.removeLast()
            self.skipSpace()
            if self.take("}") { return }
            guard self.take(",") else { throw self.expected("`,` or `}`") }
            self.skipSpace()
        }
    }

    private mutating func array(depth: Int) throws(Fault) {
        self.position += 1
        self.skipSpace()
        if self.take("]") { return }
        var index = 0
        while true {
            self.path.append("[\(index)]")
            try self.value(depth: depth + 1)
            self.path.removeLast()
            index += 1
            self.skipSpace()
            if self.take("]") { return }
            guard self.take(",") else { throw self.expected("`,` or `]`") }
            self.skipSpace()
        }
    }

    private mutating func word(_ word: String) throws(Fault) {
        for scalar in word.unicodeScalars {
            guard self.take(scalar) else { throw self.expected("`\(word)`") }
        }
    }

    private mutating func number() throws(Fault) {
        let start = self.position
        _ = self.take("-")
        if !self.take("0") { try self.digits() }
        if self.take(".") { try self.digits() }
        if self.take("e") || self.take("E") {
            if !self.take("+") { _ = self.take("-") }
            try self.digits()
        }
        let text = String(decoding: self.bytes[start..<self.position], as: UTF8.self)
        if self.oddNumber == nil, Int64(text) == nil {
            self.oddNumber = OddNumber(path: self.path.joined(), text: String(text.prefix(40)))
        }
    }

    private mutating func digits() throws(Fault) {
        guard let byte = self.current, (48...57).contains(byte) else { throw self.expected("a digit") }
        while let byte = self.current, (48...57).contains(byte) { self.position += 1 }
    }

    private mutating func string() throws(Fault) -> String {
        self.position += 1
        let start = self.position
        while let byte = self.current {
            switch byte {
            case UInt8(ascii: "\""):
                let text = self.bytes[start..<self.position]
                self.position += 1
                guard let string = String(validating: text, as: UTF8.self) else {
                    self.position = start
                    throw self.fault("the text that begins here is not UTF-8")
                }
                return string
            case UInt8(ascii: "\\"):
                try self.escape()
            case 0..<0x20:
                throw self.fault("a control character stands in a text; write it as an escape")
            default:
                self.position += 1
            }
        }
        throw self.fault("it ends within a text")
    }

    private mutating func escape() throws(Fault) {
        self.position += 1
        guard let byte = self.current else { throw self.fault("it ends within an escape") }
        guard byte == UInt8(ascii: "u") else {
            guard "\"\\/bfnrt".utf8.contains(byte) else { throw self.expected("an escape such as \\n") }
            self.position += 1
            return
        }
        self.position += 1
        let first = try self.hex()
        guard (0xD800...0xDFFF).contains(first) else { return }
        // Outside the first plane a character is a pair of escapes, and half a pair is nothing.
        guard first < 0xDC00, self.take("\\"), self.take("u"), (0xDC00...0xDFFF).contains(try self.hex()) else {
            throw self.fault("half a surrogate pair stands alone")
        }
    }

    private mutating func hex() throws(Fault) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            let digit = self.current.flatMap { UInt32(String(UnicodeScalar($0)), radix: 16) }
            guard let digit else { throw self.expected("a hexadecimal digit") }
            value = value << 4 | digit
            self.position += 1
        }
        return value
    }
}
