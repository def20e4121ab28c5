internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyRegistry
internal import Synchronization

/// A registry for DNS, in memory, as a test fills it.
final class ShopRegistry: RegistryDNSSource {
    private struct State {
        var instances: [RegistryDNSInstance] = []
        var nodes: [RegistryDNSNode] = []
        var questions = 0
    }

    private let state = Mutex(State())

    static let n1 = RegistryDNSNode(name: "n1", address: "127.0.0.1", meta: ["rack": "a", "zone": "b"])

    init(_ instances: [RegistryDNSInstance] = [], nodes: [RegistryDNSNode] = [ShopRegistry.n1]) {
        self.state.withLock { $0 = State(instances: instances, nodes: nodes) }
    }

    func add(_ instances: [RegistryDNSInstance]) { self.state.withLock { $0.instances += instances } }

    /// How often it was asked for a service.
    var questions: Int { self.state.withLock { $0.questions } }

    func instances(ofService name: String) -> [RegistryDNSInstance] {
        self.state.withLock { state in
            state.questions += 1
            return state.instances.filter { $0.service.lowercased() == name.lowercased() }
        }
    }

    func node(named name: String) -> RegistryDNSNode? {
        self.state.withLock { state in state.nodes.first { $0.name.lowercased() == name.lowercased() } }
    }

    func names(at address: String) -> RegistryDNSNames {
        self.state.withLock { state in
            RegistryDNSNames(
                nodes: state.nodes.filter { $0.address == address }.map(\.name),
                services: state.instances.filter { $0.address == address }.map(\.service)
            )
        }
    }
}

extension RegistryDNSInstance {
    static func web(
        _ address: String,
        port: Int = 80,
        tags: [String] = [],
        weights: Weights = Weights(),
        _ status: HealthStatus = .passing,
        service: String = "web",
        node: RegistryDNSNode = ShopRegistry.n1
    ) -> RegistryDNSInstance {
        RegistryDNSInstance(
            service: service,
            address: address,
            port: port,
            tags: tags,
            weights: weights,
            status: status,
            node: node
        )
    }

    /// 10.x.y.z, counted from 0.
    static func many(_ count: Int, service: String = "web") -> [RegistryDNSInstance] {
        (0..<count).map { .web("10.\($0 / 65_536).\($0 / 256 % 256).\($0 % 256)", port: 8_000, service: service) }
    }
}
