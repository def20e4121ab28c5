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
    mutating func restore(_ saved: Saved) {
        for node in saved.nodes {
            self.nodes[node.name] = node
            self.nodeIndexes[node.name] = node.modifyIndex
        }
        for service in saved.services where self.nodes[service.node] != nil {
            self.services[service.key] = service
            self.servicesOfNode[service.node, default: []].insert(service.id)
            self.names[service.lookupName, default: NameGroup()].members.insert(service.key)
        }
        for check in saved.checks where self.nodes[check.node] != nil {
            guard check.serviceID.isEmpty || self.services[check.serviceKey] != nil else { continue }
            self.checks[check.key] = check
            self.checksOfService[check.serviceKey, default: []].insert(check.id)
            if let followed = check.followed { self.followers[followed, default: []].insert(check.key) }
        }
        for entry in saved.entries { self.kv[entry.key] = entry }
        self.kvIndex = self.kv.isEmpty ? 0 : self.floor
        self.kvDeletionIndex = self.kvIndex
    }

    /// What belongs into this row now; `nil` when it is to be removed.
    func record(_ key: RecordKey) -> SavedRecord? {
        switch key {
        case .node(let name): self.nodes[name].map(SavedRecord.node)
        case .service(let key): self.services[key].map(SavedRecord.service)
        case .check(let key): self.checks[key].map(SavedRecord.check)
        case .kv(let key): self.kv[key].map(SavedRecord.entry)
        case .indexes: nil
        }
    }

    enum SavedRecord: Sendable {
        case node(NodeRecord)
        case service(ServiceRecord)
        case check(CheckRecord)
        case entry(KVRecord)
    }
}
