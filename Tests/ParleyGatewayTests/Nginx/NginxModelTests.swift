import ParleyGateway
import Testing

/// Servers, upstreams, locations and what else becomes a part of the model of its own.
@Suite struct NginxModelTests {
    private func server(_ text: String) throws -> ServerModel {
        try #require(try nginxModel("server { \(text) }").servers.first)
    }

    private func location(_ text: String) throws -> LocationModel {
        try #require(try self.server("location / { \(text) }").locations.first)
    }

    private func target(_ url: String, in match: String = "/") throws -> ProxyTarget {
        let server = try self.server("location \(match) { proxy_pass \(url); }")
        guard case .proxy(let target)? = server.locations.first?.action else { throw Unexpected() }
        return target
    }

    private struct Unexpected: Error {}

    // MARK: proxy_pass

    @Test func whereRequestsGo() throws {
        let plain = try self.target("http://10.0.0.1:81")
        #expect(plain == ProxyTarget(scheme: .http, destination: .upstream("10.0.0.1:81"), host: "10.0.0.1:81"))
        let root = try self.target("HTTPS://a.example/")
        #expect(root.scheme == .https)
        #expect(root.destination == .upstream("a.example:443"))
        #expect(root.host == "a.example")
        #expect(root.uri == Template("/"))
        let query = try self.target("http://a:80?b=c")
        #expect(query.host == "a")
        #expect(query.uri == Template("?b=c"))
        #expect(try self.target("http://[::1]:81/a").host == "[::1]:81")
    }

