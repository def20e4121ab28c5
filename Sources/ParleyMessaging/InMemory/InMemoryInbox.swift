internal import OrderedCollections
public import ParleyCore
internal import Synchronization

/// An ``Inbox`` in memory.
public final class InMemoryInbox: Inbox {
    /// For each consumer the admitted ids, oldest first, and when.
    private let seen = Mutex<[String: OrderedDictionary<String, Timestamp>]>([:])
    private let time: any TimeSource

    public init(time: any TimeSource = SystemTimeSource()) {
        self.time = time
    }

    public func admit(_ messageID: String, to consumer: String, in transaction: any Transaction) throws -> Bool {
        let transaction = try InMemoryTransaction.require(transaction)
        let now = self.time.wallTime
        let isNew = self.seen.withLock { seen in
            guard seen[consumer]?[messageID] == nil else { return false }
            // Never earlier than the one before: when the calendar has jumped back, the newest must not look old.
            seen[consumer, default: [:]][messageID] = max(now, seen[consumer]?.values.last ?? now)
            return true
        }
        if isNew { transaction.onRollback { self.seen.withLock { $0[consumer]?[messageID] = nil } } }
        return isNew
    }

    public func purge(consumer: String, window: Duration, keep: Int) async throws -> Int {
        self.seen.withLock { seen in
            guard var ids = seen[consumer], let newest = ids.values.last else { return 0 }
            let candidates = ids.count - max(0, keep)
            guard candidates > 0 else { return 0 }
            let before = ids.count
            let old = ids.prefix(candidates).filter { newest - $0.value > window }.map(\.key)
            for id in old { ids[id] = nil }
            seen[consumer] = ids
            return before - ids.count
        }
    }
}
