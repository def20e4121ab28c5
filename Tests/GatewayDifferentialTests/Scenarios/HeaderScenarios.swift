/// What fields are added, dropped and changed on the way in and on the way out.
enum HeaderScenarios {
    private static let answers: [[String]] = [
        "fields", "status-200", "status-201", "status-204", "status-206", "status-301", "status-304", "status-400",
        "status-404", "status-500", "status-503", "not-modified", "no-content", "chunked", "to-the-end", "empty",
    ].map { ["X-Script: \($0)"] }

    private static func redirect(_ location: String, _ more: String...) -> Script {
        Script(.answer("302 Found", ["Location: \(location)"] + more, "moved"))
    }

    static let all: [Scenario] = [
        .server(
            "add_header",
            """
            add_header X-Server s;
            location / { proxy_pass http://{up1}; }
            location /own/ { add_header X-Own "o $uri"; proxy_pass http://{up1}; }
            location /always/ {
                add_header X-Always a always;
                add_header X-Not b;
                add_header X-Empty $arg_none always;
                proxy_pass http://{up1};
            }
            location /error { add_header X-E e; add_header X-EA ea always; return 404; }
            location /text { add_header X-T "$status" always; add_header Content-Type text/css; return 200 text; }
            location /moved { add_header X-M m; return 302 /x; }
            location /twice {
                add_header X-Up mine;
                add_header X-Up again;
                add_header Cache-Control no-store;
                proxy_pass http://{up1};
            }
            location /dead { add_header X-D d; add_header X-DA da always; proxy_pass http://{dead}; }
            location /modified { add_header Last-Modified ""; add_header ETag e; proxy_pass http://{up1}; }
            """,
            before: "add_header X-Outer http;",
            Variants.all(
                ["/", "/own/a", "/always/a", "/error", "/text", "/moved", "/twice", "/dead", "/modified"],
                more: 200,
                fields: Self.answers
            )
        ),
        .server(
            "proxy_set_header: inheritance and defaults",
            """
            proxy_set_header X-Server s;
            location /default/ { proxy_pass http://{up1}; }
            location /own/ { proxy_set_header X-Own $uri; proxy_pass http://{up1}; }
            location /host/ { proxy_set_header Host $host; proxy_pass http://{up1}; }
            location /http-host/ { proxy_set_header Host $http_host; proxy_pass http://{up1}; }
            location /fixed-host/ { proxy_set_header Host fixed.test; proxy_http_version 1.1; proxy_pass http://{up1}; }
            location /connection/ { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://{up1}; }
            location /empty/ {
                proxy_set_header Accept-Encoding "";
                proxy_set_header X-Fine "";
                proxy_set_header User-Agent "";
                proxy_pass http://{up1};
            }
            location /forwarded/ {
                proxy_set_header Host $host;
                proxy_set_header X-Real-IP $remote_addr;
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                proxy_set_header X-Forwarded-Proto $scheme;
                proxy_set_header X-Forwarded-Host $http_host;
                proxy_pass http://{up1};
            }
            location /length/ {
                proxy_set_header Content-Length "";
                proxy_pass_request_body off;
                proxy_pass http://{up1};
            }
            location /no-fields/ { proxy_pass_request_headers off; proxy_set_header X-Only o; proxy_pass http://{up1}; }
            location /method/ { proxy_method PUT; proxy_pass http://{up1}; }
            location /body/ { proxy_method PUT; proxy_pass http://{up1}; }
            location /replaced/ {
                proxy_set_header x-fine replaced;
                proxy_set_header Cookie c=1;
                proxy_pass http://{up1};
            }
            """,
            before: "upstream group { server {up1}; }",
            Variants.all(
                [
                    "default", "own", "host", "http-host", "fixed-host", "connection", "empty", "forwarded", "length",
                    "no-fields",
                    "method", "body", "replaced",
                ].map { "/\($0)/a" },
                more: 350
            )
        ),
        .server(
            "header names",
            "location / { proxy_pass http://{up1}; }\nlocation /v { return 200 \"$http_x_under|$http_x_dot|$http_x_fine\"; }",
            Variants.all(["/", "/v"], more: 60, fields: Self.names)
        ),
        .server(
            "header names: underscores are allowed",
            "underscores_in_headers on;\nlocation / { proxy_pass http://{up1}; }\nlocation /v { return 200 \"$http_x_under\"; }",
            Variants.all(["/", "/v"], more: 60, fields: Self.names)
        ),
        .server(
            "header names: invalid ones are passed",
            "ignore_invalid_headers off;\nlocation / { proxy_pass http://{up1}; }",
            Variants.all(["/"], more: 60, fields: Self.names)
        ),
        Self.namesOverHTTP2("", ""),
        Self.namesOverHTTP2(": underscores are allowed", "underscores_in_headers on;"),
        Self.namesOverHTTP2(": invalid ones are passed", "ignore_invalid_headers off;"),
        .server(
            "answer's fields: hidden, passed, ignored",
            """
            location /default/ { proxy_pass http://{up1}; }
            location /hide/ { proxy_hide_header X-Up; proxy_hide_header set-cookie; proxy_pass http://{up1}; }
            location /pass/ {
                proxy_pass_header Server;
                proxy_pass_header Date;
                proxy_pass_header X-Pad;
                proxy_pass_header X-Accel-Limit-Rate;
                proxy_pass http://{up1};
            }
            location /ignore/ {
                proxy_ignore_headers X-Accel-Redirect X-Accel-Expires X-Accel-Buffering X-Accel-Charset Expires Cache-Control;
                proxy_pass http://{up1};
            }
            location /expires/ { add_header X-A a; return 200 a; }
            location /no-tokens/ { server_tokens off; return 404; }
            location /internal/ { internal; return 200 "internal $uri $args"; }
            location = /open { return 200 open; }
            """,
            scripts: [
                "accel": Script(
                    .answer(
                        "200 OK",
                        ["X-Accel-Redirect: /internal/a?b=c", "X-Up: a", "Set-Cookie: k=v", "Content-Type: text/css"],
                        "not this"
                    )
                ),
                "accel-open": Script(.answer("200 OK", ["X-Accel-Redirect: /open"], "")),
                "accel-nowhere": Script(.answer("200 OK", ["X-Accel-Redirect: /nowhere"], "")),
                "accel-fields": Script(
                    .answer(
                        "200 OK",
                        [
                            "X-Accel-Buffering: no", "X-Accel-Expires: 10", "X-Accel-Charset: utf-8",
                            "X-Accel-Limit-Rate: 0",
                        ],
                        "a"
                    )
                ),
            ],
            Variants.all(
                ["default", "hide", "pass", "ignore", "expires", "no-tokens"].map { "/\($0)/a" },
                more: 200,
                fields: Self.answers
                    + ["accel", "accel-open", "accel-nowhere", "accel-fields"].map { ["X-Script: \($0)"] }
            )
        ),
        .server(
            "Location and Refresh are rewritten",
            """
            location /default/ { proxy_pass http://{up1}/base/; }
            location /plain/ { proxy_pass http://{up1}; }
            location /off/ { proxy_redirect off; proxy_pass http://{up1}/base/; }
            location /own/ {
                proxy_redirect http://in.test/ /out/;
                proxy_redirect ~^https://in.test(:\\d+)?/(.+)$ http://$host/secure/$2;
                proxy_pass http://{up1};
            }
            location /both/ { proxy_pass http://{up1}/base/; proxy_redirect default; proxy_redirect /x/ /y/; }
            location /group/ { proxy_pass http://group/base/; }
            """,
            before: "upstream group { server {up1}; }",
            scripts: [
                "r1": Self.redirect("http://{up1}/base/a"), "r2": Self.redirect("/base/b"),
                "r3": Self.redirect("http://in.test/c"),
                "r4": Self.redirect("https://in.test:444/d"), "r5": Self.redirect("/x/e"),
                "r6": Self.redirect("http://group/base/f"),
                "r7": Self.redirect("relative"),
                "r8": Self.redirect("http://in.test/g", "Refresh: 5; url=http://in.test/h"),
                "r9": Self.redirect("//in.test/i"),
                "r10": Script(.answer("201 Created", ["Location: http://in.test/j"], "")),
            ],
            Variants.all(
                ["default", "plain", "off", "own", "both", "group"].map { "/\($0)/a" },
                more: 150,
                fields: (1...10).map { ["X-Script: r\($0)"] }
            )
        ),
        .server(
            "cookies are rewritten",
            """
            location /path/ { proxy_cookie_path /in/ /out/; proxy_pass http://{up1}; }
            location /regex/ { proxy_cookie_path ~^/(.+)/$ /$1-changed/; proxy_pass http://{up1}; }
            location /domain/ { proxy_cookie_domain in.test out.test; proxy_pass http://{up1}; }
            location /flags/ {
                proxy_pass http://{up1};
            }
            location /none/ { proxy_pass http://{up1}; }
            """,
            scripts: [
                "c1": Script(
                    .answer("200 OK", ["Set-Cookie: a=1; Path=/in/", "Set-Cookie: b=2; path=/in/deep/; Secure"], "")
                ),
                "c2": Script(
                    .answer(
                        "200 OK",
                        ["Set-Cookie: a=1; Domain=in.test", "Set-Cookie: b=2; domain=.in.test; HttpOnly"],
                        ""
                    )
                ),
                "c3": Script(
                    .answer("200 OK", ["Set-Cookie: a; Path=/", "Set-Cookie: c=3; SameSite=Lax; Path=/in"], "")
                ),
            ],
            Variants.all(
                ["path", "regex", "domain", "flags", "none"].map { "/\($0)/a" },
                more: 60,
                fields: (1...3).map { ["X-Script: c\($0)"] }
            )
        ),
        .server(
            "server_tokens off",
            "server_tokens off;\nlocation / { proxy_pass http://{up1}; }\nlocation /404 { return 404; }\nlocation /dead { proxy_pass http://{dead}; }",
            Variants.all(["/", "/404", "/dead"], more: 40)
        ),
        .server(
            "gzip",
            """
            gzip on;
            gzip_types text/plain application/json;
            gzip_min_length 20;
            location / { proxy_pass http://{up1}; }
            location /vary { gzip_vary on; proxy_pass http://{up1}; }
            location /any { gzip_proxied any; gzip_http_version 1.0; proxy_pass http://{up1}; }
            location /off { gzip off; proxy_pass http://{up1}; }
            """,
            Self.gzip
        ),
    ]

