internal import NIOCore
internal import NIOPosix
internal import ParleyCore

/// TCP and UDP checks, and what all checks on sockets share.
enum SocketChecks {
    /// Runs one check: `begin` starts it, and whoever comes first ends it: its result, its time, or the end of the
    /// registry, which must not wait for a peer.
    ///
    /// - Parameter begin: Gives the future of the connection, which is closed when the check has ended.
    static func run(
        _ name: String,
        timeout: Duration,
        _ begin: (any EventLoop, EventLoopPromise<CheckResult>) -> EventLoopFuture<any Channel>
    ) async -> CheckResult {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let ended = loop.makePromise(of: CheckResult.self)
        let timer = loop.scheduleTask(in: TimeAmount(timeout)) {
            ended.succeed(CheckResult(.critical, "\(name): timed out after \(timeout)"))
        }
        let connected = begin(loop, ended)
        connected.whenFailure { ended.succeed(CheckResult(.critical, "\(name): \($0)")) }
        ended.futureResult.whenComplete { _ in
            timer.cancel()
            connected.whenSuccess { $0.close(promise: nil) }
        }
        do {
            return try await withTaskCancellationHandler {
                try await ended.futureResult.get()
            } onCancel: {
                ended.succeed(CheckResult(.critical, "\(name): the registry ends"))
            }
        } catch {
            return CheckResult(.critical, "\(name): \(error)")
        }
    }

    /// Connects to an address at once; only a name is looked up. NIO's look-ups stand in one queue: an address that had
    /// to wait there would be late because of a name that it has nothing to do with.
    static func connect(_ bootstrap: ClientBootstrap, to endpoint: Endpoint) -> EventLoopFuture<any Channel> {
        guard let address = try? SocketAddress(ipAddress: endpoint.host, port: endpoint.port) else {
            return bootstrap.connect(host: endpoint.host, port: endpoint.port)
        }
        return bootstrap.connect(to: address)
    }

    /// The same rule for what has no connection; the operating system's look-up waits, and neither a loop nor Swift's
    /// own threads must.
    private static func address(of endpoint: Endpoint, on loop: any EventLoop) -> EventLoopFuture<SocketAddress> {
        if let address = try? SocketAddress(ipAddress: endpoint.host, port: endpoint.port) {
            return loop.makeSucceededFuture(address)
        }
        return NIOThreadPool.singleton.runIfActive(eventLoop: loop) {
            try SocketAddress.makeAddressResolvingHost(endpoint.host, port: endpoint.port)
        }
    }

    /// Whether somebody accepts connections.
    static func tcp(_ target: String, timeout: Duration) async -> CheckResult {
        guard let endpoint = Endpoint(target) else {
            return CheckResult(.critical, "dial tcp: \(target) is not host:port")
        }
        return await self.run("dial tcp \(target)", timeout: timeout) { loop, ended in
            let connected = self.connect(
                ClientBootstrap(group: loop).connectTimeout(TimeAmount(timeout)),
                to: endpoint
            )
            connected.whenSuccess { _ in
                ended.succeed(CheckResult(.passing, "TCP connect \(target): Success"))
            }
            return connected
        }
    }

    /// Whether nobody says that nobody is there. UDP has no better answer: silence passes.
    static func udp(_ target: String, timeout: Duration) async -> CheckResult {
        guard let endpoint = Endpoint(target) else {
            return CheckResult(.critical, "dial udp: \(target) is not host:port")
        }
        let passed = CheckResult(.passing, "UDP connect \(target): Success")
        return await self.run("dial udp \(target)", timeout: timeout + .seconds(1)) { loop, ended in
            self.address(of: endpoint, on: loop).flatMap { address in
                DatagramBootstrap(group: loop)
                    .channelInitializer { channel in
                        channel.eventLoop.makeCompletedFuture {
                            let handler = UDPAnswer(passed: passed, target: target, ended: ended)
                            try channel.pipeline.syncOperations.addHandler(handler)
                        }
                    }
                    .connect(to: address)
                    .map { channel in
                        let envelope = AddressedEnvelope(remoteAddress: address, data: ByteBuffer(string: "Hello"))
                        channel.writeAndFlush(envelope, promise: nil)
                        loop.scheduleTask(in: TimeAmount(timeout)) { ended.succeed(passed) }
                        return channel
                    }
            }
        }
    }

    private final class UDPAnswer: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>

        private let passed: CheckResult
        private let target: String
        private let ended: EventLoopPromise<CheckResult>

        init(passed: CheckResult, target: String, ended: EventLoopPromise<CheckResult>) {
            self.passed = passed
            self.target = target
            self.ended = ended
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) { self.ended.succeed(self.passed) }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            self.ended.succeed(CheckResult(.critical, "read udp \(self.target): \(error)"))
        }
    }
}
