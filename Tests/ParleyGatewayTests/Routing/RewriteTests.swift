import NIOCore
import Testing

@testable import ParleyGateway

/// A server as `nginx` was given it, run on the machines as an exchange does.
private struct TestServer {
    var rewrites: [RewriteStep] = []
    var locations: [LocationModel] = []

    /// Status, location and text, as the facts have them.
    func answer(_ target: [UInt8], port: Int) throws -> String {
        guard let exchange = try? TestExchange(target, map: MapTable(Self.map)) else { return "400 - <page>" }
        let scratch = exchange.scratch
        let program = try RewriteProgram(self.rewrites)
        let first = program.run(in: exchange, at: .server, scratch: scratch)
        if first != .next { return Self.text(first, port: port) }
        let table = try LocationTable(self.locations)
        while true {
            var variables = exchange.rewriteState.variables
            let path = exchange.rewriteState.path
            guard let found = table.find(path, head: RequestHead(), scratch: scratch, variables: &variables) else {
                return "404 - <page>"
            }
            exchange.rewriteState.variables = variables
            let location = table.locations[found.index]
            if found.lacksSlash {
                let redirect = table.slashRedirect(to: found.index, args: exchange.rewriteState.args)
                return Self.text(.redirect(status: 301, location: redirect), port: port)
            }
            let result = try RewriteProgram(location.rewrites).run(in: exchange, at: .location, scratch: scratch)
            if result == .relocate { continue }
            if result != .next { return Self.text(result, port: port) }
            guard case .proxy(let target) = location.action else { return "404 - <page>" }
            var uri = ByteBuffer()
            UpstreamURI(target, match: location.match)
                .write(into: &uri, state: exchange.rewriteState, rawTarget: exchange.target, scope: exchange)
            return "200 - >" + Facts.text(uri.readableBytesView)
        }
    }

    private static var map: MapModel {
        let entry = MapModel.Entry(key: .regex("^(x+)"), value: "m$1")
        return MapModel(source: "$arg_m", variable: "mapped", entries: [entry], fallback: "d")
    }

    private static func text(_ result: RewriteResult, port: Int) -> String {
        switch result {
        case .next, .relocate: return "\(result)"
        case .respond(let status, nil): return "\(status) - <page>"
        case .respond(let status, let text?): return "\(status) - \(Facts.text(text.readableBytesView))"
        case .redirect(let status, let location):
            let absolute = RedirectLocation().absolute(
                location,
                isTLS: false,
                host: ByteBuffer(string: "gw.example"),
                localAddress: ByteBuffer(string: "127.0.0.1"),
                port: port
            )
            return "\(status) \(Facts.text(absolute.readableBytesView)) <page>"
        case .failed: return "500 - <page>"
        case .close: return "444 - \"\""
        }
    }
}

private func rewrite(_ regex: RegexModel, _ to: Template, _ flag: RewriteStep.Flag = .none) -> RewriteStep {
    .rewrite(regex, replacement: to, flag: flag)
}

private func set(_ variable: String, _ value: Template) -> RewriteStep { .set(variable: variable, value: value) }

private func answer(_ status: Int, _ text: Template? = nil) -> RewriteStep {
    .respond(FixedResponse(status: status, text: text))
}

/// - Parameter proxy: The part behind host and port.
private func location(
    _ match: LocationModel.Match,
    _ rewrites: [RewriteStep] = [],
    proxy: Template? = nil,
    variables: Template? = nil,
    isProxied: Bool = true
) -> LocationModel {
    var location = LocationModel(match: match)
    location.rewrites = rewrites
    if isProxied {
        let destination = variables.map { _ in ProxyTarget.Destination.template("127.0.0.1:19199") } ?? .upstream("b")
        location.action = .proxy(
            ProxyTarget(scheme: .http, destination: destination, host: "b", uri: proxy ?? variables)
        )
    }
    return location
}

private func prefix(
    _ path: String,
    _ rewrites: [RewriteStep] = [],
    proxy: Template? = nil,
    variables: Template? = nil,
    isProxied: Bool = false
) -> LocationModel {
    let isProxied = isProxied || proxy != nil || variables != nil
    return location(.prefix(path, isFinal: false), rewrites, proxy: proxy, variables: variables, isProxied: isProxied)
}

