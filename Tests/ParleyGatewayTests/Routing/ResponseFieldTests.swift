import NIOCore
import Testing

@testable import ParleyGateway

@Suite struct ResponseFieldTests {
    private static let origin = "127.0.0.1:19199"

    private static func rewriter(_ path: String) throws -> RedirectRewriter {
        func target(_ uri: Template?) -> ProxyTarget {
            ProxyTarget(scheme: .http, destination: .upstream("b"), host: Self.origin, uri: uri)
        }
        switch path {
        case "/api/x":
            return try RedirectRewriter(.standard, target: target("/base/"), match: .prefix("/api/", isFinal: false))
        case "/plain/x":
            return try RedirectRewriter(.standard, target: target(nil), match: .prefix("/plain/", isFinal: false))
        case "/re/x": return try RedirectRewriter(.standard, target: target(nil), match: .regex("^/re/"))
        case "/vars/x":
            let rule = Redirects.Rule(pattern: .prefix("http://$host:1/"), replacement: "/h/")
            return try RedirectRewriter(.rules([rule]), target: target(nil), match: .prefix("/vars/", isFinal: false))
        case "/rules/x":
            let rules = [
                Redirects.Rule(pattern: .prefix("http://other/"), replacement: "/o/"),
                Redirects.Rule(
                    pattern: .regex("^http://([^/]+)\\.internal(/.*)$"),
                    replacement: "https://$1.example$2"
                ),
                Redirects.Rule(
                    pattern: .regex(RegexModel(pattern: "^(/ABC)(.*)", ignoresCase: true)),
                    replacement: "/ci$2"
                ),
                Redirects.Rule(pattern: .standard, replacement: ""),
            ]
            return try RedirectRewriter(
                .rules(rules),
                target: target("/base/"),
                match: .prefix("/rules/", isFinal: false)
            )
        default: return try RedirectRewriter(.off, target: target(nil), match: .prefix("/", isFinal: false))
        }
    }

    private static func cookies() throws -> CookieRewriter {
        try CookieRewriter(
            domains: [
                Replacement(pattern: .text("one.example"), replacement: "two.example"),
                Replacement(pattern: .text(".dot.example"), replacement: ".three.example"),
                Replacement(pattern: .regex("\\.(\\w+)\\.internal$"), replacement: "$1.example"),
            ],
            paths: [
                Replacement(pattern: .text("/base/"), replacement: "/ck/"),
                Replacement(pattern: .regex("^/x/(.*)$"), replacement: "/y/$1"),
            ]
        )
    }

    @Test func rewritesAsNginxDoes() throws {
        var count = 0
        for line in try Facts.lines("fields") {
            let words = line.split(separator: " ").map(String.init)
            let sent = ByteBuffer(bytes: Facts.bytes(words[2]))
            let exchange = try TestExchange(Array(words[0].utf8))
            let scratch = exchange.scratch
            let received: ByteBuffer
            switch words[1] {
            case "Location":
                let rewritten = try Self.rewriter(words[0]).location(sent, in: exchange, scratch: scratch)
                received = rewritten.map { Self.absolute($0, RedirectLocation(), port: 19_303) } ?? sent
            case "Refresh": received = try Self.rewriter(words[0]).refresh(sent, in: exchange, scratch: scratch) ?? sent
            default: received = try Self.cookies().rewritten(sent, in: exchange, scratch: scratch) ?? sent
            }
            #expect(Facts.text(received.readableBytesView) == words[3], "\(line)")
            count += 1
        }
        #expect(count > 50)
    }

