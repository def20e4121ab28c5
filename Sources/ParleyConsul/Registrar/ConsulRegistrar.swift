public import Logging
internal import ParleyCore
public import ParleyDiscovery
public import ServiceLifecycle
internal import Synchronization

/// Registers the instances of this process with Consul's agent, and keeps them registered.
///
/// ```swift
/// let registrar = ConsulRegistrar(client: client, logger: logger)
/// let service = HTTPService(configuration: …, router: router, registrar: registrar, logger: logger)
/// // in the ServiceGroup, in this order: registrar, service
/// ```
/// **Alive.** With a TTL check (the default) each instance says how it is doing three times within the TTL. When the
/// process dies or hangs, Consul makes it critical after the TTL and forgets it after
/// ``Configuration/deregisterCriticalAfter``.
///
/// **When the agent is away, or has forgotten us** (it was restarted with an empty folder, or somebody deregistered the
/// instance by hand), it is registered again, at the latest with the next sign of life after the agent is back. The
/// service goes on serving meanwhile. The log has a warning when it begins to fail and a line when it works again.
///
/// **Repetition.** Registering is sent again when its answer was lost; it is the same registration under the same id,
/// so that changes nothing. Ids must be unique among all instances: two processes with the same id at one agent replace
/// each other.
///
/// **Leaving.** ``deregister(_:)`` and the graceful shutdown tell the agent, for ``Configuration/deregisterTimeout`` at
/// most. What could not be told ends with the TTL.
public final class ConsulRegistrar: ServiceRegistrar, Service {
    fileprivate struct Entry {
        var instance: ServiceInstance
        var machine: RegistrationMachine
        /// Of the instance: what was begun with an older one says nothing about this one.
        var version: UInt64
        /// Who keeps it: another keeper of the same id leaves.
        var keeper: UInt64
        /// Rings when something has changed that its keeper or a caller waits for.
        let signal = Signal()
        /// Whether the agent has ever taken it; until then a refusal is the caller's to know.
        var wasTaken = false
        var refusal: DiscoveryError?
        var isFailing = false
    }

    fileprivate struct State {
        enum Phase: Equatable {
            case idle, running, over
            case stopping(limit: ContinuousClock.Instant)
        }

        var phase = Phase.idle
        var entries: [ServiceInstance.ID: Entry] = [:]
        /// Without a keeper so far.
        var fresh: [(id: ServiceInstance.ID, keeper: UInt64)] = []
        var version: UInt64 = 0
    }

    private let client: ConsulClient
    private let configuration: Configuration
    private let logger: Logger
    private let time: any TimeSource
    private let random: any RandomSource
    private let state = Mutex(State())
    private let changed = Signal()

    /// - Parameter client: Also for others; it is not shut down here.
    public init(client: ConsulClient, configuration: Configuration = Configuration(), logger: Logger) {
        self.client = client
        self.configuration = configuration
        self.logger = logger
        self.time = client.time
        self.random = client.random
    }

    // MARK: ServiceRegistrar

    /// Returns when the agent has taken it; or, when the agent does not answer for ``Configuration/registerTimeout``,
    /// without an error, because it is tried until it succeeds.
    ///
    /// - Throws: ``DiscoveryError/Code/invalidInstance`` when the id is empty, the port is not 1…65535, or Consul
    ///   refuses it; ``DiscoveryError/Code/registryUnavailable`` when the token may not register it, what answers is
    ///   not Consul, or ``run()`` does not run; ``DiscoveryError/Code/registryFull`` at
    ///   ``Configuration/maximumInstances``;
    ///   `CancellationError`, and it is registered all the same. After the others it is not kept.
    public func register(_ instance: ServiceInstance) async throws {
        guard !instance.id.isEmpty, (1...65_535).contains(instance.endpoint.port) else {
            throw DiscoveryError(
                .invalidInstance,
                "\(instance.service) cannot be registered as \"\(instance.id)\" at \(instance.endpoint): an instance "
                    + "needs an id and the port on which it really listens.",
                retry: .permanent
            )
        }
        let limit = self.time.now.advanced(by: self.configuration.registerTimeout)
        let signal = try self.state.withLock { state in try state.add(instance, self.configuration) }
        signal.ring()
        self.changed.ring()
        while true {
            let generation = signal.generation
            let isOver = self.time.now >= limit
            let isDone = try self.state.withLock { state in
                guard let entry = state.entries[instance.id] else { return true }
                if let refusal = entry.refusal {
                    state.entries[instance.id] = nil
                    throw refusal
                }
                if entry.wasTaken || entry.machine.isLeaving { return true }
                guard isOver else { return false }
                if state.phase == .idle {
                    state.entries[instance.id] = nil
                    state.fresh.removeAll { $0.id == instance.id }
                    throw DiscoveryError(
                        .registryUnavailable,
                        "\(instance.service) cannot be registered: the registrar does not run; add it to the "
                            + "ServiceGroup, before the service.",
                        retry: .notSent
                    )
                }
                return true
            }
            if isDone { return }
            await signal.wait(after: generation, until: limit, on: self.time)
            try Task.checkCancellation()
        }
    }

