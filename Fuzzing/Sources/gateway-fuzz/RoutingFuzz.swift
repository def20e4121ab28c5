import Foundation
import NIOCore

@testable import ParleyGateway

/// What a request's target becomes on its way through the rules.
enum RoutingFuzz {
    @Sendable static func target(_ bytes: [UInt8]) {
        let settings = bytes.first ?? 0
        let text = Array(bytes.dropFirst())
        self.address(text)
        self.host(text)
        let merges = settings & 1 == 0
        guard let uri = try? RequestURI(text.span, mergesSlashes: merges) else { return }
        let target = ByteBuffer(bytes: text)
        let path = uri.path(of: target)
        self.check(path, merges: merges)
        promise(path.readableBytes <= text.count + 1, "a path longer than its target")
        // Sent on, a service behind finds the same path: none of its rules can be got round.
        var escaped = ByteBuffer()
        EscapeTable.uri.write(path.readableBytesView, into: &escaped)
        let again = try? RequestURI(escaped.readableBytesUInt8Span, mergesSlashes: merges)
        promise(again?.path(of: escaped) == path, "escaped, it is another path")
        for index in self.proxied.indices {
            let exchange = Exchange(target, uri)
            self.forward(self.proxied[index], exchange)
        }
        for program in self.programs { self.run(program, Exchange(target, uri)) }
    }

    // MARK: Paths

    private static func check(_ path: ByteBuffer, merges: Bool) {
        let bytes = Array(path.readableBytesView)
        promise(bytes.first == UInt8(ascii: "/"), "a path without a slash")
        promise(!bytes.contains(0), "a zero byte in the path")
        let segments = bytes.dropFirst().split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        for (index, segment) in segments.enumerated() {
            promise(segment != [0x2E] && segment != [0x2E, 0x2E], "a dot segment in the path")
            if merges, index < segments.count - 1 { promise(!segment.isEmpty, "two slashes in the path") }
        }
    }

    // MARK: Rules

    /// The part of an exchange that rules see.
    private final class Exchange: RewriteScope {
        var rewriteState: RewriteState
        let target: ByteBuffer
        let scratch = RegexScratch()

        init(_ target: ByteBuffer, _ uri: RequestURI) {
            self.target = target
            self.rewriteState = RewriteState(uri, target: target)
        }

        func write(_ variable: Variable, into buffer: inout ByteBuffer) {
            if self.rewriteState.write(variable, into: &buffer) { return }
            if case .requestURI = variable { buffer.writeImmutableBuffer(self.target) }
        }
    }

    private static let proxied: [UpstreamURI] = {
        let uris: [Template?] = [nil, Template("/"), Template("/base/"), Template(parts: [.variable(.uri)])]
        let matches: [LocationModel.Match] = [.prefix("/", isFinal: false), .segments("/a"), .exact("/a")]
        return uris.flatMap { uri in
            matches.map {
                UpstreamURI(ProxyTarget(scheme: .http, destination: .upstream("u"), host: "u", uri: uri), match: $0)
            }
        }
    }()

    private static let programs: [RewriteProgram] = {
        let captured = Template(parts: [.text(Array("/b/".utf8)), .variable(.capture(1))])
        let asArgument = Template(parts: [.text(Array("/x?q=".utf8)), .variable(.capture(1))])
        let elsewhere = Template(parts: [.text(Array("https://else/".utf8)), .variable(.capture(1))])
        let steps: [[RewriteStep]] = [
            [.rewrite(RegexModel(pattern: "^/a/(.*)$"), replacement: captured, flag: .last)],
            [.rewrite(RegexModel(pattern: "^/(.+)"), replacement: asArgument, flag: .break)],
            [.rewrite(RegexModel(pattern: "(.*)"), replacement: elsewhere, flag: .permanent)],
            [
                .set(variable: "v", value: Template(parts: [.variable(.argument("q")), .variable(.uri)])),
                .when(
                    .matches(Template(parts: [.variable(.args)]), RegexModel(pattern: "a=([^&]*)")),
                    [.respond(FixedResponse(status: 302, text: captured))]
                ),
                .set(variable: "args", value: Template(parts: [.variable(.named("v"))])),
            ],
        ]
        return steps.compactMap { try? RewriteProgram($0) }
    }()

    private static func run(_ program: RewriteProgram, _ exchange: Exchange) {
        switch program.run(in: exchange, at: .location, scratch: exchange.scratch) {
        case .redirect(_, let location):
            let absolute = RedirectLocation().absolute(
                location,
                isTLS: false,
                host: ByteBuffer(string: "gw.example"),
                localAddress: ByteBuffer(string: "127.0.0.1"),
                port: 8080
            )
            promise(absolute.readableBytesView.allSatisfy { $0 >= 0x20 && $0 != 0x7F }, "a redirect ends its field")
        case .next, .relocate:
            for proxied in self.proxied { self.forward(proxied, exchange) }
        case .respond, .failed, .close: break
        }
    }

    /// What stands between the method and the version.
    private static func forward(_ uri: UpstreamURI, _ exchange: Exchange) {
        var out = ByteBuffer()
        uri.write(into: &out, state: exchange.rewriteState, rawTarget: exchange.target, scope: exchange)
        promise(out.readableBytesView.allSatisfy { $0 > 0x20 && $0 != 0x7F }, "a target that ends its line")
    }

    // MARK: Hosts and addresses

    private static func host(_ text: [UInt8]) {
        guard let host = try? RequestHost(text.span) else { return }
        let authority = ByteBuffer(bytes: text)
        let name = host.text(of: authority)
        promise((1...text.count).contains(name.readableBytes), "a host that is not in its authority")
        promise(name.readableBytesView.allSatisfy { !(0x41...0x5A).contains($0) && $0 > 0x20 }, "a broken host")
    }

    /// As the system reads addresses.
    private static func address(_ bytes: [UInt8]) {
        // Zones are passed over here, and none of the system's business.
        guard let text = String(validating: bytes, as: UTF8.self), !bytes.contains(0), !text.contains("%") else {
            return
        }
        var four = [UInt8](repeating: 0, count: 4)
        var six = [UInt8](repeating: 0, count: 16)
        let isAddress = inet_pton(AF_INET, text, &four) == 1 || inet_pton(AF_INET6, text, &six) == 1
        promise((IPAddress(text) != nil) == isAddress, "\(text) is an address for one only")
    }
}
