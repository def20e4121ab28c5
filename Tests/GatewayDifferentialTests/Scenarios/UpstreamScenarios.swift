/// Which upstream is chosen, when the next one is tried, and what becomes of what goes wrong.
enum UpstreamScenarios {
    private static func scenario(
        _ name: String,
        _ lines: String,
        _ location: String,
        isTimed: Bool = false,
        _ exchanges: [Exchange]
    ) -> Scenario {
        .server(name, "location / { \(location) }", before: "upstream pool { \(lines) }", isTimed: isTimed, exchanges)
    }

    private static func scenario(_ name: String, _ lines: String, _ exchanges: [Exchange]) -> Scenario {
        Self.scenario(name, lines, "proxy_pass http://pool;", exchanges)
    }

    private static let three = "server {up1}; server {up2}; server {up3};"
    private static let kept = "proxy_pass http://pool; proxy_http_version 1.1; proxy_set_header Connection \"\";"

    private static func plain(_ count: Int) -> [Exchange] { (0..<count).map { Exchange(.get("/\($0)")) } }

    /// The same, and some instance answers with what is asked for.
    private static func failing(
        _ count: Int,
        seed: UInt64,
        scripts: [String],
        methods: [String] = ["GET", "GET", "POST", "HEAD"]
    ) -> [Exchange] {
        var variants = Variants(seed: seed)
        return (0..<count).map { number in
            let method = variants.pick(methods)
            let instances = ["up1", "up2", "up3"].map { "\($0)=\(variants.pick(scripts))" }.joined(separator: ", ")
            return Exchange(
                Request(method, "/\(number)", ["X-Script: \(instances)"], body: method == "POST" ? "body" : "")
            )
        }
    }

    /// Two requests are held while others come, so that connections are unequal.
    private static func held(_ count: Int) -> [Exchange] {
        (0..<count).map { number in
            Exchange(
                "held \(number)",
                [
                    .send(1, Request.get("/held", "X-Script: slow-start").bytes), .received(1),
                    .send(2, Request.get("/held", "X-Script: slow-start").bytes), .received(2),
                    .send(3, Request.get("/free").bytes), .answer(3), .send(4, Request.get("/free").bytes), .answer(4),
                    .answer(1), .answer(2),
                ]
            )
        }
    }

    private static func from(_ count: Int, seed: UInt64) -> [Exchange] {
        var variants = Variants(seed: seed)
        return (0..<count).map { number in
            let source = "127.\(variants.below(200)).\(variants.below(3)).\(1 + variants.below(4))"
            return Exchange(
                "from \(source)",
                [.open(1, from: source), .send(1, Request.get("/\(number)").bytes), .answer(1)]
            )
        }
    }

    private static func keyed(_ count: Int, seed: UInt64) -> [Exchange] {
        var variants = Variants(seed: seed)
        return (0..<count).map { _ in Exchange(.get("/key/\(variants.below(90))?k=\(variants.below(9))")) }
    }

    private static let ok = ["say", "say", "chunked", "no-content", "empty"]
    private static let broken = ["closes", "resets", "half-head", "huge-header", "half-head-reset"]

    static let selection: [Scenario] = [
        Self.scenario("round robin", Self.three, Self.plain(60)),
        Self.scenario(
            "round robin: weights",
            "server {up1} weight=5; server {up2} weight=2; server {up3};",
            Self.plain(120)
        ),
        Self.scenario(
            "round robin: equal weights",
            "server {up1} weight=3; server {up2} weight=3; server {up3} weight=3; server {up4} weight=1;",
            Self.plain(100)
        ),
        Self.scenario(
            "round robin: down and backup",
            "server {up1} down; server {up2}; server {up3} backup; server {up4} weight=2;",
            Self.plain(30) + Self.failing(60, seed: 3, scripts: Self.ok + Self.broken)
        ),
        Self.scenario("round robin: all down", "server {up1} down; server {up2} down;", Self.plain(10)),
        Self.scenario(
            "round robin: only backups are left",
            "server {dead}; server {up2} backup; server {up3} backup;",
            Self.plain(20)
        ),
        Self.scenario("least_conn", "least_conn; " + Self.three, Self.plain(30) + Self.held(12)),
        Self.scenario(
            "least_conn: weights",
            "least_conn; server {up1} weight=3; server {up2}; server {up3} weight=2;",
            Self.plain(60) + Self.held(20)
        ),
        Self.scenario("ip_hash", "ip_hash; " + Self.three, Self.from(120, seed: 8)),
        Self.scenario(
            "ip_hash: weights and one down",
            "ip_hash; server {up1} weight=2; server {up2} down; server {up3}; server {up4} weight=3;",
            Self.from(120, seed: 9)
        ),
        Self.scenario("hash", "hash $uri; " + Self.three, Self.keyed(150, seed: 4)),
        Self.scenario(
            "hash: weights and one dead",
            "hash $uri$args; server {up1} weight=2; server {dead}; server {up3} weight=4;",
            Self.keyed(150, seed: 5)
        ),
        Self.scenario("hash: consistent", "hash $request_uri consistent; " + Self.three, Self.keyed(150, seed: 6)),
        Self.scenario(
            "hash: consistent, weights, one down",
            "hash $arg_k consistent; server {up1} weight=2; server {up2} down; server {up3}; server {up4};",
            Self.keyed(100, seed: 7)
        ),
        Self.scenario(
            "max_conns",
            "server {up1} max_conns=1; server {up2} max_conns=1; server {up3} max_conns=2 backup;",
            Self.held(10) + Self.plain(10)
        ),
    ]

