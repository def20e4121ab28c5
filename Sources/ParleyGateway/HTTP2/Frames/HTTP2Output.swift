internal import NIOCore

/// The frames that wait to be handed to the socket, in one buffer where that is cheaper and in several where copying a
/// large body would cost more than another piece of a vectored write.
struct HTTP2Output: Sendable {
    /// A body from this size on is not copied.
    private static let copied = 4096
    private static let initialCapacity = 2048

    /// What goes before ``tail``.
    private var pieces: [ByteBuffer] = []
    private var next = 0
    private var tail = ByteBuffer()
    /// The tail was handed out and may still be read by the socket: its storage is used again once that is over.
    private var isTailTaken = false
    private(set) var byteCount = 0
    /// Where the flags of the last DATA frame are in ``tail``, and whose frame it is.
    private var lastData: (stream: UInt32, flags: Int) = (0, 0)

    /// The next piece for the socket.
    mutating func take() -> ByteBuffer? {
        if self.next < self.pieces.count {
            let piece = self.pieces[self.next]
            self.next += 1
            self.byteCount &-= piece.readableBytes
            return piece
        }
        if !self.pieces.isEmpty {
            self.pieces.removeAll(keepingCapacity: self.pieces.count <= 64)
            self.next = 0
        }
        guard !self.isTailTaken, self.tail.readableBytes > 0 else { return nil }
        self.byteCount &-= self.tail.readableBytes
        self.isTailTaken = true
        self.lastData.stream = 0
        return self.tail
    }

    /// Gives back the memory of a connection that rests.
    mutating func releaseMemory() {
        guard self.byteCount == 0 else { return }
        self.tail = ByteBuffer()
        self.isTailTaken = false
        self.pieces = []
    }

    private mutating func prepare() {
        guard self.isTailTaken || self.tail.capacity == 0 else { return }
        self.isTailTaken = false
        if self.tail.capacity == 0 || self.tail.capacity > 256 * 1024 {
            self.tail = ByteBuffer()
            self.tail.reserveCapacity(Self.initialCapacity)
        } else {
            self.tail.clear()
        }
    }

    mutating func write(
        _ kind: HTTP2FrameKind,
        flags: UInt8 = 0,
        stream: UInt32,
        length: Int
    ) {
        self.prepare()
        self.tail.writeInteger(UInt32(truncatingIfNeeded: length) << 8 | UInt32(kind.rawValue))
        self.tail.writeInteger(flags)
        self.tail.writeInteger(stream)
        self.byteCount &+= HTTP2FrameHeader.size
    }

    mutating func writePreface(_ bytes: some Collection<UInt8>) {
        self.prepare()
        self.byteCount &+= self.tail.writeBytes(bytes)
    }

    mutating func writeData(_ body: ByteBuffer, stream: UInt32, isEnd: Bool) {
        let count = body.readableBytes
        self.write(.data, flags: isEnd ? HTTP2Flags.endStream : 0, stream: stream, length: count)
        self.byteCount &+= count
        if count < Self.copied {
            self.tail.writeBytes(body.readableBytesSpan)
            self.lastData = (stream, self.tail.writerIndex &- count &- 5)
        } else {
            self.pieces.append(self.tail)
            self.pieces.append(body)
            self.lastData.stream = 0
            self.tail = ByteBuffer()
        }
    }

    /// Sets END_STREAM on the last DATA frame of the stream if it still waits here, which saves a frame.
    mutating func endLastData(stream: UInt32) -> Bool {
        guard stream != 0, self.lastData.stream == stream else { return false }
        self.lastData.stream = 0
        self.tail.setInteger(HTTP2Flags.endStream, at: self.lastData.flags)
        return true
    }

    mutating func writeSettings(_ settings: [(HTTP2SettingKind, UInt32)]) {
        self.write(.settings, stream: 0, length: settings.count &* 6)
        for (kind, value) in settings {
            self.tail.writeInteger(kind.rawValue)
            self.tail.writeInteger(value)
            self.byteCount &+= 6
        }
    }

    mutating func writeSettingsAcknowledgement() {
        self.write(.settings, flags: HTTP2Flags.acknowledge, stream: 0, length: 0)
    }

    mutating func writePing(_ data: UInt64, isAcknowledgement: Bool) {
        self.write(.ping, flags: isAcknowledgement ? HTTP2Flags.acknowledge : 0, stream: 0, length: 8)
        self.tail.writeInteger(data)
        self.byteCount &+= 8
    }

    mutating func writeGoAway(lastStream: UInt32, code: HTTP2ErrorCode) {
        self.write(.goAway, stream: 0, length: 8)
        self.tail.writeInteger(lastStream)
        self.tail.writeInteger(code.rawValue)
        self.byteCount &+= 8
    }

    mutating func writeReset(stream: UInt32, code: HTTP2ErrorCode) {
        self.write(.resetStream, stream: stream, length: 4)
        self.tail.writeInteger(code.rawValue)
        self.byteCount &+= 4
    }

    mutating func writeWindowUpdate(stream: UInt32, increment: Int) {
        self.write(.windowUpdate, stream: stream, length: 4)
        self.tail.writeInteger(UInt32(truncatingIfNeeded: increment))
        self.byteCount &+= 4
    }

    /// Writes HEADERS, and CONTINUATION where the block is longer than a frame. `fields` writes the block.
    mutating func writeHeaders(stream: UInt32, isEnd: Bool, fields: (inout ByteBuffer) -> Void) {
        let largestPayload = HTTP2FrameHeader.largestPayload
        self.prepare()
        let start = self.tail.writerIndex
        self.write(.headers, stream: stream, length: 0)
        let before = self.tail.writerIndex
        fields(&self.tail)
        let count = self.tail.writerIndex &- before
        self.byteCount &+= count
        let end: UInt8 = isEnd ? HTTP2Flags.endStream : 0
        guard count > largestPayload else {
            self.tail.setInteger(UInt32(truncatingIfNeeded: count) << 8 | 1, at: start)
            self.tail.setInteger(end | HTTP2Flags.endHeaders, at: start &+ 4)
            return
        }
        var rest = self.tail.getSlice(at: before &+ largestPayload, length: count &- largestPayload) ?? ByteBuffer()
        self.tail.setInteger(UInt32(truncatingIfNeeded: largestPayload) << 8 | 1, at: start)
        self.tail.setInteger(end, at: start &+ 4)
        self.tail.moveWriterIndex(to: before &+ largestPayload)
        while let piece = rest.readSlice(length: min(rest.readableBytes, largestPayload)) {
            let isLast = rest.readableBytes == 0
            let flags = isLast ? HTTP2Flags.endHeaders : 0
            self.write(.continuation, flags: flags, stream: stream, length: piece.readableBytes)
            self.tail.writeBytes(piece.readableBytesSpan)
            if isLast { return }
        }
    }
}