    /// Returns when the agent has forgotten it, or after ``Configuration/deregisterTimeout``. Never throws; what could
    /// not be told is in the log.
    public func deregister(_ id: ServiceInstance.ID) async throws {
        let limit = self.time.now.advanced(by: self.configuration.deregisterTimeout)
        let entry = self.state.withLock { state -> Entry? in
            if state.phase == .idle || state.phase == .over || state.entries[id]?.refusal != nil {
                state.fresh.removeAll { $0.id == id }
                state.entries[id] = nil
            }
            state.entries[id]?.machine.leave(limit: limit)
            return state.entries[id]
        }
        guard let entry else { return }
        entry.signal.ring()
        while self.time.now < limit, !Task.isCancelled {
            let generation = entry.signal.generation
            let isThere = self.state.withLock { $0.entries[id]?.machine.isLeaving == true }
            guard isThere else { return }
            await entry.signal.wait(after: generation, until: limit, on: self.time)
        }
    }

    // MARK: Service

    /// Keeps everything registered until the graceful shutdown, when all of it is deregistered; a cancellation tells
    /// the agent nothing. A registrar runs once.
    public func run() async throws {
        let begins = self.state.withLock { state in
            guard state.phase == .idle else { return false }
            state.phase = .running
            return true
        }
        guard begins else {
            throw DiscoveryError(.invalidConfiguration, "A registrar runs once: make another.", retry: .permanent)
        }
        await withGracefulShutdownHandler {
            await withDiscardingTaskGroup { group in
                await self.startKeepers(in: &group)
                group.cancelAll()
            }
        } onGracefulShutdown: {
            self.leaveAll()
        }
        let (left, isCancelled) = self.state.withLock { state in
            state.phase = .over
            defer { state.entries = [:] }
            // A cancelled process has told nobody that it leaves, and says nothing about it.
            return (Array(state.entries.values), Task.isCancelled)
        }
        for entry in left {
            entry.signal.ring()
            if !isCancelled { self.warnOfGhost(entry) }
        }
    }

    private func warnOfGhost(_ entry: Entry) {
        self.logger.warning(
            "Consul could not be told that an instance has left; it forgets it when its check fails",
            metadata: self.metadata(entry)
        )
    }

    private func startKeepers(in group: inout DiscardingTaskGroup) async {
        while !Task.isCancelled {
            let generation = self.changed.generation
            let (fresh, phase, isEmpty) = self.state.withLock { state in
                defer { state.fresh = [] }
                return (state.fresh, state.phase, state.entries.isEmpty)
            }
            for (id, keeper) in fresh { group.addTask { await self.keep(id, keeper) } }
            var limit: ContinuousClock.Instant?
            if case .stopping(let end) = phase {
                // Keepers give up by themselves at the end; this is for one whose request hangs.
                if isEmpty || self.time.now >= end { return }
                limit = end
            }
            await self.changed.wait(after: generation, until: limit, on: self.time)
        }
    }

    private func leaveAll() {
        let limit = self.time.now.advanced(by: self.configuration.deregisterTimeout)
        let signals = self.state.withLock { state in
            if state.phase == .running { state.phase = .stopping(limit: limit) }
            // Nobody keeps what was refused.
            state.entries = state.entries.filter { $0.value.refusal == nil }
            for id in state.entries.keys { state.entries[id]?.machine.leave(limit: limit) }
            return state.entries.values.map(\.signal)
        }
        for signal in signals { signal.ring() }
        self.changed.ring()
    }

    // MARK: One instance

    private func keep(_ id: ServiceInstance.ID, _ keeper: UInt64) async {
        while !Task.isCancelled {
            // The look and the removal in one step: who registers the id again finds it, or does not.
            let step = self.state.withLock { state -> (entry: Entry, action: RegistrationMachine.Action, UInt64)? in
                guard let entry = state.entries[id], entry.keeper == keeper, entry.refusal == nil else { return nil }
                let action = entry.machine.next(now: self.time.now)
                if case .end = action { state.entries[id] = nil }
                return (entry, action, entry.signal.generation)
            }
            guard let (entry, action, generation) = step else { break }
            switch action {
            case .register: await self.register(entry)
            case .beat: await self.beat(entry)
            case .deregister:
                await self.attempt(entry) { try await self.client.deregister(serviceID: id) }
            case .wait(let instant): await entry.signal.wait(after: generation, until: instant, on: self.time)
            case .end(let isClean):
                if !isClean { self.warnOfGhost(entry) }
                entry.signal.ring()
            }
            if case .end = action { break }
        }
        self.changed.ring()
    }

    private func register(_ entry: Entry) async {
        guard let health = await self.health(of: entry) else { return }
        let registration = self.configuration.registration(of: entry.instance, health: health)
        await self.attempt(entry) { try await self.client.register(registration) }
    }

    private func beat(_ entry: Entry) async {
        let id = entry.instance.id
        guard case .ttl = self.configuration.check.kind else {
            await self.attempt(entry, isBeat: true) {
                guard try await self.client.agentService(id) == nil else { return }
                throw ConsulError(.notFound, "the agent does not know \(id)")
            }
            return
        }
        guard let health = await self.health(of: entry) else { return }
        let note = String(health.note.prefix(2_000))
        await self.attempt(entry, isBeat: true) {
            try await self.client.update(Configuration.checkID(of: id), health.status, output: note)
        }
    }

