internal import Logging
internal import NIOCore
internal import NIOPosix
internal import ParleyCore
internal import ParleyDiscovery
internal import Synchronization

/// Follows whatever changes behind the upstreams of the plan in force: their instances, and how they are.
final class PlanFollowers: Sendable {
    /// How long a start or a reload waits for the first answers.
    static let patience: Duration = .seconds(2)

    private let resolver: (any ServiceResolver)?
    private let rpcResolver: (any ServiceResolver)?
    private let questions: OwnQuestions
    private let shared: GatewayShared
    private let current = Mutex<(plan: GatewayPlan, workers: [WorkerHandle])?>(nil)
    private let changed = Signal()

    init(
        resolver: (any ServiceResolver)?,
        rpcResolver: (any ServiceResolver)?,
        questions: OwnQuestions,
        shared: GatewayShared
    ) {
        self.resolver = resolver
        self.rpcResolver = rpcResolver
        self.questions = questions
        self.shared = shared
    }

    /// Looks for the instances of upstreams that have none yet, before the plan takes effect: else the first requests
    /// would find nobody. Bounded; an upstream that could not be resolved in time is followed all the same.
    ///
    /// - Throws: ``GatewayError`` when an upstream cannot be followed at all.
    func prepare(_ plan: GatewayPlan) async throws {
        let now = MonotonicTime.milliseconds
        let followers = try self.followers(of: plan, []).filter { $0.upstream.group.states(now: now).isEmpty }
        guard !followers.isEmpty else { return }
        await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                await withTaskGroup(of: Void.self) { looks in
                    for follower in followers { looks.addTask { await follower.look() } }
                }
                return true
            }
            group.addTask {
                try? await self.shared.time.sleep(for: Self.patience)
                return false
            }
            _ = await group.next()
            group.cancelAll()
        }
    }

    /// It will not be in force.
    func discard(_ plan: GatewayPlan) {
        let kept = self.current.withLock { $0?.plan.upstreams.values.map { ObjectIdentifier($0) } } ?? []
        for upstream in plan.upstreams.values where !kept.contains(ObjectIdentifier(upstream)) { upstream.follow(nil) }
    }

    /// This plan is in force now.
    func adopt(_ plan: GatewayPlan, _ workers: [WorkerHandle]) {
        self.current.withLock { $0 = (plan, workers) }
        self.changed.ring()
    }

    /// Until the task is cancelled.
    func run() async {
        while !Task.isCancelled {
            let generation = self.changed.generation
            let current = self.current.withLock { $0 }
            await withTaskGroup(of: Void.self) { group in
                if let (plan, workers) = current {
                    self.start(plan, workers, in: &group)
                    self.startChecks(of: plan, in: &group)
                }
                await self.changed.wait(after: generation, until: nil, on: self.shared.time)
                group.cancelAll()
            }
            // Upstream and follower hold each other.
            for upstream in current?.plan.upstreams.values.map({ $0 }) ?? [] { upstream.follow(nil) }
        }
    }

    private func start(_ plan: GatewayPlan, _ workers: [WorkerHandle], in group: inout TaskGroup<Void>) {
        do {
            for follower in try self.followers(of: plan, workers) { group.addTask { await follower.run() } }
        } catch {
            // `prepare` has refused such a plan.
            self.shared.logger.error("instances cannot be followed", metadata: ["error": "\(error)"])
        }
    }

    private func startChecks(of plan: GatewayPlan, in group: inout TaskGroup<Void>) {
        for upstream in plan.upstreams.values {
            guard let rules = upstream.model.healthCheck else { continue }
            let probe = HealthProbe(
                rules,
                tls: plan.tls(of: upstream),
                certificates: self.shared.upstreamCertificates,
                questions: self.questions,
                loops: .singleton
            )
            let checker = HealthChecker(upstream: upstream, rules: rules, probe: probe, shared: self.shared)
            group.addTask { await checker.run() }
        }
    }

    private func followers(of plan: GatewayPlan, _ workers: [WorkerHandle]) throws -> [UpstreamFollower] {
        let resolvers = InstanceSource.Resolvers(
            http: self.resolver,
            rpc: self.rpcResolver,
            names: plan.model.resolver
        )
        return try plan.upstreams.values.compactMap { upstream in
            guard
                let source = try InstanceSource.source(
                    of: upstream.model,
                    isRPC: plan.isRPC(upstream),
                    resolvers: resolvers,
                    time: self.shared.time,
                    random: self.shared.random
                )
            else { return nil }
            let follower = UpstreamFollower(
                upstream: upstream,
                source: source,
                logger: self.shared.logger,
                time: self.shared.time,
                onLeave: { await Self.closeIdle($0, workers) }
            )
            upstream.follow(follower)
            return follower
        }
    }

    private static func closeIdle(_ upstream: Upstream, _ workers: [WorkerHandle]) async {
        for worker in workers {
            try? await worker.eventLoop.submit { worker.worker?.closeIdle(of: upstream) }.get()
        }
    }
}

extension GatewayPlan {
    private var locations: some Sequence<CompiledLocation> {
        self.sockets.lazy.flatMap(\.servers).flatMap(\.locations)
    }

    /// How it is spoken to, when that is TLS.
    func tls(of upstream: Upstream) -> (rules: UpstreamTLS, host: String)? {
        for location in self.locations where location.upstream === upstream {
            guard let target = location.target, target.scheme == .https || target.scheme == .grpcs else { continue }
            return (location.proxy.tls, target.host)
        }
        return nil
    }

    /// Whether requests to it are gRPC.
    func isRPC(_ upstream: Upstream) -> Bool {
        self.locations.contains { location in
            guard location.upstream === upstream, let scheme = location.target?.scheme else { return false }
            return scheme == .grpc || scheme == .grpcs
        }
    }

    /// Whether it is a service of our own that answers `/health/ready` over HTTP.
    func answersHealth(_ upstream: Upstream) -> Bool {
        self.locations.contains { location in
            location.upstream === upstream && location.target?.scheme == .http && location.proxy.carriesContext
        }
    }
}
