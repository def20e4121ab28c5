public import GRPCCore
public import GRPCNIOTransportHTTP2Posix
public import Logging
public import ParleyCore
public import ParleyDiscovery
public import ParleyResilience
public import ServiceLifecycle

/// A connection to one instance, for the clients that are generated from your `.proto` files.
public typealias GRPCConnection = GRPCClient<HTTP2ClientTransport.Posix>

/// Calls services by name over gRPC, with the same policies as ``ParleyHTTPClient/ServiceClient``.
///
/// ```swift
/// let user = try await client.call("user-service", isRepeatable: true) { connection, options in
///     try await UserService.Client(wrapping: connection).getUser(.with { $0.id = "1" }, options: options)
/// }
/// ```
///
/// **Each try** asks the resolver, lets the policy choose an instance, and runs the closure with a connection to it,
/// with the current ``ParleyCore/RequestContext`` in the metadata and the time that is left as `grpc-timeout`. An
/// instance answers at the port that its metadata names (`grpc_port`), or at its endpoint's.
///
/// **When it tries again.** Always when nothing was sent (no connection); when the call may have been carried out, only
/// if `isRepeatable` says that doing it twice is harmless. `UNAVAILABLE`, `RESOURCE_EXHAUSTED` and `DEADLINE_EXCEEDED`
/// are tried again, within the deadline, the number of tries and the budgets of the policy.
///
/// **Streams.** A closure that reads a stream has the time of one try, like any other (`policy.attemptTimeout`, `nil`
/// for as long as the call), and with `isRepeatable` it runs again from the beginning.
///
/// **Life.** Calls are sent while ``run()`` runs; earlier ones wait for it until their deadline.
public final class GRPCServiceClient: Service, Sendable {
    private let configuration: Configuration
    private let resolver: any ServiceResolver
    private let caller: ResilientCaller
    private let channels: GRPCChannels
    private let time: any TimeSource
    private let random: any RandomSource
    private let ids: UUIDv7Generator

    public init(
        configuration: Configuration,
        resolver: any ServiceResolver,
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) {
        self.configuration = configuration
        self.resolver = resolver
        self.caller = ResilientCaller(policy: configuration.policy, time: time, random: random) { event in
            switch event {
            case .retry(let service, let attempt, let delay):
                logger.debug(
                    "call is tried again",
                    metadata: [
                        "service.name": "\(service)", "attempt": "\(attempt)", "delay.ms": "\(delay.inMilliseconds)",
                    ]
                )
            case .changed(let service, let change):
                logger.info(
                    "instance stands otherwise",
                    metadata: ["service.name": "\(service)", "change": "\(change)"]
                )
            }
        }
        self.channels = GRPCChannels(configuration: configuration, time: time)
        self.time = time
        self.random = random
        self.ids = UUIDv7Generator(time: time, random: random)
    }

