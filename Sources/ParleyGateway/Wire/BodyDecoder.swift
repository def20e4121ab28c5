package import NIOCore

/// Takes a body of HTTP/1 out of the bytes of its connection.
package struct BodyDecoder {
    package enum Event {
        case data(ByteBuffer)
        /// The body is complete; chunked ones may have fields behind them.
        case end(trailers: FieldBlock?)
        /// More bytes have to come.
        case more
        case broken(String)
    }

    private enum State {
        case length(Int64)
        case untilEnd
        /// The line with a chunk's size.
        case size
        case chunk(Int64)
        /// The end of line behind a chunk.
        case chunkEnd
        case trailers(ByteBuffer)
        case done
    }

    /// The longest line with a chunk's size and its extensions, which are thrown away; and all trailers together.
    private static let maxSizeLine = 4_096
    private static let maxTrailers = 8_192

    private var state: State

    package init(_ framing: BodyFraming) {
        switch framing {
        case .none: self.state = .done
        case .length(let count): self.state = count > 0 ? .length(count) : .done
        case .chunked: self.state = .size
        case .untilEnd: self.state = .untilEnd
        }
    }

    /// Whether the end of the connection is the end of the body.
    package var endsWithConnection: Bool {
        if case .untilEnd = self.state { return true }
        return false
    }

    package var isDone: Bool {
        if case .done = self.state { return true }
        return false
    }

    /// The next part. After `.end` nothing more is taken: what is left belongs to the next message.
    package mutating func next(_ buffer: inout ByteBuffer) -> Event {
        while true {
            switch self.state {
            case .done:
                return .end(trailers: nil)
            case .untilEnd:
                guard let data = Self.take(Int64.max, of: &buffer) else { return .more }
                return .data(data)
            case .length(let left):
                guard let data = Self.take(left, of: &buffer) else { return .more }
                let rest = left - Int64(data.readableBytes)
                self.state = rest == 0 ? .done : .length(rest)
                return .data(data)
            case .size:
                switch Self.sizeLine(buffer.readableBytesUInt8Span) {
                case .broken(let reason): return .broken(reason)
                case .more: return .more
                case .size(let size, let consumed):
                    buffer.moveReaderIndex(forwardBy: consumed)
                    self.state = size == 0 ? .trailers(ByteBuffer()) : .chunk(size)
                }
            case .chunk(let left):
                guard let data = Self.take(left, of: &buffer) else { return .more }
                let rest = left - Int64(data.readableBytes)
                self.state = rest == 0 ? .chunkEnd : .chunk(rest)
                return .data(data)
            case .chunkEnd:
                guard let first: UInt8 = buffer.getInteger(at: buffer.readerIndex) else { return .more }
                if first == 0x0A {
                    buffer.moveReaderIndex(forwardBy: 1)
                } else {
                    guard let second: UInt8 = buffer.getInteger(at: buffer.readerIndex + 1) else {
                        return first == 0x0D ? .more : .broken("no end of line behind a chunk")
                    }
                    guard first == 0x0D, second == 0x0A else { return .broken("no end of line behind a chunk") }
                    buffer.moveReaderIndex(forwardBy: 2)
                }
                self.state = .size
            case .trailers(let head):
                return self.readTrailers(head, &buffer)
            }
        }
    }

    private static func take(_ limit: Int64, of buffer: inout ByteBuffer) -> ByteBuffer? {
        let available = buffer.readableBytes
        guard available > 0 else { return nil }
        return buffer.readSlice(length: Int(min(Int64(available), limit)))
    }

    private enum SizeLine {
        case more
        case size(Int64, consumed: Int)
        case broken(String)
    }

    private static func sizeLine(_ bytes: Span<UInt8>) -> SizeLine {
        guard let end = bytes.newline(from: 0) else {
            // What cannot become a size is refused before its line ends.
            let isHopeless = bytes.count > 0 && !ByteKind.of(bytes[0]).contains(.hex)
            return bytes.count >= Self.maxSizeLine || isHopeless ? .broken("a chunk without a size") : .more
        }
        guard end < Self.maxSizeLine else { return .broken("a chunk without a size") }
        var size: Int64 = 0
        var index = 0
        while index < end, let digit = ByteKind.hexValue(bytes[index]) {
            // 15 digits are less than Int64 holds.
            guard index < 15 else { return .broken("a chunk of impossible size") }
            size = size << 4 | Int64(digit)
            index += 1
        }
        guard index > 0 else { return .broken("a chunk without a size") }
        while index < end, bytes[index] == 0x20 || bytes[index] == 0x09 { index += 1 }
        let isEnd = index == end || (index == end - 1 && bytes[index] == 0x0D)
        guard isEnd || bytes[index] == UInt8(ascii: ";") else { return .broken("something behind the size of a chunk") }
        // An extension may hold no return of its own: some would end the line there.
        while index < end - 1 {
            if bytes[index] == 0x0D { return .broken("a carriage return in a chunk extension") }
            index += 1
        }
        return .size(size, consumed: end + 1)
    }

    private mutating func readTrailers(_ head: ByteBuffer, _ buffer: inout ByteBuffer) -> Event {
        var head = head
        while true {
            guard let end = buffer.readableBytesUInt8Span.newline(from: 0) else {
                guard head.readableBytes + buffer.readableBytes < Self.maxTrailers else {
                    return .broken("too many trailers")
                }
                self.state = .trailers(head)
                return .more
            }
            guard head.readableBytes + end < Self.maxTrailers, var line = buffer.readSlice(length: end + 1) else {
                return .broken("too many trailers")
            }
            let isLast = end == 0 || (end == 1 && line.getInteger(at: line.readerIndex) == UInt8(0x0D))
            guard isLast else {
                head.writeBuffer(&line)
                continue
            }
            self.state = .done
            guard head.readableBytes > 0 else { return .end(trailers: nil) }
            return Self.trailers(head)
        }
    }

    private static func trailers(_ head: ByteBuffer) -> Event {
        var block = FieldBlock(bytes: head)
        let bytes = head.readableBytesUInt8Span
        var start = 0
        while start < bytes.count, let end = bytes.newline(from: start) {
            switch FieldLine.read(bytes, from: start, to: end, limits: ScanLimits()) {
            case .field(let field):
                // Framing and routing are over: a field that says something about them comes too late (RFC 9110,
                // 6.5.1).
                switch field.known {
                case .contentLength, .transferEncoding, .host, .connection, .te, .trailer, .upgrade, .authorization:
                    break
                default:
                    block.fields.append(field)
                }
            case .dropped, .end:
                break
            case .invalid(let reason):
                return .broken(reason)
            }
            start = end + 1
        }
        return .end(trailers: block.fields.isEmpty ? nil : block)
    }
}
