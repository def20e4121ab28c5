/// A JSON text as a tree: what a request may send in any shape, and what filters look into.
///
/// Members keep their order and repetitions; numbers keep their text, so that nothing is rounded.
package enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([Member])

    package struct Member: Sendable, Equatable {
        package var key: String
        package var value: JSONValue

        package init(_ key: String, _ value: JSONValue) {
            self.key = key
            self.value = value
        }
    }

    /// The member of this exact name; the last one counts, as in Go.
    package subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.last { $0.key == key }?.value
    }

    /// What Go calls the kind of value, in its messages.
    package var goKind: String {
        switch self {
        case .null: "null"
        case .bool: "bool"
        case .number: "number"
        case .string: "string"
        case .array: "array"
        case .object: "object"
        }
    }

    package var string: String? { if case .string(let text) = self { text } else { nil } }
}

extension JSONValue {
    /// The text without spaces, or, when `indent` is not 0, over several lines.
    package func write(indent: Int = 0, into bytes: inout [UInt8], depth: Int = 0) {
        switch self {
        case .null: bytes += "null".utf8
        case .bool(let value): bytes += (value ? "true" : "false").utf8
        case .number(let text): bytes += text.utf8
        case .string(let text): Self.write(text, into: &bytes)
        case .array(let values):
            Self.list("[", "]", values, indent, &bytes, depth) { value, bytes in
                value.write(indent: indent, into: &bytes, depth: depth + 1)
            }
        case .object(let members):
            Self.list("{", "}", members, indent, &bytes, depth) { member, bytes in
                Self.write(member.key, into: &bytes)
                bytes += (indent > 0 ? ": " : ":").utf8
                member.value.write(indent: indent, into: &bytes, depth: depth + 1)
            }
        }
    }

    private static func list<Element>(
        _ open: String,
        _ close: String,
        _ elements: [Element],
        _ indent: Int,
        _ bytes: inout [UInt8],
        _ depth: Int,
        _ write: (Element, inout [UInt8]) -> Void
    ) {
        bytes += open.utf8
        for (index, element) in elements.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            Self.newLine(indent, depth + 1, &bytes)
            write(element, &bytes)
        }
        if !elements.isEmpty { Self.newLine(indent, depth, &bytes) }
        bytes += close.utf8
    }

    private static func newLine(_ indent: Int, _ depth: Int, _ bytes: inout [UInt8]) {
        guard indent > 0 else { return }
        bytes.append(UInt8(ascii: "\n"))
        bytes += repeatElement(UInt8(ascii: " "), count: indent * depth)
    }

    private static let hexDigits = Array("0123456789abcdef".utf8)

    /// A text in its quotation marks.
    package static func write(_ text: String, into bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        // Most texts are written as they are.
        let isWritten = text.utf8.withContiguousStorageIfAvailable { text in
            let isPlain = text.allSatisfy { $0 >= 0x20 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "\\") }
            if isPlain { bytes.append(contentsOf: text) }
            return isPlain
        }
        if isWritten != true { self.writeEscaped(text, into: &bytes) }
        bytes.append(UInt8(ascii: "\""))
    }

    private static func writeEscaped(_ text: String, into bytes: inout [UInt8]) {
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): bytes += #"\""#.utf8
            case UInt8(ascii: "\\"): bytes += #"\\"#.utf8
            case 0x0A: bytes += #"\n"#.utf8
            case 0x0D: bytes += #"\r"#.utf8
            case 0x09: bytes += #"\t"#.utf8
            case 0..<0x20:
                bytes += #"\u00"#.utf8
                bytes.append(Self.hexDigits[Int(byte >> 4)])
                bytes.append(Self.hexDigits[Int(byte & 15)])
            default: bytes.append(byte)
            }
        }
    }
}
