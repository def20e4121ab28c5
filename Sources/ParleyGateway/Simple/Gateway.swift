public import Logging
public import ParleyCore
public import ParleyDiscovery
internal import ParleyHTTPServer
public import ServiceLifecycle

/// A reverse proxy: one address in front of many services.
///
/// Requests go by path prefix to an instance of a service, and both bodies are streamed: a slow reader slows the
/// writer, and nothing is collected in between. Each request carries `X-Request-ID` (the client's own, if it is
/// acceptable), `X-Real-IP`, `X-Forwarded-For`, `-Proto` and `-Host`, the client's `Host`, and a child of its trace;
/// header fields that belong to one connection stay there, both ways.
///
/// What the gateway answers itself is `application/problem+json`: 400 for a path that could mislead (`..`, control
/// characters), 403 for a client outside `allowedClients`, 404 without a route, 405 for TRACE and CONNECT, 413 above
/// `maxBodyBytes`, 502 when the service refuses, breaks or does not speak HTTP, 503 without an instance, 504 when time
/// runs out. `/health` tells how the services are, unless a route takes it.
///
/// **Shutdown.** `/health/ready` answers 503; after `drainDelay` no connection is accepted any more and those that rest
/// are closed. Requests under way have `listener.drainTimeout`, then they are answered 503.
public final class Gateway: Service, Sendable {
    private let configuration: GatewayConfiguration
    private let runtime: GatewayRuntime
    private let onListening: @Sendable (Endpoint) async -> Void

    /// - Parameters:
    ///   - rpcResolver: Where instances answer gRPC, if `resolver` does not know it.
    ///   - onListening: Called with the real address once connections are accepted.
    /// - Throws: ``ParleyHTTPServer/ServerError`` (`invalidConfiguration`) for a prefix that is no path or is given
    ///   twice.
    public init(
        configuration: GatewayConfiguration,
        resolver: any ServiceResolver,
        rpcResolver: (any ServiceResolver)? = nil,
        onListening: @escaping @Sendable (Endpoint) async -> Void = { _ in },
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) throws {
        var options = GatewayRuntime.Options()
        options.resolver = resolver
        options.rpcResolver = rpcResolver
        options.gracePeriod = configuration.listener.drainTimeout
        options.drainDelay = configuration.drainDelay
        options.healthTimeout = configuration.healthTimeout
        self.configuration = configuration
        self.runtime = try GatewayRuntime(
            model: try configuration.model(),
            options: options,
            logger: logger,
            time: time,
            random: random
        )
        self.onListening = onListening
    }

    /// The address it listens on, as soon as it does.
    ///
    /// - Throws: ``ParleyHTTPServer/ServerError`` when it cannot listen.
    public func endpoint() async throws -> Endpoint { try await self.endpoint(0) }

    /// Where it speaks TLS; `nil` when it does not.
    ///
    /// - Throws: ``ParleyHTTPServer/ServerError`` when it cannot listen.
    public func secureEndpoint() async throws -> Endpoint? {
        self.configuration.tls == nil ? nil : try await self.endpoint(1)
    }

    /// Where it takes calls of gRPC; `nil` when it does not.
    ///
    /// - Throws: ``ParleyHTTPServer/ServerError`` when it cannot listen.
    public func rpcEndpoint() async throws -> Endpoint? {
        self.configuration.rpc == nil ? nil : try await self.endpoint(self.configuration.tls == nil ? 1 : 2)
    }

    /// Serves until the graceful shutdown has drained.
    ///
    /// - Throws: ``ParleyHTTPServer/ServerError`` when it cannot listen.
    public func run() async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                do {
                    try await self.runtime.run()
                } catch {
                    throw self.serverError(error)
                }
            }
            group.addTask {
                // Who cannot listen says so itself.
                guard let endpoint = try? await self.endpoint() else { return }
                await self.onListening(endpoint)
            }
            try await group.waitForAll()
        }
    }

    /// In the order of the model: HTTP, TLS, gRPC.
    private func endpoint(_ index: Int) async throws -> Endpoint {
        do {
            let endpoints = try await self.runtime.listeningEndpoints()
            guard endpoints.indices.contains(index) else {
                throw ServerError(.stopped, "\(self.configuration.listener.name) does not listen any more.")
            }
            return endpoints[index]
        } catch {
            throw self.serverError(error)
        }
    }

    private func serverError(_ error: any Error) -> any Error {
        guard let failure = error as? GatewayError else { return error }
        let listener = self.configuration.listener
        guard failure.code == .cannotListen else {
            return ServerError(.invalidConfiguration, "\(listener.name): \(failure.message)", cause: error)
        }
        let endpoint = failure.endpoint ?? Endpoint(host: listener.host, port: listener.port)
        return ServerError.bind(failure.cause ?? error, name: listener.name, endpoint: endpoint)
    }
}