private let rewriting = TestServer(locations: [
    prefix("/one", [rewrite("^/one/(.*)$", "/two/$1", .last)], isProxied: true),
    prefix("/two", isProxied: true),
    prefix("/brk", [rewrite("^/brk/(.*)$", "/x/$1", .break)], isProxied: true),
    prefix("/brkuri/", [rewrite("^/brkuri/r/(.*)$", "/x/$1", .break)], proxy: "/base/"),
    prefix("/args", [rewrite("^/args/(\\w+)/(.*)$", "/two?a=$1&b=$2", .last), answer(200, "args $uri")]),
    prefix("/argsdrop", [rewrite("^/argsdrop/(.*)$", "/two/$1?", .last)]),
    prefix("/argsnew", [rewrite("^/argsnew/(.*)$", "/two?n=$1?", .last)]),
    prefix("/red", [rewrite("^/red/(.*)$", "/two/$1", .redirect)]),
    prefix("/perm", [rewrite("^/perm/(.*)$", "/two?q=$1", .permanent)]),
    prefix("/permdrop", [rewrite("^/permdrop/(.*)$", "/two?q=$1?", .permanent)]),
    prefix("/abs", [rewrite("^/abs/(.*)$", "http://other.example/$1")]),
    prefix("/sch", [rewrite("^/sch/(.*)$", "$scheme://other/$1")]),
    prefix("/loop", [rewrite("^/loop(.*)$", "/loop$1a", .last)]),
    prefix("/ten", [rewrite("^/ten/x{10}$", "/two/end", .last), rewrite("^/ten/(x*)$", "/ten/x$1", .last)]),
    prefix(
        "/noflag",
        [rewrite("^/noflag/(.*)$", "/nf2/$1"), rewrite("^/nf2/(.*)$", "/two/again/$1"), set("n", "$1")],
        isProxied: true
    ),
    location(.regex("^/cap/(.*)$"), [set("v", "<$1>"), answer(200, "$v|$1")], isProxied: false),
    location(
        .regex("^/capr/(.*)$"),
        [
            set("v1", "<$1>"), rewrite("^/capr/(.*)$", "/two/$1?r=$1"), set("v2", "<$1>"),
            answer(200, "$v1|$v2|$uri|$args"),
        ],
        isProxied: false
    ),
    prefix(
        "/if",
        [
            set("r", "none"), .when(.equals("$arg_x", "1"), [set("r", "one")]),
            .when(.differs("$arg_x", "1"), [set("r", "$r-not")]), .when(.isTrue("$arg_y"), [set("r", "$r-y")]),
            .when(.matches("$uri", "^/if/(.+)$"), [set("r", "$r-$1")]),
            .when(.matchesNot("$uri", RegexModel(pattern: "ABC", ignoresCase: true)), [set("r", "$r-noabc")]),
            answer(200, "$r"),
        ]
    ),
    prefix(
        "/if2",
        [
            .when(.matches("$arg_x", "(z+)"), [answer(403)]), .when(.isTrue("$arg_x"), [answer(302, "/two/$arg_x")]),
            .when(.equals("$uri", "/if2/break"), [.stop]), answer(404, "text <$1> $uri"),
        ]
    ),
    prefix("/r200", [answer(200)]),
    prefix("/r204", [answer(204)]),
    prefix("/r301", [answer(301, "/a")]),
    prefix("/r302", [answer(302)]),
    prefix("/r403", [answer(403)]),
    prefix("/r404t", [answer(404, "t $uri")]),
    prefix("/r308", [answer(308, "$scheme://$host$request_uri")]),
    prefix("/r307", [answer(307, "/x$is_args$args")]),
    prefix("/r303", [answer(303, "relative")]),
    prefix("/r444", [answer(444)]),
    prefix("/r503t", [answer(503)]),
    prefix("/sa", [set("args", "z=1")], isProxied: true),
    location(.regex("^/nc/(?<who>[^/]+)/(?<rest>.*)$"), [answer(200, "$who|$rest|$1")], isProxied: false),
    prefix("/rn", [rewrite("^/rn/(?<who>.*)$", "/two/$who/$who", .last)]),
    prefix("/em", [rewrite("^/em(.*)$", "$1", .last)]),
    location(
        .regex("^/cl/(.*)$"),
        [.when(.matches("$arg_q", "zzz"), [set("u", "1")]), answer(200, "<$1>")],
        isProxied: false
    ),
    location(
        .regex("^/ncl/(.*)$"),
        [.when(.matches("$arg_q", "z+"), [set("u", "1")]), answer(200, "<$1>")],
        isProxied: false
    ),
    prefix("/stop", [rewrite("^/stop/(.*)$", "/two/$1"), .stop, rewrite("^", "/never")], proxy: "/base/"),
    prefix("/mp", [set("w", "$mapped"), answer(200, "$w|$1")]),
    prefix("/chain/", [rewrite("^/chain/(.)(.*)$", "/chain/$2"), rewrite("^/chain/$", "/two/done", .last)]),
    location(
        .exact("/argi"),
        [answer(200, "$arg_a|$arg_B|$arg_a-b|$args")],
        isProxied: false
    ),
    prefix("/set", [set("k", "a"), set("k", "$k$k"), set("k", "$k$k"), answer(200, "$k")]),
    prefix("/ra", [rewrite("^/ra/(.*)$", "/two/x?u=$uri&a=$arg_a&c=$1", .last)]),
    prefix("/rq", [rewrite("^/rq/(.*)$", "/two/%41%20$1%3fx%2fy", .redirect)]),
    prefix("/rq2", [rewrite("^/rq2/(.*)$", "/t wo/$1?k=%41#f", .redirect)]),
])

