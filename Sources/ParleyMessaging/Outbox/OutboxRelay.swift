public import Logging
public import ParleyCore
public import ServiceLifecycle

/// Sends what an ``OutboxStore`` holds, and removes it once the transport has confirmed it.
///
/// Guarantees: at least once (a crash between the send and the removal sends again, under the same message id); in the
/// order of appending for each key; a message that cannot be sent holds back only its own key. Any number of relays may
/// run on one store, one of them works; when it dies, another takes over after ``Configuration/lease``.
public struct OutboxRelay: Service {
    public struct Configuration: Sendable, Hashable {
        /// How many messages are read, sent and removed together; 1 to 1,000.
        public var batchSize: Int
        /// How long after the last sign of life of a relay another one takes over. It is renewed with each batch, and
        /// when there is nothing to do three times as often.
        public var lease: Duration
        /// The waits of a message that cannot be sent. It is tried for ever: it was promised.
        public var backoff: Backoff

        public init(
            batchSize: Int = 256,
            lease: Duration = .seconds(4),
            backoff: Backoff = Backoff(initial: .milliseconds(200), cap: .seconds(30), jitter: 0.5)
        ) {
            self.batchSize = min(1_000, max(1, batchSize))
            self.lease = max(.milliseconds(100), lease)
            self.backoff = backoff
        }
    }

    private let store: any OutboxStore
    private let transport: any MessageTransport
    private let configuration: Configuration
    private let owner: String
    private let time: any TimeSource
    private let random: any RandomSource
    private let logger: Logger

    public init(
        store: any OutboxStore,
        transport: any MessageTransport,
        configuration: Configuration = Configuration(),
        owner: String = UUIDv7Generator.shared.next().description,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource(),
        logger: Logger
    ) {
        self.store = store
        self.transport = transport
        self.configuration = configuration
        self.owner = owner
        self.time = time
        self.random = random
        self.logger = logger
    }

    /// Relays until graceful shutdown or cancellation; failures of the store are logged and tried again.
    public func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await self.relayUntilFenced()
                } catch {
                    guard !Task.isCancelled else { break }
                    self.logger.warning(
                        "Outbox relay stopped by an error, trying again",
                        metadata: ["error": "\(error)"]
                    )
                    try? await self.time.sleep(for: .milliseconds(500))
                }
            }
        }
    }

    private func relayUntilFenced() async throws {
        var generation: UInt64 = 0
        guard let epoch = try await self.store.lease(to: self.owner, for: self.configuration.lease) else {
            // Somebody else relays. Look again when its lease may have run out.
            try await self.time.sleep(for: self.configuration.lease / 4)
            return
        }
        self.logger.debug("Outbox relay holds the lease", metadata: ["outbox.epoch": "\(epoch.number)"])
        do {
            var renewBy = self.time.now.advanced(by: self.configuration.lease / 3)
            while !Task.isCancelled {
                let batch = try await self.store.pending(limit: self.configuration.batchSize)
                if batch.rows.isEmpty {
                    let due = batch.nextDue.map { self.time.instant(of: $0) }
                    generation = await self.store.waitForAppend(
                        after: generation,
                        until: min(due ?? renewBy, renewBy)
                    )
                } else {
                    let outcome = await self.send(batch.rows)
                    let isStillOurs = try await self.store.record(
                        sent: outcome.sent,
                        failed: outcome.failed,
                        under: epoch
                    )
                    guard isStillOurs else {
                        self.logger.notice("Outbox relay lost its lease to another relay")
                        return
                    }
                }
                if self.time.now >= renewBy {
                    renewBy = self.time.now.advanced(by: self.configuration.lease / 3)
                    guard try await self.store.lease(to: self.owner, for: self.configuration.lease) == epoch else {
                        return
                    }
                }
            }
        } catch {
            try? await self.store.release(epoch)
            throw error
        }
        try? await self.store.release(epoch)
    }

    /// Sends a batch whole; when that fails, one by one, so that the one at fault is known and holds back only its key.
    private func send(_ rows: [OutboxRow]) async -> (sent: [Int64], failed: [OutboxFailure]) {
        do {
            try await self.transport.publish(rows.map(\.message))
            return (rows.map(\.id), [])
        } catch {
            // Cut off by the shutdown, not refused by the transport: the next relay need not wait for anything.
            if Task.isCancelled { return ([], []) }
            if rows.count == 1, let row = rows.first { return ([], [self.failure(of: row, error)]) }
        }
        var sent: [Int64] = []
        var failed: [OutboxFailure] = []
        var blockedKeys: Set<String> = []
        for row in rows {
            if let key = row.message.key, blockedKeys.contains(key) { continue }
            do {
                try await self.transport.publish([row.message])
                sent.append(row.id)
            } catch {
                if Task.isCancelled { break }
                failed.append(self.failure(of: row, error))
                if let key = row.message.key { blockedKeys.insert(key) }
            }
        }
        return (sent, failed)
    }

    private func failure(of row: OutboxRow, _ error: any Error) -> OutboxFailure {
        let wait = self.configuration.backoff.delay(afterFailures: row.failures + 1, random: self.random)
        self.logger.warning(
            "A message of the outbox could not be sent; it and its key wait",
            metadata: [
                "message.id": "\(row.message.id)", "message.topic": "\(row.message.topic)",
                "outbox.failures": "\(row.failures + 1)", "outbox.wait.ms": "\(wait.inMilliseconds)",
                "error": "\(error)",
            ]
        )
        return OutboxFailure(id: row.id, reason: "\(error)", nextTry: self.time.wallTime + wait)
    }
}
