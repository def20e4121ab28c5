internal import ParleyCore
public import ParleyDiscovery

extension Registry {
    /// The healthy instances, from the same state that HTTP shows, without HTTP.
    ///
    /// An instance is healthy when no check of it, or of its node, is critical. One without an address of its own has
    /// its node's.
    public var resolver: any ServiceResolver { RegistryResolver(engine: self.engine) }

    /// Registers with the same state that HTTP shows, without HTTP. What has returned is on disk; the registry has to
    /// run.
    ///
    /// An instance that was registered here has no check: it counts as healthy until it is deregistered.
    public var registrar: any ServiceRegistrar {
        RegistryRegistrar(engine: self.engine, configuration: self.configuration)
    }

    /// What a ``DNSServer`` answers from: the same state.
    public var dnsSource: any RegistryDNSSource { RegistryNames(engine: self.engine) }
}

private struct RegistryNames: RegistryDNSSource {
    let engine: RegistryEngine

    func instances(ofService name: String) -> [RegistryDNSInstance] {
        self.engine.read { machine in machine.instances(of: name) }.map { view in
            RegistryDNSInstance(
                service: view.service.name,
                address: view.service.address,
                port: view.service.port,
                tags: view.service.tags,
                weights: RegistryDNSInstance.Weights(
                    passing: view.service.passingWeight,
                    warning: view.service.warningWeight
                ),
                status: view.status.health,
                node: view.node.dns
            )
        }
    }

    func node(named name: String) -> RegistryDNSNode? { self.engine.read { machine in machine.node(named: name) }?.dns }

    func names(at address: String) -> RegistryDNSNames {
        let (nodes, services) = self.engine.read { machine in machine.names(at: address) }
        return RegistryDNSNames(nodes: nodes, services: services)
    }
}

extension CheckStatus {
    fileprivate var health: HealthStatus {
        switch self {
        case .passing: .passing
        case .warning: .warning
        case .critical: .critical
        }
    }
}

extension NodeRecord {
    fileprivate var dns: RegistryDNSNode {
        RegistryDNSNode(name: self.name, address: self.address, meta: self.meta ?? [:])
    }
}

private struct RegistryResolver: ServiceResolver {
    let engine: RegistryEngine

    func resolve(_ service: ServiceName) async throws -> [ServiceInstance] {
        let found = self.engine.read { machine in machine.instances(of: service.description) }
        return found.filter { $0.status != .critical }.map { view in
            ServiceInstance(
                id: view.service.id,
                service: service,
                endpoint: Endpoint(
                    host: view.service.address.isEmpty ? view.node.address : view.service.address,
                    port: view.service.port
                ),
                tags: view.service.tags,
                metadata: view.service.meta
            )
        }
    }
}

private struct RegistryRegistrar: ServiceRegistrar {
    let engine: RegistryEngine
    let configuration: RegistryConfiguration

    func register(_ instance: ServiceInstance) async throws {
        var definition = ConsulServiceDefinition(name: instance.service.description, id: instance.id)
        definition.address = instance.endpoint.host
        definition.port = instance.endpoint.port
        definition.tags = instance.tags
        definition.meta = instance.metadata
        do {
            let (service, _) = try ServiceValidation(configuration: self.configuration).service(definition)
            try await self.engine.durableChange { machine throws(RegistryStateMachine.Refusal) in
                try machine.register(service, checks: [])
            }
        } catch let error as APIError {
            throw DiscoveryError(
                .invalidInstance,
                "\(instance.service) cannot be registered as \"\(instance.id)\": \(error.text)",
                retry: .permanent
            )
        } catch let error as RegistryStateMachine.Refusal {
            throw DiscoveryError(
                .registryFull,
                "The registry is full (\(error)); deregister what is gone, or raise its limits.",
                retry: .permanent
            )
        } catch let error as StoreFailure {
            throw DiscoveryError(.registryUnavailable, "\(error)", retry: .mayHaveRun, cause: error)
        }
    }

    func deregister(_ id: ServiceInstance.ID) async throws {
        do {
            try await self.engine.durableChange { machine in machine.deregister(machine.local(id)) }
        } catch let error as StoreFailure {
            throw DiscoveryError(.registryUnavailable, "\(error)", retry: .mayHaveRun, cause: error)
        }
    }
}