    private static let names: [[String]] = [
        ["X_Under: a"], ["X.Dot: b"], ["X-Fine: c"], ["X(paren: d"], ["X!bang: e", "X#hash: f"], ["X/slash: g"],
        ["Xé: h"],
        ["x-lower: i", "X-LOWER: j"], ["1digit: k"], ["_first: l"], ["-dash: m"], ["X\"quote: n"],
        ["X@at: o", "X=eq: p"],
        ["X-Fine: q", "X-Fine: r", "X_Under: s", "X_Under: t"], ["Content_Length: 5"],
        ["X-Long-" + String(repeating: "n", count: 300) + ": v"],
    ]

    private static func namesOverHTTP2(_ name: String, _ setting: String) -> Scenario {
        let names = Self.names.filter { $0.allSatisfy { $0.utf8.allSatisfy { $0 < 0x80 && $0 != 0x22 } } }
        let requests = ["/", "/v"].flatMap { target in names.map { Request("GET", target, $0) } }
        return Scenario(
            "header names over HTTP/2" + name,
            """
            server {
                listen {listen} ssl http2;
                ssl_certificate {folder}/server.pem;
                ssl_certificate_key {folder}/server.key;
                \(setting)
                location / { proxy_pass http://{up1}; }
                location /v { return 200 "$http_x_under|$http_x_fine"; }
            }
            """,
            requests.map { request in
                Exchange(request.label, [.curl(Curl(version: .http2, host: "names.test", requests: [request]))])
            }
        )
    }

    /// What is compressed differs in its bytes from one compressor to the next; that it is compressed does not.
    private static let gzip: [Exchange] = {
        var variants = Variants(seed: 5)
        let fields = ["gzip", "gzip;q=0", "br, gzip", "*", "deflate", "identity"].map { "Accept-Encoding: \($0)" }
        let scripts = [
            "say", "chunked", "large", "large-chunked", "no-content", "status-404", "fields", "empty", "to-the-end",
        ]
        return (0..<120).map { _ in
            let target = variants.pick(["/", "/vary", "/any", "/off"])
            let more = variants.pick([[], ["Via: 1.1 x"], ["Range: bytes=0-3"]])
            let request = Request(
                variants.pick(["GET", "HEAD"]),
                target,
                [variants.pick(fields), "X-Script: \(variants.pick(scripts))"] + more,
                version: variants.pick(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"])
            )
            return Exchange(request, comparing: [.answers, .received, .instances])
        }
    }()
}
