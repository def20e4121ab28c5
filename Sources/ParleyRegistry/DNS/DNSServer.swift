public import Logging
internal import NIOCore
internal import NIOPosix
public import ParleyCore
public import ServiceLifecycle

/// Answers DNS questions from a registry, over UDP and TCP on the same port:
/// `dig @127.0.0.1 -p 8600 web.service.consul`.
///
/// The names and the answers are Consul's. Services, their tags, SRV records, nodes, the way back from addresses; names
/// outside the domain are refused, since it asks nobody else. What is `critical` is not answered.
///
/// **Abuse.** Bytes that are no query are answered with FORMERR or not at all, responses never. Sizes, connections,
/// idle times and datagrams for each second and address have limits. Who can reach it can read all names: there is no
/// access control in DNS.
///
/// **Shutdown.** When it begins, both sockets are closed; answers that are under way over TCP have `drainTimeout`.
public final class DNSServer: Service, Sendable {
    private let configuration: Configuration
    private let responder: DNSResponder
    private let state: DNSServerState
    private let logger: Logger

    /// - Throws: ``DNSServerError/Code/invalidConfiguration``.
    public init(
        configuration: Configuration,
        source: any RegistryDNSSource,
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) throws(DNSServerError) {
        self.configuration = configuration
        self.responder = DNSResponder(
            zone: try configuration.zone(),
            source: source,
            limits: configuration.limits,
            time: time,
            random: random
        )
        self.state = DNSServerState(maximumConnections: configuration.maximumConnections, time: time)
        self.logger = logger
    }

    /// The address it listens on, as soon as it does on both sockets.
    ///
    /// - Throws: ``DNSServerError`` when it will not, or `CancellationError`.
    public func endpoint() async throws -> Endpoint { try await self.state.endpoint() }

    /// Serves until the graceful shutdown or a cancellation.
    ///
    /// - Throws: ``DNSServerError`` when it cannot listen, or when the system closes one of its sockets.
    public func run() async throws {
        do {
            try await self.serve()
        } catch {
            self.state.ended(
                error as? DNSServerError ?? DNSServerError(.stopped, "The DNS server has ended.", cause: error)
            )
            throw error
        }
        self.state.ended(DNSServerError(.stopped, "The DNS server was stopped before it listened."))
    }

    private func serve() async throws {
        try await withTaskCancellationOrGracefulShutdownHandler {
            let (udp, tcp) = try await self.listen()
            guard self.state.listening(udp: udp, tcp: tcp) else {
                // The shutdown came first.
                try? await udp.close()
                try? await tcp.close()
                return
            }
            let endpoint = Endpoint(host: self.configuration.host, port: udp.localAddress?.port ?? 0)
            self.logger.info("listening for DNS", metadata: ["endpoint": "\(endpoint)"])
            // One without the other would be half a server.
            tcp.closeFuture.whenComplete { _ in udp.close(promise: nil) }
            try? await udp.closeFuture.get()
            let wasAsked = self.state.isStopping
            self.state.stop(within: self.configuration.drainTimeout)
            try? await tcp.closeFuture.get()
            await self.state.connectionsEnded()
            guard wasAsked else {
                throw DNSServerError(.stopped, "The system has closed the DNS server's socket at \(endpoint).")
            }
        } onCancelOrGracefulShutdown: {
            self.state.stop(within: self.configuration.drainTimeout)
        }
    }

    /// How often another pair is tried when the port that was free for TCP is not for UDP.
    private static let pairs = 16

    private func listen() async throws -> (udp: any Channel, tcp: any Channel) {
        var attempt = 1
        while true {
            let tcp = try await self.bind(port: self.configuration.port, self.bindTCP)
            let port = tcp.localAddress?.port ?? self.configuration.port
            do {
                return (try await self.bind(port: port, self.bindUDP), tcp)
            } catch {
                try? await tcp.close()
                guard self.configuration.port == 0, error.code == .portInUse, attempt < Self.pairs else { throw error }
                attempt += 1
            }
        }
    }

    private func bind(
        port: Int,
        _ bind: (SocketAddress) -> EventLoopFuture<any Channel>
    ) async throws(DNSServerError) -> any Channel {
        do {
            return try await bind(try SocketAddress(ipAddress: self.configuration.host, port: port)).get()
        } catch {
            throw DNSServerError.bind(error, endpoint: Endpoint(host: self.configuration.host, port: port))
        }
    }

    private func bindUDP(_ address: SocketAddress) -> EventLoopFuture<any Channel> {
        let limiter = DNSRateLimiter(perSecond: self.configuration.udpQueriesPerSecond)
        return DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(
                .recvAllocator,
                value: FixedSizeRecvByteBufferAllocator(capacity: self.configuration.maximumDatagramSize)
            )
            .channelInitializer { [responder, logger] channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        DNSDatagramHandler(responder: responder, limiter: limiter, logger: logger)
                    )
                }
            }
            .bind(to: address)
    }

    private func bindTCP(_ address: SocketAddress) -> EventLoopFuture<any Channel> {
        let idleTimeout = TimeAmount(self.configuration.idleTimeout)
        return ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { [responder, state] channel in
                channel.eventLoop.makeCompletedFuture {
                    guard state.opened(channel) else { throw ChannelError.ioOnClosedChannel }
                    try channel.pipeline.syncOperations.addHandler(
                        DNSStreamHandler(responder: responder, idleTimeout: idleTimeout)
                    )
                }
            }
            .bind(to: address)
    }
}