    /// Keeps the connections until the graceful shutdown (or cancellation), then closes them when their calls are over.
    public func run() async throws {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.channels.run() }
            // A cancellation reaches the connections by itself; a graceful shutdown lets their calls finish.
            try? await gracefulShutdown()
            self.channels.stop()
        }
    }

    /// Calls `service`.
    ///
    /// - Parameters:
    ///   - isRepeatable: whether doing it twice has the effect of once.
    ///   - deadline: until when the caller waits. The context's deadline counts too; the earlier one wins.
    ///   - key: what belongs to the same instance, where the policy balances by consistent hash.
    ///   - body: makes the call with these options; runs once for each try.
    /// - Throws: ``GRPCCallError``, what else `body` throws, or `CancellationError` when the task is cancelled.
    public func call<Value: Sendable>(
        _ service: ServiceName,
        isRepeatable: Bool = false,
        deadline: Deadline? = nil,
        key: String? = nil,
        _ body: @escaping @Sendable (GRPCConnection, CallOptions) async throws -> Value
    ) async throws -> Value {
        try await self.explainedCall(
            service,
            isRepeatable: isRepeatable,
            deadline: deadline,
            key: key,
            body
        ).value
    }

    /// As ``call(_:isRepeatable:deadline:key:_:)``, and says how it went.
    public func explainedCall<Value: Sendable>(
        _ service: ServiceName,
        isRepeatable: Bool = false,
        deadline: Deadline? = nil,
        key: String? = nil,
        _ body: @escaping @Sendable (GRPCConnection, CallOptions) async throws -> Value
    ) async throws -> (value: Value, explanation: CallExplanation) {
        var context = RequestContext.current ?? RequestContext(requestID: self.ids.next().description)
        context.caller = self.configuration.name.description
        let work = context
        let call = Call(service, isRepeatable: isRepeatable, deadline: deadline, context: work, key: key)
        do {
            return try await self.caller.call(
                call,
                targets: { try await self.targets(of: service) },
                classify: { self.judge($0, $1) },
                attempt: { try await self.attempt($0, work, body) }
            )
        } catch let failure as CallFailure {
            if failure.kind == .attemptFailed, case .other(let error) = failure.cause as? GRPCAttemptFailure {
                throw error
            }
            throw GRPCCallError(failure, service: service)
        }
    }

    private func targets(of service: ServiceName) async throws -> [CallTarget] {
        let mustKnow = self.configuration.policy.identity.isRequired
        return try await self.resolver.resolve(service).compactMap { instance in
            // An instance that cannot be asked for its name could be anybody.
            if mustKnow, !instance.knowsItsID { return nil }
            guard let endpoint = instance.grpcEndpoint else { return nil }
            return CallTarget(
                id: instance.id,
                endpoint: endpoint,
                identity: instance.knowsItsID ? instance.id : nil,
                weight: instance.metadata[ServiceInstance.weight].flatMap { Int($0) } ?? 1
            )
        }
    }

    private func attempt<Value: Sendable>(
        _ attempt: Attempt,
        _ work: RequestContext,
        _ body: @escaping @Sendable (GRPCConnection, CallOptions) async throws -> Value
    ) async throws -> Value {
        var context = work
        context.trace = work.trace?.child(random: self.random) ?? TraceParent(random: self.random)
        context.deadline = attempt.limit
        context.retryBudget = attempt.hopBudget
        var options = CallOptions.defaults
        options.timeout = max(.milliseconds(1), attempt.limit.remaining(at: self.time.now))
        options.maxRequestMessageBytes = self.configuration.maxRequestBytes
        options.maxResponseMessageBytes = self.configuration.maxResponseBytes
        // Whether to try again is decided in one place, ours.
        options.waitForReady = false
        let mark = GRPCAttemptMark(identity: attempt.target.identity)
        do {
            // The library bounds each call by the options; this bounds whatever the closure does.
            let work = context
            let settings = options
            return try await attempt.withinLimit(on: self.time) {
                try await self.channels.withClient(for: attempt.target.endpoint) { client in
                    try await GRPCAttemptMark.$current.withValue(mark) {
                        try await work.withCurrent { try await body(client, settings) }
                    }
                }
            }
        } catch let error as RPCError {
            // The library wraps what interceptors throw.
            if let failure = error.cause as? GRPCAttemptFailure { throw failure }
            throw mark.isBegun ? GRPCAttemptFailure.status(error) : .unsent(error)
        } catch is AttemptTimedOut {
            let error = RPCError(code: .deadlineExceeded, message: "There was no answer in time.")
            throw mark.isBegun ? GRPCAttemptFailure.status(error) : .unsent(error)
        } catch let error as RuntimeError where error.code == .clientIsStopped {
            // The connection was closed between being chosen and being used.
            throw GRPCServiceError(.shutDown, "The gRPC client has been shut down.", retry: .notSent, cause: error)
        } catch let error as GRPCServiceError {
            throw error
        } catch let error as GRPCAttemptFailure {
            throw error
        } catch {
            throw GRPCAttemptFailure.other(error)
        }
    }

    private func judge<Value>(_ result: Result<Value, any Error>, _ attempt: Attempt) -> Judgement {
        let classifier = self.configuration.policy.classifier
        switch result {
        case .success: return Judgement(.success, note: "ok")
        case .failure(GRPCAttemptFailure.unsent(let error)):
            // A caller with little time says nothing about the instance.
            let blames = error.code != .deadlineExceeded || attempt.blamesTimeout
            let verdict = classifier.verdict(failure: .notSent, blamesInstance: blames)
            return Judgement(verdict, note: "no connection: \(error.message)")
        case .failure(GRPCAttemptFailure.status(let error)):
            var verdict = classifier.verdict(
                grpcCode: error.code.rawValue,
                retryAfter: Self.pushback(error.metadata)
            )
            if error.code == .deadlineExceeded, !attempt.blamesTimeout { verdict.health = .unknown }
            return Judgement(verdict, note: "\(error.code): \(error.message)")
        case .failure(GRPCAttemptFailure.foreign(_, let isRefused)):
            let verdict = Verdict(
                .retryableFailure,
                safety: isRefused ? .notSent : .mayHaveRun,
                health: .foreign
            )
            return Judgement(verdict, note: "another instance answered")
        case .failure(let error as GRPCServiceError):
            let verdict = classifier.verdict(failure: error.retry, blamesInstance: false)
            return Judgement(verdict, note: "\(error.code)")
        case .failure(let error):
            // The caller's own business.
            return Judgement(
                Verdict(.permanentFailure, safety: .mayHaveRun, health: .well),
                note: "\(type(of: error))"
            )
        }
    }

    /// What a server asks for by the trailer `grpc-retry-pushback-ms`.
    private static func pushback(_ metadata: Metadata) -> Duration? {
        metadata[stringValues: "grpc-retry-pushback-ms"].first { _ in true }
            .flatMap { Int64($0) }.flatMap { (0...86_400_000).contains($0) ? .milliseconds($0) : nil }
    }
}

