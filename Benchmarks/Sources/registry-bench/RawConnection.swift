import NIOCore
import NIOPosix
import PeerBench
import Synchronization

/// What came for one request.
struct Answer: Sendable {
    var status = 0
    var index: UInt64 = 0
    var bytes = 0
    /// When its last byte was read.
    var at = NIODeadline.distantPast
}

/// Requests of one connection, each sent when the one before has been answered.
private struct Order: Sendable {
    /// `nil` when there are no more.
    var next: @Sendable () -> ByteBuffer?
    /// Of the last one.
    var promise: EventLoopPromise<Answer>
}

/// A connection that does as little as possible for each request, since it shares the machine with the registry.
struct RawConnection: Sendable {
    private let channel: any Channel

    static func open(_ port: Int, on group: any EventLoopGroup) async throws -> RawConnection {
        let channel = try await ClientBootstrap(group: group)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Handler()) }
            }
            .connect(host: "127.0.0.1", port: port).get()
        return RawConnection(channel: channel)
    }

    /// Sends requests one after the other; the future is that of the last answer, and fails with the first that is no
    /// 200.
    func send(_ next: @escaping @Sendable () -> ByteBuffer?) -> EventLoopFuture<Answer> {
        let promise = self.channel.eventLoop.makePromise(of: Answer.self)
        self.channel.writeAndFlush(Order(next: next, promise: promise), promise: nil)
        return promise.futureResult
    }

    func send(_ request: ByteBuffer) -> EventLoopFuture<Answer> {
        let sent = Counter()
        return self.send { sent.next() == 0 ? request : nil }
    }

    func close() async throws { try await self.channel.close() }

    private final class Handler: ChannelDuplexHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundIn = Order
        typealias OutboundOut = ByteBuffer

        private var order: Order?
        private var answer = Answer()
        private var head = ByteBuffer()
        /// Of the body, once the head has come.
        private var missing: Int?

        func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
            self.order = self.unwrapOutboundIn(data)
            self.next(context)
        }

        private func next(_ context: ChannelHandlerContext) {
            guard let order else { return }
            guard let request = order.next() else {
                self.order = nil
                order.promise.succeed(self.answer)
                return
            }
            self.answer = Answer()
            context.writeAndFlush(self.wrapOutboundOut(request), promise: nil)
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var buffer = self.unwrapInboundIn(data)
            if let missing {
                self.missing = missing - buffer.readableBytes
            } else {
                self.head.writeBuffer(&buffer)
                self.readHead()
            }
            guard self.missing == 0 else { return }
            self.missing = nil
            self.head.clear()
            self.answer.at = .now()
            guard self.answer.status == 200 else {
                self.fail("answered with \(self.answer.status)")
                return
            }
            self.next(context)
        }

        private func readHead() {
            var lines = self.head.readableBytesView
            while let end = lines.firstIndex(of: 10) {
                let line = lines[lines.startIndex..<end]
                lines = lines[(end + 1)...]
                if line.count <= 1 {
                    self.missing = self.answer.bytes - lines.count
                    return
                }
                if line.starts(with: Self.statusLine) {
                    self.answer.status = Int(Self.number(line.dropFirst(Self.statusLine.count)))
                } else if line.starts(with: Self.length) {
                    self.answer.bytes = Int(Self.number(line.dropFirst(Self.length.count)))
                } else if line.starts(with: Self.index) {
                    self.answer.index = Self.number(line.dropFirst(Self.index.count))
                }
            }
        }

        private static let statusLine = Array("HTTP/1.1 ".utf8)
        private static let length = Array("Content-Length: ".utf8)
        private static let index = Array("X-Consul-Index: ".utf8)

        private static func number(_ text: ByteBufferView) -> UInt64 {
            text.prefix { (48...57).contains($0) }.reduce(0) { $0 &* 10 &+ UInt64($1 - 48) }
        }

        func channelInactive(context: ChannelHandlerContext) { self.fail("has closed the connection") }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            self.fail("\(error)")
            context.close(promise: nil)
        }

        private func fail(_ what: String) {
            self.order?.promise.fail(PeerBench.Failure("the registry: \(what)"))
            self.order = nil
        }
    }
}

/// 0, 1, 2, … for all who ask.
final class Counter: Sendable {
    private let count = Atomic(0)

    func next() -> Int { self.count.wrappingAdd(1, ordering: .relaxed).oldValue }
}
