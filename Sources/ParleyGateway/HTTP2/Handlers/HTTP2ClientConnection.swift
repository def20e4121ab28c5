internal import NIOCore

/// Whoever keeps connections to an instance. Called on the event loop of the connection, never from within a call to
/// it.
protocol HTTP2ClientConnectionOwner: AnyObject {
    /// The last stream has ended: it may be kept, or closed.
    func connectionIsIdle(_ connection: HTTP2ClientConnection)
    /// A stream has ended, or the server takes more of them: who waits may be served.
    func connectionHasRoom(_ connection: HTTP2ClientConnection)
    /// It takes no more requests. Those under way go on until ``connectionClosed(_:)``.
    func connectionIsGoingAway(_ connection: HTTP2ClientConnection)
    /// The channel is gone; each stream has been told.
    func connectionClosed(_ connection: HTTP2ClientConnection)
}

/// A connection of HTTP/2 to an instance, with many requests at once.
final class HTTP2ClientConnection: HTTP2Handler {
    weak var owner: (any HTTP2ClientConnectionOwner)?
    /// By the slot of their handle.
    private var streams: [HTTP2UpstreamStream?] = []
    private var streamsBefore = 0
    private var pingSentAt: NIODeadline?
    private var pingCount: UInt64 = 0

    init(isSecure: Bool, configuration: HTTP2Configuration = HTTP2Configuration()) {
        super.init(.client(isSecure: isSecure), configuration: configuration)
    }

    var openStreams: Int { self.connection.liveStreams }
    /// How many streams may be open at once, as far as is known.
    var room: Int { self.connection.room }
    /// Whether ``open(_:)`` gives a stream.
    var hasRoom: Bool { !self.isGone && self.connection.hasRoom }

    /// A stream for one request; `nil`: no room, or the connection takes no more.
    func open(_ receiver: any ResponseReceiver) -> (any UpstreamStream)? {
        guard !self.isGone else { return nil }
        let isReused = self.connection.requestCount > 0
        guard let handle = self.connection.open(now: self.now) else { return nil }
        let stream = HTTP2UpstreamStream(self, handle, receiver, isReused: isReused)
        let slot = Int(handle.slot)
        while self.streams.count <= slot { self.streams.append(nil) }
        self.streams[slot] = stream
        return stream
    }

    /// Takes no more requests, and closes when the last one has ended.
    func close() {
        self.connection.beginDrain()
        self.scheduleTick()
    }

    // MARK: Events

    override func started(now: NIODeadline) {
        if let interval = self.connection.configuration.pingInterval { self.arm(now + interval) }
    }

    override func handle(_ event: HTTP2Event) {
        switch event {
        case .response(let handle, let head):
            guard let stream = self.stream(handle) else { return }
            if !head.isInformational {
                stream.hasHead = true
                // Nothing follows: the machine has forgotten the stream.
                if head.framing == .none { self.detach(handle)?.hasEndedWithHead = true }
            }
            stream.receiver?.received(head: head)
        case .body(let handle, let body): self.stream(handle)?.receiver?.received(answer: body)
        case .bodyEnded(let handle, let trailers): self.detach(handle)?.takeReceiver()?.answerEnded(trailers: trailers)
        case .ended(let handle, let end):
            guard let stream = self.detach(handle) else { return }
            stream.takeReceiver()?.failed(Self.failure(end, hasHead: stream.hasHead))
        case .writabilityChanged(let handle, let isWritable):
            self.stream(handle)?.receiver?.upstreamWritabilityChanged(isWritable: isWritable)
        case .goingAway: self.owner?.connectionIsGoingAway(self)
        case .roomChanged: if self.hasRoom { self.owner?.connectionHasRoom(self) }
        case .request, .bodyBroken, .pingAcknowledged, .failed: break
        }
    }

    private func stream(_ handle: HTTP2StreamHandle) -> HTTP2UpstreamStream? {
        let slot = Int(handle.slot)
        guard slot < self.streams.count, let stream = self.streams[slot], stream.handle == handle else { return nil }
        return stream
    }

    @discardableResult
    fileprivate func detach(_ handle: HTTP2StreamHandle) -> HTTP2UpstreamStream? {
        guard let stream = self.stream(handle) else { return nil }
        self.streams[Int(handle.slot)] = nil
        stream.detached()
        return stream
    }

