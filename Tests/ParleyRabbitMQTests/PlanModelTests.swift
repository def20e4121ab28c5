import ParleyCore
import ParleyRabbitMQ
import Testing

/// A broker as far as steps change it: what `TopologyPlan` promises is proved against it, for thousands of brokers.
private struct ModelBroker {
    var state: TopologySnapshot
    private(set) var lostMessages = 0

    init(_ state: TopologySnapshot) { self.state = state }

    mutating func perform(_ operation: TopologyOperation) throws {
        switch operation {
        case .putVirtualHost(let host), .remakeVirtualHost(let host):
            // What is not written is reset, as the broker does.
            let full = Topology.VirtualHost(host.name, description: host.description ?? "", tags: host.tags ?? [])
            if let index = self.state.virtualHosts.firstIndex(where: { $0.name == host.name }) {
                self.state.virtualHosts[index] = full
            } else {
                self.state.virtualHosts.append(full)
                self.state.permissions.append(.init(user: self.state.operatorName, virtualHost: host.name))
            }
        case .putUser(let user, let kept):
            let random = SeededRandomSource(seed: 3)
            let hash = kept ?? user.password.map { .init(of: $0, random: random) } ?? .init(value: "")
            self.state.users.removeAll { $0.name == user.name }
            self.state.users.append(.init(user.name, hash: hash, tags: user.tags ?? []))
        case .putPermission(let permission):
            try self.expect(self.state.users.contains { $0.name == permission.user }, "user of \(permission)")
            try self.expectHost(permission.virtualHost)
            self.state.permissions.removeAll {
                $0.user == permission.user && $0.virtualHost == permission.virtualHost
            }
            self.state.permissions.append(permission)
        case .putExchange(let exchange): try self.put(exchange)
        case .replaceExchange(let exchange):
            self.remove(exchange: exchange.name, exchange.virtualHost)
            try self.put(exchange)
        case .putQueue(let queue): try self.put(queue)
        case .replaceQueue(let queue, _):
            self.remove(queue: queue.name, queue.virtualHost)
            try self.put(queue)
        case .putBinding(let binding):
            try self.expect(self.has(exchange: binding.source, binding.virtualHost), "source of \(binding)")
            let isThere =
                binding.destinationType == .queue
                ? self.has(queue: binding.destination, binding.virtualHost)
                : self.has(exchange: binding.destination, binding.virtualHost)
            try self.expect(isThere, "destination of \(binding)")
            if !self.state.bindings.map(\.binding).contains(binding) { self.state.bindings.append(.init(binding)) }
        case .putPolicy(let policy):
            try self.expectHost(policy.virtualHost)
            self.state.policies.removeAll { $0.name == policy.name && $0.virtualHost == policy.virtualHost }
            self.state.policies.append(policy)
        case .deletePermission(let user, let host):
            self.state.permissions.removeAll { $0.user == user && $0.virtualHost == host }
        case .deleteExchange(let name, let host): self.remove(exchange: name, host)
        case .deleteQueue(let name, let host, _): self.remove(queue: name, host)
        case .deleteBinding(let binding): self.state.bindings.removeAll { $0.binding == binding.binding }
        case .deletePolicy(let name, let host):
            self.state.policies.removeAll { $0.name == name && $0.virtualHost == host }
        }
    }

    private struct Impossible: Error { var what: String }

    private func expect(_ condition: Bool, _ what: String) throws {
        if !condition { throw Impossible(what: what) }
    }

    private func expectHost(_ name: String) throws {
        try self.expect(self.state.virtualHosts.contains { $0.name == name }, "vhost \(name)")
    }

    private func has(exchange: String, _ host: String) -> Bool {
        exchange.hasPrefix("amq.") || self.state.exchanges.contains { $0.name == exchange && $0.virtualHost == host }
    }

    private func has(queue: String, _ host: String) -> Bool {
        self.state.queues.contains { $0.queue.name == queue && $0.queue.virtualHost == host }
    }

    private mutating func put(_ exchange: Topology.Exchange) throws {
        try self.expectHost(exchange.virtualHost)
        let old = self.state.exchanges.first { $0.name == exchange.name && $0.virtualHost == exchange.virtualHost }
        try self.expect(old == nil || old == exchange, "inequivalent \(exchange)")
        if old == nil { self.state.exchanges.append(exchange) }
    }

