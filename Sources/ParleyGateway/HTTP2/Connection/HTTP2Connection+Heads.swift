internal import NIOCore

/// Heads and trailers that come.
extension HTTP2Connection {
    mutating func receivedHeaders(
        _ header: HTTP2FrameHeader,
        _ payload: ByteBuffer,
        now: NIODeadline
    ) throws(HTTP2Error) {
        guard header.stream != 0 else { throw Self.onStreamZero(header) }
        var block = payload
        var padding = 0
        if header.has(HTTP2Flags.padded) {
            guard let count: UInt8 = block.readInteger() else {
                throw HTTP2Error(.frameSizeError, stream: header.stream, "padded HEADERS without the padding's length")
            }
            padding = Int(count)
        }
        if header.has(HTTP2Flags.priority) {
            guard block.readableBytes >= 5 else {
                throw HTTP2Error(.frameSizeError, stream: header.stream, "HEADERS without the priority they announce")
            }
            block.moveReaderIndex(forwardBy: 5)
        }
        guard padding <= block.readableBytes else { throw Self.paddingTooLong(header) }
        block.moveWriterIndex(to: block.writerIndex &- padding)
        let isEnd = header.has(HTTP2Flags.endStream)
        guard header.has(HTTP2Flags.endHeaders) else {
            var copy = ByteBuffer()
            copy.writeBytes(block.readableBytesSpan)
            self.head = PartialHead(stream: header.stream, isEnd: isEnd, block: copy, continuations: 0)
            return
        }
        try self.receivedHead(header.stream, isEnd: isEnd, block, now: now)
    }

    mutating func receivedContinuation(
        _ header: HTTP2FrameHeader,
        _ payload: ByteBuffer,
        now: NIODeadline
    ) throws(HTTP2Error) {
        guard var head = self.head else {
            throw HTTP2Error(.protocolError, stream: header.stream, "CONTINUATION without a head")
        }
        self.head = nil
        head.continuations += 1
        head.block.writeBytes(payload.readableBytesSpan)
        // No field makes the block longer than the fields themselves, apart from a few bytes of lengths.
        guard head.continuations <= self.configuration.maximumContinuations,
            head.block.readableBytes <= 2 &* self.configuration.fields.section
        else {
            throw HTTP2Error(.enhanceYourCalm, stream: head.stream, "a head in too many pieces, or far too long")
        }
        if header.has(HTTP2Flags.endHeaders) {
            try self.receivedHead(head.stream, isEnd: head.isEnd, head.block, now: now)
        } else {
            self.head = head
        }
    }

    private mutating func receivedHead(
        _ stream: UInt32,
        isEnd: Bool,
        _ block: ByteBuffer,
        now: NIODeadline
    ) throws(HTTP2Error) {
        var section = HTTP2FieldSection(
            limits: self.configuration.fields,
            capacity: self.headCapacity,
            fields: self.fieldCapacity
        )
        try self.decoder.decode(block.readableBytesUInt8Span, into: &section)
        let size = section.block.bytes.readableBytes
        // Follows what the peer sends, upwards at once and downwards slowly.
        self.headCapacity = max(size, self.headCapacity &- self.headCapacity / 8, 128)
        self.fieldCapacity = max(section.block.fields.count, self.fieldCapacity &- 1, 4)
        if let slot = self.table.slot(of: stream) {
            if self.isServer || self.slots[slot].hasHead {
                try self.receivedTrailers(section, slot, isEnd: isEnd)
            } else {
                try self.receivedAnswer(section, slot, isEnd: isEnd)
            }
        } else if self.isServer {
            try self.receivedRequest(section, stream, isEnd: isEnd, now: now)
        } else {
            guard !self.isIdle(stream) else {
                throw HTTP2Error(.protocolError, stream: stream, "HEADERS for a stream that was never opened")
            }
            // An answer to what was taken back meanwhile.
            try self.overhead(now: now)
        }
    }

    // MARK: Server

