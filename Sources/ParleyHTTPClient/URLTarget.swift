/// A request target in the form that the HTTP client library leaves alone.
///
/// The library reads the target as part of a URL. A URL with one character that does not belong there (`[` in a query,
/// as browsers send it) is escaped *as a whole*: `%20` beside it becomes `%2520`, which means something else. So what
/// does not belong there is escaped here, and what is an escape already stays one.
package enum URLTarget {
    /// `target` is a path with perhaps a query, in visible ASCII.
    package static func escaped(_ target: String) -> String {
        // Nothing to escape and no escape, as almost always: looked at in place.
        if target.utf8.allSatisfy(Self.isPlain) { return target }
        let bytes = Array(target.utf8)
        guard !bytes.indices.allSatisfy({ Self.belongs(at: $0, in: bytes) }) else { return target }
        var text: [UInt8] = []
        for (index, byte) in bytes.enumerated() {
            if Self.belongs(at: index, in: bytes) {
                text.append(byte)
            } else {
                text += [UInt8(ascii: "%"), Self.digit(byte >> 4), Self.digit(byte & 0xF)]
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// RFC 3986: unreserved, sub-delims, `:`, `@`, `/`, `?`; and `%` if two hexadecimal digits follow.
    private static func belongs(at index: Int, in bytes: [UInt8]) -> Bool {
        switch bytes[index] {
        case UInt8(ascii: "%"):
            index + 2 < bytes.count && Self.isHex(bytes[index + 1]) && Self.isHex(bytes[index + 2])
        case let byte: Self.isPlain(byte)
        }
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), 48...57: true
        case UInt8(ascii: "/"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "?"), UInt8(ascii: "="): true
        case let byte: "_~!$&'()*+,;:@".utf8.contains(byte)
        }
    }

    private static func isHex(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...70).contains(byte) || (97...102).contains(byte)
    }

    private static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 48 + value : 55 + value }
}
