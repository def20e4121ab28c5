internal import NIOCore
internal import NIOSSL
internal import NIOTLS
internal import ParleyCore

/// Puts together what a client's connection needs: the PROXY protocol and TLS where the socket has them, then the
/// handler of the protocol that was agreed on.
enum ConnectionPipeline {
    static func configure(
        _ channel: any Channel,
        _ socket: GatewayPlan.Socket,
        _ worker: GatewayWorker,
        number: UInt64
    ) throws {
        let connection = ClientConnection(worker: worker, channel: channel, socket: socket, number: number)
        let bound = NIOLoopBound(connection, eventLoop: channel.eventLoop)
        channel.closeFuture.assumeIsolated().whenComplete { _ in bound.value.closed() }
        // Until it is known what it speaks, there is nothing to be finished.
        connection.onDrain { [unowned connection] in connection.close() }
        let pipeline = channel.pipeline.syncOperations
        let starter = ProtocolStarter(connection: connection)
        if socket.listen.hasProxyProtocol { try pipeline.addHandler(ProxyProtocolHandler()) }
        if let certificates = socket.certificates {
            let table = socket.table
            var choose: (@Sendable (String) -> Int?)?
            if socket.servers.count > 1 {
                choose = { (name: String) -> Int? in
                    var variables = RequestVariables()
                    return table.find(ByteBuffer(string: name), scratch: RegexScratch(), variables: &variables)
                }
            }
            try pipeline.addHandler(
                TLSAcceptor(certificates: certificates, fallback: socket.table.fallback, choose: choose)
            )
        }
        try pipeline.addHandler(starter)
        if !socket.listen.isTLS, !socket.listen.hasHTTP2 {
            // Only here a client may close its side and still wait for an answer; elsewhere its end is the end.
            channel.setOption(.allowRemoteHalfClosure, value: true).whenFailure { _ in }
            starter.start(.http1, channel)
        }
    }
}

/// Waits until it is known which protocol a connection speaks, and puts its handler into its own place.
final class ProtocolStarter: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    enum WireProtocol { case http1, http2 }

    private let connection: ClientConnection
    private var received: ByteBuffer?
    private var isStarted = false
    private lazy var timer = LazyTimer(self.connection.worker.eventLoop) { [unowned self] in self.connection.close() }

    private static let preface: [UInt8] = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    init(connection: ClientConnection) {
        self.connection = connection
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let tls = self.connection.socket.fallback.model.tls
        self.timer.set(
            milliseconds: tls?.handshakeTimeout ?? self.connection.socket.fallback.model.connection.clientHeaderTimeout
        )
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.timer.stop() }

    func channelInactive(context: ChannelHandlerContext) {
        self.timer.stop()
        context.fireChannelInactive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case ProxyProtocolHeader.proxied(let source, _):
            self.connection.speaksFor(source)
        case TLSAcceptance.plain:
            self.connection.sentPlainToTLS()
            self.start(.http1, context.channel)
        case let acceptance as TLSAcceptance:
            if case .secure(let entry, let name) = acceptance {
                self.connection.secured(entry: entry, serverName: name)
            }
        case TLSUserEvent.handshakeCompleted(let negotiated):
            self.connection.handshakeCompleted(
                try? context.pipeline.syncOperations.handler(type: NIOSSLServerHandler.self)
            )
            self.start(negotiated == "h2" ? .http2 : .http1, context.channel)
        default:
            context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.connection.worker.handshakeFailed()
        context.close(promise: nil)
    }

    /// On a plain socket that speaks both, the first bytes tell.
    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.isStarted else {
            context.fireChannelRead(data)
            return
        }
        var buffer = self.unwrapInboundIn(data)
        if var earlier = self.received {
            earlier.writeBuffer(&buffer)
            buffer = earlier
        }
        self.received = buffer
        let view = buffer.readableBytesView
        if view.starts(with: Self.preface) {
            self.start(.http2, context.channel)
        } else if view.count >= Self.preface.count || !Self.preface.starts(with: view) {
            self.start(.http1, context.channel)
        }
    }

    func start(_ wire: WireProtocol, _ channel: any Channel) {
        guard !self.isStarted else { return }
        self.isStarted = true
        self.timer.stop()
        do {
            let pipeline = channel.pipeline.syncOperations
            let place = try pipeline.context(handler: self)
            try pipeline.addHandler(self.connection.makeHandler(wire), position: .after(self))
            if let received = self.received {
                self.received = nil
                place.fireChannelRead(self.wrapInboundOut(received))
                place.fireChannelReadComplete()
            }
            pipeline.removeHandler(self, promise: nil)
        } catch {
            channel.close(promise: nil)
        }
    }
}
