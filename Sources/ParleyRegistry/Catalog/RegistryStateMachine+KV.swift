internal import ParleyCore

extension RegistryStateMachine {
    /// When a write of the key-value store is done.
    enum KVCondition: Sendable, Equatable {
        case always
        /// Only when the entry has this index; 0 when there must be none.
        case index(UInt64)
    }

    /// - Returns: `nil` for the effects when the condition did not hold.
    mutating func put(
        _ key: String,
        value: [UInt8],
        flags: UInt64,
        condition: KVCondition
    ) throws(Refusal) -> Effects? {
        let old = self.kv[key]
        if case .index(let wanted) = condition, (old?.modifyIndex ?? 0) != wanted { return nil }
        guard old != nil || self.kv.count < self.limits.maximumKeys else { throw .tooManyKeys }
        if let old, old.value == value, old.flags == flags { return Effects() }
        let bytes = self.kvBytes + value.count - (old?.value.count ?? -key.utf8.count)
        guard bytes <= self.limits.maximumKVBytes || bytes <= self.kvBytes else { throw .tooManyKVBytes }
        self.kvBytes = bytes
        var change = self.beginChange()
        var entry = old ?? KVRecord(key: key, value: value, createIndex: change.index)
        entry.value = value
        entry.flags = flags
        entry.modifyIndex = change.index
        self.kv[key] = entry
        change.topics.insert(.kv(key))
        // Its own key, which may be spelt otherwise.
        change.effects.dirty.insert(.kv(entry.key))
        return self.commit(change)
    }

    /// - Returns: `nil` when the condition did not hold. Deleting what is not there is done already.
    mutating func delete(_ key: String, condition: KVCondition) -> Effects? {
        if case .index(let wanted) = condition, self.kv[key]?.modifyIndex ?? 0 != wanted {
            return self.kv[key] == nil ? Effects() : nil
        }
        return self.delete(self.kv[key] == nil ? [] : [key])
    }

    mutating func deleteAll(prefix: String) -> Effects {
        self.delete(self.kv.keys.filter { $0.hasPrefix(prefix) })
    }

    private mutating func delete(_ keys: [String]) -> Effects {
        var change = self.beginChange()
        for key in keys {
            guard let entry = self.kv.removeValue(forKey: key) else { continue }
            self.kvBytes -= entry.key.utf8.count + entry.value.count
            change.topics.insert(.kv(key))
            change.effects.dirty.insert(.kv(entry.key))
        }
        if !keys.isEmpty { self.kvDeletionIndex = change.index }
        return self.commit(change)
    }

    /// By key.
    func entries(prefix: String) -> [KVRecord] {
        self.kv.values.filter { $0.key.hasPrefix(prefix) }.sorted { $0.key < $1.key }
    }

    /// What was deleted has no index of its own any more, so any deletion counts for every prefix.
    func kvIndex(ofPrefix prefix: String) -> UInt64 {
        self.kv.values.lazy.filter { $0.key.hasPrefix(prefix) }.map(\.modifyIndex).max()
            .map { max($0, self.kvDeletionIndex) } ?? self.kvIndex
    }
}
