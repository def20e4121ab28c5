public import Logging
public import ParleyCore
public import ParleyMessaging
public import ServiceLifecycle
internal import Synchronization

/// Watches a choreography: consumes its events with a consumer group of its own and keeps every instance.
///
/// Guarantees:
/// - Each event is counted once, whenever the process dies: inbox row, event and instance are one commit, before the
///   delivery is settled.
/// - The instance is the same in whatever order the events come, and however often.
/// - Lateness is noticed by time, not by the next event, within ``Configuration/interval``.
/// - It only looks: when no monitor runs, the services go on, and the next one catches up.
///
/// Any number may run on one store; they share the work.
public struct ChoreographyMonitor: Service {
    public struct Configuration: Sendable, Hashable {
        /// How many events are taken in at a time; 1 to 1,000.
        public var concurrency: Int
        /// How often it looks for what is late, at the least.
        public var interval: Duration
        /// For how long an instance is kept after it is over.
        public var retention: Duration
        /// Whether events that name no choreography are left out. Set it where others publish events of the same types.
        public var requiresMark: Bool

        public init(
            concurrency: Int = 32,
            interval: Duration = .seconds(1),
            retention: Duration = .seconds(30 * 86_400),
            requiresMark: Bool = false
        ) {
            self.concurrency = min(1_000, max(1, concurrency))
            self.interval = max(.milliseconds(10), interval)
            self.retention = max(.zero, retention)
            self.requiresMark = requiresMark
        }
    }

    /// The group that it consumes with; declare it before the first event is published.
    public let group: ConsumerGroup
    private let machine: ChoreographyMachine
    private let store: any ChoreographyStore
    private let inbox: any Inbox
    private let transactions: any TransactionRunner
    private let transport: any MessageTransport
    private let configuration: Configuration
    private let time: any TimeSource
    private let random: any RandomSource
    private let logger: Logger

    /// - Parameters:
    ///   - transactions: The backend of store and inbox.
    ///   - acceptsFindings: Whether a choreography with lint errors may be watched all the same.
    /// - Throws: ``SagaError`` with `unsafeDefinition`, naming every error of the linter; `MessagingError` when an
    ///   event's name is no topic.
    public init(
        _ choreography: Choreography,
        store: any ChoreographyStore,
        inbox: any Inbox,
        transactions: any TransactionRunner,
        transport: any MessageTransport,
        configuration: Configuration = Configuration(),
        acceptsFindings: Bool = false,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource(),
        logger: Logger
    ) throws {
        let errors = ChoreographyLinter.check(choreography).filter { $0.severity == .error }
        guard acceptsFindings || errors.isEmpty else {
            throw SagaError(
                .unsafeDefinition,
                "'\(choreography.name)': \(errors.map(\.description).joined(separator: "; "))"
            )
        }
        self.group = try ConsumerGroup("choreography.\(choreography.name)", bindings: choreography.topics)
        self.machine = ChoreographyMachine(choreography)
        self.store = store
        self.inbox = inbox
        self.transactions = transactions
        self.transport = transport
        self.configuration = configuration
        self.time = time
        self.random = random
        self.logger = logger
    }

