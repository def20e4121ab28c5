import HTTPTestSupport
import InMemoryLogging
import Logging
import ParleyCore
import ParleyDiscovery
import ParleyTestKit
import ProcessTestSupport
import Testing

@testable import ParleyConsul

@Suite(.timeLimit(.minutes(3))) struct ConsulResolverTests {
    private func quick() -> ConsulResolver.Configuration {
        var configuration = ConsulResolver.Configuration()
        configuration.watch = quickWatch()
        configuration.firstAnswerTimeout = .seconds(20)
        return configuration
    }

    private func ids(_ resolver: ConsulResolver, _ service: ServiceName = "web") async throws -> [String] {
        try await resolver.resolve(service).map(\.id).sorted()
    }

    @Test func followsTheRegistry() async throws {
        try await withRegistry { endpoint in
            try await withClient(endpoint) { client in
                let resolver = ConsulResolver(client: client, configuration: self.quick(), logger: testLogger)
                try await withRunning(resolver) { _ async throws in
                    #expect(try await ids(resolver) == [])
                    var web = Consul.Registration(name: "web", id: "web-1", port: 80, tags: ["v1"], meta: ["a": "b"])
                    web.checks = [Consul.CheckDefinition(.ttl(.seconds(60)), id: "alive", status: .passing)]
                    try await client.register(web)
                    #expect(try await isEventually { try await ids(resolver) == ["web-1"] })
                    let found = try #require(try await resolver.resolve("web").first)
                    // Without an address of its own it has the node's.
                    #expect(found.endpoint == Endpoint(host: "127.0.0.1", port: 80) && found.tags == ["v1"])
                    #expect(found.metadata == ["a": "b", "consul.node": "refnode", "weight": "1"])
                    try await client.fail("alive")
                    #expect(try await isEventually { try await ids(resolver) == [] })
                    try await client.warn("alive")
                    #expect(try await isEventually { try await ids(resolver) == ["web-1"] })
                    try await client.setMaintenance(ofService: "web-1", true)
                    #expect(try await isEventually { try await ids(resolver) == [] })
                }
                // It has ended, and what it knew stays its answer.
                #expect(try await ids(resolver) == [])
            }
        }
    }

    @Test func passingOnlyIsAChoice() async throws {
        try await withRegistry { endpoint in
            try await withClient(endpoint) { client in
                for (id, status) in [("a", HealthStatus.passing), ("b", .warning), ("c", .critical)] {
                    let check = Consul.CheckDefinition(.ttl(.seconds(60)), status: status)
                    try await client.register(Consul.Registration(name: "web", id: id, port: 1, checks: [check]))
                }
                for (isPassingOnly, expected) in [(false, ["a", "b"]), (true, ["a"])] {
                    var configuration = self.quick()
                    configuration.isPassingOnly = isPassingOnly
                    let resolver = ConsulResolver(client: client, configuration: configuration, logger: testLogger)
                    try await withRunning(resolver) { _ async throws in
                        let found = try await ids(resolver)
                        #expect(found == expected)
                    }
                }
            }
        }
    }

    @Test func whatCannotBeCalledIsLeftOut() throws {
        func instance(_ id: String, _ status: HealthStatus, node: String, host: String, port: Int) -> Consul.Instance {
            Consul.Instance(
                node: .init(id: "", name: node, address: "10.9.9.9", datacenter: "dc1", meta: [:]),
                service: .init(
                    id: id,
                    name: "web",
                    address: host,
                    port: port,
                    tags: [],
                    meta: ["consul.node": "mine"],
                    passingWeight: 10,
                    warningWeight: 2
                ),
                checks: [
                    .init(
                        id: "c",
                        name: "c",
                        status: status,
                        output: "",
                        notes: "",
                        serviceID: id,
                        serviceName: "web",
                        node: node,
                        kind: "ttl"
                    )
                ]
            )
        }
        let found = InstanceMapping.instances(
            [
                instance("a", .passing, node: "n1", host: "", port: 80),
                instance("a", .warning, node: "n2", host: "10.0.0.2", port: 80),
                instance("b", .critical, node: "n1", host: "10.0.0.3", port: 80),
                instance("c", .passing, node: "n1", host: "10.0.0.4", port: 0),
                instance("d", .passing, node: "n1", host: "10.0.0.5", port: 70_000),
                instance("e", .warning, node: "n1", host: "::1", port: 80),
            ],
            of: "web"
        )
        #expect(found.map(\.id) == ["a@n1", "a@n2", "e"])
        #expect(found.map { "\($0.endpoint)" } == ["10.9.9.9:80", "10.0.0.2:80", "[::1]:80"])
        #expect(found.map { $0.metadata["weight"] } == ["10", "2", "2"])
        #expect(found.allSatisfy { $0.metadata["consul.node"] == "mine" })
    }

    @Test func keepsItsInstancesWhileTheAgentIsAwayAndSaysSoOnce() async throws {
        let (logger, log) = recordingLogger()
        let answer = ScriptedAgent.Reply.found(entries("a", "b"), index: 5)
        try await ScriptedAgent.with { request in
            request.index == nil ? answer : .hang
        } _: { endpoint, agent in
            try await withClient(endpoint) { client in
                let resolver = ConsulResolver(client: client, configuration: self.quick(), logger: logger)
                let services = (0..<5).map { ServiceName("service-\($0)") ?? "none" }
                try await withRunning(resolver) { _ async throws in
                    for service in services { #expect(try await ids(resolver, service) == ["a", "b"]) }
                    agent.change { _ in .answer(500, "No cluster leader") }
                    await agent.hangUp()
                    for service in services {
                        #expect(try await isEventually { agent.count("GET", "/v1/health/service/\(service)") >= 4 })
                    }
                    for service in ["x", "y"] as [ServiceName] {
                        await #expect(throws: DiscoveryError.self) {
                            try await RequestContext(
                                requestID: "r",
                                deadline: Deadline(after: .milliseconds(300), on: SystemTimeSource())
                            ).withCurrent { _ = try await resolver.resolve(service) }
                        }
                    }
                    #expect(try await isEventually { agent.count("GET", "/v1/health/service/x") >= 5 })
                    for service in services { #expect(try await ids(resolver, service) == ["a", "b"]) }
                    #expect(log.entries.map(\.level) == [.warning])
                    // The first questions after a failure wait for a short time only.
                    agent.change { request in request.query.contains("wait=55s") ? .hang : answer }
                    #expect(try await isEventually { try await ids(resolver, "x") == ["a", "b"] })
                    #expect(try await isEventually { log.entries.map(\.level) == [.warning, .info] })
                }
            }
        }
    }

    @Test func anAgentThatDiesAndComesBackTakesNoInstanceAway() async throws {
        var configuration = self.quick()
        configuration.watch.wait = .seconds(1)
        func serve(_ port: Int, _ body: (Endpoint, ScriptedAgent) async throws -> Void) async throws {
            try await ScriptedAgent.with(port: port) { request in
                request.index == nil ? .found(entries("a"), index: 5) : .hang
            } _: { endpoint, agent in
                try await body(endpoint, agent)
            }
        }
        // A port that stays ours while nobody listens would be refused to the second agent: it is taken again at once.
        let port = try await { () async throws -> Int in
            var port = 0
            try await serve(0) { endpoint, _ in port = endpoint.port }
            return port
        }()
        try await withClient(Endpoint(host: "127.0.0.1", port: port)) { client in
            let resolver = ConsulResolver(client: client, configuration: configuration, logger: testLogger)
            try await withRunning(resolver) { _ async throws in
                // The first call comes before the agent does.
                let first = Task { try await ids(resolver) }
                try await serve(port) { _, _ in
                    let found = try await first.value
                    #expect(found == ["a"])
                }
                #expect(try await isEventually { resolver.statuses["web"]?.failure != nil })
                for _ in 0..<100 { #expect(try await ids(resolver) == ["a"]) }
                try await serve(port) { _, agent async throws in
                    #expect(try await isEventually { agent.requests.contains { $0.index == 5 } })
                    #expect(try await ids(resolver) == ["a"])
                }
            }
        }
    }

    @Test func aFirstCallWaitsNoLongerThanItMay() async throws {
        let clock = ManualClock()
        try await ScriptedAgent.with { _ in
            .hang
        } _: { endpoint, agent in
            try await withClient(endpoint, time: clock) { client in
                let resolver = ConsulResolver(client: client, logger: testLogger)
                try await withRunning(resolver) { _ async throws in
                    async let answer: Void = {
                        await #expect(throws: DiscoveryError.self) { try await ids(resolver) }
                    }()
                    try await agent.wait { $0.requests.count == 1 }
                    // The request, the first call's limit, and how long the service is watched without calls.
                    await clock.waitForSleepers(3)
                    clock.advance(by: .seconds(5))
                    await answer
                    // The others do not wait as long again.
                    await #expect(throws: DiscoveryError.self) { try await ids(resolver) }
                }
            }
        }
    }

    @Test func aWrongTokenFailsAtOnce() async throws {
        try await withRegistry(token: "right") { endpoint in
            try await withClient(endpoint) { client in
                var configuration = self.quick()
                configuration.firstAnswerTimeout = .seconds(3_600)
                let resolver = ConsulResolver(client: client, configuration: configuration, logger: testLogger)
                try await withRunning(resolver) { _ async throws in
                    let error = await #expect(throws: DiscoveryError.self) { try await ids(resolver) }
                    #expect(error?.code == .registryUnavailable && error?.retry == .permanent)
                    #expect(error?.message.contains("token") == true)
                }
            }
        }
    }

    @Test func aResolverThatDoesNotRunSaysSo() async throws {
        try await withClient(try await unusedEndpoint()) { client in
            var configuration = self.quick()
            configuration.firstAnswerTimeout = .milliseconds(50)
            let resolver = ConsulResolver(client: client, configuration: configuration, logger: testLogger)
            let error = await #expect(throws: DiscoveryError.self) { try await ids(resolver) }
            #expect(error?.message.contains("ServiceGroup") == true)
        }
    }

    @Test func whatNobodyAsksForIsForgotten() async throws {
        let clock = ManualClock()
        try await ScriptedAgent.with { request in
            request.index == nil ? .found(entries("a"), index: 5) : .hang
        } _: { endpoint, _ in
            try await withClient(endpoint, time: clock) { client in
                var configuration = ConsulResolver.Configuration()
                configuration.idleTime = .seconds(30)
                configuration.maximumServices = 2
                let resolver = ConsulResolver(client: client, configuration: configuration, logger: testLogger)
                try await withRunning(resolver) { _ async throws in
                    #expect(try await ids(resolver, "one") == ["a"])
                    clock.advance(by: .seconds(1))
                    #expect(try await ids(resolver, "two") == ["a"])
                    clock.advance(by: .seconds(1))
                    // One too many: the one that was asked for longest ago goes.
                    #expect(try await ids(resolver, "three") == ["a"])
                    #expect(resolver.statuses.keys.map(\.description).sorted() == ["three", "two"])
                    clock.advance(by: .seconds(20))
                    #expect(try await ids(resolver, "two") == ["a"])
                    // Two watches, each with a question and its idle time.
                    await clock.waitForSleepers(4)
                    clock.advance(by: .seconds(11))
                    #expect(try await isEventually { resolver.statuses.keys.map(\.description) == ["two"] })
                    #expect(try await ids(resolver, "three") == ["a"])
                }
            }
        }
    }

    @Test func aThousandServicesAreWatchedOverFewConnections() async throws {
        try await withRegistry { endpoint in
            try await withClient(endpoint) {
                $0.maximumWaitingQuestions = 64
                $0.connectTimeout = .seconds(20)
                $0.requestTimeout = .seconds(30)
            } _: { client in
                var configuration = self.quick()
                configuration.firstAnswerTimeout = .seconds(120)
                configuration.watch.wait = .seconds(2)
                configuration.watch.shortWait = .seconds(1)
                let resolver = ConsulResolver(client: client, configuration: configuration, logger: testLogger)
                let names = (0..<1_000).map { "service-\($0)" }
                for name in names { try await client.register(Consul.Registration(name: name, port: 1)) }
                try await withRunning(resolver) { _ async throws in
                    try await withThrowingTaskGroup(of: Int.self) { group in
                        for name in names {
                            group.addTask { try await resolver.resolve(ServiceName(name) ?? "none").count }
                        }
                        for try await count in group { #expect(count == 1) }
                    }
                    #expect(resolver.statuses.count == 1_000)
                    for name in ["service-0", "service-999"] {
                        try await client.register(Consul.Registration(name: name, id: "another", port: 2))
                        let service = ServiceName(name) ?? "none"
                        #expect(
                            try await isEventually(within: .seconds(90)) {
                                try await resolver.resolve(service).count == 2
                            }
                        )
                    }
                    #expect(resolver.statuses.values.allSatisfy { $0.failure == nil })
                }
            }
        }
    }
}
