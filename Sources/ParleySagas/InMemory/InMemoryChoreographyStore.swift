public import ParleyCore
public import ParleyMessaging
internal import Synchronization

/// A ``ChoreographyStore`` in memory, with transactions of `InMemoryBackend`.
public final class InMemoryChoreographyStore: ChoreographyStore {
    private struct Key: Hashable {
        let type: String
        let id: String
    }

    private struct State {
        var instances: [Key: ChoreographyInstance] = [:]
        var messages: [Key: [String: Message]] = [:]
        var definitions: [String: String] = [:]
    }

    private let state = Mutex(State())

    public init() {}

    public func instance(
        _ id: String,
        of type: String,
        in transaction: any Transaction
    ) throws -> ChoreographyInstance? {
        _ = try InMemoryTransaction.require(transaction)
        return self.state.withLock { $0.instances[Key(type: type, id: id)] }
    }

    public func message(
        _ messageID: String,
        of instance: String,
        type: String,
        in transaction: any Transaction
    ) throws -> Message? {
        _ = try InMemoryTransaction.require(transaction)
        return self.state.withLock { $0.messages[Key(type: type, id: instance)]?[messageID] }
    }

    public func definition(_ fingerprint: String, in transaction: any Transaction) throws -> String? {
        _ = try InMemoryTransaction.require(transaction)
        return self.state.withLock { $0.definitions[fingerprint] }
    }

    public func write(_ change: ChoreographyChange, in transaction: any Transaction) throws {
        let transaction = try InMemoryTransaction.require(transaction)
        let key = Key(type: change.instance.type, id: change.instance.id)
        let before = self.state.withLock { state in
            let before = (state.instances[key], state.messages[key])
            state.instances[key] = change.instance
            if let message = change.added { state.messages[key, default: [:]][message.id] = message }
            state.definitions[change.instance.definition] = change.definition
            return before
        }
        transaction.onRollback {
            self.state.withLock { state in
                state.instances[key] = before.0
                state.messages[key] = before.1
            }
        }
    }

    public func instances(matching query: ChoreographyQuery) async throws -> [ChoreographyInstance] {
        self.state.withLock { state in
            let matching = state.instances.values.filter { instance in
                (query.id == nil || instance.id == query.id) && (query.type == nil || instance.type == query.type)
                    && (query.businessKey == nil || instance.businessKey == query.businessKey)
                    && (query.status == nil || instance.status == query.status)
            }
            let sorted = matching.sorted {
                (Self.rank($0), $0.createdAt, $0.id) < (Self.rank($1), $1.createdAt, $1.id)
            }
            return sorted.prefix(query.limit).map(Self.summary)
        }
    }

    public func due(at now: Timestamp, limit: Int) async throws -> ChoreographyDue {
        self.state.withLock { state in
            let waiting = state.instances.values.filter { $0.dueAt != nil }
                .sorted { ($0.dueAt ?? now, $0.id) < ($1.dueAt ?? now, $1.id) }
            let due = waiting.filter { $0.dueAt.map { $0 <= now } ?? false }.prefix(min(1_000, max(1, limit)))
            return ChoreographyDue(
                instances: due.map(Self.summary),
                next: waiting.first { $0.dueAt.map { $0 > now } ?? false }?.dueAt
            )
        }
    }

    public func forget(endedBefore time: Timestamp, limit: Int) async throws -> Int {
        try InMemoryTransaction.run { _ in
            self.state.withLock { state in
                let old = state.instances.filter { $0.value.status.isTerminal && $0.value.updatedAt < time }
                    .sorted { ($0.value.updatedAt, $0.key.id) < ($1.value.updatedAt, $1.key.id) }
                    .prefix(min(1_000, max(1, limit)))
                for (key, _) in old {
                    state.instances[key] = nil
                    state.messages[key] = nil
                }
                return old.count
            }
        }
    }

    private static func rank(_ instance: ChoreographyInstance) -> Int {
        switch instance.status {
        case .stuck: 0
        case .late: 1
        case .running, .completed, .failed: 2
        }
    }

    private static func summary(_ instance: ChoreographyInstance) -> ChoreographyInstance {
        var summary = instance
        summary.events = []
        summary.interventions = []
        return summary
    }
}
