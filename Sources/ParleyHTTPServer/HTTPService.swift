internal import HTTPTypes
internal import Hummingbird
internal import HummingbirdCore
public import Logging
internal import NIOCore
internal import NIOHTTP1
public import ParleyCore
public import ParleyDiscovery
public import ServiceLifecycle
internal import Synchronization

/// A service that answers HTTP: a router behind the layers that every Parley service has.
///
/// ```swift
/// let router = ParleyRouter(service: "user-service")
/// router.get("api/v1/users/:id") { request, context in … }
/// let service = HTTPService(configuration: .init(name: "user-service", port: 8001), router: router, logger: logger)
/// try await ServiceGroup(services: [service], gracefulShutdownSignals: [.sigterm, .sigint], logger: logger).run()
/// ```
///
/// **Each request** runs with a ``ParleyCore/RequestContext`` read from its headers (or begun), is cancelled at its
/// deadline, and is answered with `X-Request-ID`, whatever happens. Errors are `application/problem+json`.
///
/// **Identity.** A service that knows its instance id (because it is configured, or it has registered) adds it to every
/// answer as `X-Parley-Instance`, and answers a request that names another id with 421, before doing anything: its
/// sender means the instance that had this address before.
///
/// **Shutdown.** When it begins, `/health/ready` turns 503, the port is closed, idle connections are closed, answers
/// carry `Connection: close`; requests under way have `drainTimeout` to finish, then their tasks are cancelled.
/// ``run()`` returns when all are done. A handler that ignores cancellation keeps it waiting.
public final class HTTPService: Service, Sendable {
    private let configuration: Configuration
    private let health: HealthRegister
    private let registrar: (any ServiceRegistrar)?
    private let metadata: @Sendable (ServiceInstance.ID) async throws -> [String: String]
    private let onListening: @Sendable (Endpoint) async -> Void
    private let state: ListenerState
    private let stack: any HTTPResponder<ParleyRequestContext>
    private let dates: DateHeader
    private let logger: Logger
    private let time: any TimeSource
    private let ids: UUIDv7Generator
    /// Under which id it is registered, while it is.
    private let registration = Mutex<ServiceInstance.ID?>(nil)
    private let identity: InstanceIdentity

    /// - Parameters:
    ///   - router: the routes; the health routes are added to them.
    ///   - health: checks that decide about readiness; a service without dependencies needs none.
    ///   - registrar: told the real address once the service listens, and when it begins to drain.
    ///   - metadata: further facts to register under this id, asked for when the service listens: the port of a gRPC
    ///     service beside it, for example.
    ///   - onListening: called with the real address before the first connection is accepted.
    public init(
        configuration: Configuration,
        router: ParleyRouter,
        health: HealthRegister? = nil,
        registrar: (any ServiceRegistrar)? = nil,
        metadata: @escaping @Sendable (ServiceInstance.ID) async throws -> [String: String] = { _ in [:] },
        onListening: @escaping @Sendable (Endpoint) async -> Void = { _ in },
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) {
        let health = health ?? HealthRegister(service: configuration.name, time: time)
        let renderer = ProblemRenderer(service: configuration.name)
        router.addHealthRoutes(health)
        self.configuration = configuration
        self.health = health
        self.registrar = registrar
        self.metadata = metadata
        self.onListening = onListening
        self.state = ListenerState(time: time)
        self.dates = DateHeader(time: time)
        self.logger = logger
        self.time = time
        self.ids = UUIDv7Generator(time: time, random: random)
        self.identity = InstanceIdentity(configuration.instanceID)
        self.stack = LayeredResponder.stack(
            [
                // Above everything, so that it logs the status that the client sees and the time of all layers.
                AccessLogLayer(level: configuration.accessLogLevel, time: time),
                // Above the limits and the deadline, whose errors it turns into answers.
                ErrorLayer(renderer: renderer),
                // Above all that looks at the request: it is meant for somebody else.
                IdentityLayer(identity: self.identity),
                // Above the deadline: refusing costs nothing, and needs no task.
                RequestLimitsLayer(),
                // Right around the router: a handler, and reading its body, is what a deadline cancels.
                DeadlineLayer(time: time, state: self.state),
            ],
            around: router.buildResponder()
        )
    }

    /// The address it listens on, as soon as it does.
    ///
    /// - Throws: ``ServerError`` when it cannot listen.
    public func endpoint() async throws -> Endpoint { try await self.state.endpoint() }

