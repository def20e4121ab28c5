import NIOCore
import Testing

@testable import ParleyGateway

@Suite struct ServerConnectionTests {
    @Test func saysItsSettingsFirstAndConfirmsTheClients() {
        let server = TestConnection(.server)
        let first = server.written()
        #expect(first.map(\.kind) == [4, 8])
        #expect(first[0].payload == hex("0003 00000080 0004 00010000 0006 00008000"))
        #expect(first[1].word == 1_048_576 - 65_535)
        server.feed(HTTP2Connection.preface + Frame.settings([(3, 100)]))
        #expect(server.written() == [Frame(kind: 4, flags: 1, stream: 0, payload: [])])
    }

    @Test(
        "The beginning of a connection is checked",
        arguments: [
            Array("GET / HTTP/1.1\r\n\r\n".utf8),
            HTTP2Connection.preface + Frame.ping(),
            HTTP2Connection.preface + Frame.headers(1, Frame.get, isEnd: true),
            HTTP2Connection.preface + Frame.raw(4, flags: 1, stream: 0, []),
        ]
    )
    func beginning(bytes: [UInt8]) {
        let server = TestConnection(.server)
        _ = server.written()
        server.feed(bytes)
        #expect(server.failureCode == .protocolError)
        #expect(server.written().last?.kind == 7)
    }

    @Test func aRequestIsToldAndItsAnswerWritten() throws {
        let server = TestConnection.server()
        server.feed(Frame.headers(1, Frame.get + [TextField("accept", "*/*")], isEnd: true))
        guard case .request(let handle, let head)? = server.taken().first else {
            Issue.record("no request")
            return
        }
        #expect(head.method == .get)
        #expect(head.block.text(head.target) == "/a?b=c")
        #expect(head.block.text(head.authority) == "shop.example")
        #expect(head.block.texts == [TextField("accept", "*/*")])
        #expect(head.framing == .none)
        #expect(head.version == .http2)
        let answer = FieldBlock([TextField("Content-Type", "text/plain"), TextField("Connection", "close")])
        server.machine.respond(handle, ResponseHead(block: answer, status: 203), isEnd: false)
        server.machine.write(handle, ByteBuffer(string: "hello"))
        server.machine.end(handle, trailers: nil)
        let frames = server.written()
        #expect(frames.map(\.kind) == [1, 0])
        var decoder = HPACKDecoder(tableSize: 4096)
        let section = try decoder.section(frames[0].payload)
        #expect(section.texts == [TextField(":status", "203"), TextField("content-type", "text/plain")])
        #expect(frames[1] == Frame(kind: 0, flags: 1, stream: 1, payload: Array("hello".utf8)))
        #expect(server.liveStreams == 0)
    }

