import HTTPTestSupport
import InMemoryLogging
import Logging
import ParleyCore
import ParleyDiscovery
import ParleyTestKit
import ProcessTestSupport
import ServiceLifecycle
import Synchronization
import Testing

@testable import ParleyConsul

@Suite(.timeLimit(.minutes(3))) struct ConsulRegistrarTests {
    private func quick(_ check: ConsulRegistrar.Check = .ttl(.seconds(1))) -> ConsulRegistrar.Configuration {
        var configuration = ConsulRegistrar.Configuration()
        configuration.check = check
        configuration.presenceInterval = .milliseconds(200)
        configuration.backoff = Backoff(initial: .milliseconds(10), cap: .milliseconds(200))
        configuration.registerTimeout = .seconds(30)
        configuration.deregisterTimeout = .seconds(30)
        return configuration
    }

    private static let register = "/v1/agent/service/register"

    // MARK: With the registry

    @Test func registersStaysAliveAndLeaves() async throws {
        try await withRegistry { endpoint in
            try await withClient(endpoint) { client in
                let health = Mutex(ConsulRegistrar.Health(.passing, note: "fine"))
                var configuration = self.quick(.ttl(.seconds(6)))
                configuration.health = { _ in health.withLock { $0 } }
                configuration.weights = Consul.Weights(passing: 7, warning: 3)
                let registrar = ConsulRegistrar(client: client, configuration: configuration, logger: testLogger)
                try await withRunning(registrar) { _ async throws in
                    try await registrar.register(instance("web-1"))
                    try await registrar.register(instance("web-2", port: 8_081))
                    let found = try await client.instances(of: "web").value
                    #expect(found.map(\.service.id) == ["web-1", "web-2"])
                    #expect(found.allSatisfy { $0.status == .passing && $0.weight == 7 })
                    #expect(found.first?.service.meta == ["parley_instance": "web-1"])
                    #expect(found.first?.service.tags == ["v1"] && found.first?.service.address == "127.0.0.1")
                    health.withLock { $0 = ConsulRegistrar.Health(.warning, note: "slow disk") }
                    #expect(
                        try await isEventually {
                            try await client.agentChecks()["service:web-1"]?.output == "slow disk"
                        }
                    )
                    #expect(try await client.agentChecks()["service:web-1"]?.status == .warning)
                    try await registrar.deregister("web-1")
                    try await registrar.deregister("web-1")
                    try await registrar.deregister("never there")
                    #expect(try await client.agentServices().keys.sorted() == ["web-2"])
                }
                #expect(try await client.agentServices().isEmpty)
                await #expect(throws: DiscoveryError.self) { try await registrar.register(instance("web-3")) }
                try await registrar.deregister("web-3")
            }
        }
    }

    @Test(arguments: ["http", "tcp", "grpc", "ttl"]) func eachCheckIsTaken(_ kind: String) async throws {
        try await withRegistry { endpoint in
            try await withClient(endpoint) { client in
                let check: ConsulRegistrar.Check =
                    switch kind {
                    case "http": .http()
                    case "tcp": .tcp()
                    case "grpc": .grpc(service: "shop.Users")
                    default: .ttl(.seconds(60))
                    }
                let registrar = ConsulRegistrar(client: client, configuration: self.quick(check), logger: testLogger)
                try await withRunning(registrar) { _ async throws in
                    try await registrar.register(instance("web-1", port: 1))
                    let found = try await client.agentChecks()["service:web-1"]
                    #expect(found?.kind == kind)
                }
            }
        }
    }

    @Test func aSilentProcessIsCritical() async throws {
        try await withRegistry { endpoint in
            try await withClient(endpoint) { client in
                let isSilent = Mutex(false)
                var configuration = self.quick(.ttl(.seconds(1)))
                configuration.health = { _ in
                    // Hangs until it is cancelled.
                    if isSilent.withLock({ $0 }) { try? await SystemTimeSource().sleep(for: .seconds(3_600)) }
                    return .passing
                }
                let registrar = ConsulRegistrar(client: client, configuration: configuration, logger: testLogger)
                try await withRunning(registrar) { _ async throws in
                    try await registrar.register(instance("web-1"))
                    #expect(try await client.agentChecks()["service:web-1"]?.status == .passing)
                    isSilent.withLock { $0 = true }
                    #expect(
                        try await isEventually { try await client.agentChecks()["service:web-1"]?.status == .critical }
                    )
                }
                // A health that hangs keeps nobody from leaving.
                #expect(try await client.agentServices().isEmpty)
            }
        }
    }

    @Test(arguments: [true, false]) func anAgentThatHasForgottenUsIsTold(_ usesTTL: Bool) async throws {
        try await withRegistry { endpoint in
            try await withClient(endpoint) { client in
                let configuration = self.quick(usesTTL ? .ttl(.seconds(1)) : .tcp())
                let registrar = ConsulRegistrar(client: client, configuration: configuration, logger: testLogger)
                try await withRunning(registrar) { _ async throws in
                    try await registrar.register(instance("web-1"))
                    try await client.deregister(serviceID: "web-1")
                    #expect(try await isEventually { try await client.agentService("web-1") != nil })
                    if usesTTL {
                        // Also when only its check is gone.
                        try await client.deregister(checkID: "service:web-1")
                        #expect(try await isEventually { try await client.agentChecks()["service:web-1"] != nil })
                    }
                }
            }
        }
    }

    @Test func anAgentThatComesBackEmptyIsTold() async throws {
        let (logger, log) = recordingLogger()
        let port = try await withRegistry { $0.port }
        try await withClient(Endpoint(host: "127.0.0.1", port: port)) { client in
            let registrar = ConsulRegistrar(client: client, configuration: self.quick(), logger: logger)
            try await withRunning(registrar) { _ async throws in
                try await withRegistry(port: port) { _ async throws in
                    try await registrar.register(instance("web-1"))
                    #expect(try await client.agentService("web-1") != nil)
                }
                #expect(try await isEventually { log.entries.contains { $0.level == .warning } })
                try await withRegistry(port: port) { _ async throws in
                    #expect(try await isEventually { try await client.agentService("web-1") != nil })
                    #expect(try await isEventually { log.entries.last?.level == .info })
                    // One line when it began to fail, however often it was tried.
                    #expect(log.entries.filter { $0.level == .warning }.count == 1)
                    try await registrar.deregister("web-1")
                }
            }
        }
    }

    @Test func theServiceGoesOnWithoutAnAgent() async throws {
        let port = try await withRegistry { $0.port }
        try await withClient(Endpoint(host: "127.0.0.1", port: port)) { client in
            var configuration = self.quick()
            configuration.registerTimeout = .milliseconds(100)
            configuration.deregisterTimeout = .milliseconds(200)
            let (logger, log) = recordingLogger()
            let registrar = ConsulRegistrar(client: client, configuration: configuration, logger: logger)
            try await withRunning(registrar) { _ async throws in
                try await registrar.register(instance("web-1"))
                try await withRegistry(port: port) { _ async throws in
                    #expect(try await isEventually { try await client.agentService("web-1") != nil })
                }
            }
            // It could not be told, and the shutdown did not wait for it.
            #expect(log.entries.contains { $0.level == .warning && "\($0.message)".contains("has left") })
        }
    }

    // MARK: With an agent that misbehaves

    @Test func aLostReplyIsRepeatedAsItWas() async throws {
        try await ScriptedAgent.with { request in
            request.path == Self.register && request.count <= 3 ? .drop : .answer(200, "")
        } _: { endpoint, agent in
            try await withClient(endpoint) { client in
                let registrar = ConsulRegistrar(client: client, configuration: self.quick(), logger: testLogger)
                try await withRunning(registrar) { _ async throws in try await registrar.register(instance("web-1")) }
                let sent = agent.requests.filter { $0.path == Self.register }.map(\.body)
                #expect(sent.count == 4)
                #expect(sent.allSatisfy { $0.contains(#""ID":"web-1""#) && $0.utf8.count == sent[0].utf8.count })
            }
        }
    }

    @Test(arguments: [
        ScriptedAgent.Reply.answer(404, #"Unknown check ID "service:web-1". Ensure that the check ID is passed."#),
        .answer(500, #"CheckID "service:web-1" does not have associated TTL"#),
    ])
    func newAndOldAgentsSayThatTheyForgot(_ forgot: ScriptedAgent.Reply) async throws {
        try await ScriptedAgent.with { request in
            request.path.contains("/update/") && request.count == 2 ? forgot : .answer(200, "")
        } _: { endpoint, agent in
            try await withClient(endpoint) { client in
                let registrar = ConsulRegistrar(client: client, configuration: self.quick(), logger: testLogger)
                try await withRunning(registrar) { _ async throws in
                    try await registrar.register(instance("web-1"))
                    try await agent.wait { $0.count("PUT", Self.register) == 2 }
                }
            }
        }
    }

    @Test(arguments: [
        (ScriptedAgent.Reply.answer(400, "Invalid service address"), DiscoveryError.Code.invalidInstance),
        (.answer(403, "Permission denied"), .registryUnavailable), (.answer(404, ""), .registryUnavailable),
    ])
    func whatIsRefusedIsSaidAndNotKept(_ reply: ScriptedAgent.Reply, _ code: DiscoveryError.Code) async throws {
        try await ScriptedAgent.with { _ in
            reply
        } _: { endpoint, agent in
            try await withClient(endpoint) { client in
                let registrar = ConsulRegistrar(client: client, configuration: self.quick(), logger: testLogger)
                try await withRunning(registrar) { _ async throws in
                    let error = await #expect(throws: DiscoveryError.self) {
                        try await registrar.register(instance("web-1"))
                    }
                    #expect(error?.code == code && error?.retry == .permanent)
                    agent.change { _ in .answer(200, "") }
                    // It may be registered after all, as it is or mended.
                    try await registrar.register(instance("web-1"))
                    #expect(agent.count("PUT", Self.register) == 2)
                }
            }
        }
    }

    @Test func aRefusalLaterOnIsTriedAgain() async throws {
        try await ScriptedAgent.with { request in
            request.path.contains("/update/") && request.count < 4 ? .answer(403, "ACL not found") : .answer(200, "")
        } _: { endpoint, agent in
            try await withClient(endpoint) { client in
                let registrar = ConsulRegistrar(client: client, configuration: self.quick(), logger: testLogger)
                try await withRunning(registrar) { _ async throws in
                    try await registrar.register(instance("web-1"))
                    try await agent.wait { agent in agent.requests.filter { $0.path.contains("/update/") }.count >= 5 }
                    #expect(agent.count("PUT", Self.register) == 1)
                }
            }
        }
    }

    @Test func anHourThatWasSleptIsOneSignOfLife() async throws {
        let clock = ManualClock()
        try await ScriptedAgent.with { _ in
            .answer(200, "")
        } _: { endpoint, agent in
            try await withClient(endpoint, time: clock) { client in
                let registrar = ConsulRegistrar(client: client, logger: testLogger)
                func beats(_ agent: ScriptedAgent) -> Int {
                    agent.requests.filter { $0.path.contains("/update/") }.count
                }
                try await withRunning(registrar) { _ async throws in
                    try await registrar.register(instance("web-1"))
                    for count in 1...3 {
                        // The next sign of life, not the end of a request that is under way.
                        let soon = clock.now.advanced(by: .seconds(5))
                        #expect(try await isEventually { clock.nextWake.map { $0 <= soon } == true })
                        clock.jumpWall(by: .seconds(-86_400))
                        clock.advance(by: .seconds(3_600))
                        try await agent.wait { beats($0) >= count }
                    }
                    #expect(beats(agent) == 3)
                }
                #expect(agent.requests.last?.path == "/v1/agent/service/deregister/web-1")
            }
        }
    }

    @Test func leavingDoesNotWaitForAnAgentThatHangs() async throws {
        try await ScriptedAgent.with { request in
            request.path.contains("/deregister/") ? .hang : .answer(200, "")
        } _: { endpoint, _ in
            try await withClient(endpoint) { client in
                var configuration = self.quick()
                configuration.deregisterTimeout = .milliseconds(200)
                let (logger, log) = recordingLogger()
                let registrar = ConsulRegistrar(client: client, configuration: configuration, logger: logger)
                try await withRunning(registrar) { _ async throws in try await registrar.register(instance("web-1")) }
                #expect(log.entries.map { "\($0.message)".contains("has left") } == [true])
            }
        }
    }

    @Test func registeringWhileLeavingStays() async throws {
        try await withRegistry { endpoint in
            try await withClient(endpoint) { client in
                let registrar = ConsulRegistrar(client: client, configuration: self.quick(), logger: testLogger)
                try await withRunning(registrar) { _ async throws in
                    for round in 1...20 {
                        try await registrar.register(instance("web-1", port: round))
                        async let left: Void = registrar.deregister("web-1")
                        try await registrar.register(instance("web-1", port: 1_000 + round))
                        try await left
                        let service = try await client.agentService("web-1")
                        // Whichever came last.
                        if let service { #expect(service.port == 1_000 + round) }
                    }
                    try await registrar.register(instance("web-1", port: 9_999))
                    #expect(try await client.agentService("web-1")?.port == 9_999)
                    try await registrar.deregister("web-1")
                    #expect(try await client.agentService("web-1") == nil)
                }
            }
        }
    }

    @Test func limitsAndNonsenseAreRefused() async throws {
        try await withClient(try await unusedEndpoint()) { client in
            var configuration = self.quick()
            configuration.maximumInstances = 1
            configuration.registerTimeout = .milliseconds(100)
            let registrar = ConsulRegistrar(client: client, configuration: configuration, logger: testLogger)
            for wrong in [instance(""), instance("a", port: 0), instance("a", port: 65_536)] {
                let error = await #expect(throws: DiscoveryError.self) { try await registrar.register(wrong) }
                #expect(error?.code == .invalidInstance)
            }
            let idle = await #expect(throws: DiscoveryError.self) { try await registrar.register(instance("web-1")) }
            #expect(idle?.message.contains("ServiceGroup") == true)
            configuration.deregisterTimeout = .milliseconds(50)
            let running = ConsulRegistrar(client: client, configuration: configuration, logger: testLogger)
            try await withRunning(running) { _ async throws in
                try await running.register(instance("web-1"))
                let full = await #expect(throws: DiscoveryError.self) { try await running.register(instance("web-2")) }
                #expect(full?.code == .registryFull)
            }
        }
    }
}
