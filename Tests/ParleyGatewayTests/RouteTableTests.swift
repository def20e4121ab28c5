internal import NIOCore
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
}

@Suite struct RouteTableTests {
    /// Whom a path goes to, through the locations that the routes become; `nil` is nobody.
    private func service(_ target: String, _ routes: [GatewayRoute]) throws -> String? {
        let model = try GatewayConfiguration(routes: routes).model()
        let table = try LocationTable(try #require(model.servers.first).locations)
        let uri = try RequestURI(Array(target.utf8).span)
        var variables = RequestVariables()
        let path = uri.path(of: ByteBuffer(string: target))
        guard let found = table.find(path, head: RequestHead(), scratch: RegexScratch(), variables: &variables),
            case .proxy(let proxy) = table.locations[found.index].action
        else { return nil }
        return proxy.host
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
        let routes = [
            GatewayRoute(prefix: "/api/v1/users", service: "user-service"),
            GatewayRoute(prefix: "/api", service: "api-service"),
            GatewayRoute(prefix: "/api/internal/", service: "notification-service"),
        ]
        #expect(try self.service(target, routes) == service)
    }

    @Test func theRootTakesEverything() throws {
        #expect(try self.service("/any/thing", [GatewayRoute(prefix: "/", service: "web")]) == "web")
        #expect(try self.service("/health", [GatewayRoute(prefix: "/", service: "web")]) == "web")
    }

    @Test(arguments: [["api"], [""], ["/a/../b"], ["/a%"], ["/a", "/a/"], ["/a/b", "//a/b"]])
    func refusesPrefixesThatCannotBe(_ prefixes: [String]) {
        let routes = prefixes.map { GatewayRoute(prefix: $0, service: "a-service") }
        let error = #expect(throws: ServerError.self) { try RouteTable(routes, gateway: "gateway") }
        #expect(error?.code == .invalidConfiguration)
        #expect(error?.message.contains("a-service") == true)
    }
}
