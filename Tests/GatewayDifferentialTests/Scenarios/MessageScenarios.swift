/// The rules of HTTP/1 itself: what is malformed, how bodies are framed, how connections go on.
enum MessageScenarios {
    /// Whatever an upstream does, no test waits a minute for it.
    private static let patience = "proxy_read_timeout 1s;\n"
    private static let proxy = "location / { proxy_pass http://{up1}; }"
    private static let modern =
        "location / { proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_pass http://group; }"
    private static let group = "upstream group { server {up1}; keepalive 4; }"

    static let all: [Scenario] = [
        .server("malformed requests", Self.proxy + "\nlocation /ok { return 200 ok; }", MalformedRequests.all),
        .server(
            "malformed requests: in small pieces",
            Self.proxy,
            MalformedRequests.all.enumerated().map { number, exchange in
                guard case .send(_, let bytes)? = exchange.steps.first, bytes.count < 3_000 else { return exchange }
                let at = bytes.count * (1 + number % 7) / 8
                return Exchange(
                    exchange.label + " (in two)",
                    [
                        .send(1, Bytes(bytes[..<at])), .pause(milliseconds: 2), .send(1, Bytes(bytes[at...])),
                        .answer(1),
                    ]
                )
            }
        ),
        .server(
            "large heads",
            "client_header_buffer_size 256;\nlarge_client_header_buffers 2 1k;\n" + Self.proxy,
            Self.large(256, 1_024, 2)
        ),
        .server("large heads: by default", Self.proxy, Self.large(1_024, 8_192, 4)),
        .server(
            "bodies",
            "client_max_body_size 2k;\n" + Self.proxy + """

                location /none/ { client_max_body_size 0; proxy_pass http://{up1}; }
                location /small/ { client_max_body_size 10; proxy_pass http://{up2}; }
                location /buffer/ { client_max_body_size 1m; client_body_buffer_size 1k; proxy_pass http://{up1}; }
                location /stream/ {
                    client_max_body_size 1m;
                    proxy_request_buffering off;
                    proxy_http_version 1.1;
                    proxy_pass http://{up1};
                }
                location /stream-1.0/ { client_max_body_size 1m; proxy_request_buffering off; proxy_pass http://{up1}; }
                location /return/ { return 200 returned; }
                """,
            Self.bodies
        ),
        .server(
            "Expect",
            Self.proxy
                + "\nlocation /text { return 200 text; }\nlocation /small { client_max_body_size 3; proxy_pass http://{up1}; }",
            Self.expect
        ),
        .server("answers of all kinds, HTTP/1.0 to the upstream", Self.patience + Self.proxy, Self.everyScript),
        .server(
            "answers of all kinds, HTTP/1.1 to the upstream",
            Self.patience + Self.modern,
            before: Self.group,
            Self.everyScript
        ),
        .server(
            "answers of all kinds, without buffering",
            Self.patience + "proxy_buffering off;\n" + Self.modern,
            before: Self.group,
            Self.everyScript
        ),
        .server("old clients", Self.modern + "\nlocation /text { return 200 text; }", before: Self.group, Self.old),
        .server(
            "pipelining",
            Self.modern + "\nlocation /text { return 200 text; }",
            before: Self.group,
            Self.pipelined
        ),
        .server(
            "keepalive: off",
            "keepalive_timeout 0;\n" + Self.modern,
            before: Self.group,
            Variants.all(["/a"], more: 30)
        ),
        .server(
            "keepalive: three requests a connection",
            "keepalive_requests 3;\n" + Self.modern,
            before: Self.group,
            Variants.all(["/a"], more: 40)
        ),
        .server(
            "keepalive: idle for a while",
            "keepalive_timeout 150ms;\n" + Self.proxy,
            isTimed: true,
            [
                Exchange("idle", [.send(1, Request.get("/a").bytes), .answer(1), .ended(1)]),
                Exchange(
                    "idle before the first",
                    [.open(1, from: "127.0.0.1"), .send(1, Request.get("/a").bytes), .answer(1), .ended(1)]
                ),
            ]
        ),
        .server(
            "half closed, reset, gone",
            Self.proxy + "\nlocation /on/ { proxy_ignore_client_abort on; proxy_pass http://{up1}; }",
            Self.gone
        ),
    ]

