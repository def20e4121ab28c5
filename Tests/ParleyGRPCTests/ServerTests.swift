import Foundation
import GRPCCore
import HTTPTestSupport
import Logging
import ParleyCore
import ParleyDiscovery
import ParleyResilience
import ProcessTestSupport
import Testing

@testable import ParleyGRPC

@Suite(.timeLimit(.minutes(2))) struct ServerTests {
    @Test func aClientOfOthersCallsIt() async throws {
        let rpcs = TestRPCs()
        try await withServer(rpcs) { _, endpoint async throws in
            let peer = try await Peer.start("client", "\(endpoint)")
            let status = await peer.exit()
            let lines = peer.output.split(separator: "\n").map(String.init)
            try #require(status == 0 && lines.count == 16, "\(peer.output)\(peer.error)")
            #expect(lines[0...2] == ["health  SERVING", "health test.Test SERVING", "health nobody NOT_FOUND"])
            #expect(lines[3] == "services grpc.health.v1.Health grpc.reflection.v1.ServerReflection test.Test")
            #expect(lines[4] == "file grpc.health.v1.HealthCheckRequest" && lines[5] == "enum SERVICE_UNKNOWN")
            #expect(lines[6] == "unknown symbol")
            #expect(lines[7] == "ok hello 5 id-1")
            #expect(lines[8].hasPrefix("ok xxx") && lines[8].contains(" 3000000 "))
            #expect(lines[9].hasPrefix("RESOURCE_EXHAUSTED") || lines[9].hasPrefix("CANCELLED"), "\(lines[9])")
            #expect(lines[10].hasPrefix("DEADLINE_EXCEEDED"))
            #expect(lines[11] == "NOT_FOUND a 404")
            #expect(lines[12].hasPrefix("UNIMPLEMENTED"))
            #expect(lines[13] == "stream 0 1 2" && lines[14] == "first 0")
            #expect(lines[15] == "chat you said a you said b you said c", "\(lines)")
            // Its caller's time was up, or its caller was gone: no handler goes on for nobody.
            #expect(try await isEventually { rpcs.seen.all.contains("cancelled") })
            #expect(try await isEventually { rpcs.seen.all.contains("stream ended early") })
        }
    }

    @Test func watchersOfHealthHearOfEachChangeAndOfTheEnd() async throws {
        let (service, rpcs) = (ServiceName("test-service"), TestRPCs())
        let peer = try await withServer(rpcs, name: service) { service, endpoint async throws in
            let peer = try await Peer.start("watch", "\(endpoint)")
            func lines() -> [Substring] { peer.output.split(separator: "\n") }
            #expect(try await isEventually { lines() == ["SERVING"] })
            service.health.set(false, for: "test.Test")
            #expect(try await isEventually { lines() == ["SERVING", "NOT_SERVING"] })
            service.health.set(true, for: "test.Test")
            #expect(try await isEventually { lines().count == 3 })
            return peer
        }
        // The server has drained by now: the watcher did not hold it up.
        _ = await peer.exit()
        #expect(peer.output == "SERVING\nNOT_SERVING\nSERVING\nNOT_SERVING\n", "\(peer.output)\(peer.error)")
    }

    @Test func aServerOfOthersIsCalled() async throws {
        let peer = try await Peer.start("server")
        let port = try #require(try await peer.firstLine().flatMap { Int($0) })
        try await withClient(at(Endpoint(host: "127.0.0.1", port: port))) { client async throws in
            var context = RequestContext(requestID: "id-2")
            context.deadline = Deadline(ContinuousClock.now.advanced(by: .seconds(100)))
            let answer = try await context.withCurrent { try await client.text("Echo", "hello") }
            // The try's own limit, not the caller's 100 s.
            #expect(answer.hasPrefix("hello tester id-2 ") && (answer.hasSuffix(" 10") || answer.hasSuffix(" 9")))
            let refused = await failure { try await client.text("Fail", "ALREADY_EXISTS") }
            #expect(refused?.code == .status && refused?.status?.code == .alreadyExists)
            #expect(refused?.attempts == 1 && refused?.message.contains("as you wish") == true)
            let aborted = await failure { try await client.text("Fail", "UNAVAILABLE", isRepeatable: true) }
            #expect(aborted?.status?.code == .unavailable && (aborted?.attempts ?? 0) > 1)
        }
        peer.signal(SIGKILL)
    }

    @Test func aHandlerKnowsForWhomItWorksAndUntilWhen() async throws {
        try await withServer { _, endpoint async throws in
            try await withClient(at(endpoint)) { client async throws in
                var context = RequestContext(requestID: "id-3")
                context.deadline = Deadline(ContinuousClock.now.advanced(by: .seconds(5)))
                let words = try await context.withCurrent { try await client.text("Context") }.split(separator: " ")
                #expect(words[0...1] == ["id-3", "tester"])
                let left = try #require(Int(words[2]))
                #expect((1...5_000).contains(left))
            }
        }
    }

    @Test(
        arguments: [
            ("400", .invalidArgument), ("401", .unauthenticated), ("403", .permissionDenied), ("404", .notFound),
            ("409", .aborted), ("412", .failedPrecondition), ("422", .invalidArgument), ("429", .resourceExhausted),
            ("500", .internalError), ("501", .unimplemented), ("503", .unavailable), ("504", .deadlineExceeded),
            ("unavailable", .unavailable), ("secret", .internalError),
        ] as [(String, RPCError.Code)]
    )
    func errorsBecomeStatuses(_ what: String, _ code: RPCError.Code) async throws {
        try await withServer { _, endpoint async throws in
            try await withClient(at(endpoint), configure: { $0.policy = .plain }) { client async throws in
                let error = await failure { try await client.text("Fail", what) }
                #expect(error?.status?.code == code)
                #expect(error?.status?.message.contains("hunter2") == false)
                #expect(error?.status?.metadata[stringValues: "x-request-id"].first { _ in true } != nil)
                if Int(what) != nil {
                    #expect(error?.status?.message == "a \(what)")
                    #expect(error?.status?.metadata[stringValues: "problem-code"].first { _ in true } == "c")
                }
            }
        }
    }

    @Test func aCallPastItsDeadlineIsNotBegun() async throws {
        let interceptor = ContextServerInterceptor(
            service: "test-service",
            identity: InstanceIdentity(nil),
            requestTimeout: .seconds(30),
            accessLogLevel: .debug,
            logger: quiet,
            drain: Drain(),
            time: SystemTimeSource(),
            ids: .shared
        )
        let error = await #expect(throws: RPCError.self) {
            _ = try await interceptor.intercept(
                request: StreamingServerRequest(
                    metadata: ["grpc-timeout": "0S"],
                    messages: RPCAsyncSequence(wrapping: AsyncThrowingStream<String, any Error> { $0.finish() })
                ),
                context: ServerContext(
                    descriptor: TestRPCs.method("Echo"),
                    remotePeer: "",
                    localPeer: "",
                    cancellation: .init()
                )
            ) { _, _ in
                Issue.record("begun")
                return StreamingServerResponse<String> { _ in [:] }
            }
        }
        #expect(error?.code == .deadlineExceeded && error?.message.contains("nothing was done") == true)
    }

    @Test func aCallWithoutADeadlineEndsAll() async throws {
        let rpcs = TestRPCs()
        try await withServer(rpcs, configure: { $0.requestTimeout = .milliseconds(200) }) { _, endpoint async throws in
            try await withClient(at(endpoint), configure: { $0.policy = .plain }) { client async throws in
                let error = await failure {
                    try await client.call("test-service") { connection, options in
                        var options = options
                        options.timeout = nil
                        return try await connection.unary(
                            request: ClientRequest(message: ""),
                            descriptor: TestRPCs.method("Wait"),
                            serializer: TextCodec(),
                            deserializer: TextCodec(),
                            options: options
                        ) { try $0.message }
                    }
                }
                #expect(error?.status?.code == .deadlineExceeded)
                #expect(rpcs.seen.all == ["waiting", "cancelled"])
            }
        }
    }

    @Test func drainsWhatIsUnderWayAndIsGoneFromTheRegistryFirst() async throws {
        let registry = InProcessRegistry()
        let gate = Gate()
        let rpcs = TestRPCs(gate: gate)
        let answer = Task {
            try await withServer(rpcs, registrar: registry) { _, endpoint async throws in
                #expect(try await isEventually { try await registry.resolve("test-service").count == 1 })
                #expect(try await registry.resolve("test-service").first?.metadata == ["grpc_port": "\(endpoint.port)"])
                let client = GRPCServiceClient(
                    configuration: .init(name: "tester"),
                    resolver: at(endpoint),
                    logger: quiet
                )
                // Not with the server: it must be able to go while this is under way.
                let running = Task { try await client.run() }
                let call = Task { try await client.text("Echo", "patience") }
                #expect(try await isEventually { rpcs.seen.all == ["echo"] })
                return (running, call)
            }
        }
        #expect(try await isEventually { rpcs.seen.all == ["echo"] })
        #expect(try await isEventually { try await registry.resolve("test-service").isEmpty })
        gate.open()
        let (running, call) = try await answer.value
        #expect(try await call.value == "patience")
        running.cancel()
    }

    /// It does not hold the server up for longer than the drain time, and hears of its end.
    @Test func aHandlerThatOutlivesTheDrainIsCancelled() async throws {
        let rpcs = TestRPCs()
        let call = try await withServer(rpcs, configure: { $0.drainTimeout = .milliseconds(300) }) {
            _,
            endpoint async throws in
            let client = GRPCServiceClient(configuration: .init(name: "tester"), resolver: at(endpoint), logger: quiet)
            let running = Task { try await client.run() }
            let call = Task { try await client.text("Wait") }
            try #require(try await isEventually { rpcs.seen.all == ["waiting"] })
            return (running, call)
        }
        #expect(rpcs.seen.all == ["waiting", "cancelled"])
        await #expect(throws: GRPCCallError.self) { try await call.1.value }
        call.0.cancel()
    }

    /// A cancellation is a shutdown, too: what is under way is told, and the process lives.
    @Test func aCancelledServerEndsUnderTraffic() async throws {
        let rpcs = TestRPCs()
        var configuration = GRPCService.Configuration(name: "test-service")
        configuration.drainTimeout = .seconds(5)
        let service = try GRPCService(configuration: configuration, services: [rpcs], logger: quiet)
        let running = Task { try await service.run() }
        let endpoint = try await service.endpoint()
        try await withClient(at(endpoint)) { client async throws in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        // Until nobody answers any more.
                        while (try? await client.text("Echo", "x")) != nil {}
                    }
                }
                try #require(try await isEventually { rpcs.seen.all.count > 100 })
                running.cancel()
                _ = try? await running.value
                try await group.waitForAll()
            }
        }
    }

    @Test func aPortInUseIsNamed() async throws {
        try await withServer { _, endpoint async throws in
            let second = try GRPCService(
                configuration: .init(name: "second", port: endpoint.port),
                services: [TestRPCs()],
                logger: quiet
            )
            let error = await #expect(throws: GRPCServiceError.self) { try await second.run() }
            #expect(error?.code == .cannotListen)
            #expect(error?.message.contains("\(endpoint.port)") == true)
            await #expect(throws: GRPCServiceError.self) { try await second.endpoint() }
        }
    }

    @Test func aCertificateThatIsNotThereIsNamed() async throws {
        var configuration = GRPCService.Configuration(name: "test-service")
        configuration.security = .tls(certificateChain: "/nowhere/cert.pem", privateKey: "/nowhere/key.pem")
        let service = try GRPCService(configuration: configuration, services: [], logger: quiet)
        let error = await #expect(throws: GRPCServiceError.self) { try await service.run() }
        #expect(error?.code == .invalidSecurity, "\(String(describing: error))")
    }

    @Test func descriptorsThatAreNoneAreRefused() throws {
        #expect(throws: GRPCServiceError.self) {
            try GRPCService(
                configuration: .init(name: "x"),
                services: [],
                descriptors: ["not base64!"],
                logger: quiet
            )
        }
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\u{0}\u{0}\u{9}ABCDEFGHIJKLMNOP", "\u{1}",
    ])
    func garbageHarmsNobody(_ bytes: String) async throws {
        try await withServer { _, endpoint async throws in
            for _ in 0..<20 {
                try await RawConnection.with(endpoint) { connection in
                    try await connection.send(bytes)
                    connection.finish()
                }
            }
            try await withClient(at(endpoint)) { client async throws in
                let answer = try await client.text("Echo", "still here")
                #expect(answer == "still here")
            }
        }
    }

    @Test(
        arguments: [
            ("1S", .seconds(1)), ("20m", .milliseconds(20)), ("3u", .microseconds(3)),
            ("99999999H", .seconds(359_999_996_400)),
            ("5M", .seconds(300)), ("7n", .nanoseconds(7)), ("", nil), ("S", nil), ("1", nil), ("-1S", nil),
            ("999999999S", nil), ("1s", nil), ("1.5S", nil), ("٣S", nil),
        ] as [(String, Duration?)]
    )
    func readsTimeouts(_ text: String, _ expected: Duration?) {
        #expect(GRPCTimeout.duration(text) == expected)
    }
}