    static let failures: [Scenario] = [
        Self.scenario(
            "max_fails: one failure is enough",
            "server {up1}; server {up2}; server {up3};",
            Self.failing(40, seed: 20, scripts: Self.ok + Self.ok + Self.ok + ["closes"])
        ),
        Self.scenario(
            "max_fails: three",
            "server {up1} max_fails=3 fail_timeout=30s; server {up2} max_fails=3 fail_timeout=30s;",
            Self.failing(
                80,
                seed: 21,
                scripts: Array(repeating: Self.ok, count: 5).flatMap(\.self) + ["closes", "resets"]
            )
        ),
        Self.scenario(
            "max_fails: never",
            "server {up1} max_fails=0; server {up2} max_fails=0; server {up3} max_fails=0;",
            Self.failing(150, seed: 22, scripts: Self.ok + Self.broken)
        ),
        Self.scenario(
            "max_fails: weights shrink",
            "server {up1} weight=4 max_fails=4; server {up2} weight=4 max_fails=4; server {up3} weight=1 max_fails=9;",
            Self.failing(120, seed: 23, scripts: Self.ok + ["say", "say", "closes"])
        ),
        Self.scenario(
            "max_fails: back after the time",
            "server {up1} max_fails=1 fail_timeout=1s; server {up2};",
            "proxy_pass http://pool;",
            isTimed: true,
            [Exchange(.get("/fail", "X-Script: up1=closes"))] + Self.plain(6) + [
                Exchange("time passes", [.pause(milliseconds: 2_300)])
            ] + Self.plain(8)
        ),
        Self.scenario(
            "max_fails: a single server",
            "server {up1} max_fails=1;",
            Self.failing(40, seed: 24, scripts: Self.ok + Self.broken)
        ),
        Self.scenario(
            "max_fails: one is dead",
            "server {dead} max_fails=2; server {up1}; server {up2};",
            Self.plain(40)
        ),
        Self.scenario(
            "next upstream: the default",
            "server {up1} max_fails=0; server {up2} max_fails=0; server {up3} max_fails=0;",
            Self.failing(
                120,
                seed: 25,
                scripts: Self.ok + Self.broken + [
                    "status-500", "status-502", "status-503", "status-504", "status-404",
                ]
            )
        ),
        Self.scenario(
            "next upstream: by status",
            "server {up1} max_fails=0; server {up2} max_fails=0; server {up3} max_fails=0;",
            "proxy_pass http://pool; proxy_next_upstream error timeout invalid_header http_500 http_502 http_503 http_504 http_403 http_404 http_429;",
            Self.failing(
                150,
                seed: 26,
                scripts: Self.ok + [
                    "status-500", "status-502", "status-503", "status-504", "status-403", "status-404", "status-429",
                    "status-501", "closes",
                ]
            )
        ),
        Self.scenario(
            "next upstream: failures by status are counted",
            "server {up1} max_fails=2; server {up2} max_fails=2; server {up3} max_fails=2;",
            "proxy_pass http://pool; proxy_next_upstream error http_503 http_404;",
            Self.failing(60, seed: 27, scripts: Self.ok + ["status-503", "status-404", "say"])
        ),
        Self.scenario(
            "next upstream: not for POST unless asked",
            "server {up1} max_fails=0; server {up2} max_fails=0; server {dead} max_fails=0;",
            "proxy_pass http://pool; proxy_next_upstream error timeout http_503;",
            Self.failing(
                100,
                seed: 28,
                scripts: Self.ok + ["closes", "status-503"],
                methods: ["POST", "PATCH", "LOCK", "PUT", "DELETE", "GET"]
            )
        ),
        Self.scenario(
            "next upstream: for POST when asked",
            "server {up1} max_fails=0; server {up2} max_fails=0; server {up3} max_fails=0;",
            "proxy_pass http://pool; proxy_next_upstream error timeout http_503 non_idempotent;",
            Self.failing(
                100,
                seed: 29,
                scripts: Self.ok + ["closes", "status-503"],
                methods: ["POST", "PATCH", "PUT"]
            )
        ),
        Self.scenario(
            "next upstream: two tries",
            "server {up1} max_fails=0; server {up2} max_fails=0; server {up3} max_fails=0;",
            "proxy_pass http://pool; proxy_next_upstream error timeout http_500; proxy_next_upstream_tries 2;",
            Self.failing(120, seed: 30, scripts: Self.ok + Self.broken + ["status-500"])
        ),
        Self.scenario(
            "next upstream: off",
            Self.three,
            "proxy_pass http://pool; proxy_next_upstream off;",
            Self.failing(50, seed: 31, scripts: Self.ok + ["say", "closes", "status-500"])
        ),
        Self.scenario(
            "next upstream: what backups are for",
            "server {up1} max_fails=0; server {up2} max_fails=0 backup; server {up3} max_fails=0 backup;",
            "proxy_pass http://pool; proxy_next_upstream error http_503;",
            Self.failing(80, seed: 32, scripts: Self.ok + ["closes", "status-503"])
        ),
        Self.scenario(
            "next upstream: a body that is streamed",
            "server {up1} max_fails=0; server {up2} max_fails=0; server {dead} max_fails=0;",
            "proxy_pass http://pool; proxy_request_buffering off; proxy_next_upstream error http_503 non_idempotent;",
            Self.failing(60, seed: 33, scripts: Self.ok + ["status-503"], methods: ["GET", "POST", "PUT"])
        ),
        .server(
            "several failures: own pages, own statuses",
            """
            error_page 502 504 =503 /sorry;
            location /sorry { return 200 sorry; }
            location / { proxy_pass http://pool; proxy_next_upstream_tries 1; }
            """,
            before: "upstream pool { server {up1} max_fails=0; server {up2} max_fails=0; server {up3} max_fails=0; }",
            Self.failing(60, seed: 34, scripts: Self.ok + Self.broken)
        ),
    ]

