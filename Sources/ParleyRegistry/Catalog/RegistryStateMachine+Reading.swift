internal import ParleyCore

/// An instance with all that decides about it.
struct InstanceView: Sendable {
    var node: NodeRecord
    var service: ServiceRecord
    /// The node's first, then the service's own, each by id.
    var checks: [CheckRecord]

    /// The worst of its checks; an instance without one passes.
    var status: CheckStatus { self.checks.map(\.status).max() ?? .passing }
}

extension RegistryStateMachine {
    /// What every agent says about itself, and does not count among its own checks.
    static let nodeHealthCheck = "serfHealth"
    /// The registry itself, as a service; not among the agent's own.
    static let ownService = "consul"
    static let nodeMaintenance = "_node_maintenance"
    static func serviceMaintenance(_ id: String) -> String { "_service_maintenance:" + id }

    func checks(ofService key: NodeItemKey) -> [CheckRecord] {
        (self.checksOfService[key] ?? []).sorted().compactMap { self.checks[NodeItemKey(node: key.node, id: $0)] }
    }

    func checks(ofNode name: String) -> [CheckRecord] { self.checks(ofService: NodeItemKey(node: name, id: "")) }

    /// The service's checks and those of its node.
    func allChecks(of service: ServiceRecord) -> [CheckRecord] {
        self.checks(ofNode: service.node) + self.checks(ofService: service.key)
    }

    /// All instances with this name, in any case, by node and id.
    func services(named name: String) -> [ServiceRecord] {
        (self.names[name.lowercased()]?.members ?? []).sorted().compactMap { self.services[$0] }
    }

    /// - Parameters:
    ///   - onlyPassing: leaves out those with a check that does not pass.
    ///   - tags: an instance must have them all, in any case.
    func instances(
        of name: String,
        onlyPassing: Bool = false,
        tags: [String] = [],
        nodeMeta: [String: String] = [:]
    ) -> [InstanceView] {
        var checksOfNodes: [String: [CheckRecord]] = [:]
        var views: [InstanceView] = []
        for service in self.services(named: name) where Self.has(service, tags: tags) {
            guard let node = self.nodes[service.node], Self.has(node, meta: nodeMeta) else { continue }
            let ofNode = checksOfNodes[node.name] ?? self.checks(ofNode: node.name)
            checksOfNodes[node.name] = ofNode
            let view = InstanceView(node: node, service: service, checks: ofNode + self.checks(ofService: service.key))
            if !onlyPassing || view.status == .passing { views.append(view) }
        }
        return views
    }

    private static func has(_ service: ServiceRecord, tags: [String]) -> Bool {
        guard !tags.isEmpty else { return true }
        let own = Set(service.tags.map { $0.lowercased() })
        return tags.allSatisfy { own.contains($0.lowercased()) }
    }

    static func has(_ node: NodeRecord, meta: [String: String]) -> Bool {
        meta.allSatisfy { node.meta?[$0.key] == $0.value }
    }

    /// Every name with the tags of all its instances, sorted.
    func serviceTags(nodeMeta: [String: String] = [:]) -> [String: [String]] {
        var tags: [String: Set<String>] = [:]
        for service in self.services.values {
            if !nodeMeta.isEmpty {
                guard let node = self.nodes[service.node], Self.has(node, meta: nodeMeta) else { continue }
            }
            tags[service.name, default: []].formUnion(service.tags)
        }
        return tags.mapValues { $0.sorted() }
    }

    func services(ofNode name: String) -> [ServiceRecord] {
        (self.servicesOfNode[name] ?? []).sorted().compactMap { self.services[NodeItemKey(node: name, id: $0)] }
    }

    /// What was registered with this agent.
    var localServices: [ServiceRecord] { self.services(ofNode: self.localNode).filter { $0.id != Self.ownService } }

    var localChecks: [CheckRecord] {
        self.checks.values.filter { $0.node == self.localNode && $0.id != Self.nodeHealthCheck }
            .sorted { $0.id < $1.id }
    }

    func local(_ id: String) -> NodeItemKey { NodeItemKey(node: self.localNode, id: id) }
}
