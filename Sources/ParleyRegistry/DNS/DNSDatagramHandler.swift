internal import Logging
internal import NIOCore

/// Answers each datagram with at most one.
final class DNSDatagramHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    private let responder: DNSResponder
    private var limiter: DNSRateLimiter
    private let logger: Logger

    init(responder: DNSResponder, limiter: DNSRateLimiter, logger: Logger) {
        self.responder = responder
        self.limiter = limiter
        self.logger = logger
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = self.unwrapInboundIn(data)
        let now = context.eventLoop.now.uptimeNanoseconds
        // With the socket's buffer full, an answer would wait in memory; who asked will ask again.
        guard context.channel.isWritable,
            self.limiter.admits(envelope.remoteAddress.ipAddress ?? "", now: now),
            let answer = self.responder.respond(to: Array(envelope.data.readableBytesView), over: .udp)
        else { return }
        let datagram = AddressedEnvelope(
            remoteAddress: envelope.remoteAddress,
            data: context.channel.allocator.buffer(bytes: answer)
        )
        context.write(self.wrapOutboundOut(datagram), promise: nil)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        context.flush()
        context.fireChannelReadComplete()
    }

    /// What one datagram has caused says nothing about the next.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.logger.debug("a datagram could not be handled", metadata: ["error": "\(error)"])
    }
}
