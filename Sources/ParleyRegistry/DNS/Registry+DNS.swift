internal import ParleyDiscovery

extension Registry {
    /// What a ``DNSServer`` reads of this registry.
    public var names: any RegistryDNSSource { RegistryNames(engine: self.engine) }
}

private struct RegistryNames: RegistryDNSSource {
    let engine: RegistryEngine

    func instances(ofService name: String) -> [RegistryDNSInstance] {
        self.engine.read { machine in machine.instances(of: name).map(Self.instance) }
    }

    func node(named name: String) -> RegistryDNSNode? {
        self.engine.read { machine in machine.node(named: name) }.map(Self.node)
    }

    func names(at address: String) -> RegistryDNSNames {
        let (nodes, services) = self.engine.read { machine in machine.names(at: address) }
        return RegistryDNSNames(nodes: nodes, services: services)
    }

    private static func node(_ record: NodeRecord) -> RegistryDNSNode {
        RegistryDNSNode(name: record.name, address: record.address, meta: record.meta ?? [:])
    }

    private static func instance(_ view: InstanceView) -> RegistryDNSInstance {
        let service = view.service
        return RegistryDNSInstance(
            service: service.name,
            address: service.address,
            port: service.port,
            tags: service.tags,
            weights: .init(passing: service.passingWeight, warning: service.warningWeight),
            status: view.health,
            node: Self.node(view.node)
        )
    }
}

extension InstanceView {
    /// The worst of its checks, in the words of discovery.
    var health: HealthStatus {
        switch self.status {
        case .passing: .passing
        case .warning: .warning
        default: .critical
        }
    }
}
