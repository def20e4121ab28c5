internal import ParleyCore

extension RegistryStateMachine {
    /// Why a change was not made.
    enum Refusal: Error, Equatable {
        case tooManyServices, tooManyChecks, tooManyNodes, tooManyKeys, tooManyKVBytes
        case tooManyChecksOfService(String)
        case noSuchService(String)
        case noSuchNode(String)
    }

    /// Makes a node known, or replaces what is known about it.
    mutating func setNode(_ node: NodeRecord) throws(Refusal) -> Effects {
        try self.checkRoom(node: node.name, service: nil, checks: [])
        var change = self.beginChange()
        self.setNode(node, &change)
        return self.commit(change)
    }

    /// Asked before the first change, so that nothing is half done when there is none.
    private func checkRoom(node: String, service: NodeItemKey?, checks: [CheckRecord]) throws(Refusal) {
        guard self.nodes[node] != nil || self.nodes.count < self.limits.maximumNodes else { throw .tooManyNodes }
        if let service, self.services[service] == nil, self.services.count >= self.limits.maximumServices {
            throw .tooManyServices
        }
        let added = checks.count { self.checks[$0.key] == nil }
        guard added == 0 || self.checks.count + added <= self.limits.maximumChecks else { throw .tooManyChecks }
    }

    /// Counts what is there already; a check that moves here from another service counts as new.
    func checkRoom(ofService service: NodeItemKey, _ checks: [CheckRecord]) throws(Refusal) {
        guard !service.id.isEmpty else { return }
        let known = self.checksOfService[service] ?? []
        // Who is full must be able to leave.
        let added = Set(checks.lazy.filter { $0.type != "maintenance" && !known.contains($0.id) }.map(\.id)).count
        guard added == 0 || known.count + added <= self.limits.maximumChecksPerService else {
            throw .tooManyChecksOfService(service.id)
        }
    }

    private mutating func setNode(_ node: NodeRecord, _ change: inout Change) {
        var node = node
        if let old = self.nodes[node.name] {
            // The first spelling stays: its row on disk is the one that is replaced.
            node.name = old.name
            node.createIndex = old.createIndex
            node.modifyIndex = old.modifyIndex
            guard node != old else { return }
        } else {
            node.createIndex = change.index
        }
        node.modifyIndex = change.index
        self.unlist(self.nodes[node.name])
        self.list(node)
        self.nodes[node.name] = node
        change.effects.dirty.insert(.node(node.name))
        change.topics.formUnion([.nodes, .node(node.name)])
        self.touchServices(ofNode: node.name, &change)
    }

    /// Each answer about a service shows its node, so a change of the node is one of all its services.
    func touchServices(ofNode node: String, _ change: inout Change) {
        for id in self.servicesOfNode[node] ?? [] {
            guard let service = self.services[NodeItemKey(node: node, id: id)] else { continue }
            change.topics.insert(.service(service.lookupName))
        }
    }

    /// Registers a service with its checks, all in one change.
    ///
    /// The same again changes nothing and wakes nobody. A check that is known keeps its status and output; checks that
    /// are not mentioned stay, unless `replacingChecks`.
    mutating func register(
        _ service: ServiceRecord,
        checks: [CheckRecord],
        replacingChecks: Bool = false
    ) throws(Refusal) -> Effects {
        guard self.nodes[service.node] != nil else { throw .noSuchNode(service.node) }
        try self.checkRoom(node: service.node, service: service.key, checks: checks)
        if !replacingChecks { try self.checkRoom(ofService: service.key, checks) }
        var change = self.beginChange()
        self.setService(service, &change)
        for check in checks { self.setCheck(check, &change) }
        if replacingChecks {
            let kept = Set(checks.map(\.id))
            for id in self.checksOfService[service.key] ?? [] where !kept.contains(id) {
                self.removeCheck(NodeItemKey(node: service.node, id: id), &change)
            }
        }
        return self.commit(change)
    }

