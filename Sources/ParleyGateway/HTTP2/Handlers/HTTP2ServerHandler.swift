internal import NIOCore

/// A client's connection of HTTP/2, over TLS or with prior knowledge in the clear. Each request becomes a
/// ``ClientStream`` that the acceptor answers.
final class HTTP2ServerHandler: HTTP2Handler {
    private let acceptor: any RequestAcceptor
    /// By the slot of their handle.
    private var streams: [HTTP2ServerStream?] = []
    private var openedAt = NIODeadline.uptimeNanoseconds(0)
    /// Since when there is no stream; `nil` while there is one.
    private var idleSince: NIODeadline?
    private var drainDeadline = NIODeadline.distantFuture
    /// When streams are looked at that stall, and that linger.
    private var stallDeadline = NIODeadline.distantFuture
    private var lingerDeadline = NIODeadline.distantFuture
    /// The timer has found the connection drained, with a client that does not read its last bytes.
    private var isOverdue = false

    init(acceptor: any RequestAcceptor, configuration: HTTP2Configuration = HTTP2Configuration()) {
        self.acceptor = acceptor
        super.init(.server, configuration: configuration)
    }

    var liveStreams: Int { self.connection.liveStreams }

    /// Ends the connection gently: no new requests, those under way are answered, then it is closed.
    func drain() {
        guard !self.isGone, self.connection.drain == .none else { return }
        self.connection.beginDrain()
        self.drainDeadline = self.now + self.connection.configuration.drainGrace
        self.arm(self.drainDeadline)
        self.scheduleTick()
    }

    // MARK: Events

    override func started(now: NIODeadline) {
        self.openedAt = now
        self.idleSince = now
        let configuration = self.connection.configuration
        self.stallDeadline = now + configuration.sendTimeout
        self.arm(now + min(configuration.idleTimeout, configuration.sendTimeout))
    }

    override func handle(_ event: HTTP2Event) {
        switch event {
        case .request(let handle, let head): self.accept(handle, head)
        case .body(let handle, let body): self.stream(handle)?.receiver?.received(body: body)
        case .bodyEnded(let handle, let trailers): self.stream(handle)?.receiver?.bodyEnded(trailers: trailers)
        case .bodyBroken(let handle): self.stream(handle)?.receiver?.bodyBroken()
        case .ended(let handle, let end):
            if case .reset = end { self.acceptor.streamReset() }
            self.detach(handle)?.clientGone()
        case .writabilityChanged(let handle, let isWritable):
            self.stream(handle)?.receiver?.clientWritabilityChanged(isWritable: isWritable)
        case .failed: self.acceptor.ruleBroken()
        case .response, .goingAway, .roomChanged, .pingAcknowledged: break
        }
    }

    private func accept(_ handle: HTTP2StreamHandle, _ head: RequestHead) {
        guard let context = self.context else { return }
        let stream = HTTP2ServerStream(self, handle, eventLoop: context.eventLoop)
        let slot = Int(handle.slot)
        while self.streams.count <= slot { self.streams.append(nil) }
        self.streams[slot] = stream
        let receiver = self.acceptor.accept(head, stream: stream)
        // It may have been answered and forgotten already.
        if stream.isAttached { stream.receiver = receiver }
    }

    private func stream(_ handle: HTTP2StreamHandle) -> HTTP2ServerStream? {
        let slot = Int(handle.slot)
        guard slot < self.streams.count, let stream = self.streams[slot], stream.handle == handle else { return nil }
        return stream
    }

    /// Forgets a stream; its receiver may get a last word.
    @discardableResult
    func detach(_ handle: HTTP2StreamHandle) -> (any RequestReceiver)? {
        guard let stream = self.stream(handle) else { return nil }
        self.streams[Int(handle.slot)] = nil
        return stream.detach()
    }

    override func settled(now: NIODeadline) {
        if self.connection.liveStreams > 0 {
            self.idleSince = nil
        } else if self.idleSince == nil {
            self.idleSince = now
        }
        if self.connection.failure != nil {
            self.closeNow()
        } else if self.connection.isDrained {
            self.closeWhenFlushed()
        } else if self.connection.requestCount >= self.connection.configuration.maximumRequests {
            self.drain()
        }
        if self.connection.lingeringStreams > 0, self.lingerDeadline == .distantFuture {
            self.lingerDeadline = now + self.connection.configuration.lingerTimeout
            self.arm(self.lingerDeadline)
        }
    }

