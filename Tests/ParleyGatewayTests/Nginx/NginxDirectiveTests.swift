import ParleyGateway
import Testing

/// What a directive does to the settings of a location.
struct NginxEffect: Sendable, CustomTestStringConvertible {
    var directive: String
    var holds: @Sendable (LocationSettings) -> Bool

    init(_ directive: String, _ holds: @escaping @Sendable (LocationSettings) -> Bool) {
        self.directive = directive
        self.holds = holds
    }

    var testDescription: String { self.directive }
}

@Suite struct NginxDirectiveTests {
    static let zones = """
        limit_req_zone $host zone=a:1m rate=1r/s; limit_req_zone $uri zone=b:1m rate=30r/m;
        limit_conn_zone $host zone=c:1m; limit_conn_zone $uri zone=d:1m; log_format f x;
        """

    /// In a location that passes to a plain service.
    static let settings: [NginxEffect] = [
        NginxEffect("client_max_body_size 2m;") { $0.maxBodySize == 2_097_152 },
        NginxEffect("client_body_buffer_size 4k;") { $0.bodyBufferSize == 4_096 },
        NginxEffect("client_body_timeout 5;") { $0.bodyTimeout == 5_000 },
        NginxEffect("send_timeout 5s;") { $0.sendTimeout == 5_000 },
        NginxEffect("keepalive_timeout 5s 4s;") { $0.keepaliveTimeout == 5_000 },
        NginxEffect("keepalive_requests 7;") { $0.keepaliveRequests == 7 },
        NginxEffect("keepalive_time 1m;") { $0.keepaliveTime == 60_000 },
        NginxEffect("default_type a/b;") { $0.defaultType == "a/b" },
        NginxEffect("types { a/b C d; }") { $0.types == ["c": "a/b", "d": "a/b"] },
        NginxEffect("absolute_redirect off;") { !$0.isAbsoluteRedirect },
        NginxEffect("port_in_redirect off;") { !$0.isPortInRedirect },
        NginxEffect("server_name_in_redirect on;") { $0.isServerNameInRedirect },
        NginxEffect("server_tokens off;") { !$0.showsVersion },
        NginxEffect("satisfy any;") { $0.satisfiesAny },
        NginxEffect("error_page 502 504 =200 /a;") {
            $0.errorPages == [ErrorPage(statuses: [502, 504], status: .replaced(200), target: Template("/a"))]
        },
        NginxEffect("error_page 404 497 @b;") {
            $0.errorPages == [
                ErrorPage(statuses: [404], target: Template("@b")),
                ErrorPage(statuses: [497], status: .replaced(400), target: Template("@b")),
            ]
        },
        NginxEffect("error_page 404 = /$uri;") {
            $0.errorPages.map(\.status) == [.answered]
                && $0.errorPages.first?.target == Template(.text("/"), .variable(.uri))
        },
        NginxEffect("add_header A $host always;") {
            $0.addedFields == [AddedField(name: "A", value: Template(.variable(.host)), isAlways: true)]
        },
        NginxEffect("allow 10.0.0.0/8; deny all;") {
            $0.access == [
                AccessRule(isAllowed: true, block: CIDR("10.0.0.0/8")), AccessRule(isAllowed: false, block: nil),
            ]
        },
        NginxEffect("auth_basic r; auth_basic_user_file u;") {
            $0.basicAuth == BasicAuth(realm: Template("r"), userFile: "/etc/nginx/u")
        },
        NginxEffect("set_real_ip_from 10.0.0.1; real_ip_header X-Forwarded-For; real_ip_recursive on;") {
            let trusted = CIDR("10.0.0.1").map { [$0] } ?? []
            return $0.realIP == RealIP(trusted: trusted, source: .field("X-Forwarded-For"), isRecursive: true)
        },
        NginxEffect("set_real_ip_from ::1; real_ip_header proxy_protocol;") { $0.realIP?.source == .proxyProtocol },
        NginxEffect("gzip on;") { $0.compression == Compression() },
        NginxEffect("gzip on; gzip_types A/b *; gzip_comp_level 9; gzip_min_length 1k; gzip_vary on; gzip_proxied any;")
        {
            $0.compression?.types == ["text/html", "a/b", "*"] && $0.compression?.level == 9
                && $0.compression?.minLength == 1_024 && $0.compression?.addsVary == true
                && $0.compression?.compressesProxied == true
        },
        NginxEffect("gzip on; gzip_http_version 1.0;") { $0.compression?.minVersionIs11 == false },
        NginxEffect("limit_req zone=a burst=5;") { $0.requestLimits == [RequestLimitUse(zone: "a", burst: 5)] },
        NginxEffect("limit_req zone=a burst=5 delay=3; limit_req zone=b nodelay;") {
            $0.requestLimits == [
                RequestLimitUse(zone: "a", burst: 5, delay: .above(3)), RequestLimitUse(zone: "b", delay: .none),
            ]
        },
        NginxEffect("limit_req_status 429;") { $0.requestLimitStatus == 429 },
        NginxEffect("limit_req_dry_run on;") { $0.isRequestLimitDry },
        NginxEffect("limit_conn c 3;") { $0.connectionLimits == [ConnectionLimitUse(zone: "c", limit: 3)] },
        NginxEffect("limit_conn_status 429;") { $0.connectionLimitStatus == 429 },
        NginxEffect("limit_conn_dry_run on;") { $0.isConnectionLimitDry },
        NginxEffect("access_log off;") { !$0.isLogged },
        NginxEffect("access_log /a F if=$args;") {
            $0.accessLogs == [AccessLogUse(path: "/a", format: "f", condition: Template(.variable(.args)))]
        },
        NginxEffect("access_log /a;") { $0.accessLogs == [AccessLogUse(path: "/a", format: "combined")] },
        NginxEffect("proxy_http_version 1.1;") { $0.proxy.version == .http11 },
        NginxEffect("proxy_set_header A b; proxy_set_header host c;") {
            $0.proxy.setFields == [
                SetField(name: "A", value: Template("b")), SetField(name: "host", value: Template("c")),
                SetField(name: "Connection", value: Template("close")),
            ]
        },
        NginxEffect("proxy_pass_request_headers off;") { !$0.proxy.passesRequestFields },
        NginxEffect("proxy_pass_request_body off;") { !$0.proxy.passesRequestBody },
        NginxEffect("proxy_method GET;") { $0.proxy.method == Template("GET") },
        NginxEffect("proxy_hide_header A; proxy_hide_header date;") {
            $0.proxy.hiddenFields == ProxySettings().hiddenFields + ["A"]
        },
        NginxEffect("proxy_pass_header Server;") { $0.proxy.passedFields == ["Server"] },
        NginxEffect("proxy_ignore_headers vary X-Accel-Expires;") {
            $0.proxy.ignoredFields == ["Vary", "X-Accel-Expires"]
        },
        NginxEffect("proxy_connect_timeout 1;") { $0.proxy.connectTimeout == 1_000 },
        NginxEffect("proxy_send_timeout 1;") { $0.proxy.sendTimeout == 1_000 },
        NginxEffect("proxy_read_timeout 1;") { $0.proxy.readTimeout == 1_000 },
        NginxEffect("proxy_buffer_size 8k;") { $0.proxy.headSize == 8_192 },
        NginxEffect("proxy_buffers 4 16k; proxy_busy_buffers_size 16k;") { $0.proxy.bufferedBytes == 65_536 },
        NginxEffect("proxy_buffering off;") { !$0.proxy.isBuffering },
        NginxEffect("proxy_request_buffering off;") { !$0.proxy.isRequestBuffering },
        NginxEffect("proxy_next_upstream http_429 error;") { $0.proxy.nextUpstream.reasons == [.http429, .error] },
        NginxEffect("proxy_next_upstream off;") { $0.proxy.nextUpstream.reasons.isEmpty },
        NginxEffect("proxy_next_upstream_tries 2;") { $0.proxy.nextUpstream.tries == 2 },
        NginxEffect("proxy_next_upstream_timeout 2;") { $0.proxy.nextUpstream.timeout == 2_000 },
        NginxEffect("proxy_redirect off;") { $0.proxy.redirects == .off },
        NginxEffect("proxy_redirect http://a/ /b/; proxy_redirect ~*c $1;") {
            $0.proxy.redirects
                == .rules([
                    .init(pattern: .prefix(Template("http://a/")), replacement: Template("/b/")),
                    .init(
                        pattern: .regex(RegexModel(pattern: "c", ignoresCase: true)),
                        replacement: Template(.variable(.capture(1)))
                    ),
                ])
        },
        NginxEffect("proxy_cookie_domain a b;") {
            $0.proxy.cookieDomains == [Replacement(pattern: .text("a"), replacement: Template("b"))]
        },
        NginxEffect("proxy_cookie_path ~a b;") {
            $0.proxy.cookiePaths == [
                Replacement(pattern: .regex(RegexModel(pattern: "a")), replacement: Template("b"))
            ]
        },
        NginxEffect("proxy_intercept_errors on;") { $0.proxy.interceptsErrors },
        NginxEffect("proxy_ignore_client_abort on;") { $0.proxy.ignoresClientAbort },
        NginxEffect("proxy_ssl_verify on;") { $0.proxy.tls.verifies },
        NginxEffect("proxy_ssl_name a;") { $0.proxy.tls.name == "a" },
        NginxEffect("proxy_ssl_server_name on;") { $0.proxy.tls.sendsServerName },
        NginxEffect("proxy_ssl_trusted_certificate a;") { $0.proxy.tls.authorities == "/etc/nginx/a" },
        NginxEffect("proxy_ssl_certificate /a;") { $0.proxy.tls.certificate == "/a" },
        NginxEffect("proxy_ssl_certificate_key /a;") { $0.proxy.tls.key == "/a" },
    ]

