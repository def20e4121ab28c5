internal import HTTPTestSupport
internal import NIOHTTP1
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyGateway
internal import Testing

@Suite(.timeLimit(.minutes(1))) struct ForwardingTests {
    /// What the service behind the gateway is sent, as lower-case lines.
    private func seen(_ headers: [String], target: String = "/api/v1/users/1?a=%2F&b") async throws -> [String] {
        try await RawServer.with(.answer(ok)) { upstream, server in
            try await withGateway(to: [users: [upstream]]) { gateway, _ in
                try await RawConnection.with(gateway) { connection in
                    let lines = ["GET \(target) HTTP/1.1", "Host: api.example.com"] + headers + ["", ""]
                    try await connection.send(lines.joined(separator: "\r\n"))
                    try await connection.read(until: "\r\n\r\nok")
                }
            }
            return (server.requests.first ?? "").lowercased().split(separator: "\r\n").map(String.init)
        }
    }

    @Test func theServiceSeesWhoAskedForWhat() async throws {
        let lines = try await self.seen(["X-Custom: kept", "Cookie: a=b", "Accept: text/plain"])
        #expect(lines.first == "get /api/v1/users/1?a=%2f&b http/1.1")
        for line in [
            "host: api.example.com", "x-real-ip: 127.0.0.1", "x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http",
            "x-forwarded-host: api.example.com", "x-service: gateway", "x-custom: kept", "cookie: a=b",
            "accept: text/plain",
        ] { #expect(lines.contains(line), "\(line)") }
        #expect(lines.filter { $0.hasPrefix("host:") }.count == 1)
    }

    @Test func theChainOfProxiesGrowsAndClaimsAreNotPassedOn() async throws {
        let lines = try await self.seen([
            "X-Forwarded-For: 203.0.113.7, 198.51.100.2", "X-Real-IP: 6.6.6.6", "X-Forwarded-Proto: https",
            "X-Forwarded-Host: evil", "X-Service: payment-service",
        ])
        #expect(lines.contains("x-forwarded-for: 203.0.113.7, 198.51.100.2, 127.0.0.1"))
        #expect(lines.contains("x-real-ip: 127.0.0.1") && lines.contains("x-service: gateway"))
        #expect(!lines.contains { $0.contains("6.6.6.6") || $0.contains("evil") || $0.contains("payment-service") })
    }

    @Test func whichInstanceIsMeantIsNotTheClientsToSay() async throws {
        #expect(try await !self.seen(["X-Parley-Instance: evil"]).contains { $0.hasPrefix("x-parley-instance") })
        let named = "HTTP/1.1 200 OK\r\nX-Parley-Instance: inside-1\r\nContent-Length: 2\r\n\r\nok"
        try await RawServer.with(.answer(named)) { upstream, _ in
            try await withGateway(to: [users: [upstream]]) { gateway, _ in
                let answer = try await request("GET", "/api/v1/users/1", at: gateway)
                #expect(answer.status == 200 && answer.header("X-Parley-Instance") == nil)
            }
        }
    }

    /// The registry's first entry is out of date: somebody else listens there.
    @Test func aForeignAnswerDoesNotPass() async throws {
        func answer(_ id: String, _ status: String) -> RawServer.Behaviour {
            .answer("HTTP/1.1 \(status)\r\nX-Parley-Instance: \(id)\r\nContent-Length: 2\r\n\r\nok")
        }
        for (status, expected) in [("421 Misdirected Request", 200), ("200 OK", 502)] {
            try await RawServer.with(answer("p-7", status)) { foreign, refused in
                try await RawServer.with(answer("u-2", "200 OK")) { good, _ in
                    let registry = InProcessRegistry()
                    try await registry.register(
                        ServiceInstance(id: "u-1", service: users, endpoint: foreign, knowsItsID: true)
                    )
                    try await registry.register(
                        ServiceInstance(id: "u-2", service: users, endpoint: good, knowsItsID: true)
                    )
                    let configuration = GatewayConfiguration(routes: [GatewayRoute(prefix: "/api", service: users)])
                    let gateway = try Gateway(configuration: configuration, resolver: registry, logger: testLogger)
                    try await withRunning(gateway) { _ in
                        let first = try await request("GET", "/api/v1/users/1", at: try await gateway.endpoint())
                        #expect(first.status == expected, "\(status)")
                        if expected == 502 { #expect(first.problem?.code == "upstream_misdirected") }
                    }
                    #expect(refused.requests.first?.contains("X-Parley-Instance: u-1") == true)
                }
            }
        }
    }

    @Test func fieldsOfOneConnectionStayThere() async throws {
        let lines = try await self.seen([
            "Connection: keep-alive, X-Secret", "X-Secret: 1", "Keep-Alive: timeout=5",
            "Proxy-Authorization: Basic eA==",
            "TE: trailers", "Upgrade: websocket", "Proxy-Connection: keep-alive", "Trailer: X-T",
        ])
        for name in ["x-secret", "keep-alive", "proxy-authorization", "te", "upgrade", "proxy-connection", "trailer"] {
            #expect(!lines.contains { $0.hasPrefix("\(name):") }, "\(name)")
        }
    }

    @Test func theRequestIDIsTheClientsIfItIsAcceptable() async throws {
        #expect(try await self.seen(["X-Request-ID: abc-1"]).contains("x-request-id: abc-1"))
        let replaced = try await self.seen(["X-Request-ID: has space"]).filter { $0.hasPrefix("x-request-id: ") }
        #expect(replaced.count == 1 && replaced.first?.count == "x-request-id: ".count + 32)
    }

    @Test func theTraceGoesOnWithASpanOfItsOwn() async throws {
        let trace = "0af7651916cd43dd8448eb211c80319c"
        let lines = try await self.seen(["traceparent: 00-\(trace)-b7ad6b7169203331-01", "tracestate: a=b"])
        #expect(lines.contains { $0.hasPrefix("traceparent: 00-\(trace)-") && !$0.contains("b7ad6b7169203331") })
        #expect(lines.contains("tracestate: a=b"))
        #expect(try await self.seen([]).contains { $0.hasPrefix("traceparent: 00-") })
    }

    @Test func theDeadlineGoesOn() async throws {
        let line = try await self.seen(["X-Request-Timeout-Ms: 5000"]).first { $0.hasPrefix("x-request-timeout-ms: ") }
        let left = line.flatMap { Int($0.dropFirst("x-request-timeout-ms: ".count)) } ?? 0
        #expect((1...5_000).contains(left))
    }

    @Test(arguments: [
        "/api/v1/users//1", "/api/v1/users/a%20b", "/api/v1/users/%C3%A9;a=b?q=%41+%20&x=1/?~", "/api/v1/users?",
        "/api/v1/users?x=[1]&y=a%20b", "/api/v1/users/{a|b}/%41", "/api/v1/users?q=%zz&r=100%",
    ])
    func theTargetIsPassedOnAsItCame(_ target: String) async throws {
        #expect(try await self.seen([], target: target).first == "get \(target.lowercased()) http/1.1")
    }

    @Test func theAbsoluteFormIsPassedOnAsAPath() async throws {
        let lines = try await self.seen([], target: "http://api.example.com/api/v1/users/1?a")
        #expect(lines.first == "get /api/v1/users/1?a http/1.1")
    }

    @Test func theAnswerLosesWhatBelongsToTheConnectionAndGetsTheID() async throws {
        let answer = [
            "HTTP/1.1 201 Made", "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "Proxy-Authenticate: Basic",
            "Set-Cookie: a=1", "Set-Cookie: b=2", "X-Kept: yes", "Content-Length: 4", "", "body",
        ].joined(separator: "\r\n")
        try await RawServer.with(.answer(answer)) { upstream, _ in
            try await withGateway(to: [users: [upstream]]) { gateway, _ in
                let answer = try await request(
                    "GET",
                    "/api/v1/users/1",
                    at: gateway,
                    headers: [("X-Request-ID", "id-7")]
                )
                #expect(answer.status == 201 && answer.text == "body")
                #expect(answer.headers["set-cookie"] == ["a=1", "b=2"])
                #expect(answer.header("x-kept") == "yes" && answer.header("x-request-id") == "id-7")
                #expect(answer.header("date") != nil && answer.header("content-length") == "4")
                for name in ["x-hop", "keep-alive", "proxy-authenticate"] {
                    #expect(answer.header(name) == nil, "\(name)")
                }
            }
        }
    }

    @Test(arguments: [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", "content-length: 99"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n", "etag: \"1\""),
    ])
    func answersWithoutABodyLeaveTheConnectionInOrder(_ method: String, _ answer: String, _ line: String) async throws {
        try await RawServer.with(.answer(answer)) { upstream, _ in
            try await withGateway(to: [users: [upstream]]) { gateway, _ in
                let text = try await RawConnection.with(gateway) { connection in
                    try await connection.send("\(method) /api/v1/users/1 HTTP/1.1\r\nHost: a\r\n\r\n")
                    try await connection.read(until: "\r\n\r\n")
                    try await connection.send("GET /nothing HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    return await connection.readToEnd()
                }
                let parts = text.components(separatedBy: "\r\n\r\n")
                #expect(parts.count == 3)
                #expect(parts.first?.lowercased().contains(line) == true || line.isEmpty)
                // Right behind the first head comes the second one: nothing that a client would take for an answer.
                #expect(parts.dropFirst().first?.hasPrefix("HTTP/1.1 404 ") == true)
            }
        }
    }

    @Test func redirectsAreTheClientsToFollow() async throws {
        try await RawServer.with(.answer("HTTP/1.1 302 Found\r\nLocation: /else\r\nContent-Length: 0\r\n\r\n")) {
            upstream,
            server in
            try await withGateway(to: [users: [upstream]]) { gateway, _ in
                let text = try await RawConnection.with(gateway) { connection in
                    try await connection.send("GET /api/v1/users/1 HTTP/1.1\r\nHost: a\r\n\r\n")
                    return try await connection.read(until: "\r\n\r\n")
                }
                #expect(text.hasPrefix("HTTP/1.1 302 ") && text.contains("Location: /else\r\n"))
                #expect(server.requests.count == 1)
            }
        }
    }
}

extension String {
    func components(separatedBy separator: String) -> [String] {
        self.split(separator: separator, omittingEmptySubsequences: false).map(String.init)
    }
}
