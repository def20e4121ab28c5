internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import NIOTLS

extension GatewayWorker {
    /// A body of 64 KB comes with its head in one read; beside small answers, small buffers stay.
    private static let answerBuffers = AdaptiveRecvByteBufferAllocator(minimum: 2_048, initial: 2_048, maximum: 131_072)

    /// Opens a connection to an instance. `done` is called on the event loop, once.
    func connect(
        to peer: PeerID,
        of upstream: Upstream,
        _ location: CompiledLocation,
        _ done: @escaping (Result<HTTP1UpstreamHandler, UpstreamFailure>) -> Void
    ) {
        let pool = self.pool(upstream, location)
        let handler = HTTP1UpstreamHandler(peer: peer, pool: pool, headSize: location.proxy.headSize)
        self.open(peer, upstream, location, alpn: []) { channel in
            try channel.pipeline.syncOperations.addHandler(handler)
        } done: { result in
            switch result {
            case .success:
                pool.add(handler)
                done(.success(handler))
            case .failure(let failure):
                done(.failure(failure))
            }
        }
    }

    /// Opens a channel, with TLS if the location says so, and puts handlers into it.
    func open(
        _ peer: PeerID,
        _ upstream: Upstream,
        _ location: CompiledLocation,
        alpn: [String],
        configure: @escaping (any Channel) throws -> Void,
        done: @escaping (Result<any Channel, UpstreamFailure>) -> Void
    ) {
        guard let model = upstream.group.model(of: peer), let address = Self.address(model) else {
            done(.failure(UpstreamFailure(kind: .connect, detail: "its address is no address")))
            return
        }
        let isTLS = location.target?.scheme == .https || location.target?.scheme == .grpcs
        let tls: NIOSSLClientHandler?
        do {
            tls =
                isTLS
                ? try self.shared.upstreamCertificates.makeHandler(
                    location.proxy.tls,
                    protocols: alpn,
                    host: Self.host(location.target?.host) ?? model.host
                ) : nil
        } catch {
            done(.failure(UpstreamFailure(kind: .tls, detail: "\(error)")))
            return
        }
        let circuit = upstream.group.circuit
        guard circuit?.take(.connection) ?? true else { return done(.failure(.tooManyConnections)) }
        let handshake = tls.map { _ in UpstreamHandshake(eventLoop: self.eventLoop) }
        let handlers = NIOLoopBound((tls, handshake), eventLoop: self.eventLoop)
        let bound = NIOLoopBound(configure, eventLoop: self.eventLoop)
        let connected = ClientBootstrap(group: self.eventLoop)
            .connectTimeout(.milliseconds(Int64(max(1, location.proxy.connectTimeout))))
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.recvAllocator, value: Self.answerBuffers)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if case (let tls?, let handshake?) = handlers.value {
                        try channel.pipeline.syncOperations.addHandlers([tls, handshake])
                    }
                    try bound.value(channel)
                }
            }
            .connect(to: address)
        connected.assumeIsolated().whenComplete { result in
            switch result {
            case .failure(let error):
                circuit?.give(.connection)
                done(.failure(Self.failure(error)))
            case .success(let channel):
                if let circuit { channel.closeFuture.whenComplete { _ in circuit.give(.connection) } }
                guard let handshake else {
                    done(.success(channel))
                    return
                }
                handshake.wait(milliseconds: location.proxy.connectTimeout) { failure in
                    if let failure {
                        channel.close(promise: nil)
                        done(.failure(failure))
                    } else {
                        done(.success(channel))
                    }
                }
            }
        }
    }

    private static func address(_ peer: PeerModel) -> SocketAddress? {
        try? SocketAddress(ipAddress: peer.host, port: peer.port)
    }

    /// Without the port.
    private static func host(_ text: String?) -> String? {
        guard let text, !text.isEmpty else { return nil }
        guard let colon = text.lastIndex(of: ":"), !text.hasSuffix("]") else { return text }
        return String(text[..<colon])
    }

    private static func failure(_ error: any Error) -> UpstreamFailure {
        switch error {
        case ChannelError.connectTimeout:
            UpstreamFailure(kind: .connectTimeout, detail: "no connection in time")
        case let error as IOError:
            UpstreamFailure(kind: .connect, detail: Self.words(error))
        default:
            UpstreamFailure(kind: .connect, detail: "\(error)")
        }
    }

    private static func words(_ error: IOError) -> String {
        switch error.errnoCode {
        case ECONNREFUSED: "connection refused"
        case EHOSTUNREACH: "no route to the host"
        case ENETUNREACH: "the network is unreachable"
        case EMFILE, ENFILE: "no file descriptor left"
        case EADDRNOTAVAIL: "no local port left"
        default: "\(error)"
        }
    }
}

/// Waits for the handshake of a connection to an instance. Bound to its event loop.
final class UpstreamHandshake: ChannelInboundHandler {
    typealias InboundIn = NIOAny

    private var outcome: UpstreamFailure??
    private var waiter: ((UpstreamFailure?) -> Void)?
    private let eventLoop: any EventLoop
    private lazy var timer = LazyTimer(self.eventLoop) { [unowned self] in
        self.settle(UpstreamFailure(kind: .connectTimeout, detail: "no TLS handshake in time"))
    }

    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    func wait(milliseconds: Int, _ waiter: @escaping (UpstreamFailure?) -> Void) {
        if let outcome { return waiter(outcome) }
        self.waiter = waiter
        self.timer.set(milliseconds: milliseconds)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case TLSUserEvent.handshakeCompleted = event { self.settle(nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.settle(UpstreamFailure(kind: .tls, detail: "\(error)"))
        context.fireErrorCaught(error)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.settle(UpstreamFailure(kind: .tls, detail: "closed within the TLS handshake"))
        context.fireChannelInactive()
    }

    private func settle(_ outcome: UpstreamFailure?) {
        guard self.outcome == nil else { return }
        self.outcome = .some(outcome)
        self.timer.stop()
        let waiter = self.waiter
        self.waiter = nil
        waiter?(outcome)
    }
}
