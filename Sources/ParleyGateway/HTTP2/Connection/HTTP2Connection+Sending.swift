internal import DequeModule
internal import NIOCore

/// What goes to the peer: heads at once, bodies as the windows and the socket allow.
extension HTTP2Connection {
    // MARK: Client

    /// Whether another request has room.
    var hasRoom: Bool {
        guard !self.isServer, self.failure == nil, !self.isPeerGoing, self.drain == .none else { return false }
        return self.liveStreams < self.room && self.nextIdentifier <= UInt32(HTTP2Window.largest) - 2
    }

    /// How many streams may be open at once.
    var room: Int {
        min(self.configuration.maximumStreams, self.peerMaximumStreams ?? self.configuration.assumedStreams)
    }

    /// Takes the place of a stream; its head may come later.
    mutating func open(now: NIODeadline) -> HTTP2StreamHandle? {
        guard self.hasRoom else { return nil }
        return self.handle(self.makeStream(0, now: now))
    }

    mutating func request(_ handle: HTTP2StreamHandle, _ head: RequestHead, isEnd: Bool) {
        guard let slot = self.slot(handle), self.slots[slot].local == .idle, case .client(let isSecure) = self.role
        else { return }
        let identifier = self.nextIdentifier
        self.nextIdentifier &+= 2
        self.slots[slot].identifier = identifier
        self.slots[slot].isHeadRequest = head.method == .head
        self.slots[slot].local = isEnd ? .ended : .open
        self.table.insert(identifier, slot: slot)
        self.flood.useful()
        let bytes = head.block.bytes
        self.output.writeHeaders(stream: identifier, isEnd: isEnd) { output in
            self.encoder.begin(into: &output)
            switch head.method {
            case .get: self.encoder.writeStatic(HPACKStaticTable.Index.methodGet, into: &output)
            case .post: self.encoder.writeStatic(HPACKStaticTable.Index.methodPost, into: &output)
            default:
                let index = HPACKStaticTable.Index.methodGet
                self.encoder.write(nameIndex: index, value: head.methodName, of: bytes, into: &output)
            }
            let scheme = isSecure ? HPACKStaticTable.Index.schemeHTTPS : HPACKStaticTable.Index.schemeHTTP
            self.encoder.writeStatic(scheme, into: &output)
            let path = HPACKStaticTable.Index.pathRoot
            self.encoder.write(nameIndex: path, value: head.target, of: bytes, into: &output)
            if !head.authority.isEmpty {
                let authority = HPACKStaticTable.Index.authority
                self.encoder.write(nameIndex: authority, value: head.authority, of: bytes, into: &output)
            }
            for index in 0..<head.block.fields.count {
                let field = head.block.fields[index]
                if field.known == .host || field.known.isForOneConnection { continue }
                self.encoder.write(field, of: bytes, into: &output)
            }
        }
    }

    // MARK: Server

    mutating func inform(_ handle: HTTP2StreamHandle, _ head: ResponseHead) {
        guard let slot = self.slot(handle), self.slots[slot].local == .open, !self.slots[slot].hasHead,
            head.isInformational, head.status != 101
        else { return }
        self.writeHead(head, stream: self.slots[slot].identifier, isEnd: false)
    }

    mutating func respond(_ handle: HTTP2StreamHandle, _ head: ResponseHead, isEnd: Bool) {
        guard let slot = self.slot(handle), self.slots[slot].local == .open, !self.slots[slot].hasHead else { return }
        self.slots[slot].hasHead = true
        self.flood.useful()
        self.writeHead(head, stream: self.slots[slot].identifier, isEnd: isEnd)
        if isEnd { self.localEnded(slot) }
    }

    mutating func writeHead(_ head: ResponseHead, stream: UInt32, isEnd: Bool) {
        self.output.writeHeaders(stream: stream, isEnd: isEnd) { output in
            self.encoder.begin(into: &output)
            Self.writeStatus(head.status, self.encoder, into: &output)
            for index in 0..<head.block.fields.count {
                let field = head.block.fields[index]
                if field.known.isForOneConnection { continue }
                self.encoder.write(field, of: head.block.bytes, into: &output)
            }
        }
    }

    private static func writeStatus(_ status: UInt16, _ encoder: borrowing HPACKEncoder, into output: inout ByteBuffer)
    {
        let index: Int
        switch status {
        case 200: index = 8
        case 204: index = 9
        case 206: index = 10
        case 304: index = 11
        case 400: index = 12
        case 404: index = 13
        case 500: index = 14
        default: index = 0
        }
        guard index == 0 else { return encoder.writeStatic(index, into: &output) }
        HPACKEncoder.write(HPACKStaticTable.Index.status200, prefix: 4, flags: 0, into: &output)
        output.writeInteger(UInt8(3))
        for digit in [status / 100, status / 10 % 10, status % 10] {
            output.writeInteger(0x30 | UInt8(truncatingIfNeeded: digit % 10))
        }
    }

    // MARK: Both

    func isWritable(_ handle: HTTP2StreamHandle) -> Bool {
        guard let slot = self.slot(handle) else { return false }
        return self.slots[slot].queued < self.configuration.highWaterMark
    }

    mutating func write(_ handle: HTTP2StreamHandle, _ body: ByteBuffer) {
        guard let slot = self.slot(handle), self.takesBody(slot), body.readableBytes > 0 else { return }
        var rest = body
        if self.slots[slot].queued == 0, self.ready.isEmpty { self.send(slot, &rest) }
        guard rest.readableBytes > 0 else { return }
        self.slots[slot].queue.append(rest)
        self.slots[slot].queued &+= rest.readableBytes
        self.enlist(slot)
        if !self.slots[slot].isStopped, self.slots[slot].queued >= self.configuration.highWaterMark {
            self.slots[slot].isStopped = true
            self.events.append(.writabilityChanged(handle, isWritable: false))
        }
    }

