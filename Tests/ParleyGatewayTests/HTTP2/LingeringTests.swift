import NIOCore
import NIOEmbedded
import Testing

@testable import ParleyGateway

/// Answers that are complete before their requests: clients that are still sending must not lose them to a reset.
@Suite struct LingeringTests {
    private func answered(_ fields: [TextField] = []) throws -> TestConnection {
        let server = TestConnection.server()
        let handle = try #require(server.request(1, isEnd: false, fields: fields))
        server.machine.respond(handle, ResponseHead(status: 404), isEnd: true)
        let frames = server.written()
        #expect(frames.map(\.kind) == [1])
        #expect(frames.first?.flags == 5)
        #expect(server.liveStreams == 1)
        return server
    }

    @Test(
        "The rest of the request is thrown away, without a word",
        arguments: [
            Frame.data(1, [1, 2, 3], isEnd: true),
            Frame.data(1, [1, 2, 3]) + Frame.data(1, [], isEnd: true),
            Frame.data(1, [1, 2, 3]) + Frame.headers(1, [TextField("a", "b")], isEnd: true),
            Frame.reset(1, .noError),
            Frame.data(1, [1]) + Frame.reset(1, .streamClosed),
        ]
    )
    func rest(bytes: [UInt8]) throws {
        let server = try self.answered()
        let before = server.connectionWindow
        for byte in bytes { server.feed([byte]) }
        #expect(server.taken().isEmpty)
        #expect(server.written().isEmpty)
        #expect(server.connectionWindow == before)
        #expect(server.liveStreams == 0)
        #expect(server.machine.lingeringStreams == 0)
        #expect(server.request(3) != nil)
    }

    @Test func aClientWithoutAWindowIsToldToStop() throws {
        let server = try self.answered()
        for _ in 0..<3 { server.feed(Frame.data(1, [UInt8](repeating: 0, count: 16_384))) }
        #expect(server.written().isEmpty)
        server.feed(Frame.data(1, [UInt8](repeating: 0, count: 16_384)))
        let frames = server.written()
        #expect(frames.map(\.kind) == [3])
        #expect(frames.first?.word == HTTP2ErrorCode.noError.rawValue)
        #expect(server.liveStreams == 0)
        #expect(server.connectionWindow == 1_048_576)
        // Under way when we said so.
        server.feed(Frame.headers(1, [TextField("a", "b")], isEnd: true))
        #expect(server.written().isEmpty)
        #expect(server.failure == nil)
    }