    /// Registers what no agent looks after, all in one change: the status of a check is what its registration says.
    ///
    /// - Parameter node: `nil` leaves the node as it is.
    mutating func registerInCatalog(
        nodeName: String,
        node: NodeRecord?,
        service: ServiceRecord?,
        checks: [CheckRecord]
    ) throws(Refusal) -> Effects {
        guard node != nil || self.nodes[nodeName] != nil else { throw .noSuchNode(nodeName) }
        try self.checkRoom(node: nodeName, service: service?.key, checks: checks)
        for check in checks where !check.serviceID.isEmpty {
            guard check.serviceKey == service?.key || self.services[check.serviceKey] != nil else {
                throw .noSuchService(check.serviceID)
            }
        }
        for (key, checks) in Dictionary(grouping: checks, by: \.serviceKey) {
            try self.checkRoom(ofService: key, checks)
        }
        var change = self.beginChange()
        if let node { self.setNode(node, &change) }
        if let service { self.setService(service, &change) }
        for check in checks {
            self.setCheck(check, &change)
            self.update(check.key, status: check.status, output: check.output, &change)
        }
        return self.commit(change)
    }

    private mutating func setService(_ service: ServiceRecord, _ change: inout Change) {
        var service = service
        let old = self.services[service.key]
        if let old {
            guard !service.isSame(as: old) else { return }
            service.node = old.node
            service.id = old.id
            service.createIndex = old.createIndex
            if old.lookupName != service.lookupName { self.leaveGroup(old, &change) }
        } else {
            service.createIndex = change.index
        }
        service.modifyIndex = change.index
        self.unlist(old)
        self.list(service)
        self.services[service.key] = service
        self.servicesOfNode[service.node, default: []].insert(service.id)
        self.names[service.lookupName, default: NameGroup()].members.insert(service.key)
        change.effects.dirty.insert(.service(service.key))
        change.judged.insert(service.key)
        change.topics.formUnion([.service(service.lookupName), .node(service.node)])
        guard let old else {
            change.topics.insert(.services)
            return
        }
        guard old.name != service.name || old.tags != service.tags else { return }
        // The list of services shows names and tags, and nothing else of them.
        change.topics.insert(.services)
        for id in self.checksOfService[service.key] ?? [] {
            guard var check = self.checks[NodeItemKey(node: service.node, id: id)] else { continue }
            check.serviceName = service.name
            check.serviceTags = service.tags
            check.modifyIndex = change.index
            self.checks[check.key] = check
            change.effects.dirty.insert(.check(check.key))
            // Those who ask about checks see both.
            change.topics.insert(.checks)
        }
    }

    private mutating func leaveGroup(_ service: ServiceRecord, _ change: inout Change) {
        let name = service.lookupName
        self.names[name]?.members.remove(service.key)
        change.topics.insert(.service(name))
        guard self.names[name]?.members.isEmpty == true else { return }
        self.names[name] = nil
        self.extinction = change.index
    }

    /// Forgets a service and its checks; does nothing when there is none.
    mutating func deregister(_ key: NodeItemKey) -> Effects {
        var change = self.beginChange()
        self.removeService(key, &change)
        return self.commit(change)
    }

    private mutating func removeService(_ key: NodeItemKey, _ change: inout Change) {
        guard let service = self.services[key] else { return }
        for id in self.checksOfService[key] ?? [] { self.removeCheck(NodeItemKey(node: key.node, id: id), &change) }
        self.unlist(service)
        self.services[key] = nil
        self.servicesOfNode[key.node]?.remove(key.id)
        self.leaveGroup(service, &change)
        change.effects.dirty.insert(.service(service.key))
        change.judged.insert(key)
        change.topics.formUnion([.services, .node(key.node)])
    }

    /// Forgets a node and all that is on it. The local node stays: it is this registry.
    mutating func deregisterNode(_ name: String) -> Effects {
        guard name != self.localNode, let node = self.nodes[name] else { return Effects() }
        var change = self.beginChange()
        for id in self.servicesOfNode[name] ?? [] { self.removeService(NodeItemKey(node: name, id: id), &change) }
        for id in self.checksOfService[NodeItemKey(node: name, id: "")] ?? [] {
            self.removeCheck(NodeItemKey(node: name, id: id), &change)
        }
        self.unlist(self.nodes[name])
        self.nodes[name] = nil
        self.servicesOfNode[name] = nil
        self.nodeIndexes[name] = nil
        change.effects.dirty.insert(.node(node.name))
        change.topics.formUnion([.nodes, .node(name)])
        return self.commit(change)
    }
}
