internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import ParleyCore

/// Between the socket and the core: cuts bytes into frames and tells how the socket ends.
final class SocketHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let core: ConnectionCore
    private let epoch: UInt64
    // Before the sizes are agreed on, the broker sends its properties only.
    private var decoder = AMQPFrameDecoder(maximumFrameSize: 131_072)

    /// At most what one read brings.
    private var frames: [AMQPFrame] = []
    private var isOpen = false

    init(core: ConnectionCore, epoch: UInt64) {
        self.core = core
        self.epoch = epoch
    }

    func channelActive(context: ChannelHandlerContext) {
        if !self.core.socketConnected(context.channel, epoch: self.epoch) { context.close(promise: nil) }
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.decoder.append(self.unwrapInboundIn(data))
        do throws(AMQPWireError) {
            while let frame = try self.decoder.next() {
                self.frames.append(frame)
                // One at a time until the size of the next is agreed on.
                if !self.isOpen { self.handOver() }
            }
            self.handOver()
        } catch {
            self.handOver()
            self.core.socketFailed(AMQPError(error), epoch: self.epoch)
        }
    }

    private func handOver() {
        guard !self.frames.isEmpty else { return }
        if let agreed = self.core.received(self.frames, epoch: self.epoch) {
            self.decoder.maximumFrameSize = agreed
            self.isOpen = true
        }
        self.frames.removeAll(keepingCapacity: true)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.core.socketEnded(epoch: self.epoch)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.core.socketFailed(Self.classified(error), epoch: self.epoch)
        context.close(promise: nil)
    }

    static func classified(_ error: any Error) -> AMQPError {
        switch error {
        case let error as AMQPError: error
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
            AMQPError(
                .tls,
                "the TLS handshake failed: check the certificate authority, the server's name and our certificate",
                cause: error
            )
        case is NIOConnectionError, is SocketAddressError:
            AMQPError(
                .cannotConnect,
                "nobody answers there: check host, port and whether the broker runs",
                retry: .notSent,
                cause: error
            )
        case let error as ChannelError:
            AMQPError(.cannotConnect, "the connection could not be made", retry: .notSent, cause: error)
        default: AMQPError(.connectionLost, "the connection broke", retry: .mayHaveRun, cause: error)
        }
    }

    /// Connects and returns when the socket is there; what follows is told to the core.
    static func connect(
        _ core: ConnectionCore,
        to endpoint: AMQPConfiguration.Endpoint,
        epoch: UInt64
    ) async throws {
        let configuration = core.configuration
        let context: NIOSSLContext?
        do {
            context = try configuration.tls.map { try NIOSSLContext(configuration: $0.configuration) }
        } catch {
            throw Self.classified(error)
        }
        let serverName = configuration.tls?.serverName ?? endpoint.host
        let bootstrap = ClientBootstrap(group: core.eventLoop)
            .connectTimeout(.nanoseconds(configuration.connectTimeout.nanoseconds))
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let context {
                        // An address is no server name; it is then verified as an address.
                        let isAddress = (try? SocketAddress(ipAddress: serverName, port: 0)) != nil
                        let tls = try NIOSSLClientHandler(
                            context: context,
                            serverHostname: isAddress ? nil : serverName
                        )
                        try channel.pipeline.syncOperations.addHandler(tls)
                    }
                    try channel.pipeline.syncOperations.addHandler(SocketHandler(core: core, epoch: epoch))
                }
            }
        do {
            _ = try await bootstrap.connect(host: endpoint.host, port: endpoint.port).get()
        } catch {
            throw Self.classified(error)
        }
    }
}
