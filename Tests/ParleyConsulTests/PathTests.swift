import Testing

@testable import ParleyConsul

@Suite struct ConsulPathTests {
    @Test(arguments: [
        ("web", "/v1/kv/web"), ("a b", "/v1/kv/a%20b"), ("a/b", "/v1/kv/a/b"), ("..", "/v1/kv/%2E%2E"),
        ("a/../b", "/v1/kv/a/%2E%2E/b"), ("x?y#z", "/v1/kv/x%3Fy%23z"), ("ü", "/v1/kv/%C3%BC"),
        ("a%2Fb", "/v1/kv/a%252Fb"), ("\r\nX: y", "/v1/kv/%0D%0AX%3A%20y"), ("", "/v1/kv/"),
    ])
    func namesAreEscaped(_ name: String, _ expected: String) {
        #expect(ConsulPath("kv", name).text == expected)
    }

    @Test func queriesAreEscaped() {
        let path = ConsulPath("health/service", "web").adding("stale").adding("filter", #"A == "b&c""#)
        #expect(path.text == "/v1/health/service/web?stale&filter=A%20%3D%3D%20%22b%26c%22")
    }
}