    static let timing: [Scenario] = [
        .server(
            "timeouts in each phase",
            """
            proxy_connect_timeout 200ms; proxy_read_timeout 200ms; proxy_send_timeout 200ms;
            location / { proxy_pass http://{up1}; }
            location /full/ { proxy_pass http://{full}; }
            location /pool/ { proxy_pass http://pool; }
            location /once/ { proxy_pass http://pool; proxy_next_upstream_tries 1; }
            location /no-timeout/ { proxy_pass http://pool; proxy_next_upstream error; }
            location /limited/ { proxy_pass http://pool; proxy_next_upstream_timeout 100ms; }
            location /buffered/ { proxy_buffering off; proxy_pass http://{up1}; }
            """,
            before: "upstream pool { server {up1} max_fails=0; server {up2} max_fails=0; }",
            ["/", "/full/a", "/pool/a", "/once/a", "/no-timeout/a", "/limited/a", "/buffered/a"].flatMap { path in
                ["silent", "half-head-silent", "half-body-silent", "slow-start", "slow-body", "up1=silent, up2=say"]
                    .flatMap { script in
                        (script.hasPrefix("up1") ? ["GET", "POST"] : ["GET"]).map {
                            Exchange(Request($0, path, ["X-Script: \(script)"], body: $0 == "POST" ? "body" : ""))
                        }
                    }
            }
        ),
        .server(
            "slow clients",
            """
            client_header_timeout 200ms; client_body_timeout 200ms; keepalive_timeout 200ms;
            location / { proxy_pass http://{up1}; }
            """,
            isTimed: true,
            [
                Exchange("no head", [.open(1, from: "127.0.0.1"), .ended(1)]),
                Exchange("half a line", [.send(1, Bytes("GET /a HT")), .ended(1)]),
                Exchange("half a head", [.send(1, Bytes("GET /a HTTP/1.1\r\nHost: t\r\nX-A: ")), .ended(1)]),
                Exchange(
                    "half a body",
                    [.send(1, Bytes("POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n012")), .ended(1)]
                ),
                Exchange(
                    "half a chunk",
                    [
                        .send(1, Bytes("POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n012")),
                        .ended(1),
                    ]
                ),
                Exchange(
                    "a second request, halfway",
                    [.send(1, Request.get("/a").bytes), .answer(1), .send(1, Bytes("GET /b HT")), .ended(1)]
                ),
                Exchange(
                    "a body in time",
                    [
                        .send(1, Bytes("POST /a HTTP/1.1\r\nHost: t\r\nX-Script: body\r\nContent-Length: 6\r\n\r\n01")),
                        .pause(milliseconds: 60),
                        .send(1, Bytes("23")), .pause(milliseconds: 60), .send(1, Bytes("45")), .answer(1),
                    ]
                ),
            ]
        ),
    ]

