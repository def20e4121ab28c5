import HTTPTestSupport
import Hummingbird
import ParleyCore
import ParleyHTTPServer
import Synchronization
import Testing

@testable import ParleyGateway

/// A POST with an `Idempotency-Key` happens once, however often it comes.
@Suite(.timeLimit(.minutes(1))) struct IdempotencyTests {
    private static let made =
        "HTTP/1.1 201 Created\r\nContent-Length: 4\r\nLocation: /orders/7\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nmade"

    private func model(_ upstream: Endpoint, isRequired: Bool = false) throws -> GatewayModel {
        var model = try ParleyGatewayTests.model(
            "server { listen 127.0.0.1:1; client_max_body_size 8m; location / { proxy_pass http://\(upstream); } }"
        )
        var rules = IdempotencyRules()
        rules.isRequired = isRequired
        model.servers[0].locations[0].settings.idempotency = rules
        model.errorFormat = .problem
        return model
    }

    private func post(
        _ gateway: Endpoint,
        key: String? = "k",
        body: String = "one",
        method: String = "POST",
        fields: [(String, String)] = []
    ) async throws -> HTTPAnswer {
        let key = key.map { [("Idempotency-Key", $0)] } ?? []
        return try await request(method, "/orders", at: gateway, headers: key + fields, body: body)
    }

    @Test func theSecondGetsTheFirstOnesAnswer() async throws {
        try await RawServer.with(.answer(Self.made)) { upstream, server in
            try await withRuntime(try self.model(upstream)) { gateway in
                let first = try await self.post(gateway.endpoint)
                #expect(first.status == 201 && first.header("idempotency-replayed") == nil)
                let second = try await self.post(gateway.endpoint)
                #expect(second.header("idempotency-replayed") == "true")
                #expect(second.status == 201 && second.text == "made" && second.header("location") == "/orders/7")
                #expect(server.requests.count == 1)
                // A reload forgets nothing.
                try await gateway.runtime.reload(try self.model(upstream))
                let third = try await self.post(gateway.endpoint)
                #expect(third.text == "made" && server.requests.count == 1)
            }
        }
    }

    @Test func anotherBodyIsAMistake() async throws {
        try await RawServer.with(.answer(Self.made)) { upstream, server in
            try await withRuntime(try self.model(upstream)) { gateway in
                let first = try await self.post(gateway.endpoint)
                let second = try await self.post(gateway.endpoint, body: "two")
                #expect(first.status == 201 && second.status == 422)
                #expect(second.text.contains("idempotency_key_reused") && server.requests.count == 1)
            }
        }
    }

    @Test func whoIsEarlyIsToldSo() async throws {
        try await RawServer.with(.hang) { upstream, server in
            try await withRuntime(try self.model(upstream)) { gateway in
                try await RawConnection.with(gateway.endpoint) { client in
                    try await client.send(
                        "POST /orders HTTP/1.1\r\nHost: \(gateway.endpoint)\r\nIdempotency-Key: k\r\n"
                            + "Content-Length: 3\r\n\r\none"
                    )
                    try await server.wait { $0.requests.count == 1 }
                    let second = try await self.post(gateway.endpoint)
                    #expect(second.status == 409 && second.text.contains("idempotency_key_in_use"))
                    #expect(second.header("retry-after") == "1" && server.requests.count == 1)
                }
            }
        }
    }

    /// Nobody waits for the answer any more, and the next try gets it all the same.
    @Test func theWorkGoesOnWithoutItsClient() async throws {
        let gate = Gate()
        let count = Mutex(0)
        let router = ParleyRouter(service: users)
        router.post("orders") { _, _ -> String in
            count.withLock { $0 += 1 }
            try await gate.wait()
            return "late"
        }
        try await withUpstream(router) { upstream in
            try await withRuntime(try self.model(upstream)) { gateway in
                try await RawConnection.with(gateway.endpoint) { client in
                    try await client.send(
                        "POST /orders HTTP/1.1\r\nHost: \(gateway.endpoint)\r\nIdempotency-Key: k\r\n"
                            + "Content-Length: 3\r\n\r\none"
                    )
                    try await eventually { count.withLock { $0 } == 1 }
                }
                try await eventually { await gateway.runtime.status().connections == 0 }
                gate.open()
                try await eventually {
                    let answer = try await self.post(gateway.endpoint)
                    #expect(answer.status == 409 || answer.text == "late")
                    return answer.header("idempotency-replayed") == "true"
                }
                #expect(count.withLock { $0 } == 1)
            }
        }
    }

    @Test(arguments: [503, 500, 401, 429, 408])
    func whatMayGoWellNextTimeIsNotKept(_ status: Int) async throws {
        let answers = ["HTTP/1.1 \(status) No\r\nContent-Length: 0\r\n\r\n", Self.made]
        try await RawServer.with(.script(answers)) { upstream, server in
            try await withRuntime(try self.model(upstream)) { gateway in
                let first = try await self.post(gateway.endpoint)
                #expect(first.status == status)
                let second = try await self.post(gateway.endpoint)
                #expect(second.status == 201 && second.header("idempotency-replayed") == nil)
                #expect(server.requests.count == 2)
            }
        }
    }

    /// What the instance has done is not known: it may be at work still, so for a while nobody else begins.
    @Test func aLostAnswerKeepsTheKeyTaken() async throws {
        try await RawServer.with(.hang) { upstream, server in
            var model = try self.model(upstream)
            model.servers[0].locations[0].settings.proxy.readTimeout = 300
            try await withRuntime(model) { gateway in
                let first = try await self.post(gateway.endpoint)
                #expect(first.status == 504)
                let second = try await self.post(gateway.endpoint)
                #expect(second.status == 409 && server.requests.count == 1)
                try await eventually { try await self.post(gateway.endpoint).status == 504 }
                #expect(server.requests.count == 2)
            }
        }
    }

    @Test func whatWasNotSentMayBeTriedAtOnce() async throws {
        try await withRuntime(try self.model(try await unusedEndpoint())) { gateway in
            for _ in 0..<2 {
                let answer = try await self.post(gateway.endpoint)
                #expect(answer.status == 502)
            }
        }
    }

    @Test func whoSpeaksOfWhat() async throws {
        try await RawServer.with(.answer(Self.made)) { upstream, server in
            try await withRuntime(try self.model(upstream, isRequired: true)) { gateway in
                let none = try await self.post(gateway.endpoint, key: nil)
                #expect(none.status == 400 && none.text.contains("idempotency_key_missing"))
                let odd = try await self.post(gateway.endpoint, key: String(repeating: "k", count: 129))
                #expect(odd.status == 400 && odd.text.contains("idempotency_key_malformed"))
                #expect(server.requests.isEmpty)
                // It means the same when it is repeated.
                let put = try await self.post(gateway.endpoint, key: nil, method: "PUT")
                #expect(put.status == 201)
                // The same key of two callers is two keys.
                for caller in ["Bearer a", "Bearer b"] {
                    let answer = try await self.post(gateway.endpoint, fields: [("Authorization", caller)])
                    #expect(answer.status == 201 && answer.header("idempotency-replayed") == nil)
                }
                #expect(server.requests.count == 3)
            }
        }
    }

    @Test func aBodyThatCannotBeHeldIsRefused() async throws {
        try await RawServer.with(.answer(Self.made)) { upstream, server in
            try await withRuntime(try self.model(upstream)) { gateway in
                let large = String(repeating: "x", count: GatewayWorker.maxHeldBody + 1)
                let answer = try await self.post(gateway.endpoint, body: large)
                #expect(answer.status == 413 && server.requests.isEmpty)
                let without = try await self.post(gateway.endpoint, key: nil, body: large)
                #expect(without.status == 201)
            }
        }
    }

    @Test func anAnswerThatIsTooLargeIsNotKept() async throws {
        let large = String(repeating: "x", count: AnswerKeeper.maxAnswerBytes + 1)
        let text = "HTTP/1.1 200 OK\r\nContent-Length: \(large.utf8.count)\r\n\r\n\(large)"
        try await RawServer.with(.answer(text)) { upstream, server in
            try await withRuntime(try self.model(upstream)) { gateway in
                let first = try await self.post(gateway.endpoint)
                #expect(first.text == large)
                let second = try await self.post(gateway.endpoint)
                #expect(second.text == large && second.header("idempotency-replayed") == nil)
                #expect(server.requests.count == 2)
            }
        }
    }
}
