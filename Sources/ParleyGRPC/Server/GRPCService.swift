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
/// cancelled: its *task* is, so `CancellationError` is all a handler needs to know. Errors that are not `RPCError`
/// become a status: ``ParleyCore/ProblemConvertible`` by its HTTP status, everything else `INTERNAL` without its text.
///
/// **Identity.** A call that names another instance (`x-parley-instance`) is refused with `UNAVAILABLE` before anything
/// is done: its caller's registry is out of date.
///
/// **Shutdown.** When it begins, or the task of ``run()`` is cancelled, health turns `NOT_SERVING`, clients are told to
/// go elsewhere (`GOAWAY`), and the service deregisters; calls under way have `drainTimeout` to finish, then they are
/// cancelled.
public final class GRPCService: Service, Sendable {
    public let health: GRPCHealth

    private let configuration: Configuration
    private let server: GRPCServer<NamingTransport>
    private let transport: HTTP2ServerTransport.Posix
    private let identity: InstanceIdentity
    private let drain = Drain()
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
    ///   - registrar: told the real address once the service listens, and when it begins to drain. Leave it out where
    ///     an HTTP service registers the same instance and names this port in its metadata.
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
        var router = RPCRouter<NamingTransport>()
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
            drain: self.drain,
            time: time,
            ids: UUIDv7Generator(time: time, random: random)
        )
        self.configuration = configuration
        self.health = health
        self.transport = transport
        router.registerInterceptors(pipeline: [.apply(interceptor, to: .all)])
        self.server = GRPCServer(
            transport: NamingTransport(base: transport, methods: Set(router.methods), identity: identity),
            router: router
        )
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
        // Tasks of their own, ended and waited for here: when this task is cancelled, the server must still be told to
        // close its connections *before* it is cancelled, because a stream that a client opens on a server that was
        // cancelled with its connections open is a trap in the library.
        let serving = Task { try await self.server.serve() }
        var wasTold = false
        let result = await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.announce() }
            group.addTask {
                // Returns when it begins, or when this task is cancelled.
                try? await gracefulShutdown()
                self.drain.begin(until: Deadline(after: self.configuration.drainTimeout, on: self.time))
                self.health.beginDraining()
                self.server.beginGracefulShutdown()
                await self.deregister()
            }
            let forced = Task {
                let end = try await self.drain.untilBegun(on: self.time)
                // A peer that is frozen never lets its connection close by itself. Late enough that a busy machine has
                // closed the others.
                let patience = max(.seconds(2), self.configuration.drainTimeout)
                try await self.time.sleep(until: end.instant.advanced(by: patience))
                serving.cancel()
            }
            let result = await serving.result
            wasTold = self.drain.end != nil
            forced.cancel()
            group.cancelAll()
            await group.waitForAll()
            return result
        }
        guard case .failure(let error) = result, !wasTold else {
            self.listening.set(.failure(GRPCServiceError(.shutDown, "\(self.configuration.name) has ended.")))
            return
        }
        let failure = self.explain(error)
        self.listening.set(.failure(failure))
        throw failure
    }

    private static func address(_ host: String, _ port: Int) -> GRPCNIOTransportHTTP2Posix.SocketAddress {
        if host == "localhost" { return .ipv4(host: "127.0.0.1", port: port) }
        return host.contains(":") ? .ipv6(host: host, port: port) : .ipv4(host: host, port: port)
    }

    private func boundEndpoint() async throws -> ParleyCore.Endpoint {
        let address = try await self.transport.listeningAddress
        let port = address.ipv4?.port ?? address.ipv6?.port ?? self.configuration.port
        return ParleyCore.Endpoint(host: self.configuration.host, port: port)
    }

    private func announce() async {
        guard let endpoint = try? await self.boundEndpoint() else { return }
        self.listening.set(.success(endpoint))
        await self.register(endpoint)
        await self.onListening(endpoint)
    }

    private func register(_ endpoint: ParleyCore.Endpoint) async {
        guard let registrar else { return }
        let reachable = ParleyCore.Endpoint(host: self.configuration.advertisedHost, port: endpoint.port)
        let id = self.configuration.instanceID ?? "\(self.configuration.name)-\(reachable.host)-\(reachable.port)"
        // Before anybody can learn of it: the first call that asks for it must be recognised.
        self.identity.become(id)
        do {
            // Before the question, whose answer may be lost.
            self.registration.withLock { $0 = id }
            try await registrar.register(
                ServiceInstance(
                    id: id,
                    service: self.configuration.name,
                    endpoint: reachable,
                    metadata: [ServiceInstance.grpcPort: "\(reachable.port)"],
                    knowsItsID: true
                )
            )
            // The shutdown may have begun, and its deregistration been done, while the registry was answering.
            if self.drain.end != nil { try await registrar.deregister(id) }
        } catch {
            // It still serves those who know its address; the registry's own client says what is wrong with it.
            self.logger.error(
                "service could not be registered",
                metadata: ["service.name": "\(self.configuration.name)", "error": "\(error)"]
            )
        }
    }

    private func deregister() async {
        guard let registrar, let id = self.registration.withLock({ $0.take() }) else { return }
        do {
            try await registrar.deregister(id)
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
        /// The largest message taken from a client, in bytes: 4 MiB as everywhere in gRPC. The library ends a call with
        /// a larger one by `RST_STREAM`, which clients show as `CANCELLED` or `UNAVAILABLE`.
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

    /// Where it answers gRPC; `nil` when what it was registered with is no port, for anybody may have written it.
    var grpcEndpoint: ParleyCore.Endpoint? {
        guard let text = self.metadata[Self.grpcPort] else {
            return (1...65_535).contains(self.endpoint.port) ? self.endpoint : nil
        }
        guard let port = Int(text), (1...65_535).contains(port) else { return nil }
        return ParleyCore.Endpoint(host: self.endpoint.host, port: port)
    }
}