    static let connections: [Scenario] = [
        Self.scenario(
            "upstream keepalive",
            "server {up1}; server {up2}; keepalive 8;",
            Self.kept,
            Self.plain(20)
                + Self.failing(
                    120,
                    seed: 40,
                    scripts: Self.ok + ["fields", "large", "large-chunked", "trailer", "not-modified"]
                )
        ),
        Self.scenario(
            "upstream keepalive: what may not be kept",
            "server {up1} max_fails=0; keepalive 8;",
            Self.kept,
            Self.failing(
                150,
                seed: 41,
                scripts: Self.ok + [
                    "says-close", "to-the-end", "http-1.0", "closes", "half-body", "too-much-body", "status-500",
                ]
            )
        ),
        Self.scenario(
            "upstream keepalive: closed while idle",
            "server {up1} max_fails=0; server {up2} max_fails=0; keepalive 8;",
            Self.kept,
            Self.failing(100, seed: 42, scripts: Self.ok + ["closes-idle"], methods: ["GET", "POST"])
        ),
        Self.scenario(
            "upstream keepalive: one idle connection only",
            "server {up1}; server {up2}; keepalive 1;",
            Self.kept,
            Self.plain(40)
        ),
        Self.scenario(
            "upstream keepalive: five requests each",
            "server {up1}; keepalive 4; keepalive_requests 5;",
            Self.kept,
            Self.plain(40)
        ),
        Self.scenario("upstream keepalive: HTTP/1.0 keeps nothing", "server {up1}; keepalive 8;", Self.plain(20)),
        Self.scenario(
            "upstream keepalive: idle for a while",
            "server {up1}; keepalive 8; keepalive_timeout 200ms;",
            Self.kept,
            isTimed: true,
            Self.plain(3) + [Exchange("time passes", [.pause(milliseconds: 500)])] + Self.plain(3)
        ),
        Self.scenario(
            "upstream keepalive: several at once",
            "least_conn; server {up1}; server {up2}; keepalive 8;",
            Self.kept,
            Self.held(10) + Self.plain(10)
        ),
        .server(
            "large answers and small buffers",
            """
            proxy_buffer_size 4k;
            location / { proxy_pass http://{up1}; }
            location /eight/ { proxy_buffer_size 8k; proxy_pass http://{up1}; }
            location /unbuffered/ { proxy_buffering off; proxy_pass http://{up1}; }
            location /file/ { proxy_max_temp_file_size 0; proxy_pass http://{up1}; }
            """,
            Variants.all(
                ["/a", "/eight/a", "/unbuffered/a", "/file/a"],
                more: 120,
                fields: ["header-3k", "header-5k", "huge-header", "large", "large-chunked", "say", "fields"].map {
                    ["X-Script: \($0)"]
                }
            )
        ),
        .server(
            "upgrades",
            """
            location / { proxy_pass http://{up1}; }
            location /ws/ {
                proxy_http_version 1.1;
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection $connection_upgrade;
                proxy_pass http://{up1};
            }
            """,
            before: "map $http_upgrade $connection_upgrade { default upgrade; '' close; }",
            Self.upgrades
        ),
    ]

    private static let upgrades: [Exchange] = {
        let fields = [
            "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "X-Script: upgrade",
        ]
        let asked = Request("GET", "/ws/a", fields).bytes
        return [
            Exchange(
                "upgraded, then echo",
                [
                    .send(1, asked), .answer(1), .send(1, Bytes("first|")), .text(1, "first|"),
                    .send(1, Bytes(repeating: 65, count: 100_000) + Bytes("|")),
                    .text(1, "|"), .closeWriting(1), .ended(1),
                ]
            ),
            Exchange(
                "the first bytes come with the request",
                [.send(1, asked + Bytes("early|")), .answer(1), .text(1, "early|"), .close(1)]
            ),
            Exchange(
                "refused",
                [
                    .send(1, Request("GET", "/ws/b", Array(fields.dropLast()) + ["X-Script: status-403"]).bytes),
                    .answer(1),
                ]
            ),
            Exchange(
                "answered as if it was no upgrade",
                [.send(1, Request("GET", "/ws/c", Array(fields.dropLast())).bytes), .answer(1)]
            ),
            Exchange("not asked for", [.send(1, Request.get("/ws/d", "X-Script: status-200").bytes), .answer(1)]),
            Exchange(
                "the upstream is dropped",
                [.send(1, asked), .answer(1), .send(1, Bytes("x|")), .text(1, "x|"), .reset(1), .cut]
            ),
        ] + Variants.all(["/ws/e", "/f"], more: 30)
    }()
}
