internal import NIOCore

/// Escapes what was just written to a buffer, in place. Almost nothing needs it, so the bytes are only looked at.
enum LogEscape {
    private static let upperHex = Array("0123456789ABCDEF".utf8)

    /// nginx's default: `"`, `\`, control characters and everything from 0x7F on as `\xXX`.
    static func standard(_ buffer: inout ByteBuffer, from start: Int) {
        guard Self.needs(buffer, from: start, { $0 < 0x20 || $0 >= 0x7F || $0 == 0x22 || $0 == 0x5C }) else { return }
        let bytes = Self.takeBack(&buffer, from: start)
        for byte in bytes {
            if byte < 0x20 || byte >= 0x7F || byte == 0x22 || byte == 0x5C {
                buffer.writeStaticString("\\x")
                buffer.writeInteger(Self.upperHex[Int(byte >> 4)])
                buffer.writeInteger(Self.upperHex[Int(byte & 0xF)])
            } else {
                buffer.writeInteger(byte)
            }
        }
    }

    /// What must not stand in a string of JSON. nginx leaves bytes that are no UTF-8 as they are; the gateway's own
    /// log is always JSON, so there they are replaced.
    static func json(_ buffer: inout ByteBuffer, from start: Int, repairsUTF8: Bool) {
        guard Self.needs(buffer, from: start, { $0 < 0x20 || $0 == 0x22 || $0 == 0x5C || $0 >= 0x80 }) else { return }
        var bytes = Self.takeBack(&buffer, from: start)
        if repairsUTF8 { bytes = ByteBufferView(ByteBuffer(string: String(decoding: bytes, as: UTF8.self))) }
        for byte in bytes {
            switch byte {
            case 0x22: buffer.writeStaticString("\\\"")
            case 0x5C: buffer.writeStaticString("\\\\")
            case 0x0A: buffer.writeStaticString("\\n")
            case 0x0D: buffer.writeStaticString("\\r")
            case 0x09: buffer.writeStaticString("\\t")
            case 0x08: buffer.writeStaticString("\\b")
            case 0x0C: buffer.writeStaticString("\\f")
            case 0..<0x20:
                buffer.writeStaticString("\\u00")
                buffer.writeInteger(Self.upperHex[Int(byte >> 4)])
                buffer.writeInteger(Self.upperHex[Int(byte & 0xF)])
            default: buffer.writeInteger(byte)
            }
        }
    }

    private static func needs(_ buffer: ByteBuffer, from start: Int, _ test: (UInt8) -> Bool) -> Bool {
        let bytes = buffer.readableBytesUInt8Span
        for index in max(0, min(start - buffer.readerIndex, bytes.count))..<bytes.count where test(bytes[index]) {
            return true
        }
        return false
    }

    /// Takes the bytes from `start` on off the buffer's end.
    private static func takeBack(_ buffer: inout ByteBuffer, from start: Int) -> ByteBufferView {
        // A copy: what is written next goes where they stand.
        let bytes = buffer.getBytes(at: start, length: buffer.writerIndex - start) ?? []
        buffer.moveWriterIndex(to: start)
        return ByteBufferView(ByteBuffer(bytes: bytes))
    }
}
