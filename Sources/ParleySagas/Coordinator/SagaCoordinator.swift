public import Logging
public import ParleyCore
public import ServiceLifecycle
internal import Synchronization

/// Runs sagas: starts them, does their actions, commits each step, takes over from coordinators that died.
///
/// Any number of coordinators, in any number of processes, may share a store. Guarantees:
/// - A started saga reaches a terminal state or `stuck`, whatever dies in between; nothing is done under a step that
///   has not been committed, and nothing that was committed is done under another key again.
/// - An effect that succeeded, or may have, is undone before the saga counts as `failed`.
/// - One driver writes at a time; one that was paused past its lease writes nothing more.
public final class SagaCoordinator: Service {
    public struct Configuration: Sendable, Hashable {
        /// How many sagas this process drives at a time; 1 to 100,000. The others wait in the store.
        public var concurrency: Int
        /// How long after a coordinator's last sign of life its sagas are taken over.
        public var lease: Duration
        /// How long one try at an action may take.
        public var attemptTimeout: Duration
        /// How often a stuck saga is tried again by itself.
        public var stuckInterval: Duration
        /// How long actions may go on after a graceful shutdown began.
        public var drainTimeout: Duration

        public init(
            concurrency: Int = 1_000,
            lease: Duration = .seconds(4),
            attemptTimeout: Duration = .seconds(5),
            stuckInterval: Duration = .seconds(60),
            drainTimeout: Duration = .seconds(3)
        ) {
            self.concurrency = min(100_000, max(1, concurrency))
            self.lease = max(.milliseconds(100), lease)
            self.attemptTimeout = attemptTimeout
            self.stuckInterval = stuckInterval
            self.drainTimeout = drainTimeout
        }
    }

    private struct State {
        var isRunning = false
        var inFlight = 0
        /// The sagas that are driven, or about to be, and how often: a driver that was fenced off may still be at work.
        var held: [String: Int] = [:]
        /// Something went wrong in a way that may have left a saga with this owner and without a driver.
        var mayHaveOrphans = false
        var leasedUntil: ContinuousClock.Instant?
    }

    let store: any SagaStore
    let time: any TimeSource
    let logger: Logger
    private let transactions: any TransactionRunner
    private let configuration: Configuration
    private let owner: String
    private let ids: UUIDv7Generator
    private let definitions: SagaDefinitions
    private let driver: SagaDriver
    private let state = Mutex(State())
    private let slotFreed = Signal()
    /// Never holds more than `concurrency` sagas: each has taken a slot before.
    private let handover = AsyncStream.makeStream(of: SagaInstance.self, bufferingPolicy: .unbounded)

    /// - Parameter transactions: The store's own backend, so that ``start(_:businessKey:input:_:)`` can commit a saga
    ///   together with business rows.
    public init(
        store: any SagaStore,
        transactions: any TransactionRunner,
        sagas: [SagaRegistration],
        configuration: Configuration = Configuration(),
        owner: String = UUIDv7Generator.shared.next().description,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource(),
        logger: Logger
    ) {
        self.store = store
        self.transactions = transactions
        self.configuration = configuration
        self.owner = owner
        self.time = time
        self.logger = logger
        self.ids = UUIDv7Generator(time: time, random: random)
        self.definitions = SagaDefinitions(
            registrations: sagas,
            store: store,
            stuckInterval: configuration.stuckInterval
        )
        self.driver = SagaDriver(
            store: store,
            definitions: self.definitions,
            attemptTimeout: configuration.attemptTimeout,
            time: time,
            random: random,
            logger: logger
        )
    }

    // MARK: Starting

    /// Starts a saga in one commit with what `body` writes.
    ///
    /// When this returns, the saga is stored and will run. Starting again with the same type and business key gives the
    /// instance that exists; `body`'s writes are then made too, so a caller that wants none checks its own rows first.
    ///
    /// - Parameter input: JSON text for the actions.
    /// - Throws: ``SagaError`` with `unknownDefinition`; what `body` throws; the store's errors (then nothing is
    ///   stored).
    @discardableResult
    public func start(
        _ type: String,
        businessKey: String,
        input: String,
        _ body: @escaping @Sendable (any Transaction) throws -> Void = { _ in }
    ) async throws -> SagaInstance {
        let machine = try self.definitions.machine(forNew: type)
        let id = self.ids.next().description
        let hasSlot = self.takeSlot()
        var isHandedOver = false
        defer { if hasSlot, !isHandedOver { self.freeSlot() } }
        if hasSlot { try await self.renewLeaseIfStale() }
        let transition = machine.start(
            id: id,
            businessKey: businessKey,
            input: input,
            owner: hasSlot ? self.owner : nil,
            now: self.time.wallTime
        )
        let json = machine.canonicalJSON
        self.hold(id)
        defer { if !isHandedOver { self.letGo(id) } }
        let existing: SagaInstance?
        do {
            existing = try await self.transactions.withTransaction { transaction in
                try body(transaction)
                return try self.store.create(
                    transition.instance,
                    definition: json,
                    events: transition.events,
                    in: transaction
                )
            }
        } catch {
            // It may be stored all the same: the commit's answer was lost.
            if hasSlot { self.state.withLock { $0.mayHaveOrphans = true } }
            throw error
        }
        if let existing { return existing }
        if hasSlot { isHandedOver = self.handOver(transition.instance) }
        return transition.instance
    }

