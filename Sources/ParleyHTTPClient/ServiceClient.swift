public import AsyncHTTPClient
public import HTTPTypes
public import Logging
public import ParleyCore
public import ParleyDiscovery
public import ParleyResilience
public import ServiceLifecycle
internal import Tracing

/// Calls services by name over HTTP.
///
/// For each try it asks the resolver, chooses an instance, and writes the ``ParleyCore/RequestContext`` of the current
/// task into the headers: request id, trace (a child of it), its own name as the caller, the time that is left, the
/// retry budget. A call without a context begins one.
///
/// **When things fail** the ``ParleyResilience/ResiliencePolicy`` of the configuration decides. As it comes, a call is
/// tried again when nothing was sent (no instance, connection refused, unknown host); when the request may have been
/// carried out, only if repeating it is harmless: GET, HEAD, OPTIONS, PUT, DELETE, or any method with an
/// `Idempotency-Key` header. 429 and 421 are tried again, 502, 503 and 504 if repeating is harmless; `Retry-After` is
/// obeyed. Never beyond the deadline, `maxAttempts`, the context's retry budget, or a fifth of the calls. Instances
/// that fail are left alone for a while. When tries run out on a status, that answer is returned: a status is never an
/// error here.
///
/// **Identity.** An instance that knows its id is asked for it by `X-Parley-Instance`. A server of another id refuses
/// (421), and an answer that names another id is never given to the caller: an address that has passed to another
/// service cannot receive the calls of the first.
///
/// Each answer and each error has a ``ParleyResilience/CallExplanation``.
///
/// **Life.** A client that made its own connections closes them when ``run()`` ends, or with its last reference.
public final class ServiceClient: Service, Sendable {
    let configuration: Configuration
    private let resolver: any ServiceResolver
    let connections: HTTPConnections
    private let known: KnownTargets
    let caller: ResilientCaller
    let time: any TimeSource
    let random: any RandomSource
    private let ids: UUIDv7Generator

    /// - Parameters:
    ///   - httpClient: connections to use; the owner shuts them down, and its timeouts and redirect rules apply in
    ///     place of the configuration's. Without one the client makes its own.
    ///   - time: for all waits but that for the head of an answer, which the event loops' own clock ends.
    public init(
        configuration: Configuration,
        resolver: any ServiceResolver,
        httpClient: HTTPClient? = nil,
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) {
        self.configuration = configuration
        self.resolver = resolver
        self.connections =
            httpClient.map { HTTPConnections(borrowing: $0) }
            ?? HTTPConnections(
                connectTimeout: configuration.connectTimeout,
                maxConnectionsPerEndpoint: configuration.maxConnectionsPerEndpoint
            )
        self.known = KnownTargets(configuration.policy.identity)
        self.time = time
        self.random = random
        self.ids = UUIDv7Generator(time: time, random: random)
        self.caller = ResilientCaller(policy: configuration.policy, time: time, random: random) { event in
            Self.log(event, to: logger)
        }
    }

    /// Runs `body` with a client of its own and shuts it down afterwards.
    public static func withClient<Value>(
        configuration: Configuration,
        resolver: any ServiceResolver,
        logger: Logger,
        _ body: (ServiceClient) async throws -> Value
    ) async throws -> Value {
        let client = ServiceClient(configuration: configuration, resolver: resolver, logger: logger)
        do {
            let value = try await body(client)
            await client.shutdown()
            return value
        } catch {
            await client.shutdown()
            throw error
        }
    }

    /// Waits for the graceful shutdown (or cancellation), then closes the connections. Put it *before* the servers in a
    /// `ServiceGroup`: the group stops its services in reverse order, and draining handlers still make calls.
    public func run() async throws {
        try? await gracefulShutdown()
        await self.shutdown()
    }

    /// Closes the connections; calls under way fail, later ones end with ``ServiceClientError/Code/shutDown``.
    public func shutdown() async { await self.connections.shutdown() }

