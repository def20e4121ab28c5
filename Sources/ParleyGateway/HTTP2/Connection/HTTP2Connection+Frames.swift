internal import NIOCore

/// What the peer's frames do.
extension HTTP2Connection {
    /// One frame, or a piece of one. False: there are not enough bytes.
    mutating func step(now: NIODeadline) throws(HTTP2Error) -> Bool {
        if self.data != nil { return self.continueData() }
        if self.prefaceLeft > 0 {
            guard try self.readPreface() else { return false }
        }
        guard let header = HTTP2FrameHeader(self.input) else { return false }
        guard header.length <= HTTP2FrameHeader.largestPayload else {
            throw HTTP2Error(.frameSizeError, stream: header.stream, "a frame of \(header.length) bytes")
        }
        guard self.hasPeerSettings || header.kind == .settings && !header.has(HTTP2Flags.acknowledge) else {
            throw HTTP2Error(.protocolError, "the first frame is no SETTINGS")
        }
        if let head = self.head {
            guard header.kind == .continuation, header.stream == head.stream else {
                throw HTTP2Error(.protocolError, stream: head.stream, "a head is not continued by the next frame")
            }
        }
        if header.kind == .data { return try self.beginData(header, now: now) }
        guard self.input.readableBytes >= HTTP2FrameHeader.size &+ header.length else { return false }
        self.input.moveReaderIndex(forwardBy: HTTP2FrameHeader.size)
        guard let payload = self.input.readSlice(length: header.length) else { return false }
        try self.received(header, payload, now: now)
        return true
    }

    private mutating func readPreface() throws(HTTP2Error) -> Bool {
        while self.prefaceLeft > 0 {
            guard let byte = self.input.readInteger(as: UInt8.self) else { return false }
            guard byte == Self.preface[Self.preface.count &- self.prefaceLeft] else {
                throw HTTP2Error(.protocolError, "the connection does not begin with the preface of HTTP/2")
            }
            self.prefaceLeft &-= 1
        }
        return true
    }

    private mutating func received(
        _ header: HTTP2FrameHeader,
        _ payload: ByteBuffer,
        now: NIODeadline
    ) throws(HTTP2Error) {
        switch header.kind {
        case .headers: try self.receivedHeaders(header, payload, now: now)
        case .continuation: try self.receivedContinuation(header, payload, now: now)
        case .windowUpdate: try self.receivedWindowUpdate(header, payload, now: now)
        case .resetStream: try self.receivedReset(header, payload, now: now)
        case .settings: try self.receivedSettings(header, payload, now: now)
        case .ping: try self.receivedPing(header, payload, now: now)
        case .goAway: try self.receivedGoAway(header, payload, now: now)
        case .priority:
            try self.overhead(now: now)
            guard header.stream != 0 else { throw Self.onStreamZero(header) }
            guard header.length != 5 else { return }
            if let slot = self.table.slot(of: header.stream) {
                self.events.append(.ended(self.handle(slot), .fault(.frameSizeError)))
                self.reset(slot, .frameSizeError)
            } else {
                throw HTTP2Error(.frameSizeError, stream: header.stream, "PRIORITY of \(header.length) bytes")
            }
        case .pushPromise:
            throw HTTP2Error(.protocolError, stream: header.stream, "PUSH_PROMISE, which is switched off")
        case .data: break
        case nil: try self.overhead(now: now)
        }
    }

    mutating func overhead(_ cost: Int = 1, now: NIODeadline) throws(HTTP2Error) {
        guard self.flood.overhead(cost, now: now) else { throw Self.tooMuchOverhead }
    }

    static func onStreamZero(_ header: HTTP2FrameHeader) -> HTTP2Error {
        HTTP2Error(.protocolError, "a frame of kind \(header.kind?.rawValue ?? 0) for the stream 0")
    }

    /// Whether nobody has opened this stream yet.
    func isIdle(_ stream: UInt32) -> Bool {
        let isClients = stream & 1 == 1
        if self.isServer { return isClients ? stream > self.lastPeerStream : true }
        return isClients ? stream >= self.nextIdentifier : true
    }

