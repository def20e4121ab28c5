internal import NIOCore

/// Which bytes are written as `%XX`: nginx's tables, each for what the text will be read as.
struct EscapeTable: Sendable {
    /// One bit for each byte below 64, and for each from 64 on.
    private let low: UInt64
    private let high: UInt64
    /// The bytes from 128 on.
    private let escapesRest: Bool

    /// A path.
    static let uri = EscapeTable(low: 0xD000_002D_FFFF_FFFF, high: 0xB800_0001_5000_0000)
    /// A value within the arguments: also `&`, `+` and `;`.
    static let args = EscapeTable(low: 0xD800_086D_FFFF_FFFF, high: 0xB800_0001_5000_0000)
    /// What could end a line of HTTP/1: rules can bring decoded bytes anywhere, and nginx lets them through.
    static let controls = EscapeTable(low: 0xFFFF_FFFF, high: 1 << 63, escapesRest: false)
    /// The same, and the space, which ends the target in a request line.
    static let target = EscapeTable(low: 0x1_FFFF_FFFF, high: 1 << 63, escapesRest: false)

    private init(low: UInt64, high: UInt64, escapesRest: Bool = true) {
        self.low = low
        self.high = high
        self.escapesRest = escapesRest
    }

    func isEscaped(_ byte: UInt8) -> Bool {
        if byte < 64 { return (self.low &>> UInt64(byte)) & 1 != 0 }
        if byte < 128 { return (self.high &>> UInt64(byte & 63)) & 1 != 0 }
        return self.escapesRest
    }

    func write(_ bytes: ByteBufferView, into buffer: inout ByteBuffer) {
        var run = bytes.startIndex
        for index in bytes.indices where self.isEscaped(bytes[index]) {
            buffer.writeBytes(bytes[run..<index])
            run = bytes.index(after: index)
            let byte = bytes[index]
            buffer.writeInteger(0x25 as UInt8)
            buffer.writeInteger(Hexadecimal.digit(byte >> 4))
            buffer.writeInteger(Hexadecimal.digit(byte & 15))
        }
        buffer.writeBytes(bytes[run...])
    }
}

enum Hexadecimal {
    static func value(of digit: UInt8) -> UInt8? {
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x41...0x46: digit - 0x37
        case 0x61...0x66: digit - 0x57
        default: nil
        }
    }

    /// - Parameter value: Below 16.
    static func digit(_ value: UInt8) -> UInt8 { value < 10 ? 0x30 &+ value : 0x37 &+ value }
}

/// Text within a page.
enum HTMLText {
    static func write(_ bytes: ByteBufferView, into buffer: inout ByteBuffer) {
        for byte in bytes {
            switch byte {
            case 0x3C: buffer.writeStaticString("&lt;")
            case 0x3E: buffer.writeStaticString("&gt;")
            case 0x26: buffer.writeStaticString("&amp;")
            case 0x22: buffer.writeStaticString("&quot;")
            default: buffer.writeInteger(byte)
            }
        }
    }
}

extension UInt8 {
    /// In lower case, when it is a letter of ASCII.
    var lowercased: UInt8 { self &- 0x41 < 26 ? self | 0x20 : self }
}
