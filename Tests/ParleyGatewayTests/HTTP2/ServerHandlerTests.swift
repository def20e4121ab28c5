import NIOCore
import NIOEmbedded
import Testing

@testable import ParleyGateway

@Suite(.timeLimit(.minutes(5))) struct ServerHandlerTests {
    private let acceptor = RecordingAcceptor()

    private func make(
        _ configuration: HTTP2Configuration = HTTP2Configuration()
    ) throws -> (HTTP2ServerHandler, HandlerChannel) {
        let handler = HTTP2ServerHandler(acceptor: self.acceptor, configuration: configuration)
        return (handler, try HandlerChannel(handler, preface: true))
    }

    @Test func anEchoWithBodyAndTrailers() throws {
        let (handler, channel) = try self.make()
        self.acceptor.onAccept = { exchange in
            exchange.onBody = { exchange, body in
                exchange.stream.write(body)
                exchange.stream.readBody()
            }
            exchange.onEnd = { $0.stream.end(trailers: FieldBlock([TextField("grpc-status", "0")])) }
            exchange.stream.write(ResponseHead(), isEnd: false)
            exchange.stream.readBody()
        }
        try channel.feed(Frame.headers(1, Frame.post, isEnd: false))
        try channel.feed(Frame.data(1, [1, 2, 3]) + Frame.data(1, [4], isEnd: true))
        let frames = try channel.written()
        #expect(frames.map(\.kind) == [1, 0, 0, 1])
        #expect(frames.map { $0.flags & 1 } == [0, 0, 0, 1])
        #expect(self.acceptor.exchanges.map(\.log) == [["body 3", "body 1", "end []"]])
        #expect(handler.liveStreams == 0)
        channel.close()
        #expect(self.acceptor.exchanges[0].log.last == "end []")
    }

    @Test func answersOfOneTickAreOneWrite() throws {
        let (_, channel) = try self.make()
        try channel.feed((0..<10).flatMap { Frame.headers(2 * $0 + 1, Frame.get, isEnd: true) })
        _ = try channel.written()
        for exchange in self.acceptor.exchanges {
            exchange.stream.write(ResponseHead(), isEnd: false)
            exchange.stream.write(ByteBuffer(string: "hello"))
            exchange.stream.end(trailers: nil)
        }
        // Nothing before the tick's end.
        #expect(try channel.channel.readOutbound(as: ByteBuffer.self) == nil)
        #expect(try channel.written().count == 20)
        #expect(channel.writes == 1)
    }

    @Test func answersWithinAReadAreOneWriteToo() throws {
        let (_, channel) = try self.make()
        self.acceptor.onAccept = { $0.stream.write(ResponseHead(status: 204), isEnd: true) }
        try channel.feed((0..<10).flatMap { Frame.headers(2 * $0 + 1, Frame.get, isEnd: true) })
        #expect(try channel.written().count == 10)
        #expect(channel.writes == 1)
        #expect(self.acceptor.exchanges.allSatisfy { $0.log.isEmpty })
    }

    @Test func largeBodiesAreNotCopiedTogether() throws {
        let (_, channel) = try self.make()
        self.acceptor.onAccept = { exchange in
            exchange.stream.write(ResponseHead(), isEnd: false)
            exchange.stream.write(ByteBuffer(repeating: 1, count: 40_000))
            exchange.stream.end(trailers: nil)
        }
        try channel.feed(Frame.headers(1, Frame.get, isEnd: true))
        let frames = try channel.written()
        #expect(frames.map(\.kind) == [1, 0, 0, 0, 0])
        #expect(frames.map(\.payload.count).dropFirst() == [16_384, 16_384, 7232, 0])
        #expect(frames.last?.flags == 1)
    }

    @Test func nothingIsToldFromWithinACall() throws {
        let (_, channel) = try self.make()
        try channel.feed(Frame.headers(1, Frame.post, isEnd: false) + Frame.data(1, [1]))
        let exchange = try #require(self.acceptor.exchanges.first)
        exchange.stream.readBody()
        #expect(exchange.log.isEmpty)
        channel.run()
        #expect(exchange.log == ["body 1"])
    }

    @Test("The client goes: by a reset, by closing, by a broken rule", arguments: 0..<3)
    func gone(way: Int) throws {
        let (handler, channel) = try self.make()
        try channel.feed(Frame.headers(1, Frame.get, isEnd: true))
        let exchange = try #require(self.acceptor.exchanges.first)
        switch way {
        case 0: try channel.feed(Frame.reset(1))
        case 1: channel.close()
        default: try channel.feed(Frame.raw(6, flags: 0, stream: 0, []))
        }
        channel.run()
        #expect(exchange.log == ["gone"])
        #expect(handler.liveStreams == 0 || way == 1)
        // The stream is deaf from now on.
        exchange.stream.write(ResponseHead(), isEnd: false)
        exchange.stream.readBody()
        exchange.stream.end(trailers: nil)
        exchange.stream.abort(.answerBroken)
        #expect(!exchange.stream.isWritable)
        #expect(channel.channel.isActive == (way == 0))
        channel.close()
        #expect(exchange.log == ["gone"])
    }

    @Test func aBrokenConnectionGetsItsReason() throws {
        let (_, channel) = try self.make()
        try channel.feed(Frame.raw(6, flags: 0, stream: 0, []))
        #expect(try channel.written().map(\.word) == [HTTP2ErrorCode.frameSizeError.rawValue])
        #expect(!channel.channel.isActive)
    }

    @Test func somethingElseThanHTTP2() throws {
        let handler = HTTP2ServerHandler(acceptor: self.acceptor)
        let channel = EmbeddedChannel()
        try channel.pipeline.syncOperations.addHandler(handler)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.writeInbound(ByteBuffer(string: "GET / HTTP/1.1\r\n\r\n"))
        #expect(!channel.isActive)
    }

    @Test(
        "An answer that cannot be completed",
        arguments: [
            (AbortReason.answerBroken, HTTP2ErrorCode.internalError), (.timedOut, .protocolError),
            (.unanswered, .internalError), (.shutDown, .cancel),
        ]
    )
    func aborted(reason: AbortReason, code: HTTP2ErrorCode) throws {
        let (handler, channel) = try self.make()
        try channel.feed(Frame.headers(1, Frame.get, isEnd: true))
        let stream = try #require(self.acceptor.exchanges.first).stream
        stream.write(ResponseHead(), isEnd: false)
        stream.abort(reason)
        let frames = try channel.written()
        #expect(frames.map(\.kind) == [1, 3])
        #expect(frames.last?.word == code.rawValue)
        #expect(handler.liveStreams == 0)
        #expect(self.acceptor.exchanges[0].log.isEmpty)
    }

    @Test func drainAnswersWhatIsUnderWayAndCloses() throws {
        let (handler, channel) = try self.make()
        try channel.feed(Frame.headers(1, Frame.get, isEnd: true))
        handler.drain()
        handler.drain()
        let farewell = try channel.written()
        #expect(farewell.map(\.kind) == [7, 6])
        try channel.feed(Frame.raw(6, flags: 1, stream: 0, farewell[1].payload))
        #expect(try channel.written().map(\.payload) == [hex("00000001 00000000")])
        #expect(channel.channel.isActive)
        self.acceptor.exchanges[0].stream.write(ResponseHead(status: 204), isEnd: true)
        #expect(try channel.written().map(\.kind) == [1])
        #expect(!channel.channel.isActive)
        #expect(self.acceptor.exchanges[0].log.isEmpty)
    }

    @Test func drainDoesNotWaitForAnAnswerToItsPing() throws {
        let (handler, channel) = try self.make()
        handler.drain()
        _ = try channel.written()
        #expect(channel.channel.isActive)
        channel.advance(.seconds(1))
        #expect(try channel.written().map(\.kind) == [7])
        #expect(!channel.channel.isActive)
    }

    @Test func anIdleConnectionIsClosed() throws {
        let (_, channel) = try self.make()
        channel.advance(.seconds(40))
        try channel.feed(Frame.headers(1, Frame.get, isEnd: true))
        channel.advance(.seconds(300))
        // Under way: not idle, however long.
        #expect(channel.channel.isActive)
        self.acceptor.exchanges[0].stream.write(ResponseHead(), isEnd: true)
        _ = try channel.written()
        channel.advance(.seconds(74))
        // PING is no request.
        try channel.feed(Frame.ping())
        _ = try channel.written()
        #expect(channel.channel.isActive)
        channel.advance(.seconds(2))
        #expect(try channel.written().map(\.kind) == [7])
        #expect(!channel.channel.isActive)
    }

    @Test func aCompleteAnswerDoesNotWaitForeverForItsClient() throws {
        let (handler, channel) = try self.make()
        try channel.feed(Frame.settings([(4, 10)]))
        try channel.feed(Frame.headers(1, Frame.get, isEnd: true))
        let stream = try #require(self.acceptor.exchanges.first).stream
        stream.write(ResponseHead(), isEnd: false)
        stream.write(ByteBuffer(repeating: 0, count: 100))
        stream.end(trailers: nil)
        channel.advance(.seconds(59))
        try channel.feed(Frame.windowUpdate(1, 10))
        channel.advance(.seconds(60))
        #expect(handler.liveStreams == 1)
        channel.advance(.seconds(61))
        #expect(handler.liveStreams == 0)
        #expect(try channel.written().last?.kind == 3)
    }

    @Test func aConnectionEndsGentlyAfterSoManyRequests() throws {
        var configuration = HTTP2Configuration()
        configuration.maximumRequests = 3
        let (_, channel) = try self.make(configuration)
        self.acceptor.onAccept = { $0.stream.write(ResponseHead(status: 204), isEnd: true) }
        try channel.feed(Frame.headers(1, Frame.get, isEnd: true) + Frame.headers(3, Frame.get, isEnd: true))
        #expect(try channel.written().map(\.kind) == [1, 1])
        try channel.feed(Frame.headers(5, Frame.get, isEnd: true))
        #expect(try channel.written().map(\.kind) == [1, 7, 6])
        // The client did not know yet: its request is taken.
        try channel.feed(Frame.headers(7, Frame.get, isEnd: true))
        #expect(try channel.written().map(\.kind) == [1])
    }

    @Test func aConnectionEndsGentlyInOldAge() throws {
        let (_, channel) = try self.make()
        try channel.feed(Frame.headers(1, Frame.get, isEnd: true))
        channel.advance(.seconds(3595))
        #expect(try channel.written().isEmpty)
        channel.advance(.seconds(80))
        #expect(try channel.written().map(\.kind).starts(with: [7, 6]))
        #expect(channel.channel.isActive)
    }

    @Test func aSlowClientStopsTheConsumer() throws {
        let (_, channel) = try self.make()
        channel.channel.isWritable = false
        channel.channel.pipeline.fireChannelWritabilityChanged()
        try channel.feed(Frame.headers(1, Frame.get, isEnd: true))
        let exchange = try #require(self.acceptor.exchanges.first)
        exchange.stream.write(ResponseHead(), isEnd: false)
        exchange.stream.write(ByteBuffer(repeating: 0, count: 65_000))
        channel.run()
        #expect(exchange.stream.isWritable)
        exchange.stream.write(ByteBuffer(repeating: 0, count: 1000))
        #expect(!exchange.stream.isWritable)
        #expect(try channel.written().isEmpty)
        #expect(exchange.log == ["writable false"])
        channel.channel.isWritable = true
        channel.channel.pipeline.fireChannelWritabilityChanged()
        #expect(try channel.written().map(\.payload.count).dropFirst().reduce(0, +) == 65_535)
        #expect(exchange.log == ["writable false", "writable true"])
    }

    @Test func aClientThatDoesNotReadIsNotReadFrom() throws {
        var configuration = HTTP2Configuration()
        configuration.outputLimit = 1000
        let reads = ReadCounter()
        let handler = HTTP2ServerHandler(acceptor: self.acceptor, configuration: configuration)
        let channel = try HandlerChannel(handler, preface: true)
        try channel.channel.pipeline.syncOperations.addHandler(reads, position: .first)
        channel.channel.isWritable = false
        channel.channel.pipeline.fireChannelWritabilityChanged()
        try channel.feed((0..<200).flatMap { Frame.ping(UInt8($0)) })
        let before = reads.count
        channel.channel.read()
        #expect(reads.count == before)
        channel.channel.isWritable = true
        channel.channel.pipeline.fireChannelWritabilityChanged()
        #expect(reads.count == before + 1)
        #expect(try channel.written().count == 200)
    }

    @Test func aThousandStreamsInSequenceLeaveNothingBehind() throws {
        var configuration = HTTP2Configuration()
        configuration.maximumRequests = 10_000
        let (handler, channel) = try self.make(configuration)
        weak var last: RecordingExchange?
        for number in 0..<1000 {
            try channel.feed(Frame.headers(UInt32(2 * number + 1), Frame.post, isEnd: false))
            try channel.feed(Frame.data(UInt32(2 * number + 1), [1, 2, 3], isEnd: true))
            let exchange = try #require(self.acceptor.exchanges.first)
            last = exchange
            exchange.stream.readBody()
            channel.run()
            exchange.stream.write(ResponseHead(), isEnd: false)
            exchange.stream.write(ByteBuffer(string: "hello"))
            exchange.stream.end(trailers: nil)
            #expect(try channel.written().count == 2)
            self.acceptor.forget()
        }
        #expect(last == nil)
        #expect(handler.liveStreams == 0)
        #expect(handler.slotCount == 1)
        channel.close()
    }

    @Test func theHandlerGoesWithItsChannel() throws {
        weak var gone: HTTP2ServerHandler?
        do {
            let (handler, channel) = try self.make()
            gone = handler
            try channel.feed(Frame.headers(1, Frame.get, isEnd: true))
            channel.close()
        }
        #expect(gone == nil)
    }
}

private final class ReadCounter: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    private(set) var count = 0

    func read(context: ChannelHandlerContext) {
        self.count += 1
        context.read()
    }
}