    static func idle(_ header: HTTP2FrameHeader) -> HTTP2Error {
        HTTP2Error(
            .protocolError,
            stream: header.stream,
            "a frame of kind \(header.kind?.rawValue ?? 0) for a stream that was never opened"
        )
    }

    // MARK: DATA

    private mutating func beginData(_ header: HTTP2FrameHeader, now: NIODeadline) throws(HTTP2Error) -> Bool {
        guard header.stream != 0 else { throw Self.onStreamZero(header) }
        guard !self.isIdle(header.stream) else { throw Self.idle(header) }
        var padding = 0
        var front = HTTP2FrameHeader.size
        if header.has(HTTP2Flags.padded) {
            guard header.length > 0 else {
                throw HTTP2Error(.frameSizeError, stream: header.stream, "padded DATA without a length of the padding")
            }
            guard let count: UInt8 = self.input.getInteger(at: self.input.readerIndex &+ front) else { return false }
            padding = Int(count)
            front &+= 1
            guard padding < header.length else { throw Self.paddingTooLong(header) }
        }
        self.input.moveReaderIndex(forwardBy: front)
        // Padding counts against the windows, and is given back at once.
        guard header.length <= self.receiveWindow else {
            throw HTTP2Error(.flowControlError, stream: header.stream, "more DATA than the connection's window allows")
        }
        self.receiveWindow &-= header.length
        let overhead = front &- HTTP2FrameHeader.size &+ padding
        let count = header.length &- overhead
        self.credit(overhead)
        let isEnd = header.has(HTTP2Flags.endStream)
        if count > 0 { self.flood.useful() } else if !isEnd { try self.overhead(now: now) }
        var frame = DataFrame(stream: nil, left: count, padding: padding, isEnd: isEnd)
        if let slot = self.table.slot(of: header.stream) {
            if try self.takesData(slot, length: header.length, count: count) {
                frame.stream = self.handle(slot)
                self.slots[slot].receiveWindow &+= overhead
                self.slots[slot].received &+= Int64(count)
                if overhead > 0, !isEnd {
                    self.output.writeWindowUpdate(stream: header.stream, increment: overhead)
                }
            }
        } else if !self.recentResets.contains(header.stream) {
            try self.overhead(now: now)
            self.output.writeReset(stream: header.stream, code: .streamClosed)
            self.recentResets.add(header.stream)
        }
        self.data = frame
        return true
    }

    /// Whether the stream takes a frame of this size; if not, it has been ended.
    private mutating func takesData(_ slot: Int, length: Int, count: Int) throws(HTTP2Error) -> Bool {
        let hasNoHead = !self.isServer && !self.slots[slot].hasHead
        if self.slots[slot].hasRemoteEnded || hasNoHead {
            try self.endForFault(slot, hasNoHead ? .protocolError : .streamClosed)
            return false
        }
        guard length <= self.slots[slot].receiveWindow else {
            try self.endForFault(slot, .flowControlError)
            return false
        }
        self.slots[slot].receiveWindow &-= length
        let expected = self.slots[slot].expected
        if expected >= 0, self.slots[slot].received &+ Int64(count) > expected {
            self.broken(slot, .contentLength)
            return self.slots[slot].isLive
        }
        return true
    }

    /// A stream ends by the peer's fault.
    mutating func endForFault(_ slot: Int, _ code: HTTP2ErrorCode) throws(HTTP2Error) {
        self.events.append(.ended(self.handle(slot), .fault(code)))
        self.reset(slot, code)
        guard self.flood.reset() else { throw Self.tooManyResets }
    }

    private mutating func continueData() -> Bool {
        guard var frame = self.data else { return false }
        if frame.left > 0, let piece = self.input.readSlice(length: min(frame.left, self.input.readableBytes)),
            piece.readableBytes > 0
        {
            frame.left &-= piece.readableBytes
            if let handle = frame.stream, let slot = self.slot(handle) {
                self.deliver(piece, to: slot)
            } else {
                self.credit(piece.readableBytes)
            }
        }
        if frame.left == 0 {
            let count = min(frame.padding, self.input.readableBytes)
            self.input.moveReaderIndex(forwardBy: count)
            frame.padding &-= count
        }
        guard frame.left == 0, frame.padding == 0 else {
            self.data = frame
            return false
        }
        self.data = nil
        if let handle = frame.stream, let slot = self.slot(handle) {
            if frame.isEnd { self.remoteEnded(slot, trailers: nil) } else { self.endIfExhausted(slot) }
        }
        return true
    }

