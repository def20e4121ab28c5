internal import DequeModule
internal import HeapModule
internal import ParleyCore

/// The messages of one consumer group, as a value: who may have which message when. No clock, no tasks.
///
/// A message is *waiting* behind another one of its key, *ready*, *delayed* until a time, or *held* by a subscription.
struct InMemoryQueue {
    struct Entry {
        let message: Message
        let publishedAt: Timestamp
        var attempts = 0
        /// Names the latest hand-out, so that a settlement of an earlier one is refused.
        var token: Int64 = 0
        var holder: UInt64?
    }

    enum SettleResult: Equatable {
        case done
        case deadLettered(reason: String)
        case leaseLost
    }

    private struct Delayed: Comparable {
        let due: Timestamp
        let sequence: Int64
        static func < (lhs: Delayed, rhs: Delayed) -> Bool { (lhs.due, lhs.sequence) < (rhs.due, rhs.sequence) }
    }

    private(set) var group: ConsumerGroup
    private(set) var entries: [Int64: Entry] = [:]
    private var ready: Heap<Int64> = []
    private var delayed: Heap<Delayed> = []
    private var lanes: [String: Deque<Int64>] = [:]
    private var nextToken: Int64 = 1
    /// How many messages each subscription holds.
    private(set) var held: [UInt64: Int] = [:]

    init(group: ConsumerGroup) {
        self.group = group
    }

    mutating func redeclare(_ group: ConsumerGroup) { self.group = group }

    mutating func append(_ message: Message, sequence: Int64, now: Timestamp) {
        self.entries[sequence] = Entry(message: message, publishedAt: now)
        guard let key = message.key else {
            self.ready.insert(sequence)
            return
        }
        self.lanes[key, default: []].append(sequence)
        if self.lanes[key]?.count == 1 { self.ready.insert(sequence) }
    }

    /// Hands out the oldest message that may be delivered, or says that it has had its chances.
    mutating func take(holder: UInt64, now: Timestamp) -> TakeResult {
        while let first = self.delayed.min, first.due <= now {
            self.delayed.removeMin()
            self.ready.insert(first.sequence)
        }
        guard let sequence = self.ready.popMin(), var entry = self.entries[sequence] else {
            return .nothing(nextDue: self.delayed.min?.due)
        }
        if entry.attempts >= self.group.maximumDeliveries {
            self.remove(sequence)
            return .exhausted(entry)
        }
        entry.attempts += 1
        entry.token = self.nextToken
        entry.holder = holder
        self.nextToken += 1
        self.entries[sequence] = entry
        self.held[holder, default: 0] += 1
        return .delivery(
            Delivery(
                id: Delivery.ID(group: self.group.name, sequence: sequence, token: entry.token),
                message: entry.message,
                attempt: entry.attempts,
                isLastAttempt: entry.attempts >= self.group.maximumDeliveries
            )
        )
    }

    enum TakeResult {
        case delivery(Delivery)
        case exhausted(Entry)
        case nothing(nextDue: Timestamp?)
    }

    mutating func settle(_ id: Delivery.ID, _ settlement: Settlement, now: Timestamp) -> SettleResult {
        guard var entry = self.entries[id.sequence], let holder = entry.holder, entry.token == id.token else {
            return .leaseLost
        }
        self.held[holder, default: 1] -= 1
        switch settlement {
        case .ack:
            self.remove(id.sequence)
            return .done
        case .deadLetter(let reason):
            self.remove(id.sequence)
            return .deadLettered(reason: reason)
        case .retry(let wait):
            if entry.attempts >= self.group.maximumDeliveries {
                self.remove(id.sequence)
                return .deadLettered(reason: "not handled in delivery \(entry.attempts), the last one")
            }
            entry.holder = nil
            self.entries[id.sequence] = entry
            self.delayed.insert(Delayed(due: now + max(.zero, wait), sequence: id.sequence))
            return .done
        }
    }

    /// Takes back what a subscription that ended still holds.
    mutating func release(holder: UInt64) {
        guard self.held.removeValue(forKey: holder) ?? 0 > 0 else { return }
        for (sequence, entry) in self.entries where entry.holder == holder {
            self.entries[sequence]?.holder = nil
            self.ready.insert(sequence)
        }
    }

    func statistics(deadLettered: Int) -> GroupStatistics {
        let held = self.held.values.reduce(0, +)
        return GroupStatistics(
            group: self.group.name,
            ready: self.entries.count - held - self.delayed.count,
            delayed: self.delayed.count,
            unacknowledged: held,
            deadLettered: deadLettered,
            oldest: self.entries.values.map(\.publishedAt).min()
        )
    }

    private mutating func remove(_ sequence: Int64) {
        guard let entry = self.entries.removeValue(forKey: sequence), let key = entry.message.key else { return }
        self.lanes[key]?.removeFirst()
        if let next = self.lanes[key]?.first {
            self.ready.insert(next)
        } else {
            self.lanes[key] = nil
        }
    }
}
