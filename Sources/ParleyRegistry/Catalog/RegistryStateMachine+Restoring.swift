internal import ParleyCore

extension RegistryStateMachine {
    /// What was on disk when the registry began.
    struct Saved: Sendable {
        var nodes: [NodeRecord] = []
        var services: [ServiceRecord] = []
        var checks: [CheckRecord] = []
        var entries: [KVRecord] = []
    }

    /// Takes over what was known before. What does not fit together (a service without its node) is left out.
    ///
    /// - Returns: The rows of what has another row as well, under another spelling of its name: the newer one counts,
    ///   and the others are to be removed, or they would come back when it goes.
    @discardableResult
    mutating func restore(_ saved: Saved) -> Effects {
        var effects = Effects()
        var saved = saved
        // The newest comes last and replaces the others.
        saved.nodes.sort { $0.modifyIndex < $1.modifyIndex }
        saved.services.sort { $0.modifyIndex < $1.modifyIndex }
        saved.checks.sort { $0.modifyIndex < $1.modifyIndex }
        saved.entries.sort { $0.modifyIndex < $1.modifyIndex }
        for node in saved.nodes {
            if let old = self.nodes[node.name] {
                effects.dirty.insert(.node(old.name))
                self.unlist(old)
            }
            self.nodes[node.name] = node
            self.list(node)
            self.nodeIndexes[node.name] = node.modifyIndex
        }
        for service in saved.services where self.nodes[service.node] != nil {
            if let old = self.services[service.key] {
                effects.dirty.insert(.service(old.key))
                self.unlist(old)
                self.names[old.lookupName]?.members.remove(old.key)
                if self.names[old.lookupName]?.members.isEmpty == true { self.names[old.lookupName] = nil }
            }
            self.services[service.key] = service
            self.list(service)
            self.servicesOfNode[service.node, default: []].insert(service.id)
            self.names[service.lookupName, default: NameGroup()].members.insert(service.key)
        }
        for check in saved.checks where self.nodes[check.node] != nil {
            guard check.serviceID.isEmpty || self.services[check.serviceKey] != nil else { continue }
            if let old = self.checks[check.key] {
                effects.dirty.insert(.check(old.key))
                self.unfollow(old)
                self.checksOfService[old.serviceKey]?.remove(old.id)
            }
            self.checks[check.key] = check
            self.checksOfService[check.serviceKey, default: []].insert(check.id)
            if let followed = check.followed { self.followers[followed, default: []].insert(check.key) }
        }
        for entry in saved.entries {
            if let old = self.kv[entry.key] { effects.dirty.insert(.kv(old.key)) }
            self.kv[entry.key] = entry
        }
        self.kvBytes = self.kv.values.reduce(0) { $0 + $1.key.utf8.count + $1.value.count }
        self.kvIndex = self.kv.isEmpty ? 0 : self.floor
        self.kvDeletionIndex = self.kvIndex
        return effects
    }

    /// What belongs into this row now; `nil` when it is to be removed.
    func record(_ key: RecordKey) -> SavedRecord? {
        let found: SavedRecord? =
            switch key {
            case .node(let name): self.nodes[name].map(SavedRecord.node)
            case .service(let key): self.services[key].map(SavedRecord.service)
            case .check(let key): self.checks[key].map(SavedRecord.check)
            case .kv(let key): self.kv[key].map(SavedRecord.entry)
            case .indexes: nil
            }
        // What is known under another spelling has a row of its own.
        return found?.key == key ? found : nil
    }

    enum SavedRecord: Sendable {
        case node(NodeRecord)
        case service(ServiceRecord)
        case check(CheckRecord)
        case entry(KVRecord)

        var key: RecordKey {
            switch self {
            case .node(let record): .node(record.name)
            case .service(let record): .service(record.key)
            case .check(let record): .check(record.key)
            case .entry(let record): .kv(record.key)
            }
        }
    }
}