    private mutating func put(_ queue: Topology.Queue) throws {
        try self.expectHost(queue.virtualHost)
        let old = self.state.queues.first {
            $0.queue.name == queue.name && $0.queue.virtualHost == queue.virtualHost
        }
        try self.expect(old == nil || old?.queue == queue, "inequivalent \(queue)")
        guard old == nil else { return }
        var type = "classic"
        if case .string(let word) = queue.arguments["x-queue-type"] { type = word }
        self.state.queues.append(.init(queue, type: type, messages: 0))
    }

    private mutating func remove(exchange: String, _ host: String) {
        self.state.exchanges.removeAll { $0.name == exchange && $0.virtualHost == host }
        self.state.bindings.removeAll {
            $0.binding.virtualHost == host
                && ($0.binding.source == exchange
                    || ($0.binding.destination == exchange && $0.binding.destinationType == .exchange))
        }
    }

    private mutating func remove(queue: String, _ host: String) {
        for entry in self.state.queues where entry.queue.name == queue && entry.queue.virtualHost == host {
            self.lostMessages += entry.messages ?? 0
        }
        self.state.queues.removeAll { $0.queue.name == queue && $0.queue.virtualHost == host }
        self.state.bindings.removeAll {
            $0.binding.virtualHost == host && $0.binding.destination == queue && $0.binding.destinationType == .queue
        }
    }
}

/// Draws small worlds in which the same few names meet again and again.
private struct Dice {
    let source: SeededRandomSource

    init(_ seed: UInt64) { self.source = SeededRandomSource(seed: seed) }

    func upTo(_ limit: Int) -> Int { Int(self.source.next() % UInt64(limit)) }
    func flip() -> Bool { self.upTo(2) == 0 }
    func one<Value>(_ values: [Value]) -> Value { values[self.upTo(values.count)] }
    func some<Value>(_ values: [Value]) -> [Value] { values.filter { _ in self.upTo(3) > 0 } }

    func topology(_ hosts: [String]) -> Topology {
        var topology = Topology()
        topology.virtualHosts = hosts.map { .init($0, description: self.flip() ? self.one(["a", "b"]) : nil) }
        topology.users = self.some(["u", "v"]).map { name in
            .init(
                name,
                password: self.flip() ? .init(self.one(["x", "y"])) : nil,
                tags: self.flip() ? self.some(["management", "monitoring"]) : nil
            )
        }
        for host in hosts {
            topology.permissions += topology.users.map {
                .init(user: $0.name, virtualHost: host, write: self.one([".*", ""]))
            }
            topology.exchanges += self.some(["a", "b", "c"]).map {
                .init(virtualHost: host, name: $0, type: self.one(["topic", "direct"]), durable: self.upTo(4) > 0)
            }
            topology.queues += self.some(["p", "q", "r"]).map { name in
                .init(
                    virtualHost: host,
                    name: name,
                    arguments: self.one([[:], ["x-queue-type": "quorum"], ["x-max-length": 5]])
                )
            }
            let exchanges = topology.exchanges.filter { $0.virtualHost == host }.map(\.name)
            let queues = topology.queues.filter { $0.virtualHost == host }.map(\.name)
            var bindings: Set<Topology.Binding> = []
            for source in exchanges + ["amq.topic"] {
                for queue in self.some(queues) {
                    bindings.insert(
                        .init(virtualHost: host, source: source, destination: queue, routingKey: self.one(["k", "l"]))
                    )
                }
                for exchange in self.some(exchanges) where exchange != source {
                    bindings.insert(
                        .init(virtualHost: host, source: source, destination: exchange, destinationType: .exchange)
                    )
                }
            }
            topology.bindings += bindings.sorted { "\($0)" < "\($1)" }
            topology.policies += self.some(["one", "two"]).map {
                .init(virtualHost: host, name: $0, pattern: "", definition: ["max-length": self.one([1, 2])])
            }
        }
        return topology
    }

