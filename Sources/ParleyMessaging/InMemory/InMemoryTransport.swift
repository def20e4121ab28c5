public import ParleyCore
internal import Synchronization

/// A ``MessageTransport`` in the memory of one process.
///
/// Unbounded by itself, because a publisher cannot wait for a consumer in the same process without a deadlock: up to
/// ``maximumMessages`` messages may be waiting, then ``publish(_:)`` throws `unavailable`.
public final class InMemoryTransport: MessageTransport {
    /// How many messages may wait in all groups together.
    public static let maximumMessages = 1_000_000

    private struct State {
        var queues: [String: LaneQueue<Void>] = [:]
        var letters: [DeadLetter] = []
        var nextSequence: Int64 = 1
        var nextHolder: UInt64 = 1
        var nextLetter: Int64 = 1

        mutating func bury(_ message: Message, group: String, reason: String, attempts: Int, at time: Timestamp) {
            self.letters.append(
                DeadLetter(
                    id: self.nextLetter,
                    group: group,
                    message: message,
                    reason: reason,
                    attempts: attempts,
                    diedAt: time
                )
            )
            self.nextLetter += 1
        }
    }

    private let state = Mutex(State())
    private let signal = Signal()
    private let time: any TimeSource

    public init(time: any TimeSource = SystemTimeSource()) {
        self.time = time
    }

    public var capabilities: TransportCapabilities {
        TransportCapabilities(
            isDurable: false,
            isSharedBetweenProcesses: false,
            maximumMessageBytes: 8 * 1_024 * 1_024
        )
    }

    public var deadLetters: any DeadLetterStore { self }

    public func declare(_ group: ConsumerGroup) async throws {
        self.state.withLock { state in
            if state.queues[group.name] == nil {
                state.queues[group.name] = LaneQueue(group: group)
            } else {
                state.queues[group.name]?.redeclare(group)
            }
        }
    }

    public func publish(_ messages: [Message]) async throws {
        let limit = self.capabilities.maximumMessageBytes
        let now = self.time.wallTime
        for message in messages { try message.validate(maximumBytes: limit) }
        try self.state.withLock { state in
            let waiting = state.queues.values.reduce(0) { $0 + $1.entries.count }
            guard waiting + messages.count * max(1, state.queues.count) <= Self.maximumMessages else {
                throw MessagingError(
                    .unavailable,
                    "\(waiting) messages wait in memory, no more fit; consume faster or use a durable bus",
                    retry: .notSent
                )
            }
            // An array of its own: with the dictionary's view at hand, each append would copy the whole queue.
            let names = Array(state.queues.keys)
            for message in messages {
                for name in names where state.queues[name]?.group.takes(topic: message.topic) == true {
                    state.queues[name]?.append(
                        message,
                        (),
                        sequence: state.nextSequence,
                        publishedAt: now
                    )
                }
                state.nextSequence += 1
            }
        }
        self.signal.ring()
    }

    public func withSubscription<Value>(
        to group: String,
        prefetch: Int,
        _ body: (DeliverySequence) async throws -> Value
    ) async throws -> Value {
        let holder: UInt64? = self.state.withLock { state in
            guard state.queues[group] != nil else { return nil }
            state.nextHolder += 1
            return state.nextHolder
        }
        guard let holder else {
            throw MessagingError(
                .unknownGroup,
                "no consumer group '\(group)'; declare it before subscribing",
                retry: .permanent
            )
        }
        defer {
            self.state.withLock { $0.queues[group]?.release(holder: holder) }
            self.signal.ring()
        }
        let prefetch = min(1_000, max(1, prefetch))
        return try await body(
            DeliverySequence { [self] in
                while true {
                    let generation = self.signal.generation
                    let (delivery, nextDue) = self.take(from: group, holder: holder, prefetch: prefetch)
                    if let delivery { return delivery }
                    try Task.checkCancellation()
                    let instant = nextDue.map { self.time.instant(of: $0) }
                    await self.signal.wait(after: generation, until: instant, on: self.time)
                    try Task.checkCancellation()
                }
            }
        )
    }

    private func take(from group: String, holder: UInt64, prefetch: Int) -> (Delivery?, nextDue: Timestamp?) {
        let now = self.time.wallTime
        return self.state.withLock { state in
            guard state.queues[group]?.held[holder] ?? 0 < prefetch else { return (nil, nil) }
            while true {
                switch state.queues[group]?.take(holder: holder, now: now) {
                case .delivery(let delivery): return (delivery, nil)
                case .nothing(let nextDue): return (nil, nextDue)
                case nil: return (nil, nil)
                case .exhausted(let entry):
                    state.bury(
                        entry.message,
                        group: group,
                        reason: LaneQueue<Void>.neverSettled(entry.attempts),
                        attempts: entry.attempts,
                        at: now
                    )
                }
            }
        }
    }

    public func settle(_ delivery: Delivery.ID, _ settlement: Settlement) async throws {
        let now = self.time.wallTime
        let result = self.state.withLock { state in
            let entry = state.queues[delivery.group]?.entries[delivery.sequence]
            let result = state.queues[delivery.group]?.settle(delivery, settlement, now: now) ?? .leaseLost
            if case .deadLettered(let reason) = result, let entry {
                state.bury(
                    entry.message,
                    group: delivery.group,
                    reason: reason,
                    attempts: entry.attempts,
                    at: now
                )
            }
            return result
        }
        if result == .leaseLost {
            throw MessagingError(
                .leaseLost,
                "delivery \(delivery.sequence) of group '\(delivery.group)' is no longer this consumer's",
                retry: .permanent
            )
        }
        self.signal.ring()
    }

    public func statistics() async throws -> [GroupStatistics] {
        self.state.withLock { state in
            state.queues.values
                .map { queue in
                    queue.statistics(deadLettered: state.letters.count { $0.group == queue.group.name })
                }
                .sorted { $0.group < $1.group }
        }
    }
}

extension InMemoryTransport: DeadLetterStore {
    public func list(group: String?, after: Int64, limit: Int) async throws -> [DeadLetter] {
        self.state.withLock { state in
            Array(
                state.letters.lazy.filter { $0.id > after && (group == nil || $0.group == group) }
                    .prefix(min(1_000, max(1, limit)))
            )
        }
    }

    public func replay(_ ids: [Int64]) async throws -> Int {
        let now = self.time.wallTime
        let count = self.state.withLock { state in
            let chosen = state.letters.filter { ids.contains($0.id) && state.queues[$0.group] != nil }
            for letter in chosen {
                state.queues[letter.group]?.append(
                    letter.message,
                    (),
                    sequence: state.nextSequence,
                    publishedAt: now
                )
                state.nextSequence += 1
                state.letters.removeAll { $0.id == letter.id }
            }
            return chosen.count
        }
        self.signal.ring()
        return count
    }

    public func discard(_ ids: [Int64]) async throws -> Int {
        self.state.withLock { state in
            let before = state.letters.count
            state.letters.removeAll { ids.contains($0.id) }
            return before - state.letters.count
        }
    }
}