    private mutating func receivedRequest(
        _ section: consuming HTTP2FieldSection,
        _ stream: UInt32,
        isEnd: Bool,
        now: NIODeadline
    ) throws(HTTP2Error) {
        guard stream & 1 == 1 else {
            throw HTTP2Error(.protocolError, stream: stream, "a client opens a stream with an even number")
        }
        guard stream > self.lastPeerStream else {
            if self.recentResets.contains(stream) { return try self.overhead(now: now) }
            throw HTTP2Error(.streamClosed, stream: stream, "HEADERS for a stream that has ended")
        }
        // After the last word what the client sends is not taken, and it knows: it will ask elsewhere.
        self.lastPeerStream = stream
        guard self.drain != .final else {
            self.recentResets.add(stream)
            return try self.overhead(now: now)
        }
        self.lastTakenStream = stream
        guard self.liveStreams < self.configuration.maximumStreams else {
            try self.overhead(now: now)
            self.output.writeReset(stream: stream, code: .refusedStream)
            self.recentResets.add(stream)
            return
        }
        self.flood.request(now: now)
        if section.isTooLarge {
            return try self.refuse(stream, status: self.configuration.oversizedStatus, isEnd: isEnd, now: now)
        }
        let head: RequestHead
        do {
            head = try section.requestHead(isEnd: isEnd)
        } catch {
            let status = self.configuration.malformedStatus
            return try self.refuse(stream, status: status, isEnd: isEnd, resetAfterEnd: .protocolError, now: now)
        }
        self.flood.useful()
        let slot = self.makeStream(stream, now: now)
        self.slots[slot].local = .open
        self.slots[slot].hasRemoteEnded = isEnd
        if case .length(let length) = head.framing { self.slots[slot].expected = length }
        self.events.append(.request(self.handle(slot), head))
    }

    /// Answers a request that nobody else gets to see.
    private mutating func refuse(
        _ stream: UInt32,
        status: UInt16,
        isEnd: Bool,
        resetAfterEnd code: HTTP2ErrorCode = .noError,
        now: NIODeadline
    ) throws(HTTP2Error) {
        let slot = self.makeStream(stream, now: now)
        self.slots[slot].hasRemoteEnded = isEnd
        self.slots[slot].resetAfterEnd = code
        self.writeHead(ResponseHead(status: status, version: .http2), stream: stream, isEnd: true)
        self.localEnded(slot)
        guard self.flood.reset() else { throw Self.tooManyResets }
    }

    // MARK: Both

    private mutating func receivedTrailers(
        _ section: consuming HTTP2FieldSection,
        _ slot: Int,
        isEnd: Bool
    ) throws(HTTP2Error) {
        guard !self.slots[slot].hasRemoteEnded else { return try self.endForFault(slot, .streamClosed) }
        guard isEnd else { return try self.endForFault(slot, .protocolError) }
        let isTooLarge = section.isTooLarge
        let trailers: FieldBlock
        do {
            trailers = try section.trailers()
        } catch {
            self.slots[slot].hasRemoteEnded = true
            return self.broken(slot, error)
        }
        guard !isTooLarge else {
            self.slots[slot].hasRemoteEnded = true
            return self.broken(slot, .trailersTooLarge)
        }
        self.remoteEnded(slot, trailers: trailers)
    }

    // MARK: Client

    private mutating func receivedAnswer(
        _ section: consuming HTTP2FieldSection,
        _ slot: Int,
        isEnd: Bool
    ) throws(HTTP2Error) {
        guard !section.isTooLarge else {
            self.events.append(.ended(self.handle(slot), .headTooLarge))
            self.reset(slot, .cancel)
            return
        }
        let head: ResponseHead
        do {
            head = try section.responseHead(isEnd: isEnd, isHead: self.slots[slot].isHeadRequest)
        } catch {
            self.broken(slot, error)
            return
        }
        self.events.append(.response(self.handle(slot), head))
        guard !head.isInformational else { return }
        self.flood.useful()
        self.slots[slot].hasHead = true
        switch head.framing {
        case .length(let length): self.slots[slot].expected = length
        case .untilEnd where head.status == 204 || head.status == 304 || self.slots[slot].isHeadRequest:
            self.slots[slot].expected = 0
        default: break
        }
        guard isEnd else { return }
        self.slots[slot].hasRemoteEnded = true
        self.finishAnswer(slot)
    }
}
