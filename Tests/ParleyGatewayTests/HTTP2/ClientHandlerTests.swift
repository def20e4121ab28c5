import NIOCore
import NIOEmbedded
import Testing

@testable import ParleyGateway

@Suite(.timeLimit(.minutes(5))) struct ClientHandlerTests {
    private let owner = RecordingOwner()

    private func make(
        _ configuration: HTTP2Configuration = HTTP2Configuration()
    ) throws -> (HTTP2ClientConnection, HandlerChannel) {
        let handler = HTTP2ClientConnection(isSecure: false, configuration: configuration)
        let channel = try HandlerChannel(handler, preface: false)
        handler.owner = self.owner
        return (handler, channel)
    }

    @Test func aRequestAndItsAnswer() throws {
        let (connection, channel) = try self.make()
        let answer = RecordingAnswer()
        let stream = try #require(connection.open(answer))
        #expect(!stream.isReused)
        #expect(connection.openStreams == 1)
        stream.write(RequestHead(method: .post), isEnd: false)
        stream.write(ByteBuffer(string: "body"))
        #expect(!stream.hasSent)
        stream.end(trailers: FieldBlock([TextField("checksum", "1")]))
        #expect(try channel.written().map(\.kind) == [1, 0, 1])
        #expect(channel.writes == 1)
        #expect(stream.hasSent)
        try channel.feed(Frame.headers(1, Frame.ok, isEnd: false) + Frame.data(1, [1, 2]))
        #expect(answer.log == ["head 200"])
        stream.readBody()
        channel.run()
        stream.readBody()
        try channel.feed(Frame.headers(1, [TextField("grpc-status", "0")], isEnd: true))
        #expect(answer.log == ["head 200", "body 2", "end [grpc-status: 0]"])
        #expect(self.owner.log == ["room", "idle"])
        #expect(connection.openStreams == 0)
        let next = try #require(connection.open(RecordingAnswer()))
        #expect(next.isReused)
        #expect(!next.hasSent)
    }

    @Test func anAnswerWithoutABody() throws {
        let (connection, channel) = try self.make()
        let answer = RecordingAnswer()
        let stream = try #require(connection.open(answer))
        stream.write(RequestHead(), isEnd: true)
        try channel.feed(Frame.headers(1, [TextField(":status", "204")], isEnd: true))
        #expect(answer.log == ["head 204"])
        #expect(connection.openStreams == 0)
        // Who asks nonetheless is told that there is none, once.
        stream.readBody()
        stream.readBody()
        #expect(answer.log == ["head 204", "end []"])
        channel.close()
        #expect(answer.log == ["head 204", "end []"])
    }

    @Test(
        "What a stream's end means for the request",
        arguments: [
            (Frame.reset(1, .refusedStream), UpstreamFailure.Kind.refused, false),
            (Frame.reset(1, .cancel), .lost, false),
            (Frame.reset(1, .internalError), .truncated, true),
            (Frame.goAway(0), .refused, false),
            (Frame.headers(1, [TextField("a", "b")], isEnd: true), .garbage, false),
            (Frame.data(1, [1, 2, 3, 4, 5, 6], isEnd: false), .truncated, true),
            (Frame.data(1, [1], isEnd: true), .truncated, true),
            (Frame.raw(6, flags: 0, stream: 0, []), .lost, false),
            (Frame.raw(6, flags: 0, stream: 0, []), .truncated, true),
        ]
    )
    func failures(bytes: [UInt8], kind: UpstreamFailure.Kind, hasHead: Bool) throws {
        let (connection, channel) = try self.make()
        let answer = RecordingAnswer()
        let stream = try #require(connection.open(answer))
        stream.write(RequestHead(), isEnd: true)
        channel.run()
        if hasHead { try channel.feed(Frame.headers(1, Frame.ok + [TextField("content-length", "5")], isEnd: false)) }
        try channel.feed(bytes)
        channel.run()
        #expect(answer.failure?.kind == kind)
        #expect(answer.failure?.detail.isEmpty == false)
        // It is silent from now on.
        let log = answer.log
        stream.readBody()
        stream.write(ByteBuffer(string: "x"))
        stream.cancel()
        channel.close()
        #expect(answer.log == log)
        #expect(!stream.isWritable)
    }

    @Test("The channel closes", arguments: [false, true])
    func lost(hasHead: Bool) throws {
        let (connection, channel) = try self.make()
        let answer = RecordingAnswer()
        let stream = try #require(connection.open(answer))
        stream.write(RequestHead(), isEnd: true)
        channel.run()
        if hasHead { try channel.feed(Frame.headers(1, Frame.ok, isEnd: false)) }
        channel.close()
        #expect(answer.failure?.kind == (hasHead ? .truncated : .lost))
        #expect(connection.open(RecordingAnswer()) == nil)
        #expect(!connection.hasRoom)
        #expect(self.owner.log == ["closed"])
        #expect(stream.hasSent)
    }

    @Test func theServersFarewell() throws {
        let (connection, channel) = try self.make()
        let answers = (0..<2).map { _ in RecordingAnswer() }
        for answer in answers { connection.open(answer)?.write(RequestHead(), isEnd: true) }
        channel.run()
        try channel.feed(Frame.goAway(1))
        #expect(answers[1].failure?.kind == .refused)
        #expect(self.owner.log == ["going away"])
        #expect(connection.open(RecordingAnswer()) == nil)
        #expect(channel.channel.isActive)
        try channel.feed(Frame.headers(1, Frame.ok, isEnd: true))
        channel.run()
        #expect(answers[0].log == ["head 200"])
        #expect(!channel.channel.isActive)
    }

    @Test func whatWasNotFlushedWasNotSent() throws {
        let (connection, channel) = try self.make()
        let answer = RecordingAnswer()
        let stream = try #require(connection.open(answer))
        channel.channel.isWritable = false
        channel.channel.pipeline.fireChannelWritabilityChanged()
        stream.write(RequestHead(), isEnd: true)
        channel.run()
        #expect(!stream.hasSent)
        channel.close()
        #expect(answer.failure?.kind == .lost)
        #expect(!stream.hasSent)
    }

    @Test func closingWaitsForTheLastAnswer() throws {
        let (connection, channel) = try self.make()
        let answer = RecordingAnswer()
        let stream = try #require(connection.open(answer))
        stream.write(RequestHead(), isEnd: true)
        connection.close()
        #expect(try channel.written().map(\.kind) == [1])
        #expect(connection.open(RecordingAnswer()) == nil)
        try channel.feed(Frame.headers(1, Frame.ok, isEnd: true))
        #expect(try channel.written().map(\.kind) == [7])
        #expect(!channel.channel.isActive)
        #expect(self.owner.log == ["closed"])
    }

    @Test func cancelling() throws {
        let (connection, channel) = try self.make()
        let answer = RecordingAnswer()
        let stream = try #require(connection.open(answer))
        stream.write(RequestHead(), isEnd: true)
        channel.run()
        stream.cancel()
        #expect(try channel.written().map(\.kind) == [1, 3])
        #expect(connection.openStreams == 0)
        #expect(self.owner.log == ["room", "idle"])
        try channel.feed(Frame.headers(1, Frame.ok, isEnd: true))
        #expect(answer.log.isEmpty)
    }

    @Test func roomFollowsTheServer() throws {
        let (connection, channel) = try self.make()
        try channel.feed(Frame.settings([(3, 1)]))
        #expect(connection.room == 1)
        let stream = try #require(connection.open(RecordingAnswer()))
        #expect(!connection.hasRoom)
        #expect(connection.open(RecordingAnswer()) == nil)
        try channel.feed(Frame.settings([(3, 2)]))
        #expect(connection.hasRoom)
        #expect(self.owner.log == ["room", "room"])
        stream.cancel()
        channel.run()
        #expect(connection.openStreams == 0)
    }

    @Test func aServerThatDoesNotAnswerPingsIsLost() throws {
        var configuration = HTTP2Configuration()
        configuration.pingInterval = .seconds(30)
        let (_, channel) = try self.make(configuration)
        channel.advance(.seconds(30))
        let ping = try channel.written()
        #expect(ping.map(\.kind) == [6])
        channel.advance(.seconds(19))
        try channel.feed(Frame.raw(6, flags: 1, stream: 0, ping[0].payload))
        channel.advance(.seconds(29))
        #expect(try channel.written().isEmpty)
        channel.advance(.seconds(5))
        #expect(try channel.written().map(\.kind) == [6])
        channel.advance(.seconds(20))
        #expect(!channel.channel.isActive)
        #expect(self.owner.log == ["closed"])
    }

    @Test func aThousandRequestsLeaveNothingBehind() throws {
        let (connection, channel) = try self.make()
        weak var last: RecordingAnswer?
        for number in 0..<1000 {
            let answer = RecordingAnswer()
            last = answer
            let stream = try #require(connection.open(answer))
            stream.write(RequestHead(), isEnd: true)
            channel.run()
            let identifier = UInt32(2 * number + 1)
            try channel.feed(
                Frame.headers(identifier, Frame.ok, isEnd: false) + Frame.data(identifier, [1], isEnd: true)
            )
            stream.readBody()
            channel.run()
            stream.readBody()
            channel.run()
            #expect(answer.log == ["head 200", "body 1", "end []"])
            _ = try channel.written()
        }
        #expect(last == nil)
        #expect(connection.openStreams == 0)
        #expect(connection.slotCount == 1)
    }
}
