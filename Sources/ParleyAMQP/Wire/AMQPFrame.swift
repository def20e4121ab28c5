package import NIOCore

/// One frame of the protocol.
package struct AMQPFrame: Sendable, Hashable {
    package enum Payload: Sendable, Hashable {
        case method(AMQPMethod)
        case header(classID: UInt16, bodySize: UInt64, properties: AMQPProperties)
        case body(ByteBuffer)
        case heartbeat
    }

    package var channel: UInt16
    package var payload: Payload

    package init(channel: UInt16, payload: Payload) {
        self.channel = channel
        self.payload = payload
    }

    /// What a frame costs beside its payload: type, channel, size, end mark. `frame_max` counts it.
    package static let overhead = 8
    static let end: UInt8 = 0xCE
    package static let protocolHeader: [UInt8] = [0x41, 0x4D, 0x51, 0x50, 0, 0, 9, 1]  // "AMQP" 0 0-9-1
}

/// Cuts a stream of bytes into frames, whatever pieces it comes in. A pure value.
///
/// The first error is final: every later call gives it again, because behind a bad frame nothing can be trusted.
/// At most one frame of the agreed size, and what came with its last piece, is held.
package struct AMQPFrameDecoder: Sendable {
    /// The largest frame, its overhead included, that is taken.
    package var maximumFrameSize: UInt32
    private var buffer = ByteBuffer()
    private var failure: AMQPWireError?

    package init(maximumFrameSize: UInt32) {
        self.maximumFrameSize = maximumFrameSize
    }

    package mutating func append(_ bytes: ByteBuffer) {
        guard self.failure == nil else { return }
        if self.buffer.readableBytes == 0 {
            self.buffer = bytes
        } else {
            self.buffer.discardReadBytes()
            self.buffer.writeImmutableBuffer(bytes)
        }
    }

    /// The next whole frame; `nil` if more bytes are needed.
    package mutating func next() throws(AMQPWireError) -> AMQPFrame? {
        if let failure { throw failure }
        do {
            return try self.decode()
        } catch {
            self.failure = error
            self.buffer = ByteBuffer()
            throw error
        }
    }

    private mutating func decode() throws(AMQPWireError) -> AMQPFrame? {
        let start = self.buffer.readerIndex
        // Checked on the first byte: an "AMQP0091" answer is 8 bytes and nothing follows it.
        if let first = self.buffer.getInteger(at: start, as: UInt8.self) {
            if first == AMQPFrame.protocolHeader[0] { throw .otherProtocol }
            guard [1, 2, 3, 8].contains(first) else { throw .unknownFrameType(first) }
        }
        guard let type = self.buffer.getInteger(at: start, as: UInt8.self),
            let channel = self.buffer.getInteger(at: start + 1, as: UInt16.self),
            let size = self.buffer.getInteger(at: start + 3, as: UInt32.self)
        else { return nil }
        guard UInt64(size) + UInt64(AMQPFrame.overhead) <= UInt64(self.maximumFrameSize) else {
            throw .frameTooLarge(size)
        }
        let whole = Int(size) + AMQPFrame.overhead
        guard self.buffer.readableBytes >= whole, var frame = self.buffer.readSlice(length: whole) else { return nil }
        frame.moveReaderIndex(forwardBy: 7)
        guard let payload = frame.readSlice(length: Int(size)), frame.readInteger(as: UInt8.self) == AMQPFrame.end
        else { throw .missingFrameEnd }
        return AMQPFrame(channel: channel, payload: try Self.payload(type, payload))
    }

    private static func payload(_ type: UInt8, _ bytes: ByteBuffer) throws(AMQPWireError) -> AMQPFrame.Payload {
        var reader = WireReader(bytes)
        let payload: AMQPFrame.Payload
        switch type {
        case 1:
            payload = .method(try AMQPMethod(number: try reader.long(), from: &reader))
        case 2:
            let classID = try reader.short()
            _ = try reader.short()  // weight: unused
            let size = try reader.longlong()
            payload = .header(classID: classID, bodySize: size, properties: try AMQPProperties(from: &reader))
        case 3:
            return .body(bytes)
        case 8:
            payload = .heartbeat
        default:
            throw .unknownFrameType(type)
        }
        guard reader.isAtEnd else { throw .trailingBytes }
        return payload
    }
}

/// Turns frames into bytes.
package enum AMQPFrameEncoder {
    package static func encode(_ frame: AMQPFrame, into buffer: inout ByteBuffer) throws(AMQPWireError) {
        switch frame.payload {
        case .method(let method):
            try self.frame(1, frame.channel, into: &buffer) { writer throws(AMQPWireError) in
                writer.long(method.number)
                try method.writeFields(to: &writer)
            }
        case .header(let classID, let bodySize, let properties):
            try self.frame(2, frame.channel, into: &buffer) { writer throws(AMQPWireError) in
                writer.short(classID)
                writer.short(0)
                writer.longlong(bodySize)
                try properties.write(to: &writer)
            }
        case .body(let body):
            self.bodyPrefix(channel: frame.channel, size: body.readableBytes, into: &buffer)
            buffer.writeImmutableBuffer(body)
            buffer.writeInteger(AMQPFrame.end)
        case .heartbeat:
            try self.frame(8, frame.channel, into: &buffer) { (_) throws(AMQPWireError) in }
        }
    }

    static func bodyPrefix(channel: UInt16, size: Int, into buffer: inout ByteBuffer) {
        buffer.writeMultipleIntegers(UInt8(3), channel, UInt32(truncatingIfNeeded: size))
    }

    /// A failed write leaves `buffer` as it was: half a frame would poison the connection.
    private static func frame(
        _ type: UInt8,
        _ channel: UInt16,
        into buffer: inout ByteBuffer,
        _ body: (inout WireWriter) throws(AMQPWireError) -> Void
    ) throws(AMQPWireError) {
        let start = buffer.writerIndex
        buffer.writeMultipleIntegers(type, channel, UInt32(0))
        var writer = WireWriter(buffer)
        buffer = ByteBuffer()  // handed over, so that the writer does not copy it
        do {
            try body(&writer)
            buffer = writer.buffer
        } catch {
            buffer = writer.buffer
            buffer.moveWriterIndex(to: start)
            throw error
        }
        buffer.setInteger(UInt32(truncatingIfNeeded: buffer.writerIndex - start - 7), at: start + 3)
        buffer.writeInteger(AMQPFrame.end)
    }
}