    private static func failure(_ end: HTTP2StreamEnd, hasHead: Bool) -> UpstreamFailure {
        switch end {
        case .refused: return UpstreamFailure(kind: .refused, detail: "the server has not taken the stream")
        case .headTooLarge: return UpstreamFailure(kind: .headTooLarge, detail: "the fields are over the limits")
        case .malformed(.contentLength) where hasHead:
            return UpstreamFailure(kind: .truncated, detail: "the body does not fit its content-length")
        case .malformed(let rule): return UpstreamFailure(kind: .garbage, detail: rule.rawValue)
        case .fault(let code): return UpstreamFailure(kind: .garbage, detail: "the stream breaks a rule (\(code))")
        case .reset(let code):
            return UpstreamFailure(kind: hasHead ? .truncated : .lost, detail: "the server reset the stream (\(code))")
        case .connectionFailed:
            return UpstreamFailure(kind: hasHead ? .truncated : .lost, detail: "the connection broke a rule of HTTP/2")
        }
    }

    override func settled(now: NIODeadline) {
        let live = self.connection.liveStreams
        if self.connection.failure != nil { return self.closeNow() }
        if live == 0, self.connection.isPeerGoing || self.connection.drain != .none {
            // A farewell that does not get through is no loss: nothing else is under way.
            self.connection.finishDrain()
            self.flush()
            return self.closeNow()
        }
        let before = self.streamsBefore
        self.streamsBefore = live
        guard live < before else { return }
        if self.hasRoom { self.owner?.connectionHasRoom(self) }
        if self.connection.liveStreams == 0 { self.owner?.connectionIsIdle(self) }
    }

    override func timerFired(now: NIODeadline) {
        let configuration = self.connection.configuration
        guard let interval = configuration.pingInterval else { return }
        if let sentAt = self.pingSentAt, self.lastRead < sentAt {
            guard now < sentAt + configuration.pingTimeout else { return self.closeNow() }
            return self.arm(sentAt + configuration.pingTimeout)
        }
        self.pingSentAt = nil
        guard now >= self.lastRead + interval else { return self.arm(self.lastRead + interval) }
        if self.connection.liveStreams == 0 { self.connection.releaseMemory() }
        self.pingCount &+= 1
        self.connection.ping(self.pingCount)
        self.pingSentAt = now
        self.arm(now + configuration.pingTimeout)
    }

    override func gone() {
        for stream in self.streams {
            guard let stream, self.detach(stream.handle) != nil else { continue }
            let kind: UpstreamFailure.Kind = stream.hasHead ? .truncated : .lost
            stream.takeReceiver()?.failed(UpstreamFailure(kind: kind, detail: "the connection was closed"))
        }
        self.streams = []
        self.owner?.connectionClosed(self)
    }
}

/// One request on a connection of HTTP/2.
final class HTTP2UpstreamStream: UpstreamStream {
    let handle: HTTP2StreamHandle
    let isReused: Bool
    /// `nil` once neither side calls the other any more.
    private var connection: HTTP2ClientConnection?
    fileprivate var receiver: (any ResponseReceiver)?
    fileprivate var hasHead = false
    /// The head was all of the answer; who asks for a body is told that there is none.
    fileprivate var hasEndedWithHead = false
    /// The flush before which the head was written.
    private var writtenAt: UInt64?
    private var wasSent = false

    fileprivate init(
        _ connection: HTTP2ClientConnection,
        _ handle: HTTP2StreamHandle,
        _ receiver: any ResponseReceiver,
        isReused: Bool
    ) {
        self.connection = connection
        self.handle = handle
        self.receiver = receiver
        self.isReused = isReused
    }

    fileprivate func takeReceiver() -> (any ResponseReceiver)? {
        defer { self.receiver = nil }
        return self.receiver
    }

    var isWritable: Bool { self.connection?.connection.isWritable(self.handle) ?? false }

    fileprivate func detached() {
        self.wasSent = self.hasSent
        self.connection = nil
    }

    var hasSent: Bool {
        guard let writtenAt = self.writtenAt, let connection = self.connection else { return self.wasSent }
        return connection.flushes > writtenAt
    }

    func write(_ head: RequestHead, isEnd: Bool) {
        guard let connection = self.connection else { return }
        connection.connection.request(self.handle, head, isEnd: isEnd)
        if self.writtenAt == nil { self.writtenAt = connection.flushes }
        connection.scheduleTick()
    }

    func write(_ body: ByteBuffer) {
        guard let connection = self.connection else { return }
        connection.connection.write(self.handle, body)
        connection.scheduleTick()
    }

    func end(trailers: FieldBlock?) {
        guard let connection = self.connection else { return }
        connection.connection.end(self.handle, trailers: trailers)
        connection.scheduleTick()
    }

    func readBody() {
        if self.hasEndedWithHead {
            self.hasEndedWithHead = false
            self.takeReceiver()?.answerEnded(trailers: nil)
            return
        }
        guard let connection = self.connection else { return }
        connection.connection.read(self.handle)
        connection.scheduleTick()
    }

    func cancel() {
        self.receiver = nil
        self.hasEndedWithHead = false
        guard let connection = self.connection else { return }
        connection.connection.cancel(self.handle, .cancel)
        connection.detach(self.handle)
        connection.scheduleTick()
    }
}