    /// Watches until graceful shutdown or cancellation; failures of the store are logged and tried again.
    public func run() async throws {
        var router = MessageRouter(transport: self.transport, time: self.time, random: self.random, logger: self.logger)
        router.consume(self.group, concurrency: self.configuration.concurrency) { try await self.observe($0.message) }
        let consuming = router
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await consuming.run() }
            tasks.addTask { await cancelWhenGracefulShutdown { await self.watchTheClock() } }
            try await tasks.waitForAll()
        }
    }

    // MARK: Events

    /// Takes in one event; the same one again changes nothing but how often it was delivered.
    public func observe(_ message: Message) async throws {
        guard
            message.choreography == self.machine.choreography.name
                || message.choreography == nil && !self.configuration.requiresMark
        else { return }
        guard let id = message.correlationID else {
            self.logger.info(
                "An event names no instance and was left out",
                metadata: ["message.id": "\(message.id)", "message.type": "\(message.type)"]
            )
            return
        }
        let now = self.time.wallTime
        let change = try await self.transactions.withTransaction { transaction in
            let isNew = try self.inbox.admit(message.id, to: self.group.name, in: transaction)
            let existing = try self.store.instance(id, of: self.machine.choreography.name, in: transaction)
            let machine = try self.machine(for: existing, in: transaction)
            var before = existing ?? machine.begin(id: id, businessKey: message.subject ?? id, now: now)
            // Services name different things as their subject; the beginning says what it is all about, whenever it
            // is seen. Until then the first event's word stands.
            let isBeginning = message.type == machine.choreography.start
            if let subject = message.subject, isBeginning || before.events.isEmpty { before.businessKey = subject }
            let isKnown = before.events.contains { $0.id == message.id }
            // Forgotten with its instance, and delivered once more after that: it begins nothing anew.
            guard isNew || isKnown else { return nil as ChoreographyChange? }
            let after = machine.observing(message.observed(at: now), in: before, now: now)
            let change = ChoreographyChange(
                instance: after,
                definition: machine.canonicalJSON,
                added: after.events.count > before.events.count ? message : nil,
                repeated: isKnown ? message.id : nil
            )
            try self.store.write(change, in: transaction)
            return change
        }
        guard let change else { return }
        self.logger.debug(
            "Observed an event",
            metadata: [
                "choreography.id": "\(id)", "message.type": "\(message.type)",
                "choreography.status": "\(change.instance.status)",
            ]
        )
    }

    /// An instance is judged by the choreography that it began with.
    private func machine(
        for instance: ChoreographyInstance?,
        in transaction: any Transaction
    ) throws -> ChoreographyMachine {
        guard let instance, instance.definition != self.machine.fingerprint else { return self.machine }
        return try ChoreographyMachine.pinned(instance, store: self.store, in: transaction)
    }

    // MARK: Time

    private func watchTheClock() async {
        while !Task.isCancelled {
            var wake = self.time.now.advanced(by: self.configuration.interval)
            do {
                if let next = try await self.judgeWhatIsDue() { wake = min(wake, self.time.instant(of: next)) }
                let limit = self.time.wallTime + (.zero - self.configuration.retention)
                while try await self.store.forget(endedBefore: limit, limit: 100) == 100, !Task.isCancelled {}
            } catch {
                guard !Task.isCancelled else { return }
                self.logger.warning("Looking for late choreographies failed", metadata: ["error": "\(error)"])
            }
            try? await self.time.sleep(until: wake)
        }
    }

    /// Judges every instance that time has something to say about; returns when the next one is due.
    func judgeWhatIsDue() async throws -> Timestamp? {
        while !Task.isCancelled {
            let now = self.time.wallTime
            let due = try await self.store.due(at: now, limit: 100)
            var isDone = due.instances.count < 100
            for instance in due.instances {
                do {
                    try await self.judge(instance, now: now)
                } catch let error as SagaError {
                    // One that cannot be read must not hide the others; it stays first in line until it is mended.
                    isDone = true
                    self.logger.error("A choreography cannot be judged", metadata: ["error": "\(error)"])
                }
            }
            if isDone { return due.next }
        }
        return nil
    }

    private func judge(_ summary: ChoreographyInstance, now: Timestamp) async throws {
        let change = try await self.transactions.withTransaction { transaction in
            guard let before = try self.store.instance(summary.id, of: summary.type, in: transaction) else {
                return nil as (ChoreographyStatus, ChoreographyInstance)?
            }
            let machine = try self.machine(for: before, in: transaction)
            let after = machine.judged(before, now: now)
            try self.store.write(
                ChoreographyChange(instance: after, definition: machine.canonicalJSON),
                in: transaction
            )
            return (before.status, after)
        }
        guard let (before, after) = change, before != after.status else { return }
        if after.status == .late || after.status == .stuck {
            self.logger.notice(
                after.status == .late ? "A choreography is late" : "A choreography is stuck; a person should look",
                metadata: [
                    "choreography.id": "\(after.id)", "choreography.key": "\(after.businessKey)",
                    "reason": "\(after.reason ?? "")",
                ]
            )
        }
    }
}

extension ChoreographyMachine {
    /// The machine for the choreography that an instance is judged by.
    ///
    /// - Throws: ``SagaError`` with `corrupt` when the store does not have it, or has something else.
    public static func pinned(
        _ instance: ChoreographyInstance,
        store: any ChoreographyStore,
        in transaction: any Transaction
    ) throws -> ChoreographyMachine {
        guard let json = try store.definition(instance.definition, in: transaction),
            let choreography = try Choreography.read(json: Array(json.utf8)).first
        else {
            throw SagaError(
                .corrupt,
                "the choreography '\(instance.definition)' of instance '\(instance.id)' is not in the store"
            )
        }
        return ChoreographyMachine(choreography)
    }
}
