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

    /// One instance as DNS needs it.
    package struct Instance: Sendable, Hashable {
        package var id: String
        /// As it was registered, in its own case.
        package var service: String
        package var node: String
        package var nodeAddress: String
        /// Empty for the node's.
        package var address: String
        package var port: Int
        package var tags: [String]
        package var meta: [String: String]
        /// The worst of its checks; critical ones are left out.
        package var status: HealthStatus
        /// For its status.
        package var weight: Int
    }

    /// The instances with this name, in any case, of which no check is critical; `nil` when there is no such service
    /// at all.
    package func healthyInstances(of service: String) -> [Instance]? {
        self.engine.read { machine in machine.healthyInstances(of: service) }
    }

    /// The node's address and metadata; `nil` when there is no such node.
    package func node(_ name: String) -> (address: String, meta: [String: String])? {
        self.engine.read { machine in
            let found = machine.nodes[name] ?? machine.nodes.values.first { $0.name.lowercased() == name.lowercased() }
            return found.map { ($0.address, $0.meta ?? [:]) }
        }
    }
}

extension RegistryStateMachine {
    func healthyInstances(of service: String) -> [Registry.Instance]? {
        let views = self.instances(of: service)
        guard !views.isEmpty else { return nil }
        return views.compactMap { view in
            let status = view.status
            guard status != .critical else { return nil }
            let record = view.service
            return Registry.Instance(
                id: record.id,
                service: record.name,
                node: view.node.name,
                nodeAddress: view.node.address,
                address: record.address,
                port: record.port,
                tags: record.tags,
                meta: record.meta,
                status: status == .passing ? .passing : .warning,
                weight: status == .passing ? record.passingWeight : record.warningWeight
            )
        }
    }
}

private struct RegistryResolver: ServiceResolver {
    let engine: RegistryEngine

    func resolve(_ service: ServiceName) async throws -> [ServiceInstance] {
        let found = self.engine.read { machine in machine.healthyInstances(of: service.description) ?? [] }
        return found.map { instance in
            ServiceInstance(
                id: instance.id,
                service: service,
                endpoint: Endpoint(
                    host: instance.address.isEmpty ? instance.nodeAddress : instance.address,
                    port: instance.port
                ),
                tags: instance.tags,
                metadata: instance.meta
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
