internal import NIOCore
internal import NIOPosix
internal import ParleyCore

/// TCP and UDP checks.
enum SocketChecks {
    /// Whether somebody accepts connections.
    static func tcp(_ target: String, timeout: Duration) async -> CheckResult {
        guard let endpoint = Endpoint(target) else {
            return CheckResult(.critical, "dial tcp: \(target) is not host:port")
        }
        do {
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connectTimeout(TimeAmount(timeout))
                .connect(host: endpoint.host, port: endpoint.port).get()
            try? await channel.close()
            return CheckResult(.passing, "TCP connect \(target): Success")
        } catch {
            return CheckResult(.critical, "dial tcp \(target): \(error)")
        }
    }

    /// Whether nobody says that nobody is there. UDP has no better answer: silence passes.
    static func udp(_ target: String, timeout: Duration) async -> CheckResult {
        guard let endpoint = Endpoint(target) else {
            return CheckResult(.critical, "dial udp: \(target) is not host:port")
        }
        let passed = CheckResult(.passing, "UDP connect \(target): Success")
        do {
            let address = try SocketAddress.makeAddressResolvingHost(endpoint.host, port: endpoint.port)
            let channel = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connect(to: address).get()
            let answered = channel.eventLoop.makePromise(of: CheckResult.self)
            try await channel.eventLoop.submit {
                try channel.pipeline.syncOperations.addHandler(UDPAnswer(target: target, promise: answered))
            }.get()
            channel.eventLoop.scheduleTask(in: TimeAmount(timeout)) { answered.succeed(passed) }
            let envelope = AddressedEnvelope(remoteAddress: address, data: ByteBuffer(string: "Hello"))
            channel.writeAndFlush(envelope, promise: nil)
            let result = try await answered.futureResult.get()
            try? await channel.close()
            return result
        } catch {
            return CheckResult(.critical, "dial udp \(target): \(error)")
        }
    }

    private final class UDPAnswer: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>

        private let target: String
        private let promise: EventLoopPromise<CheckResult>

        init(target: String, promise: EventLoopPromise<CheckResult>) {
            self.target = target
            self.promise = promise
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.promise.succeed(CheckResult(.passing, "UDP connect \(self.target): Success"))
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            self.promise.succeed(CheckResult(.critical, "read udp \(self.target): \(error)"))
        }

        func channelInactive(context: ChannelHandlerContext) {
            self.promise.succeed(CheckResult(.critical, "read udp \(self.target): closed"))
        }
    }
}
