internal import ParleyCore

extension RegistryStateMachine {
    /// Makes the local node known, with what every agent says about itself.
    mutating func begin(_ node: NodeRecord, listsItself: Bool) throws(Refusal) -> Effects {
        var effects = try self.setNode(node)
        var alive = CheckRecord(
            node: node.name,
            id: Self.nodeHealthCheck,
            name: "Serf Health Status",
            status: .passing
        )
        alive.output = "Agent alive and reachable"
        effects.merge(try self.register(alive))
        guard listsItself else {
            effects.merge(self.deregister(self.local(Self.ownService)))
            return effects
        }
        var own = ServiceRecord(node: node.name, id: Self.ownService, name: Self.ownService)
        own.port = 8_300
        effects.merge(try self.register(own, checks: []))
        return effects
    }
}
