internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import ParleyCore
internal import ParleyHTTPClient

/// Asks one instance whether it is well.
struct HealthProbe: Sendable {
    private let rules: HealthCheckRules
    /// How the instances are spoken to; `nil` is without TLS.
    private let tls: (rules: UpstreamTLS, host: String)?
    private let certificates: UpstreamCertificates
    private let questions: OwnQuestions
    private let loops: MultiThreadedEventLoopGroup

    init(
        _ rules: HealthCheckRules,
        tls: (rules: UpstreamTLS, host: String)?,
        certificates: UpstreamCertificates,
        questions: OwnQuestions,
        loops: MultiThreadedEventLoopGroup
    ) {
        self.rules = rules
        self.tls = tls
        self.certificates = certificates
        self.questions = questions
        self.loops = loops
    }

    /// Takes at most the time of the rules.
    func hasPassed(_ peer: PeerModel) async -> Bool {
        switch self.rules.kind {
        case .tcp: await self.accepts(peer)
        case .http(let path, let host, let statuses): await self.answers(peer, path, host, statuses)
        case .grpc(let service): await self.serves(peer, service)
        }
    }

    private var timeout: TimeAmount { .milliseconds(Int64(max(1, self.rules.timeout))) }

    private func accepts(_ peer: PeerModel) async -> Bool {
        guard let address = try? SocketAddress(ipAddress: peer.host, port: peer.port),
            let channel = try? await ClientBootstrap(group: self.loops)
                .connectTimeout(self.timeout)
                .connect(to: address)
                .get()
        else { return false }
        try? await channel.close()
        return true
    }

    private func answers(
        _ peer: PeerModel,
        _ path: String,
        _ host: String?,
        _ statuses: ClosedRange<Int>
    ) async -> Bool {
        let authority = peer.host.contains(":") ? "[\(peer.host)]:\(peer.port)" : "\(peer.host):\(peer.port)"
        var request = HTTPClientRequest(
            url: "\(self.tls == nil ? "http" : "https")://\(authority)\(URLTarget.escaped(path))"
        )
        if let host { request.headers.add(name: "Host", value: host) }
        request.headers.add(name: "User-Agent", value: "parley-health-check")
        if self.tls != nil {
            // It asks whether the instance answers. Who it is, each request that goes there finds out.
            var configuration = TLSConfiguration.makeClientConfiguration()
            configuration.certificateVerification = .none
            request.tlsConfiguration = configuration
        }
        let limit = Duration.milliseconds(Int64(max(1, self.rules.timeout)))
        guard let answer = try? await self.questions.answer(to: request, within: limit) else { return false }
        return statuses.contains(Int(answer.status))
    }

    // MARK: - gRPC

    private func serves(_ peer: PeerModel, _ service: String) async -> Bool {
        guard let address = try? SocketAddress(ipAddress: peer.host, port: peer.port) else { return false }
        let timeout = self.timeout
        let loop = self.loops.next()
        let tls = self.tls
        let certificates = self.certificates
        let answer = ClientBootstrap(group: loop)
            .connectTimeout(timeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls {
                        let handler = try certificates.makeHandler(tls.rules, protocols: ["h2"], host: tls.host)
                        try channel.pipeline.syncOperations.addHandler(handler)
                    }
                    try channel.pipeline.syncOperations.addHandler(HTTP2ClientConnection(isSecure: tls != nil))
                }
            }
            .connect(to: address)
            .flatMap { channel in
                let promise = channel.eventLoop.makePromise(of: Bool.self)
                channel.closeFuture.whenComplete { _ in promise.succeed(false) }
                channel.eventLoop.scheduleTask(in: timeout) { channel.close(promise: nil) }
                do {
                    let handler = try channel.pipeline.syncOperations.handler(type: HTTP2ClientConnection.self)
                    let question = RPCHealthQuestion(service: service, authority: "\(address)", promise: promise)
                    question.ask(handler)
                } catch {
                    promise.succeed(false)
                }
                return promise.futureResult.map { hasPassed in
                    channel.close(promise: nil)
                    return hasPassed
                }
            }
        return (try? await answer.get()) ?? false
    }
}

