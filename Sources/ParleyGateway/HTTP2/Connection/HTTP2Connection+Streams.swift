internal import NIOCore

/// The life of streams, and the windows of what they receive.
extension HTTP2Connection {
    func handle(_ slot: Int) -> HTTP2StreamHandle {
        HTTP2StreamHandle(slot: Int32(truncatingIfNeeded: slot), generation: self.slots[slot].generation)
    }

    /// The slot of a stream that still lives.
    func slot(_ handle: HTTP2StreamHandle) -> Int? {
        let slot = Int(handle.slot)
        guard slot >= 0, slot < self.slots.count, self.slots[slot].generation == handle.generation,
            self.slots[slot].isLive
        else { return nil }
        return slot
    }

    func isLive(_ handle: HTTP2StreamHandle) -> Bool { self.slot(handle) != nil }

    /// Takes a slot. `identifier` 0: it gets one with its head.
    mutating func makeStream(_ identifier: UInt32, now: NIODeadline) -> Int {
        let slot: Int
        if let free = self.freeSlots.popLast() {
            slot = Int(free)
        } else {
            slot = self.slots.count
            var state = HTTP2StreamState()
            state.generation = self.generations
            self.slots.append(state)
        }
        self.slots[slot].isLive = true
        self.slots[slot].identifier = identifier
        self.slots[slot].openedAt = now
        self.slots[slot].sendWindow = self.peerInitialWindow
        self.slots[slot].receiveWindow = self.initialReceiveWindow
        if identifier != 0 { self.table.insert(identifier, slot: slot) }
        self.liveStreams += 1
        self.requestCount &+= 1
        return slot
    }

    /// Until the peer has confirmed our settings it may go by the defaults.
    private var initialReceiveWindow: Int {
        self.areSettingsAcknowledged ? self.streamWindow : max(self.streamWindow, HTTP2Window.initial)
    }

    /// The stream is over for both sides and for its consumer.
    mutating func release(_ slot: Int) {
        guard self.slots[slot].isLive else { return }
        self.credit(self.slots[slot].inbound.readableBytes)
        self.table.remove(self.slots[slot].identifier)
        self.liveStreams -= 1
        if self.slots[slot].isLingering { self.lingeringStreams -= 1 }
        let generation = self.slots[slot].generation &+ 1
        self.generations = max(self.generations, generation)
        self.slots[slot] = HTTP2StreamState()
        self.slots[slot].generation = generation
        self.releasedSlots.append(Int32(truncatingIfNeeded: slot))
    }

    /// Ends a stream that has got an identifier, and forgets it.
    mutating func reset(_ slot: Int, _ code: HTTP2ErrorCode) {
        let identifier = self.slots[slot].identifier
        if identifier != 0 {
            self.output.writeReset(stream: identifier, code: code)
            self.recentResets.add(identifier)
        }
        self.release(slot)
    }

    /// The owner does not want the stream any more.
    mutating func cancel(_ handle: HTTP2StreamHandle, _ code: HTTP2ErrorCode) {
        guard let slot = self.slot(handle) else { return }
        self.reset(slot, code)
    }

    // MARK: Answers before the end of the request

    /// Server: the answer is complete, the request is not. What still comes is thrown away until the client has ended
    /// or has nothing left of its window; only then it is told to stop (RFC 9113, section 8.1). A client that is in the
    /// middle of sending when the reset comes with the answer may take the answer for broken: curl does.
    mutating func linger(_ slot: Int) {
        self.credit(self.slots[slot].inbound.readableBytes)
        self.slots[slot].inbound = ByteBuffer()
        self.slots[slot].isDiscarding = true
        self.slots[slot].isWanted = false
        self.slots[slot].isLingering = true
        self.lingeringStreams += 1
        self.endIfExhausted(slot)
    }

    /// A client that lingers and may send no more would wait for a window that does not come.
    mutating func endIfExhausted(_ slot: Int) {
        guard self.slots[slot].isLingering, self.slots[slot].receiveWindow <= 0 else { return }
        self.reset(slot, .noError)
    }

    /// Tells the clients to stop whose streams were lingering at the last call already.
    mutating func expireLingering() {
        guard self.lingeringStreams > 0 else { return }
        for slot in self.slots.indices where self.slots[slot].isLingering {
            if self.slots[slot].hasLingered { self.reset(slot, .noError) } else { self.slots[slot].hasLingered = true }
        }
    }

    // MARK: Bodies that come

