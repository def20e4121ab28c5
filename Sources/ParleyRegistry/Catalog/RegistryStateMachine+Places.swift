internal import ParleyCore

// From addresses, and from names in any case, to what is there.
extension RegistryStateMachine {
    func node(named name: String) -> NodeRecord? {
        // The exact one, of several that differ in their case only.
        self.nodes[name] ?? self.nodesNamed[name.lowercased()]?.min().flatMap { self.nodes[$0] }
    }

    /// - Parameter address: IPv4, or IPv6 in its shortest form.
    /// - Returns: The names of the nodes and of the services, sorted, each once.
    func names(at address: String) -> (nodes: [String], services: [String]) {
        let nodes = self.nodesAt[address] ?? []
        var services = Set((self.servicesAt[address] ?? []).compactMap { self.services[$0]?.name })
        // Those without an address of their own are where their node is.
        for node in nodes {
            for id in self.servicesOfNode[node] ?? [] {
                guard let service = self.services[NodeItemKey(node: node, id: id)], service.address.isEmpty else {
                    continue
                }
                services.insert(service.name)
            }
        }
        return (nodes.sorted(), services.sorted())
    }

    mutating func list(_ service: ServiceRecord) {
        if let address = service.shortAddress { self.servicesAt[address, default: []].insert(service.key) }
    }

    mutating func unlist(_ service: ServiceRecord?) {
        guard let service, let address = service.shortAddress else { return }
        self.servicesAt[address]?.remove(service.key)
        if self.servicesAt[address]?.isEmpty == true { self.servicesAt[address] = nil }
    }

    mutating func list(_ node: NodeRecord) {
        self.nodesNamed[node.name.lowercased(), default: []].insert(node.name)
        if let address = node.shortAddress { self.nodesAt[address, default: []].insert(node.name) }
    }

    mutating func unlist(_ node: NodeRecord?) {
        guard let node else { return }
        let name = node.name.lowercased()
        self.nodesNamed[name]?.remove(node.name)
        if self.nodesNamed[name]?.isEmpty == true { self.nodesNamed[name] = nil }
        guard let address = node.shortAddress else { return }
        self.nodesAt[address]?.remove(node.name)
        if self.nodesAt[address]?.isEmpty == true { self.nodesAt[address] = nil }
    }
}