    @Test func makesLocationsAbsoluteAsNginxDoes() throws {
        let name = ByteBuffer(string: "first.example")
        let rules = [
            RedirectLocation(), RedirectLocation(isAbsolute: false), RedirectLocation(hasPort: false),
            RedirectLocation(serverName: name), RedirectLocation(hasPort: false, serverName: name),
        ]
        let locations = ["/": "/p", "/rel": "rel", "/dir": "/dir/", "/dir?a=b": "/dir/?a=b"]
        var count = 0
        for line in try Facts.lines("redirects") {
            let words = line.split(separator: " ").map(String.init)
            let number = Int(words[0]) ?? 0
            let authority = words[1] == "-" ? nil : ByteBuffer(string: words[1])
            let host = try authority.map { try RequestHost($0.readableBytesUInt8Span).text(of: $0) } ?? ByteBuffer()
            let location = ByteBuffer(string: try #require(locations[words[2]]))
            let found = Self.absolute(location, rules[number], host: host, port: 19_310 + number)
            #expect(String(buffer: found) == words[3], "\(line)")
            count += 1
        }
        #expect(count == 60)
    }

    @Test func leavesOutTheUsualPort() {
        let path = ByteBuffer(string: "/")
        #expect(String(buffer: Self.absolute(path, RedirectLocation(), port: 80)) == "http://gw.example/")
        #expect(
            String(buffer: Self.absolute(path, RedirectLocation(), isTLS: true, port: 443)) == "https://gw.example/"
        )
        #expect(
            String(buffer: Self.absolute(path, RedirectLocation(), isTLS: true, port: 80)) == "https://gw.example:80/"
        )
    }

    private static func absolute(
        _ location: ByteBuffer,
        _ rules: RedirectLocation,
        isTLS: Bool = false,
        host: ByteBuffer = ByteBuffer(string: "gw.example"),
        port: Int
    ) -> ByteBuffer {
        rules.absolute(location, isTLS: isTLS, host: host, localAddress: ByteBuffer(string: "127.0.0.1"), port: port)
    }

    @Test func hasNginxsPage() throws {
        let page = try #require(RedirectLocation.page(status: 301, server: "nginx/1.22.1"))
        #expect(
            String(buffer: page) == "<html>\r\n<head><title>301 Moved Permanently</title></head>\r\n<body>\r\n"
                + "<center><h1>301 Moved Permanently</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n"
                + "</html>\r\n"
        )
        #expect(RedirectLocation.page(status: 200, server: "x") == nil)
    }

    @Test(arguments: 0..<4) func takesAnyBytes(_ seed: UInt64) throws {
        var numbers = SeededNumbers(seed)
        let exchange = try TestExchange(Array("/a%20b".utf8))
        let scratch = exchange.scratch
        let cookies = try Self.cookies()
        let redirects = try Self.rewriter("/rules/x")
        let rule = try RewriteProgram([.rewrite("^(.*)$", replacement: "$1", flag: .redirect)])
        let alphabet = Array(";;==  ..%%?4f/ domain=path=url=/base/one.example".utf8) + [0, 10, 255]
        for _ in 0..<3_000 {
            let count = Int.random(in: 0...30, using: &numbers)
            let bytes = (0..<count).map { _ in alphabet.randomElement(using: &numbers) ?? 0 }
            let value = ByteBuffer(bytes: bytes)
            if let changed = cookies.rewritten(value, in: exchange, scratch: scratch) { #expect(changed != value) }
            _ = redirects.location(value, in: exchange, scratch: scratch)
            _ = redirects.refresh(value, in: exchange, scratch: scratch)
            _ = try? RequestHost(bytes.span).text(of: value)
            exchange.rewriteState.path = value
            guard case .redirect(302, let location) = rule.run(in: exchange, at: .server, scratch: scratch) else {
                // The dot matches no end of line.
                #expect(bytes.contains(10))
                continue
            }
            #expect(location.readableBytes <= 3 * value.readableBytes)
        }
        #expect(scratch.takeFailure() == nil)
    }

    @Test func escapesByItsTables() {
        func escaped(_ table: EscapeTable) -> String {
            var buffer = ByteBuffer()
            table.write(ByteBuffer(bytes: Array("a/b c?d#e%f&g+h;i\"<>é~\u{7F}".utf8)).readableBytesView, into: &buffer)
            return String(buffer: buffer)
        }
        #expect(escaped(.uri) == "a/b%20c%3Fd%23e%25f&g+h;i%22%3C%3E%C3%A9~%7F")
        #expect(escaped(.args) == "a/b%20c%3Fd%23e%25f%26g%2Bh%3Bi%22%3C%3E%C3%A9~%7F")
        #expect(escaped(.target) == "a/b%20c?d#e%f&g+h;i\"<>é~%7F")
        var html = ByteBuffer()
        HTMLText.write(ByteBuffer(string: "<a href=\"x\">&é").readableBytesView, into: &html)
        #expect(String(buffer: html) == "&lt;a href=&quot;x&quot;&gt;&amp;é")
    }
}
