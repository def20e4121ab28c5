internal import ParleyCore
internal import ParleyDiscovery
internal import Testing

private func instance(_ id: String, of service: ServiceName = "user-service", port: Int = 8_001) -> ServiceInstance {
    ServiceInstance(id: id, service: service, endpoint: Endpoint(host: "127.0.0.1", port: port))
}

@Suite struct StaticResolverTests {
    @Test func answersItsAddressesWithIDsOfTheirOwn() async throws {
        let resolver = StaticResolver(["user-service": [Endpoint(host: "a", port: 1), Endpoint(host: "b", port: 2)]])
        let instances = try await resolver.resolve("user-service")
        #expect(instances.map(\.id) == ["user-service-1", "user-service-2"])
        #expect(instances.map(\.endpoint.host) == ["a", "b"])
    }

    @Test func answersAnUnknownServiceWithNobody() async throws {
        #expect(try await StaticResolver([:]).resolve("user-service").isEmpty)
    }
}

@Suite struct InProcessRegistryTests {
    @Test func answersWhatIsRegistered() async throws {
        let registry = InProcessRegistry()
        try await registry.register(instance("1"))
        try await registry.register(instance("2", port: 8_002))
        try await registry.register(instance("3", of: "order-service"))
        #expect(try await registry.resolve("user-service").map(\.id) == ["1", "2"])
        try await registry.deregister("1")
        try await registry.deregister("1")
        #expect(try await registry.resolve("user-service").map(\.id) == ["2"])
    }

    @Test func anIDThatIsRegisteredAgainReplacesTheOldOneAlsoUnderAnotherService() async throws {
        let registry = InProcessRegistry()
        try await registry.register(instance("1"))
        try await registry.register(instance("1", of: "order-service", port: 9))
        #expect(try await registry.resolve("user-service").isEmpty)
        #expect(try await registry.resolve("order-service").map(\.endpoint.port) == [9])
    }

    @Test func asksTheFallbackOnlyForWhatItDoesNotHave() async throws {
        let elsewhere = StaticResolver([
            "user-service": [Endpoint(host: "far", port: 1)], "order-service": [Endpoint(host: "far", port: 2)],
        ])
        let registry = InProcessRegistry()
        let both = FallbackResolver([registry, elsewhere])
        try await registry.register(instance("1"))
        #expect(try await both.resolve("user-service").map(\.endpoint.host) == ["127.0.0.1"])
        #expect(try await both.resolve("order-service").map(\.endpoint.host) == ["far"])
        try await registry.deregister("1")
        #expect(try await both.resolve("user-service").map(\.endpoint.host) == ["far"])
    }

    @Test func anotherResolverHelpsOutForOneThatCannotBeAsked() async throws {
        struct Broken: ServiceResolver {
            func resolve(_ service: ServiceName) async throws -> [ServiceInstance] {
                throw DiscoveryError(.registryUnavailable, "away", retry: .notSent)
            }
        }
        let known = StaticResolver(["user-service": [Endpoint(host: "far", port: 1)]])
        let both = FallbackResolver([Broken(), known])
        #expect(try await both.resolve("user-service").count == 1)
        // "There is none" would be more than anybody knows.
        await #expect(throws: DiscoveryError.self) { try await both.resolve("order-service") }
    }

    @Test(arguments: [instance(""), instance("1", port: 0), instance("1", port: 65_536)])
    func refusesWhatCannotBeCalled(_ instance: ServiceInstance) async throws {
        let error = await #expect(throws: DiscoveryError.self) { try await InProcessRegistry().register(instance) }
        #expect(error?.code == .invalidInstance)
        #expect(error?.retry == .permanent)
    }

    @Test func isFullAtItsLimit() async throws {
        let registry = InProcessRegistry()
        for number in 0..<InProcessRegistry.maxInstances { try await registry.register(instance("\(number)")) }
        try await registry.register(instance("0", port: 9))
        let error = await #expect(throws: DiscoveryError.self) { try await registry.register(instance("more")) }
        #expect(error?.code == .registryFull)
        #expect(try await registry.resolve("user-service").count == InProcessRegistry.maxInstances)
    }
}

@Suite struct RoundRobinTests {
    private let three = ["a", "b", "c"].map { instance($0) }

    @Test func takesEachInTurn() {
        let turns = RoundRobin()
        let picks = (0..<6).compactMap { _ in turns.pick(from: self.three, of: "user-service")?.id }
        #expect(picks == ["a", "b", "c", "a", "b", "c"])
    }

    @Test func avoidsWhatFailedWhileThereAreOthers() {
        let turns = RoundRobin()
        for _ in 0..<4 {
            #expect(turns.pick(from: self.three, of: "user-service", avoiding: ["a", "c"])?.id == "b")
        }
        #expect(turns.pick(from: self.three, of: "user-service", avoiding: ["a", "b", "c"]) != nil)
    }

    @Test func picksNobodyFromNobody() {
        #expect(RoundRobin().pick(from: [], of: "user-service") == nil)
    }
}

@Suite struct HealthStatusTests {
    @Test func theWorstIsTheLargest() {
        #expect(HealthStatus.allCases.shuffled().max() == .critical)
        #expect([HealthStatus.passing, .warning].max() == .warning)
    }
}
