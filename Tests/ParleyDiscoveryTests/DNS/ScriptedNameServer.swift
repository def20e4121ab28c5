internal import NIOCore
internal import NIOPosix
internal import ParleyCore
internal import ParleyDiscovery
internal import Synchronization

/// A name server that answers as a test says, over UDP and TCP on one port, byte for byte.
final class ScriptedNameServer: Sendable {
    struct Query: Sendable {
        var message: DNSMessage
        var isTCP: Bool
        /// Counted from 1.
        var number: Int
        /// Where it came from.
        var port: Int

        /// The beginnings of an answer.
        var answer: DNSMessage {
            var answer = DNSMessage(answering: self.message)
            answer.isAuthoritative = true
            return answer
        }

        var name: DNSName { self.message.questions.first?.name ?? .root }
        var type: DNSRecordType { self.message.questions.first?.type ?? .any }
    }

    /// Every element is a datagram, or a message over TCP.
    typealias Script = @Sendable (Query) -> [[UInt8]]

    private let script: Mutex<Script>
    private let received = Mutex<[Query]>([])
    private let changed = Signal()

    private init(_ script: @escaping Script) { self.script = Mutex(script) }

    var queries: [Query] { self.received.withLock { $0 } }

    func answer(_ script: @escaping Script) { self.script.withLock { $0 = script } }

    /// Waits until so many queries have come; ended by the test's time limit.
    func wait(forQueries count: Int) async throws {
        while true {
            let generation = self.changed.generation
            if self.queries.count >= count { return }
            await self.changed.wait(after: generation, until: nil, on: SystemTimeSource())
            try Task.checkCancellation()
        }
    }

    /// - Parameter isOverTCP: Whether it listens for TCP as well.
    @discardableResult
    static func with<Value>(
        isOverTCP: Bool = true,
        _ script: @escaping Script,
        _ body: (Endpoint, ScriptedNameServer) async throws -> Value
    ) async throws -> Value {
        let server = ScriptedNameServer(script)
        let group = MultiThreadedEventLoopGroup.singleton
        let tcp = try await ServerBootstrap(group: group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Streams(server))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = tcp.localAddress?.port ?? 0
        let udp = try await DatagramBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Datagrams(server))
                }
            }
            .bind(host: "127.0.0.1", port: port).get()
        if !isOverTCP { try await tcp.close() }
        do {
            let value = try await body(Endpoint(host: "127.0.0.1", port: port), server)
            try? await tcp.close()
            try? await udp.close()
            return value
        } catch {
            try? await tcp.close()
            try? await udp.close()
            throw error
        }
    }

    private func take(_ bytes: [UInt8], isTCP: Bool, port: Int) -> [[UInt8]] {
        guard let message = try? DNSMessage(decoding: bytes) else { return [] }
        let query = self.received.withLock { received in
            received.append(Query(message: message, isTCP: isTCP, number: received.count + 1, port: port))
            return received[received.count - 1]
        }
        let script = self.script.withLock { $0 }
        let answers = script(query)
        self.changed.ring()
        return answers
    }

    private final class Datagrams: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>
        typealias OutboundOut = AddressedEnvelope<ByteBuffer>

        private let server: ScriptedNameServer

        init(_ server: ScriptedNameServer) { self.server = server }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let envelope = self.unwrapInboundIn(data)
            let address = envelope.remoteAddress
            let bytes = Array(envelope.data.readableBytesView)
            for answer in self.server.take(bytes, isTCP: false, port: address.port ?? 0) {
                let datagram = AddressedEnvelope(remoteAddress: address, data: ByteBuffer(bytes: answer))
                context.writeAndFlush(self.wrapOutboundOut(datagram), promise: nil)
            }
        }
    }

    private final class Streams: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let server: ScriptedNameServer
        private var received = ByteBuffer()

        init(_ server: ScriptedNameServer) { self.server = server }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.received.writeImmutableBuffer(self.unwrapInboundIn(data))
            guard let length: UInt16 = self.received.getInteger(at: 0),
                let bytes = self.received.getBytes(at: 2, length: Int(length))
            else { return }
            let answers = self.server.take(bytes, isTCP: true, port: context.remoteAddress?.port ?? 0)
            // No answer is an end of the connection.
            if answers.isEmpty { context.close(promise: nil) }
            for answer in answers {
                var framed = ByteBuffer(integer: UInt16(answer.count))
                framed.writeBytes(answer)
                // In pieces: where TCP cuts is nobody's choice.
                while let piece = framed.readSlice(length: min(framed.readableBytes, 7)), piece.readableBytes > 0 {
                    context.writeAndFlush(self.wrapOutboundOut(piece), promise: nil)
                }
            }
        }
    }
}
