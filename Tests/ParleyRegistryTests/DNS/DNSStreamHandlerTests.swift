internal import NIOCore
internal import NIOEmbedded
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyTestKit
internal import Testing

@testable internal import ParleyRegistry

@Suite struct DNSStreamHandlerTests {
    /// What goes out to the socket, which asks for more to read whenever it is let.
    private final class Reads: ChannelOutboundHandler {
        typealias OutboundIn = ByteBuffer

        var count = 0

        func read(context: ChannelHandlerContext) {
            self.count += 1
            context.read()
        }
    }

    private let shop = ShopRegistry([.web("10.0.0.1")])

    private func channel(_ reads: Reads, idleTimeout: TimeAmount = .seconds(10)) throws -> EmbeddedChannel {
        let responder = DNSResponder(
            zone: DNSZone(settings: .init(domain: try DNSName("consul"), datacenter: "dc1", nodeName: "n1")),
            source: self.shop,
            time: ManualClock(),
            random: SeededRandomSource(seed: 1)
        )
        let channel = EmbeddedChannel()
        try channel.pipeline.syncOperations.addHandler(reads)
        try channel.pipeline.syncOperations.addHandler(DNSStreamHandler(responder: responder, idleTimeout: idleTimeout))
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1), promise: nil)
        return channel
    }

    private func query(_ id: UInt16) throws -> ByteBuffer {
        let question = DNSQuestion(try DNSName("web.service.consul"), .a)
        return ByteBuffer(bytes: DNSStream.framed(DNSMessage(id: id, asking: question)))
    }

    private func answers(_ channel: EmbeddedChannel) throws -> [DNSMessage] {
        var messages: [DNSMessage] = []
        while let buffer = try channel.readOutbound(as: ByteBuffer.self) {
            guard buffer.readableBytes > 0 else { continue }
            #expect(buffer.getInteger(at: 0, as: UInt16.self) == UInt16(buffer.readableBytes - 2))
            messages.append(try DNSMessage(decoding: Array(buffer.readableBytesView.dropFirst(2))))
        }
        return messages
    }

    @Test func takesNothingWhileItsAnswersAreNotFetched() throws {
        let reads = Reads()
        let channel = try self.channel(reads)
        channel.isWritable = false
        channel.read()
        let before = reads.count
        for id in 0..<100 as Range<UInt16> { try channel.writeInbound(try self.query(id)) }
        channel.read()
        #expect(self.shop.questions == 0)
        #expect(reads.count == before)
        #expect(try self.answers(channel).isEmpty)
        // When they are fetched, all are answered, and more is read.
        channel.isWritable = true
        channel.pipeline.fireChannelWritabilityChanged()
        #expect(try self.answers(channel).map(\.id) == Array(0..<100))
        #expect(reads.count == before + 1)
    }

    @Test func answersWhatComesByteForByte() throws {
        let channel = try self.channel(Reads())
        for byte in try self.query(1).readableBytesView { try channel.writeInbound(ByteBuffer(bytes: [byte])) }
        #expect(try self.answers(channel).map(\.id) == [1])
    }

    @Test func bytesThatAreNoWholeQueryDoNotKeepItOpen() throws {
        let channel = try self.channel(Reads(), idleTimeout: .seconds(10))
        channel.embeddedEventLoop.advanceTime(by: .seconds(9))
        try channel.writeInbound(try self.query(1))
        channel.embeddedEventLoop.advanceTime(by: .seconds(9))
        #expect(channel.isActive)
        try channel.writeInbound(ByteBuffer(bytes: [0, 200, 1, 2, 3]))
        channel.embeddedEventLoop.advanceTime(by: .seconds(1))
        #expect(!channel.isActive)
    }

    @Test func finishesBehindItsAnswers() throws {
        let channel = try self.channel(Reads())
        try channel.writeInbound(try self.query(1))
        channel.pipeline.fireUserInboundEventTriggered(DNSStreamHandler.Finish())
        #expect(try self.answers(channel).map(\.id) == [1])
        #expect(!channel.isActive)
    }
}