    /// `nil` when the instance leaves, or is another, before it is known: that must not wait for a check that hangs.
    private func health(of entry: Entry) async -> Health? {
        guard case .ttl = self.configuration.check.kind else { return .passing }
        return await withTaskGroup(of: Health?.self) { group in
            group.addTask { await self.configuration.health(entry.instance) }
            group.addTask {
                while !Task.isCancelled {
                    let generation = entry.signal.generation
                    if !self.isCurrent(entry) { return nil }
                    await entry.signal.wait(after: generation, until: nil, on: self.time)
                }
                return nil
            }
            let first = await group.next()
            group.cancelAll()
            return first.flatMap { $0 }
        }
    }

    private func isCurrent(_ entry: Entry) -> Bool {
        self.state.withLock { state in
            guard let current = state.entries[entry.instance.id] else { return false }
            return current.version == entry.version && !current.machine.isLeaving
        }
    }

    /// Makes one request and tells the machine what became of it.
    private func attempt(_ entry: Entry, isBeat: Bool = false, _ request: () async throws -> Void) async {
        do {
            try await request()
            self.update(entry) { entry in
                entry.machine.succeeded(now: self.time.now, chance: self.random.unitInterval())
                entry.wasTaken = true
            }
            self.note(entry, failure: nil)
        } catch let error as ConsulError where isBeat && error.code == .notFound {
            self.logger.info("Consul has forgotten an instance", metadata: self.metadata(entry))
            self.update(entry) { $0.machine.forgotten() }
        } catch let error as ConsulError {
            self.update(entry) { entry in
                if error.retry == .permanent, !entry.wasTaken, !entry.machine.isLeaving {
                    entry.refusal = Self.refusal(of: entry.instance, error)
                }
                entry.machine.failed(now: self.time.now, chance: self.random.unitInterval())
            }
            self.note(entry, failure: error)
        } catch {}  // cancelled
    }

    /// Only when the entry is still about the same instance; a later change asks for its own requests.
    private func update(_ entry: Entry, _ change: (inout Entry) -> Void) {
        self.state.withLock { state in
            guard var current = state.entries[entry.instance.id], current.version == entry.version,
                current.machine.isLeaving == entry.machine.isLeaving
            else { return }
            change(&current)
            state.entries[entry.instance.id] = current
        }
        entry.signal.ring()
    }

    private static func refusal(of instance: ServiceInstance, _ error: ConsulError) -> DiscoveryError {
        DiscoveryError(
            error.code == .refused ? .invalidInstance : .registryUnavailable,
            "\(instance.service) cannot be registered as \"\(instance.id)\": \(error.message).",
            retry: .permanent,
            cause: error
        )
    }

    private func note(_ entry: Entry, failure: ConsulError?) {
        let was = self.state.withLock { state in
            let was = state.entries[entry.instance.id]?.isFailing ?? false
            state.entries[entry.instance.id]?.isFailing = failure != nil
            return was
        }
        var metadata = self.metadata(entry)
        if let failure {
            metadata["error"] = "\(failure)"
            self.logger.log(
                level: was ? .debug : .warning,
                "Consul does not take an instance's registration or sign of life; it is tried again",
                metadata: metadata
            )
        } else if was {
            self.logger.info("Consul takes an instance's signs of life again", metadata: metadata)
        }
    }

    private func metadata(_ entry: Entry) -> Logger.Metadata {
        ["service.name": "\(entry.instance.service)", "service.instance": "\(entry.instance.id)"]
    }
}

extension ConsulRegistrar.State {
    fileprivate mutating func add(
        _ instance: ServiceInstance,
        _ configuration: ConsulRegistrar.Configuration
    ) throws -> Signal {
        guard self.phase == .idle || self.phase == .running else {
            throw DiscoveryError(
                .registryUnavailable,
                "\(instance.service) cannot be registered: the registrar is shutting down.",
                retry: .permanent
            )
        }
        self.version += 1
        if var entry = self.entries[instance.id] {
            entry.instance = instance
            entry.version = self.version
            entry.machine.renew()
            entry.wasTaken = false
            if entry.refusal != nil {
                // Its keeper leaves.
                entry.keeper = self.version
                self.fresh.append((instance.id, self.version))
                entry.refusal = nil
            }
            self.entries[instance.id] = entry
            return entry.signal
        }
        guard self.entries.count < max(1, configuration.maximumInstances) else {
            throw DiscoveryError(
                .registryFull,
                "This registrar already keeps \(self.entries.count) instances; raise maximumInstances.",
                retry: .permanent
            )
        }
        let entry = ConsulRegistrar.Entry(
            instance: instance,
            machine: RegistrationMachine(configuration.rules),
            version: self.version,
            keeper: self.version
        )
        self.entries[instance.id] = entry
        self.fresh.append((instance.id, self.version))
        return entry.signal
    }
}
