internal import HTTPTestSupport
internal import HTTPTypes
internal import Hummingbird
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyHTTPClient
internal import ParleyHTTPServer
internal import ParleyResilience
internal import Testing

@Suite(.timeLimit(.minutes(2))) struct IdentityTests {
    private let registry = InProcessRegistry()

    private func client(_ change: (inout ResiliencePolicy) -> Void = { _ in }) -> ServiceClient {
        var configuration = ServiceClient.Configuration(name: "order-service")
        configuration.backoff = Backoff(initial: .milliseconds(1), cap: .milliseconds(2))
        change(&configuration.policy)
        return ServiceClient(configuration: configuration, resolver: self.registry, logger: testLogger)
    }

    private func register(_ id: String, _ endpoint: Endpoint) async throws {
        try await self.registry.register(ServiceInstance(id: id, service: target, endpoint: endpoint, knowsItsID: true))
    }

    private func standings(_ client: ServiceClient) -> [String: InstanceStanding] {
        let instances = client.resilience().services.first?.instances ?? []
        return Dictionary(instances.map { ($0.id, $0.standing) }, uniquingKeysWith: { first, _ in first })
    }

    private func named(_ id: String, _ status: String = "200 OK") -> RawServer.Behaviour {
        .answer("HTTP/1.1 \(status)\r\nX-Parley-Instance: \(id)\r\nContent-Length: 2\r\n\r\nok")
    }

    @Test func theInstanceThatIsMeantIsNamed() async throws {
        try await RawServer.with(self.named("u-1")) { endpoint, server in
            try await self.register("u-1", endpoint)
            let answer = try await self.client().send(makeRequest(), to: target)
            #expect(answer.status == .ok)
            #expect(server.requests.first?.contains("X-Parley-Instance: u-1\r\n") == true)
        }
    }

    /// The registry's entry is of yesterday: another service listens there now.
    @Test(arguments: [HTTPRequest.Method.get, .post])
    func anAddressThatHasPassedToAnotherServiceGetsNothing(_ method: HTTPRequest.Method) async throws {
        let asked = Counter()
        let router = ParleyRouter(service: "payment-service")
        router.on("api/v1/users/:id", method: method) { _, _ -> String in "\(asked.next())" }
        let stranger = HTTPService(
            configuration: .init(name: "payment-service"),
            router: router,
            registrar: self.registry,
            logger: testLogger
        )
        try await withRunning(stranger) { _ in
            try await self.register("u-1", try await stranger.endpoint())
            let client = self.client()
            let error = await failure { try await client.send(makeRequest(method), body: [1], to: target) }
            #expect(error?.code == .wrongInstance && error?.retry == .notSent, "\(String(describing: error))")
            #expect(error?.message.contains("payment-service-127.0.0.1") == true)
            #expect(error?.explanation.attempts.first?.health == .foreign)
            #expect(self.standings(client) == ["u-1": .quarantined])
            // Nobody is asked while it is quarantined.
            let next = await failure { try await client.send(makeRequest(method), to: target) }
            #expect(next?.code == .instancesUnavailable && next?.retryAfter.map { $0 > .zero } == true)
            // The one that is meant has come up elsewhere, and the call finds it.
            try await RawServer.with(self.named("u-2")) { endpoint, _ in
                try await self.register("u-2", endpoint)
                #expect(try await client.send(makeRequest(method), to: target).endpoint == endpoint)
            }
            #expect(asked.next() == 1)
        }
    }

    /// One that does not look whom a request is meant for, but says who it is.
    @Test func aForeignAnswerIsNeverGivenToTheCaller() async throws {
        try await RawServer.with(self.named("p-7")) { foreign, _ in
            try await RawServer.with(self.named("u-2")) { good, _ in
                try await self.register("u-1", foreign)
                try await self.register("u-2", good)
                let client = self.client()
                for _ in 0..<6 { #expect(try await client.send(makeRequest(), to: target).endpoint == good) }
                #expect(self.standings(client) == ["u-1": .quarantined, "u-2": .available])
            }
        }
    }

    @Test func whatAForeignServerMayHaveDoneIsNotRepeated() async throws {
        try await RawServer.with(self.named("p-7")) { foreign, _ in
            try await self.register("u-1", foreign)
            let error = await failure { try await self.client().send(makeRequest(.post), body: [1], to: target) }
            #expect(error?.code == .wrongInstance && error?.retry == .mayHaveRun && error?.attempts == 1)
            #expect(error?.response == nil)
        }
    }

    @Test func itEndsWhenTheResolverKnowsTheNewAddress() async throws {
        try await RawServer.with(self.named("p-7", "421 Misdirected Request")) { foreign, _ in
            try await RawServer.with(self.named("u-1")) { good, _ in
                try await self.register("u-1", foreign)
                let client = self.client()
                let error = await failure { try await client.send(makeRequest(.post), to: target) }
                #expect(error?.code == .wrongInstance && error?.retry == .notSent)
                try await self.register("u-1", good)
                #expect(try await client.send(makeRequest(.post), to: target).status == .ok)
            }
        }
    }

    /// An instance that knows its id says it in every answer: a program that says nothing is another one.
    @Test func aServerThatSaysNothingIsNotTheInstanceThatKnowsItsID() async throws {
        try await RawServer.with(.answer(ok)) { endpoint, _ in
            try await self.register("u-1", endpoint)
            let error = await failure { try await self.client().send(makeRequest(), to: target) }
            #expect(error?.code == .wrongInstance && error?.retry == .mayHaveRun)
            // One that was registered by hand, for a program of others, is accepted.
            try await self.registry.register(ServiceInstance(id: "u-1", service: target, endpoint: endpoint))
            #expect(try await self.client().send(makeRequest(), to: target).status == .ok)
        }
    }

    @Test func anIdThatWasMadeUpIsNotAskedFor() async throws {
        try await RawServer.with(self.named("whoever")) { endpoint, server in
            let answer = try await withClient(to: [endpoint]) { try await $0.send(makeRequest(), to: target) }
            #expect(answer.status == .ok)
            #expect(server.requests.first?.lowercased().contains("x-parley-instance") == false)
            // Who must know whom it talks to cannot use such an address.
            let error = try await withClient(to: [endpoint], configure: { $0.policy.identity.isRequired = true }) {
                client in
                await failure { try await client.send(makeRequest(), to: target) }
            }
            #expect(error?.code == .noInstance && server.requests.count == 1)
        }
    }

    @Test func aCallersOwnHeaderDoesNotReplaceIt() async throws {
        try await RawServer.with(self.named("u-1")) { endpoint, server in
            try await self.register("u-1", endpoint)
            var request = makeRequest()
            if let name = HTTPField.Name("X-Parley-Instance") { request.headerFields[name] = "mine" }
            #expect(try await self.client().send(request, to: target).status == .ok)
            #expect(server.requests.first?.contains("mine") == false)
        }
    }
}