    @Test func aClientThatHasUsedItsWindowBeforeTheAnswerIsToldAtOnce() throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1, isEnd: false))
        for _ in 0..<4 { server.feed(Frame.data(1, [UInt8](repeating: 0, count: 16_384))) }
        server.machine.respond(handle, ResponseHead(status: 413), isEnd: true)
        #expect(server.written().map(\.kind) == [1, 3])
        #expect(server.connectionWindow == 1_048_576)
    }

    @Test func nobodyLingersForever() throws {
        let server = try self.answered()
        server.machine.expireLingering()
        #expect(server.written().isEmpty)
        server.machine.expireLingering()
        let frames = server.written()
        #expect(frames.map(\.kind) == [3])
        #expect(frames.first?.word == HTTP2ErrorCode.noError.rawValue)
        #expect(server.liveStreams == 0)
    }

    @Test(
        "What breaks a rule still does",
        arguments: [
            (Frame.data(1, [1, 2, 3], isEnd: true), HTTP2ErrorCode.protocolError),
            (Frame.data(1, [1, 2, 3, 4, 5]), .protocolError),
            (Frame.data(1, [1]) + Frame.headers(1, [TextField("A", "b")], isEnd: true), .protocolError),
            (Frame.headers(1, [TextField("a", "b")], isEnd: false), .protocolError),
            (Frame.windowUpdate(1, 0), .protocolError),
        ]
    )
    func faults(bytes: [UInt8], code: HTTP2ErrorCode) throws {
        let server = try self.answered([TextField("content-length", "4")])
        server.feed(bytes)
        #expect(server.written().map(\.word) == [code.rawValue])
        #expect(server.liveStreams == 0)
        #expect(server.failure == nil)
    }

    /// Each has had its answer: it is no attack if clients take the rest of their requests back.
    @Test func clientsThatStopAreNoAttack() throws {
        let server = TestConnection.server()
        for number in 0..<1000 {
            let stream = UInt32(2 * number + 1)
            let handle = try #require(server.request(stream, isEnd: false))
            server.machine.respond(handle, ResponseHead(), isEnd: true)
            server.feed(Frame.reset(stream))
        }
        #expect(server.failure == nil)
        #expect(server.liveStreams == 0)
    }

    @Test func theyCountAgainstTheStreamsThatAClientMayHave() throws {
        var configuration = HTTP2Configuration()
        configuration.maximumStreams = 1
        let server = TestConnection.server(configuration)
        let handle = try #require(server.request(1, isEnd: false))
        server.machine.respond(handle, ResponseHead(), isEnd: true)
        #expect(server.request(3) == nil)
        #expect(server.written().last?.word == HTTP2ErrorCode.refusedStream.rawValue)
        server.feed(Frame.data(1, [], isEnd: true))
        #expect(server.request(5) != nil)
    }

    @Test func aHeadOverTheLimitDoesNotStopItsBodyEither() throws {
        var configuration = HTTP2Configuration()
        configuration.fields = HTTP2FieldLimits(section: 400, field: 200)
        let server = TestConnection.server(configuration)
        let fields = Frame.post + [TextField("a", String(repeating: "b", count: 300))]
        server.feed(Frame.headers(1, fields, isEnd: false))
        #expect(server.written().map(\.kind) == [1])
        server.feed(Frame.data(1, [1, 2, 3], isEnd: true))
        #expect(server.written().isEmpty)
        #expect(server.liveStreams == 0)
    }

    // MARK: In a channel

    private func channel(
        _ configuration: HTTP2Configuration = HTTP2Configuration()
    ) throws -> (HTTP2ServerHandler, RecordingAcceptor, HandlerChannel) {
        let acceptor = RecordingAcceptor()
        // As `return 404`: answered while the head is read.
        acceptor.onAccept = { $0.stream.write(ResponseHead(status: 404), isEnd: true) }
        let handler = HTTP2ServerHandler(acceptor: acceptor, configuration: configuration)
        return (handler, acceptor, try HandlerChannel(handler, preface: true))
    }

    @Test("The body comes in the same read, or in a later one", arguments: [true, false])
    func bodies(isLater: Bool) throws {
        let (handler, _, channel) = try self.channel()
        defer { channel.close() }
        for number in 0..<500 {
            let stream = UInt32(2 * number + 1)
            let head = Frame.headers(stream, Frame.post, isEnd: false)
            let body = Frame.data(stream, [1, 2, 3, 4], isEnd: true)
            if isLater {
                try channel.feed(head)
                #expect(try channel.written().map(\.kind) == [1])
                try channel.feed(body)
                #expect(try channel.written().isEmpty)
            } else {
                try channel.feed(head + body)
                #expect(try channel.written().map(\.kind) == [1])
            }
            #expect(handler.liveStreams == 0)
        }
        #expect(handler.slotCount == 1)
    }

    @Test func afterSomeSecondsAClientIsToldToStop() throws {
        let (handler, acceptor, channel) = try self.channel()
        defer { channel.close() }
        try channel.feed(Frame.headers(1, Frame.post, isEnd: false))
        #expect(try channel.written().map(\.kind) == [1])
        channel.advance(.milliseconds(9_900))
        #expect(try channel.written().isEmpty)
        channel.advance(.milliseconds(200))
        let frames = try channel.written()
        #expect(frames.map(\.kind) == [3])
        #expect(frames.first?.word == HTTP2ErrorCode.noError.rawValue)
        #expect(handler.liveStreams == 0)
        // The one who answered is not asked again.
        #expect(acceptor.exchanges.first?.log == [])
    }

    @Test func theEndOfAConnectionWaitsForThoseThatLinger() throws {
        let (_, _, channel) = try self.channel()
        defer { channel.close() }
        try channel.feed(Frame.headers(1, Frame.post, isEnd: false))
        let handler = try channel.channel.pipeline.syncOperations.handler(type: HTTP2ServerHandler.self)
        handler.drain()
        channel.advance(.seconds(2))
        #expect(channel.channel.isActive)
        try channel.feed(Frame.data(1, [1], isEnd: true))
        _ = try channel.written()
        #expect(!channel.channel.isActive)
    }
}
