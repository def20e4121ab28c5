public import Logging
public import ParleyCore
public import ParleyRESP
public import ParleySagas

/// Sagas on Redis or Valkey, from 7.0 on: see `SagaStore`. Beside each stands the hash that people read, see
/// ``SagaHash``; what becomes of a hash that was edited by hand, see ``SagaEdit``.
///
/// ```swift
/// let store = RedisSagaStore(client: client, logger: logger)
/// let coordinator = SagaCoordinator(store: store, transactions: store.transactions, sagas: [order], logger: logger)
/// ```
/// Guarantees beside the port's:
/// - Each write is one script that compares version, epoch and the hash, and changes all or nothing.
/// - Leases and due times are read on the server's clock, so the clocks of the coordinators' machines do not matter to
///   them.
/// - When the reply to a commit is lost, the commit is asked for again until it is known what became of it, for as long
///   as the server is away; it is made once. The caller's deadline and cancellation end that.
///
/// ## What it cannot promise
/// - It is as durable as the server, see the guide's page on Redis: with `appendfsync everysec` a crash, and with
///   replicas a fail-over, can take back steps that were committed. Actions are then asked for again under the same
///   idempotency keys. The authority for sagas that move money is SQLite or PostgreSQL.
/// - It lies on one node. In a cluster the hashes need the store's hash tag, see ``SagaHashes/prefix``.
///
/// Errors: ``SagaError`` with `corrupt` for a saga that cannot be read, and with `conflict` when a new saga's key or id
/// is taken; ``RedisTransactionError``; `RESPError` for the server.
public final class RedisSagaStore: SagaStore {
    /// The transactions that this store takes part in.
    public let transactions: RedisTransactionRunner
    public let hashes: SagaHashes
    let client: RESPClient
    let keys: SagaKeys
    let time: any TimeSource
    let logger: Logger
    private let tokens: UUIDv7Generator
    /// There may be something to claim.
    private let work = Signal()

    /// No wait for work is longer: other processes do not ring.
    private static let poll: Duration = .seconds(1)
    private static let longestLease: Duration = .seconds(365 * 86_400)

    /// The prefix of the one store that most systems have.
    public static let standardPrefix = "{parley-sagas}"

    /// - Parameters:
    ///   - client: Its `run()` must be active.
    ///   - prefix: What the names of all keys begin with, but for the hashes: one store for each.
    ///   - hashes: The same in every process.
    public init(
        client: RESPClient,
        prefix: String = RedisSagaStore.standardPrefix,
        hashes: SagaHashes = SagaHashes(),
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource(),
        logger: Logger
    ) {
        self.client = client
        self.keys = SagaKeys(prefix: prefix)
        self.hashes = hashes
        self.time = time
        self.logger = logger
        self.tokens = UUIDv7Generator(time: time, random: random)
        self.transactions = RedisTransactionRunner(client: client, time: time, random: random)
    }

    // MARK: Writing

    public func create(
        _ instance: SagaInstance,
        definition: String,
        events: [SagaEvent],
        in transaction: any Transaction
    ) throws -> SagaInstance? {
        let transaction = try RedisTransaction.require(transaction)
        let businessKey = self.keys.business(instance.businessKey, of: instance.type)
        if let own = transaction.created[businessKey] { return own }
        if let bytes = try transaction.string(businessKey) {
            let key = self.keys.saga(String(decoding: bytes, as: UTF8.self))
            return try SagaRecord.read(try transaction.hash(key), key: key)
        }
        let hash = self.hashes.hash(of: instance.type)
        var fields = try SagaRecord.fields(instance)
        fields["shown"] = hash?.shown.map { Array($0.utf8) }
        try transaction.write { words in
            words.add("create", RESPArgument(self.keys.prefix), RESPArgument(instance.id), RESPArgument(businessKey))
            words.add(
                RESPArgument(definition),
                RESPArgument(hash?.key(of: instance, prefix: self.hashes.prefix) ?? ""),
                fields: fields
            )
            words.add(fields: hash?.values(of: instance) ?? [:])
            words.add(words: SagaRecord.words(events))
        }
        transaction.created[businessKey] = instance
        transaction.onCommit { self.work.ring() }
        return nil
    }

    public func commit(
        _ expected: SagaInstance,
        _ body: @escaping @Sendable (any Transaction) throws -> SagaTransition
    ) async throws -> SagaCommit {
        try await self.commit(expected, accepting: nil, body)
    }

