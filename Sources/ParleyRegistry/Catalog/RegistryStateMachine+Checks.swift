internal import ParleyCore

extension RegistryStateMachine {
    /// Registers one check of a service or of the node.
    mutating func register(_ check: CheckRecord) throws(Refusal) -> Effects {
        guard self.nodes[check.node] != nil else { throw .noSuchNode(check.node) }
        if !check.serviceID.isEmpty, self.services[check.serviceKey] == nil { throw .noSuchService(check.serviceID) }
        try self.checkRoom(ofService: check.serviceKey, [check])
        if self.checks[check.key] == nil, self.checks.count >= self.limits.maximumChecks { throw .tooManyChecks }
        var change = self.beginChange()
        self.setCheck(check, &change)
        return self.commit(change)
    }

    /// What is known about a check stays: status and output belong to what is checked, not to its registration.
    mutating func setCheck(_ check: CheckRecord, _ change: inout Change) {
        var check = check
        if let service = self.services[check.serviceKey] {
            check.serviceName = service.name
            check.serviceTags = service.tags
        }
        let old = self.checks[check.key]
        if let old {
            // The first spelling stays: its row on disk is the one that is replaced.
            check.node = old.node
            check.id = old.id
            check.status = old.status
            check.output = old.output
            check.createIndex = old.createIndex
            check.modifyIndex = old.modifyIndex
            if old.serviceID != check.serviceID { self.checksOfService[old.serviceKey]?.remove(old.id) }
        } else {
            check.createIndex = change.index
        }
        if check.plan == nil {
            if old?.plan != nil { change.effects.unplanned.insert(check.key) }
        } else if old?.plan != check.plan || check.plan?.probe == .ttl {
            // A sign of life is good for its time from the registration on.
            change.effects.planned.insert(check.key)
        }
        self.unfollow(old)
        if let followed = check.followed {
            self.followers[followed, default: []].insert(check.key)
            change.judged.insert(followed)
        }
        self.checksOfService[check.serviceKey, default: []].insert(check.id)
        let isVisible = old.map { !check.isSame(as: $0) } ?? true
        if isVisible {
            check.modifyIndex = change.index
            self.touch(check, &change)
            if let old, old.serviceID != check.serviceID { self.touch(old, &change) }
        }
        guard check != old else { return }
        self.checks[check.key] = check
        change.effects.dirty.insert(.check(check.key))
    }

    /// Who sees a change of this check.
    private func touch(_ check: CheckRecord, _ change: inout Change) {
        change.topics.formUnion([.checks, .node(check.node)])
        change.judged.insert(check.serviceKey)
        if check.serviceID.isEmpty {
            self.touchServices(ofNode: check.node, &change)
        } else if let service = self.services[check.serviceKey] {
            change.topics.insert(.service(service.lookupName))
        }
    }

    mutating func deregisterCheck(_ key: NodeItemKey) -> Effects {
        var change = self.beginChange()
        self.removeCheck(key, &change)
        return self.commit(change)
    }

    mutating func removeCheck(_ key: NodeItemKey, _ change: inout Change) {
        guard let check = self.checks.removeValue(forKey: key) else { return }
        self.unfollow(check)
        self.checksOfService[check.serviceKey]?.remove(key.id)
        if self.checksOfService[check.serviceKey]?.isEmpty == true { self.checksOfService[check.serviceKey] = nil }
        if check.plan != nil { change.effects.unplanned.insert(key) }
        change.effects.dirty.insert(.check(check.key))
        self.touch(check, &change)
    }

    /// Notes what a check has found. Only another status takes an index and wakes; another output alone is shown from
    /// now on and wakes nobody.
    mutating func update(_ key: NodeItemKey, status: CheckStatus, output: String) -> Effects {
        var change = self.beginChange()
        self.update(key, status: status, output: output, &change)
        return self.commit(change)
    }

    mutating func update(
        _ key: NodeItemKey,
        status: CheckStatus,
        output: String,
        _ change: inout Change
    ) {
        guard var check = self.checks[key], check.status != status || check.output != output else { return }
        let isVisible = check.status != status
        check.status = status
        check.output = output
        if isVisible {
            check.modifyIndex = change.index
            self.touch(check, &change)
        }
        self.checks[key] = check
        change.effects.dirty.insert(.check(check.key))
    }

    mutating func unfollow(_ check: CheckRecord?) {
        guard let check, let followed = check.followed else { return }
        self.followers[followed]?.remove(check.key)
        if self.followers[followed]?.isEmpty == true { self.followers[followed] = nil }
    }

    /// Brings the checks that follow another service up to date with it, also those that follow one of these.
    mutating func refreshAliases(_ change: inout Change) {
        // Two that follow each other would go round for ever; longer chains than this are a mistake.
        for _ in 0..<8 {
            guard !self.followers.isEmpty, !change.judged.isEmpty else { return }
            let keys = Set(change.judged.flatMap { self.followers[$0] ?? [] })
            change.judged = []
            for key in keys.sorted() {
                guard let check = self.checks[key], let followed = check.followed else { continue }
                let (status, output) = self.state(ofAlias: check, service: followed.id)
                self.update(key, status: status, output: output, &change)
            }
        }
    }

    private func state(ofAlias check: CheckRecord, service: String) -> (CheckStatus, String) {
        let target = NodeItemKey(node: check.node, id: service)
        if !service.isEmpty, self.services[target] == nil {
            return (.critical, "Service \(service) could not be found on node \(check.node)")
        }
        let followed = self.checks(ofService: target).filter { $0.key != check.key }
        guard let worst = followed.max(by: { $0.status < $1.status }) else { return (.passing, "No checks found.") }
        if worst.status == .passing { return (.passing, "All checks passing.") }
        let others = service.isEmpty ? "Node" : "Aliased"
        return (worst.status, "\(others) check \"\(worst.name)\" is failing: \(worst.output.prefix(512))")
    }
}
