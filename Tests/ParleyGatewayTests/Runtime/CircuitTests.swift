import HTTPTestSupport
import ParleyCore
import Testing

@testable import ParleyGateway

/// What does not fit is answered at once, and no instance is blamed for it.
@Suite(.timeLimit(.minutes(1))) struct CircuitTests {
    private func model(_ upstream: Endpoint, scheme: String = "http", _ rules: CircuitRules) throws -> GatewayModel {
        var model = try ParleyGatewayTests.model(
            """
            upstream u { server \(upstream); keepalive 4; }
            server { listen 127.0.0.1:1; location / { proxy_pass \(scheme)://u; proxy_http_version 1.1; } }
            """
        )
        model.upstreams[0].limits = rules
        return model
    }

    private func ask(_ gateway: Endpoint) async throws -> HTTPAnswer { try await request("GET", "/", at: gateway) }

    @Test func connectionsAreLimited() async throws {
        try await RawServer.with(.hang) { upstream, server in
            var rules = CircuitRules()
            rules.maxConnections = 1
            try await withRuntime(try self.model(upstream, rules)) { gateway in
                for round in 1...2 {
                    try await RawConnection.with(gateway.endpoint) { client in
                        try await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                        try await server.wait { $0.requests.count == round }
                        let refused = try await self.ask(gateway.endpoint)
                        #expect(refused.status == 503 && server.connections == round)
                    }
                    // Its client has gone, so its connection goes, and there is room again.
                    try await eventually { server.openConnections == 0 }
                }
                let metrics = await gateway.runtime.metrics()
                #expect(metrics.upstreams.first?.overflows == 2)
                let status = await gateway.runtime.status()
                #expect(status.upstreams.first?.peers.map(\.state) == [.available])
            }
        }
    }

    /// An instance that takes connections and never ends the handshake.
    @Test func whoWaitsForAConnectionIsCounted() async throws {
        try await RawServer.with(.deaf) { upstream, server in
            var rules = CircuitRules()
            rules.maxPending = 1
            try await withRuntime(try self.model(upstream, scheme: "https", rules)) { gateway in
                for round in 1...2 {
                    try await RawConnection.with(gateway.endpoint) { client in
                        try await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                        try await server.wait { $0.connections == round }
                        let refused = try await self.ask(gateway.endpoint)
                        #expect(refused.status == 503)
                    }
                    // Who has left waits no more.
                    try await eventually { await gateway.runtime.metrics().upstreams.first?.circuitRequests == 0 }
                }
            }
        }
    }

    /// Retries have a budget, and give back what they took of it.
    @Test(arguments: [(0, 1), (1, 2)]) func retriesAreLimited(_ minimum: Int, _ attempts: Int) async throws {
        let (first, second) = (try await unusedEndpoint(), try await unusedEndpoint())
        var model = try ParleyGatewayTests.model(
            """
            upstream u { server \(first) max_fails=0; server \(second) max_fails=0; }
            server { listen 127.0.0.1:1; location / { proxy_pass http://u; } }
            """
        )
        var budget = RetryBudgetRules()
        budget.percent = 0
        budget.minimum = minimum
        model.upstreams[0].retryBudget = budget
        try await withRuntime(model) { gateway in
            for round in 0..<3 {
                let fields = [("X-Request-ID", "r\(round)")]
                let answer = try await request("GET", "/", at: gateway.endpoint, headers: fields)
                #expect(answer.status == 502)
                let record = try #require(gateway.runtime.records.record(id: "r\(round)"))
                #expect(record.attempts.count == attempts)
                #expect(record.attempts.first?.retry == (minimum == 0 ? .budget : .retried))
            }
        }
    }
}