    // MARK: Running

    /// Drives sagas until graceful shutdown or cancellation.
    public func run() async throws {
        self.state.withLock { $0.isRunning = true }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.driveAll() }
            group.addTask {
                try? await gracefulShutdown()
                self.state.withLock { $0.isRunning = false }
                self.handover.continuation.finish()
                try? await self.time.sleep(for: self.configuration.drainTimeout)
            }
            await group.next()
            group.cancelAll()
        }
        self.state.withLock { $0.isRunning = false }
        // What is still ours goes to the others at once, instead of when the lease has run out.
        try? await self.store.renew(owner: self.owner, lease: .zero)
    }

    private func driveAll() async {
        await withDiscardingTaskGroup { drivers in
            drivers.addTask { await cancelWhenGracefulShutdown { await self.claimAll() } }
            drivers.addTask { await self.renewLease() }
            for await instance in self.handover.stream {
                drivers.addTask {
                    let isLeft = await self.driver.drive(instance) { self.state.withLock { $0.isRunning } }
                    if !isLeft { self.state.withLock { $0.mayHaveOrphans = true } }
                    self.letGo(instance.id)
                    self.freeSlot()
                }
            }
            // The intake is closed; what is being driven comes to a commit and stops there.
            while self.state.withLock({ $0.inFlight > 0 }), !Task.isCancelled {
                let generation = self.slotFreed.generation
                if self.state.withLock({ $0.inFlight == 0 }) { break }
                await self.slotFreed.wait(after: generation, until: nil, on: self.time)
            }
            drivers.cancelAll()
        }
    }

    /// `false` when the intake is closed: the saga then waits for whoever claims it after this coordinator has gone.
    private func handOver(_ instance: SagaInstance) -> Bool {
        if case .enqueued = self.handover.continuation.yield(instance) { return true }
        return false
    }

    /// Finds sagas that are due, or whose coordinator has died.
    private func claimAll() async {
        var generation: UInt64 = 0
        while !Task.isCancelled {
            do {
                try await self.releaseOrphans()
                let slots = self.takeSlots(upTo: 128)
                guard slots > 0 else {
                    await self.slotFreed.wait(
                        after: self.slotFreed.generation,
                        until: self.time.now.advanced(by: .milliseconds(100)),
                        on: self.time
                    )
                    continue
                }
                var unused = slots
                defer { for _ in 0..<unused { self.freeSlot() } }
                let now = self.time.now
                let claim = try await self.store.claim(
                    owner: self.owner,
                    lease: self.configuration.lease,
                    limit: slots
                )
                if !claim.instances.isEmpty { self.leased(since: now) }
                for instance in claim.instances {
                    self.hold(instance.id)
                    if self.handOver(instance) { unused -= 1 } else { self.letGo(instance.id) }
                }
                if claim.instances.count == slots { continue }
                for _ in 0..<unused { self.freeSlot() }
                unused = 0
                let due = claim.nextDue.map { self.time.instant(of: $0) }
                let lookAgain = self.time.now.advanced(by: self.configuration.lease / 4)
                generation = await self.store.waitForWork(after: generation, until: min(due ?? lookAgain, lookAgain))
            } catch {
                guard !Task.isCancelled else { return }
                self.state.withLock { $0.mayHaveOrphans = true }
                self.logger.warning("Looking for sagas to drive failed", metadata: ["error": "\(error)"])
                try? await self.time.sleep(for: .milliseconds(500))
            }
        }
    }

    /// Gives back the sagas that the store says are this coordinator's, and that it does not drive: a claim or a start
    /// was stored although it reported an error. While the coordinator lives, nobody else would take them.
    private func releaseOrphans() async throws {
        guard self.state.withLock({ $0.mayHaveOrphans }) else { return }
        let query = SagaQuery(owner: self.owner, limit: 1_000)
        self.state.withLock { $0.mayHaveOrphans = false }
        do {
            let owned = try await self.store.instances(matching: query)
            for saga in owned where !saga.status.isTerminal {
                guard self.state.withLock({ $0.held[saga.id] == nil }) else { continue }
                let released = saga.handedBack(at: self.time.wallTime)
                _ = try await self.store.commit(saga) { _ in released }
            }
            // There are more than one question shows; the oldest come first, so it comes to all of them.
            if owned.count == query.limit { self.state.withLock { $0.mayHaveOrphans = true } }
        } catch {
            self.state.withLock { $0.mayHaveOrphans = true }
            throw error
        }
    }

    /// Renews the lease while there is anything to hold: an idle coordinator writes nothing.
    private func renewLease() async {
        while !Task.isCancelled {
            try? await self.time.sleep(for: self.configuration.lease / 4)
            guard self.state.withLock({ $0.inFlight > 0 }) else { continue }
            do {
                try await self.renewLeaseIfStale()
            } catch {
                self.logger.warning("The coordinator's lease could not be renewed", metadata: ["error": "\(error)"])
            }
        }
    }

    private func renewLeaseIfStale() async throws {
        let now = self.time.now
        let isFresh = self.state.withLock { state in
            // Two thirds left: the next renewal, a quarter of the lease from now at the latest, is in time.
            guard let until = state.leasedUntil else { return false }
            return now.duration(to: until) > self.configuration.lease * 2 / 3
        }
        if isFresh { return }
        try await self.store.renew(owner: self.owner, lease: self.configuration.lease)
        self.leased(since: now)
    }

    private func leased(since start: ContinuousClock.Instant) {
        let until = start.advanced(by: self.configuration.lease)
        self.state.withLock { $0.leasedUntil = max($0.leasedUntil ?? until, until) }
    }

    // MARK: Slots

    private func hold(_ id: String) { self.state.withLock { $0.held[id, default: 0] += 1 } }

    private func letGo(_ id: String) {
        self.state.withLock { state in
            let count = state.held[id, default: 0]
            state.held[id] = count > 1 ? count - 1 : nil
        }
    }

    private func takeSlot() -> Bool { self.takeSlots(upTo: 1) == 1 }

    private func takeSlots(upTo wanted: Int) -> Int {
        self.state.withLock { state in
            guard state.isRunning else { return 0 }
            let slots = min(wanted, self.configuration.concurrency - state.inFlight)
            state.inFlight += slots
            return slots
        }
    }

    private func freeSlot() {
        self.state.withLock { $0.inFlight -= 1 }
        self.slotFreed.ring()
    }
}

