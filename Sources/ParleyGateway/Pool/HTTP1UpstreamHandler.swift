internal import NIOCore

/// A connection to an instance that speaks HTTP/1: carries one request after the other for its pool.
final class HTTP1UpstreamHandler: ChannelInboundHandler, UpstreamStream {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Phase {
        /// In the pool: whatever comes is wrong.
        case idle
        case head
        case body
        case closed
    }

    private(set) var context: ChannelHandlerContext?
    private(set) var phase = Phase.idle
    /// Kept until the connection ends, also when a reload has left the pool to nobody else.
    private var pool: UpstreamPool?
    let peer: PeerID
    let opened = NIODeadline.now()
    private(set) var requests = 0
    private var receiver: (any ResponseReceiver)?
    private var inbound = ByteBuffer()
    private var scanner: ResponseScanner
    private var decoder = BodyDecoder(.none)
    private var isHead = false
    private var asksForUpgrade = false
    private var isTunnel = false
    private var mayReuse = true
    private var isRequestDone = false
    private var wantsBody = false
    private var isWorking = false
    private var isReading = true
    private var requestFraming = BodyFraming.none
    private var out = OutputBuffer()
    private var hasUnflushed = false
    private(set) var hasSent = false
    private let idleTimer: LazyTimer

    private static let readAhead = 65_536
    private static let copyLimit = 16_384

    init(peer: PeerID, pool: UpstreamPool, headSize: Int) {
        self.peer = peer
        self.pool = pool
        self.scanner = ResponseScanner(maxSize: headSize)
        self.idleTimer = LazyTimer(pool.eventLoop)
        self.idleTimer.onDeadline = { [unowned self] in self.close() }
    }

