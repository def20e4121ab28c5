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
        RegistryRegistrar(engine: self.engine, configuration: self.configuration, healthPath: nil)
    }

    /// As ``registrar``, with a check that anybody can see: each second the instance is asked for `healthPath` over
    /// HTTP. One that fails twice is critical until it answers again.
    ///
    /// It stays registered meanwhile, however long that takes: nobody would register it a second time. It deregisters
    /// itself; what a process leaves behind that was killed stays critical until somebody deregisters it.
    public func registrar(healthPath: String) -> any ServiceRegistrar {
        RegistryRegistrar(engine: self.engine, configuration: self.configuration, healthPath: healthPath)
    }
}

private struct RegistryResolver: ServiceResolver {
    let engine: RegistryEngine

    func resolve(_ service: ServiceName) async throws -> [ServiceInstance] {
        let found = self.engine.read { machine in
            machine.instances(of: service.description).filter { $0.status != .critical }
        }
        return found.map { view in
            ServiceInstance(
                id: view.service.id,
                service: service,
                endpoint: Endpoint(
                    host: view.service.address.isEmpty ? view.node.address : view.service.address,
                    port: view.service.port
                ),
                tags: view.service.tags,
                registeredMetadata: view.service.meta
            )
        }
    }
}

private struct RegistryRegistrar: ServiceRegistrar {
    let engine: RegistryEngine
    let configuration: RegistryConfiguration
    let healthPath: String?

    func register(_ instance: ServiceInstance) async throws {
        var definition = ConsulServiceDefinition(name: instance.service.description, id: instance.id)
        definition.address = instance.endpoint.host
        definition.port = instance.endpoint.port
        definition.tags = instance.tags
        definition.meta = instance.registeredMetadata
        if let healthPath {
            var check = ConsulCheckDefinition()
            check.http = "http://\(instance.endpoint)\(healthPath)"
            check.interval = .seconds(1)
            check.timeout = .seconds(5)
            // Once may be a busy machine.
            check.failuresBeforeCritical = 2
            // It registers because it serves.
            check.status = "passing"
            definition.check = check
        }
        do {
            let (service, checks) = try ServiceValidation(configuration: self.configuration).service(definition)
            try await self.engine.durableChange { machine throws(RegistryStateMachine.Refusal) in
                try machine.register(service, checks: checks)
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