    /// A broker on which somebody has set up something else.
    func broker(_ hosts: [String]) throws -> ModelBroker {
        var empty = TopologySnapshot(operatorName: "guest")
        empty.users = [.init("guest", hash: .init(value: ""), tags: ["administrator"])]
        var broker = ModelBroker(empty)
        let plan = TopologyPlan(for: self.topology(hosts), on: empty)
        for step in plan.steps { try broker.perform(step.operation) }
        for index in broker.state.queues.indices where self.upTo(4) == 0 { broker.state.queues[index].messages = 1 }
        return broker
    }
}

@Suite(.timeLimit(.minutes(1))) struct PlanModelTests {
    private static let everything = TopologyPlan.Options(replaces: true, discardsMessages: true, prunes: true)

    @Test(arguments: 0..<20) func afterwardsNothingIsLeftToDo(batch: UInt64) throws {
        for seed in (batch * 40)..<(batch * 40 + 40) {
            let dice = Dice(seed)
            let topology = dice.topology(["h", "i"])
            let before = try dice.broker(["i", "j"])
            let options = TopologyPlan.Options(
                replaces: true,
                discardsMessages: dice.flip(),
                prunes: dice.flip()
            )
            var broker = before
            let plan = TopologyPlan(for: topology, on: broker.state, options: options)
            for step in plan.steps where step.refusal == nil { try broker.perform(step.operation) }
            let rest = TopologyPlan(for: topology, on: broker.state, options: options)
            #expect(rest.steps.allSatisfy { $0.refusal != nil }, "seed \(seed): \(rest.steps)")
            if plan.refused.isEmpty { #expect(rest.isEmpty, "seed \(seed): \(rest.steps)") }
            if !options.discardsMessages { #expect(broker.lostMessages == 0, "seed \(seed)") }
            if options.prunes, rest.isEmpty { #expect(rest.unmanaged.isEmpty, "seed \(seed)") }

            // Whatever the file does not name is as before.
            #expect(
                broker.state.queues.filter { $0.queue.virtualHost == "j" }
                    == before.state.queues.filter { $0.queue.virtualHost == "j" }
            )
            #expect(broker.state.permissions.contains { $0.user == "guest" && $0.virtualHost == "i" })
            if !options.prunes {
                let bindings = Set(before.state.bindings.map(\.binding))
                #expect(bindings.isSubset(of: broker.state.bindings.map(\.binding)), "seed \(seed)")
                #expect(broker.state.exchanges.count >= before.state.exchanges.count)
                #expect(broker.state.queues.count >= before.state.queues.count)
            }
        }
    }

    /// Ten thousand of each: seconds if each were looked for among all the others.
    @Test func isMadeInOnePass() {
        var topology = Topology()
        topology.virtualHosts = [.init("h")]
        for number in 0..<10_000 {
            topology.exchanges.append(.init(virtualHost: "h", name: "e\(number)", type: "topic"))
            topology.queues.append(.init(virtualHost: "h", name: "q\(number)"))
            topology.bindings.append(.init(virtualHost: "h", source: "e\(number)", destination: "q\(number)"))
        }
        let plan = TopologyPlan(for: topology, on: exactSnapshot(of: topology))
        #expect(plan.isEmpty)
    }

    /// Died after any step, also between the two halves of a replacement, the next run goes on.
    @Test(arguments: 0..<10) func goesOnAfterDyingAnywhere(batch: UInt64) throws {
        for seed in (10_000 + batch * 10)..<(10_000 + batch * 10 + 10) {
            let dice = Dice(seed)
            let topology = dice.topology(["h", "i"])
            let before = try dice.broker(["i"])
            let plan = TopologyPlan(for: topology, on: before.state, options: Self.everything)
            for count in plan.steps.indices {
                var broker = before
                for step in plan.steps.prefix(count) { try broker.perform(step.operation) }
                switch plan.steps[count].operation {
                case .replaceExchange(let exchange):
                    try broker.perform(.deleteExchange(name: exchange.name, virtualHost: exchange.virtualHost))
                case .replaceQueue(let queue, let type):
                    try broker.perform(.deleteQueue(name: queue.name, virtualHost: queue.virtualHost, type: type))
                default: break
                }
                let again = TopologyPlan(for: topology, on: broker.state, options: Self.everything)
                for step in again.steps { try broker.perform(step.operation) }
                let rest = TopologyPlan(for: topology, on: broker.state, options: Self.everything)
                #expect(rest.isEmpty, "seed \(seed), died at \(count): \(rest.steps)")
            }
        }
    }
}