private let serverRules = TestServer(
    rewrites: [
        rewrite("^/old/(.*)$", "/new/$1"), set("sv", "s"), .when(.isTrue("$arg_maint"), [answer(503)]),
        rewrite("^/br/(.*)$", "/new/b/$1", .break), rewrite("^/br.*$", "/never"),
        rewrite("^/go/(.*)$", "https://x.example/$1?q", .permanent),
    ],
    locations: [prefix("/new/", proxy: "/base/"), prefix("/", [answer(200, "root $uri $sv")])]
)

private let proxying = TestServer(locations: [
    prefix("/api/", proxy: "/"), prefix("/api2", proxy: "/"), prefix("/pre/", proxy: "/base"),
    prefix("/no", isProxied: true), location(.exact("/exact"), proxy: "/other"), prefix("/q/", proxy: "/base?x=y"),
    location(.regex("^/re/")), location(.regex("^/var/(.*)$"), variables: "/v/$1"),
    prefix("/var2", [set("p", "")], variables: "$p"), prefix("/var3", variables: "?v=$arg_v"),
    prefix("/var4", variables: "$request_uri"), prefix("/var5", variables: "$uri$is_args$args"),
])

@Suite struct RewriteTests {
    @Test func answersAsNginxDoes() throws {
        let servers = [rewriting, serverRules, proxying]
        var count = 0
        for line in try Facts.lines("rewrites") {
            let words = line.split(separator: " ", maxSplits: 2).map(String.init)
            let number = Int(words[0]) ?? 0
            // A space that a rule has decoded is escaped on the way to the upstream; nginx lets it through.
            let isSent = words[2].hasPrefix("200 - >")
            let expected = isSent ? words[2].replacing("\\x20", with: "%20") : words[2]
            let found = try servers[number].answer(Facts.bytes(words[1]), port: 19_300 + number)
            #expect(found == expected, "\(line)")
            count += 1
        }
        #expect(count > 600)
    }

    @Test func controlCharactersDoNotLeaveAFieldOrALine() throws {
        let injected = Array("/x/%0d%0aSet-Cookie:a=b%20HTTP/1.1".utf8)
        let redirecting = TestServer(locations: [prefix("/", [answer(302, "$uri")])])
        #expect(
            try redirecting.answer(injected, port: 80)
                == "302 http://gw.example/x/%0D%0ASet-Cookie:a=b\\x20HTTP/1.1 <page>"
        )
        let sending = TestServer(locations: [prefix("/", [], variables: "$uri")])
        #expect(try sending.answer(injected, port: 80) == "200 - >/x/%0D%0ASet-Cookie:a=b%20HTTP/1.1")
        let arguments = TestServer(locations: [prefix("/", [set("args", "$uri")], isProxied: true)])
        #expect(try arguments.answer(Array("/a%0ab".utf8), port: 80) == "200 - >/a%0Ab?/a%0Ab")
    }

    @Test func valuesThatDoubleInACircleEnd() throws {
        let doubling = [RewriteStep](repeating: set("a", "$a$a"), count: 30)
        let exchange = try TestExchange(Array("/".utf8))
        let result = try RewriteProgram([set("a", "ab")] + doubling).run(
            in: exchange,
            at: .server,
            scratch: exchange.scratch
        )
        #expect(result == .failed(.valueTooLong))
    }

    @Test func internalRedirectsAreCounted() throws {
        let exchange = try TestExchange(Array("/a%20b?c".utf8))
        for _ in 0..<RewriteState.maxChanges {
            let isAllowed = exchange.rewriteState.redirect(path: ByteBuffer(string: "/e"), args: ByteBuffer())
            #expect(isAllowed)
        }
        let isAllowed = exchange.rewriteState.redirect(path: ByteBuffer(string: "/f"), args: ByteBuffer())
        #expect(!isAllowed)
        #expect(exchange.rewriteState.path == ByteBuffer(string: "/e"))
        #expect(exchange.rewriteState.isInternal)
    }

    @Test func wholeSegmentsAreReplaced() throws {
        func sent(_ target: String, as uri: Template) throws -> String {
            let exchange = try TestExchange(Array(target.utf8))
            let proxy = ProxyTarget(scheme: .http, destination: .upstream("b"), host: "b", uri: uri)
            var buffer = ByteBuffer()
            UpstreamURI(proxy, match: .segments("/api"))
                .write(into: &buffer, state: exchange.rewriteState, rawTarget: exchange.target, scope: exchange)
            return String(buffer: buffer)
        }
        #expect(try sent("/api/x?y", as: "/") == "/x?y")
        #expect(try sent("/api", as: "/") == "/")
        #expect(try sent("/api/x", as: "/v1") == "/v1/x")
    }
}
