public import Logging
public import ParleyCore
public import ParleyDiscovery
public import ServiceLifecycle
internal import Synchronization

/// Finds services in Consul, from a copy that it keeps up to date.
///
/// ```swift
/// let resolver = ConsulResolver(client: client, logger: logger)
/// let users = ServiceClient(configuration: …, resolver: resolver, logger: logger)
/// // in the ServiceGroup, before what calls others: resolver
/// ```
/// **What it answers.** The instances none of whose checks, and none of whose node's, is critical; with
/// ``Configuration/isPassingOnly`` only those that all pass. An instance without an address has its node's; one without
/// a port is left out. Its `metadata` is what it was registered with, and `consul.node` and `weight` (for its
/// present state), unless it was registered with such keys itself. Where several nodes have the same id, as Consul
/// allows, it becomes `id@node`.
///
/// **What it keeps.** The first question for a service begins a watch, which ends when nobody has asked for
/// ``Configuration/idleTime``. Changes are known as soon as Consul tells them. All further calls are answered from
/// memory.
///
/// **When Consul is away.** The last instances that are known stay the answer, however old. The log has one warning
/// when the first watch fails and a line when the last one works again. A service of which nothing is known yet is
/// waited for, ``Configuration/firstAnswerTimeout`` from the first question at most, and not beyond the caller's
/// deadline; later calls then fail at once until Consul answers.
public final class ConsulResolver: ServiceResolver, Service {
    public struct Configuration: Sendable {
        /// Whether an instance with a warning gets no requests; Consul's own DNS sends it some.
        public var isPassingOnly = false
        /// What is asked for: datacenter, tags, filter. Any server may answer, so that it works without a leader.
        public var query = Consul.Query(consistency: .stale)
        public var watch = ConsulWatchConfiguration()
        /// How long a first call waits until something is known about its service.
        public var firstAnswerTimeout: Duration = .seconds(5)
        /// A service that nobody has asked for in this time is watched no longer.
        public var idleTime: Duration = .seconds(600)
        /// At one more, the watch of the service that was not asked for longest ends.
        public var maximumServices = 4_096

        public init() {}
    }

    /// What is known about one service.
    public struct Status: Sendable, Hashable {
        /// `nil` when nothing is known yet.
        public var instances: [ServiceInstance]?
        /// Why it could not be asked last, in words; `nil` when it could.
        public var failure: String?
    }

    fileprivate struct State {
        var watches: [ServiceName: WatchedService] = [:]
        /// Watches that ``run()`` has not begun yet.
        var fresh: [WatchedService] = []
        var isRunning = false
        var failing: Set<ServiceName> = []
    }

    private let client: ConsulClient
    private let configuration: Configuration
    private let logger: Logger
    private let time: any TimeSource
    private let state = Mutex(State())
    private let changed = Signal()

    /// - Parameter client: Also for others; it is not shut down here.
    public init(client: ConsulClient, configuration: Configuration = Configuration(), logger: Logger) {
        self.client = client
        self.configuration = configuration
        self.logger = logger
        self.time = client.time
    }

    // MARK: ServiceResolver

    /// - Throws: ``DiscoveryError/Code/registryUnavailable`` when nothing is known about `service`,
    ///   `CancellationError`.
    public func resolve(_ service: ServiceName) async throws -> [ServiceInstance] {
        let now = self.time.now
        let (watch, isNew) = self.state.withLock { state in state.watch(service, now: now, self.configuration) }
        if isNew { self.changed.ring() }
        if let instances = watch.ask(now: now) { return instances }
        var limit = watch.began.advanced(by: self.configuration.firstAnswerTimeout)
        if let deadline = RequestContext.current?.deadline { limit = min(limit, deadline.instant) }
        while true {
            let generation = watch.signal.generation
            if let instances = watch.ask(now: self.time.now) { return instances }
            if watch.isHopeless || self.time.now >= limit { throw self.failure(of: watch) }
            await watch.signal.wait(after: generation, until: limit, on: self.time)
            try Task.checkCancellation()
        }
    }

    private func failure(of watch: WatchedService) -> DiscoveryError {
        let error = watch.failure
        let why =
            if let error {
                error.message
            } else if self.state.withLock({ $0.isRunning }) {
                "there is no answer yet"
            } else {
                "the resolver does not run; add it to the ServiceGroup, before what asks it"
            }
        return DiscoveryError(
            .registryUnavailable,
            "Consul has not said where \(watch.service) is: \(why).",
            retry: watch.isHopeless ? .permanent : .notSent,
            cause: error
        )
    }

