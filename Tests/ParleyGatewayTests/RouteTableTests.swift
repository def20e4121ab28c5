internal import ParleyCore
internal import ParleyHTTPServer
internal import Testing

@testable internal import ParleyGateway

@Suite struct RequestPathTests {
    @Test(
        arguments: [
            ("/", []), ("/a/b", ["a", "b"]), ("/a/b/", ["a", "b"]), ("//a///b", ["a", "b"]), ("/a?b=/../c", ["a"]),
            ("/%61/b%20c", ["a", "b c"]), ("/a%2Fb", ["a", "b"]), ("/...", ["..."]), ("/.well-known", [".well-known"]),
            ("/%C3%A9", ["é"]), ("/a%252e%252e", ["a%2e%2e"]), ("/a?%zz", ["a"]),
        ] as [(String, [String])]
    )
    func readsPathsAsTheServicesDo(_ target: String, _ segments: [String]) {
        #expect(RequestPath(target)?.segments == segments)
    }

    @Test(arguments: [
        "", "*", "a", "?a", "http://a/b", "/..", "/a/../b", "/a/..", "/a/.", "/./a", "/%2e%2e/a", "/%2E./a", "/.%2e",
        "/a%2f..%2fb", "/a%2F%2e%2E", "/%00", "/a%0a", "/a%0D%0Ab", "/%7f", "/%", "/%1", "/%zz", "/%+1", "/a#b", "/%ff",
        "/%c3", "/a/..?b",
    ])
    func refusesPathsThatCouldMislead(_ target: String) {
        #expect(RequestPath(target) == nil)
    }

    @Test func survivesEveryCutAndEveryByteChanged() {
        let text = Array("/a/%2e%C3%A9/..b/c?d=%2F".utf8)
        for index in text.indices {
            _ = RequestPath(String(decoding: text[..<index], as: UTF8.self))
            for byte in UInt8.min...UInt8.max {
                var changed = text
                changed[index] = byte
                _ = RequestPath(String(decoding: changed, as: UTF8.self))
            }
        }
    }

    @Test(
        arguments: [
            ("/a?b", "/a?b"), ("http://host/a?b", "/a?b"), ("HTTP://host:80/a", "/a"), ("https://host", "/"),
            ("http://host?b", "/?b"), ("*", nil), ("host:80", nil), ("ftp://host/a", nil), (nil, nil),
        ] as [(String?, String?)]
    )
    func readsTheAbsoluteForm(_ target: String?, _ expected: String?) {
        #expect(Gateway.originForm(target) == expected)
    }
}

@Suite struct RouteTableTests {
    private func table() throws -> RouteTable {
        try RouteTable(
            [
                GatewayRoute(prefix: "/api/v1/users", service: "user-service"),
                GatewayRoute(prefix: "/api", service: "api-service"),
                GatewayRoute(prefix: "/api/internal/", service: "notification-service"),
            ],
            gateway: "gateway"
        )
    }

    @Test(
        arguments: [
            ("/api/v1/users", "user-service"), ("/api/v1/users/", "user-service"),
            ("/api/v1/users/1?a=b", "user-service"),
            ("/api/v1/usersX", "api-service"), ("/api/v1/user", "api-service"), ("/api", "api-service"),
            ("/api/internal", "notification-service"), ("/api/internal/x", "notification-service"),
            ("/api//internal/x", "notification-service"), ("/api/%69nternal", "notification-service"),
            ("/api%2Finternal/x", "notification-service"), ("/apiX", nil), ("/", nil), ("/other", nil),
        ] as [(String, String?)]
    )
    func theLongestPrefixOfWholeSegmentsWins(_ target: String, _ service: String?) throws {
        let path = try #require(RequestPath(target))
        let route = try self.table().route(for: path)
        #expect(route?.service.description == service)
    }

    @Test func theRootTakesEverything() throws {
        let table = try RouteTable([GatewayRoute(prefix: "/", service: "web")], gateway: "gateway")
        let path = try #require(RequestPath("/any/thing"))
        #expect(table.route(for: path)?.service == "web")
    }

    @Test(arguments: [["api"], [""], ["/a/../b"], ["/a%"], ["/a", "/a/"], ["/a/b", "//a/b"]])
    func refusesPrefixesThatCannotBe(_ prefixes: [String]) {
        let routes = prefixes.map { GatewayRoute(prefix: $0, service: "a-service") }
        let error = #expect(throws: ServerError.self) { try RouteTable(routes, gateway: "gateway") }
        #expect(error?.code == .invalidConfiguration)
        #expect(error?.message.contains("a-service") == true)
    }
}
