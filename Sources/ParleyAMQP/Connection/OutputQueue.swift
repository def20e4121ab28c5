internal import NIOCore

/// What waits to be written to the socket. Small frames are put together; a large body is passed on without a copy.
struct OutputQueue {
    private static let copyLimit = 16 * 1_024

    private var pieces: [ByteBuffer] = []
    private var tail = ByteBuffer()
    private var tailLimit = 64 * 1_024
    /// Bytes that wait here.
    private(set) var bytes = 0
    /// Those of them that may wait a little for others; see ``mustGo``.
    private var patientBytes = 0
    /// Bytes that the socket has and has not reported as written.
    var inFlight = 0

    var total: Int { self.bytes + self.inFlight }
    var isEmpty: Bool { self.bytes == 0 }
    /// Whether something waits that is to go out now. What is patient waits for company, a millisecond at most: each
    /// write costs two changes of thread and a system call, many times what it takes to make a frame.
    var mustGo: Bool { self.bytes > self.patientBytes || self.bytes >= 16 * 1_024 }

    /// Somebody waits for the answer.
    mutating func hurry() { self.patientBytes = 0 }

    mutating func append(_ frame: AMQPFrame, patient: Bool = false) throws(AMQPWireError) {
        let before = self.tail.readableBytes
        try AMQPFrameEncoder.encode(frame, into: &self.tail)
        self.bytes += self.tail.readableBytes - before
        if patient { self.patientBytes += self.tail.readableBytes - before }
    }

    mutating func appendRaw(_ bytes: [UInt8]) {
        self.tail.writeBytes(bytes)
        self.bytes += bytes.count
    }

    /// A method with its header and body, the body in pieces that fit into frames of `maximumFrameSize`.
    ///
    /// All or nothing: a value that cannot be written leaves no trace.
    mutating func append(
        _ method: AMQPMethod,
        properties: AMQPProperties,
        body: ByteBuffer,
        channel: UInt16,
        maximumFrameSize: UInt32,
        patient: Bool = false
    ) throws(AMQPWireError) {
        let start = self.bytes
        let before = self.tail.writerIndex
        let header = AMQPFrame.Payload.header(
            classID: 60,
            bodySize: UInt64(body.readableBytes),
            properties: properties
        )
        do throws(AMQPWireError) {
            try AMQPFrameEncoder.encode(AMQPFrame(channel: channel, payload: .method(method)), into: &self.tail)
            let headerStart = self.tail.writerIndex
            try AMQPFrameEncoder.encode(AMQPFrame(channel: channel, payload: header), into: &self.tail)
            // Method and header cannot be split; the broker would answer a larger one with 501 and end everything.
            if self.tail.writerIndex - headerStart > Int(maximumFrameSize) { throw .tableTooLarge }
        } catch {
            self.tail.moveWriterIndex(to: before)
            throw error
        }
        self.bytes += self.tail.writerIndex - before
        var rest = body
        let most = max(1, Int(maximumFrameSize) - AMQPFrame.overhead)
        while rest.readableBytes > 0, let slice = rest.readSlice(length: min(most, rest.readableBytes)) {
            AMQPFrameEncoder.bodyPrefix(channel: channel, size: slice.readableBytes, into: &self.tail)
            if slice.readableBytes <= Self.copyLimit {
                self.tail.writeImmutableBuffer(slice)
            } else {
                self.cut()
                self.pieces.append(slice)
            }
            self.tail.writeInteger(AMQPFrame.end)
            self.bytes += slice.readableBytes + AMQPFrame.overhead
        }
        if self.tail.readableBytes >= self.tailLimit { self.cut() }
        if patient { self.patientBytes += self.bytes - start }
    }

    /// Everything that waits, in its order; it counts as in flight from now on.
    mutating func take() -> [ByteBuffer] {
        self.cut()
        self.inFlight += self.bytes
        self.bytes = 0
        self.patientBytes = 0
        defer { self.pieces = [] }
        return self.pieces
    }

    private mutating func cut() {
        guard self.tail.readableBytes > 0 else { return }
        self.pieces.append(self.tail)
        self.tail = ByteBuffer()
    }
}
