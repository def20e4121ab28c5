internal import NIOCore

/// A client's connection that speaks HTTP/1: one request after the other, each given to the acceptor.
///
/// Requests that come before their turn wait unread. Nothing of an answer leaves before it is worth a system call.
final class HTTP1ServerHandler: ChannelInboundHandler, ClientStream {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Phase {
        /// Between two requests, or within a head.
        case head
        /// A request is being answered.
        case exchange
        /// The answer is complete, the rest of its request is thrown away, another may follow.
        case discarding
        /// Everything has been said; what still comes is thrown away until the client has hung up.
        case lingering
        /// Switched to another protocol.
        case tunnel
        case closed
    }

    /// How the end of the answer's body is told.
    enum AnswerFraming { case none, counted, chunked, connection }

    let eventLoop: any EventLoop
    let acceptor: any RequestAcceptor
    let settings: ConnectionSettings
    var context: ChannelHandlerContext?
    var phase = Phase.head
    var receiver: (any RequestReceiver)?
    var inbound = ByteBuffer()
    var scanner: RequestScanner
    var decoder = BodyDecoder(.none)
    var version = HTTPVersion.http11
    var isHeadRequest = false
    var keepsAlive = true
    var owesContinue = false
    var wantsBody = false
    var isBodyDone = true
    var hasRead = true
    var framing = AnswerFraming.none
    var isDraining = false
    var isInputClosed = false
    var isWorking = false
    var out = OutputBuffer()
    var hasUnflushed = false
    var timing: ClientTiming
    var requests = 0
    let opened: NIODeadline
    let timer: LazyTimer

    /// What waits to be read, before reading stops.
    static let readAhead = 65_536
    /// A body that is larger than this is not copied behind its head.
    static let copyLimit = 16_384

    init(acceptor: any RequestAcceptor, settings: ConnectionSettings, timing: ClientTiming, eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        self.acceptor = acceptor
        self.settings = settings
        self.timing = timing
        self.scanner = RequestScanner(ScanLimits(settings))
        self.opened = .now()
        self.timer = LazyTimer(eventLoop)
        self.timer.onDeadline = { [unowned self] in self.timeout() }
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { self.timer.set(milliseconds: self.settings.clientHeaderTimeout) }
    }

    func channelActive(context: ChannelHandlerContext) {
        self.timer.set(milliseconds: self.settings.clientHeaderTimeout)
        context.fireChannelActive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.end()
        self.context = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var buffer = self.unwrapInboundIn(data)
        switch self.phase {
        case .lingering, .closed:
            return
        case .head, .exchange, .discarding, .tunnel:
            if self.inbound.readableBytes == 0 {
                self.inbound = buffer
            } else {
                self.inbound.writeBuffer(&buffer)
            }
        }
        self.work()
        self.holdOrRead()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // Nobody is behind this handler who would want to know.
        self.receiver?.clientReadCompleted()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event {
            // As nginx sees it, who has closed its side has gone, unless the location says that it does not matter.
            self.isInputClosed = true
            let isAnswering = self.phase == .exchange && self.isBodyComing == false
            if !isAnswering || !self.timing.ignoresAbort { self.close() }
        }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.end()
        context.fireChannelInactive()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            if self.phase == .exchange || self.phase == .tunnel { self.timer.clear() }
        }
        self.receiver?.clientWritabilityChanged(isWritable: context.channel.isWritable)
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A reset, or TLS that broke: nobody is there to be told.
        self.close()
    }

    /// The last request on this connection has been answered, or is.
    func drain() {
        self.isDraining = true
        self.keepsAlive = false
        if self.phase == .head, !self.scanner.hasBegun, self.inbound.readableBytes == 0 { self.close() }
    }

    /// No more requests are waited for, nobody is told any more.
    private func end() {
        guard self.phase != .closed else { return }
        self.phase = .closed
        self.timer.stop()
        let receiver = self.receiver
        self.receiver = nil
        receiver?.clientGone()
    }

    func close() {
        guard let context = self.context, self.phase != .closed else { return }
        self.flush()
        self.end()
        context.close(promise: nil)
    }

    private func timeout() {
        switch self.phase {
        case .head, .discarding, .lingering, .exchange, .tunnel:
            // nginx closes without a word; 408 is in its log only.
            self.close()
        case .closed:
            break
        }
    }

    /// Stops reading when what waits is enough, and goes on when it is used up.
    func holdOrRead() {
        // Within ``work()`` nobody knows yet how much will be left; whoever has called it asks again.
        guard !self.isWorking, let context = self.context, self.phase != .closed else { return }
        let mayRead = self.phase == .lingering || self.inbound.readableBytes < Self.readAhead
        guard mayRead != self.hasRead else { return }
        self.hasRead = mayRead
        context.channel.setOption(.autoRead, value: mayRead).whenFailure { _ in }
    }
}

extension ScanLimits {
    init(_ settings: ConnectionSettings) {
        self.init()
        self.firstBufferSize = settings.clientHeaderBufferSize
        self.largeBuffers = settings.largeHeaderBuffers
        self.largeBufferSize = settings.largeHeaderBufferSize
        self.names = FieldNameRule(settings)
    }
}
