import Foundation
import GRPCCore
import GRPCNIOTransportHTTP2Posix
import HTTPTestSupport
import ParleyCore
import ParleyDiscovery
import ParleyGRPC
import ParleyResilience
import ProcessTestSupport
import Testing

@Suite(.timeLimit(.minutes(3))) struct ClientTests {
    /// Two instances as processes of their own; one is killed while 2,000 calls that may be repeated are made.
    @Test func nobodyNoticesThatAnInstanceIsKilled() async throws {
        let first = try await ServerProcess.start()
        let second = try await ServerProcess.start()
        try await withClient(at(first.endpoint, second.endpoint)) { client async throws in
            let done = TestRPCs.Seen()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for worker in 0..<8 {
                    group.addTask {
                        for number in 0..<250 {
                            let text = "\(worker).\(number)"
                            let answer = try await client.text("Echo", text, isRepeatable: true)
                            #expect(answer == text)
                            if done.add(text) == 500 { first.process.signal(SIGKILL) }
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect(done.all.count == 2_000)
            // Its breaker is open, and says so.
            #expect(client.snapshot.services.first?.instances.contains { $0.breaker == .open } == true)
        }
        await second.process.killNow()
    }

    @Test func whatWasNotSentIsSentElsewhereWhateverItIs() async throws {
        let nobody = try await unusedEndpoint()
        try await withServer { _, endpoint async throws in
            try await withClient(at(nobody, endpoint)) { client async throws in
                for number in 0..<20 {
                    let (answer, story) = try await client.explainedCall("test-service") { connection, options in
                        try await connection.unary(
                            request: ClientRequest(message: "\(number)"),
                            descriptor: TestRPCs.method("Echo"),
                            serializer: TextCodec(),
                            deserializer: TextCodec(),
                            options: options
                        ) { try $0.message }
                    }
                    #expect(answer == "\(number)")
                    #expect(story.attempts.last?.endpoint == "\(endpoint)")
                }
            }
        }
    }

    @Test func whatMayHaveRunIsNotSentAgain() async throws {
        let rpcs = TestRPCs()
        try await withServer(rpcs) { _, endpoint async throws in
            try await withClient(at(endpoint)) { client async throws in
                let once = await failure { try await client.text("Fail", "status") }
                #expect(once?.attempts == 1 && once?.retry == .mayHaveRun && rpcs.seen.all.count == 1)
                #expect(once?.explanation.description.contains("must not be repeated") == true)
                let often = await failure { try await client.text("Fail", "status", isRepeatable: true) }
                #expect(often?.attempts == 3 && rpcs.seen.all.count == 4)
            }
        }
    }

    @Test func saysWhatIsWrongWhenNobodyCanBeCalled() async throws {
        let nobody = try await unusedEndpoint()
        try await withClient(StaticResolver([:])) { client async throws in
            let error = await failure { try await client.text("Echo", of: "unknown-service") }
            #expect(error?.code == .noInstance && error?.retry == .notSent)
            #expect(error?.message.contains("unknown-service") == true)
        }
        try await withClient(at(nobody)) { client async throws in
            let error = await failure { try await client.text("Echo") }
            #expect(error?.code == .connectFailed && error?.retry == .notSent)
            #expect(error?.problem.status == 503)
            // What a stranger reads names no address.
            #expect(error?.problem.detail?.contains("\(nobody.port)") == false)
        }
        struct Broken: ServiceResolver {
            func resolve(_ service: ServiceName) async throws -> [ServiceInstance] {
                throw DiscoveryError(.registryUnavailable, "the registry is away", retry: .notSent)
            }
        }
        try await withClient(Broken()) { client async throws in
            let error = await failure { try await client.text("Echo") }
            #expect(error?.code == .resolverFailed && error?.message.contains("the registry is away") == true)
        }
    }

    @Test func endsAtItsDeadline() async throws {
        let rpcs = TestRPCs()
        try await withServer(rpcs) { _, endpoint async throws in
            try await withClient(at(endpoint)) { client async throws in
                // So that there is a connection: what could not be sent would be another failure.
                _ = try await client.text("Context")
                let deadline = Deadline(ContinuousClock.now.advanced(by: .seconds(1)))
                let error = await failure { try await client.text("Wait", deadline: deadline) }
                #expect(error?.status?.code == .deadlineExceeded && error?.problem.status == 504)
                #expect(try await isEventually { rpcs.seen.all == ["waiting", "cancelled"] })
                let late = await failure { try await client.text("Wait", deadline: deadline) }
                #expect(late?.code == .deadlinePassed && late?.retry == .notSent && late?.attempts == 0)
            }
        }
    }

    @Test func aCallerWhoGoesAwayTakesItsCallAlong() async throws {
        let rpcs = TestRPCs()
        try await withServer(rpcs) { _, endpoint async throws in
            try await withClient(at(endpoint)) { client async throws in
                let call = Task { try await client.text("Wait") }
                #expect(try await isEventually { rpcs.seen.all == ["waiting"] })
                call.cancel()
                await #expect(throws: CancellationError.self) { try await call.value }
                #expect(try await isEventually { rpcs.seen.all == ["waiting", "cancelled"] })
            }
        }
    }

    @Test func aClientThatIsNotRunningEndsAtTheDeadline() async throws {
        try await withServer { _, endpoint async throws in
            let client = GRPCServiceClient(
                configuration: .init(name: "tester"),
                resolver: at(endpoint),
                logger: quiet
            )
            let deadline = Deadline(ContinuousClock.now.advanced(by: .milliseconds(200)))
            let error = await failure { try await client.text("Echo", deadline: deadline) }
            #expect(error?.retry == .notSent)
        }
    }

    @Test func largeMessagesPassUpToTheLimit() async throws {
        try await withServer { _, endpoint async throws in
            try await withClient(at(endpoint), configure: { $0.policy = .plain }) { client async throws in
                let text = String(repeating: "x", count: 4_000_000)
                let answer = try await client.text("Echo", text)
                #expect(answer == text)
                let error = await failure { try await client.text("Echo", text + text) }
                #expect(error?.code == .status)
                let after = try await client.text("Echo", "small")
                #expect(after == "small")
            }
        }
    }

    @Test func connectionsAreLimitedAndTheIdleOnesGiveWay() async throws {
        try await withServer { _, first async throws in
            try await withServer { _, second async throws in
                let registry = InProcessRegistry()
                try await registry.register(ServiceInstance(id: "1", service: "test-service", endpoint: first))
                try await registry.register(ServiceInstance(id: "2", service: "other-service", endpoint: second))
                try await withClient(registry, configure: { $0.maxConnections = 1 }) { client async throws in
                    for _ in 0..<3 {
                        let first = try await client.text("Echo", "1")
                        let second = try await client.text("Echo", "2", of: "other-service")
                        #expect(first == "1" && second == "2")
                    }
                }
            }
        }
    }

    /// The metadata names another port than the endpoint, as an instance registers that answers HTTP as well.
    @Test func callsThePortThatTheInstanceNames() async throws {
        try await withServer { _, endpoint async throws in
            let registry = InProcessRegistry()
            try await registry.register(
                ServiceInstance(
                    id: "1",
                    service: "test-service",
                    endpoint: Endpoint(host: "127.0.0.1", port: 1),
                    metadata: [ServiceInstance.grpcPort: "\(endpoint.port)"]
                )
            )
            try await withClient(registry) { client async throws in
                let answer = try await client.text("Echo", "found")
                #expect(answer == "found")
            }
        }
    }

    @Test func anInstanceIsTakenOutByHandAndBack() async throws {
        try await withServer { _, endpoint async throws in
            try await withClient(at(endpoint)) { client async throws in
                #expect(client.isolate("test-service-1", of: "test-service"))
                let error = await failure { try await client.text("Echo") }
                #expect(error?.code == .noInstanceAvailable && error?.retry == .notSent)
                #expect(client.release("test-service-1", of: "test-service"))
                let answer = try await client.text("Echo", "back")
                #expect(answer == "back")
            }
        }
    }

    /// The address of one has passed to the other, and the registry does not know yet.
    @Test func anotherInstanceAtTheAddressIsFoundOutBeforeItDoesAnything() async throws {
        let (right, wrong) = (TestRPCs(), TestRPCs())
        try await withServer(right, configure: { $0.instanceID = "test-1" }) { _, first async throws in
            try await withServer(wrong, configure: { $0.instanceID = "payments-7" }) { _, second async throws in
                let registry = InProcessRegistry()
                try await registry.register(
                    ServiceInstance(id: "test-1", service: "test-service", endpoint: first, knowsItsID: true)
                )
                try await registry.register(
                    ServiceInstance(id: "test-2", service: "test-service", endpoint: second, knowsItsID: true)
                )
                try await withClient(registry) { client async throws in
                    for number in 0..<20 {
                        let answer = try await client.text("Echo", "\(number)")
                        #expect(answer == "\(number)")
                    }
                    #expect(right.seen.all.count == 20 && wrong.seen.all.isEmpty)
                    #expect(client.isolate("test-1", of: "test-service"))
                    let error = await failure { try await client.text("Echo") }
                    #expect(error?.retry == .notSent && error?.code == .noInstanceAvailable)
                }
            }
        }
    }

    /// A server of another service at the address: it has no such method, and its refusal names nobody.
    @Test func aServerWithoutTheMethodIsNotBelieved() async throws {
        struct Others: RegistrableRPCService {
            func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {}
        }
        let wrong = try GRPCService(configuration: .init(name: "payments"), services: [Others()], logger: quiet)
        try await withRunning(wrong) { _ async throws in
            let second = try await wrong.endpoint()
            try await withServer(configure: { $0.instanceID = "test-1" }) { _, first async throws in
                let registry = InProcessRegistry()
                try await registry.register(
                    ServiceInstance(id: "test-1", service: "test-service", endpoint: first, knowsItsID: true)
                )
                try await registry.register(
                    ServiceInstance(id: "test-2", service: "test-service", endpoint: second, knowsItsID: true)
                )
                try await withClient(registry) { client async throws in
                    for number in 0..<20 {
                        let answer = try await client.text("Echo", "\(number)")
                        #expect(answer == "\(number)")
                    }
                    #expect(client.isolate("test-1", of: "test-service"))
                    let error = await failure { try await client.text("Echo") }
                    #expect(error?.code == .noInstanceAvailable && error?.retry == .notSent)
                }
            }
        }
    }

    /// Whatever somebody wrote into a registry is no reason to end the process.
    @Test(arguments: ["70000", "-1", "0", "x", "", "99999999999999999999"])
    func aPortThatIsNoneIsNoInstance(_ port: String) async throws {
        let registry = InProcessRegistry()
        try await registry.register(
            ServiceInstance(
                id: "1",
                service: "test-service",
                endpoint: Endpoint(host: "127.0.0.1", port: 1),
                metadata: [ServiceInstance.grpcPort: port]
            )
        )
        try await withClient(registry) { client async throws in
            let error = await failure { try await client.text("Echo") }
            #expect(error?.code == .noInstance)
        }
    }

    @Test func callsUnderWayOutliveTheShutdownOfTheClient() async throws {
        let gate = Gate()
        let rpcs = TestRPCs(gate: gate)
        try await withServer(rpcs) { _, endpoint async throws in
            let call = try await withClient(at(endpoint)) { client async throws in
                let call = Task { try await client.text("Echo", "patience") }
                try #require(try await isEventually { rpcs.seen.all == ["echo"] })
                // The shutdown begins when this returns, and must wait for the call.
                Task {
                    try await SystemTimeSource().sleep(for: .milliseconds(100))
                    gate.open()
                }
                return call
            }
            let answer = try await call.value
            #expect(answer == "patience")
        }
    }

    /// Any client of the library, with our resolver.
    @Test func aPlainClientFollowsTheRegistry() async throws {
        let registry = InProcessRegistry()
        try await withServer { _, first async throws in
            try await withServer { _, second async throws in
                func register(_ endpoint: ParleyCore.Endpoint) async throws {
                    try await registry.register(ServiceInstance(id: "1", service: "test-service", endpoint: endpoint))
                }
                try await register(first)
                var resolvers = NameResolverRegistry.defaults
                resolvers.registerFactory(ServiceNameResolver(resolver: registry, interval: .milliseconds(10)))
                let transport = try HTTP2ClientTransport.Posix(
                    target: .service("test-service"),
                    transportSecurity: .plaintext,
                    resolverRegistry: resolvers,
                    serviceConfig: ServiceConfig(loadBalancingConfig: [.roundRobin])
                )
                try await withGRPCClient(transport: transport) { client async throws in
                    func peer() async throws -> String {
                        try await client.unary(
                            request: ClientRequest(message: ""),
                            descriptor: TestRPCs.method("Peer"),
                            serializer: TextCodec(),
                            deserializer: TextCodec(),
                            options: .defaults
                        ) { try $0.message }
                    }
                    #expect(try await peer().hasSuffix(":\(first.port)"))
                    try await register(second)
                    #expect(try await isEventually { try await peer().hasSuffix(":\(second.port)") })
                }
            }
        }
    }
}

/// A server that can be killed: this test program, started again with only ``ServerRole`` to do.
struct ServerProcess {
    let process: RunningProcess
    let endpoint: ParleyCore.Endpoint

    static func start() async throws -> ServerProcess {
        let place = NSTemporaryDirectory() + "parley-grpc-\(UUID().uuidString)"
        let process = try RunningProcess(
            "/proc/self/exe",
            ["--testing-library", "swift-testing", "--filter", "ParleyGRPCTests.ServerRole"],
            ["PARLEY_GRPC_SERVER": place]
        )
        defer { try? FileManager.default.removeItem(atPath: place) }
        #expect(try await isEventually { FileManager.default.fileExists(atPath: place) })
        let port = Int(try String(contentsOfFile: place, encoding: .utf8)) ?? 0
        return ServerProcess(process: process, endpoint: Endpoint(host: "127.0.0.1", port: port))
    }
}

@Suite(.enabled(if: ProcessInfo.processInfo.environment["PARLEY_GRPC_SERVER"] != nil)) struct ServerRole {
    @Test func play() async throws {
        let place = ProcessInfo.processInfo.environment["PARLEY_GRPC_SERVER"] ?? ""
        let service = try GRPCService(
            configuration: .init(name: "test-service"),
            services: [TestRPCs()],
            onListening: { endpoint in
                try? "\(endpoint.port)".write(toFile: place, atomically: true, encoding: .utf8)
            },
            logger: quiet
        )
        try await service.run()
    }
}
