internal import NIOCore
internal import NIOHPACK
internal import NIOHTTP2
internal import NIOPosix
internal import NIOSSL
internal import ParleyCore

/// Checks over HTTP/2: gRPC's health service (`grpc.health.v1`) and pings. Without TLS they begin with HTTP/2 at once
/// ("prior knowledge").
enum HTTP2Checks {
    /// - Parameter target: `host:port`, and `/service` when one service is meant rather than the server.
    static func grpc(_ target: String, useTLS: Bool, verifies: Bool, timeout: Duration) async -> CheckResult {
        let parts = target.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let endpoint = Endpoint(String(first)) else {
            return CheckResult(.critical, "gRPC check \(target): not host:port[/service]")
        }
        let service = parts.count > 1 ? String(parts[1]) : ""
        return await self.exchange(
            endpoint,
            useTLS: useTLS,
            verifies: verifies,
            timeout: timeout,
            "gRPC check \(target)"
        ) {
            channel,
            answered in
            let multiplexer = try channel.pipeline.syncOperations.handler(type: NIOHTTP2Handler.self)
                .syncMultiplexer()
            multiplexer.createStreamChannel(promise: nil) { stream in
                stream.eventLoop.makeCompletedFuture {
                    try stream.pipeline.syncOperations.addHandler(
                        GRPCHealthHandler(
                            authority: String(first),
                            scheme: useTLS ? "https" : "http",
                            service: service,
                            answered: answered
                        )
                    )
                }
            }
        }
    }

    static func ping(_ target: String, useTLS: Bool, verifies: Bool, timeout: Duration) async -> CheckResult {
        guard let endpoint = Endpoint(target) else {
            return CheckResult(.critical, "HTTP2 ping: \(target) is not host:port")
        }
        return await self.exchange(
            endpoint,
            useTLS: useTLS,
            verifies: verifies,
            timeout: timeout,
            "HTTP2 ping \(target)"
        ) {
            channel,
            answered in
            try channel.pipeline.syncOperations.addHandler(PingHandler(answered: answered))
        }
    }

    /// Connects, lets `begin` ask, and waits for the answer: "" when it passes, else what is wrong.
    private static func exchange(
        _ endpoint: Endpoint,
        useTLS: Bool,
        verifies: Bool,
        timeout: Duration,
        _ name: String,
        _ begin: @escaping @Sendable (any Channel, EventLoopPromise<String>) throws -> Void
    ) async -> CheckResult {
        await SocketChecks.run(name, timeout: timeout) { loop, ended in
            let answered = loop.makePromise(of: String.self)
            answered.futureResult.whenSuccess { problem in
                ended.succeed(
                    problem.isEmpty
                        ? CheckResult(.passing, "\(name): success") : CheckResult(.critical, "\(name): \(problem)")
                )
            }
            ended.futureResult.whenComplete { _ in answered.succeed("ended") }
            let bootstrap = ClientBootstrap(group: loop)
                .connectTimeout(TimeAmount(timeout))
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        if useTLS {
                            let handler = try self.tls(endpoint.host, verifies: verifies)
                            try channel.pipeline.syncOperations.addHandler(handler)
                        }
                        try channel.pipeline.syncOperations.addHandler(
                            NIOHTTP2Handler(
                                mode: .client,
                                eventLoop: channel.eventLoop,
                                inboundStreamInitializer: { $0.close() }
                            )
                        )
                    }
                }
            let connected = SocketChecks.connect(bootstrap, to: endpoint)
            connected.whenSuccess { channel in
                channel.closeFuture.whenComplete { _ in answered.succeed("the connection was closed") }
                // After the handlers have seen the connection and greeted.
                channel.eventLoop.execute {
                    do { try begin(channel, answered) } catch { answered.succeed("\(error)") }
                }
            }
            return connected
        }
    }

    private static func tls(_ host: String, verifies: Bool) throws -> NIOSSLClientHandler {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.applicationProtocols = ["h2"]
        if !verifies { configuration.certificateVerification = .none }
        let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
        return try NIOSSLClientHandler(
            context: NIOSSLContext(configuration: configuration),
            serverHostname: isAddress ? nil : host
        )
    }

    private final class PingHandler: ChannelInboundHandler {
        typealias InboundIn = HTTP2Frame
        typealias OutboundOut = HTTP2Frame

        private static let data = HTTP2PingData(withInteger: 0x5061_726C_6579)
        private let answered: EventLoopPromise<String>

        init(answered: EventLoopPromise<String>) { self.answered = answered }

        func handlerAdded(context: ChannelHandlerContext) {
            let frame = HTTP2Frame(streamID: .rootStream, payload: .ping(Self.data, ack: false))
            context.writeAndFlush(self.wrapOutboundOut(frame), promise: nil)
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            if case .ping(Self.data, true) = self.unwrapInboundIn(data).payload { self.answered.succeed("") }
            context.fireChannelRead(data)
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { self.answered.succeed("\(error)") }
    }
}

