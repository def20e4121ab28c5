import NIOCore
import NIOPosix
import Synchronization

@testable import ParleyAMQP

/// Between client and broker: relays, keeps what came, and cuts connections after a number of bytes.
final class CuttingProxy: Sendable {
    enum Direction: CaseIterable { case toBroker, toClient }

    /// After how many bytes of which direction a connection is cut; the last byte is still handed on.
    struct Cut: Sendable {
        var direction: Direction
        var after: Int
    }

    private struct State {
        var cuts: [Cut]
        var made = 0
        var cut = 0
        var fromBroker = ByteBuffer()
    }

    private let state: Mutex<State>

    /// One cut for each connection in turn; those after the last are left alone.
    init(_ cuts: [Cut] = []) {
        self.state = Mutex(State(cuts: cuts.reversed()))
    }

    var cutsMade: Int { self.state.withLock { $0.cut } }
    var connections: Int { self.state.withLock { $0.made } }
    /// Everything that the broker has sent.
    var fromBroker: ByteBuffer { self.state.withLock { $0.fromBroker } }

    func run<Value: Sendable>(
        _ configuration: AMQPConfiguration,
        _ body: (AMQPConfiguration) async throws -> Value
    )
        async throws -> Value
    {
        let target = configuration.endpoints[0]
        let listener = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { client in
                let cut: Cut? = self.state.withLock { state in
                    state.made += 1
                    return state.cuts.popLast()
                }
                return ClientBootstrap(group: client.eventLoop)
                    .channelOption(.autoRead, value: false)
                    .connect(host: target.host, port: target.port)
                    .flatMapThrowing { broker in
                        func relay(_ direction: Direction, _ other: any Channel) -> Relay {
                            Relay(self, direction, other, left: cut?.direction == direction ? cut?.after : nil)
                        }
                        try client.pipeline.syncOperations.addHandler(relay(.toBroker, broker))
                        try broker.pipeline.syncOperations.addHandler(relay(.toClient, client))
                        for channel in [client, broker] {
                            channel.setOption(.autoRead, value: true).whenComplete { _ in }
                        }
                    }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        var configuration = configuration
        configuration.endpoints = [.init(host: "127.0.0.1", port: listener.localAddress?.port ?? 0)]
        let result: Result<Value, any Error>
        do { result = .success(try await body(configuration)) } catch { result = .failure(error) }
        try await listener.close()
        return try result.get()
    }

    private final class Relay: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let proxy: CuttingProxy
        private let direction: Direction
        private let other: any Channel
        private var left: Int?

        init(_ proxy: CuttingProxy, _ direction: Direction, _ other: any Channel, left: Int?) {
            (self.proxy, self.direction, self.other, self.left) = (proxy, direction, other, left)
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var bytes = self.unwrapInboundIn(data)
            if let left {
                bytes = bytes.readSlice(length: min(left, bytes.readableBytes)) ?? bytes
                self.left = left - bytes.readableBytes
            }
            if self.direction == .toClient {
                self.proxy.state.withLock { _ = $0.fromBroker.writeImmutableBuffer(bytes) }
            }
            let written = self.other.writeAndFlush(bytes)
            guard self.left == 0 else { return }
            self.left = nil
            self.proxy.state.withLock { $0.cut += 1 }
            let (here, there) = (context.channel, self.other)
            written.whenComplete { _ in
                here.close(promise: nil)
                there.close(promise: nil)
            }
        }

        func channelInactive(context: ChannelHandlerContext) { self.other.close(promise: nil) }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
