public import ParleyCore

/// Fixed addresses, known when the program starts: `["user-service": ["10.0.0.5:8001"]]`.
///
/// The ids of its instances are `<service>-<n>`, counted from 1; the instances do not know them.
public struct StaticResolver: ServiceResolver {
    private let instances: [ServiceName: [ServiceInstance]]

    public init(_ endpoints: [ServiceName: [Endpoint]]) {
        var instances: [ServiceName: [ServiceInstance]] = [:]
        for (service, endpoints) in endpoints {
            instances[service] = endpoints.enumerated().map { index, endpoint in
                ServiceInstance(
                    id: "\(service)-\(index + 1)",
                    service: service,
                    endpoint: endpoint
                )
            }
        }
        self.instances = instances
    }

    public func resolve(_ service: ServiceName) async throws -> [ServiceInstance] {
        self.instances[service] ?? []
    }
}
