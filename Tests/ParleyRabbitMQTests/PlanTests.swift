import ParleyCore
import ParleyRabbitMQ
import Testing

typealias Topology = RabbitMQTopology

/// The guide's set-up.
func guideTopology(_ host: String = "myapp-vhost", user: String = "myapp") -> Topology {
    var topology = Topology()
    topology.virtualHosts = [.init(host, description: "the shop")]
    topology.users = [.init(user, password: .init("secretpassword"), tags: ["management"])]
    topology.permissions = [.init(user: user, virtualHost: host)]
    topology.exchanges = [.init(virtualHost: host, name: "orders.exchange", type: "topic")]
    topology.queues = [.init(virtualHost: host, name: "orders", arguments: ["x-queue-type": "quorum"])]
    topology.bindings = [
        .init(virtualHost: host, source: "orders.exchange", destination: "orders", routingKey: "order.*")
    ]
    topology.policies = [
        .init(virtualHost: host, name: "limit", pattern: "^orders$", definition: ["delivery-limit": 20])
    ]
    return topology
}

/// A broker that has all of it, as it would say so itself.
func exactSnapshot(of topology: Topology) -> TopologySnapshot {
    var snapshot = TopologySnapshot(operatorName: "guest")
    snapshot.virtualHosts = topology.virtualHosts + [.init("/", description: "Default virtual host", tags: [])]
    snapshot.users = topology.users.map {
        .init(
            $0.name,
            hash: .init(of: $0.password ?? .init(""), random: SeededRandomSource(seed: 1)),
            tags: $0.tags ?? []
        )
    }
    snapshot.permissions = topology.permissions
    snapshot.permissions += topology.virtualHosts.map { .init(user: "guest", virtualHost: $0.name) }
    snapshot.exchanges = topology.exchanges
    for host in topology.virtualHosts {
        snapshot.exchanges.append(.init(virtualHost: host.name, name: "", type: "direct"))
        snapshot.exchanges.append(.init(virtualHost: host.name, name: "amq.topic", type: "topic"))
    }
    snapshot.queues = topology.queues.map { .init($0, type: "quorum", messages: 0) }
    snapshot.bindings = topology.bindings.map { .init($0) }
    snapshot.policies = topology.policies
    return snapshot
}

@Suite struct PlanTests {
    private let topology = guideTopology()

    @Test func createsEverythingInAnOrderThatWorks() {
        let plan = TopologyPlan(for: self.topology, on: TopologySnapshot(operatorName: "guest"))
        #expect(plan.steps.map(\.resource.kind) == TopologyPlan.Kind.allCases)
        #expect(plan.count(.create) == 7)
        #expect(plan.refused.isEmpty)
        #expect(plan.unmanaged.isEmpty)
    }

    @Test func isEmptyWhenEverythingIsThere() {
        let plan = TopologyPlan(for: self.topology, on: exactSnapshot(of: self.topology))
        #expect(plan.isEmpty, "\(plan.steps)")
        #expect(plan.unmanaged.isEmpty)
    }

    @Test func goesOnWhereItWasLeftOff() {
        // Whatever part of the steps was done, the rest is the next plan.
        let full = exactSnapshot(of: self.topology)
        var half = TopologySnapshot(operatorName: "guest")
        half.virtualHosts = full.virtualHosts
        half.users = full.users
        half.permissions = full.permissions
        half.exchanges = full.exchanges
        let plan = TopologyPlan(for: self.topology, on: half)
        #expect(plan.steps.map(\.resource.kind) == [.queue, .binding, .policy])
    }

