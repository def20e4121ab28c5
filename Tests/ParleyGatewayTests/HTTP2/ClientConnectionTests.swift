import NIOCore
import Testing

@testable import ParleyGateway

@Suite struct ClientConnectionTests {
    private static let head: RequestHead = {
        var head = RequestHead()
        head.block = FieldBlock([TextField("Accept", "*/*"), TextField("Host", "left.out")])
        let start = head.block.bytes.readableBytes
        head.block.bytes.writeString("DELETE/a?bshop.example:80")
        head.method = .delete
        head.methodName = ByteRange(start: start, count: 6)
        head.target = ByteRange(start: start + 6, count: 4)
        head.authority = ByteRange(start: start + 10, count: 15)
        return head
    }()

    /// A client with so many requests under way.
    private func client(
        requests: Int,
        _ configuration: HTTP2Configuration = HTTP2Configuration()
    ) throws -> (TestConnection, [HTTP2StreamHandle]) {
        let client = TestConnection.client(configuration)
        var handles: [HTTP2StreamHandle] = []
        for _ in 0..<requests {
            let handle = try #require(client.open())
            client.machine.request(handle, Self.head, isEnd: true)
            handles.append(handle)
        }
        return (client, handles)
    }

    @Test func beginsWithThePrefaceAndSettings() {
        let client = TestConnection(.client(isSecure: true))
        let bytes = client.writtenBytes()
        #expect(bytes.starts(with: HTTP2Connection.preface))
        let frames = Frame.parse(Array(bytes.dropFirst(HTTP2Connection.preface.count)))
        #expect(frames.map(\.kind) == [4, 8])
        #expect(frames[0].payload.starts(with: hex("0002 00000000")))
    }

