import HTTPTestSupport
import ParleyCore
import Testing

@testable import ParleyGateway

@Suite(.timeLimit(.minutes(1))) struct RoutePlannerTests {
    private static let text = """
        upstream u { server nobody.invalid:80; }
        limit_req_zone $binary_remote_addr zone=z:1m rate=2r/s;
        server {
            listen 127.0.0.1:80; server_name a.example;
            access_log /nowhere/a.log;
            error_page 403 /sorry;
            location /api/ { proxy_pass http://u/v1/; limit_req zone=z burst=5; }
            location /raw { proxy_pass http://u; }
            location = /old { return 301 /new; }
            location /denied { deny 10.0.0.0/8; proxy_pass http://u; }
            location = /sorry { return 451 no; }
            location /closed { return 444; }
            rewrite ^/short/(.*)$ /api/$1?from=short last;
        }
        server { listen 127.0.0.1:80; server_name b.example; location / { proxy_pass http://$host.internal:81$uri; } }
        server {
            listen 127.0.0.1:443 ssl; server_name a.example;
            ssl_certificate /nowhere/a.pem; ssl_certificate_key /nowhere/a.key;
            location / { return 200 secure; }
        }
        """

    private func outcome(
        _ target: String,
        method: String = "GET",
        host: String = "a.example",
        client: String = "192.0.2.1",
        isTLS: Bool = false
    ) async throws -> ReplayOutcome {
        let (model, _) = try NginxConfiguration.read(path: "t.conf", files: ConfigurationText(text: Self.text))
        let planner = try await RoutePlanner(model: model, logger: testLogger)
        return planner.outcome(
            of: ReplayRequest(method: method, host: host, target: target, client: client, isTLS: isTLS)
        )
    }

    @Test func whereRequestsGo() async throws {
        let api = try await self.outcome("/api/x%20y?z=1")
        #expect(api.server == "a.example" && api.route == "/api/" && api.status == nil)
        #expect(api.upstream == "u" && api.uri == "/v1/x%20y?z=1")
        #expect(api.limits == [.init(zone: "z", key: [192, 0, 2, 1], rate: 2_000, burst: 5, status: 503)])
        #expect(try await self.outcome("/raw//a/../b").uri == "/raw//a/../b")
        let short = try await self.outcome("/short/q")
        #expect(short.route == "/api/" && short.uri == "/v1/q?from=short")
        let variable = try await self.outcome("/q", host: "B.example:80")
        #expect(variable.upstream == "b.example.internal:81" && variable.uri == "/q")
    }

    @Test func whatTheGatewayAnswersItself() async throws {
        let old = try await self.outcome("/old")
        #expect(old.status == 301 && old.location == "http://a.example/new" && old.route == "= /old")
        #expect(try await self.outcome("/none").status == 404)
        #expect(try await self.outcome("/none", method: "DELETE").status == 405)
        #expect(try await self.outcome("/closed").status == 444)
        #expect(try await self.outcome("/../..").status == 400)
        #expect(try await self.outcome("/a b").status == 400)
        #expect(try await self.outcome("/denied").status == nil)
        let denied = try await self.outcome("/denied", client: "10.1.2.3")
        #expect(denied.status == 451 || denied.status == 403)
        #expect(denied.upstream == nil)
        let secure = try await self.outcome("/api/x", isTLS: true)
        #expect(secure.status == 200 && secure.upstream == nil)
        #expect(try await self.outcome("/old", host: "").server == "a.example")
    }

    /// A word of a log cannot become another field or another request.
    @Test func wordsOfLogsStayWords() async throws {
        let outcome = try await self.outcome("/old", host: "a.example\r\nTransfer-Encoding: chunked")
        #expect(outcome.status == 400 || outcome.status == 301)
        #expect(try await self.outcome("/old HTTP/1.1\r\nHost: b.example\r\n\r\n").upstream == nil)
    }
}