/// One call of `grpc.health.v1.Health/Check`. Bound to its event loop.
final class RPCHealthQuestion: ResponseReceiver {
    private static let path = "/grpc.health.v1.Health/Check"
    private static let maxBytes = 1_024

    private let service: String
    private let authority: String
    private let promise: EventLoopPromise<Bool>
    private var stream: (any UpstreamStream)?
    private var body = ByteBuffer()
    private var isOK = false

    init(service: String, authority: String, promise: EventLoopPromise<Bool>) {
        self.service = service
        self.authority = authority
        self.promise = promise
    }

    func ask(_ connection: HTTP2ClientConnection) {
        guard let stream = connection.open(self) else { return self.promise.succeed(false) }
        self.stream = stream
        var head = RequestHead(method: .post, version: .http2, framing: .untilEnd)
        head.methodName = Self.append("POST", to: &head.block)
        head.target = Self.append(Self.path, to: &head.block)
        head.authority = Self.append(self.authority, to: &head.block)
        head.block.append("content-type", "application/grpc" as StaticString, .contentType)
        head.block.append("te", "trailers" as StaticString, .te)
        stream.write(head, isEnd: false)
        stream.write(Self.message(of: self.service))
        stream.end(trailers: nil)
    }

    private static func append(_ text: String, to block: inout FieldBlock) -> ByteRange {
        let start = block.bytes.readableBytes
        return ByteRange(start: start, count: block.bytes.writeString(text))
    }

    /// `HealthCheckRequest`, whose only field is the service's name, in a frame of gRPC.
    static func message(of service: String) -> ByteBuffer {
        let name = Array(service.utf8.prefix(127))
        var buffer = ByteBuffer()
        buffer.writeInteger(0 as UInt8)
        buffer.writeInteger(UInt32(name.isEmpty ? 0 : name.count + 2))
        if !name.isEmpty {
            buffer.writeInteger(0x0A as UInt8)
            buffer.writeInteger(UInt8(truncatingIfNeeded: name.count))
            buffer.writeBytes(name)
        }
        return buffer
    }

    /// Whether a `HealthCheckResponse` in its frame says SERVING.
    static func isServing(_ bytes: Span<UInt8>) -> Bool {
        // No compression, a short message, and of it the first field as a varint: 1 is SERVING.
        guard bytes.count >= 7, bytes[0] == 0, bytes[1] == 0, bytes[2] == 0, bytes[3] == 0, bytes[4] >= 2 else {
            return false
        }
        return bytes[5] == 0x08 && bytes[6] == 1
    }

    func received(head: ResponseHead) {
        guard !head.isInformational else { return }
        self.isOK = head.status == 200
        self.stream?.readBody()
    }

    func received(answer: ByteBuffer) {
        self.body.writeImmutableBuffer(answer)
        guard self.body.readableBytes <= Self.maxBytes else { return self.end(false) }
        self.stream?.readBody()
    }

    func answerEnded(trailers: FieldBlock?) {
        var hasSucceeded = self.isOK
        if let trailers, let status = trailers.first(.grpcStatus) {
            hasSucceeded = hasSucceeded && trailers.view(status.value).elementsEqual("0".utf8)
        }
        let body = self.body
        self.end(hasSucceeded && Self.isServing(body.readableBytesUInt8Span))
    }

    func failed(_ failure: UpstreamFailure) { self.end(false) }

    func upstreamWritabilityChanged(isWritable: Bool) {}

    func upstreamReadCompleted() {}

    private func end(_ hasPassed: Bool) {
        self.stream = nil
        self.promise.succeed(hasPassed)
    }
}