    /// Serves until the graceful shutdown has drained.
    ///
    /// - Throws: ``ServerError`` when it cannot listen: port in use, no permission, no such address.
    public func run() async throws {
        let listener = HTTPListener(
            configuration: self.configuration.listener,
            state: self.state,
            logger: self.logger,
            time: self.time
        )
        let name = self.configuration.name
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                // Deregistered as soon as the shutdown begins, not when it is over: callers should go elsewhere.
                try? await gracefulShutdown()
                await self.deregister()
            }
            defer { group.cancelAll() }
            try await listener.run(
                responder: { request, writer, channel in
                    try await self.respond(to: request, writer: writer, channel: channel)
                },
                onListening: { endpoint in
                    await self.register(endpoint)
                    await self.onListening(endpoint)
                },
                onDraining: { self.health.beginDraining() }
            )
            self.logger.debug("stopped", metadata: ["service.name": "\(name)"])
        }
    }

    private func register(_ endpoint: Endpoint) async {
        guard let registrar else { return }
        let reachable = Endpoint(host: self.configuration.advertisedHost, port: endpoint.port)
        let name = self.configuration.name
        let id = self.configuration.instanceID ?? "\(name)-\(reachable.host)-\(reachable.port)"
        // Before anybody can learn of it: the first call that asks for it must be recognised.
        self.identity.become(id)
        do {
            self.registration.withLock { $0 = id }
            let metadata = try await self.metadata(id)
            try await registrar.register(
                ServiceInstance(id: id, service: name, endpoint: reachable, metadata: metadata, knowsItsID: true)
            )
            // The shutdown may have begun, and its deregistration been done, while the registry was answering.
            if self.state.isDraining { try await registrar.deregister(id) }
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

    @concurrent
    private func respond(
        to request: Request,
        writer: consuming ResponseWriter,
        channel: any Channel
    ) async throws {
        let context = self.makeContext(request, channel: channel)
        let expectsContinue = request.headers[.expect]?.lowercased() == "100-continue"
        let length = request.headers[.contentLength].flatMap { Int($0) } ?? 0
        let meant = request.headers[named: RequestContextFields.instance]
        if expectsContinue, length <= context.maxUploadSize, self.identity.accepts(meant) {
            try await writer.writeInformationalHead(HTTPResponse(status: .continue))
        }
        var response = try await context.request.withCurrent {
            try await self.stack.respond(to: request, context: context)
        }
        if request.method == .head { response = response.createHeadResponse() }
        response.headers[named: RequestContextFields.http.requestID] = context.request.requestID
        if let id = self.identity.id { response.headers[named: RequestContextFields.instance] = id }
        response.headers[.date] = self.dates.text
        if self.state.isDraining { response.headers[.connection] = "close" }
        // Handlers write streamed bodies here, so the context is theirs once more.
        let (head, body) = (response.head, response.body)
        var open: ResponseWriter? = writer
        try await context.request.withCurrent { @concurrent () async throws -> Void in
            do {
                if let writer = open.take() { try await writer.write(response: head, body: body) }
            } catch is HTTPParserError {
                // Hummingbird would answer this error with a 400, in the middle of the answer that has been begun.
                throw BrokenAnswer()
            }
        }
    }

    private struct BrokenAnswer: Error {}

    private func makeContext(_ request: Request, channel: any Channel) -> ParleyRequestContext {
        let now = self.time.now
        let fields = RequestContextFields.http
        var work = fields.read(now: now, orElse: self.ids.next().description) {
            request.headers[named: $0]
        }
        if work.deadline == nil {
            // "Nothing left" is a deadline too, and says more than no deadline at all.
            let sent = request.headers[named: fields.timeout].flatMap { Int64($0) }
            work.deadline = Deadline(sent == nil ? now.advanced(by: self.configuration.requestTimeout) : now)
        }
        var logger = self.logger
        logger[metadataKey: "request.id"] = "\(work.requestID)"
        logger[metadataKey: "hb.request.id"] = "\(work.requestID)"  // what Hummingbird's `context.id` reads
        if let trace = work.trace { logger[metadataKey: "trace.id"] = "\(trace.traceID)" }
        return ParleyRequestContext(
            channel: channel,
            logger: logger,
            request: work,
            maxBodyBytes: self.configuration.maxBodyBytes
        )
    }
}

extension HTTPService {
    /// The limits of a service. Every wait and every size has one.
    public struct Configuration: Sendable {
        /// Where it listens, and how long its connections may take.
        public var listener: ListenerConfiguration
        /// The largest request body, in bytes.
        public var maxBodyBytes = 1_048_576
        /// How long a request may take when its sender names no deadline (`X-Request-Timeout-Ms`).
        public var requestTimeout: Duration = .seconds(30)
        /// At which level each request is logged.
        public var accessLogLevel: Logger.Level = .debug
        /// The id under which it registers; `nil` for one made of name, advertised host and port.
        public var instanceID: String?
        /// The address under which others reach it; the host it listens on, or loopback if that is every interface.
        public var advertisedHost: String

        public var name: ServiceName { self.listener.name }

        /// - Parameters:
        ///   - host: `127.0.0.1` is this machine only, `0.0.0.0` every IPv4 interface.
        ///   - port: 0 takes a free one.
        public init(name: ServiceName, host: String = "127.0.0.1", port: Int = 0) {
            self.listener = ListenerConfiguration(name: name, host: host, port: port)
            self.advertisedHost = host == "0.0.0.0" || host == "::" ? "127.0.0.1" : host
        }
    }
}
