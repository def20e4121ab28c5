internal import Foundation

/// Limits, who may come in, and where a client comes from.
enum PolicyScenarios {
    /// So many at once, in one write: what passes does not depend on how quick the machine is.
    private static func burst(_ label: String, _ count: Int, _ path: String, _ fields: [String] = []) -> Exchange {
        let request = Request("GET", path, fields).bytes
        return Exchange(
            label,
            [.send(1, Array(repeating: request, count: count).flatMap { $0 })]
                + Array(repeating: ClientStep.answer(1), count: count)
        )
    }

    private static func from(_ source: String, _ request: Request) -> Exchange {
        Exchange(
            "from \(source): \(request.label)",
            [.open(1, from: source), .send(1, request.bytes), .answer(1, toHead: request.method == "HEAD")]
        )
    }

    private static let wait = Exchange("time passes", [.pause(milliseconds: 1_000)])

    static let limits: [Scenario] = [
        .server(
            "limit_req: without burst",
            "limit_req zone=one; location / { proxy_pass http://{up1}; } location /up { proxy_pass http://{up1}; }",
            before: "limit_req_zone $binary_remote_addr zone=one:1m rate=30r/m;",
            isTimed: true,
            [
                Self.burst("ten at once", 10, "/"), Self.burst("ten more", 10, "/up"),
                Exchange("2.5 s pass", [.pause(milliseconds: 2_500)]), Self.burst("again", 4, "/up"),
            ]
        ),
        .server(
            "limit_req: burst without delay",
            "location / { limit_req zone=one burst=5 nodelay; proxy_pass http://{up1}; }",
            before: "limit_req_zone $binary_remote_addr zone=one:1m rate=60r/m;",
            isTimed: true,
            [
                Self.burst("fifteen at once", 15, "/"), Exchange("1.5 s pass", [.pause(milliseconds: 1_500)]),
                Self.burst("five more", 5, "/"), Self.from("127.0.0.2", .get("/other")),
            ]
        ),
        .server(
            "limit_req: burst with delay",
            "location / { limit_req zone=one burst=3; proxy_pass http://{up1}; }",
            before: "limit_req_zone $binary_remote_addr zone=one:1m rate=5r/s;",
            isTimed: true,
            [
                Exchange(
                    "eight at once",
                    // The pauses keep them in order; all are there long before the first of those that wait goes on.
                    (1...8).flatMap { [.send($0, Request.get("/\($0)").bytes), .pause(milliseconds: 5)] }
                        + (1...8).map { .answer($0) }
                ), Self.wait, Self.wait, Self.burst("four in a row", 4, "/"),
            ]
        ),
        .server(
            "limit_req: burst, part of it at once",
            "location / { limit_req zone=one burst=6 delay=3; proxy_pass http://{up1}; }",
            before: "limit_req_zone $binary_remote_addr zone=one:1m rate=4r/s;",
            isTimed: true,
            [Self.burst("six in a row", 6, "/"), Self.wait, Self.wait, Self.burst("six more", 6, "/")]
        ),
        .server(
            "limit_req: two zones",
            "location / { limit_req zone=one burst=20 nodelay; limit_req zone=two burst=3 nodelay; limit_req_status 429; proxy_pass http://{up1}; }",
            before:
                "limit_req_zone $binary_remote_addr zone=one:1m rate=30r/m; limit_req_zone $arg_key zone=two:1m rate=30r/m;",
            isTimed: true,
            [
                Self.burst("key a", 8, "/?key=a"), Self.burst("key b", 8, "/?key=b"), Self.burst("no key", 30, "/"),
                Self.burst("key c", 3, "/?key=c"),
            ]
        ),
        .server(
            "limit_req: many keys",
            "location / { limit_req zone=one burst=1 nodelay; limit_req_status 429; proxy_pass http://{up1}; }",
            before: "limit_req_zone $http_x_key zone=one:1m rate=1r/m;",
            isTimed: true,
            (0..<60).map { Self.burst("key \($0 % 20)", 2, "/", ["X-Key: k\($0 % 20)"]) }
        ),
        .server(
            "limit_req: inheritance and internal redirects",
            """
            limit_req zone=one;
            location / { proxy_pass http://{up1}; }
            location /before { return 200 "before the limit"; }
            location /own { limit_req zone=two; proxy_pass http://{up2}; }
            location /off { limit_req_dry_run on; proxy_pass http://{up3}; }
            location /rewritten { rewrite ^ /own last; }
            """,
            before:
                "limit_req_zone $binary_remote_addr zone=one:1m rate=30r/m; limit_req_zone $binary_remote_addr zone=two:1m rate=30r/m;",
            isTimed: true,
            [
                Self.burst("/", 3, "/"), Self.burst("/before", 3, "/before"), Self.burst("/own", 3, "/own"),
                Self.burst("/off", 3, "/off"),
                Self.burst("/rewritten", 3, "/rewritten"),
            ]
        ),
        .server(
            "limit_conn",
            "limit_conn_status 429; location / { limit_conn one 2; proxy_pass http://{up1}; } location /free { proxy_pass http://{up1}; }",
            before: "limit_conn_zone $binary_remote_addr zone=one:1m;",
            (0..<8).map { number in
                let held = Request.get("/held", "X-Script: slow-start").bytes
                return Exchange(
                    "held \(number)",
                    [
                        .send(1, held), .received(1), .send(2, held), .received(2),
                        .send(3, Request.get("/third").bytes), .answer(3),
                        .send(4, Request.get("/free").bytes), .answer(4), .open(5, from: "127.0.0.3"),
                        .send(5, Request.get("/else").bytes), .answer(5),
                        .answer(1), .answer(2), .send(3, Request.get("/now").bytes), .answer(3),
                    ]
                )
            }
        ),
        .server(
            "limit_conn: two limits",
            "limit_conn server 3; limit_conn key 1; location / { proxy_pass http://{up1}; }",
            before: "limit_conn_zone $server_name zone=server:1m; limit_conn_zone $arg_key zone=key:1m;",
            ["a", "b", ""].map { key in
                let held = Request.get("/?key=\(key)", "X-Script: slow-start").bytes
                return Exchange(
                    "key \(key)",
                    [
                        .send(1, held), .received(1), .send(2, Request.get("/?key=\(key)").bytes), .answer(2),
                        .send(3, Request.get("/?key=z").bytes), .answer(3), .answer(1),
                    ]
                )
            }
        ),
    ]