    /// The rest of the frame may be long in coming: whoever asked for a body has what is there.
    @Test func aPartOfADataFrameIsToldAtOnce() throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1, isEnd: false))
        server.machine.read(handle)
        server.machine.receive(ByteBuffer(bytes: Frame.data(1, [UInt8](repeating: 1, count: 100)).prefix(9 + 40)))
        guard case .body(handle, let part)? = server.machine.next(now: server.now) else {
            Issue.record("no part of the body")
            return
        }
        #expect(part.readableBytes == 40)
        #expect(server.taken().isEmpty)
    }

    @Test func aBodyComesOnlyWhenAskedFor() throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1, isEnd: false))
        server.feed(Frame.data(1, [1, 2, 3]) + Frame.data(1, [4]))
        #expect(server.taken().isEmpty)
        server.machine.read(handle)
        #expect(server.taken().map(\.brief) == ["body 4"])
        server.feed(Frame.data(1, [5], isEnd: true))
        #expect(server.taken().isEmpty)
        server.machine.read(handle)
        #expect(server.taken().map(\.brief) == ["body 1"])
        server.machine.read(handle)
        #expect(server.taken().map(\.brief) == ["end"])
        server.machine.read(handle)
        #expect(server.taken().isEmpty)
    }

    @Test func aWaitingConsumerGetsPiecesOfAFrameAsTheyCome() throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1, isEnd: false))
        let frame = Frame.data(1, [UInt8](repeating: 7, count: 1000), isEnd: true)
        server.machine.read(handle)
        server.feed(Array(frame[..<500]))
        #expect(server.taken().map(\.brief) == ["body 491"])
        server.feed(Array(frame[500...]))
        server.machine.read(handle)
        #expect(server.taken().map(\.brief) == ["body 509"])
        server.machine.read(handle)
        #expect(server.taken().map(\.brief) == ["end"])
    }

    @Test func trailersBothWays() throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1, isEnd: false))
        server.machine.read(handle)
        server.feed(Frame.headers(1, [TextField("checksum", "7")], isEnd: true))
        #expect(server.taken().map(\.brief) == ["trailers [checksum: 7]"])
        server.machine.respond(handle, ResponseHead(), isEnd: false)
        server.machine.write(handle, ByteBuffer(string: "x"))
        server.machine.end(handle, trailers: FieldBlock([TextField("grpc-status", "0")]))
        let frames = server.written()
        #expect(frames.map(\.kind) == [1, 0, 1])
        #expect(frames.map { $0.flags & 1 } == [0, 0, 1])
        var decoder = HPACKDecoder(tableSize: 4096)
        _ = try decoder.section(frames[0].payload)
        #expect(try decoder.section(frames[2].payload).texts == [TextField("grpc-status", "0")])
    }

    @Test func informationalAnswers() throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1))
        server.machine.inform(handle, ResponseHead(status: 103))
        server.machine.inform(handle, ResponseHead(status: 101))
        server.machine.inform(handle, ResponseHead(status: 200))
        server.machine.respond(handle, ResponseHead(status: 204), isEnd: true)
        let frames = server.written()
        #expect(frames.map(\.kind) == [1, 1])
        #expect(frames.map(\.flags) == [4, 5])
        #expect(frames[1].payload == [0x89])
    }

    @Test func nothingIsWrittenBeforeItsHead() throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1))
        server.machine.write(handle, ByteBuffer(string: "early"))
        server.machine.end(handle, trailers: nil)
        #expect(server.written().isEmpty)
        server.machine.respond(handle, ResponseHead(), isEnd: false)
        server.machine.inform(handle, ResponseHead(status: 103))
        server.machine.respond(handle, ResponseHead(), isEnd: false)
        #expect(server.written().map(\.kind) == [1])
    }

    @Test func cookieCrumbsAreJoined() throws {
        let server = TestConnection.server()
        let crumbs = [
            TextField("cookie", "a=1"), TextField("x", "y"), TextField("cookie", "b=2"), TextField("cookie", "c"),
        ]
        server.feed(Frame.headers(1, Frame.get + crumbs, isEnd: true))
        guard case .request(_, let head)? = server.taken().first else {
            Issue.record("no request")
            return
        }
        #expect(head.block.texts == [TextField("cookie", "a=1; b=2; c"), TextField("x", "y")])
    }

    @Test func theHostStandsInForTheAuthority() throws {
        let server = TestConnection.server()
        let fields = [
            TextField(":method", "GET"), TextField(":scheme", "http"), TextField(":path", "/"),
            TextField("host", "a.b"),
            TextField("expect", "100-continue"),
        ]
        server.feed(Frame.headers(1, fields, isEnd: false))
        guard case .request(_, let head)? = server.taken().first else {
            Issue.record("no request")
            return
        }
        #expect(head.block.text(head.authority) == "a.b")
        #expect(head.expectsContinue)
        #expect(head.framing == .untilEnd)
    }

    private static func with(_ index: Int, _ value: String?) -> [TextField] {
        var fields = Frame.get
        if let value { fields[index].value = value } else { fields.remove(at: index) }
        return fields
    }

    @Test(
        "A malformed request is answered 400 and reset; the connection goes on",
        arguments: [
            Self.with(0, nil), Self.with(1, nil), Self.with(2, nil), Self.with(3, nil),
            Self.with(0, ""), Self.with(0, "get"), Self.with(0, "G T"), Self.with(1, ""), Self.with(1, "1http"),
            Self.with(2, ""), Self.with(2, "a"), Self.with(2, "*"), Self.with(2, "/a b"), Self.with(2, "/\u{7F}"),
            Self.with(3, "user@host"), Self.with(3, "a b"), Self.with(3, "a/b"),
            Frame.get + [TextField(":path", "/")],
            Frame.get + [TextField(":status", "200")],
            Frame.get + [TextField(":protocol", "websocket")],
            Frame.get + [TextField("a", "b"), TextField(":method", "GET")],
            [TextField("a", "b")] + Frame.get,
            Frame.get + [TextField("Accept", "b")],
            Frame.get + [TextField("", "b")],
            Frame.get + [TextField("a b", "b")],
            Frame.get + [TextField("a:", "b")],
            Frame.get + [TextField("a", "b\r\nx: y")],
            Frame.get + [TextField("a", "b\n")],
            Frame.get + [TextField("a", "b\0c")],
            Frame.get + [TextField("a", " b")],
            Frame.get + [TextField("a", "b\t")],
            Frame.get + [TextField("connection", "close")],
            Frame.get + [TextField("keep-alive", "1")],
            Frame.get + [TextField("proxy-connection", "close")],
            Frame.get + [TextField("transfer-encoding", "chunked")],
            Frame.get + [TextField("upgrade", "h2c")],
            Frame.get + [TextField("te", "gzip")],
            Frame.get + [TextField("host", "other.example")],
            Frame.get + [TextField("host", "shop.example"), TextField("host", "shop.example")],
            Frame.get + [TextField("content-length", "x")],
            Frame.get + [TextField("content-length", "-1")],
            Frame.get + [TextField("content-length", "")],
            Frame.get + [TextField("content-length", "99999999999999999999")],
            Frame.get + [TextField("content-length", "0"), TextField("content-length", "0")],
            // With the end of the stream in the head.
            Frame.get + [TextField("content-length", "1")],
        ]
    )
    func malformed(fields: [TextField]) {
        let server = TestConnection.server()
        server.feed(Frame.headers(1, fields, isEnd: true))
        #expect(server.taken().isEmpty)
        let frames = server.written()
        #expect(frames.map(\.kind) == [1, 3])
        #expect(frames.first?.payload == [0x8C])
        #expect(frames.last?.word == HTTP2ErrorCode.protocolError.rawValue)
        #expect(server.request(3) != nil)
        #expect(server.liveStreams == 1)
    }

    @Test(
        "What only looks unusual is let through",
        arguments: [
            Frame.get + [TextField("te", "Trailers")], Frame.get + [TextField("host", "shop.example")],
            Frame.get + [TextField("content-length", "0")], Frame.get + [TextField("x_y", "b")],
            Frame.get + [TextField("a", "")], Frame.get + [TextField("a", "b \t c")],
            [TextField(":method", "FOO-BAR")] + Frame.get.dropFirst(),
        ]
    )
    func unusual(fields: [TextField]) {
        let server = TestConnection.server()
        server.feed(Frame.headers(1, fields, isEnd: true))
        #expect(server.taken().count == 1)
        #expect(server.written().isEmpty)
    }

    @Test func aHeadOverTheLimitEndsItsStreamOnly() throws {
        var configuration = HTTP2Configuration()
        configuration.fields = HTTP2FieldLimits(section: 400, field: 200)
        configuration.oversizedStatus = 431
        let server = TestConnection.server(configuration)
        server.feed(Frame.headers(1, Frame.get + [TextField("a", String(repeating: "b", count: 300))], isEnd: true))
        let frames = server.written()
        var decoder = HPACKDecoder(tableSize: 4096)
        #expect(try decoder.section(try #require(frames.first).payload).texts == [TextField(":status", "431")])
        #expect(server.request(3) != nil)
    }

    @Test(
        "A body that does not fit its content-length is broken",
        arguments: [([[UInt8](repeating: 0, count: 6)], false), ([[1, 2], [3]], true), ([[]], true)]
    )
    func contentLength(pieces: [[UInt8]], isEnd: Bool) throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1, isEnd: false, fields: [TextField("content-length", "5")]))
        for (index, piece) in pieces.enumerated() {
            server.feed(Frame.data(1, piece, isEnd: isEnd && index == pieces.count - 1))
        }
        #expect(server.taken().map(\.brief) == ["broken"])
        // It is answered nonetheless, and the fault is named.
        server.machine.respond(handle, ResponseHead(status: 400), isEnd: true)
        let frames = server.written()
        #expect(frames.map(\.kind) == [1, 3])
        #expect(frames[1].word == HTTP2ErrorCode.protocolError.rawValue)
        #expect(server.liveStreams == 0)
    }

    @Test func trailersWithoutAnEndAreAFault() throws {
        let server = TestConnection.server()
        _ = try #require(server.request(1, isEnd: false))
        server.feed(Frame.headers(1, [TextField("a", "b")], isEnd: false))
        #expect(server.taken().map(\.brief) == ["ended fault(PROTOCOL_ERROR)"])
        #expect(server.written().map(\.kind) == [3])
    }

    @Test(
        "Trailers are checked too",
        arguments: [[TextField(":status", "200")], [TextField("A", "b")], [TextField("connection", "x")]]
    )
    func trailerRules(fields: [TextField]) throws {
        let server = TestConnection.server()
        _ = try #require(server.request(1, isEnd: false))
        server.feed(Frame.headers(1, fields, isEnd: true))
        #expect(server.taken().map(\.brief) == ["broken"])
    }

    @Test func streamsOverTheLimitAreRefused() throws {
        var configuration = HTTP2Configuration()
        configuration.maximumStreams = 2
        let server = TestConnection.server(configuration)
        let first = try #require(server.request(1))
        #expect(server.request(3) != nil)
        #expect(server.request(5) == nil)
        let frames = server.written()
        #expect(frames.map(\.kind) == [3])
        #expect(frames[0].word == HTTP2ErrorCode.refusedStream.rawValue)
        server.machine.respond(first, ResponseHead(), isEnd: true)
        #expect(server.request(7) != nil)
    }

    @Test func aGentleEndTakesWhatIsUnderWay() throws {
        let server = TestConnection.server()
        let first = try #require(server.request(1))
        server.machine.beginDrain()
        let farewell = server.written()
        #expect(farewell.map(\.kind) == [7, 6])
        #expect(farewell[0].payload == hex("7fffffff 00000000"))
        // The client had not read it yet.
        let second = try #require(server.request(3))
        server.feed(Frame.raw(6, flags: 1, stream: 0, farewell[1].payload))
        #expect(server.written().map(\.payload) == [hex("00000003 00000000")])
        #expect(server.request(5, isEnd: false) == nil)
        server.feed(Frame.data(5, [1], isEnd: true))
        #expect(server.failure == nil)
        #expect(!server.isDrained)
        server.machine.respond(first, ResponseHead(), isEnd: true)
        server.machine.respond(second, ResponseHead(), isEnd: true)
        #expect(server.isDrained)
    }

    @Test func aResetTellsTheConsumer() throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1))
        server.feed(Frame.reset(1))
        #expect(server.taken().map(\.brief) == ["ended reset(CANCEL)"])
        #expect(server.liveStreams == 0)
        server.machine.respond(handle, ResponseHead(), isEnd: true)
        #expect(server.written().isEmpty)
    }

    @Test func aHandleOfAnEndedStreamTouchesNoLaterOne() throws {
        let server = TestConnection.server()
        let first = try #require(server.request(1))
        server.machine.respond(first, ResponseHead(), isEnd: true)
        _ = server.taken()
        let second = try #require(server.request(3))
        #expect(first.slot == second.slot)
        server.machine.cancel(first, .cancel)
        #expect(server.isLive(second))
    }
}