    @Test func whereRequestsGoWithVariables() throws {
        let host = try self.target("http://$host:81")
        #expect(host.destination == .template(Template(.variable(.host), .text(":81"))))
        #expect(host.uri == nil)
        let path = try self.target("http://$host$request_uri")
        #expect(path.destination == .template(Template(.variable(.host))))
        #expect(path.uri == Template(.variable(.requestURI)))
        let regex = try self.target("http://a/b$1", in: "~ ^/(.*)$")
        #expect(regex.destination == .upstream("a:80"))
        #expect(regex.uri == Template(.text("/b"), .variable(.capture(1))))
        let settings = try self.location("proxy_pass http://$host;").settings
        #expect(settings.proxy.redirects == .off)
        #expect(try self.location("proxy_pass http://a$request_uri;").settings.proxy.redirects == .off)
        #expect(
            nginxProblems("server { location / { proxy_pass $host; } }").first?.hint == "write the scheme: http://$name"
        )
    }

    @Test func aPlainHostIsAnUpstreamOfOneServer() throws {
        let model = try nginxModel(
            "server { location /a { proxy_pass http://x:1; } location /b { proxy_pass http://X:1/c; } }"
        )
        #expect(model.upstreams == [UpstreamModel(name: "x:1", instances: .fixed([PeerModel(host: "x", port: 1)]))])
        let named = try nginxModel("server { location / { proxy_pass http://A; } } upstream a { server b; }")
        #expect(named.upstreams.map(\.name) == ["a"])
    }

    @Test func grpcServices() throws {
        let model = try nginxModel(
            "server { location /a { grpc_pass grpcs://x:1; } location /b { grpc_pass y:2; } location /c { grpc_pass z; } } "
                + "upstream z { server 127.0.0.1:3; }"
        )
        let actions = try #require(model.servers.first).locations.map(\.action)
        #expect(
            actions == [
                .proxy(ProxyTarget(scheme: .grpcs, destination: .upstream("x:1"), host: "x:1")),
                .proxy(ProxyTarget(scheme: .grpc, destination: .upstream("y:2"), host: "y:2")),
                .proxy(ProxyTarget(scheme: .grpc, destination: .upstream("z"), host: "z")),
            ]
        )
    }

    // MARK: upstream

    @Test func upstreams() throws {
        let model = try nginxModel(
            """
            upstream a {
                server h weight=2 max_conns=3 max_fails=4 fail_timeout=1m slow_start=5s backup;
                server [::1]:2 down;
                keepalive 6; keepalive_requests 7; keepalive_time 8s; keepalive_timeout 9s;
                zone z 64k;
            }
            """
        )
        var first = PeerModel(host: "h", port: 80, name: "h")
        first.weight = 2
        first.maxConnections = 3
        first.maxFails = 4
        first.failTimeout = 60
        first.slowStart = 5
        first.isBackup = true
        var second = PeerModel(host: "::1", port: 2, name: "[::1]:2")
        second.isDown = true
        var upstream = UpstreamModel(name: "a", instances: .fixed([first, second]))
        upstream.keepalive.connections = 6
        upstream.keepalive.requests = 7
        upstream.keepalive.time = 8_000
        upstream.keepalive.timeout = 9_000
        #expect(model.upstreams == [upstream])
    }

    @Test(arguments: [
        ("", UpstreamModel.Method.roundRobin), ("least_conn;", .leastConnections), ("ip_hash;", .ipHash),
        ("hash $uri;", .hash(Template(.variable(.uri)), isConsistent: false)),
        ("hash $uri consistent;", .hash(Template(.variable(.uri)), isConsistent: true)),
        ("random;", .random(isTwo: false)), ("random two least_conn;", .random(isTwo: true)),
    ])
    func methods(_ text: String, _ method: UpstreamModel.Method) throws {
        let model = try nginxModel("upstream a { \(text) server b; keepalive 2; }")
        #expect(model.upstreams.first?.method == method)
        #expect(model.upstreams.first?.keepalive.connections == 2)
    }

    /// nginx has one place for both, so the method throws keepalive out.
    @Test func aMethodBehindKeepaliveRemovesIt() throws {
        let (model, warnings) = try nginxModelWithWarnings("upstream a { server b; keepalive 2; least_conn; }")
        #expect(model.upstreams.first?.keepalive.connections == 0)
        #expect(warnings.map(\.message) == ["load balancing method redefined"])
    }

    // MARK: server

    @Test func listeners() throws {
        func listens(_ text: String) throws -> [ListenModel] { try self.server(text).listens }
        #expect(try listens("") == [ListenModel(port: 80, isDefault: true)])
        #expect(try listens("listen 1;") == [ListenModel(port: 1, isDefault: true)])
        #expect(try listens("listen 127.0.0.1;") == [ListenModel(host: "127.0.0.1", port: 80, isDefault: true)])
        #expect(try listens("listen localhost:2;") == [ListenModel(host: "127.0.0.1", port: 2, isDefault: true)])
        #expect(try listens("listen [::1]:2;") == [ListenModel(host: "::1", port: 2, isDefault: true)])
        #expect(try listens("listen *:3-4;").map(\.port) == [3, 4])
        #expect(try listens("listen [::]:5 ipv6only=off;").map(\.host) == ["0.0.0.0", "::"])
        let all = "listen 6 default_server http2 proxy_protocol backlog=7 reuseport so_keepalive=1m:5s:2 rcvbuf=8k;"
        #expect(
            try listens(all) == [
                ListenModel(port: 6, isDefault: true, hasHTTP2: true, hasProxyProtocol: true, backlog: 7)
            ]
        )
        #expect(try listens("listen 8; http2 on;").map(\.hasHTTP2) == [true])
    }

    /// What one server says of a socket holds for all, and the first is the default unless another says so.
    @Test func serversOfOneSocketAgree() throws {
        let tls = "ssl_certificate c; ssl_certificate_key k;"
        let model = try nginxModel(
            "\(tls) server { listen 1; } server { listen 1 ssl default_server backlog=9; server_name b; } server { listen 2; }"
        )
        #expect(model.servers.map { $0.listens[0].isTLS } == [true, true, false])
        #expect(model.servers.map { $0.listens[0].backlog } == [9, 9, 511])
        #expect(model.servers.map { $0.listens[0].isDefault } == [false, true, true])
    }

    @Test func names() throws {
        #expect(try self.server("").names == [.exact("")])
        let server = try self.server("server_name A *.b .c d.*; server_name ~^e ~F \"\";")
        #expect(
            server.names == [
                .exact("a"), .suffix(".b"), .nameAndSuffix(".c"), .prefix("d."), .regex(RegexModel(pattern: "^e")),
                .regex(RegexModel(pattern: "F", ignoresCase: true)), .exact(""),
            ]
        )
    }

    @Test func tls() throws {
        let server = try self.server(
            """
            listen 443 ssl; ssl_certificate c.pem; ssl_certificate_key /k.pem; ssl_protocols TLSv1.3; ssl_ciphers A:B;
            ssl_client_certificate ca.pem; ssl_verify_client optional; client_header_timeout 5s;
            """
        )
        var tls = ServerTLS(certificate: "/etc/nginx/c.pem", key: "/k.pem")
        tls.versions = [.v13]
        tls.ciphers = "A:B"
        tls.clientAuthorities = "/etc/nginx/ca.pem"
        tls.clientCertificate = .optional
        tls.handshakeTimeout = 5_000
        #expect(server.tls == tls)
        let on = try self.server("ssl on; ssl_certificate c; ssl_certificate_key k;")
        #expect(on.listens.map(\.isTLS) == [true])
        #expect(on.tls?.versions == [.v12, .v13])
    }

    @Test func connections() throws {
        #expect(try self.server("").connection == ConnectionSettings())
        let server = try #require(
            try nginxModel(
                """
                client_header_timeout 1s; client_header_buffer_size 2k; large_client_header_buffers 3 4k;
                merge_slashes off; underscores_in_headers on; ignore_invalid_headers off;
                server { http2_max_concurrent_streams 5; }
                """
            ).servers.first
        )
        var expected = ConnectionSettings()
        expected.clientHeaderTimeout = 1_000
        expected.clientHeaderBufferSize = 2_048
        expected.largeHeaderBuffers = 3
        expected.largeHeaderBufferSize = 4_096
        expected.mergesSlashes = false
        expected.allowsUnderscores = true
        expected.ignoresInvalidHeaders = false
        expected.maxConcurrentStreams = 5
        #expect(server.connection == expected)
    }

    // MARK: location

    @Test func locations() throws {
        let server = try self.server(
            """
            location = /a { internal; } location ^~ /b { } location ~ c { } location ~* d { } location @e { }
            location /f { stub_status; location /f/g { } } location ~*h { } location =/i { } location ^~/j { }
            """
        )
        #expect(
            server.locations.map(\.match) == [
                .exact("/a"), .prefix("/b", isFinal: true), .regex(RegexModel(pattern: "c")),
                .regex(RegexModel(pattern: "d", ignoresCase: true)), .named("e"), .prefix("/f", isFinal: false),
                .regex(RegexModel(pattern: "h", ignoresCase: true)), .exact("/i"), .prefix("/j", isFinal: true),
            ]
        )
        #expect(server.locations.map(\.isInternal).firstIndex(of: true) == 0)
        #expect(server.locations[5].action == .stubStatus)
        #expect(server.locations[5].locations.map(\.match) == [.prefix("/f/g", isFinal: false)])
        #expect(server.locations[0].name == "= /a")
    }

    /// `proxy_pass` is of its location; what stands around it is inherited.
    @Test func nestedLocationsInheritSettingsOnly() throws {
        let outer = try self.location("proxy_pass http://a; proxy_read_timeout 1; set $x 1; location /b { }")
        let inner = try #require(outer.locations.first)
        #expect(inner.action == .notFound)
        #expect(inner.rewrites.isEmpty)
        #expect(inner.settings.proxy.readTimeout == 1_000)
    }

    // MARK: rewriting

    @Test func rewriting() throws {
        let location = try self.location(
            """
            set $A "b$host"; rewrite ^/c /d last; rewrite ^/e http://f permanent; rewrite ^/g https://h;
            if ($a) { break; } if ($uri !~* i) { return 404; } if ($a = "") { rewrite j k? break; }
            if ( $a != l ) { set $m n; } return 301 /o;
            """
        )
        #expect(
            location.rewrites == [
                .set(variable: "a", value: Template(.text("b"), .variable(.host))),
                .rewrite(RegexModel(pattern: "^/c"), replacement: Template("/d"), flag: .last),
                .rewrite(RegexModel(pattern: "^/e"), replacement: Template("http://f"), flag: .permanent),
                .rewrite(RegexModel(pattern: "^/g"), replacement: Template("https://h"), flag: .redirect),
                .when(.isTrue(Template(.variable(.named("a")))), [.stop]),
                .when(
                    .matchesNot(Template(.variable(.uri)), RegexModel(pattern: "i", ignoresCase: true)),
                    [.respond(FixedResponse(status: 404))]
                ),
                .when(
                    .equals(Template(.variable(.named("a"))), Template("")),
                    [.rewrite(RegexModel(pattern: "j"), replacement: Template("k?"), flag: .break)]
                ),
                .when(
                    .differs(Template(.variable(.named("a"))), Template("l")),
                    [.set(variable: "m", value: Template("n"))]
                ),
                .respond(FixedResponse(status: 301, text: Template("/o"))),
            ]
        )
        #expect(
            try self.server("return https://a$request_uri;").rewrites == [
                .respond(FixedResponse(status: 302, text: Template(.text("https://a"), .variable(.requestURI))))
            ]
        )
        #expect(
            try self.server("return 200 \"\";").rewrites == [
                .respond(FixedResponse(status: 200, text: Template("")))
            ]
        )
    }

    @Test func variables() throws {
        let all = "$args $query_string $arg_A $cookie_b $http_c_d $sent_http_e $upstream_http_f $1 ${host}x $named $y"
        let location = try self.location("if ($uri ~ (?<named>.)) { set $y 1; } return 200 \"\(all)\";")
        guard case .respond(let response)? = location.rewrites.last else { throw Unexpected() }
        let found: [Variable] = (response.text?.parts ?? []).compactMap { part in
            if case .variable(let variable) = part { return variable }
            return nil
        }
        #expect(
            found == [
                .args, .args, .argument("a"), .cookie("b"), .requestField("c_d"), .responseField("e"),
                .upstreamField("f"),
                .capture(1), .host, .named("named"), .named("y"),
            ]
        )
    }

    // MARK: the rest

    @Test func maps() throws {
        let model = try nginxModel(
            "map $host$uri $A { hostnames; default $args; *.b 1; c.* 2; .d 3; E 4; ~f 5; ~*g 6; \\~h 7; include m; }",
            ["/etc/nginx/m": "i j;"]
        )
        func entry(_ key: MapModel.Key, _ value: String) -> MapModel.Entry {
            MapModel.Entry(key: key, value: Template(value))
        }
        #expect(
            model.maps == [
                MapModel(
                    source: Template(.variable(.host), .variable(.uri)),
                    variable: "a",
                    entries: [
                        entry(.wildcard("*.b"), "1"), entry(.wildcard("c.*"), "2"), entry(.wildcard(".d"), "3"),
                        entry(.exact("E"), "4"), entry(.regex(RegexModel(pattern: "f")), "5"),
                        entry(.regex(RegexModel(pattern: "g", ignoresCase: true)), "6"), entry(.exact("~h"), "7"),
                        entry(.exact("i"), "j"),
                    ],
                    fallback: Template(.variable(.args)),
                    matchesHosts: true
                )
            ]
        )
    }

    @Test func zonesFormatsAndResolvers() throws {
        let model = try nginxModel(
            """
            limit_req_zone $uri zone=a:1m rate=200r/m; limit_conn_zone $host zone=b:2m;
            log_format c escape=json '{"a":"$uri"' '}'; resolver 10.0.0.1 [::1]:53 valid=1m;
            """
        )
        #expect(model.requestZones.map(\.rate) == [3_333])
        #expect(
            model.connectionZones == [
                ConnectionZoneModel(name: "b", key: Template(.variable(.host)), bytes: 2_097_152)
            ]
        )
        #expect(
            model.logFormats == [
                LogFormatModel(
                    name: "c",
                    escape: .json,
                    line: Template(.text("{\"a\":\""), .variable(.uri), .text("\"}"))
                )
            ]
        )
        #expect(model.resolver == ResolverModel(servers: ["10.0.0.1", "[::1]:53"], validMilliseconds: 60_000))
    }

    @Test func wholeFiles() throws {
        func nginxModel(_ text: String, cores: Int = 1) throws -> GatewayModel {
            try nginxModelWithWarnings(text, cores: cores).0
        }
        let model = try nginxModel(
            "worker_processes 3; events { worker_connections 100; } http { server { listen 1; } }"
        )
        #expect(model.workers == 3)
        #expect(model.maxConnections == 300)
        #expect(model.servers.count == 1)
        #expect(try nginxModel("events { } http { }").workers == 1)
        #expect(try nginxModel("events { } http { }").maxConnections == 512)
        let auto = try nginxModel("worker_processes auto; events { worker_connections 10; } http { }", cores: 4)
        #expect(auto.workers == nil)
        #expect(auto.maxConnections == 40)
        let part = try nginxModel("server { listen 1; }")
        #expect(part.workers == nil)
        #expect(part.maxConnections == GatewayModel().maxConnections)
    }
}