    private static func large(_ first: Int, _ buffer: Int, _ count: Int) -> [Exchange] {
        let sizes = [
            first - 60, first, buffer - 100, buffer - 30, buffer - 10, buffer - 1, buffer, buffer + 1, buffer + 200,
            buffer * count, buffer * 9,
        ]
        return sizes.flatMap { size -> [Exchange] in
            let text = String(repeating: "x", count: max(1, size))
            let lines = max(1, size / 100)
            return [
                .raw("URI \(size)", "GET /\(text) HTTP/1.1\r\nHost: t\r\n\r\n"),
                .raw("query \(size)", "GET /a?\(text) HTTP/1.1\r\nHost: t\r\n\r\n"),
                .raw("value \(size)", "GET /a HTTP/1.1\r\nHost: t\r\nX-A: \(text)\r\nX-B: b\r\n\r\n"),
                .raw("name \(size)", "GET /a HTTP/1.1\r\nHost: t\r\nX-\(text): a\r\n\r\n"),
                .raw("Host \(size)", "GET /a HTTP/1.1\r\nHost: \(text)\r\n\r\n"),
                .raw(
                    "fields \(size)",
                    "GET /a HTTP/1.1\r\nHost: t\r\n"
                        + (0..<lines).map { "X-\($0 + 100): " + String(text.prefix(90)) + "\r\n" }.joined() + "\r\n"
                ),
                .raw("two fields \(size)", "GET /a HTTP/1.1\r\nX-A: \(text)\r\nX-B: \(text)\r\nHost: t\r\n\r\n"),
            ]
        }
    }

    private static let bodies: [Exchange] = {
        let paths = ["/a", "/none/a", "/small/a", "/buffer/a", "/stream/a", "/stream-1.0/a", "/return/a"]
        var result: [Exchange] = []
        for path in paths {
            for size in [0, 1, 9, 10, 11, 1_000, 2_047, 2_048, 2_049, 5_000, 40_000, 200_000] {
                let body = String(repeating: "b", count: size)
                // Who is refused may see the end before the answer; what it was is the same.
                let isStreamed = path.hasPrefix("/stream")
                result.append(
                    Exchange(
                        Request("POST", path, ["X-Script: body"], body: body),
                        comparing: isStreamed ? [.answers, .received, .bodies, .inOrder] : [.all, .inOrder]
                    )
                )
                let parts = stride(from: 0, to: size, by: 700).map {
                    String(repeating: "c", count: min(700, size - $0))
                }
                var chunked = Exchange(Request.chunked("PUT", path, ["X-Script: body"], parts))
                chunked.label += " \(size) in chunks"
                result.append(chunked)
            }
            result.append(
                Exchange(
                    path + " in pieces",
                    [
                        .send(
                            1,
                            Bytes("POST \(path) HTTP/1.1\r\nHost: t\r\nX-Script: body\r\nContent-Length: 9\r\n\r\n012")
                        ), .pause(milliseconds: 3),
                        .send(1, Bytes("345")), .pause(milliseconds: 3), .send(1, Bytes("678")), .answer(1),
                    ]
                )
            )
            result.append(
                Exchange(
                    path + " chunks in pieces",
                    [
                        .send(
                            1,
                            Bytes(
                                "POST \(path) HTTP/1.1\r\nHost: t\r\nX-Script: body\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n01"
                            )
                        ), .pause(milliseconds: 3),
                        .send(1, Bytes("23\r")), .pause(milliseconds: 3), .send(1, Bytes("\n5\r\n45678\r\n0\r\n\r\n")),
                        .answer(1),
                    ]
                )
            )
        }
        return result
    }()

