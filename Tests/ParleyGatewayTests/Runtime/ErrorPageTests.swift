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
}
