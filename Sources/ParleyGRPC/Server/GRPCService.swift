public import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
public import Logging
public import ParleyCore
public import ParleyDiscovery
public import ServiceLifecycle
internal import Synchronization

/// A service that answers gRPC: your handlers behind the layers that every Parley service has, with the standard
/// health service and server reflection beside them.
///
/// ```swift
/// let service = try GRPCService(
///     configuration: .init(name: "user-service", port: 50_051),
///     services: [UserRPCs(store: store)],
///     descriptors: [UserDescriptors.base64],
///     logger: logger
/// )
/// try await ServiceGroup(services: [service], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger).run()
/// ```
///
/// **Each call** runs with a ``ParleyCore/RequestContext`` read from its metadata (or begun); `grpc-timeout` is its
/// deadline. A call whose deadline has passed is not begun; one whose deadline comes, or whose caller goes away, is
/// cancelled: its *task* is, so `CancellationError` is all a handler needs to know. Errors that are not `RPCError` become
/// a status: ``ParleyCore/ProblemConvertible`` by its HTTP status, everything else `INTERNAL` without its text.
///
/// **Identity.** A call that names another instance (`x-parley-instance`) is refused with `UNAVAILABLE` before anything
/// is done: its caller's registry is out of date.
///
/// **Shutdown.** When it begins, health turns `NOT_SERVING`, the service deregisters, clients are told to go elsewhere
/// (`GOAWAY`); calls under way have `drainTimeout` to finish, then they are cancelled.
public final class GRPCService: Service, Sendable {
    public let health: GRPCHealth

    private let configuration: Configuration
    private let server: GRPCServer<HTTP2ServerTransport.Posix>
    private let transport: HTTP2ServerTransport.Posix
    private let identity: InstanceIdentity
    private let registrar: (any ServiceRegistrar)?
    private let onListening: @Sendable (ParleyCore.Endpoint) async -> Void
    private let listening = ListeningAddress()
    /// Under which id it is registered, while it is.
    private let registration = Mutex<ServiceInstance.ID?>(nil)
    private let logger: Logger
    private let time: any TimeSource

    /// - Parameters:
    ///   - services: the handlers, as the generated code declares them.
    ///   - descriptors: what reflection tells about them: serialized `FileDescriptorSet`s in base64.
    ///   - registrar: told the real address once the service listens, and when it begins to drain. Leave it out where an
    ///     HTTP service registers the same instance and names this port in its metadata.
    ///   - onListening: called with the real address.
    /// - Throws: ``GRPCServiceError/Code/invalidDescriptors``.
    public init(
        configuration: Configuration,
        services: [any RegistrableRPCService],
        descriptors: [String] = [],
        registrar: (any ServiceRegistrar)? = nil,
        onListening: @escaping @Sendable (ParleyCore.Endpoint) async -> Void = { _ in },
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) throws {
        let pool = try DescriptorPool([ParleyGRPCDescriptors.base64] + descriptors)
        var router = RPCRouter<HTTP2ServerTransport.Posix>()
        for service in services { service.registerMethods(with: &router) }
        let offered = Set(router.methods.map(\.service.fullyQualifiedService))
        let health = GRPCHealth(services: offered.sorted(), time: time)
        HealthRPCs(health: health).registerMethods(with: &router)
        Reflection(pool: pool, offered: offered).registerMethods(with: &router)
        let transport = HTTP2ServerTransport.Posix(
            address: Self.address(configuration.host, configuration.port),
            transportSecurity: configuration.security.transport,
            config: configuration.transport
        )
        let identity = InstanceIdentity(configuration.instanceID)
        let interceptor = ContextServerInterceptor(
            service: configuration.name,
            identity: identity,
            requestTimeout: configuration.requestTimeout,
            accessLogLevel: configuration.accessLogLevel,
            logger: logger,
            health: health,
            time: time,
            ids: UUIDv7Generator(time: time, random: random)
        )
        self.configuration = configuration
        self.health = health
        self.transport = transport
        router.registerInterceptors(pipeline: [.apply(interceptor, to: .all)])
        self.server = GRPCServer(transport: transport, router: router)
        self.identity = identity
        self.registrar = registrar
        self.onListening = onListening
        self.logger = logger
        self.time = time
    }

    /// The address it listens on, as soon as it does.
    ///
    /// - Throws: ``GRPCServiceError`` when it cannot listen, `CancellationError`.
    public func endpoint() async throws -> ParleyCore.Endpoint { try await self.listening.wait(on: self.time) }

    /// Says under which id this instance is registered, where somebody else does that.
    public func identify(as id: ServiceInstance.ID) { self.identity.become(id) }

    /// Serves until the graceful shutdown has drained.
    ///
    /// - Throws: ``GRPCServiceError`` when it cannot listen or its certificate cannot be used.
    public func run() async throws {
        do {
            try await withThrowingTaskGroup(of: Bool.self) { group in
                group.addTask {
                    try await self.server.serve()
                    return true
                }
                group.addTask {
                    guard let endpoint = try? await self.boundEndpoint() else { return false }
                    let registered = await self.register(endpoint)
                    self.registration.withLock { $0 = registered }
                    await self.onListening(endpoint)
                    self.listening.set(.success(endpoint))
                    return false
                }
                group.addTask {
                    try await gracefulShutdown()
                    // Deregistered as soon as the shutdown begins, not when it is over: callers should go elsewhere.
                    if let id = self.registration.withLock({ $0.take() }) { await self.deregister(id) }
                    self.health.beginDraining()
                    // It closes what is still open after the drain time, and then ends by itself. The end by force is
                    // for a case nobody has seen: a stream that a client opens right then would be a trap of the
                    // library.
                    self.server.beginGracefulShutdown()
                    try await self.time.sleep(for: self.configuration.drainTimeout + .seconds(1))
                    return true
                }
                defer { group.cancelAll() }
                while let isOver = try await group.next(), !isOver {}
            }
        } catch {
            if Task.isCancelled || Task.isShuttingDownGracefully { return }
            let failure = self.explain(error)
            self.listening.set(.failure(failure))
            throw failure
        }
    }

