public import ParleyCore
internal import ParleyMessaging
internal import Synchronization

/// A ``SagaStore`` in memory, with transactions of `InMemoryBackend`.
public final class InMemorySagaStore: SagaStore {
    private struct BusinessKey: Hashable {
        let type: String
        let key: String
    }

    private struct State {
        var sagas: [String: SagaInstance] = [:]
        var ids: [BusinessKey: String] = [:]
        var events: [String: [SagaEvent]] = [:]
        var definitions: [String: String] = [:]
        var leases: [String: (renewedAt: Timestamp, expiresAt: Timestamp)] = [:]

        func isAlive(_ owner: String, at now: Timestamp) -> Bool {
            guard let lease = self.leases[owner] else { return false }
            // A renewal that lies in the future was made before the calendar jumped back.
            return lease.expiresAt > now && lease.renewedAt <= now + .seconds(1)
        }
    }

    private let state = Mutex(State())
    private let signal = Signal()
    private let time: any TimeSource

    public init(time: any TimeSource = SystemTimeSource()) {
        self.time = time
    }

    public func create(
        _ instance: SagaInstance,
        definition: String,
        events: [SagaEvent],
        in transaction: any Transaction
    ) throws -> SagaInstance? {
        let transaction = try InMemoryTransaction.require(transaction)
        let key = BusinessKey(type: instance.type, key: instance.businessKey)
        let existing: SagaInstance? = self.state.withLock { state in
            if let id = state.ids[key] { return state.sagas[id] }
            state.ids[key] = instance.id
            state.sagas[instance.id] = instance
            state.events[instance.id] = events
            state.definitions[instance.definition] = definition
            return nil
        }
        guard existing == nil else { return existing }
        transaction.onRollback {
            self.state.withLock { state in
                state.ids[key] = nil
                state.sagas[instance.id] = nil
                state.events[instance.id] = nil
            }
        }
        transaction.onCommit { self.signal.ring() }
        return nil
    }

    public func commit(
        _ expected: SagaInstance,
        _ body: @escaping @Sendable (any Transaction) throws -> SagaTransition
    ) async throws -> SagaCommit {
        let result: SagaCommit = try InMemoryTransaction.run { transaction in
            let isCurrent = self.state.withLock { state in
                let stored = state.sagas[expected.id]
                return stored?.version == expected.version && stored?.epoch == expected.epoch
            }
            guard isCurrent else { return .fenced }
            let transition = try body(transaction)
            self.state.withLock { state in
                state.sagas[expected.id] = transition.instance
                state.events[expected.id, default: []] += transition.events
            }
            return .written(transition.instance)
        }
        if case .written(let instance) = result, instance.owner == nil { self.signal.ring() }
        return result
    }

    public func claim(owner: String, lease: Duration?, limit: Int) async throws -> SagaClaim {
        let now = self.time.wallTime
        return try InMemoryTransaction.run { _ in
            self.state.withLock { state in
                var claimed: [SagaInstance] = []
                var nextDue: Timestamp?
                for saga in state.sagas.values.sorted(by: { $0.createdAt < $1.createdAt }) {
                    guard !saga.status.isTerminal else { continue }
                    let isOrphan = saga.owner.map { !state.isAlive($0, at: now) } ?? false
                    let isDue = saga.owner == nil && saga.dueAt.map { $0 <= now } ?? false
                    if (isOrphan || isDue) && claimed.count < limit {
                        var taken = saga
                        taken.owner = owner
                        taken.dueAt = nil
                        taken.epoch += 1
                        taken.version += 1
                        taken.isUncertain = saga.isUncertain || isOrphan
                        state.sagas[saga.id] = taken
                        claimed.append(taken)
                    } else if saga.owner == nil, let due = saga.dueAt {
                        nextDue = min(nextDue ?? due, due)
                    }
                }
                if let lease, !claimed.isEmpty { state.leases[owner] = (now, now + lease) }
                return SagaClaim(instances: claimed, nextDue: nextDue)
            }
        }
    }

    public func renew(owner: String, lease: Duration) async throws {
        let now = self.time.wallTime
        self.state.withLock { state in
            state.leases[owner] = lease > .zero ? (now, now + lease) : nil
        }
        if lease <= .zero { self.signal.ring() }
    }

    public func instances(matching query: SagaQuery) async throws -> [SagaInstance] {
        self.state.withLock { state in
            let matching = state.sagas.values.filter { saga in
                (query.id == nil || saga.id == query.id) && (query.type == nil || saga.type == query.type)
                    && (query.businessKey == nil || saga.businessKey == query.businessKey)
                    && (query.status == nil || saga.status == query.status)
            }
            let sorted = matching.sorted {
                ($0.status == .stuck ? 0 : 1, $0.createdAt, $0.id) < ($1.status == .stuck ? 0 : 1, $1.createdAt, $1.id)
            }
            return Array(sorted.prefix(query.limit))
        }
    }

    public func history(of id: String) async throws -> [SagaEvent] {
        self.state.withLock { $0.events[id] ?? [] }
    }

    public func definition(_ fingerprint: String) async throws -> String? {
        self.state.withLock { $0.definitions[fingerprint] }
    }

    public func waitForWork(after generation: UInt64, until instant: ContinuousClock.Instant?) async -> UInt64 {
        await self.signal.wait(after: generation, until: instant, on: self.time)
        return self.signal.generation
    }
}
