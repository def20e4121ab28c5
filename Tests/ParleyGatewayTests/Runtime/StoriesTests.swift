import Foundation
import HTTPTestSupport
import ParleyCore
import Testing

@testable import ParleyGateway

/// What `parley explain` tells of requests that really went wrong.
@Suite(.timeLimit(.minutes(1))) struct StoriesTests {
    private func story(
        _ text: String,
        requests: Int = 1,
        status: Int,
        adjust: (inout GatewayModel) -> Void = { _ in }
    ) async throws -> ExchangeRecord {
        var configuration = try model(text)
        adjust(&configuration)
        return try await withRuntime(configuration) { gateway in
            var answer: HTTPAnswer?
            for number in 1...requests {
                answer = try await request(
                    "GET",
                    "/a?b=1",
                    at: gateway.endpoint,
                    headers: [("X-Request-ID", "mine-\(number)")]
                )
            }
            #expect(answer?.status == status)
            let record = try #require(gateway.runtime.records.record(id: "mine-\(requests)"))
            #expect(record.status == status && record.path == "/a?b=1" && record.isOwnAnswer)
            return record
        }
    }

    private static func proxy(_ servers: String, _ more: String = "") -> String {
        "upstream u { \(servers) } server { listen 127.0.0.1:1; location / { proxy_pass http://u; \(more) } }"
    }

    @Test func nobodyListens() async throws {
        let refused = try await unusedEndpoint()
        let record = try await self.story(Self.proxy("server \(refused);"), status: 502)
        #expect(record.flags.contains(.connectFailed) && record.upstream == "u" && record.route == "/")
        let attempt = try #require(record.attempts.first)
        #expect(record.attempts.count == 1)
        #expect(attempt.phase == .connect && attempt.outcome == .connectFailed)
        #expect(attempt.detail == "connection refused" && attempt.retry == .triesExhausted)
        #expect(attempt.why == "the only instance")
        #expect(attempt.considered.map(\.state) == [.available])
        #expect(attempt.considered.first?.activeRequests == 0)
        #expect(Explanation(record).text.contains("Nothing listens at \(refused)"))
    }

    @Test func nobodyAnswers() async throws {
        try await RawServer.with(.hang) { upstream, _ in
            let text = Self.proxy("server \(upstream);", "proxy_read_timeout 100ms;")
            let record = try await self.story(text, status: 504)
            #expect(record.flags == .upstreamTimeout)
            let attempt = try #require(record.attempts.first)
            #expect(attempt.phase == .firstByte && attempt.outcome == .readTimeout)
            #expect((attempt.timings.firstByte ?? 0) >= 100_000)
        }
    }

    @Test func aboveTheRate() async throws {
        let text = """
            limit_req_zone $binary_remote_addr zone=z:1m rate=1r/m;
            server { listen 127.0.0.1:1; location / { limit_req zone=z; } }
            """
        let record = try await self.story(text, requests: 2, status: 503)
        #expect(record.flags == .rateLimited && record.attempts.isEmpty)
        #expect(record.limit?.zone == "z" && record.limit?.key == "127.0.0.1")
    }

    @Test func noLiveUpstreams() async throws {
        let record = try await self.story(
            Self.proxy("server 127.0.0.1:1 down; server 127.0.0.1:2 down;"),
            status: 502
        )
        #expect(record.flags == .noneHealthy && record.attempts.isEmpty)
        #expect(record.unavailable.map(\.state) == [.down, .down])
    }

    @Test func aboveTheCircuitBreaker() async throws {
        try await RawServer.with(.hang) { upstream, server in
            var configuration = try model(Self.proxy("server \(upstream);"))
            var limits = CircuitRules()
            limits.maxRequests = 1
            configuration.upstreams[0].limits = limits
            try await withRuntime(configuration) { gateway in
                try await RawConnection.with(gateway.endpoint) { client in
                    try await client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
                    try await server.wait { $0.requests.count == 1 }
                    let second = try await request("GET", "/", at: gateway.endpoint, headers: [("X-Request-ID", "two")])
                    #expect(second.status == 503)
                }
                let record = try #require(gateway.runtime.records.record(id: "two"))
                #expect(record.flags == .overflow)
                let metrics = await gateway.runtime.metrics().upstreams.first
                #expect(metrics?.overflows == 1)
            }
        }
    }

    /// Each attempt tells the instances as they were when it began, not as its failure left them.
    @Test func everyAttemptHasItsOwnMoment() async throws {
        let (one, two) = (try await unusedEndpoint(), try await unusedEndpoint())
        let record = try await self.story(
            Self.proxy("least_conn; server \(one) weight=2; server \(two);"),
            status: 502
        )
        #expect(record.attempts.map(\.instance) == ["\(one)", "\(two)"])
        #expect(record.attempts.map(\.why) == ["0 active requests for weight 2", "0 active requests for weight 1"])
        #expect(record.attempts.map(\.retry) == [.retried, .triesExhausted])
        #expect(record.attempts[0].considered.map(\.state) == [.available, .available])
        #expect(record.attempts[0].considered.map(\.fails) == [0, 0])
        #expect(record.attempts[1].considered.map(\.state) == [.failed, .available])
        #expect(record.attempts[1].considered[0].until != nil)
    }

    @Test func aRetryThatWentWellIsToldToo() async throws {
        let refused = try await unusedEndpoint()
        try await RawServer.with(.answer(ok)) { upstream, _ in
            let text = Self.proxy("server \(refused); server \(upstream) backup;")
            try await withRuntime(model(text)) { gateway in
                let fields = [("X-Request-ID", "mine")]
                #expect(try await request("GET", "/", at: gateway.endpoint, headers: fields).status == 200)
                let record = try #require(gateway.runtime.records.record(id: "mine"))
                #expect(record.attempts.map(\.outcome) == [.connectFailed, .answered])
                #expect(record.attempts[1].why.hasPrefix("a backup, for no other could be picked"))
            }
        }
    }

    @Test func theStoryIsFoundByWhatTheClientGotAndSent() async throws {
        let text = """
            server { listen 127.0.0.1:1; add_header X-Request-ID $request_id always; return 403; }
            """
        try await withRuntime(model(text)) { gateway in
            let answer = try await request("GET", "/", at: gateway.endpoint, headers: [("X-Request-ID", "mine")])
            let id = try #require(answer.header("x-request-id"))
            #expect(id.count == 32)
        }
        var problem = try model("server { listen 127.0.0.1:1; location /x { return 204; } }")
        problem.errorFormat = .problem
        try await withRuntime(problem) { gateway in
            let answer = try await request("GET", "/", at: gateway.endpoint, headers: [("X-Request-ID", "mine")])
            #expect(answer.status == 404)
            let body = try #require(try JSONSerialization.jsonObject(with: Data(answer.body)) as? [String: Any])
            let id = try #require(body["requestId"] as? String)
            #expect(id == "mine")
            let record = try #require(gateway.runtime.records.record(id: id))
            #expect(record.status == 404)
        }
    }
}
