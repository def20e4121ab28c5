internal import DequeModule
internal import HeapModule
package import ParleyCore

/// The messages of one consumer group that a process knows of, as a value: who may have which message when. No clock,
/// no tasks.
///
/// A message is *waiting* behind another one of its key, *ready*, *delayed* until a time, or *held* by a subscription.
package struct LaneQueue<Payload: Sendable>: Sendable {
    package struct Entry: Sendable {
        package let message: Message
        /// What the transport has to remember about it.
        package let payload: Payload
        package let publishedAt: Timestamp
        /// How often it has been handed out.
        package var attempts: Int
        /// Names the latest hand-out, so that a settlement of an earlier one is refused.
        var token: Int64 = 0
        package internal(set) var holder: UInt64?
        /// Not before this time.
        package internal(set) var due: Timestamp?
    }

    package enum SettleResult: Equatable {
        case done
        case deadLettered(reason: String)
        case leaseLost
    }

    package enum TakeResult {
        case delivery(Delivery)
        case exhausted(Entry)
        case nothing(nextDue: Timestamp?)
    }

    private struct Delayed: Comparable {
        let due: Timestamp
        let sequence: Int64
        static func < (lhs: Delayed, rhs: Delayed) -> Bool { (lhs.due, lhs.sequence) < (rhs.due, rhs.sequence) }
    }

    package private(set) var group: ConsumerGroup
    package private(set) var entries: [Int64: Entry] = [:]
    /// Both heaps may name messages that have gone; they are skipped when their turn comes.
    private var ready: Heap<Int64> = []
    private var delayed: Heap<Delayed> = []
    private var lanes: [String: Deque<Int64>] = [:]
    private var nextToken: Int64 = 1
    /// How many messages each subscription holds.
    package private(set) var held: [UInt64: Int] = [:]

    package init(group: ConsumerGroup) {
        self.group = group
    }

    package mutating func redeclare(_ group: ConsumerGroup) { self.group = group }

    /// - Parameters:
    ///   - sequence: Its place in the order; rises from message to message.
    ///   - attempts: How often it has been handed out before it came here.
    ///   - due: Not before this time.
    package mutating func append(
        _ message: Message,
        _ payload: Payload,
        sequence: Int64,
        publishedAt: Timestamp,
        attempts: Int = 0,
        due: Timestamp? = nil
    ) {
        self.entries[sequence] = Entry(
            message: message,
            payload: payload,
            publishedAt: publishedAt,
            attempts: attempts,
            due: due
        )
        guard let key = message.key else {
            self.enqueue(sequence)
            return
        }
        self.lanes[key, default: []].append(sequence)
        if self.lanes[key]?.count == 1 { self.enqueue(sequence) }
    }

    /// Hands out the oldest message that may be delivered, or says that it has had its chances.
    package mutating func take(holder: UInt64, now: Timestamp) -> TakeResult {
        while let first = self.delayed.min, first.due <= now || self.entries[first.sequence]?.due != first.due {
            self.delayed.removeMin()
            guard self.entries[first.sequence]?.due == first.due else { continue }
            self.entries[first.sequence]?.due = nil
            self.ready.insert(first.sequence)
        }
        while let sequence = self.ready.popMin() {
            guard var entry = self.entries[sequence] else { continue }
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
        return .nothing(nextDue: self.delayed.min?.due)
    }

    /// Takes back a hand-out that nobody has received: it does not count.
    package mutating func untake(_ id: Delivery.ID) {
        guard let entry = self.holding(id), let holder = entry.holder else { return }
        self.held[holder, default: 1] -= 1
        self.entries[id.sequence]?.holder = nil
        self.entries[id.sequence]?.attempts -= 1
        self.ready.insert(id.sequence)
    }

    /// Takes back a hand-out that came to nothing: it does not count, and comes again at `due`.
    package mutating func postpone(_ id: Delivery.ID, until due: Timestamp) {
        guard let entry = self.holding(id), let holder = entry.holder else { return }
        self.held[holder, default: 1] -= 1
        self.entries[id.sequence]?.holder = nil
        self.entries[id.sequence]?.attempts -= 1
        self.entries[id.sequence]?.due = due
        self.enqueue(id.sequence)
    }

    /// How many cannot be handed out because they wait for a time, or behind one that does.
    package var waitingForTime: Int {
        let alone = self.entries.values.count { $0.message.key == nil && $0.due != nil && $0.holder == nil }
        return self.lanes.values.reduce(alone) { count, lane in
            guard let first = lane.first.flatMap({ self.entries[$0] }), first.due != nil, first.holder == nil else {
                return count
            }
            return count + lane.count
        }
    }

    /// The message of this hand-out, if it is still the latest and not settled.
    package func holding(_ id: Delivery.ID) -> Entry? {
        guard let entry = self.entries[id.sequence], entry.holder != nil, entry.token == id.token else { return nil }
        return entry
    }

    package mutating func settle(_ id: Delivery.ID, _ settlement: Settlement, now: Timestamp) -> SettleResult {
        guard let entry = self.holding(id), let holder = entry.holder else { return .leaseLost }
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
                return .deadLettered(reason: Self.lastDelivery(entry.attempts))
            }
            self.held[holder, default: 1] -= 1
            self.entries[id.sequence]?.holder = nil
            self.entries[id.sequence]?.due = now + max(.zero, wait)
            self.enqueue(id.sequence)
            return .done
        }
    }

    package static func lastDelivery(_ attempts: Int) -> String {
        "not handled in delivery \(attempts), the last one"
    }

    package static func neverSettled(_ attempts: Int) -> String { "delivered \(attempts) times and never settled" }

    /// Takes back what a subscription that ended still holds.
    package mutating func release(holder: UInt64) {
        guard self.held.removeValue(forKey: holder) ?? 0 > 0 else { return }
        for (sequence, entry) in self.entries where entry.holder == holder {
            self.entries[sequence]?.holder = nil
            self.ready.insert(sequence)
        }
    }

    package mutating func remove(_ sequence: Int64) {
        guard let entry = self.entries.removeValue(forKey: sequence) else { return }
        if let holder = entry.holder { self.held[holder, default: 1] -= 1 }
        guard let key = entry.message.key, var lane = self.lanes.removeValue(forKey: key) else { return }
        let wasFirst = lane.first == sequence
        if wasFirst { lane.removeFirst() } else { lane.removeAll { $0 == sequence } }
        guard let next = lane.first else { return }
        self.lanes[key] = lane
        if wasFirst { self.enqueue(next) }
    }

    package func statistics(deadLettered: Int) -> GroupStatistics {
        let held = self.held.values.reduce(0, +)
        // What waits behind another one of its key is ready, whatever it waited for before.
        let delayed = self.entries.values.count { $0.due != nil && $0.holder == nil }
        return GroupStatistics(
            group: self.group.name,
            ready: self.entries.count - held - delayed,
            delayed: delayed,
            unacknowledged: held,
            deadLettered: deadLettered,
            oldest: self.entries.values.map(\.publishedAt).min()
        )
    }

    private mutating func enqueue(_ sequence: Int64) {
        if let due = self.entries[sequence]?.due {
            self.delayed.insert(Delayed(due: due, sequence: sequence))
        } else {
            self.ready.insert(sequence)
        }
    }
}