    var isReused: Bool { self.requests > 1 }
    var isWritable: Bool { self.context?.channel.isWritable ?? false }
    var isOpen: Bool { self.phase != .closed && (self.context?.channel.isActive ?? false) }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.connectionEnded()
        self.context = nil
    }

    // MARK: - The pool

    /// Takes it out of the pool for a request.
    func begin(_ receiver: any ResponseReceiver, headSize: Int) {
        self.idleTimer.clear()
        self.requests += 1
        self.receiver = receiver
        self.phase = .head
        self.scanner = ResponseScanner(maxSize: headSize)
        self.mayReuse = true
        self.isRequestDone = false
        self.wantsBody = false
        self.hasSent = false
    }

    func rest(until deadline: NIODeadline) { self.idleTimer.set(deadline) }

    func close() {
        self.receiver = nil
        let context = self.context
        self.connectionEnded()
        context?.close(promise: nil)
    }

    // MARK: - The request

    func write(_ head: RequestHead, isEnd: Bool) {
        guard self.phase == .head else { return }
        self.isHead = head.method == .head
        self.asksForUpgrade = !head.upgrade.isEmpty
        self.requestFraming = head.framing
        self.hasSent = true
        HTTP1Writer.write(head, into: &self.out.bytes)
        self.out.bytes.writeStaticString("\r\n")
        if isEnd {
            self.isRequestDone = true
            self.flush()
        }
    }

    func write(_ body: ByteBuffer) {
        guard self.phase == .head || self.phase == .body, body.readableBytes > 0 else { return }
        let isChunked = self.requestFraming == .chunked && !self.isTunnel
        if isChunked { HTTP1Writer.writeChunkSize(body.readableBytes, into: &self.out.bytes) }
        if body.readableBytes <= Self.copyLimit {
            self.out.bytes.writeImmutableBuffer(body)
        } else {
            self.sendOut()
            self.context?.write(self.wrapOutboundOut(body), promise: nil)
            self.hasUnflushed = true
        }
        if isChunked { self.out.bytes.writeStaticString("\r\n") }
        self.flush()
    }

    func end(trailers: FieldBlock?) {
        guard self.phase == .head || self.phase == .body else { return }
        self.isRequestDone = true
        if self.requestFraming == .chunked, !self.isTunnel {
            self.out.bytes.writeStaticString("0\r\n")
            if let trailers { HTTP1Writer.write(trailers, into: &self.out.bytes) }
            self.out.bytes.writeStaticString("\r\n")
        }
        self.flush()
    }

    func flush() {
        guard let context = self.context else { return }
        if self.out.bytes.readableBytes > 0 {
            self.hasUnflushed = false
            context.writeAndFlush(self.wrapOutboundOut(self.out.handOver()), promise: nil)
        } else if self.hasUnflushed {
            self.hasUnflushed = false
            context.flush()
        } else {
            return
        }
        self.out.reuse()
    }

    private func sendOut() {
        guard self.out.bytes.readableBytes > 0, let context = self.context else { return }
        self.hasUnflushed = true
        context.write(self.wrapOutboundOut(self.out.handOver()), promise: nil)
    }

    func cancel() { self.close() }

    // MARK: - The answer

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = self.unwrapInboundIn(data)
        guard self.phase != .idle else {
            // Nobody has asked. It may be the answer to somebody else's request, so the connection is of no use.
            self.close()
            return
        }
        if self.inbound.readableBytes == 0 {
            self.inbound = buffer
        } else {
            self.inbound.writeBuffer(&buffer)
        }
        self.work()
        self.holdOrRead()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // Nobody is behind this handler who would want to know.
        self.receiver?.upstreamReadCompleted()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        self.receiver?.upstreamWritabilityChanged(isWritable: context.channel.isWritable)
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.connectionEnded()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.connectionEnded(cause: "\(error)")
        context.close(promise: nil)
    }

    func readBody() {
        self.wantsBody = true
        self.work()
        self.holdOrRead()
    }

    private func work() {
        guard !self.isWorking else { return }
        self.isWorking = true
        defer { self.isWorking = false }
        while self.step() {}
    }

    private func step() -> Bool {
        switch self.phase {
        case .head: self.readHead()
        case .body: self.readPart()
        case .idle, .closed: false
        }
    }

    private func readHead() -> Bool {
        guard self.inbound.readableBytes > 0, let receiver = self.receiver else { return false }
        switch self.scanner.scan(self.inbound, isHead: self.isHead) {
        case .incomplete:
            return false
        case .invalid(let reason):
            self.fail(.garbage, reason)
            return false
        case .tooLarge:
            self.fail(.headTooLarge, "the head of the answer is larger than the buffer for it")
            return false
        case .head(let head, let consumed):
            self.inbound.moveReaderIndex(forwardBy: consumed)
            if head.status == 101 {
                guard self.asksForUpgrade else {
                    self.fail(.garbage, "101 to a request that did not ask for it")
                    return false
                }
                self.isTunnel = true
                self.mayReuse = false
                self.decoder = BodyDecoder(.untilEnd)
                self.phase = .body
            } else if head.isInformational {
                self.scanner.reset()
            } else {
                self.mayReuse = head.keepsAlive
                self.decoder = BodyDecoder(head.framing)
                self.phase = .body
            }
            receiver.received(head: head)
            // Without a body the end need not be asked for.
            if self.phase == .body, head.framing == .none, !self.isTunnel { self.wantsBody = true }
            return true
        }
    }

    private func readPart() -> Bool {
        guard self.wantsBody, let receiver = self.receiver else { return false }
        switch self.decoder.next(&self.inbound) {
        case .more:
            return false
        case .data(let data):
            self.wantsBody = false
            receiver.received(answer: data)
            return true
        case .end(let trailers):
            self.wantsBody = false
            self.settle()
            receiver.answerEnded(trailers: trailers)
            return false
        case .broken(let reason):
            self.fail(.truncated, reason)
            return false
        }
    }

    /// The answer is complete: back to the pool, or not.
    private func settle() {
        self.receiver = nil
        // What is behind the answer, nobody has asked for.
        let mayReuse = self.mayReuse && self.isRequestDone && self.inbound.readableBytes == 0 && self.isOpen
        self.inbound = ByteBuffer()
        if mayReuse, let pool = self.pool {
            self.phase = .idle
            pool.giveBack(self)
        } else {
            self.close()
        }
    }

    private func fail(_ kind: UpstreamFailure.Kind, _ detail: String) {
        let receiver = self.receiver
        self.close()
        receiver?.failed(UpstreamFailure(kind: kind, detail: detail))
    }

    private func connectionEnded(cause: String? = nil) {
        guard self.phase != .closed else { return }
        let wasBody = self.phase == .body
        self.idleTimer.stop()
        if wasBody { self.workOff() }
        guard self.phase != .closed else { return }
        self.phase = .closed
        self.pool?.closed(self)
        guard let receiver = self.receiver else { return }
        self.receiver = nil
        if wasBody, self.decoder.endsWithConnection, cause == nil || self.isTunnel {
            receiver.answerEnded(trailers: nil)
        } else {
            let detail = cause ?? (wasBody ? "closed within the body" : "closed without an answer")
            receiver.failed(UpstreamFailure(kind: wasBody ? .truncated : .lost, detail: detail))
        }
    }

    /// What has come belongs to the receiver, even if it has not asked yet: afterwards nobody has it.
    private func workOff() {
        while self.phase == .body, self.inbound.readableBytes > 0, let receiver = self.receiver {
            let before = self.inbound.readableBytes
            self.wantsBody = true
            _ = self.readPart()
            if self.receiver == nil || receiver !== self.receiver || self.inbound.readableBytes == before { return }
        }
    }

    private func holdOrRead() {
        // Within ``work()`` nobody knows yet how much will be left; whoever has called it asks again.
        guard !self.isWorking, let context = self.context, self.phase != .closed else { return }
        let mayRead = self.inbound.readableBytes < Self.readAhead
        guard mayRead != self.isReading else { return }
        self.isReading = mayRead
        context.channel.setOption(.autoRead, value: mayRead).whenFailure { _ in }
    }
}