    static func paddingTooLong(_ header: HTTP2FrameHeader) -> HTTP2Error {
        HTTP2Error(.protocolError, stream: header.stream, "the padding is longer than its frame")
    }

    // MARK: The others

    private mutating func receivedWindowUpdate(
        _ header: HTTP2FrameHeader,
        _ payload: ByteBuffer,
        now: NIODeadline
    ) throws(HTTP2Error) {
        guard header.length == 4, let word: UInt32 = payload.getInteger(at: payload.readerIndex) else {
            throw HTTP2Error(.frameSizeError, stream: header.stream, "WINDOW_UPDATE of \(header.length) bytes")
        }
        try self.overhead(now: now)
        let increment = Int(word & 0x7FFF_FFFF)
        if header.stream == 0 {
            guard increment > 0 else { throw HTTP2Error(.protocolError, "WINDOW_UPDATE by 0") }
            guard self.sendWindow &+ increment <= HTTP2Window.largest else {
                throw HTTP2Error(.flowControlError, "the connection's window grows over 2^31 - 1")
            }
            self.sendWindow &+= increment
            self.pump()
            return
        }
        guard !self.isIdle(header.stream) else { throw Self.idle(header) }
        guard let slot = self.table.slot(of: header.stream) else { return }
        guard increment > 0 else { return try self.endForFault(slot, .protocolError) }
        guard self.slots[slot].sendWindow &+ increment <= HTTP2Window.largest else {
            return try self.endForFault(slot, .flowControlError)
        }
        self.slots[slot].sendWindow &+= increment
        self.enlist(slot)
        self.pump()
    }

    private mutating func receivedReset(
        _ header: HTTP2FrameHeader,
        _ payload: ByteBuffer,
        now: NIODeadline
    ) throws(HTTP2Error) {
        guard header.length == 4, let word: UInt32 = payload.getInteger(at: payload.readerIndex) else {
            throw HTTP2Error(.frameSizeError, stream: header.stream, "RST_STREAM of \(header.length) bytes")
        }
        guard header.stream != 0 else { throw Self.onStreamZero(header) }
        guard !self.isIdle(header.stream) else { throw Self.idle(header) }
        guard let slot = self.table.slot(of: header.stream) else { return try self.overhead(now: now) }
        // It has got its answer, and sends no more.
        if self.slots[slot].isLingering {
            self.release(slot)
            return try self.overhead(now: now)
        }
        let code = HTTP2ErrorCode(rawValue: word)
        let isEarly = now - self.slots[slot].openedAt < self.configuration.resetLifetime
        let end: HTTP2StreamEnd = !self.isServer && code == .refusedStream ? .refused : .reset(code)
        if !self.isServer, self.slots[slot].hasRemoteEnded {
            // The answer is complete, only the rest of the request is not wanted (RFC 9113, section 8.1).
            self.slots[slot].local = .ended
            self.slots[slot].queue.removeAll()
            self.slots[slot].queued = 0
            return
        }
        self.events.append(.ended(self.handle(slot), end))
        self.release(slot)
        if self.isServer, isEarly, !self.flood.reset() { throw Self.tooManyResets }
    }

    private mutating func receivedSettings(
        _ header: HTTP2FrameHeader,
        _ payload: ByteBuffer,
        now: NIODeadline
    ) throws(HTTP2Error) {
        guard header.stream == 0 else {
            throw HTTP2Error(.protocolError, stream: header.stream, "SETTINGS for a stream")
        }
        // Each changes the windows of all streams.
        try self.overhead(4, now: now)
        if header.has(HTTP2Flags.acknowledge) {
            guard header.length == 0 else { throw HTTP2Error(.frameSizeError, "SETTINGS acknowledged with a payload") }
            if !self.areSettingsAcknowledged { self.settingsAcknowledged() }
            return
        }
        guard header.length % 6 == 0 else { throw HTTP2Error(.frameSizeError, "SETTINGS of \(header.length) bytes") }
        self.hasPeerSettings = true
        var rest = payload
        while let kind = rest.readInteger(as: UInt16.self), let value = rest.readInteger(as: UInt32.self) {
            try self.apply(HTTP2SettingKind(rawValue: kind), value)
        }
        self.output.writeSettingsAcknowledgement()
        if !self.isServer { self.events.append(.roomChanged) }
        self.pump()
    }

