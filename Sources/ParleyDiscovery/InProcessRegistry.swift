public import ParleyCore
internal import Synchronization

/// The registry of services that live in one process: each registers the port it was given, the others find it here.
public final class InProcessRegistry: ServiceResolver, ServiceRegistrar {
    /// How many instances the registry holds at most: far more than one process can serve.
    public static let maxInstances = 4_096

    private let state = Mutex<[ServiceName: [ServiceInstance]]>([:])

    public init() {}

    public func resolve(_ service: ServiceName) async throws -> [ServiceInstance] {
        self.state.withLock { $0[service] ?? [] }
    }

    /// - Throws: ``DiscoveryError/Code/registryFull`` at ``maxInstances``, ``DiscoveryError/Code/invalidInstance`` when
    ///   the id is empty or the port is not 1…65535 (a service that binds port 0 registers the port it got).
    public func register(_ instance: ServiceInstance) async throws {
        guard !instance.id.isEmpty, (1...65_535).contains(instance.endpoint.port) else {
            throw DiscoveryError(
                .invalidInstance,
                "\(instance.service) cannot be registered as \"\(instance.id)\" at \(instance.endpoint): "
                    + "an instance needs an id and the port on which it really listens.",
                retry: .permanent
            )
        }
        let isFull = self.state.withLock { state in
            Self.remove(instance.id, from: &state)
            guard state.values.reduce(0, { $0 + $1.count }) < Self.maxInstances else { return true }
            state[instance.service, default: []].append(instance)
            return false
        }
        if isFull {
            throw DiscoveryError(
                .registryFull,
                "The in-process registry already holds \(Self.maxInstances) instances; deregister what is gone.",
                retry: .permanent
            )
        }
    }

    public func deregister(_ id: ServiceInstance.ID) async throws {
        self.state.withLock { Self.remove(id, from: &$0) }
    }

    private static func remove(_ id: ServiceInstance.ID, from state: inout [ServiceName: [ServiceInstance]]) {
        for (service, instances) in state where instances.contains(where: { $0.id == id }) {
            let rest = instances.filter { $0.id != id }
            state[service] = rest.isEmpty ? nil : rest
        }
    }
}
