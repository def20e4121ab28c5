internal import ParleyDiscovery

// From the catalog's records to Consul's shapes.

extension NodeRecord {
    func wire(datacenter: String) -> ConsulNode {
        var node = ConsulNode(name: self.name, address: self.address)
        node.id = self.id
        node.datacenter = datacenter
        node.taggedAddresses = self.taggedAddresses
        node.meta = self.meta
        node.createIndex = self.createIndex
        node.modifyIndex = self.modifyIndex
        return node
    }
}

extension ServiceRecord {
    private var wire: ConsulService {
        var service = ConsulService(id: self.id, service: self.name)
        service.kind = self.kind
        service.tags = self.tags
        service.meta = self.meta
        service.port = self.port
        service.address = self.address
        service.socketPath = self.socketPath
        service.taggedAddresses = self.taggedAddresses.mapValues {
            ConsulAddress(address: $0.address, port: $0.port)
        }
        service.weights = ConsulWeights(passing: self.passingWeight, warning: self.warningWeight)
        service.enableTagOverride = self.enableTagOverride
        return service
    }

    func agentForm(datacenter: String) -> ConsulService {
        var service = self.wire
        service.agent = ConsulService.AgentPart(datacenter: datacenter)
        return service
    }

    var catalogForm: ConsulService {
        var service = self.wire
        service.indexes = ConsulService.Indexes(create: self.createIndex, modify: self.modifyIndex)
        return service
    }
}

extension CheckRecord {
    /// - Parameter isAgentForm: The agent knows no indexes.
    func wire(isAgentForm: Bool = false) -> ConsulCheck {
        var check = ConsulCheck(node: self.node, checkID: self.id, status: self.status.rawValue)
        check.name = self.name
        check.notes = self.notes
        check.output = self.output
        check.serviceID = self.serviceID
        check.serviceName = self.serviceName
        check.serviceTags = self.serviceTags
        check.type = self.type
        if !isAgentForm {
            check.createIndex = self.createIndex
            check.modifyIndex = self.modifyIndex
        }
        return check
    }
}

extension InstanceView {
    func healthEntry(datacenter: String) -> ConsulHealthEntry {
        ConsulHealthEntry(
            node: self.node.wire(datacenter: datacenter),
            service: self.service.catalogForm,
            checks: self.checks.map { $0.wire() }
        )
    }
}
