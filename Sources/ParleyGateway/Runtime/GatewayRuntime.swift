package import Logging
internal import NIOCore
internal import NIOPosix
package import ParleyCore
package import ParleyDiscovery
internal import ServiceLifecycle
internal import Synchronization

/// A gateway, running: listens, forwards, takes another configuration while it does.
///
/// **Reload.** ``reload(_:)`` compiles the new model first; what is wrong with it is thrown, and nothing has changed.
/// New sockets are opened before the plan is swapped, so that a port that is taken fails the reload as well. Requests
/// that have begun end under the plan they began with; open connections stay, and their next request has the new one.
///
/// **Shutdown.** No connection is accepted any more, those that rest are closed, requests that are under way have the
/// grace period.
package final class GatewayRuntime: Service, Sendable {
    package struct Options: Sendable {
        /// Where upstreams that name a service find its instances.
        package var resolver: (any ServiceResolver)?
        /// The same for upstreams of gRPC, where that is another one.
        package var rpcResolver: (any ServiceResolver)?
        package var gracePeriod: Duration = .seconds(30)
        /// How long `/health/ready` says no before the sockets are closed, so that balancers in front learn of it.
        package var drainDelay: Duration = .zero
        /// Told that the end has begun: ``drainDelay`` runs from now on.
        package var reportsDraining: @Sendable () -> Void = {}
        /// How long `/health` waits for each service.
        package var healthTimeout: Duration = .seconds(1)
        /// Told each address as it is listened on: `https://127.0.0.1:8443`.
        package var reportsListening: @Sendable (String) async -> Void = { _ in }
        /// Where requests are logged whose location names no log; `nil` is nowhere.
        package var accessLog: String?

        package init() {}
    }

    struct State {
        var plan: GatewayPlan?
        var workers: [WorkerHandle] = []
        var listeners: [String: any Channel] = [:]
        var addresses: [String: String] = [:]
        var endpoints: [String: Endpoint] = [:]
        var isListening = false
        var failure: GatewayError?
        /// Since when ``plan`` is in force.
        var since = Timestamp(microseconds: 0)
        var isDraining = false
        var isReloading = false
    }

    private let options: Options
    private let logger: Logger
    let time: any TimeSource
    let state = Mutex(State())
    private let changed = Signal()
    private let initial: GatewayModel
    let shared: GatewayShared
    private let questions: OwnQuestions
    /// Apart from the others: anybody may ask for it.
    private let healthQuestions: OwnQuestions
    private let compiler: PlanCompiler
    private let followers: PlanFollowers
    private let sharedServers: SharedLimitServers

    package var records: RecordStore { self.shared.records }

    /// - Throws: ``GatewayError`` when the configuration contradicts itself.
    package init(
        model: GatewayModel,
        options: Options = Options(),
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) throws {
        self.initial = model
        self.options = options
        self.logger = logger
        self.time = time
        let count = max(1, model.workers ?? System.coreCount)
        let log = AccessLogWriter(logger: logger, time: time)
        let certificates = UpstreamCertificates(time: time)
        self.questions = OwnQuestions(time: time)
        self.healthQuestions = OwnQuestions(time: time)
        self.shared = GatewayShared(
            logger: logger,
            time: time,
            random: random,
            records: RecordStore(shards: count),
            log: log,
            hostname: ProcessFacts.hostname,
            pid: ProcessFacts.pid,
            upstreamCertificates: certificates,
            health: GatewayHealth(questions: self.healthQuestions, timeLimit: options.healthTimeout, time: time)
        )
        self.sharedServers = SharedLimitServers(time: time)
        self.followers = PlanFollowers(
            resolver: options.resolver,
            rpcResolver: options.rpcResolver,
            questions: self.questions,
            shared: self.shared
        )
        self.compiler = PlanCompiler(
            time: time,
            random: random,
            logger: logger,
            log: log,
            accessLog: options.accessLog,
            upstreamCertificates: certificates,
            questions: self.questions
        )
    }

    /// The addresses it listens on, as soon as it does: `http://127.0.0.1:8080`, in the order of the configuration.
    ///
    /// - Throws: ``GatewayError`` when it could not.
    package func listeningAddresses() async throws -> [String] {
        try await self.whenListening { state, plan in plan.sockets.compactMap { state.addresses[$0.address] } }
    }

    /// The same without the scheme.
    ///
    /// - Throws: ``GatewayError`` when it could not.
    package func listeningEndpoints() async throws -> [Endpoint] {
        try await self.whenListening { state, plan in plan.sockets.compactMap { state.endpoints[$0.address] } }
    }

    private func whenListening<Value: Sendable>(_ value: (State, GatewayPlan) -> Value) async throws -> Value {
        while true {
            let generation = self.changed.generation
            let outcome: Result<Value, GatewayError>? = self.state.withLock { state in
                if let failure = state.failure { return .failure(failure) }
                guard state.isListening, let plan = state.plan else { return nil }
                return .success(value(state, plan))
            }
            if let outcome { return try outcome.get() }
            try Task.checkCancellation()
            await self.changed.wait(after: generation, until: nil, on: self.time)
        }
    }

    package func run() async throws {
        let count = max(1, self.initial.workers ?? System.coreCount)
        let group = MultiThreadedEventLoopGroup(numberOfThreads: count)
        do {
            try await self.serve(group)
        } catch {
            self.fail(error)
            try? await group.shutdownGracefully()
            throw error
        }
        try await group.shutdownGracefully()
    }

    private func fail(_ error: any Error) {
        let failure = error as? GatewayError ?? GatewayError(.cannotListen, "\(error)")
        self.state.withLock { $0.failure = $0.failure ?? failure }
        self.changed.ring()
    }

    private func serve(_ group: MultiThreadedEventLoopGroup) async throws {
        let plan = try await self.compiler.compile(self.initial, after: nil)
        let loops = Array(group.makeIterator())
        var workers: [WorkerHandle] = []
        for (index, loop) in loops.enumerated() {
            let shared = self.shared
            workers.append(
                try await loop.submit {
                    WorkerHandle(
                        GatewayWorker(eventLoop: loop, index: index, plan: plan, shared: shared),
                        group: group
                    )
                }.get()
            )
        }
        let ready = workers
        let now = self.time.wallTime
        try await self.followers.prepare(plan)
        self.state.withLock { state in
            state.plan = plan
            state.workers = ready
            state.since = now
        }
        self.shared.health.adopt(plan)
        self.followers.adopt(plan, ready)
        self.sharedServers.adopt(plan)
        try await self.listen(plan, group)
        self.state.withLock { $0.isListening = true }
        self.changed.ring()
        for address in try await self.listeningAddresses() { await self.options.reportsListening(address) }
        await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await self.shared.log.run() }
            tasks.addTask { try await self.maintain() }
            tasks.addTask { await self.followers.run() }
            tasks.addTask { await self.sharedServers.run() }
            try? await gracefulShutdown()
            await self.drain()
            await self.endConnections()
            tasks.cancelAll()
            while (try? await tasks.next()) != nil {}
        }
        await self.questions.shutdown()
        await self.healthQuestions.shutdown()
    }

    // MARK: - Listening

    private func listen(_ plan: GatewayPlan, _ group: MultiThreadedEventLoopGroup) async throws {
        for socket in plan.sockets {
            let open = self.state.withLock { $0.listeners[socket.address] }
            let channel: any Channel
            if let open { channel = open } else { channel = try await self.bind(socket, group) }
            let port = channel.localAddress?.port ?? socket.listen.port
            let host = socket.listen.host.contains(":") ? "[\(socket.listen.host)]" : socket.listen.host
            let address = "\(socket.listen.isTLS ? "https" : "http")://\(host):\(port)"
            self.state.withLock { state in
                state.listeners[socket.address] = channel
                state.addresses[socket.address] = address
                state.endpoints[socket.address] = Endpoint(host: socket.listen.host, port: port)
            }
        }
    }

    private func bind(_ socket: GatewayPlan.Socket, _ group: MultiThreadedEventLoopGroup) async throws -> any Channel {
        let key = socket.address
        do {
            return try await ServerBootstrap(group: group)
                .serverChannelOption(.backlog, value: Int32(clamping: socket.listen.backlog))
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture { try self.accept(channel, key) }
                }
                .bind(host: socket.listen.host, port: socket.listen.port)
                .get()
        } catch {
            var failure = GatewayError(
                .cannotListen,
                "cannot listen on \(key): \(error). Is the port in use (ss -tlnp), or below 1024?",
                cause: error
            )
            failure.endpoint = Endpoint(host: socket.listen.host, port: socket.listen.port)
            throw failure
        }
    }

    private func accept(_ channel: any Channel, _ key: String) throws {
        let (plan, workers) = self.state.withLock { ($0.plan, $0.workers) }
        guard let plan, let socket = plan.sockets.first(where: { $0.address == key }),
            let worker = workers.first(where: { $0.eventLoop === channel.eventLoop })?.worker,
            let number = self.shared.takeConnection(limit: plan.model.maxConnections)
        else {
            channel.close(promise: nil)
            return
        }
        let shared = self.shared
        channel.closeFuture.whenComplete { _ in shared.giveConnection() }
        try ConnectionPipeline.configure(channel, socket, worker, number: number)
    }

    // MARK: - Another configuration

    /// Takes another configuration, or throws and keeps the one that is there. One reload waits for another.
    ///
    /// - Throws: ``GatewayError``.
    package func reload(_ model: GatewayModel) async throws {
        try await self.takeTurn()
        defer {
            self.state.withLock { $0.isReloading = false }
            self.changed.ring()
        }
        try await self.replacePlan(model)
    }

    private func takeTurn() async throws {
        while true {
            let generation = self.changed.generation
            let isOurs = self.state.withLock { state in
                guard !state.isReloading else { return false }
                state.isReloading = true
                return true
            }
            if isOurs { return }
            try Task.checkCancellation()
            await self.changed.wait(after: generation, until: nil, on: self.time)
        }
    }

    private func replacePlan(_ model: GatewayModel) async throws {
        let (plan, workers) = self.state.withLock { ($0.plan, $0.workers) }
        guard let plan, let first = workers.first else {
            throw GatewayError(.invalidConfiguration, "the gateway is not running")
        }
        guard let group = first.group else { return }
        let next: GatewayPlan
        var prepared: GatewayPlan?
        do {
            next = try await self.compiler.compile(model, after: plan)
            prepared = next
            try await self.followers.prepare(next)
            try await self.listen(next, group)
        } catch {
            if let prepared { self.followers.discard(prepared) }
            // What was opened for it is not needed any more.
            await self.closeListeners(except: plan)
            self.shared.log.keep(plan.logs)
            throw error
        }
        let now = self.time.wallTime
        self.state.withLock { state in
            state.plan = next
            state.since = now
        }
        self.sharedServers.adopt(next)
        for worker in workers {
            try await worker.eventLoop.submit { worker.worker?.adopt(next) }.get()
        }
        self.shared.health.adopt(next)
        self.followers.adopt(next, workers)
        await self.closeListeners(except: next)
        self.shared.log.keep(next.logs)
        self.shared.keepCounters(of: Set(next.metricsShape.upstreams))
    }

    private func closeListeners(except plan: GatewayPlan) async {
        let kept = Set(plan.sockets.map(\.address))
        let gone = self.state.withLock { state in
            let gone = state.listeners.filter { !kept.contains($0.key) }
            for key in gone.keys {
                state.listeners[key] = nil
                state.addresses[key] = nil
                state.endpoints[key] = nil
            }
            return gone
        }
        for channel in gone.values { try? await channel.close() }
    }

    package func reopenLogs() { self.shared.log.reopen() }

    // MARK: - The end

    private func drain() async {
        self.shared.health.beginDraining()
        self.options.reportsDraining()
        self.state.withLock { $0.isDraining = true }
        if self.options.drainDelay > .zero { try? await self.time.sleep(for: self.options.drainDelay) }
        let (listeners, workers) = self.state.withLock { state in
            defer { state.listeners = [:] }
            return (state.listeners, state.workers)
        }
        for channel in listeners.values { try? await channel.close() }
        for worker in workers { try? await worker.eventLoop.submit { worker.worker?.drain() }.get() }
        let deadline = self.time.now.advanced(by: self.options.gracePeriod)
        while self.shared.underWay > 0, self.time.now < deadline {
            guard (try? await self.time.sleep(for: .milliseconds(10))) != nil else { break }
        }
    }

    private func endConnections() async {
        let workers = self.state.withLock { $0.workers }
        // Who has waited until now is told.
        for worker in workers { try? await worker.eventLoop.submit { worker.worker?.giveUp() }.get() }
        for worker in workers { try? await worker.eventLoop.submit { worker.worker?.close() }.get() }
    }

    /// What has to happen from time to time.
    private func maintain() async throws {
        while !Task.isCancelled {
            try await self.time.sleep(for: .seconds(10))
            let plan = self.state.withLock { $0.plan }
            for upstream in plan?.upstreams.values.map({ $0 }) ?? [] where upstream.model.outliers != nil {
                let ejected = upstream.group.endOutlierInterval(now: MonotonicTime.milliseconds)
                self.shared.countEjections(ejected.count, of: upstream.model.name)
            }
        }
    }

}

/// A worker, to be held by those who are not on its loop. Touched only there.
final class WorkerHandle: @unchecked Sendable {
    let eventLoop: any EventLoop
    /// Only on ``eventLoop``.
    let worker: GatewayWorker?
    let group: MultiThreadedEventLoopGroup?

    init(_ worker: GatewayWorker, group: MultiThreadedEventLoopGroup? = nil) {
        self.eventLoop = worker.eventLoop
        self.worker = worker
        self.group = group
    }
}