    private static let expect: [Exchange] = ["/a", "/text", "/small"].flatMap { path -> [Exchange] in
        let head = "POST \(path) HTTP/1.1\r\nHost: t\r\nX-Script: body\r\n"
        return [
            Exchange(
                "\(path) waits for 100",
                [
                    .send(1, Bytes(head + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")),
                    .pause(milliseconds: 20), .send(1, Bytes("hello")), .answer(1),
                ]
            ),
            .raw("\(path) does not wait", head + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"),
            .raw("\(path) in capitals", head + "Expect: 100-Continue\r\nContent-Length: 5\r\n\r\nhello"),
            .raw("\(path) unknown", head + "Expect: something\r\nContent-Length: 5\r\n\r\nhello"),
            .raw("\(path) without a body", head + "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"),
            .raw("\(path) HTTP/1.0", "POST \(path) HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"),
            Exchange(
                "\(path) chunked",
                [
                    .send(1, Bytes(head + "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")),
                    .pause(milliseconds: 20), .send(1, Bytes("5\r\nhello\r\n0\r\n\r\n")), .answer(1),
                ]
            ),
        ]
    }

    private static let everyScript: [Exchange] = {
        let own = ["silent", "half-head-silent", "half-body-silent", "upgrade", "continue", "early-hints"]
        let names = Script.library.keys.sorted().filter { !own.contains($0) }
        let answers = names.flatMap { name in
            // To HEAD, an answer of HTTP/0.9 is nothing at all.
            (name == "garbage" ? ["GET", "POST"] : ["GET", "HEAD", "POST"]).map { method in
                let isEarly = name.hasPrefix("early-")
                let request = Request(method, "/\(name)", ["X-Script: \(name)"], body: method == "POST" ? "body" : "")
                return Exchange(request, comparing: isEarly ? [.answers, .bodies] : [.all, .inOrder])
            }
        }
        let interim = ["continue", "early-hints"].map { name in
            let request = Request.get("/\(name)", "X-Script: \(name)", "Connection: close")
            return Exchange("interim: \(name)", [.send(1, request.bytes), .ended(1)])
        }
        return answers + interim
    }()

    private static let old: [Exchange] = {
        var variants = Variants(seed: 11)
        let scripts = [
            "say", "chunked", "to-the-end", "no-content", "not-modified", "large", "large-chunked", "fields", "trailer",
        ]
        return (0..<150).map { _ in
            let fields = variants.pick([
                [], ["Connection: keep-alive"], ["Connection: close"], ["Host: t.test", "Connection: Keep-Alive"],
            ])
            let request = Request(
                variants.pick(["GET", "HEAD", "POST"]),
                variants.pick(["/a", "/text"]),
                fields + ["X-Script: \(variants.pick(scripts))"],
                version: "HTTP/1.0"
            )
            return Exchange(request)
        }
    }()

    private static let pipelined: [Exchange] = {
        var variants = Variants(seed: 12)
        let scripts = ["say", "chunked", "no-content", "not-modified", "slow-start", "status-404", "body"]
        return (0..<60).map { number in
            let requests = (0..<(2 + variants.below(6))).map { index -> Request in
                let method = variants.pick(["GET", "HEAD", "POST"])
                let body = method == "POST" ? String(repeating: "p", count: variants.below(50)) : ""
                return Request(
                    method,
                    variants.pick(["/p\(index)", "/text"]),
                    ["X-Script: \(variants.pick(scripts))"],
                    body: body
                )
            }
            let bytes = requests.flatMap(\.bytes)
            return Exchange(
                "pipeline \(number)",
                [.send(0, bytes)] + requests.map { .answer(0, toHead: $0.method == "HEAD") }
            )
        }
    }()

    private static let gone: [Exchange] = ["/a", "/on/a"].flatMap { path -> [Exchange] in
        let slow = Request("GET", path, ["X-Script: slow-start"]).bytes
        var result = [
            Exchange(
                "\(path) half closed before the answer",
                [.send(1, slow), .received(1), .closeWriting(1), .ended(1)]
            ),
            Exchange(
                "\(path) half a head, then closed",
                [.send(1, Bytes("GET \(path) HTTP/1.1\r\nHo")), .closeWriting(1), .ended(1)]
            ),
            Exchange(
                "\(path) half a body, then closed",
                [
                    .send(1, Bytes("POST \(path) HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n012")),
                    .closeWriting(1), .ended(1),
                ]
            ),
            Exchange(
                "\(path) half a body, then reset",
                [.send(1, Bytes("POST \(path) HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n012")), .reset(1)]
            ),
            Exchange(
                "\(path) half a chunk, then closed",
                [
                    .send(1, Bytes("POST \(path) HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n012")),
                    .closeWriting(1), .ended(1),
                ]
            ),
            Exchange("\(path) nothing at all", [.open(1, from: "127.0.0.1"), .closeWriting(1), .ended(1)]),
            Exchange("\(path) works afterwards", [.send(1, Request.get(path).bytes), .answer(1)]),
        ]
        if path == "/a" {
            let silent = Request("GET", path, ["X-Script: silent"]).bytes
            result.append(Exchange("\(path) reset while it waits", [.send(1, silent), .received(1), .reset(1), .cut]))
            result.append(Exchange("\(path) closed while it waits", [.send(1, silent), .received(1), .close(1), .cut]))
        }
        return result
    }
}
