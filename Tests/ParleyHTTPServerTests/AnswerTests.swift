internal import HTTPTestSupport
internal import ParleyCore
internal import ParleyHTTPServer
internal import Testing

@Suite(.timeLimit(.minutes(1))) struct AnswerTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var method = "GET"
        var path = "/items/1"
        var headers: [(String, String)] = []
        var body: String?
        var status: Int
        var code: String
        /// What the detail must say.
        var says = ""
        var path400: String?

        var testDescription: String { self.name }
    }

    static let json = [("Content-Type", "application/json")]
    static let good = #"{"userId":"1","lines":[{"productId":"7","quantity":2}]}"#

    static let cases: [Case] = [
        Case(name: "unknown path", path: "/nothing", status: 404, code: "not_found", says: "/nothing"),
        Case(name: "wrong method", method: "DELETE", status: 405, code: "method_not_allowed", says: "GET, HEAD"),
        Case(name: "unknown method", method: "PROPFIND", status: 501, code: "unknown_method", says: "PROPFIND"),
        Case(name: "a handler's HTTPError", path: "/teapot", status: 418, code: "teapot", says: "short"),
        Case(name: "a handler's problem", path: "/stock", status: 409, code: "out_of_stock", says: "chairs"),
        Case(name: "an unexpected error", path: "/broken", status: 500, code: "internal", says: "request id"),
        Case(
            name: "an error with nothing done",
            path: "/full",
            status: 503,
            code: "unavailable",
            says: "nothing was done"
        ),
        Case(
            name: "no content type",
            method: "POST",
            path: "/items",
            body: good,
            status: 415,
            code: "unsupported_media_type",
            says: "names no Content-Type"
        ),
        Case(
            name: "form content type",
            method: "POST",
            path: "/items",
            headers: [("Content-Type", "application/x-www-form-urlencoded")],
            body: good,
            status: 415,
            code: "unsupported_media_type",
            says: "form-urlencoded"
        ),
        Case(
            name: "foreign charset",
            method: "POST",
            path: "/items",
            headers: [("Content-Type", "application/json; charset=utf-16")],
            body: good,
            status: 415,
            code: "unsupported_media_type",
            says: "UTF-8"
        ),
        Case(
            name: "no body",
            method: "POST",
            path: "/items",
            headers: json,
            status: 400,
            code: "empty_body"
        ),
        Case(
            name: "malformed JSON",
            method: "POST",
            path: "/items",
            headers: json,
            body: "{\"userId\":\n 1 2}",
            status: 400,
            code: "malformed_json",
            says: "line 2"
        ),
        Case(
            name: "trailing comma",
            method: "POST",
            path: "/items",
            headers: json,
            body: #"{"userId":"1","lines":[],}"#,
            status: 400,
            code: "malformed_json",
            says: "column 26"
        ),
        Case(
            name: "fraction",
            method: "POST",
            path: "/items",
            headers: json,
            body: #"{"userId":"1","lines":[{"productId":"7","quantity":1.5}]}"#,
            status: 400,
            code: "invalid_body",
            says: "1.5",
            path400: "lines[0].quantity"
        ),
        Case(
            name: "cut JSON",
            method: "POST",
            path: "/items",
            headers: json,
            body: #"{"userId":"#,
            status: 400,
            code: "malformed_json"
        ),
        Case(
            name: "deeply nested JSON",
            method: "POST",
            path: "/items",
            headers: json,
            body: String(repeating: "[", count: 600),
            status: 400,
            code: "malformed_json"
        ),
        Case(
            name: "missing member",
            method: "POST",
            path: "/items",
            headers: json,
            body: #"{"userId":"1","lines":[{"productId":"7"}]}"#,
            status: 400,
            code: "invalid_body",
            says: "missing",
            path400: "lines[0].quantity"
        ),
        Case(
            name: "null",
            method: "POST",
            path: "/items",
            headers: json,
            body: #"{"userId":null,"lines":[]}"#,
            status: 400,
            code: "invalid_body",
            says: "null",
            path400: "userId"
        ),
        Case(
            name: "wrong type",
            method: "POST",
            path: "/items",
            headers: json,
            body: #"{"userId":"1","lines":[{"productId":"7","quantity":"two"}]}"#,
            status: 400,
            code: "invalid_body",
            says: "a whole number",
            path400: "lines[0].quantity"
        ),
        Case(
            name: "number out of range",
            method: "POST",
            path: "/items",
            headers: json,
            body: #"{"userId":"1","lines":[{"productId":"7","quantity":99999999999999999999}]}"#,
            status: 400,
            code: "invalid_body",
            path400: "lines[0].quantity"
        ),
        Case(
            name: "an array for the object",
            method: "POST",
            path: "/items",
            headers: json,
            body: "[]",
            status: 400,
            code: "invalid_body",
            path400: "$"
        ),
        Case(
            name: "body above the limit",
            method: "POST",
            path: "/items",
            headers: json,
            body: String(repeating: " ", count: 2_000),
            status: 413,
            code: "body_too_large",
            says: "1024"
        ),
        Case(
            name: "deadline passed",
            headers: [("X-Request-Timeout-Ms", "0")],
            status: 504,
            code: "deadline_passed"
        ),
        Case(
            name: "deadline reached",
            path: "/stuck",
            headers: [("X-Request-Timeout-Ms", "50")],
            status: 504,
            code: "deadline_reached"
        ),
    ]

    @Test(arguments: cases)
    func everyErrorIsAProblemWithTheRequestID(_ test: Case) async throws {
        try await withService(configure: { $0.maxBodyBytes = 1_024 }) { endpoint, _, _ in
            let answer = try await request(
                test.method,
                test.path,
                at: endpoint,
                headers: test.headers + [("X-Request-ID", "req-1")],
                body: test.body
            )
            #expect(answer.status == test.status)
            #expect(answer.header("content-type") == "application/problem+json")
            #expect(answer.header("x-request-id") == "req-1")
            #expect(answer.header("date")?.hasSuffix("GMT") == true)
            let problem = try #require(answer.problem)
            #expect(problem.status == test.status)
            #expect(problem.code == test.code, "\(problem.detail ?? "")")
            #expect(problem.requestID == "req-1")
            #expect(problem.instance == test.path)
            #expect(problem.detail?.contains(test.says) == true || test.says.isEmpty, "\(problem.detail ?? "")")
            if let path = test.path400 { #expect(problem.extra["path"] == path) }
            #expect(!answer.text.contains("hunter2") && !answer.text.contains("SecretError"))
        }
    }

    @Test(arguments: [
        "application/json", "application/json; charset=UTF-8", "application/cloudevents+json", "APPLICATION/JSON",
    ])
    func acceptsJSON(_ contentType: String) async throws {
        try await withService { endpoint, _, _ in
            let answer = try await request(
                "POST",
                "/items",
                at: endpoint,
                headers: [("Content-Type", contentType)],
                body: Self.good
            )
            #expect(answer.status == 201)
        }
    }

    @Test func allowSaysWhatIsPossible() async throws {
        try await withService { endpoint, _, _ in
            let wrong = try await request("PUT", "/items", at: endpoint)
            #expect(wrong.status == 405)
            #expect(wrong.header("allow") == "OPTIONS, POST")
            let options = try await request("OPTIONS", "/items/1", at: endpoint)
            #expect(options.status == 204)
            #expect(options.header("allow") == "GET, HEAD, OPTIONS")
        }
    }

    @Test func headHasTheLengthAndNoBody() async throws {
        try await withService { endpoint, _, _ in
            let text = try await RawConnection.with(endpoint) { connection in
                try await connection.send("HEAD /items/12345 HTTP/1.1\r\nHost: a\r\n\r\nHEAD /nothing HTTP/1.1\r\n")
                try await connection.send("Host: a\r\nConnection: close\r\n\r\n")
                return await connection.readToEnd()
            }
            #expect(text.contains("200 OK") && text.contains("404 Not Found"))
            #expect(text.contains("Content-Length: 5\r\n") && !text.contains("12345"))
            #expect(text.hasSuffix("\r\n\r\n") && !text.contains("not_found"))
        }
    }

    @Test func aBodyOfUnknownLengthIsCountedWhileItIsRead() async throws {
        try await withService(configure: { $0.maxBodyBytes = 1_000 }) { endpoint, _, _ in
            let text = try await RawConnection.with(endpoint) { connection in
                try await connection.send("POST /drop HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in 0..<11 { try await connection.send("64\r\n" + String(repeating: "x", count: 100) + "\r\n") }
                return try await connection.read(until: "body_too_large")
            }
            #expect(text.hasPrefix("HTTP/1.1 413"))
        }
    }

    @Test func anUploadThatIsRefusedEarlySeesTheAnswer() async throws {
        try await withService { endpoint, _, _ in
            let text = try await RawConnection.with(endpoint) { connection in
                try await connection.send("POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n")
                // More than the socket buffers hold, less than the server is willing to throw away.
                for _ in 0..<16 { try await connection.send(bytes: 65_536) }
                return try await connection.read(until: "body_too_large")
            }
            #expect(text.hasPrefix("HTTP/1.1 413"))
        }
    }

    @Test func anUploadWithoutEndIsCutOff() async throws {
        try await withService(configure: { $0.listener.maxLingerBytes = 100_000 }) { endpoint, _, _ in
            let sent = try await RawConnection.with(endpoint) { connection in
                try await connection.send("POST /items HTTP/1.1\r\nHost: a\r\nContent-Length: 1073741824\r\n\r\n")
                var sent = 0
                while sent < 1_073_741_824 {
                    do { try await connection.send(bytes: 65_536) } catch { break }
                    sent += 65_536
                }
                return sent
            }
            #expect(sent < 200_000_000)
        }
    }

    @Test func malformedHTTPIsAnswered400() async throws {
        try await withService { endpoint, _, _ in
            let text = try await RawConnection.with(endpoint) { connection in
                try await connection.send("GET / HTTP/1.1\r\nBad Header\r\n\r\n")
                return await connection.readToEnd()
            }
            #expect(text.hasPrefix("HTTP/1.1 400"))
        }
    }

    @Test func aMalformedChunkIsAnswered400() async throws {
        try await withService { endpoint, _, _ in
            let text = try await RawConnection.with(endpoint) { connection in
                try await connection.send("POST /drop HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
                return await connection.readToEnd()
            }
            #expect(text.hasPrefix("HTTP/1.1 400"))
        }
    }

    @Test func expectContinueIsAnsweredBeforeTheBody() async throws {
        try await withService { endpoint, _, _ in
            let text = try await RawConnection.with(endpoint) { connection in
                try await connection.send(
                    "POST /drop HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
                )
                try await connection.read(until: "100 Continue\r\n\r\n")
                try await connection.send("abc")
                return try await connection.read(until: "\r\n\r\n3")
            }
            #expect(text.contains("200 OK"))
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct ContextTests {
    @Test func theHandlerSeesWhatTheHeadersSay() async throws {
        try await withService { endpoint, _, _ in
            let trace = "0af7651916cd43dd8448eb211c80319c"
            let answer = try await request(
                "GET",
                "/context",
                at: endpoint,
                headers: [
                    ("X-Request-ID", "abc"), ("X-Service", "order-service"), ("X-Request-Timeout-Ms", "5000"),
                    ("traceparent", "00-\(trace)-b7ad6b7169203331-01"), ("X-Retry-Budget", "4"),
                ]
            )
            let seen = try answer.json([String: String].self)
            #expect(seen["requestID"] == "abc")
            #expect(seen["caller"] == "order-service")
            #expect(seen["trace"] == trace)
            #expect(seen["budget"] == "4")
            let left = seen["left"].flatMap { Int($0) } ?? 0
            #expect((1...5_000).contains(left))
        }
    }

    @Test func aRequestWithoutADeadlineGetsTheServices() async throws {
        try await withService(configure: { $0.requestTimeout = .milliseconds(50) }) { endpoint, _, _ in
            let answer = try await request("GET", "/stuck", at: endpoint)
            #expect(answer.problem?.code == "deadline_reached")
        }
    }

    @Test(arguments: [nil, "", "has space", String(repeating: "x", count: 129)])
    func anIDThatIsMissingOrUnfitIsReplaced(_ id: String?) async throws {
        try await withService { endpoint, _, _ in
            let answer = try await request(
                "GET",
                "/context",
                at: endpoint,
                headers: id.map { [("X-Request-ID", $0)] } ?? []
            )
            let new = try #require(answer.header("x-request-id"))
            #expect(new != id && new.count == 36)
            #expect(try answer.json([String: String].self)["requestID"] == new)
        }
    }
}
