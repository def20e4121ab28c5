import NIOCore
import NIOPosix
import PeerBench

/// Asks the same question over UDP again and again, with so many under way.
enum DNSAsker {
    enum Question: UInt8 {
        case address = 1
        case service = 33
    }

    /// Returns when `count` have been answered; what is lost is asked again.
    static func ask(
        _ question: Question,
        _ name: String,
        port: Int,
        count: Int,
        inFlight: Int,
        on group: any EventLoopGroup
    ) async throws {
        let server = try SocketAddress(ipAddress: "127.0.0.1", port: port)
        let promise = group.any().makePromise(of: Void.self)
        let channel = try await DatagramBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        Handler(Self.query(question, name), server, count: count, inFlight: inFlight, promise)
                    )
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let result = await Result { try await promise.futureResult.get() }
        try await channel.close()
        try result.get()
    }

    /// With EDNS, as resolvers ask: without it three instances are all that is told.
    private static func query(_ question: Question, _ name: String) -> [UInt8] {
        var bytes: [UInt8] = [0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1]
        for label in name.split(separator: ".") { bytes += [UInt8(label.utf8.count)] + Array(label.utf8) }
        return bytes + [0, 0, question.rawValue, 0, 1] + [0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>
        typealias OutboundOut = AddressedEnvelope<ByteBuffer>

        private let query: [UInt8]
        private let server: SocketAddress
        private let count: Int
        private let inFlight: Int
        private let promise: EventLoopPromise<Void>
        private var answered = 0
        private var asked = 0
        private var lastLook = 0

        init(
            _ query: [UInt8],
            _ server: SocketAddress,
            count: Int,
            inFlight: Int,
            _ promise: EventLoopPromise<Void>
        ) {
            self.query = query
            self.server = server
            self.count = count
            self.inFlight = inFlight
            self.promise = promise
        }

        func channelActive(context: ChannelHandlerContext) {
            self.fill(context)
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            context.eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { task in
                let (handler, context) = bound.value
                guard context.channel.isActive else { return task.cancel() }
                // Nothing has come in a second: it was lost.
                if handler.answered == handler.lastLook {
                    handler.asked = handler.answered
                    handler.fill(context)
                }
                handler.lastLook = handler.answered
            }
        }

        private func fill(_ context: ChannelHandlerContext) {
            while self.asked < min(self.count, self.answered + self.inFlight) {
                var bytes = self.query
                bytes[0] = UInt8(truncatingIfNeeded: self.asked >> 8)
                bytes[1] = UInt8(truncatingIfNeeded: self.asked)
                let datagram = AddressedEnvelope(remoteAddress: self.server, data: ByteBuffer(bytes: bytes))
                context.write(self.wrapOutboundOut(datagram), promise: nil)
                self.asked += 1
            }
            context.flush()
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = self.unwrapInboundIn(data).data
            // No error, and not empty.
            guard let code = bytes.getInteger(at: 3, as: UInt8.self), code & 15 == 0,
                let answers = bytes.getInteger(at: 6, as: UInt16.self), answers > 0
            else {
                self.promise.fail(PeerBench.Failure("DNS has no answer: \(Array(bytes.readableBytesView))"))
                return
            }
            self.answered += 1
            if self.answered >= self.count { self.promise.succeed(()) }
        }

        func channelReadComplete(context: ChannelHandlerContext) { self.fill(context) }

        func channelInactive(context: ChannelHandlerContext) {
            self.promise.fail(PeerBench.Failure("the socket was closed"))
        }
    }
}

extension Result where Failure == any Error {
    fileprivate init(_ body: () async throws -> Success) async {
        do { self = .success(try await body()) } catch { self = .failure(error) }
    }
}