    @Test func showsChangesFieldByField() throws {
        var snapshot = exactSnapshot(of: self.topology)
        snapshot.permissions[0].write = "^orders"
        snapshot.policies[0].definition = ["delivery-limit": 5, "max-length": 10]
        snapshot.users[0].tags = ["administrator"]
        snapshot.virtualHosts[0].description = "old"
        snapshot.virtualHosts[0].tags = ["kept"]
        let plan = TopologyPlan(for: self.topology, on: snapshot)
        #expect(plan.steps.allSatisfy { $0.action == .change })
        #expect(
            plan.steps.map(\.fields) == [
                [.init("description", from: "old", to: "the shop")],
                [.init("tags", from: "administrator", to: "management")],
                [.init("write", from: "^orders", to: ".*")],
                [
                    .init("definition.delivery-limit", from: "5", to: "20"),
                    .init("definition.max-length", from: "10", to: nil),
                ],
            ]
        )
        // What is not in the file stays, though it is written together with what is.
        #expect(
            plan.steps.first?.operation
                == .putVirtualHost(.init("myapp-vhost", description: "the shop", tags: ["kept"]))
        )
    }

    @Test func replacesOnlyWhenAllowed() throws {
        var snapshot = exactSnapshot(of: self.topology)
        snapshot.exchanges[0].type = "direct"
        snapshot.queues[0].queue.durable = false
        let careful = TopologyPlan(for: self.topology, on: snapshot)
        #expect(careful.count(.replace) == 2)
        #expect(careful.refused.count == 2)
        #expect(careful.refused.allSatisfy { $0.refusal?.contains("--replace") == true })

        let allowed = TopologyPlan(for: self.topology, on: snapshot, options: .init(replaces: true))
        #expect(allowed.refused.isEmpty)
        // What is bound to them is bound again.
        #expect(allowed.steps.map(\.resource.kind) == [.exchange, .queue, .binding])
        #expect(allowed.steps.map(\.action) == [.replace, .replace, .create])
    }

    @Test func bindsAgainWhatOthersHaveBoundToSomethingReplaced() throws {
        var snapshot = exactSnapshot(of: self.topology)
        snapshot.exchanges[0].type = "direct"
        let foreign = Topology.Binding(
            virtualHost: "myapp-vhost",
            source: "orders.exchange",
            destination: "audit",
            routingKey: "#"
        )
        snapshot.queues.append(.init(.init(virtualHost: "myapp-vhost", name: "audit")))
        snapshot.bindings.append(.init(foreign))
        let plan = TopologyPlan(for: self.topology, on: snapshot, options: .init(replaces: true))
        #expect(plan.steps.map(\.operation).contains(.putBinding(foreign)))
        #expect(plan.unmanaged == [.init(.queue, "audit", in: "myapp-vhost")])
    }

    @Test func keepsQueuesThatHoldMessages() {
        var snapshot = exactSnapshot(of: self.topology)
        snapshot.queues[0].queue.durable = false
        snapshot.queues[0].messages = 3
        let options = TopologyPlan.Options(replaces: true)
        let plan = TopologyPlan(for: self.topology, on: snapshot, options: options)
        #expect(plan.refused.first?.refusal?.contains("holds 3 messages") == true)
        let forced = TopologyPlan.Options(replaces: true, discardsMessages: true)
        #expect(TopologyPlan(for: self.topology, on: snapshot, options: forced).refused.isEmpty)
    }

    @Test func knowsWhetherAPasswordDiffers() {
        var snapshot = exactSnapshot(of: self.topology)
        snapshot.users[0].hash = .init(of: .init("other"), random: SeededRandomSource(seed: 2))
        let plan = TopologyPlan(for: self.topology, on: snapshot)
        #expect(plan.steps.map(\.fields) == [[.init("password", from: "another", to: "as the file says")]])
        #expect(!"\(plan)".contains("secretpassword"))

        // A user without a password in the file keeps what it has.
        var unsaid = self.topology
        unsaid.users[0].password = nil
        unsaid.users[0].tags = nil
        #expect(TopologyPlan(for: unsaid, on: snapshot).isEmpty)
    }

    @Test func leavesAloneWhatItDoesNotNameUnlessItPrunes() {
        var snapshot = exactSnapshot(of: self.topology)
        let host = "myapp-vhost"
        snapshot.exchanges.append(.init(virtualHost: host, name: "old", type: "fanout"))
        snapshot.queues.append(.init(.init(virtualHost: host, name: "old"), messages: 0))
        snapshot.queues.append(.init(.init(virtualHost: host, name: "full"), messages: 1))
        snapshot.queues.append(.init(.init(virtualHost: host, name: "mine"), isExclusive: true))
        snapshot.bindings.append(.init(.init(virtualHost: host, source: "old", destination: "old")))
        snapshot.bindings.append(.init(.init(virtualHost: host, source: "old", destination: "mine")))
        snapshot.policies.append(.init(virtualHost: host, name: "old", pattern: "", definition: [:]))
        snapshot.permissions.append(.init(user: "somebody", virtualHost: host))
        snapshot.queues.append(.init(.init(virtualHost: "/", name: "elsewhere")))
        snapshot.permissions.append(.init(user: "somebody", virtualHost: "/"))

        let plan = TopologyPlan(for: self.topology, on: snapshot)
        #expect(plan.isEmpty)
        #expect(plan.unmanaged.map(\.name) == ["somebody", "old", "old", "full", "old → old", "old"])

        let pruning = TopologyPlan(for: self.topology, on: snapshot, options: .init(prunes: true))
        #expect(pruning.unmanaged.isEmpty)
        #expect(pruning.steps.allSatisfy { $0.action == .delete })
        #expect(pruning.steps.map(\.resource.kind) == [.policy, .binding, .queue, .queue, .exchange, .permission])
        #expect(pruning.refused.map(\.resource.name) == ["full"])
    }

    @Test func doesNotPruneWhatGroupsNeed() {
        var snapshot = exactSnapshot(of: self.topology)
        let host = "myapp-vhost"
        func add(_ name: String, consumers: Int = 0) {
            snapshot.queues.append(.init(.init(virtualHost: host, name: name), messages: 0, consumers: consumers))
        }
        for name in ["orders.dead-letters", "orders.attempts", "orders.retry.60000ms", "parley.groups"] { add(name) }
        for name in ["mail", "mail.dead-letters", "mail.attempts"] { add(name) }
        add("gone.dead-letters")
        add("used", consumers: 2)
        for (source, queue) in [("parley.events", "mail"), ("parley.events", "used"), ("old", "used")] {
            snapshot.bindings.append(.init(.init(virtualHost: host, source: source, destination: queue)))
        }
        for name in ["parley.events", "old"] {
            snapshot.exchanges.append(.init(virtualHost: host, name: name, type: "topic"))
        }
        let names = ["old", "gone.dead-letters", "used", "parley.events → used", "old → used"]
        #expect(TopologyPlan(for: self.topology, on: snapshot).unmanaged.map(\.name) == names)
        let pruning = TopologyPlan(for: self.topology, on: snapshot, options: Self.everything)
        #expect(pruning.steps.map(\.resource.name) == names.reversed())
        #expect(pruning.refused.map(\.refusal) == ["it has 2 consumers: stop them first"])

        // A group whose queue the file names is the file's.
        var topology = self.topology
        topology.queues.append(.init(virtualHost: host, name: "mail"))
        let named = TopologyPlan(for: topology, on: snapshot)
        #expect(named.unmanaged.map(\.name).contains("parley.events → mail"))
        #expect(!named.unmanaged.map(\.name).contains("mail.dead-letters"))
    }

    private static let everything = TopologyPlan.Options(replaces: true, discardsMessages: true, prunes: true)

    /// RabbitMQ makes the virtual host first and grants then; whoever is killed in between has a host without rights.
    @Test func grantsTheOperatorWhatItNeeds() {
        var snapshot = TopologySnapshot(operatorName: "guest")
        snapshot.virtualHosts = self.topology.virtualHosts
        let plan = TopologyPlan(for: self.topology, on: snapshot)
        #expect(
            plan.steps.map(\.resource.kind)
                == [.user, .permission, .permission, .exchange, .queue, .binding, .policy]
        )
        #expect(plan.steps[2].resource == .init(.permission, "guest", in: "myapp-vhost"))
        // Nothing to declare: nothing to grant.
        var whole = exactSnapshot(of: self.topology)
        whole.permissions.removeAll { $0.user == "guest" }
        #expect(TopologyPlan(for: self.topology, on: whole).isEmpty)
    }

    @Test func makesAnUnfinishedHostAnew() {
        var snapshot = TopologySnapshot(operatorName: "guest")
        snapshot.virtualHosts = self.topology.virtualHosts
        snapshot.exchanges = self.topology.exchanges
        snapshot.unfinishedHosts = ["myapp-vhost"]
        let plan = TopologyPlan(for: self.topology, on: snapshot)
        #expect(plan.steps.map(\.resource.kind) == TopologyPlan.Kind.allCases)
        #expect(plan.steps.first?.operation == .remakeVirtualHost(self.topology.virtualHosts[0]))
    }

    @Test func aQueueThatNamesNoTypeMayHaveAny() {
        var topology = self.topology
        topology.queues[0].arguments = [:]
        let snapshot = exactSnapshot(of: self.topology)
        #expect(TopologyPlan(for: topology, on: snapshot).isEmpty)
        topology.queues[0].arguments = ["x-queue-type": "classic"]
        #expect(
            TopologyPlan(for: topology, on: snapshot).steps.prefix(1).map(\.fields) == [
                [.init("arguments.x-queue-type", from: #""quorum""#, to: #""classic""#)]
            ]
        )
    }

    @Test func aClassicQueueIsClassicWhetherTheBrokerSaysSoOrNot() {
        var topology = self.topology
        topology.queues[0].arguments = ["x-queue-type": "classic"]
        var snapshot = exactSnapshot(of: topology)
        for arguments in [[:], ["x-queue-type": "classic"]] as [[String: RabbitMQValue]] {
            snapshot.queues[0].queue.arguments = arguments
            snapshot.queues[0].type = "classic"
            #expect(TopologyPlan(for: topology, on: snapshot).isEmpty)
        }
    }
}