    override func timerFired(now: NIODeadline) {
        let configuration = self.connection.configuration
        if self.connection.drain == .announced, now >= self.drainDeadline { self.connection.finishDrain() }
        if self.connection.isDrained {
            if self.isOverdue { self.abandon() }
            self.isOverdue = true
        }
        var next = now + configuration.idleTimeout
        if let idleSince = self.idleSince {
            if now >= idleSince + configuration.idleTimeout {
                self.connection.finishDrain()
            } else {
                next = idleSince + configuration.idleTimeout
            }
            self.connection.releaseMemory()
            if self.connection.liveStreams == 0 { self.streams = [] }
        }
        if now >= self.lingerDeadline {
            self.connection.expireLingering()
            self.lingerDeadline =
                self.connection.lingeringStreams > 0 ? now + configuration.lingerTimeout : .distantFuture
        }
        if now >= self.stallDeadline {
            self.connection.expireStalled()
            self.stallDeadline = now + configuration.sendTimeout
        }
        next = min(next, self.lingerDeadline, self.connection.liveStreams > 0 ? self.stallDeadline : next)
        if self.connection.drain == .none, now >= self.openedAt + configuration.maximumAge { self.drain() }
        if self.connection.drain == .announced { next = min(next, self.drainDeadline) }
        self.arm(next)
    }

    override func gone() {
        for stream in self.streams {
            guard let stream, stream.isAttached else { continue }
            stream.detach()?.clientGone()
        }
        self.streams = []
    }
}

/// One stream of a client's connection.
final class HTTP2ServerStream: ClientStream {
    let handle: HTTP2StreamHandle
    let eventLoop: any EventLoop
    /// `nil` once neither side calls the other any more.
    private var handler: HTTP2ServerHandler?
    fileprivate(set) var receiver: (any RequestReceiver)?

    fileprivate init(_ handler: HTTP2ServerHandler, _ handle: HTTP2StreamHandle, eventLoop: any EventLoop) {
        self.handler = handler
        self.handle = handle
        self.eventLoop = eventLoop
    }

    fileprivate var isAttached: Bool { self.handler != nil }

    fileprivate func detach() -> (any RequestReceiver)? {
        let receiver = self.receiver
        self.receiver = nil
        self.handler = nil
        return receiver
    }

    var isWritable: Bool { self.handler?.connection.isWritable(self.handle) ?? false }

    func writeInformational(_ head: ResponseHead) {
        guard let handler = self.handler else { return }
        handler.connection.inform(self.handle, head)
        handler.scheduleTick()
    }

    func write(_ head: ResponseHead, isEnd: Bool) {
        guard let handler = self.handler else { return }
        handler.connection.respond(self.handle, head, isEnd: isEnd)
        handler.scheduleTick()
        if isEnd { handler.detach(self.handle) }
    }

    func write(_ body: ByteBuffer) {
        guard let handler = self.handler else { return }
        handler.connection.write(self.handle, body)
        handler.scheduleTick()
    }

    func end(trailers: FieldBlock?) {
        guard let handler = self.handler else { return }
        handler.connection.end(self.handle, trailers: trailers)
        handler.scheduleTick()
        handler.detach(self.handle)
    }

    func abort(_ reason: AbortReason) {
        guard let handler = self.handler else { return }
        let code: HTTP2ErrorCode
        // As nginx says it: a client that was too slow has broken the rules, anything else is our fault.
        switch reason {
        case .timedOut: code = .protocolError
        case .answerBroken, .unanswered: code = .internalError
        case .shutDown: code = .cancel
        }
        handler.connection.cancel(self.handle, code)
        handler.scheduleTick()
        handler.detach(self.handle)
    }

    func readBody() {
        guard let handler = self.handler else { return }
        handler.connection.read(self.handle)
        handler.scheduleTick()
    }
}
