import ParleyCore
import ParleyRabbitMQ
import ProcessTestSupport
import RabbitMQTestSupport
import Testing

/// Plans on a real broker.
@Suite(.timeLimit(.minutes(3))) struct ApplyTests {
    private func with(_ body: (RabbitMQManagement, Topology) async throws -> Void) async throws {
        let management = try RabbitMQManagement(url: try await RabbitMQServer.shared.value.management)
        let topology = guideTopology(RabbitMQServer.fresh("shop-"), user: RabbitMQServer.fresh("myapp-"))
        let result: Result<Void, any Error>
        do { result = .success(try await body(management, topology)) } catch { result = .failure(error) }
        for host in topology.virtualHosts { try await management.deleteVirtualHost(host.name) }
        for user in topology.users { try await management.deleteUser(user.name) }
        await management.shutdown()
        try result.get()
    }

    @Test func isEmptyAfterwards() async throws {
        try await self.with { management, topology in
            let plan = try await management.plan(for: topology)
            #expect(plan.count(.create) == 7)
            var done: [TopologyPlan.Step] = []
            try await management.apply(plan) { done.append($0) }
            #expect(done == plan.steps)
            let again = try await management.plan(for: topology)
            #expect(again.isEmpty, "\(again.steps)")
            #expect(again.unmanaged.isEmpty, "\(again.unmanaged)")
            // An old plan does no harm.
            try await management.apply(plan)
            #expect(try await management.plan(for: topology).isEmpty)

            let url = try await RabbitMQServer.shared.value.management
                .replacing("guest:guest", with: "\(topology.users[0].name):secretpassword")
            let user = try RabbitMQManagement(url: url)
            #expect(try await user.whoami().tags == ["management"])
            await user.shutdown()
        }
    }

    @Test func goesOnAfterACrashInTheMiddle() async throws {
        try await self.with { management, topology in
            let plan = try await management.plan(for: topology)
            for count in 0..<plan.steps.count {
                var part = plan
                part.steps = Array(plan.steps.prefix(count))
                try await management.apply(part)
                #expect(try await management.plan(for: topology).steps == Array(plan.steps.dropFirst(count)))
            }
        }
    }

    @Test func repairsEveryKindOfDrift() async throws {
        try await self.with { management, topology in
            try await management.apply(try await management.plan(for: topology))
            let host = topology.virtualHosts[0].name
            // By hand.
            try await management.put(Topology.VirtualHost(host, description: "?", tags: ["mine"]))
            let hash = RabbitMQPasswordHash(of: .init("other"), random: SystemRandomSource())
            try await management.put(TopologySnapshot.User(topology.users[0].name, hash: hash, tags: ["monitoring"]))
            try await management.put(
                Topology.Permission(user: topology.users[0].name, virtualHost: host, read: "^$")
            )
            let bindings = try await management.bindings(in: host)
            for binding in bindings { try await management.delete(binding) }
            var policy = topology.policies[0]
            policy.definition = ["max-length": 1]
            try await management.put(policy)

            let plan = try await management.plan(for: topology)
            #expect(plan.steps.map(\.resource.kind) == [.virtualHost, .user, .permission, .binding, .policy])
            try await management.apply(plan)
            #expect(try await management.plan(for: topology).isEmpty)
            let kept = try await management.virtualHosts().first { $0.name == host }
            #expect(kept?.tags == ["mine"])
        }
    }

    @Test(arguments: ["quorum", "classic"])
    func neverLosesMessagesUnasked(type: String) async throws {
        try await self.with { management, topology in
            var topology = topology
            topology.queues[0].arguments = ["x-queue-type": .string(type)]
            topology.policies = []
            try await management.apply(try await management.plan(for: topology))
            let host = topology.virtualHosts[0].name
            topology.queues[0].arguments["x-max-length"] = 1_000
            topology.exchanges[0].type = "direct"
            let options = TopologyPlan.Options(replaces: true)
            await expectFailure(.refused) {
                try await management.apply(try await management.plan(for: topology))
            }
            // The plan is made while the queue is empty, and the message comes before it is carried out.
            let plan = try await management.plan(for: topology, options: options)
            #expect(try await management.publish([1], to: "", in: host, routingKey: "orders"))
            await expectFailure(.notEmpty) { try await management.apply(plan, options: options) }
            let isSeen = try await isEventually {
                try await management.plan(for: topology, options: options).refused.map(\.resource.name) == ["orders"]
            }
            #expect(isSeen)

            let forced = TopologyPlan.Options(replaces: true, discardsMessages: true)
            try await management.apply(try await management.plan(for: topology, options: forced), options: forced)
            let rest = try await management.plan(for: topology)
            #expect(rest.isEmpty, "\(rest.steps)")
        }
    }

    @Test func replacesAnEmptyQueueAndBindsItAgain() async throws {
        try await self.with { management, topology in
            var topology = topology
            try await management.apply(try await management.plan(for: topology))
            let host = topology.virtualHosts[0].name
            try await management.put(Topology.Queue(virtualHost: host, name: "audit"))
            let foreign = Topology.Binding(
                virtualHost: host,
                source: "orders.exchange",
                destination: "audit",
                routingKey: "#"
            )
            try await management.put(foreign)
            topology.queues[0].arguments = ["x-queue-type": "classic"]
            topology.policies[0].definition = ["max-length": 9]
            topology.exchanges[0].arguments = ["alternate-exchange": "amq.fanout"]
            let options = TopologyPlan.Options(replaces: true)
            try await management.apply(try await management.plan(for: topology, options: options), options: options)
            let rest = try await management.plan(for: topology)
            #expect(rest.isEmpty, "\(rest.steps)")
            #expect(try await management.bindings(in: host).map(\.binding).contains(foreign))
        }
    }

    @Test func bindingsOfAnyNameComeAndGo() async throws {
        try await self.with { management, topology in
            var topology = topology
            let host = topology.virtualHosts[0].name
            let plain = topology
            topology.exchanges.append(.init(virtualHost: host, name: "ex/ change", type: "headers"))
            for (key, arguments) in [
                ("a/*%", [:]), ("ä b?c#d~", [:]), ("", ["x-match": "any", "type": "ö"]), (".", ["n": 1]), ("~", [:]),
            ] as [(String, [String: RabbitMQValue])] {
                for (name, kind) in [("orders", .queue), ("orders.exchange", .exchange)]
                    as [(String, Topology.DestinationType)]
                {
                    topology.bindings.append(
                        .init(
                            virtualHost: host,
                            source: "ex/ change",
                            destination: name,
                            destinationType: kind,
                            routingKey: key,
                            arguments: arguments
                        )
                    )
                }
            }
            try await management.apply(try await management.plan(for: topology))
            let made = try await management.plan(for: topology)
            #expect(made.isEmpty, "\(made.steps)")
            // Each by its own name: what deletes the exchange deletes them all.
            var kept = plain
            kept.exchanges = topology.exchanges
            let options = TopologyPlan.Options(prunes: true)
            let plan = try await management.plan(for: kept, options: options)
            #expect(plan.steps.map(\.resource.kind) == Array(repeating: .binding, count: 10))
            try await management.apply(plan, options: options)
            #expect(try await management.bindings(in: host).map(\.binding) == plain.bindings)
        }
    }

    @Test func prunesWithinItsVirtualHostsOnly() async throws {
        try await self.with { management, topology in
            try await management.apply(try await management.plan(for: topology))
            let host = topology.virtualHosts[0].name
            let other = RabbitMQServer.fresh("other-")
            try await management.put(Topology.VirtualHost(other))
            for place in [host, other] {
                try await management.put(Topology.Exchange(virtualHost: place, name: "old", type: "fanout"))
                try await management.put(Topology.Queue(virtualHost: place, name: "old"))
                try await management.put(Topology.Binding(virtualHost: place, source: "old", destination: "old"))
                try await management.put(
                    Topology.Binding(virtualHost: place, source: "amq.topic", destination: "old", routingKey: "a/*%")
                )
                try await management.put(
                    Topology.Policy(virtualHost: place, name: "old", pattern: "x", definition: ["max-length": 1])
                )
            }
            let careful = try await management.plan(for: topology)
            #expect(careful.isEmpty)
            #expect(careful.unmanaged.count == 5)
            let options = TopologyPlan.Options(prunes: true)
            let plan = try await management.plan(for: topology, options: options)
            #expect(plan.count(.delete) == 5)
            try await management.apply(plan, options: options)
            let after = try await management.plan(for: topology)
            #expect(after.isEmpty)
            #expect(after.unmanaged.isEmpty)
            #expect(try await management.queues(in: other).map(\.name) == ["old"])
            try await management.deleteVirtualHost(other)
        }
    }
}