    /// Sends `request` to an instance of `service` and returns its complete answer, whatever the status.
    ///
    /// - Parameters:
    ///   - request: its `path` begins with `/`; scheme and authority come from the instance.
    ///   - deadline: until when the caller waits. The context's deadline counts too; the earlier one wins.
    ///   - affinity: what should go to the same instance, such as a user's id; only for a policy that balances by
    ///     `consistentHash`.
    /// - Throws: ``ServiceClientError``, or `CancellationError` when the task is cancelled.
    public func send(
        _ request: HTTPRequest,
        body: [UInt8]? = nil,
        to service: ServiceName,
        deadline: Deadline? = nil,
        affinity: String? = nil
    ) async throws -> ServiceResponse {
        let path = request.path ?? ""
        guard path.hasPrefix("/"), path.utf8.allSatisfy({ (33...126).contains($0) && $0 != UInt8(ascii: "#") }) else {
            throw ServiceClientError(
                .invalidRequest,
                "The path \"\(path)\" for \(service) must begin with / and consist of visible ASCII characters; "
                    + "percent-encode the others.",
                service: service,
                retry: .permanent
            )
        }
        var context = RequestContext.current ?? RequestContext(requestID: self.ids.next().description)
        context.caller = self.configuration.name.description
        let sending = Sending(request: request, body: body, service: service, context: context)
        // The span: above everything, so that it shows how long the caller waited, for whatever.
        return try await withSpan("call \(service)", ofKind: .client) { span in
            // Attributes that nobody reads are not written either.
            guard span.isRecording else { return try await self.call(sending, deadline: deadline, affinity: affinity) }
            span.attributes["service.name"] = service.description
            span.attributes["http.request.method"] = request.method.rawValue
            do {
                let response = try await self.call(sending, deadline: deadline, affinity: affinity)
                span.attributes["call.attempts"] = response.attempts
                span.attributes["http.response.status_code"] = response.status.code
                return response
            } catch {
                if let error = error as? ServiceClientError {
                    span.attributes["call.attempts"] = error.attempts
                    span.attributes["error.type"] = error.code.description
                }
                throw error
            }
        }
    }

    private func call(_ sending: Sending, deadline: Deadline?, affinity: String?) async throws -> ServiceResponse {
        let service = sending.service
        let call = Call(
            service,
            isRepeatable: sending.request.isRepeatable,
            deadline: deadline,
            context: sending.context,
            key: affinity
        )
        do {
            var (response, explanation) = try await self.caller.call(
                call,
                targets: { [known, resolver] in
                    known.targets(for: try await resolver.resolve(service), of: service)
                },
                classify: { [self] in self.judge($0, attempt: $1) },
                attempt: { [self] in try await self.attempt($0, sending) }
            )
            response.explanation = explanation
            response.attempts = explanation.attempts.count
            return response
        } catch let failure as CallFailure {
            throw ServiceClientError(failure, service: service)
        }
    }

    private static func log(_ event: CallEvent, to logger: Logger) {
        switch event {
        case .retry(let service, let attempt, let delay):
            logger.debug(
                "service call is tried again",
                metadata: [
                    "service.name": "\(service)", "request.id": "\(RequestContext.current?.requestID ?? "-")",
                    "attempt": "\(attempt)", "delay.ms": "\(delay.inMilliseconds)",
                ]
            )
        case .changed(let service, let change):
            logger.info(
                "service instance stands otherwise",
                metadata: [
                    "service.name": "\(service)", "instance.id": "\(change.instance)",
                    "instance.standing": "\(change.now.rawValue)",
                ]
            )
        }
    }
}

// MARK: - For operators

extension ServiceClient {
    /// Sends nothing to an instance until ``release(_:of:)``, whatever it answers; calls under way go on. It also holds
    /// for an id that is not known yet, or that goes and comes back.
    ///
    /// - Returns: `false` when 4,096 instances of the service are taken out already.
    @discardableResult
    public func isolate(_ instance: ServiceInstance.ID, of service: ServiceName) -> Bool {
        self.caller.isolate(instance, of: service)
    }

    /// Ends what ``isolate(_:of:)`` began.
    ///
    /// - Returns: whether it was isolated.
    @discardableResult
    public func release(_ instance: ServiceInstance.ID, of service: ServiceName) -> Bool {
        self.caller.release(instance, of: service)
    }

    /// How this client sees the services that it has called: breakers, budgets, calls under way.
    public func resilience() -> ResilienceSnapshot { self.caller.snapshot() }
}
