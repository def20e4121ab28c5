internal import ParleyCore
internal import ParleyDiscovery
internal import Synchronization

/// What is known about one service that is watched.
final class WatchedService: Sendable {
    private struct State {
        var instances: [ServiceInstance]?
        var failure: ConsulError?
        var lastAsked: ContinuousClock.Instant
    }

    let service: ServiceName
    let began: ContinuousClock.Instant
    /// Rings when something has become known.
    let signal = Signal()
    /// Rings when it is given up.
    let ended = Signal()
    private let state: Mutex<State>

    init(_ service: ServiceName, began: ContinuousClock.Instant) {
        self.service = service
        self.began = began
        self.state = Mutex(State(lastAsked: began))
    }

    var instances: [ServiceInstance]? { self.state.withLock { $0.instances } }
    var failure: ConsulError? { self.state.withLock { $0.failure } }
    var lastAsked: ContinuousClock.Instant { self.state.withLock { $0.lastAsked } }

    /// Whether waiting is of no use: nothing is known, and asking again gives the same error.
    var isHopeless: Bool {
        self.state.withLock { $0.instances == nil && $0.failure?.retry == .permanent }
    }

    func ask(now: ContinuousClock.Instant) -> [ServiceInstance]? {
        self.state.withLock { state in
            state.lastAsked = max(state.lastAsked, now)
            return state.instances
        }
    }

    func answered(_ instances: [ServiceInstance]) {
        let isNews = self.state.withLock { state in
            defer { (state.instances, state.failure) = (instances, nil) }
            return state.instances == nil
        }
        if isNews { self.signal.ring() }
    }

    func failed(_ error: ConsulError) {
        let isNews = self.state.withLock { state in
            state.failure = error
            return state.instances == nil
        }
        if isNews { self.signal.ring() }
    }
}

/// What Consul says, as instances to call.
enum InstanceMapping {
    static func instances(_ found: [Consul.Instance], of service: ServiceName) -> [ServiceInstance] {
        let callable = found.filter { instance in
            instance.status != .critical && (1...65_535).contains(instance.service.port) && !instance.host.isEmpty
        }
        let names = Dictionary(grouping: callable, by: \.service.id)
        return callable.map { instance in
            var metadata = ["consul.node": instance.node.name, ServiceInstance.weight: "\(instance.weight)"]
            metadata.merge(instance.service.meta) { $1 }
            let isAlone = names[instance.service.id]?.count == 1
            return ServiceInstance(
                id: isAlone ? instance.service.id : "\(instance.service.id)@\(instance.node.name)",
                service: service,
                endpoint: Endpoint(host: instance.host, port: instance.service.port),
                tags: instance.service.tags,
                registeredMetadata: metadata
            )
        }
    }
}