    @Test func aRequestIsWritten() throws {
        let (client, _) = try self.client(requests: 1)
        let frames = client.written()
        #expect(frames.map(\.kind) == [1])
        #expect(frames.map(\.flags) == [5])
        #expect(frames.map(\.stream) == [1])
        var decoder = HPACKDecoder(tableSize: 4096)
        let fields = try decoder.section(frames[0].payload).texts
        #expect(
            fields == [
                TextField(":method", "DELETE"), TextField(":scheme", "http"), TextField(":path", "/a?b"),
                TextField(":authority", "shop.example:80"), TextField("accept", "*/*"),
            ]
        )
    }

    @Test func anAnswerWithBodyAndTrailers() throws {
        let (client, handles) = try self.client(requests: 1)
        client.feed(Frame.headers(1, [TextField(":status", "103"), TextField("link", "x")], isEnd: false))
        client.feed(Frame.headers(1, Frame.ok + [TextField("content-length", "3")], isEnd: false))
        client.feed(Frame.data(1, [1, 2, 3]) + Frame.headers(1, [TextField("grpc-status", "0")], isEnd: true))
        #expect(client.taken().map(\.brief) == ["response 103", "response 200"])
        #expect(client.liveStreams == 1)
        client.machine.read(handles[0])
        client.machine.read(handles[0])
        #expect(client.taken().map(\.brief) == ["body 3", "trailers [grpc-status: 0]"])
        #expect(client.liveStreams == 0)
        #expect(client.written().map(\.kind) == [1])
    }

    @Test func anAnswerInItsHeadEndsTheStream() throws {
        let (client, _) = try self.client(requests: 1)
        client.feed(Frame.headers(1, Frame.ok + [TextField("grpc-status", "5")], isEnd: true))
        #expect(client.taken().map(\.brief) == ["response 200"])
        #expect(client.liveStreams == 0)
    }

    @Test func anEarlyAnswerStopsTheRequest() throws {
        let client = TestConnection.client()
        let handle = try #require(client.open())
        client.machine.request(handle, Self.head, isEnd: false)
        client.feed(Frame.headers(1, [TextField(":status", "413")], isEnd: true))
        #expect(client.taken().map(\.brief) == ["response 413"])
        #expect(client.written().map(\.kind) == [1, 3])
        client.machine.write(handle, ByteBuffer(string: "late"))
        client.machine.end(handle, trailers: nil)
        #expect(client.written().isEmpty)
        #expect(client.liveStreams == 0)
    }

    @Test func theServerMayStopTheRestOfARequest() throws {
        let client = TestConnection.client()
        let handle = try #require(client.open())
        client.machine.request(handle, Self.head, isEnd: false)
        client.machine.write(handle, ByteBuffer(repeating: 0, count: 100_000))
        client.feed(Frame.headers(1, Frame.ok, isEnd: false) + Frame.data(1, [1], isEnd: true))
        client.feed(Frame.reset(1, .noError))
        client.machine.read(handle)
        client.machine.read(handle)
        #expect(client.taken().map(\.brief) == ["response 200", "body 1", "end"])
        #expect(client.liveStreams == 0)
    }

    @Test(
        "A broken answer fails its stream only",
        arguments: [
            ([TextField(":status", "20")], true), ([TextField(":status", "2xx")], true),
            ([TextField(":status", "099")], true), ([TextField(":status", "101")], false),
            ([TextField(":status", "100")], true), ([], true), ([TextField("a", "b")], true),
            (Frame.ok + Frame.ok, true), (Frame.ok + [TextField(":path", "/")], true),
            (Frame.ok + [TextField("A", "b")], true), (Frame.ok + [TextField("a", "b\r\nc: d")], true),
            (Frame.ok + [TextField("connection", "close")], true),
            (Frame.ok + [TextField("transfer-encoding", "chunked")], false),
            (Frame.ok + [TextField("content-length", "4")], true),
            (Frame.ok + [TextField("content-length", "4"), TextField("content-length", "5")], false),
        ]
    )
    func malformed(fields: [TextField], isEnd: Bool) throws {
        let (client, _) = try self.client(requests: 2)
        _ = client.written()
        client.feed(Frame.headers(1, fields, isEnd: isEnd))
        let events = client.taken().map(\.brief)
        #expect(events.count == 1)
        #expect(events.first?.hasPrefix("ended malformed") == true)
        #expect(client.written().map(\.word) == [HTTP2ErrorCode.protocolError.rawValue])
        #expect(client.liveStreams == 1)
        #expect(client.failure == nil)
    }

    @Test func theAnswerToHeadNamesALengthWithoutABody() throws {
        for isEnd in [true, false] {
            let client = TestConnection.client()
            let handle = try #require(client.open())
            var head = Self.head
            head.method = .head
            client.machine.request(handle, head, isEnd: true)
            client.feed(Frame.headers(1, Frame.ok + [TextField("content-length", "40")], isEnd: isEnd))
            if !isEnd { client.feed(Frame.data(1, [], isEnd: true)) }
            client.machine.read(handle)
            #expect(client.taken().map(\.brief) == (isEnd ? ["response 200"] : ["response 200", "end"]))
            #expect(client.liveStreams == 0)
        }
    }

    @Test func aBodyThatIsShorterThanItSaysFails() throws {
        let (client, _) = try self.client(requests: 1)
        client.feed(Frame.headers(1, Frame.ok + [TextField("content-length", "3")], isEnd: false))
        client.feed(Frame.data(1, [1, 2], isEnd: true))
        #expect(client.taken().map(\.brief) == ["response 200", "ended \(HTTP2StreamEnd.malformed(.contentLength))"])
    }

    @Test func dataBeforeTheHeadFails() throws {
        let (client, _) = try self.client(requests: 1)
        client.feed(Frame.data(1, [1, 2]))
        #expect(client.taken().map(\.brief) == ["ended fault(PROTOCOL_ERROR)"])
    }

    @Test func aHeadOverTheLimitFailsItsStreamOnly() throws {
        var configuration = HTTP2Configuration()
        configuration.fields = HTTP2FieldLimits(section: 200, field: 100)
        let (client, _) = try self.client(requests: 2, configuration)
        client.feed(Frame.headers(1, Frame.ok + [TextField("a", String(repeating: "b", count: 300))], isEnd: false))
        #expect(client.taken().map(\.brief) == ["ended headTooLarge"])
        #expect(client.liveStreams == 1)
    }

    @Test func refusedStreams() throws {
        let (client, _) = try self.client(requests: 1)
        client.feed(Frame.reset(1, .refusedStream))
        #expect(client.taken().map(\.brief) == ["ended refused"])
    }

    @Test func theServersFarewell() throws {
        let (client, _) = try self.client(requests: 3)
        let unwritten = try #require(client.open())
        client.feed(Frame.goAway(3))
        #expect(client.taken().map(\.brief) == ["ended refused", "ended refused", "going away"])
        #expect(!client.isLive(unwritten))
        #expect(client.open() == nil)
        #expect(client.liveStreams == 2)
        client.feed(Frame.headers(1, Frame.ok, isEnd: true) + Frame.headers(3, Frame.ok, isEnd: true))
        #expect(client.taken().map(\.brief) == ["response 200", "response 200"])
    }

    @Test func noMoreStreamsThanTheServerTakes() throws {
        let client = TestConnection.client()
        client.feed(Frame.settings([(3, 2)]))
        let first = try #require(client.open())
        #expect(client.open() != nil)
        #expect(client.open() == nil)
        client.machine.cancel(first, .cancel)
        #expect(client.open() != nil)
        client.feed(Frame.settings([(3, 0)]))
        #expect(client.open() == nil)
        #expect(client.failure == nil)
    }

    @Test func aStreamTakenBackBeforeItsHeadLeavesNoTrace() throws {
        let client = TestConnection.client()
        let handle = try #require(client.open())
        client.machine.cancel(handle, .cancel)
        #expect(client.written().isEmpty)
        #expect(client.liveStreams == 0)
        _ = client.taken()
        let next = try #require(client.open())
        client.machine.request(next, Self.head, isEnd: true)
        #expect(client.written().map(\.stream) == [1])
    }

    @Test func whatStillComesForATakenBackStreamIsNoFault() throws {
        let (client, handles) = try self.client(requests: 1)
        let before = client.connectionWindow
        client.machine.cancel(handles[0], .cancel)
        client.feed(Frame.headers(1, Frame.ok, isEnd: false) + Frame.data(1, [1, 2, 3], isEnd: true))
        #expect(client.failure == nil)
        #expect(client.taken().isEmpty)
        #expect(client.connectionWindow == before)
    }

    @Test func aHeadThatIsTooLongForOneFrameIsContinued() throws {
        let client = TestConnection.client()
        let handle = try #require(client.open())
        var head = Self.head
        let value = String(repeating: "\u{1}", count: 40_000)
        let field = FieldBlock([TextField("x-large", value)])
        head.block.append(
            name: field.view(field.fields[0].name),
            value: field.view(field.fields[0].value),
            known: .other
        )
        client.machine.request(handle, head, isEnd: true)
        let frames = client.written()
        #expect(frames.map(\.kind) == [1, 9, 9])
        #expect(frames.map(\.flags) == [1, 0, 4])
        #expect(frames.map(\.payload.count).max() == 16_384)
        var decoder = HPACKDecoder(tableSize: 4096)
        let fields = try decoder.section(frames.flatMap(\.payload)).texts
        #expect(fields.last == TextField("x-large", value))
    }
}
