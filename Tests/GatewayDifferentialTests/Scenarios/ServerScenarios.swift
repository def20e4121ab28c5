/// Which server answers, and what the guide's own configurations do.
enum ServerScenarios {
    private static func says(_ name: String, _ names: String, listen: String = "{listen}", more: String = "") -> String
    {
        "server { listen \(listen); \(names) \(more) location / { return 200 \"[\(name)] $host $server_name\"; } location /up { proxy_pass http://{up1}; proxy_set_header X-Server \"\(name) $host\"; } }"
    }

    private static let hosts: [[String]] = [
        "t.test", "a.test", "A.TEST", "a.test:80", "a.test.", "b.a.test", "c.b.a.test", "x.wild.test", "wild.test",
        "y.x.wild.test",
        "dot.test", "z.dot.test", "mail.any", "mail.any.where", "mail", "re-42.test", "re-x.test", "both.wild.test",
        "127.0.0.1",
        "[::1]", "localhost", "a_b.test", "-", "%41.test", "www.a.test", "mail.wild.test", "re-7.wild.test",
        "A.test:8x", "xn--e.test",
    ].map { ["Host: \($0)"] }

    static let all: [Scenario] = [
        Scenario(
            "server names",
            [
                Self.says("first", "server_name first.test;"),
                Self.says("exact", "server_name a.test www.a.test both.wild.test;"),
                Self.says("wild", "server_name *.wild.test;"), Self.says("deep", "server_name *.x.wild.test;"),
                Self.says("dot", "server_name .dot.test;"),
                Self.says("end", "server_name mail.*;"),
                Self.says("regex", "server_name ~^re-(?<number>\\d+)\\.;", more: "location /n { return 200 $number; }"),
                Self.says("regex2", "server_name ~^re-;"), Self.says("none", "server_name \"\";"),
                Self.says("address", "server_name 127.0.0.1;"),
            ].joined(separator: "\n"),
            Variants.all(["/", "/up", "/n", "http://a.test/", "http://x.wild.test/up"], more: 250, fields: Self.hosts)
                + Self.withoutHost
        ),
        Scenario(
            "server names: a default",
            [
                Self.says("first", "server_name first.test;"),
                Self.says("default", "server_name default.test;", listen: "{listen} default_server"),
                Self.says("third", "server_name a.test;"),
            ].joined(separator: "\n"),
            Variants.all(["/", "/up"], more: 60, fields: Self.hosts) + Self.withoutHost
        ),
        Scenario(
            "server names: none is said",
            Self.says("only", "") + "\n" + Self.says("catch", "server_name _;"),
            Variants.all(["/", "/up"], more: 60, fields: Self.hosts) + Self.withoutHost
        ),
        Scenario(
            "server names: settings are the server's own",
            """
            server { listen {listen}; server_name a.test; client_max_body_size 5; add_header X-S a; proxy_set_header X-S a; error_page 404 /e; location /e { return 200 a; } location / { proxy_pass http://{up1}; } location /none { return 404; } }
            server { listen {listen}; server_name t.test; location / { proxy_pass http://{up2}; proxy_hide_header X-Up; } location /none { return 404; } }
            """,
            Variants.all(["/", "/none", "/x?y"], more: 120, fields: Self.hosts)
        ),
        Scenario("the guide: upstreams with passive health", Self.guide("least_conn;"), Self.guideRequests(300)),
        Scenario(
            "the guide: a gateway with rate limits",
            Self.gateway("200r/m"),
            isTimed: true,
            [
                Exchange(
                    "sixty at once",
                    [
                        .curl(
                            Curl(
                                version: .http1,
                                host: "api.example.com",
                                requests: (0..<60).map { Request("GET", "/api/v1/users/\($0)") }
                            )
                        )
                    ],
                    comparing: [.answers]
                )
            ]
        ),
        Scenario("the guide: a gateway, HTTP/1.1 over TLS", Self.gateway("100000r/s"), [Self.gatewayRequests(.http1)]),
        Scenario("the guide: a gateway, HTTP/2", Self.gateway("100000r/s"), [Self.gatewayRequests(.http2)]),
        Scenario(
            "errors of calls",
            """
            server {
                listen {listen} ssl http2;
                ssl_certificate {folder}/server.pem;
                ssl_certificate_key {folder}/server.key;
                location /a { return 404; }
                location /b { grpc_pass {dead}; }
                location /c { return 200 "its own text"; }
                location /d { error_page 404 = /e; return 404; }
                location /e { default_type application/grpc; add_header grpc-status 14; return 204; }
            }
            """,
            ["gRPC: /a", "gRPC: /b", "a text: /c", "an error page: /d"].map { label in
                let request = Request("POST", String(label.suffix(2)), ["Content-Type: application/grpc"], body: "x")
                return Exchange(label, [.curl(Curl(version: .http2, host: "calls.test", requests: [request]))])
            }
        ),
    ]

