internal import HTTPTestSupport
internal import ParleyCore
internal import ParleyGateway
internal import ParleyHTTPServer
internal import Testing

@Suite(.timeLimit(.minutes(1))) struct UpstreamFailureTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var behaviour: RawServer.Behaviour
        var method = "GET"
        var status: Int
        var code: String
        var requests: Int?

        var testDescription: String { "\(self.name) \(self.method)" }
    }

    @Test(arguments: [
        Case(name: "closes after accept", behaviour: .closeAfterAccept, status: 502, code: "upstream_broke"),
        Case(
            name: "closes after the request",
            behaviour: .closeAfterRequest,
            status: 502,
            code: "upstream_broke",
            requests: 3
        ),
        Case(
            name: "closes after the request",
            behaviour: .closeAfterRequest,
            method: "POST",
            status: 502,
            code: "upstream_broke",
            requests: 1
        ),
        Case(
            name: "closes after the request",
            behaviour: .closeAfterRequest,
            method: "DELETE",
            status: 502,
            code: "upstream_broke",
            requests: 1
        ),
        Case(
            name: "garbage",
            behaviour: .answer("SSH-2.0-x\r\n\r\n"),
            status: 502,
            code: "upstream_garbage",
            requests: 1
        ),
        Case(name: "hangs", behaviour: .hang, status: 504, code: "upstream_timeout", requests: 1),
        Case(name: "hangs", behaviour: .hang, method: "POST", status: 504, code: "upstream_timeout", requests: 1),
    ])
    func everyFaultHasItsAnswer(_ test: Case) async throws {
        try await RawServer.with(test.behaviour) { upstream, server in
            // Only what never answers may be cut short: on a busy machine the others need their time.
            let patience: Duration = test.status == 504 ? .milliseconds(500) : .seconds(20)
            try await withGateway(to: [users: [upstream]], configure: { $0.readTimeout = patience }) {
                gateway,
                _ in
                let answer = try await request(
                    test.method,
                    "/api/v1/users/1",
                    at: gateway,
                    headers: [("X-Request-ID", "r-1")],
                    body: test.method == "POST" ? "x" : nil
                )
                #expect(answer.status == test.status)
                #expect(answer.header("content-type") == "application/problem+json")
                #expect(answer.header("x-request-id") == "r-1")
                let problem = try #require(answer.problem)
                #expect(problem.code == test.code)
                #expect(problem.requestID == "r-1" && problem.instance == "/api/v1/users/1")
                #expect(problem.extra["service"] == "user-service")
                #expect(!answer.text.contains("\(upstream.port)"))
                if let requests = test.requests { #expect(server.requests.count == requests) }
            }
        }
    }

    @Test(arguments: ["GET", "POST"])
    func aServiceThatRefusesIs502(_ method: String) async throws {
        try await withGateway(to: [users: [try await unusedEndpoint()]]) { gateway, _ in
            let answer = try await request(method, "/api/v1/users/1", at: gateway, body: method == "POST" ? "x" : nil)
            #expect(answer.status == 502 && answer.problem?.code == "upstream_unreachable")
        }
    }

    @Test func aServiceWithoutInstanceIs503() async throws {
        try await withGateway(to: [:]) { gateway, _ in
            let answer = try await request("GET", "/api/v1/users/1", at: gateway)
            #expect(answer.status == 503 && answer.problem?.code == "no_instance")
            #expect(answer.header("retry-after") == "1")
        }
    }

    @Test func theClientsDeadlineIs504() async throws {
        try await RawServer.with(.hang) { upstream, server in
            try await withGateway(to: [users: [upstream]]) { gateway, _ in
                for (left, requests) in [("0", 0), ("1000", 1)] {
                    let answer = try await request(
                        "GET",
                        "/api/v1/users/1",
                        at: gateway,
                        headers: [("X-Request-Timeout-Ms", left)]
                    )
                    #expect(answer.status == 504 && answer.problem?.code == "upstream_timeout")
                    #expect(server.requests.count == requests)
                }
            }
        }
    }

    /// - Parameter size: of the request's body.
    @Test(arguments: [0, 5, 500_000])
    func anotherInstanceIsAskedWhenOneRefuses(_ size: Int) async throws {
        let refused = try await unusedEndpoint()
        let body = String(repeating: "x", count: size)
        try await withUpstream { good in
            try await withGateway(to: [users: [refused, good]]) { gateway, _ in
                for _ in 0..<4 {
                    let (method, path) = size == 0 ? ("GET", "/api/v1/users/7") : ("POST", "/api/v1/users/echo")
                    let answer = try await request(method, path, at: gateway, body: size == 0 ? nil : body)
                    #expect(answer.status == 200 && (size == 0 || answer.body.count == size))
                }
            }
        }
    }

    @Test func aConnectionThatTheServiceHadClosedCostsNoAnswer() async throws {
        // Each answer is followed by a close that it did not announce.
        try await RawServer.with(.answerAndClose(ok)) { upstream, _ in
            try await withGateway(to: [users: [upstream]]) { gateway, _ in
                for _ in 0..<20 {
                    let answer = try await request("GET", "/api/v1/users/1", at: gateway)
                    #expect(answer.status == 200)
                }
            }
        }
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ])
    func halfAnAnswerIsNotPassedOnAsAWholeOne(_ half: String) async throws {
        try await RawServer.with(.answerAndClose(half)) { upstream, _ in
            try await withGateway(to: [users: [upstream]]) { gateway, _ in
                await #expect(throws: (any Error).self) { try await request("GET", "/api/v1/users/1", at: gateway) }
                let text = try await RawConnection.with(gateway) { connection in
                    try await connection.send("GET /api/v1/users/1 HTTP/1.1\r\nHost: a\r\n\r\n")
                    return await connection.readToEnd()
                }
                #expect(text.hasPrefix("HTTP/1.1 200 ") && !text.hasSuffix("0\r\n\r\n"))
            }
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct RefusalTests {
    private func status(_ head: String) async throws -> (Int, String) {
        try await RawServer.with(.answer(ok)) { upstream, server in
            let routes = [
                GatewayRoute(prefix: "/api/v1/users", service: users),
                GatewayRoute(
                    prefix: "/api/internal",
                    service: users,
                    allowedClients: [CIDR("10.0.0.0/8")].compactMap { $0 }
                ),
                GatewayRoute(prefix: "/api/local", service: users, allowedClients: CIDR.loopback),
            ]
            return try await withGateway(
                to: [users: [upstream]],
                routes: routes,
                configure: { $0.maxBodyBytes = 1_000 }
            ) {
                gateway,
                _ in
                let text = try await RawConnection.with(gateway) { connection in
                    try await connection.send(head + "Host: a\r\nConnection: close\r\n\r\n")
                    return await connection.readToEnd()
                }
                #expect(server.requests.isEmpty == !text.hasPrefix("HTTP/1.1 200"))
                return (Int(text.dropFirst("HTTP/1.1 ".count).prefix(3)) ?? 0, text)
            }
        }
    }

    @Test(arguments: [
        ("GET /nothing HTTP/1.1\r\n", 404, "no_route"), ("GET /api/v1/usersX HTTP/1.1\r\n", 404, "no_route"),
        ("GET /api/internal/send HTTP/1.1\r\n", 403, "client_not_allowed"),
        ("GET /api//internal/send HTTP/1.1\r\n", 403, "client_not_allowed"),
        ("GET /api/%69nternal HTTP/1.1\r\n", 403, "client_not_allowed"),
        ("GET /api/v1/users/../../internal HTTP/1.1\r\n", 400, "bad_path"),
        ("GET /api/v1/users/%2e%2e/x HTTP/1.1\r\n", 400, "bad_path"),
        ("GET /api/v1/users/%00 HTTP/1.1\r\n", 400, "bad_path"), ("OPTIONS * HTTP/1.1\r\n", 400, "malformed_request"),
        ("TRACE /api/v1/users HTTP/1.1\r\n", 405, "method_not_allowed"),
        ("POST /health HTTP/1.1\r\nContent-Length: 0\r\n", 405, "method_not_allowed"),
        ("POST /api/v1/users HTTP/1.1\r\nContent-Length: 1001\r\n", 413, "body_too_large"),
        ("GET /api/local HTTP/1.1\r\n", 200, "ok"), ("GET /api/v1/users HTTP/1.1\r\n", 200, "ok"),
    ])
    func isAnsweredBeforeAnyServiceIsAsked(_ head: String, _ status: Int, _ code: String) async throws {
        let (answered, text) = try await self.status(head)
        #expect(answered == status)
        #expect(text.contains(code))
        #expect(text.lowercased().contains("x-request-id: "))
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\nBad Header\r\n",
        "POST /api/v1/users HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "POST /api/v1/users HTTP/1.1\r\nContent-Length: -1\r\n",
        "POST /api/v1/users HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
        "GET /\u{0} HTTP/1.1\r\n",
    ])
    func malformedRequestsReachNobody(_ head: String) async throws {
        let (answered, _) = try await self.status(head)
        #expect(answered == 400)
    }
}