@Suite struct PasswordTests {
    /// Written by RabbitMQ 3.10.
    @Test func readsWhatTheBrokerWrites() {
        let stored = RabbitMQPasswordHash(value: "dbIRbVqdDx5/Y7Dx9sDJTlyuv5foFhMKbT+cU0xZHamozvDI")
        #expect(stored.matches(.init("guest")) == true)
        #expect(stored.matches(.init("Guest")) == false)
        #expect(RabbitMQPasswordHash(value: "").matches(.init("")) == false)
        #expect(RabbitMQPasswordHash(value: "no base64").matches(.init("x")) == false)
        #expect(RabbitMQPasswordHash(value: stored.value, algorithm: "of_my_own").matches(.init("guest")) == nil)
    }

    @Test func saltsWhatItWrites() {
        let random = SeededRandomSource(seed: 7)
        let first = RabbitMQPasswordHash(of: .init("pässword"), random: random)
        let second = RabbitMQPasswordHash(of: .init("pässword"), random: random)
        #expect(first != second)
        #expect(first.matches(.init("pässword")) == true)
        #expect(second.matches(.init("pässword")) == true)
    }

    @Test func isNeverShown() throws {
        let password = RabbitMQPassword("secretpassword")
        var dumped = ""
        dump(password, to: &dumped)
        dump(try RabbitMQManagementConfiguration(url: "http://u:secretpassword@h"), to: &dumped)
        #expect(!("\(password) \(String(reflecting: password))" + dumped).contains("secret"))
    }
}
