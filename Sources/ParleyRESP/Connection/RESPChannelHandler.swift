internal import NIOCore
internal import NIOSSL
internal import ParleyCore

/// Between the socket and ``RESPConnection``: turns bytes into values, and the channel's events into the connection's.
final class RESPChannelHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let connection: RESPConnection
    private var parser: RESPParser
    private var received: ByteBuffer?
    private var isBroken = false

    init(connection: RESPConnection) {
        self.connection = connection
        self.parser = RESPParser(limits: connection.configuration.limits)
    }

    func channelActive(context: ChannelHandlerContext) {
        // With TLS this waits in its handler until the handshake is done.
        self.connection.connected()
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isBroken else { return }
        var incoming = self.unwrapInboundIn(data)
        var buffer = incoming
        if var earlier = self.received.take() {
            earlier.writeBuffer(&incoming)
            buffer = earlier
        }
        var values: [RESPValue] = []
        do {
            while let value = try self.parser.next(from: &buffer) { values.append(value) }
            if buffer.readableBytes > 0 {
                buffer.discardReadBytes()
                self.received = buffer
            }
            if !values.isEmpty { self.connection.received(values) }
        } catch {
            // What came before the damage is whole, and its callers get it.
            self.isBroken = true
            if !values.isEmpty { self.connection.received(values) }
            self.connection.failed(
                RESPError(
                    .protocolViolation,
                    server: self.connection.configuration.endpoint.description,
                    "\(error); is this a Redis server, and does the port speak TLS?",
                    retry: .mayHaveRun
                )
            )
            context.close(promise: nil)
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { self.connection.flush() }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.connection.disconnected()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        let server = self.connection.configuration.endpoint.description
        if error is NIOSSLError || error is BoringSSLError || error is NIOSSLExtraError {
            // Some servers close without TLS's own goodbye; that is an end like any other.
            if case .uncleanShutdown? = error as? NIOSSLError {
                context.close(promise: nil)
                return
            }
            self.connection.failed(RESPError(.tls, server: server, self.advice(on: error), cause: error))
        } else {
            self.connection.failed(
                RESPError(.connectionLost, server: server, "the connection failed", retry: .mayHaveRun, cause: error)
            )
        }
        context.close(promise: nil)
    }

    /// What went wrong with TLS. The library has the other side's reason only as text.
    private func advice(on error: any Error) -> String {
        let reason = "\(error)"
        let hasCertificate = self.connection.configuration.tls?.certificate != nil
        let isRefusal = reason.contains("_ALERT_")
        // TLS 1.3 has an alert of its own for it, TLS 1.2 only the general one.
        if !hasCertificate, isRefusal,
            reason.contains("CERTIFICATE_REQUIRED") || reason.contains("HANDSHAKE_FAILURE")
        {
            return "the server demands a client certificate: set certificate and key in the configuration's tls"
        }
        if hasCertificate, isRefusal, reason.contains("CERTIFICATE") || reason.contains("UNKNOWN_CA") {
            return "the server refuses our certificate: it must be valid and signed by an authority that the server "
                + "trusts (its tls-ca-cert-file)"
        }
        return "the TLS handshake failed: check the authority, the server's name, and that the port speaks TLS"
    }
}
