internal import HTTPTestSupport
internal import Hummingbird
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyHTTPServer
internal import ServiceLifecycle
internal import Testing

@testable internal import ParleyGateway

@Suite(.timeLimit(.minutes(1))) struct GatewayHealthTests {
    private static let routes = [
        GatewayRoute(prefix: "/api/users", service: users),
        GatewayRoute(prefix: "/api/orders", service: "order-service"),
    ]

    @Test func allUpIsPassing() async throws {
        try await withUpstream { upstream in
            try await withGateway(to: [users: [upstream], "order-service": [upstream, upstream]], routes: Self.routes) {
                endpoint, _ in
                let answer = try await request("GET", "/health", at: endpoint)
                #expect(answer.status == 200 && answer.header("content-type") == "application/json")
                let report = try answer.json(GatewayHealth.Report.self)
                #expect(report.gateway == "healthy" && report.status == .passing)
                #expect(report.services["user-service"]?.ready == 1)
                #expect(report.services["order-service"]?.ready == 2)
            }
        }
    }

    @Test func oneDownIsSaidAndTheGatewayIsHealthyAllTheSame() async throws {
        let refused = try await unusedEndpoint()
        try await withUpstream { upstream in
            try await withGateway(to: [users: [upstream, refused], "order-service": [refused]], routes: Self.routes) {
                endpoint, _ in
                let answer = try await request("GET", "/health", at: endpoint)
                #expect(answer.status == 200)
                let report = try answer.json(GatewayHealth.Report.self)
                #expect(report.gateway == "healthy" && report.status == .critical)
                let (user, order) = (report.services["user-service"], report.services["order-service"])
                #expect(user?.status == .warning && user?.instances == 2 && user?.ready == 1)
                #expect(order?.status == .critical && order?.instances == 1 && order?.ready == 0)
            }
        }
    }

    @Test func aServiceThatHangsDoesNotHoldUpTheAnswer() async throws {
        try await RawServer.with(.hang) { upstream, server in
            try await withGateway(to: [users: [upstream]], configure: { $0.healthTimeout = .milliseconds(50) }) {
                endpoint, _ in
                let report = try await request("GET", "/health", at: endpoint).json(GatewayHealth.Report.self)
                #expect(report.services["user-service"]?.status == .critical)
                #expect(server.requests.count == 1)
            }
        }
    }

    @Test(arguments: [("GET", "/health/live", 200), ("HEAD", "/health/ready", 200), ("POST", "/health", 405)])
    func answersForItself(_ method: String, _ path: String, _ status: Int) async throws {
        try await withGateway(to: [:]) { endpoint, _ in
            let answer = try await request(method, path, at: endpoint)
            #expect(answer.status == status)
        }
    }

    @Test func aRouteForItTakesIt() async throws {
        try await RawServer.with(.answer(ok)) { upstream, _ in
            let everything = [GatewayRoute(prefix: "/", service: users)]
            try await withGateway(to: [users: [upstream]], routes: everything) { endpoint, _ in
                let answer = try await request("GET", "/health", at: endpoint)
                #expect(answer.text == "ok")
            }
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct GatewayLifecycleTests {
    /// `/api/wait` answers when the gate opens, and tells when it was reached.
    private func router(_ reached: Gate, _ gate: Gate) -> ParleyRouter {
        let router = ParleyRouter(service: users)
        router.get("api/wait") { _, _ -> String in
            reached.open()
            try await gate.wait()
            return "done"
        }
        return router
    }

    @Test func requestsUnderWayFinishIdleConnectionsCloseAndNewOnesAreRefused() async throws {
        let (reached, gate) = (Gate(), Gate())
        try await withUpstream(self.router(reached, gate)) { upstream in
            try await withGateway(to: [users: [upstream]]) { endpoint, group in
                try await RawConnection.with(endpoint) { idle in
                    try await idle.send("GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
                    try await idle.read(until: "healthy")
                    async let inFlight = request("GET", "/api/wait", at: endpoint)
                    try await reached.wait()
                    await group.triggerGracefulShutdown()
                    _ = await idle.readToEnd()
                    await #expect(throws: (any Error).self) { try await RawConnection.with(endpoint) { _ in } }
                    gate.open()
                    let answer = try await inFlight
                    #expect(answer.status == 200 && answer.text == "done")
                    #expect(answer.header("connection") == "close")
                }
            }
        }
    }

    @Test func whatTakesTooLongIsAnsweredAndEnded() async throws {
        try await RawServer.with(.hang) { upstream, server in
            try await withGateway(
                to: [users: [upstream]],
                configure: { $0.listener.drainTimeout = .milliseconds(50) }
            ) { endpoint, group in
                async let inFlight = request("GET", "/api/wait", at: endpoint)
                try await server.wait { !$0.requests.isEmpty }
                await group.triggerGracefulShutdown()
                let answer = try await inFlight
                #expect(answer.status == 503 && answer.problem?.code == "shutting_down")
            }
        }
    }

    @Test func aPortInUseIsNamedWithWhatToDo() async throws {
        try await withGateway(to: [:]) { endpoint, _ in
            let second = try Gateway(
                configuration: GatewayConfiguration(name: "second", port: endpoint.port, routes: []),
                resolver: StaticResolver([:]),
                logger: testLogger
            )
            let error = await #expect(throws: ServerError.self) { try await second.run() }
            #expect(error?.code == .portInUse)
            #expect(error?.message.contains("second cannot listen on \(endpoint)") == true)
            #expect(error?.message.contains("ss -ltnp | grep \(endpoint.port)") == true)
            await #expect(throws: ServerError.self) { try await second.endpoint() }
        }
    }

    @Test func aRouteThatIsNoneIsRefusedBeforeItListens() {
        let error = #expect(throws: ServerError.self) {
            try Gateway(
                configuration: GatewayConfiguration(routes: [GatewayRoute(prefix: "api", service: users)]),
                resolver: StaticResolver([:]),
                logger: testLogger
            )
        }
        #expect(error?.code == .invalidConfiguration)
    }
}
