import HTTPTestSupport
import ParleyCore
import Testing

@testable import ParleyGateway

/// What the gateway says of a request it says once, whatever the configuration sets.
@Suite(.timeLimit(.minutes(1))) struct ContextFieldGatewayTests {
    @Test(arguments: [nil, "mine"] as [String?]) func theRequestIDIsSaidOnce(_ sent: String?) async throws {
        try await RawServer.with(.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) { upstream, server in
            var model = try ParleyGatewayTests.model(
                """
                server {
                    listen 127.0.0.1:1;
                    location / { proxy_pass http://\(upstream); proxy_set_header X-Request-ID $request_id; }
                }
                """
            )
            model.servers[0].locations[0].settings.proxy.carriesContext = true
            try await withRuntime(model) { gateway in
                let fields = sent.map { [("X-Request-ID", $0)] } ?? []
                let answer = try await request("GET", "/", at: gateway.endpoint, headers: fields)
                let id = try #require(answer.header("x-request-id"))
                let lines = try #require(server.requests.first).split(separator: "\r\n")
                let ids = lines.filter { $0.lowercased().hasPrefix("x-request-id:") }
                #expect(ids.map { $0.dropFirst("X-Request-ID: ".count) } == [id[...]])
                if let sent { #expect(id == sent) }
            }
        }
    }
}
