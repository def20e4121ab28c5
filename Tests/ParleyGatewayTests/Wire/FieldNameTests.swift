import NIOCore
import Testing

@testable import ParleyGateway

/// One rule for the names of fields, whatever the version of HTTP.
@Suite struct FieldNameTests {
    private static let names = [
        "x-fine", "1digit", "-dash", "x_under", "_first", "x.dot", "x!bang", "x(paren", "x/slash", "x@at", "x=eq",
        "x\"quote", "x\u{E9}", "x_a.b", "content_length",
    ]

    private static let rules: [(rule: FieldNameRule, kept: [String])] = [
        (FieldNameRule(), ["x-fine", "1digit", "-dash"]),
        (Self.rule(underscores: true), ["x-fine", "1digit", "-dash", "x_under", "_first", "content_length"]),
        (Self.rule(ignoring: false), Self.names),
        (.answers, Self.names),
    ]

    private static func rule(underscores: Bool = false, ignoring: Bool = true) -> FieldNameRule {
        var rule = FieldNameRule()
        rule.allowsUnderscores = underscores
        rule.ignoresInvalid = ignoring
        return rule
    }

    @Test(arguments: 0..<Self.rules.count)
    func inHTTP1(number: Int) throws {
        var limits = ScanLimits()
        limits.names = Self.rules[number].rule
        var scanner = RequestScanner(limits)
        let fields = Self.names.map { "\($0): v\r\n" }.joined()
        let outcome = scanner.scan(ByteBuffer(string: "GET / HTTP/1.1\r\nhost: a\r\n\(fields)\r\n"))
        guard case .head(let head, _) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(head.block.texts.map(\.name) == ["host"] + Self.rules[number].kept)
    }

    @Test(arguments: 0..<Self.rules.count)
    func inHTTP2(number: Int) throws {
        var configuration = HTTP2Configuration()
        configuration.fields.names = Self.rules[number].rule
        let server = TestConnection.server(configuration)
        let wanted = Self.rules[number].kept.map { TextField($0, "v") }
        let fields = Self.names.map { TextField($0, "v") }
        server.feed(Frame.headers(1, Frame.get + fields, isEnd: false))
        guard case .request(let handle, let head)? = server.taken().first else {
            Issue.record("no request: \(server.written())")
            return
        }
        #expect(head.block.texts == wanted)
        // In trailers, too.
        server.machine.read(handle)
        server.feed(Frame.headers(1, fields, isEnd: true))
        #expect(server.taken().map(\.brief) == ["trailers \(wanted)"])
    }

    /// What was found out about a name is found again by its index.
    @Test(arguments: [FieldNameRule(), FieldNameRule.answers])
    func fromTheTable(rule: FieldNameRule) throws {
        var encoder = HPACKEncoder()
        var decoder = HPACKDecoder(tableSize: 4096)
        let limits = HTTP2FieldLimits(section: 10_000, field: 10_000, names: rule)
        for round in 0..<5 {
            let fields = [TextField("x_under", "a"), TextField("x-fine", "b"), TextField("x.dot", "\(round)")]
            var buffer = ByteBuffer()
            encoder.begin(into: &buffer)
            let block = FieldBlock(fields)
            for field in block.fields { encoder.write(field, of: block.bytes, into: &buffer) }
            let section = try decoder.section(bytes(buffer), limits: limits)
            #expect(section.texts == (rule == .answers ? fields : [fields[1]]))
        }
        #expect(decoder.tableSize > 0)
    }

    @Test func aDroppedFieldIsNotBeforeAPseudoField() {
        let server = TestConnection.server()
        server.feed(Frame.headers(1, [TextField("x_y", "b")] + Frame.get, isEnd: true))
        #expect(server.written().map(\.kind) == [1, 3])
    }

    @Test func aDroppedFieldStillHasALegalValue() {
        let server = TestConnection.server()
        server.feed(Frame.headers(1, Frame.get + [TextField("x_y", "b\nc")], isEnd: true))
        #expect(server.written().map(\.kind) == [1, 3])
    }

    @Test func upstreamsAreNotRestricted() throws {
        let client = TestConnection.client()
        let handle = try #require(client.open())
        client.machine.request(handle, RequestHead(), isEnd: true)
        client.feed(Frame.headers(1, Frame.ok + [TextField("x_y", "b")], isEnd: true))
        guard case .response(_, let head)? = client.taken().first else {
            Issue.record("no answer")
            return
        }
        #expect(head.block.texts == [TextField("x_y", "b")])
    }
}
