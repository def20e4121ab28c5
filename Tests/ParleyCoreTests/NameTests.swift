import ParleyCore
import Testing

@Suite struct NameTests {
    @Test(arguments: ["a", "user-service", "User_Service.v2", "0", String(repeating: "n", count: 63)])
    func `a service's name`(text: String) {
        #expect(ServiceName(text)?.description == text)
    }

    @Test(arguments: [
        "", "-a", "a-", ".a", "a.", "_a", "a b", "a/b", "ä", "a\n", "a\u{0}b", String(repeating: "n", count: 64),
    ])
    func `no service's name`(text: String) {
        #expect(ServiceName(text) == nil)
    }

    @Test(arguments: [
        ("user-service:8080", "user-service", 8_080), ("127.0.0.1:0", "127.0.0.1", 0), ("[::1]:65535", "::1", 65_535),
    ])
    func `an endpoint`(text: String, host: String, port: Int) {
        #expect(Endpoint(text) == Endpoint(host: host, port: port))
        #expect(Endpoint(host: host, port: port).description == text)
    }

    @Test(arguments: [
        "", ":80", "host", "host:", "host:x", "host:65536", "host:-1", "::1:80", "[]:80",
        ":", "host:+80", "host:-0", "host:8o", "[::1]", "[::1:80", "::1]:80", "a:80:90", "host: 80",
        "host:99999999999999999999",
    ])
    func `no endpoint`(text: String) {
        #expect(Endpoint(text) == nil)
    }
}
