internal import OrderedCollections
public import ParleyCore
internal import Synchronization

/// An ``OutboxStore`` in memory.
public final class InMemoryOutbox: OutboxStore {
    private struct Row {
        let message: Message
        let appendedAt: Timestamp
        var failures = 0
        var reason: String?
        var nextTry: Timestamp?
    }

    private struct State {
        var rows: OrderedDictionary<Int64, Row> = [:]
        var nextID: Int64 = 1
        var epoch: OutboxEpoch?
        var renewedAt = Timestamp(microseconds: 0)
        var expiresAt = Timestamp(microseconds: 0)

        /// A renewal that lies in the future was made before the calendar jumped back.
        func isLeased(at now: Timestamp) -> Bool { self.expiresAt > now && self.renewedAt <= now + .seconds(1) }

        /// The rows that are held back at `now`: those that wait for another try, and those behind them with the same
        /// key; without `now`, also those whose next try is due.
        func blocked(at now: Timestamp?) -> (ids: Set<Int64>, nextDue: Timestamp?) {
            var ids: Set<Int64> = []
            var keys: Set<String> = []
            var nextDue: Timestamp?
            for (id, row) in self.rows {
                if let key = row.message.key, keys.contains(key) {
                    ids.insert(id)
                } else if let nextTry = row.nextTry, now.map({ nextTry > $0 }) ?? true {
                    ids.insert(id)
                    nextDue = min(nextDue ?? nextTry, nextTry)
                    if let key = row.message.key { keys.insert(key) }
                }
            }
            return (ids, nextDue)
        }
    }

    private let state = Mutex(State())
    private let signal = Signal()
    private let time: any TimeSource

    public init(time: any TimeSource = SystemTimeSource()) {
        self.time = time
    }

    public func append(_ messages: [Message], in transaction: any Transaction) throws {
        let transaction = try InMemoryTransaction.require(transaction)
        let now = self.time.wallTime
        let ids = self.state.withLock { state in
            messages.map { message in
                let id = state.nextID
                state.nextID += 1
                state.rows[id] = Row(message: message, appendedAt: now)
                return id
            }
        }
        transaction.onRollback { self.state.withLock { state in for id in ids { state.rows[id] = nil } } }
        transaction.onCommit { self.signal.ring() }
    }

    public func lease(to owner: String, for duration: Duration) async throws -> OutboxEpoch? {
        let now = self.time.wallTime
        return self.state.withLock { state in
            let isLeased = state.isLeased(at: now)
            if isLeased, state.epoch?.owner != owner { return nil }
            let isRenewal = isLeased && state.epoch?.owner == owner
            let number = (state.epoch?.number ?? 0) + (isRenewal ? 0 : 1)
            let epoch = OutboxEpoch(owner: owner, number: number)
            state.epoch = epoch
            state.renewedAt = now
            state.expiresAt = now + duration
            return epoch
        }
    }

    public func release(_ epoch: OutboxEpoch) async throws {
        self.state.withLock { state in
            if state.epoch == epoch { state.expiresAt = Timestamp(microseconds: 0) }
        }
    }

    public func pending(limit: Int) async throws -> OutboxBatch {
        let now = self.time.wallTime
        return self.state.withLock { state in
            let (blocked, nextDue) = state.blocked(at: now)
            let rows = state.rows.lazy.filter { !blocked.contains($0.key) }.prefix(max(1, limit))
                .map { OutboxRow(id: $0.key, message: $0.value.message, failures: $0.value.failures) }
            return OutboxBatch(rows: Array(rows), nextDue: nextDue)
        }
    }

    public func record(sent: [Int64], failed: [OutboxFailure], under epoch: OutboxEpoch) async throws -> Bool {
        self.state.withLock { state in
            guard state.epoch == epoch else { return false }
            for id in sent { state.rows[id] = nil }
            for failure in failed {
                state.rows[failure.id]?.failures += 1
                state.rows[failure.id]?.reason = failure.reason
                state.rows[failure.id]?.nextTry = failure.nextTry
            }
            return true
        }
    }

    public func statistics() async throws -> OutboxStatistics {
        self.state.withLock { state in
            let worst = state.rows.values.max { $0.failures < $1.failures }
            return OutboxStatistics(
                pending: state.rows.count,
                blocked: state.blocked(at: nil).ids.count,
                oldest: state.rows.values.map(\.appendedAt).min(),
                worstFailure: worst?.reason
            )
        }
    }

    public func waitForAppend(after generation: UInt64, until instant: ContinuousClock.Instant?) async -> UInt64 {
        await self.signal.wait(after: generation, until: instant, on: self.time)
        return self.signal.generation
    }
}
