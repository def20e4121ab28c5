internal import NIOCore

/// Answers the queries of one TCP connection, in their order, each behind its length (RFC 7766).
///
/// It takes no more while answers wait to be fetched, so that a client that only sends holds a connection and little
/// memory: one read, and answers up to the channel's mark and one more.
final class DNSStreamHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// The server stops: answer what has come whole, then close.
    struct Finish: Sendable {}

    private let responder: DNSResponder
    private let idleTimeout: TimeAmount
    private var received = ByteBuffer()
    private var lastQuery = NIODeadline.now()
    private var timer: Scheduled<Void>?
    private var wantsRead = false
    private var isFinishing = false

    init(responder: DNSResponder, idleTimeout: TimeAmount) {
        self.responder = responder
        self.idleTimeout = idleTimeout
    }

    func channelActive(context: ChannelHandlerContext) {
        self.lastQuery = context.eventLoop.now
        self.armTimer(context)
        context.fireChannelActive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.timer?.cancel()
        self.timer = nil
    }

    private func armTimer(_ context: ChannelHandlerContext) {
        self.timer = context.eventLoop.assumeIsolated().scheduleTask(deadline: self.lastQuery + self.idleTimeout) {
            if self.lastQuery + self.idleTimeout <= context.eventLoop.now {
                context.close(promise: nil)
            } else {
                self.armTimer(context)
            }
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var part = self.unwrapInboundIn(data)
        self.received.writeBuffer(&part)
        self.answer(context)
    }

    private func answer(_ context: ChannelHandlerContext) {
        var hasAnswered = false
        while context.channel.isWritable {
            guard let length: UInt16 = self.received.getInteger(at: self.received.readerIndex),
                self.received.readableBytes >= Int(length) + 2
            else { break }
            self.received.moveReaderIndex(forwardBy: 2)
            guard let query = self.received.readBytes(length: Int(length)),
                let answer = self.responder.respond(to: query, over: .tcp)
            else {
                // Who sends what is no query has lost the count, or means no good.
                self.isFinishing = true
                break
            }
            var framed = context.channel.allocator.buffer(capacity: answer.count + 2)
            framed.writeInteger(UInt16(clamping: answer.count))
            framed.writeBytes(answer)
            context.write(self.wrapOutboundOut(framed), promise: nil)
            self.lastQuery = context.eventLoop.now
            hasAnswered = true
            // Otherwise the channel does not notice how much there is to send.
            if framed.readableBytes > 4_096 { context.flush() }
        }
        if hasAnswered { context.flush() }
        self.received.discardReadBytes()
        if self.isFinishing { self.finish(context) }
    }

    private func finish(_ context: ChannelHandlerContext) {
        self.isFinishing = true
        self.received.clear()
        // Behind all answers.
        let loopBoundContext = context.loopBound
        context.writeAndFlush(self.wrapOutboundOut(ByteBuffer())).whenComplete { _ in
            loopBoundContext.value.close(promise: nil)
        }
    }

    func read(context: ChannelHandlerContext) {
        // What has come and is not answered waits for the same.
        if context.channel.isWritable { context.read() } else { self.wantsRead = true }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable, !self.isFinishing {
            self.answer(context)
            if context.channel.isWritable, self.wantsRead {
                self.wantsRead = false
                context.read()
            }
        }
        context.fireChannelWritabilityChanged()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is Finish {
            self.finish(context)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