    mutating func end(_ handle: HTTP2StreamHandle, trailers: FieldBlock?) {
        guard let slot = self.slot(handle), self.takesBody(slot) else { return }
        self.slots[slot].trailers = trailers
        self.slots[slot].hasProgressed = true
        if self.slots[slot].queued == 0 { self.sendEnd(slot) } else { self.slots[slot].local = .ending }
    }

    /// A head of ours is behind us, our end is not.
    private func takesBody(_ slot: Int) -> Bool {
        self.slots[slot].local == .open && (!self.isServer || self.slots[slot].hasHead)
    }

    /// Ends the streams whose consumer is done and whose peer has taken nothing of the rest since the last call: nobody
    /// else waits for them any more.
    mutating func expireStalled() {
        for slot in self.slots.indices where self.slots[slot].isLive && self.slots[slot].local == .ending {
            if self.slots[slot].hasProgressed {
                self.slots[slot].hasProgressed = false
            } else {
                self.reset(slot, .protocolError)
            }
        }
    }

    /// Frames of the body, as far as windows and socket go.
    private mutating func send(_ slot: Int, _ body: inout ByteBuffer) {
        while body.readableBytes > 0 {
            let count = self.sendable(slot, body.readableBytes)
            guard count > 0, let piece = body.readSlice(length: count) else { return }
            self.write(piece, slot, isEnd: false)
        }
    }

    /// How much of so many bytes fits into the next frame.
    private func sendable(_ slot: Int, _ count: Int) -> Int {
        guard self.canWrite, self.output.byteCount < self.configuration.outputLimit else { return 0 }
        return min(count, HTTP2FrameHeader.largestPayload, self.slots[slot].sendWindow, self.sendWindow)
    }

    private mutating func write(_ piece: ByteBuffer, _ slot: Int, isEnd: Bool) {
        let count = piece.readableBytes
        self.slots[slot].sendWindow &-= count
        self.slots[slot].hasProgressed = true
        self.sendWindow &-= count
        self.output.writeData(piece, stream: self.slots[slot].identifier, isEnd: isEnd)
        self.flood.useful()
    }

    private mutating func sendEnd(_ slot: Int) {
        let identifier = self.slots[slot].identifier
        if let trailers = self.slots[slot].trailers, !trailers.fields.isEmpty {
            self.slots[slot].trailers = nil
            self.output.writeHeaders(stream: identifier, isEnd: true) {
                output in
                self.encoder.begin(into: &output)
                for index in 0..<trailers.fields.count {
                    let field = trailers.fields[index]
                    if field.known.isForOneConnection { continue }
                    self.encoder.write(field, of: trailers.bytes, into: &output)
                }
            }
        } else if !self.output.endLastData(stream: identifier) {
            self.output.writeData(ByteBuffer(), stream: identifier, isEnd: true)
        }
        self.localEnded(slot)
    }

    mutating func localEnded(_ slot: Int) {
        self.slots[slot].local = .ended
        guard self.isServer else { return }
        if self.slots[slot].resetAfterEnd != .noError {
            self.reset(slot, self.slots[slot].resetAfterEnd)
        } else if self.slots[slot].hasRemoteEnded {
            self.release(slot)
        } else {
            self.linger(slot)
        }
    }

    /// Lets a stream take its turn if it has something to send and a window for it.
    mutating func enlist(_ slot: Int) {
        guard !self.slots[slot].isReady, self.slots[slot].queued > 0, self.slots[slot].sendWindow > 0 else { return }
        self.slots[slot].isReady = true
        self.ready.append(self.handle(slot))
    }

    /// Sends a frame of each stream in turn until the connection's window or the socket has no room.
    mutating func pump() {
        while self.canWrite, self.sendWindow > 0, self.output.byteCount < self.configuration.outputLimit,
            let handle = self.ready.popFirst()
        {
            guard let slot = self.slot(handle) else { continue }
            self.slots[slot].isReady = false
            self.sendNext(slot)
            guard self.slots[slot].isLive, self.slots[slot].generation == handle.generation else { continue }
            self.enlist(slot)
            if self.slots[slot].isStopped, self.slots[slot].queued <= self.configuration.lowWaterMark {
                self.slots[slot].isStopped = false
                if self.slots[slot].local == .open {
                    self.events.append(.writabilityChanged(handle, isWritable: true))
                }
            }
        }
    }

    /// One frame of what waits on the stream, with its end if that is all.
    private mutating func sendNext(_ slot: Int) {
        guard var first = self.slots[slot].queue.popFirst() else { return }
        let count = self.sendable(slot, first.readableBytes)
        guard count > 0, let piece = first.readSlice(length: count) else {
            self.slots[slot].queue.prepend(first)
            return
        }
        self.slots[slot].queued &-= count
        if first.readableBytes > 0 { self.slots[slot].queue.prepend(first) }
        let isLast = self.slots[slot].queued == 0 && self.slots[slot].local == .ending
        let isEnd = isLast && self.slots[slot].trailers?.fields.isEmpty ?? true
        self.write(piece, slot, isEnd: isEnd)
        guard isLast else { return }
        if isEnd { self.localEnded(slot) } else { self.sendEnd(slot) }
    }
}
