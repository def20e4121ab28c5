internal import Testing

/// The harness itself: what it must see, it sees.
@Suite(.timeLimit(.minutes(5))) struct HarnessTests {
    private static func scenario(_ location: String, _ exchanges: [Exchange]) -> Scenario {
        Scenario("harness", "server { listen {listen}; location / { \(location) } }", exchanges)
    }

    private static let requests = [
        Exchange(.get("/a")), Exchange(Request("POST", "/b", body: "body")), Exchange(.get("/c", "X-Script: large")),
    ]

    @Test(arguments: [
        ("proxy_pass http://{up1};", "proxy_pass http://{up2};", "instance"),
        ("proxy_pass http://{up1};", "proxy_pass http://{up1}; proxy_set_header X-New a;", "bytes"),
        ("proxy_pass http://{up1};", "proxy_pass http://{up1}; add_header X-New a;", "field x-new"),
        ("proxy_pass http://{up1};", "proxy_pass http://{up1}; keepalive_timeout 0;", "the connection"),
        ("proxy_pass http://{up1};", "return 404;", "status line"),
        ("return 200 one;", "return 200 two;", "body"),
    ])
    func findsADifference(nginx: String, subject: String, item: String) async throws {
        let (left, right) = (Self.scenario(nginx, Self.requests), Self.scenario(subject, Self.requests))
        let (found, _) = try await Match.differences(left, right, subject: .nginx)
        #expect(found.count == Self.requests.count)
        #expect(found.allSatisfy { $0.differences.contains { $0.contains(item) } })
    }

    @Test func findsNoneInTheSame() async throws {
        let same = Self.scenario("proxy_pass http://{up1};", Self.requests)
        let (found, _) = try await Match.differences(same, same, subject: .nginx)
        #expect(found.isEmpty)
    }
}