    /// The consumer asks for (more of) the body. What it took before is given back to the peer's window.
    mutating func read(_ handle: HTTP2StreamHandle) {
        guard let slot = self.slot(handle) else { return }
        self.giveBack(slot)
        guard !self.slots[slot].isDiscarding else { return }
        let waiting = self.slots[slot].inbound
        if waiting.readableBytes > 0 {
            self.slots[slot].inbound = ByteBuffer()
            self.hand(waiting, to: slot)
        } else if self.slots[slot].hasRemoteEnded {
            self.tellEnd(slot)
        } else {
            self.slots[slot].isWanted = true
        }
    }

    /// A piece of the stream's body has come.
    mutating func deliver(_ piece: ByteBuffer, to slot: Int) {
        if self.slots[slot].isDiscarding {
            self.credit(piece.readableBytes)
        } else if self.slots[slot].isWanted {
            self.slots[slot].isWanted = false
            self.hand(piece, to: slot)
        } else {
            // Copied: a piece of some bytes must not keep the whole buffer of the socket alive.
            self.slots[slot].inbound.writeBytes(piece.readableBytesSpan)
        }
    }

    private mutating func hand(_ body: ByteBuffer, to slot: Int) {
        let count = body.readableBytes
        self.slots[slot].uncredited &+= count
        self.credit(count)
        self.events.append(.body(self.handle(slot), body))
    }

    private mutating func giveBack(_ slot: Int) {
        let count = self.slots[slot].uncredited
        guard count > 0, !self.slots[slot].hasRemoteEnded else { return }
        // In halves of the window, so that small pieces do not cost a frame each.
        guard count &* 2 >= self.streamWindow else { return }
        self.slots[slot].uncredited = 0
        self.slots[slot].receiveWindow &+= count
        self.output.writeWindowUpdate(stream: self.slots[slot].identifier, increment: count)
    }

    /// Gives bytes that are off our hands back to the connection's window.
    mutating func credit(_ count: Int) {
        self.uncredited &+= count
        guard self.uncredited &* 2 >= max(self.configuration.connectionWindow, HTTP2Window.initial) else { return }
        self.receiveWindow &+= self.uncredited
        self.output.writeWindowUpdate(stream: 0, increment: self.uncredited)
        self.uncredited = 0
    }

    /// The peer has ended its side.
    mutating func remoteEnded(_ slot: Int, trailers: FieldBlock?) {
        self.slots[slot].hasRemoteEnded = true
        let isLingering = self.slots[slot].isLingering
        guard isLingering || !self.slots[slot].isDiscarding else { return }
        self.slots[slot].receivedTrailers = trailers
        if self.slots[slot].expected >= 0, self.slots[slot].received != self.slots[slot].expected {
            self.broken(slot, .contentLength)
        } else if isLingering {
            self.release(slot)
        } else if self.slots[slot].isWanted {
            self.slots[slot].isWanted = false
            self.tellEnd(slot)
        }
    }

    private mutating func tellEnd(_ slot: Int) {
        let trailers = self.slots[slot].receivedTrailers
        self.slots[slot].receivedTrailers = nil
        self.slots[slot].isDiscarding = true
        self.events.append(.bodyEnded(self.handle(slot), trailers: trailers))
        if !self.isServer { self.finishAnswer(slot) }
    }

    /// Client: the answer is complete. A request that is still being sent has no use any more.
    mutating func finishAnswer(_ slot: Int) {
        if self.slots[slot].local == .ended { self.release(slot) } else { self.reset(slot, .noError) }
    }

    /// The body breaks a rule.
    mutating func broken(_ slot: Int, _ malformation: HTTP2Malformation) {
        guard self.isServer else {
            self.events.append(.ended(self.handle(slot), .malformed(malformation)))
            self.reset(slot, .protocolError)
            return
        }
        guard !self.slots[slot].isLingering else { return self.reset(slot, .protocolError) }
        guard !self.slots[slot].isDiscarding else { return }
        self.credit(self.slots[slot].inbound.readableBytes)
        self.slots[slot].inbound = ByteBuffer()
        self.slots[slot].isDiscarding = true
        self.slots[slot].isWanted = false
        self.slots[slot].resetAfterEnd = .protocolError
        if !self.flood.reset() { return self.fail(Self.tooManyResets) }
        self.events.append(.bodyBroken(self.handle(slot)))
    }

    static let tooManyResets = HTTP2Error(.enhanceYourCalm, "most of the requests end in a reset or an error")
    static let tooMuchOverhead = HTTP2Error(.enhanceYourCalm, "too many frames without use")
}
