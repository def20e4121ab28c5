import HTTPTestSupport
import ParleyCore
import Testing

@testable import ParleyGateway

/// Tokens at a gateway that fetches the keys of their issuer.
@Suite(.timeLimit(.minutes(1))) struct JWTGatewayTests {
    private static let field = "X-User"

    private static func answer(_ body: String) -> String {
        "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    /// A gateway before `upstream` that asks for a token of the issuer whose keys are at `keys`.
    private func model(_ upstream: Endpoint, keys: Endpoint) throws -> GatewayModel {
        var model = try ParleyGatewayTests.model(
            "server { listen 127.0.0.1:1; location / { proxy_pass http://\(upstream); } }"
        )
        var rules = JWTRules(keys: .url("http://\(keys)/keys", refreshMilliseconds: 60_000), issuer: "us")
        rules.forwardedClaims = ["name": Self.field]
        model.servers[0].locations[0].settings.jwt = rules
        return model
    }

    private func bearer(_ issuer: Issuer, _ claims: [String: Issuer.Claims.Value]) async throws -> (String, String) {
        let soon = Double(SystemTimeSource().wallTime.milliseconds / 1_000 + 600)
        let all = claims.merging(["iss": .text("us"), "exp": .number(soon)]) { claim, _ in claim }
        return ("Authorization", "Bearer \(try await issuer.sign(all))")
    }

    @Test func aTokenWhoseKeysAreBehindAnAddressIsTaken() async throws {
        let issuer = try await Issuer()
        try await RawServer.with(.answer(Self.answer(try issuer.jwks))) { keys, keyServer in
            try await RawServer.with(.answer(Self.answer("in"))) { upstream, server in
                try await withRuntime(try self.model(upstream, keys: keys)) { gateway in
                    let stranger = try await request("GET", "/", at: gateway.endpoint)
                    #expect(stranger.status == 401 && server.requests.isEmpty)
                    let token = try await self.bearer(issuer, ["name": .text("ada")])
                    for _ in 0..<3 {
                        let known = try await request("GET", "/", at: gateway.endpoint, headers: [token])
                        #expect(known.status == 200 && known.text == "in")
                    }
                    #expect(server.requests.count == 3 && server.requests[0].contains("X-User: ada\r\n"))
                    #expect(keyServer.requests.count == 1)
                }
            }
        }
    }

    /// What services believe about who asks comes from the token or from nobody.
    @Test func aClientDoesNotSayWhoItIs() async throws {
        let issuer = try await Issuer()
        try await RawServer.with(.answer(Self.answer(try issuer.jwks))) { keys, _ in
            try await RawServer.with(.answer(Self.answer("in"))) { upstream, server in
                try await withRuntime(try self.model(upstream, keys: keys)) { gateway in
                    for claims in [[:], ["name": .text("ada")]] as [[String: Issuer.Claims.Value]] {
                        let fields = [try await self.bearer(issuer, claims), ("x-uSER", "root")]
                        let answer = try await request("GET", "/", at: gateway.endpoint, headers: fields)
                        #expect(answer.status == 200)
                    }
                    #expect(server.requests.count == 2 && !server.requests.contains { $0.contains("root") })
                    #expect(server.requests.last?.contains("X-User: ada\r\n") ?? false)
                }
            }
        }
    }

    @Test func withoutKeysNobodyIsLetIn() async throws {
        let issuer = try await Issuer()
        let keys = try await unusedEndpoint()
        try await RawServer.with(.answer(Self.answer("in"))) { upstream, server in
            try await withRuntime(try self.model(upstream, keys: keys)) { gateway in
                let token = try await self.bearer(issuer, ["name": .text("ada")])
                let answer = try await request("GET", "/", at: gateway.endpoint, headers: [token])
                #expect(answer.status >= 400 && server.requests.isEmpty)
            }
        }
    }
}