    /// - Parameter accepted: What the saga's hash holds, edited as it is; the step is made if it still does.
    func commit(
        _ expected: SagaInstance,
        accepting accepted: [String: [UInt8]]?,
        _ body: @escaping @Sendable (any Transaction) throws -> SagaTransition
    ) async throws -> SagaCommit {
        let token = self.tokens.next().description
        let hash = try await self.hash(of: expected)
        let shown = hash?.shown.map { Array($0.utf8) }
        var fence = ScriptArguments()
        fence.add(
            "saga?",
            RESPArgument(self.keys.prefix),
            RESPArgument(expected.id),
            RESPArgument(expected.version),
            RESPArgument(expected.epoch)
        )
        do {
            let (step, outcome) = try await self.transactions.perform(fence: fence, isRepeatable: true) { transaction in
                let transition = try body(transaction)
                var fields = try SagaRecord.fields(transition.instance)
                fields["token"] = Array(token.utf8)
                fields["written_by"] = Array((expected.owner ?? "an operator").utf8)
                fields["shown"] = shown
                return Step(transition: transition, fields: fields, hash: hash)
            } leading: { step in
                self.words(of: step, expected, token, accepted)
            }
            switch outcome {
            case .applied:
                if step.transition.instance.owner == nil { self.work.ring() }
                return .written(step.transition.instance)
            case .fenced: return .fenced
            case .edited(let key):
                self.logger.warning(
                    "A saga's hash was edited by hand; the saga waits until the edit is accepted or rejected.",
                    metadata: ["saga.id": "\(expected.id)", "redis.key": "\(key)"]
                )
                return .fenced
            }
        } catch is RedisTransactionRunner.Fenced {
            return .fenced
        }
    }

    private struct Step: Sendable {
        let transition: SagaTransition
        let fields: [String: [UInt8]]
        let hash: SagaHash?
    }

    /// What the saga's hash is to show. Who reads it from the saga's record reads it of the version that is expected,
    /// or the commit is refused.
    private func hash(of saga: SagaInstance) async throws -> SagaHash? {
        guard self.hashes.isStored else { return self.hashes.hash(of: saga.type) }
        let key = self.keys.saga(saga.id)
        let shown = try await self.client.send(["HGET", RESPArgument(key), "shown"])
        guard let hash = SagaHash(type: saga.type, shown: shown.string) else {
            throw SagaError(
                .corrupt,
                "'\(key)': the field 'shown' is nothing of this version of Parley; use the version that has written it"
            )
        }
        return hash
    }

    private func words(
        of step: Step,
        _ expected: SagaInstance,
        _ token: String,
        _ accepted: [String: [UInt8]]?
    ) -> ScriptArguments {
        let saga = step.transition.instance
        var words = ScriptArguments()
        words.add("commit", RESPArgument(self.keys.prefix), RESPArgument(expected.id), RESPArgument(token))
        words.add(RESPArgument(expected.version), RESPArgument(expected.epoch))
        words.add(accepted == nil ? "0" : "1", fields: accepted ?? [:])
        words.add(fields: step.fields)
        words.add(fields: step.hash?.values(of: saga) ?? [:])
        words.add(words: SagaRecord.words(step.transition.events))
        return words
    }

    // MARK: Driving

    public func claim(owner: String, lease: Duration?, limit: Int) async throws -> SagaClaim {
        let reply = try await self.client.eval(
            SagaScripts.claim,
            keys: [self.keys.prefix],
            arguments: [
                RESPArgument(owner), lease.map { RESPArgument(Self.microseconds($0)) } ?? "",
                RESPArgument(min(1_000, max(1, limit))),
            ]
        )
        let parts = reply.elements ?? []
        var claim = SagaClaim(
            instances: [],
            nextDue: parts.first?.integer.map { Timestamp(microseconds: $0) }
        )
        for part in parts.dropFirst() {
            let fields = SagaRecord.fields(part)
            let id = String(decoding: fields["id"] ?? [], as: UTF8.self)
            do {
                claim.instances.append(try SagaRecord.read(fields, key: self.keys.saga(id)))
            } catch {
                try await self.shelve(id, because: error)
            }
        }
        return claim
    }

    /// What cannot be read is not to be claimed again and again, and is in nobody's way: a person must look.
    func shelve(_ id: String, because error: any Error) async throws {
        self.logger.error(
            "A saga cannot be read and was put aside; nobody drives it until it is corrected.",
            metadata: ["error": "\(error)"]
        )
        _ = try await self.client.eval(SagaScripts.shelve, keys: [self.keys.prefix], arguments: [RESPArgument(id)])
    }

    public func renew(owner: String, lease: Duration) async throws {
        _ = try await self.client.eval(
            SagaScripts.renew,
            keys: [self.keys.prefix],
            arguments: [RESPArgument(owner), RESPArgument(Self.microseconds(lease))]
        )
        if lease <= .zero { self.work.ring() }
    }

    private static func microseconds(_ lease: Duration) -> Int64 {
        min(self.longestLease, max(.zero, lease)).inMicroseconds
    }

    public func waitForWork(after generation: UInt64, until instant: ContinuousClock.Instant?) async -> UInt64 {
        let latest = self.time.now.advanced(by: Self.poll)
        await self.work.wait(after: generation, until: instant.map { min($0, latest) } ?? latest, on: self.time)
        return self.work.generation
    }
}