/// One call of `grpc.health.v1.Health/Check`, on its stream.
private final class GRPCHealthHandler: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame.FramePayload
    typealias OutboundOut = HTTP2Frame.FramePayload

    /// A health answer has two bytes; a server that sends more than this is none.
    private static let maxAnswerBytes = 65_536

    private let authority: String
    private let scheme: String
    private let service: String
    private let answered: EventLoopPromise<String>
    private var received: [UInt8] = []

    init(authority: String, scheme: String, service: String, answered: EventLoopPromise<String>) {
        self.authority = authority
        self.scheme = scheme
        self.service = service
        self.answered = answered
    }

    func channelActive(context: ChannelHandlerContext) {
        let headers: HPACKHeaders = [
            ":method": "POST", ":scheme": self.scheme, ":path": "/grpc.health.v1.Health/Check",
            ":authority": self.authority, "content-type": "application/grpc", "te": "trailers",
            "user-agent": "Consul Health Check",
        ]
        context.write(self.wrapOutboundOut(.headers(.init(headers: headers))), promise: nil)
        let body = ByteBuffer(bytes: Self.request(self.service))
        context.writeAndFlush(
            self.wrapOutboundOut(.data(.init(data: .byteBuffer(body), endStream: true))),
            promise: nil
        )
        context.fireChannelActive()
    }

    /// gRPC's five bytes, then the message: field 1 is the name, left out when it is empty.
    private static func request(_ service: String) -> [UInt8] {
        var message: [UInt8] = []
        if !service.isEmpty {
            message.append(0x0A)
            var length = service.utf8.count
            while length >= 0x80 {
                message.append(UInt8(length & 0x7F) | 0x80)
                length >>= 7
            }
            message.append(UInt8(length))
            message += service.utf8
        }
        let count = UInt32(clamping: message.count)
        return [0] + (0..<4).map { UInt8(truncatingIfNeeded: count >> (24 - 8 * $0)) } + message
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .headers(let content):
            if let status = content.headers.first(name: "grpc-status") {
                let message = content.headers.first(name: "grpc-message") ?? ""
                self.answered.succeed(status == "0" ? self.verdict : "grpc-status \(status) \(message)")
            } else if let status = content.headers.first(name: ":status"), status != "200" {
                self.answered.succeed("HTTP status \(status)")
            }
        case .data(let content):
            guard case .byteBuffer(let buffer) = content.data else { return }
            self.received += buffer.readableBytesView
            if self.received.count > Self.maxAnswerBytes { self.answered.succeed("the answer is too long") }
            if content.endStream { self.answered.succeed("the answer has no status") }
        default: break
        }
    }

    /// What the message says: field 1 is the status, 1 is SERVING.
    private var verdict: String {
        guard self.received.count >= 5, self.received[0] == 0 else { return "the answer has no message" }
        let message = self.received.dropFirst(5)
        // An empty message is status 0.
        guard message.first == 0x08 || message.isEmpty else { return "the answer cannot be read" }
        let status = message.dropFirst().first ?? 0
        let names: [UInt8: String] = [0: "UNKNOWN", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"]
        return status == 1 ? "" : "status \(names[status] ?? "\(status)")"
    }

    func channelInactive(context: ChannelHandlerContext) { self.answered.succeed("the stream was closed") }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.answered.succeed("\(error)")
        context.close(promise: nil)
    }
}