    private static let withoutHost: [Exchange] = [
        .raw("1.0 without a host", "GET / HTTP/1.0\r\n\r\n"), .raw("an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        .raw("1.0 with a host", "GET / HTTP/1.0\r\nHost: a.test\r\n\r\n"),
        .raw("absolute wins", "GET http://a.test/up HTTP/1.1\r\nHost: t.test\r\n\r\n"),
    ]

    /// Word for word, but for the addresses.
    private static func guide(_ method: String) -> String {
        """
        # Upstream for user service (multiple instances)
        upstream user_service {
            \(method)
            server {up1} max_fails=3 fail_timeout=30s;
            server {up2} max_fails=3 fail_timeout=30s;
            # Health check (NGINX Plus feature; in OSS, use passive health checks above)
            keepalive 32;
        }
        # Upstream for order service
        upstream order_service {
            server {up3} max_fails=3 fail_timeout=30s;
            server {up4} max_fails=3 fail_timeout=30s;
            keepalive 32;
        }
        server {
            listen {listen};
            server_name api.example.com;
            # Route to user service
            location /api/users/ {
                proxy_pass http://user_service;
                proxy_connect_timeout 5s;
                proxy_read_timeout 30s;
                proxy_next_upstream error timeout http_500 http_502 http_503;
                proxy_next_upstream_tries 2;
            }
            # Route to order service
            location /api/orders/ {
                proxy_pass http://order_service;
                proxy_connect_timeout 5s;
                proxy_read_timeout 30s;
                proxy_next_upstream error timeout http_500 http_502 http_503;
            }
        }
        """
    }

    private static func guideRequests(_ count: Int) -> [Exchange] {
        var variants = Variants(seed: 77)
        let scripts = [
            "say", "say", "say", "say", "say", "chunked", "no-content", "fields", "say", "say", "say", "chunked", "say",
            "say", "status-500", "status-503", "status-404", "closes",
        ]
        let targets = Variants.spellings(["/api/users/", "/api/orders/", "/api/users/123", "/api/users", "/api/other"])
        return (0..<count).map { number in
            let method = variants.pick(["GET", "GET", "POST", "HEAD", "DELETE"])
            // Few failures at first, so that there is something left to choose from.
            let chosen = number < count / 3 ? Array(scripts.prefix(8)) : scripts
            let instances = (1...4).map { "up\($0)=\(variants.pick(chosen))" }.joined(separator: ", ")
            return Exchange(
                Request(
                    method,
                    variants.pick(targets),
                    ["Host: api.example.com", "X-Script: \(instances)"],
                    body: method == "POST" ? "{}" : ""
                )
            )
        }
    }

    private static func gateway(_ rate: String) -> String {
        """
        # Service upstreams
        upstream user_svc { server {up1}; keepalive 16; }
        upstream order_svc { server {up2}; keepalive 16; }
        upstream product_svc { server {up3}; keepalive 16; }
        upstream notification_svc { server {up4}; keepalive 16; }
        # Rate limiting
        limit_req_zone $binary_remote_addr zone=gateway:10m rate=\(rate);
        server {
            listen {listen} ssl http2;
            server_name api.example.com;
            ssl_certificate {folder}/server.pem;
            ssl_certificate_key {folder}/server.key;
            # Common proxy settings
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Request-ID $request_id;
            # Apply rate limit globally
            limit_req zone=gateway burst=50 nodelay;
            # Service routing
            location /api/v1/users { proxy_pass http://user_svc; }
            location /api/v1/orders { proxy_pass http://order_svc; }
            location /api/v1/products { proxy_pass http://product_svc; }
            # Internal services not exposed externally
            location /api/internal {
                allow 10.0.0.0/8;
                deny all;
                proxy_pass http://notification_svc;
            }
            # Health aggregation endpoint
            location /health {
                access_log off;
                return 200 '{"gateway": "healthy"}';
                add_header Content-Type application/json;
            }
        }
        """
    }

    private static func gatewayRequests(_ version: Curl.Version) -> Exchange {
        var variants = Variants(seed: 78)
        let targets = [
            "/api/v1/users", "/api/v1/users/1", "/api/v1/orders?x=1", "/api/v1/products/a%20b", "/api/internal/x",
            "/health", "/nowhere", "/api/v1/usersx", "//api/v1/users", "/api/v1/../v1/orders",
        ]
        let scripts = [
            "say", "chunked", "no-content", "fields", "status-500", "status-404", "large", "large-chunked", "body",
            "trailer",
        ]
        let requests = (0..<300).map { _ in
            let method = variants.pick(["GET", "GET", "POST", "HEAD", "DELETE"])
            return Request(
                method,
                variants.pick(targets),
                ["X-Script: \(variants.pick(scripts))"]
                    + variants.pick([[], ["X-Forwarded-For: 192.0.2.1"], ["X-Request-ID: mine"], ["Cookie: a=1"]]),
                body: method == "POST" ? "body" : ""
            )
        }
        return Exchange(
            "curl, \(version.rawValue)",
            [.curl(Curl(version: version, host: "api.example.com", requests: requests))]
        )
    }
}
