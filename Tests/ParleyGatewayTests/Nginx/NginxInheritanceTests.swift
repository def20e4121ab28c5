import ParleyGateway
import Testing

/// A list on a level replaces the list of the level around, as a whole; without one of its own it is inherited.
@Suite struct NginxInheritanceTests {
    struct List: Sendable, CustomTestStringConvertible {
        var outer: String
        var inner: String
        var values: @Sendable (LocationSettings) -> [String]

        var testDescription: String { self.outer }

        init(_ outer: String, _ inner: String, _ values: @escaping @Sendable (LocationSettings) -> [String]) {
            self.outer = outer
            self.inner = inner
            self.values = values
        }
    }

    static let lists: [List] = [
        List("add_header A 1; add_header B 1;", "add_header C 1;") { $0.addedFields.map(\.name) },
        List("proxy_set_header A 1; proxy_set_header Host 1;", "proxy_set_header C 1;") {
            $0.proxy.setFields.map(\.name)
        },
        List("proxy_hide_header A;", "proxy_hide_header C;") { $0.proxy.hiddenFields },
        List("proxy_pass_header A;", "proxy_pass_header C;") { $0.proxy.passedFields },
        List("proxy_ignore_headers Vary;", "proxy_ignore_headers Expires;") { $0.proxy.ignoredFields },
        List("proxy_next_upstream http_500;", "proxy_next_upstream http_502;") {
            $0.proxy.nextUpstream.reasons.map(\.rawValue).sorted()
        },
        List("proxy_redirect a b;", "proxy_redirect c d;") { ["\($0.proxy.redirects)"] },
        List("proxy_cookie_domain a b;", "proxy_cookie_domain c d;") { $0.proxy.cookieDomains.map { "\($0)" } },
        List("proxy_cookie_path a b;", "proxy_cookie_path c d;") { $0.proxy.cookiePaths.map { "\($0)" } },
        List("allow 10.0.0.1;", "deny all;") { $0.access.map { "\($0)" } },
        List("limit_req zone=a; limit_req zone=b;", "limit_req zone=b;") { $0.requestLimits.map(\.zone) },
        List("limit_conn c 1; limit_conn d 1;", "limit_conn d 1;") { $0.connectionLimits.map(\.zone) },
        List("error_page 404 /a;", "error_page 405 /b;") { $0.errorPages.map { "\($0)" } },
        List("access_log /a;", "access_log /b;") { $0.accessLogs.map(\.path) },
        List("access_log /a;", "access_log off;") { $0.isLogged ? $0.accessLogs.map(\.path) : ["off"] },
        List("access_log off;", "access_log /b;") { $0.isLogged ? $0.accessLogs.map(\.path) : ["off"] },
        List("set_real_ip_from 10.0.0.1;", "set_real_ip_from 10.0.0.2;") {
            ($0.realIP?.trusted ?? []).map(\.description)
        },
        List("gzip_types a/b; gzip on;", "gzip_types c/d;") { $0.compression?.types ?? [] },
        List("types { a/b c; }", "types { d/e f; }") { $0.types.keys.sorted() },
    ]

    private func values(_ list: List, http: String, server: String, location: String) throws -> [String] {
        let model = try nginxModel(
            "\(NginxDirectiveTests.zones) \(http) server { location / { \(location) } \(server) }"
        )
        return list.values(try #require(model.servers.first?.locations.first?.settings))
    }

    @Test(arguments: Self.lists)
    func aListReplacesTheOneAround(_ list: List) throws {
        let outer = try self.values(list, http: list.outer, server: "", location: "")
        #expect(try self.values(list, http: "", server: list.outer, location: "") == outer)
        let on = list.outer.contains("gzip on") ? "gzip on;" : ""
        let inner = try self.values(list, http: on, server: "", location: list.inner)
        #expect(inner != outer)
        #expect(try self.values(list, http: list.outer, server: list.inner, location: "") == inner)
        #expect(try self.values(list, http: list.outer, server: "", location: list.inner) == inner)
    }

    @Test func authIsPutTogetherFromTwoLevels() throws {
        let text = "auth_basic_user_file u; server { auth_basic r; location /a { } location /b { auth_basic off; } }"
        let locations = try #require(try nginxModel(text).servers.first).locations
        #expect(locations.map { $0.settings.basicAuth?.userFile } == ["/etc/nginx/u", nil])
    }

    @Test func certificatesOfHTTPHoldInServers() throws {
        let text = "ssl_certificate a; ssl_certificate_key b; server { listen 1 ssl; } server { ssl_certificate c; }"
        let model = try nginxModel(text)
        #expect(model.servers.map { $0.tls?.certificate } == ["/etc/nginx/a", "/etc/nginx/c"])
    }
}
