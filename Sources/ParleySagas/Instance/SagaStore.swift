public import ParleyCore

/// Where sagas live. What `SagaStoreConformance` in ParleyTestKit proves of every backend.
///
/// Rules of every store:
/// - One commit per step: the instance, its history and whatever the transaction's body does commit together.
/// - Every write of a driver names the version *and* the epoch that it read; when either has moved on, nothing is
///   written. A driver that was paused past its lease therefore cannot do harm when it wakes up.
/// - A driver's lease is one row for all its sagas, renewed by ``renew(owner:lease:)``. When it runs out, the driver's
///   sagas can be claimed by others, and are marked uncertain: their last action may have run.
public protocol SagaStore: Sendable {
    /// Adds the instance, its pinned definition (canonical JSON) and its first history lines to the transaction.
    ///
    /// - Returns: `nil`, or the instance that already exists with this type and business key; then nothing is added.
    func create(
        _ instance: SagaInstance,
        definition: String,
        events: [SagaEvent],
        in transaction: any Transaction
    ) throws -> SagaInstance?

    /// Commits one step of the instance `expected`.
    ///
    /// `body` runs inside the transaction and says what the instance becomes; its other writes go along. The store sets
    /// nothing by itself: version, epoch and owner are the transition's.
    ///
    /// - Returns: Whether it was written; `false`, and nothing at all is written, when the stored version or epoch is
    ///   not `expected`'s.
    func commit(
        _ expected: SagaInstance,
        _ body: @escaping @Sendable (any Transaction) throws -> SagaTransition
    ) async throws -> SagaCommit

    /// Takes up to `limit` running or stuck sagas that nobody drives and that are due, or whose driver's lease has run
    /// out: sets the owner and raises the epoch and the version by one.
    ///
    /// When it takes any and `lease` is given, the owner's lease is renewed in the same commit: there is no moment in
    /// which the sagas have an owner that looks dead.
    func claim(owner: String, lease: Duration?, limit: Int) async throws -> SagaClaim

    /// Says that `owner` lives and holds its sagas for `lease` from now; zero gives all of them up at once.
    func renew(owner: String, lease: Duration) async throws

    /// Instances, stuck ones first, then by age.
    func instances(matching query: SagaQuery) async throws -> [SagaInstance]

    /// The history of one saga, oldest first; empty for an unknown one.
    func history(of id: String) async throws -> [SagaEvent]

    /// The canonical JSON of a definition that some instance is or was pinned to.
    func definition(_ fingerprint: String) async throws -> String?

    /// Suspends until there may be something to claim since `generation`, or `instant` has come. Returns the generation
    /// to wait after next. It may return early, never late by more than a second.
    func waitForWork(after generation: UInt64, until instant: ContinuousClock.Instant?) async -> UInt64
}

extension SagaStore {
    /// Claims without touching the owner's lease.
    public func claim(owner: String, limit: Int) async throws -> SagaClaim {
        try await self.claim(owner: owner, lease: nil, limit: limit)
    }
}

/// What came of a commit.
public enum SagaCommit: Sendable, Hashable {
    case written(SagaInstance)
    /// Another driver or an operator was faster; nothing was written.
    case fenced
}

public struct SagaClaim: Sendable, Hashable {
    public var instances: [SagaInstance]
    /// When the next saga will be due, as far as is known.
    public var nextDue: Timestamp?

    public init(instances: [SagaInstance], nextDue: Timestamp?) {
        self.instances = instances
        self.nextDue = nextDue
    }
}

/// Which sagas to list. All given conditions must hold.
public struct SagaQuery: Sendable, Hashable {
    public var id: String?
    public var type: String?
    public var businessKey: String?
    public var status: SagaStatus?
    /// 1 to 1,000.
    public var limit: Int

    public init(
        id: String? = nil,
        type: String? = nil,
        businessKey: String? = nil,
        status: SagaStatus? = nil,
        limit: Int = 100
    ) {
        self.id = id
        self.type = type
        self.businessKey = businessKey
        self.status = status
        self.limit = min(1_000, max(1, limit))
    }
}