    /// In a location that passes to a gRPC service.
    static let grpc: [NginxEffect] = [
        NginxEffect("grpc_connect_timeout 1;") { $0.proxy.connectTimeout == 1_000 },
        NginxEffect("grpc_send_timeout 1;") { $0.proxy.sendTimeout == 1_000 },
        NginxEffect("grpc_read_timeout 1;") { $0.proxy.readTimeout == 1_000 },
        NginxEffect("grpc_buffer_size 8k;") { $0.proxy.headSize == 8_192 },
        NginxEffect("grpc_intercept_errors on;") { $0.proxy.interceptsErrors },
        NginxEffect("grpc_set_header A b;") { $0.proxy.setFields.map(\.name) == ["A", "Host"] },
        NginxEffect("grpc_hide_header A;") { $0.proxy.hiddenFields.last == "A" },
        NginxEffect("grpc_pass_header Date;") { $0.proxy.passedFields == ["Date"] },
        NginxEffect("grpc_ignore_headers Vary;") { $0.proxy.ignoredFields == ["Vary"] },
        NginxEffect("grpc_next_upstream http_503;") { $0.proxy.nextUpstream.reasons == [.http503] },
        NginxEffect("grpc_next_upstream_tries 2;") { $0.proxy.nextUpstream.tries == 2 },
        NginxEffect("grpc_next_upstream_timeout 2;") { $0.proxy.nextUpstream.timeout == 2_000 },
        NginxEffect("grpc_ssl_verify on;") { $0.proxy.tls.verifies },
        NginxEffect("grpc_ssl_name a;") { $0.proxy.tls.name == "a" },
        NginxEffect("grpc_ssl_server_name on;") { $0.proxy.tls.sendsServerName },
        NginxEffect("grpc_ssl_trusted_certificate a;") { $0.proxy.tls.authorities == "/etc/nginx/a" },
        NginxEffect("grpc_ssl_certificate /a;") { $0.proxy.tls.certificate == "/a" },
        NginxEffect("grpc_ssl_certificate_key /a;") { $0.proxy.tls.key == "/a" },
    ]