    private static let credentials: [String] =
        Self.basic + [
            "Authorization: Basic", "Authorization: Basic !!!", "Authorization: Bearer x",
            "Authorization: basic " + Self.base64("ann:secret"), "X-No: a",
        ]

    private static let basic: [String] = [
        "ann:secret", "bob:secret", "cid:secret", "ann:wrong", "nobody:secret", "ann:", ":secret", "ann",
    ].map {
        "Authorization: Basic " + Self.base64($0)
    }

    private static let sources = ["127.0.0.1", "127.0.0.2", "127.0.1.1", "127.1.0.1", "127.9.9.9"]

    private static func everyone(_ paths: [String], _ fields: [String] = ["X-No: a"]) -> [Exchange] {
        paths.flatMap { path in Self.sources.flatMap { source in fields.map { Self.from(source, .get(path, $0)) } } }
    }

    static let access: [Scenario] = [
        .server(
            "allow and deny",
            """
            location / {
                allow 127.0.0.1;
                deny 127.0.0.0/24;
                allow 127.0.0.0/16;
                deny all;
                proxy_pass http://{up1};
            }
            location /up/ { deny 127.0.0.2; proxy_pass http://{up1}; }
            location /none/ { deny all; proxy_pass http://{up1}; }
            location /own/ { allow all; location /own/deep/ { proxy_pass http://{up1}; } proxy_pass http://{up1}; }
            location /six/ { allow ::1; deny all; proxy_pass http://{up1}; }
            location /page/ { error_page 403 /sorry; deny all; }
            location /sorry { allow all; return 200 sorry; }
            location /list/ { allow 10.0.0.0/8; allow 127.0.1.0/24; deny all; proxy_pass http://{up1}; }
            """,
            Self.everyone(["/", "/up/a", "/none/a", "/own/a", "/own/deep/a", "/six/a", "/page/a", "/list/a"])
        ),
        .server(
            "allow and deny: from outside",
            "deny 127.0.0.2; allow all;\nlocation / { proxy_pass http://{up1}; }\nlocation /own { deny 127.0.1.1; proxy_pass http://{up1}; }\nlocation /return { return 200 a; }",
            Self.everyone(["/", "/own", "/return"])
        ),
        .server(
            "auth_basic",
            """
            auth_basic "the realm"; auth_basic_user_file {folder}/users;
            location / { proxy_pass http://{up1}; }
            location /off/ { auth_basic off; proxy_pass http://{up1}; }
            location /other/ { auth_basic "other \\"quoted\\""; proxy_pass http://{up1}; }
            location /user/ {
                proxy_set_header X-User $remote_user;
                proxy_set_header Authorization "";
                proxy_pass http://{up1};
            }
            location /return/ { return 200 a; }
            """,
            files: ["users": Self.users],
            ["/", "/off/a", "/other/a", "/user/a", "/return/a"].flatMap { path in
                Self.credentials.flatMap { credential in
                    ["GET", "POST"].map { Exchange(Request($0, path, [credential], body: $0 == "POST" ? "body" : "")) }
                }
            }
        ),
        .server(
            "satisfy",
            """
            auth_basic realm; auth_basic_user_file {folder}/users;
            location /any/ { satisfy any; allow 127.0.0.1; deny all; proxy_pass http://{up1}; }
            location /all/ { satisfy all; allow 127.0.0.1; deny all; proxy_pass http://{up1}; }
            """,
            files: ["users": Self.users],
            Self.everyone(["/any/a", "/all/a"], Array(Self.credentials.prefix(4)) + ["X-No: a"])
        ),
        .server(
            "real_ip",
            """
            set_real_ip_from 127.0.0.1; set_real_ip_from 10.0.0.0/8;
            location /one/ {
                real_ip_header X-Real-IP;
                deny 192.0.2.1;
                proxy_set_header X-Seen "$remote_addr $realip_remote_addr";
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                proxy_pass http://{up1};
            }
            location /list/ {
                real_ip_header X-Forwarded-For;
                proxy_set_header X-Seen $remote_addr;
                proxy_pass http://{up1};
            }
            location /deep/ {
                real_ip_header X-Forwarded-For;
                real_ip_recursive on;
                proxy_set_header X-Seen $remote_addr;
                proxy_pass http://{up1};
            }
            """,
            Self.everyone(
                ["/one/a", "/list/a", "/deep/a"],
                [
                    "X-No: a", "X-Real-IP: 192.0.2.1", "X-Real-IP: 192.0.2.2", "X-Real-IP: bad",
                    "X-Real-IP: 2001:db8::1", "X-Real-IP: 192.0.2.2:80",
                    "X-Forwarded-For: 192.0.2.3", "X-Forwarded-For: 192.0.2.3, 10.0.0.1",
                    "X-Forwarded-For: 192.0.2.3,192.0.2.4 , 10.1.1.1",
                    "X-Forwarded-For: 10.0.0.1, 10.0.0.2", "X-Forwarded-For: unknown, 10.0.0.2", "X-Forwarded-For:",
                ]
            )
        ),
    ]

    /// The password is `secret`: in the clear, as SHA-1, and as Apache's MD5.
    private static let users =
        "ann:{PLAIN}secret\n# nobody\nbob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\ncid:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0\n"

    private static func base64(_ text: String) -> String { Data(text.utf8).base64EncodedString() }
}