    /// What is known about the services that are watched now.
    public var statuses: [ServiceName: Status] {
        self.state.withLock { $0.watches }.mapValues { watch in
            Status(instances: watch.instances, failure: watch.failure?.description)
        }
    }

    // MARK: Service

    /// Keeps the copy up to date until the graceful shutdown, or cancellation. It runs once at a time.
    public func run() async throws {
        let begins = self.state.withLock { state in
            defer { state.isRunning = true }
            // What another run left behind has no task any more.
            if !state.isRunning { state.fresh = Array(state.watches.values) }
            return !state.isRunning
        }
        guard begins else {
            throw DiscoveryError(.invalidConfiguration, "This resolver runs already.", retry: .permanent)
        }
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                while true {
                    let generation = self.changed.generation
                    let (fresh, isRunning) = self.state.withLock { state in
                        defer { state.fresh = [] }
                        return (state.fresh, state.isRunning)
                    }
                    if !isRunning || Task.isCancelled { break }
                    for watch in fresh { group.addTask { await self.keep(watch) } }
                    await self.changed.wait(after: generation, until: nil, on: self.time)
                }
                group.cancelAll()
            }
        } onGracefulShutdown: {
            self.state.withLock { $0.isRunning = false }
            self.changed.ring()
        }
        self.state.withLock { $0.isRunning = false }
    }

    private func keep(_ watch: WatchedService) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.follow(watch) }
            group.addTask { await self.waitUntilUnwanted(watch) }
            await group.next()
            group.cancelAll()
        }
        // Nobody asks any more; that is no sign that it would work.
        _ = self.state.withLock { $0.failing.remove(watch.service) }
    }

    private func follow(_ watch: WatchedService) async {
        var query = self.configuration.query
        if self.configuration.isPassingOnly { query.isPassingOnly = true }
        let question = ConsulQuestion.instances(of: watch.service.description, query)
        for await event in self.client.watch(question, self.configuration.watch) {
            switch event {
            case .answer(let answer):
                watch.answered(InstanceMapping.instances(answer.value, of: watch.service))
                self.note(watch, failure: nil)
            case .failure(let error):
                watch.failed(error)
                self.note(watch, failure: error)
            }
        }
    }

    /// One line when something fails, however many services are watched, and one when nothing does any more.
    private func note(_ watch: WatchedService, failure: ConsulError?) {
        let (isFirst, isLast) = self.state.withLock { state in
            guard failure != nil else {
                let was = state.failing.remove(watch.service) != nil
                return (false, was && state.failing.isEmpty)
            }
            let isFirst = state.failing.isEmpty
            state.failing.insert(watch.service)
            return (isFirst, false)
        }
        if let failure {
            let level: Logger.Level = isFirst ? .warning : .debug
            self.logger.log(
                level: level,
                "Consul cannot be asked; the last instances that are known stay in use",
                metadata: ["service.name": "\(watch.service)", "error": "\(failure)"]
            )
        } else if isLast {
            self.logger.info("Consul can be asked again")
        }
    }

    /// Returns when the watch has been given up, or nobody has asked for long; then it is given up.
    private func waitUntilUnwanted(_ watch: WatchedService) async {
        while !Task.isCancelled {
            let due = watch.lastAsked.advanced(by: self.configuration.idleTime)
            let generation = watch.ended.generation
            let isOver = self.state.withLock { state in
                guard state.watches[watch.service] === watch else { return true }
                guard self.time.now >= due, watch.lastAsked.advanced(by: self.configuration.idleTime) <= self.time.now
                else { return false }
                state.watches[watch.service] = nil
                return true
            }
            if isOver { return }
            await watch.ended.wait(after: generation, until: due, on: self.time)
        }
    }
}

extension ConsulResolver.State {
    /// The watch of `service`, begun when there is none.
    fileprivate mutating func watch(
        _ service: ServiceName,
        now: ContinuousClock.Instant,
        _ configuration: ConsulResolver.Configuration
    ) -> (WatchedService, isNew: Bool) {
        if let watch = self.watches[service] { return (watch, false) }
        if self.watches.count >= max(1, configuration.maximumServices),
            let oldest = self.watches.values.min(by: { $0.lastAsked < $1.lastAsked })
        {
            self.watches[oldest.service] = nil
            self.fresh.removeAll { $0 === oldest }
            oldest.ended.ring()
        }
        let watch = WatchedService(service, began: now)
        self.watches[service] = watch
        self.fresh.append(watch)
        return (watch, true)
    }
}