    /// The settings of a location with a directive on one of the three levels, written behind what it has to reach.
    private func read(_ effect: NginxEffect?, level: Int, pass: String) throws -> LocationSettings {
        func text(_ index: Int) -> String { index == level ? effect?.directive ?? "" : "" }
        let model = try nginxModel(
            "\(Self.zones) \(text(0)) server { location / { \(pass) \(text(2)) } \(text(1)) }"
        )
        return try #require(model.servers.first?.locations.first?.settings)
    }

    @Test(arguments: Self.settings)
    func holdsWhereItIsWrittenAndBelow(_ effect: NginxEffect) throws {
        let pass = "proxy_pass http://127.0.0.1:1;"
        #expect(!effect.holds(try self.read(nil, level: 0, pass: pass)), "not the default")
        for level in 0...2 { #expect(effect.holds(try self.read(effect, level: level, pass: pass)), "level \(level)") }
    }

    @Test(arguments: Self.grpc)
    func holdsForGRPC(_ effect: NginxEffect) throws {
        let pass = "grpc_pass 127.0.0.1:1;"
        #expect(!effect.holds(try self.read(nil, level: 0, pass: pass)), "not the default")
        for level in 0...2 { #expect(effect.holds(try self.read(effect, level: level, pass: pass)), "level \(level)") }
    }

    /// A field may be sent twice; a default counts only when no field of its name is written.
    @Test func fieldsThatAreWrittenTwice() throws {
        let twice = NginxEffect("proxy_set_header Host a; proxy_set_header Host $proxy_host; proxy_set_header B c;") {
            $0.proxy.setFields.map(\.name) == ["Host", "Host", "B", "Connection"]
        }
        #expect(twice.holds(try self.read(twice, level: 1, pass: "proxy_pass http://127.0.0.1:1;")))
    }

    @Test func defaultsAreNginxs() throws {
        let settings = try self.read(nil, level: 0, pass: "proxy_pass http://127.0.0.1:1;")
        #expect(settings == LocationSettings())
        let grpc = try self.read(nil, level: 0, pass: "grpc_pass 127.0.0.1:1;")
        #expect(grpc.proxy.version == .http2)
        #expect(!grpc.proxy.isBuffering && !grpc.proxy.isRequestBuffering)
        #expect(!grpc.proxy.hiddenFields.contains("X-Pad"))
    }

    /// Directives of which another test reads the effect.
    private static let elsewhere: Set<String> = [
        "events", "http", "server", "upstream", "map", "location", "if", "include", "worker_processes",
        "worker_connections", "error_log", "listen", "server_name", "http2", "client_header_timeout",
        "client_header_buffer_size", "large_client_header_buffers", "ignore_invalid_headers", "merge_slashes",
        "underscores_in_headers", "http2_max_concurrent_streams", "resolver", "internal", "stub_status", "log_format",
        "limit_req_zone", "limit_conn_zone", "proxy_pass", "grpc_pass", "ssl", "ssl_certificate", "ssl_certificate_key",
        "ssl_ciphers", "ssl_client_certificate", "ssl_verify_client", "ssl_protocols", "least_conn", "ip_hash", "hash",
        "random", "keepalive", "zone", "set", "break", "return", "rewrite",
    ]

    /// Directives of which only the value that changes nothing is accepted: ``onlyOneValue(_:)``.
    static let single = [
        "charset off", "recursive_error_pages off", "chunked_transfer_encoding on", "proxy_cache off",
        "proxy_store off",
        "proxy_force_ranges off", "proxy_cookie_flags off", "proxy_bind off", "limit_rate 0", "proxy_limit_rate 0",
        "expires off", "auth_request off", "mirror off", "gunzip off", "ssi off", "autoindex off", "gzip_static off",
        "open_file_cache off", "client_body_in_file_only off", "ssl_stapling off", "ssl_early_data off",
        "ssl_reject_handshake off", "http2_push_preload off",
    ]

    @Test(arguments: Self.single)
    func onlyOneValue(_ directive: String) throws {
        #expect(try nginxModel("server { \(directive); }") == nginxModel("server { }"))
        let name = directive.split(separator: " ")[0]
        let found = nginxProblems("server { \(name) other; }")
        #expect(found.map(\.place.column) == [10])
        #expect(found.first?.message.contains("is supported only as") == true)
    }

    @Test func everyDirectiveHasATest() {
        var tested = Self.elsewhere
        for effect in Self.settings + Self.grpc {
            for part in effect.directive.split(separator: ";") {
                if let name = part.split(separator: " ").first { tested.insert(String(name)) }
            }
        }
        for directive in Self.single { tested.insert(String(directive.split(separator: " ")[0])) }
        for (name, hasEffect) in NginxConfiguration.directives where hasEffect {
            #expect(tested.contains(name), "\(name)")
        }
    }

    @Test func whatHasNoEffectIsAcceptedAndListed() throws {
        let text = "tcp_nodelay on; tcp_nopush on; sendfile on; server { ssl_session_cache shared:a:1m; aio off; }"
        #expect(try nginxModel(text) == nginxModel("server { }"))
        let listed = NginxConfiguration.directives
        #expect(listed.contains { $0.name == "tcp_nodelay" && !$0.hasEffect })
        #expect(listed.contains { $0.name == "listen" && $0.hasEffect })
        let warnings = try nginxModelWithWarnings("user a b; events { } http { }").1
        #expect(
            warnings.map(\.description) == [
                "/etc/nginx/test.conf:1:1: \"user\" has no effect: start the gateway as the user that it is to run as"
            ]
        )
    }
}
