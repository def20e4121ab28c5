import NIOCore
import NIOEmbedded

@testable import ParleyGateway

/// Takes requests and remembers what was told about each.
final class RecordingAcceptor: RequestAcceptor {
    private(set) var exchanges: [RecordingExchange] = []
    /// What is done with each request before `accept` returns.
    var onAccept: (RecordingExchange) -> Void = { _ in }

    func accept(_ head: RequestHead, stream: any ClientStream) -> any RequestReceiver {
        let exchange = RecordingExchange(head, stream)
        self.exchanges.append(exchange)
        self.onAccept(exchange)
        return exchange
    }

    func refuse(_ refusal: HeadRefusal, method: Method, stream: any ClientStream) {}

    func forget() { self.exchanges = [] }
}

final class RecordingExchange: RequestReceiver {
    let head: RequestHead
    let stream: any ClientStream
    private(set) var log: [String] = []
    var onBody: (RecordingExchange, ByteBuffer) -> Void = { _, _ in }
    var onEnd: (RecordingExchange) -> Void = { _ in }

    init(_ head: RequestHead, _ stream: any ClientStream) {
        self.head = head
        self.stream = stream
    }

    func received(body: ByteBuffer) {
        self.log.append("body \(body.readableBytes)")
        self.onBody(self, body)
    }

    func bodyEnded(trailers: FieldBlock?) {
        self.log.append("end \(trailers?.texts ?? [])")
        self.onEnd(self)
    }

    func bodyBroken() { self.log.append("broken") }
    func clientGone() { self.log.append("gone") }
    func clientReadCompleted() {}
    func clientWritabilityChanged(isWritable: Bool) { self.log.append("writable \(isWritable)") }
}

final class RecordingAnswer: ResponseReceiver {
    private(set) var log: [String] = []
    private(set) var failure: UpstreamFailure?

    func received(head: ResponseHead) { self.log.append("head \(head.status)") }
    func received(answer: ByteBuffer) { self.log.append("body \(answer.readableBytes)") }
    func upstreamReadCompleted() {}
    func answerEnded(trailers: FieldBlock?) { self.log.append("end \(trailers?.texts ?? [])") }
    func upstreamWritabilityChanged(isWritable: Bool) { self.log.append("writable \(isWritable)") }

    func failed(_ failure: UpstreamFailure) {
        self.log.append("failed \(failure.kind)")
        self.failure = failure
    }
}

final class RecordingOwner: HTTP2ClientConnectionOwner {
    private(set) var log: [String] = []

    func connectionIsIdle(_ connection: HTTP2ClientConnection) { self.log.append("idle") }
    func connectionHasRoom(_ connection: HTTP2ClientConnection) { self.log.append("room") }
    func connectionIsGoingAway(_ connection: HTTP2ClientConnection) { self.log.append("going away") }
    func connectionClosed(_ connection: HTTP2ClientConnection) { self.log.append("closed") }
}

/// A handler in a channel without a socket, and raw frames on the other side.
final class HandlerChannel {
    let channel: EmbeddedChannel
    /// How often the channel was flushed with something to write.
    private(set) var writes = 0

    init(_ handler: HTTP2Handler, preface: Bool) throws {
        self.channel = EmbeddedChannel()
        try self.channel.pipeline.syncOperations.addHandler(handler)
        try self.channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        try self.feed((preface ? HTTP2Connection.preface : []) + Frame.settings([]))
        try self.feed(Frame.raw(4, flags: 1, stream: 0, []))
        _ = try self.written()
    }

    func feed(_ bytes: [UInt8]) throws {
        if self.channel.isActive { try self.channel.writeInbound(ByteBuffer(bytes: bytes)) }
    }

    /// The tick's end.
    func run() { self.channel.embeddedEventLoop.run() }

    func advance(_ time: TimeAmount) { self.channel.embeddedEventLoop.advanceTime(by: time) }

    func written() throws -> [Frame] {
        self.run()
        var all: [UInt8] = []
        self.writes = 0
        while let piece = try self.channel.readOutbound(as: ByteBuffer.self) {
            if piece.readableBytes > 0 { self.writes += 1 }
            all += bytes(piece)
        }
        if all.starts(with: HTTP2Connection.preface) { all.removeFirst(HTTP2Connection.preface.count) }
        return Frame.parse(all)
    }

    func close() { _ = try? self.channel.finish(acceptAlreadyClosed: true) }
}

extension HTTP2Handler {
    var slotCount: Int { self.connection.slots.count }
}