    private static func address(_ host: String, _ port: Int) -> GRPCNIOTransportHTTP2Posix.SocketAddress {
        host.contains(":") ? .ipv6(host: host, port: port) : .ipv4(host: host, port: port)
    }

    private func boundEndpoint() async throws -> ParleyCore.Endpoint {
        let address = try await self.transport.listeningAddress
        let port = address.ipv4?.port ?? address.ipv6?.port ?? self.configuration.port
        return ParleyCore.Endpoint(host: self.configuration.host, port: port)
    }

    private func register(_ endpoint: ParleyCore.Endpoint) async -> ServiceInstance.ID? {
        guard let registrar else { return nil }
        let reachable = ParleyCore.Endpoint(host: self.configuration.advertisedHost, port: endpoint.port)
        let id = self.configuration.instanceID ?? "\(self.configuration.name)-\(reachable.host)-\(reachable.port)"
        // Before anybody can learn of it: the first call that asks for it must be recognised.
        self.identity.become(id)
        do {
            try await registrar.register(
                ServiceInstance(
                    id: id,
                    service: self.configuration.name,
                    endpoint: reachable,
                    metadata: [ServiceInstance.grpcPort: "\(reachable.port)"]
                )
            )
            return id
        } catch {
            // It still serves those who know its address; the registry's own client says what is wrong with it.
            self.logger.error(
                "service could not be registered",
                metadata: ["service.name": "\(self.configuration.name)", "error": "\(error)"]
            )
            return nil
        }
    }

    private func deregister(_ id: ServiceInstance.ID) async {
        do {
            try await self.registrar?.deregister(id)
        } catch {
            self.logger.warning(
                "service could not be deregistered",
                metadata: ["service.name": "\(self.configuration.name)", "error": "\(error)"]
            )
        }
    }

    private func explain(_ error: any Error) -> GRPCServiceError {
        let (name, host, port) = (self.configuration.name, self.configuration.host, self.configuration.port)
        let text = "\(error)"
        if text.contains("SSL") || text.contains("TLS") {
            return GRPCServiceError(
                .invalidSecurity,
                "\(name) cannot use its certificate: \(text). Do the PEM files exist, and does the key belong to the "
                    + "certificate?",
                cause: error
            )
        }
        return GRPCServiceError(
            .cannotListen,
            "\(name) cannot listen for gRPC on \(host):\(port): \(text). Is the port in use, the host an address of "
                + "this machine, and the port one that you may open?",
            cause: error
        )
    }
}

extension GRPCService {
    /// The limits of a gRPC service. Every wait and every size has one.
    public struct Configuration: Sendable {
        public var name: ServiceName
        /// `127.0.0.1` is this machine only, `0.0.0.0` every IPv4 interface. An address, not a host name.
        public var host: String
        /// 0 takes a free one.
        public var port: Int
        public var security: GRPCServerSecurity = .plaintext
        /// The largest message taken from a client, in bytes: 4 MiB as everywhere in gRPC. The library ends a call with a
        /// larger one by `RST_STREAM`, which clients show as `CANCELLED` or `UNAVAILABLE`.
        public var maxRequestBytes = 4_194_304
        /// How long a call may take to begin its answer when its sender names no deadline.
        public var requestTimeout: Duration = .seconds(30)
        /// How many calls a connection may have at the same time; further ones wait at the client.
        public var maxConcurrentCalls = 1_000
        /// An idle connection is asked for a sign of life after this time…
        public var keepaliveTime: Duration = .seconds(60)
        /// …and closed when none comes within this one.
        public var keepaliveTimeout: Duration = .seconds(20)
        /// A client that sends its own pings more often than this is sent away (`ENHANCE_YOUR_CALM`).
        public var minClientKeepaliveTime: Duration = .seconds(10)
        /// How long calls under way may take when the service shuts down.
        public var drainTimeout: Duration = .seconds(3)
        /// At which level each call is logged.
        public var accessLogLevel: Logger.Level = .debug
        /// The id under which it registers; `nil` for one made of name, advertised host and port.
        public var instanceID: String?
        /// The address under which others reach it; the host it listens on, or loopback if that is every interface.
        public var advertisedHost: String

        public init(name: ServiceName, host: String = "127.0.0.1", port: Int = 0) {
            self.name = name
            self.host = host
            self.port = port
            self.advertisedHost = host == "0.0.0.0" || host == "::" ? "127.0.0.1" : host
        }

        var transport: HTTP2ServerTransport.Posix.Config {
            .defaults { config in
                config.rpc.maxRequestPayloadSize = max(1, self.maxRequestBytes)
                config.http2.maxConcurrentStreams = max(1, self.maxConcurrentCalls)
                config.connection.maxGraceTime = self.drainTimeout
                config.connection.keepalive.time = self.keepaliveTime
                config.connection.keepalive.timeout = self.keepaliveTimeout
                config.connection.keepalive.clientBehavior.allowWithoutCalls = true
                config.connection.keepalive.clientBehavior.minPingIntervalWithoutCalls = self.minClientKeepaliveTime
            }
        }
    }
}

extension ServiceInstance {
    /// The key of ``ParleyDiscovery/ServiceInstance/metadata`` under which an instance says on which port it answers
    /// gRPC, when that is not the port of its endpoint.
    public static let grpcPort = "grpc_port"
}