// MARK: - By hand, and to look at

extension GRPCServiceClient {
    /// Sends nothing to an instance until ``release(_:of:)``.
    ///
    /// - Returns: `false` when too many are taken out already.
    public func isolate(_ instance: ServiceInstance.ID, of service: ServiceName) -> Bool {
        self.caller.isolate(instance, of: service)
    }

    /// - Returns: whether it was isolated.
    public func release(_ instance: ServiceInstance.ID, of service: ServiceName) -> Bool {
        self.caller.release(instance, of: service)
    }

    /// How every instance stands that was called, and what is left of the budgets.
    public var snapshot: ResilienceSnapshot { self.caller.snapshot() }
}

extension GRPCServiceClient {
    /// The limits of a client. Every wait and every size has one.
    public struct Configuration: Sendable {
        /// Who calls; sent as `x-service`.
        public var name: ServiceName
        public var policy = ResiliencePolicy()
        public var security: GRPCClientSecurity = .plaintext
        /// The name that servers' certificates are for; `nil` for the host of each instance.
        public var serverName: String?
        /// The largest message that is sent, in bytes: servers take 4 MiB.
        public var maxRequestBytes = 4_194_304
        /// The largest message of an answer, in bytes: 4 MiB as everywhere in gRPC.
        public var maxResponseBytes = 4_194_304
        /// To how many endpoints there are connections at once; each carries any number of calls.
        public var maxConnections = 1_024
        /// A connection that has not been used for this long is closed.
        public var idleTimeout: Duration = .seconds(300)
        /// A connection with calls is asked for a sign of life after this time. Below 10 s, servers send us away.
        public var keepaliveTime: Duration = .seconds(30)
        /// …and given up when none comes within this one.
        public var keepaliveTimeout: Duration = .seconds(10)

        public init(name: ServiceName) {
            self.name = name
        }

        var transport: HTTP2ClientTransport.Posix.Config {
            .defaults { config in
                config.http2.authority = self.serverName
                config.connection.keepalive = .init(
                    time: self.keepaliveTime,
                    timeout: self.keepaliveTimeout,
                    allowWithoutCalls: false
                )
                // An instance that comes back is found within the wait between two tries; breakers spare it meanwhile.
                config.backoff.initial = .milliseconds(50)
                config.backoff.max = .seconds(5)
            }
        }
    }
}