// MARK: Operators

extension SagaCoordinator {
    /// Tries a running or stuck saga again now, with a fresh budget for its present state.
    ///
    /// - Throws: ``SagaError`` with `unknownSaga`, `notAllowed` (it has ended, or its state has no action) or
    ///   `conflict` (it moved just now).
    @discardableResult
    public func retry(_ id: String, by person: String) async throws -> SagaInstance {
        let (instance, machine) = try await self.open(id)
        guard machine.definition.states[instance.state] != nil else {
            // It would look as if it were running, and nothing would ever happen to it.
            throw SagaError(
                .notAllowed,
                "saga '\(id)' waits in '\(instance.state)', where there is nothing to try; force it to another state"
            )
        }
        return try await self.write(instance, machine.retryNow(instance, by: person, now: self.time.wallTime))
    }

    /// Sets a saga's state by hand and goes on from there; audited in its history.
    ///
    /// Nothing that was done, or may have been done, is forgotten: it is undone before the saga counts as `failed`. An
    /// action that has had its outcome and is visited again is done again, as a step of its own (`action#2`); to have
    /// it only once, set the state after it.
    ///
    /// - Throws: ``SagaError`` with `unknownSaga`, `unknownState`, `notAllowed` (it has ended) or `conflict`.
    @discardableResult
    public func force(
        _ id: String,
        to state: String,
        by person: String,
        because reason: String
    ) async throws -> SagaInstance {
        let (instance, transition) = try await self.forcing(id, to: state, by: person, because: reason)
        return try await self.write(instance, transition)
    }

    /// What ``force(_:to:by:because:)`` commits, for stores that commit it under a condition of their own.
    package func forcing(
        _ id: String,
        to state: String,
        by person: String,
        because reason: String
    ) async throws -> (instance: SagaInstance, transition: SagaTransition) {
        let (instance, machine) = try await self.open(id)
        guard machine.definition.states[state] != nil else {
            let known = machine.definition.states.keys.sorted().joined(separator: ", ")
            throw SagaError(.unknownState, "saga '\(id)' has no state '\(state)'; it has \(known)")
        }
        let transition = machine.force(
            instance,
            to: state,
            by: person,
            because: reason,
            now: self.time.wallTime
        )
        return (instance, transition)
    }

    private func open(_ id: String) async throws -> (SagaInstance, SagaMachine) {
        guard let instance = try await self.store.instances(matching: SagaQuery(id: id)).first else {
            throw SagaError(.unknownSaga, "there is no saga '\(id)'; list them to see which there are")
        }
        guard !instance.status.isTerminal else {
            throw SagaError(.notAllowed, "saga '\(id)' has ended (\(instance.status.rawValue)); start a new one")
        }
        return (instance, try await self.definitions.machine(for: instance))
    }

    private func write(_ instance: SagaInstance, _ transition: SagaTransition) async throws -> SagaInstance {
        guard case .written(let written) = try await self.store.commit(instance, { _ in transition }) else {
            throw SagaError(
                .conflict,
                "saga '\(instance.id)' moved on in this moment; look at it again",
                retry: .notSent
            )
        }
        return written
    }
}
