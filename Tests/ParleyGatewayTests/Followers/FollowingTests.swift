internal import HTTPTestSupport
internal import Logging
internal import ParleyCore
internal import ParleyDiscovery
internal import ServiceLifecycle
internal import Synchronization
internal import Testing

@testable internal import ParleyGateway

/// Asks until the answer is as wanted.
private func until(_ what: () async throws -> Bool) async throws {
    while try await !what() { try await SystemTimeSource().sleep(for: .milliseconds(5)) }
}

private func answer(_ text: String) -> RawServer.Behaviour {
    .answer("HTTP/1.1 200 OK\r\nContent-Length: \(text.utf8.count)\r\n\r\n\(text)")
}

private func expectAnswer(_ text: String, at gateway: Endpoint) async throws {
    let answer = try await request("GET", "/api", at: gateway)
    #expect(answer.text == text)
}

@Suite(.timeLimit(.minutes(1))) struct FollowingTests {
    private struct Away: Error {}

    /// A registry whose answer a test decides.
    private final class Registry: ServiceResolver {
        private let answer = Mutex<Result<[ServiceInstance], Away>>(.success([]))
        private let gate = Mutex<Gate?>(nil)
        private let asked = Mutex(0)

        var questions: Int { self.asked.withLock { $0 } }

        func resolve(_ service: ServiceName) async throws -> [ServiceInstance] {
            self.asked.withLock { $0 += 1 }
            if let gate = self.gate.withLock({ $0 }) { try await gate.wait() }
            return try self.answer.withLock { $0 }.get()
        }

        /// It answers when the gate opens.
        func hold(_ gate: Gate) { self.gate.withLock { $0 = gate } }

        func set(_ endpoints: [Endpoint]) {
            let instances = endpoints.map { ServiceInstance(id: "\($0)", service: users, endpoint: $0) }
            self.answer.withLock { $0 = .success(instances) }
        }

        func goAway() { self.answer.withLock { $0 = .failure(Away()) } }
    }

    private func withGateway(_ registry: Registry, _ body: (Endpoint) async throws -> Void) async throws {
        let configuration = GatewayConfiguration(routes: [GatewayRoute(prefix: "/api", service: users)])
        let gateway = try Gateway(configuration: configuration, resolver: registry, logger: testLogger)
        try await withRunning(gateway) { _ in try await body(try await gateway.endpoint()) }
    }

    @Test func aServiceThatHasJustRegisteredIsFound() async throws {
        try await RawServer.with(answer("one")) { one, _ in
            let registry = Registry()
            try await self.withGateway(registry) { gateway in
                let nobody = try await request("GET", "/api", at: gateway)
                #expect(nobody.status == 503)
                registry.set([one])
                try await expectAnswer("one", at: gateway)
            }
        }
    }

    /// A body that comes while the registry is asked once more goes to the instance as a whole.
    @Test func nothingOfABodyIsLostMeanwhile() async throws {
        try await RawServer.with(.collect) { one, server in
            let registry = Registry()
            try await self.withGateway(registry) { gateway in
                let gate = Gate()
                registry.hold(gate)
                let before = registry.questions
                try await RawConnection.with(gateway) { client in
                    try await client.send("POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
                    try await until { registry.questions > before }
                    try await client.send("world")
                    // When another request has gone through, that has been read.
                    for _ in 0..<3 { _ = try await request("GET", "/health/live", at: gateway) }
                    registry.set([one])
                    gate.open()
                    try await server.wait { String(decoding: $0.received, as: UTF8.self).hasSuffix("helloworld") }
                }
            }
        }
    }

    /// Instances that break connections while a body is on its way cost that request and nothing else.
    @Test func whoBreaksWithinABodyIsReported() async throws {
        let body = String(repeating: "x", count: 900_000)
        try await RawServer.with(.closeAfterRequest) { one, _ in
            let registry = Registry()
            registry.set([one])
            try await self.withGateway(registry) { gateway in
                try await withThrowingTaskGroup(of: Int.self) { group in
                    for _ in 0..<8 {
                        group.addTask {
                            var odd = 0
                            for _ in 0..<10 {
                                // A client may see its own connection reset before it has read the answer.
                                let status = try? await request("POST", "/api", at: gateway, body: body).status
                                if ![502, 503, nil].contains(status) { odd += 1 }
                            }
                            return odd
                        }
                    }
                    for try await odd in group { #expect(odd == 0) }
                }
                let alive = try await request("GET", "/health/live", at: gateway)
                #expect(alive.status == 200)
            }
        }
    }

    /// However many ask how the services are, each service is asked once a second.
    @Test func aCrowdAtHealthIsNoCrowdAtTheServices() async throws {
        try await RawServer.with(answer("well")) { one, server in
            let registry = Registry()
            registry.set([one])
            try await self.withGateway(registry) { gateway in
                let time = SystemTimeSource()
                let began = time.now
                try await withThrowingTaskGroup(of: Int.self) { group in
                    for _ in 0..<50 { group.addTask { try await request("GET", "/health", at: gateway).status } }
                    for try await status in group { #expect(status == 200) }
                }
                let seconds = Int((time.now - began) / .seconds(1)) + 1
                #expect((1...seconds + 1).contains(server.requests.count))
            }
        }
    }

    @Test func instancesComeAndGo() async throws {
        try await RawServer.with(answer("one")) { one, _ in
            try await RawServer.with(answer("two")) { two, _ in
                let registry = Registry()
                registry.set([one])
                try await self.withGateway(registry) { gateway in
                    try await expectAnswer("one", at: gateway)
                    registry.set([two])
                    try await until { try await request("GET", "/api", at: gateway).text == "two" }
                    registry.set([])
                    try await until { try await request("GET", "/api", at: gateway).status == 503 }
                }
            }
        }
    }

    @Test func aRegistryThatIsAwayTakesNothingDown() async throws {
        try await RawServer.with(answer("one")) { one, _ in
            let registry = Registry()
            registry.set([one])
            try await self.withGateway(registry) { gateway in
                try await expectAnswer("one", at: gateway)
                registry.goAway()
                for _ in 0..<20 {
                    try await expectAnswer("one", at: gateway)
                    try await SystemTimeSource().sleep(for: .milliseconds(15))
                }
            }
        }
    }

    /// An idle connection to an instance that has left is closed: its program may end.
    @Test func connectionsToWhoLeftAreClosed() async throws {
        try await RawServer.with(answer("one")) { one, server in
            let registry = Registry()
            registry.set([one])
            try await self.withGateway(registry) { gateway in
                try await expectAnswer("one", at: gateway)
                #expect(server.openConnections == 1)
                registry.set([])
                try await until { server.openConnections == 0 }
            }
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct ActiveCheckTests {
    private func model(_ peers: [Endpoint], _ kind: HealthCheckRules.Kind) -> GatewayModel {
        var rules = HealthCheckRules(kind: kind)
        rules.interval = 30
        rules.timeout = 5_000
        var upstream = UpstreamModel(
            name: "u",
            instances: .fixed(peers.map { PeerModel(host: $0.host, port: $0.port) })
        )
        upstream.healthCheck = rules
        var location = LocationModel(match: .prefix("/", isFinal: false))
        location.action = .proxy(ProxyTarget(scheme: .http, destination: .upstream("u"), host: "u"))
        location.settings.proxy.nextUpstream.reasons = []
        var server = ServerModel(listens: [ListenModel(host: "127.0.0.1", port: 0)])
        server.locations = [location]
        var model = GatewayModel()
        model.servers = [server]
        model.upstreams = [upstream]
        model.workers = 1
        return model
    }

    private func withRuntime(_ model: GatewayModel, _ body: (Endpoint) async throws -> Void) async throws {
        let runtime = try GatewayRuntime(model: model, logger: testLogger)
        try await withRunning(runtime) { _ in
            try await body(try #require(try await runtime.listeningEndpoints().first))
        }
    }

    /// Whoever fails its checks gets no requests, although it would be tried in turn.
    @Test(arguments: [HealthCheckRules.Kind.tcp, .http(path: "/health/ready", host: nil, statuses: 200...299)])
    func whoFailsIsNotAsked(_ kind: HealthCheckRules.Kind) async throws {
        let refused = try await unusedEndpoint()
        try await RawServer.with(answer("good")) { good, _ in
            try await self.withRuntime(self.model([refused, good], kind)) { gateway in
                var inARow = 0
                try await until {
                    inARow = try await request("GET", "/", at: gateway).status == 200 ? inARow + 1 : 0
                    return inARow == 10
                }
            }
        }
    }

    /// A head and then nothing is no answer, and the next check is made all the same.
    @Test func anAnswerThatNeverEndsIsAFailure() async throws {
        try await RawServer.with(.answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")) { sick, server in
            let kind = HealthCheckRules.Kind.http(path: "/x", host: "h", statuses: 200...299)
            var model = self.model([sick], kind)
            model.upstreams[0].healthCheck?.timeout = 50
            try await self.withRuntime(model) { gateway in
                try await server.wait { $0.requests.count >= 3 }
                let answer = try await request("GET", "/", at: gateway)
                #expect(answer.status == 502)
            }
        }
    }

    @Test func anAnswerThatIsNotWellIsAFailure() async throws {
        try await RawServer.with(.answer("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")) { sick, _ in
            let kind = HealthCheckRules.Kind.http(path: "/x", host: "h", statuses: 200...299)
            try await self.withRuntime(self.model([sick], kind)) { gateway in
                // Its own answer is 503, the gateway's for nobody is 502.
                try await until { try await request("GET", "/", at: gateway).status == 502 }
            }
        }
    }
}