    private mutating func apply(_ kind: HTTP2SettingKind?, _ value: UInt32) throws(HTTP2Error) {
        switch kind {
        case .headerTableSize: self.encoder.peerAllows(tableSize: Int(value))
        case .enablePush:
            guard value == 0 || value == 1 && self.isServer else {
                throw HTTP2Error(.protocolError, "SETTINGS_ENABLE_PUSH is \(value)")
            }
        case .maxConcurrentStreams: self.peerMaximumStreams = Int(value)
        case .initialWindowSize:
            guard value <= UInt32(HTTP2Window.largest) else {
                throw HTTP2Error(.flowControlError, "SETTINGS_INITIAL_WINDOW_SIZE is \(value)")
            }
            let change = Int(value) &- self.peerInitialWindow
            self.peerInitialWindow = Int(value)
            for slot in self.slots.indices where self.slots[slot].isLive {
                guard self.slots[slot].sendWindow &+ change <= HTTP2Window.largest else {
                    throw HTTP2Error(.flowControlError, "SETTINGS_INITIAL_WINDOW_SIZE takes a window over 2^31 - 1")
                }
                self.slots[slot].sendWindow &+= change
                self.enlist(slot)
            }
        case .maxFrameSize:
            guard value >= 16_384, value <= 16_777_215 else {
                throw HTTP2Error(.protocolError, "SETTINGS_MAX_FRAME_SIZE is \(value)")
            }
        // Larger frames save nothing, and keep the other streams waiting.
        case .maxHeaderListSize, nil: break
        }
    }

    private mutating func settingsAcknowledged() {
        self.areSettingsAcknowledged = true
        let change = self.streamWindow &- max(self.streamWindow, HTTP2Window.initial)
        guard change != 0 else { return }
        for slot in self.slots.indices where self.slots[slot].isLive { self.slots[slot].receiveWindow &+= change }
    }

    private mutating func receivedPing(
        _ header: HTTP2FrameHeader,
        _ payload: ByteBuffer,
        now: NIODeadline
    ) throws(HTTP2Error) {
        guard header.stream == 0 else {
            throw HTTP2Error(.protocolError, stream: header.stream, "PING for a stream")
        }
        guard header.length == 8, let data: UInt64 = payload.getInteger(at: payload.readerIndex) else {
            throw HTTP2Error(.frameSizeError, "PING of \(header.length) bytes")
        }
        try self.overhead(now: now)
        if header.has(HTTP2Flags.acknowledge) {
            if data == Self.drainPing, self.drain == .announced { self.finishDrain() }
            self.events.append(.pingAcknowledged(data))
        } else {
            self.output.writePing(data, isAcknowledgement: true)
        }
    }

    private mutating func receivedGoAway(
        _ header: HTTP2FrameHeader,
        _ payload: ByteBuffer,
        now: NIODeadline
    ) throws(HTTP2Error) {
        guard header.stream == 0 else {
            throw HTTP2Error(.protocolError, stream: header.stream, "GOAWAY for a stream")
        }
        guard header.length >= 8, let word: UInt32 = payload.getInteger(at: payload.readerIndex) else {
            throw HTTP2Error(.frameSizeError, "GOAWAY of \(header.length) bytes")
        }
        try self.overhead(now: now)
        guard !self.isServer else { return }
        let last = word & 0x7FFF_FFFF
        for slot in self.slots.indices where self.slots[slot].isLive {
            let identifier = self.slots[slot].identifier
            guard identifier == 0 || identifier > last else { continue }
            self.events.append(.ended(self.handle(slot), .refused))
            self.release(slot)
        }
        self.isPeerGoing = true
        self.events.append(.goingAway)
    }
}
