/// What an upstream does with one request.
///
/// A request names its script in the header `X-Script`, one for every instance (`X-Script: silent`) or by instance
/// (`X-Script: up1=silent, up2=status-503`); without one, the upstream says what it got.
struct Script: Sendable {
    enum Framing: Sendable {
        case length
        case chunked(trailer: String = "")
        /// The end of the connection is the end of the body.
        case close
    }

    enum Step: Sendable {
        /// A whole answer, without its body where HTTP has none. `{name}`, `{line}`, `{body}` and `{target}` stand for
        /// the instance, the request line, the body that came, and the target.
        case answer(_ status: String, _ fields: [String] = [], _ body: String = "", Framing = .length)
        /// Bytes as they are.
        case raw(String)
        case bytes(count: Int)
        case wait(milliseconds: Int)
        case closeWriting
        case close
        case reset
        /// From here on whatever comes goes back, until the peer ends.
        case echo
    }

    var steps: [Step]
    /// Whether it begins as soon as the head is there, and not after the body.
    var isEarly = false

    init(_ steps: Step..., isEarly: Bool = false) {
        self.steps = steps
        self.isEarly = isEarly
    }

    /// With addresses for `{up1}` and the like in its fields.
    func placed(_ ports: [String: Int]) -> Script {
        var script = self
        script.steps = self.steps.map { step in
            guard case .answer(let status, let fields, let body, let framing) = step else { return step }
            let placed = fields.map { field in
                ports.reduce(field) { $0.replacing("{\($1.key)}", with: "127.0.0.1:\($1.value)") }
            }
            return .answer(status, placed, body, framing)
        }
        return script
    }

    static let saying = Script(.answer("200 OK", ["Content-Type: text/plain"], "{name} {line}\n"))

    static func named(_ name: String, in own: [String: Script]) -> Script {
        if let script = own[name] ?? Self.library[name] { return script }
        if name.hasPrefix("status-") {
            return Script(.answer("\(name.dropFirst(7)) Said", ["Content-Type: text/plain"], "{name} \(name)\n"))
        }
        return Script(.answer("599 No Such Script", [], name))
    }

    static let library: [String: Script] = [
        "say": .saying,
        "body": Script(.answer("200 OK", ["Content-Type: text/plain"], "{body}")),
        "chunked": Script(.answer("200 OK", ["Content-Type: text/plain"], "{name} in chunks, {line}", .chunked())),
        "trailer": Script(.answer("200 OK", ["Trailer: X-Sum"], "with a sum", .chunked(trailer: "X-Sum: 7\r\n"))),
        "to-the-end": Script(.answer("200 OK", ["Content-Type: text/plain"], "{name} until it closes", .close)),
        "empty": Script(.answer("200 OK")),
        "no-content": Script(.raw("HTTP/1.1 204 No Content\r\nX-Up: a\r\n\r\n")),
        "not-modified": Script(.raw("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nX-Up: a\r\n\r\n")),
        "large": Script(
            .answer("200 OK", ["Content-Type: text/plain"], String(repeating: "0123456789abcdef", count: 8_192))
        ),
        "large-chunked": Script(
            .answer("200 OK", [], String(repeating: "0123456789abcdef", count: 8_192), .chunked())
        ),
        "silent": Script(.wait(milliseconds: 1_500), .close),
        "closes": Script(.close),
        "resets": Script(.reset),
        "half-head": Script(.raw("HTTP/1.1 200 OK\r\nContent-Le"), .close),
        "half-head-silent": Script(.raw("HTTP/1.1 200 OK\r\nContent-Le"), .wait(milliseconds: 1_500), .close),
        "half-head-reset": Script(.raw("HTTP/1.1 200 OK\r\nContent-Le"), .wait(milliseconds: 30), .reset),
        "half-body": Script(.raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234"), .close),
        "half-body-silent": Script(
            .raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234"),
            .wait(milliseconds: 1_500),
            .close
        ),
        "half-chunks": Script(.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n"), .close),
        "bad-chunks": Script(
            .raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n01234\r\n0\r\n\r\n"),
            .close
        ),
        "too-much-body": Script(.raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n0123456789"), .close),
        "garbage": Script(.raw("this is not HTTP at all\r\n\r\n"), .close),
        "garbage-header": Script(
            .raw("HTTP/1.1 200 OK\r\nno colon here\r\nX-Up: a\r\nContent-Length: 2\r\n\r\nok"),
            .close
        ),
        "http-1.0": Script(.raw("HTTP/1.0 200 OK\r\nX-Up: a\r\n\r\nold"), .close),
        "no-reason": Script(.raw("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok")),
        "own-reason": Script(.raw("HTTP/1.1 200 All is well\r\nContent-Length: 2\r\n\r\nok")),
        "odd-status": Script(.raw("HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok")),
        "continue": Script(.raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), .close),
        "early-hints": Script(
            .raw("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            .close
        ),
        "two-lengths": Script(.raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"), .close),
        "bad-length": Script(.raw("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"), .close),
        "length-and-chunks": Script(
            .raw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
            .close
        ),
        "says-close": Script(.answer("200 OK", ["Connection: close"], "last"), .close),
        "closes-idle": Script(.answer("200 OK", [], "then it closes"), .close),
        "early": Script(.answer("200 OK", [], "before the body"), isEarly: true),
        "early-refusal": Script(.answer("413 Too Large", ["Connection: close"], "no more"), .close, isEarly: true),
        "slow-start": Script(.wait(milliseconds: 60), .answer("200 OK", [], "{name} after a while")),
        "slow-body": Script(
            .raw("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n01"),
            .wait(milliseconds: 60),
            .raw("23")
        ),
        "huge-header": Script(.answer("200 OK", ["X-Huge: " + String(repeating: "h", count: 100_000)], "ok")),
        "header-3k": Script(.answer("200 OK", ["X-Large: " + String(repeating: "h", count: 3_000)], "ok")),
        "header-5k": Script(.answer("200 OK", ["X-Large: " + String(repeating: "h", count: 5_000)], "ok")),
        "upgrade": Script(
            .raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            .echo
        ),
        "fields": Script(
            .answer(
                "200 OK",
                [
                    "Server: theirs", "Date: Mon, 01 Jan 2024 00:00:00 GMT", "X-Up: a", "X-Up: b", "x-lower: c",
                    "X-Pad: p", "X-Powered-By: up", "Set-Cookie: a=1; Path=/in/", "Set-Cookie: b=2; Domain=in.test",
                    "Cache-Control: no-cache", "Cache-Control: private", "Vary: Accept", "ETag: \"v1\"",
                    "Last-Modified: Mon, 01 Jan 2024 00:00:00 GMT", "Keep-Alive: timeout=5", "Content-Language: en",
                    "WWW-Authenticate: Basic realm=\"up\"", "Expires: Mon, 01 Jan 2024 00:00:00 GMT",
                    "Accept-Ranges: bytes",
                ],
                "fields"
            )
        ),
    ]
}
