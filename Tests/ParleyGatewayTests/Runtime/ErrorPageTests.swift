import HTTPTestSupport
import ParleyCore
import Testing

@testable import ParleyGateway

/// What a request holds goes back to where it came from, even if an error page has led it elsewhere.
@Suite(.timeLimit(.minutes(1))) struct ErrorPageTests {
    @Test func aPlaceOfLimitConnIsGivenBack() async throws {
        let refused = try await unusedEndpoint()
        let text = """
            limit_conn_zone $server_port zone=c:1m;
            upstream u { server \(refused); }
            server {
                listen 127.0.0.1:1;
                location / { limit_conn c 1; error_page 502 = @else; proxy_pass http://u; }
                location @else { return 200 else; }
            }
            """
        try await withRuntime(try model(text)) { gateway in
            for _ in 0..<5 {
                let answer = try await request("GET", "/", at: gateway.endpoint, headers: [])
                #expect(answer.status == 200)
            }
        }
    }

    /// Each attempt is told under the upstream that it was made at.
    @Test func attemptsKeepTheirUpstream() async throws {
        let (first, second) = (try await unusedEndpoint(), try await unusedEndpoint())
        let text = """
            upstream one { server \(first); }
            upstream two { least_conn; server \(second); }
            server {
                listen 127.0.0.1:1;
                location / { error_page 502 = @else; proxy_pass http://one; }
                location @else { proxy_pass http://two; }
            }
            """
        try await withRuntime(try model(text)) { gateway in
            let fields = [("X-Request-ID", "mine")]
            let answer = try await request("GET", "/", at: gateway.endpoint, headers: fields)
            #expect(answer.status == 502)
            let record = try #require(gateway.runtime.records.record(id: "mine"))
            #expect(record.attempts.map(\.instance) == ["\(first)", "\(second)"])
            #expect(record.attempts.map(\.method) == ["round_robin", "least_conn"])
        }
    }
}
