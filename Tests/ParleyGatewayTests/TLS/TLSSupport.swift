import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import NIOTLS
import ParleyCore
import ProcessTestSupport
import Synchronization
import Testing

@testable import ParleyGateway

/// An RSA key in PEM form; made once, for it takes a while.
func rsaKey() async throws -> String {
    let folder = try AccessFolder()
    try await openssl("genrsa", "-traditional", "-out", folder.file("key.pem"), "2048")
    return try String(contentsOfFile: folder.file("key.pem"), encoding: .utf8)
}

func openssl(_ arguments: String...) async throws {
    let answer = try await Subprocess.run("/usr/bin/env", ["openssl"] + arguments)
    guard answer.status == 0 else { throw TestSupportError("openssl \(arguments): \(answer.error)") }
}

/// A folder with an authority and whatever it signs.
struct CertificateFolder {
    let folder: AccessFolder

    init() async throws {
        self.folder = try AccessFolder()
        try await self.authority("ca")
    }

    func path(_ name: String) -> String { self.folder.file(name) }

    func authority(_ name: String) async throws {
        try await openssl(
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=\(name)",
            "-keyout",
            self.path("\(name).key"),
            "-out",
            self.path("\(name).pem")
        )
    }

    /// `name.pem` and `name.key`.
    func certificate(
        _ name: String,
        subject: String,
        host: String,
        days: Int = 30,
        authority: String = "ca"
    ) async throws {
        try await openssl(
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            subject,
            "-keyout",
            self.path("\(name).key"),
            "-out",
            self.path("\(name).csr")
        )
        try self.folder.write("subjectAltName=DNS:\(host)", to: "\(name).ext")
        try await openssl(
            "x509",
            "-req",
            "-in",
            self.path("\(name).csr"),
            "-CA",
            self.path("\(authority).pem"),
            "-CAkey",
            self.path("\(authority).key"),
            "-CAcreateserial",
            "-days",
            "\(days)",
            "-extfile",
            self.path("\(name).ext"),
            "-out",
            self.path("\(name).pem")
        )
    }

    func tls(_ name: String) -> ServerTLS {
        ServerTLS(certificate: self.path("\(name).pem"), key: self.path("\(name).key"))
    }

    /// Puts certificate and key of one name in the place of another's.
    func replace(_ name: String, with other: String) throws {
        for ending in ["pem", "key"] {
            let text = try String(contentsOfFile: self.path("\(other).\(ending)"), encoding: .utf8)
            try self.folder.write(text, to: "\(name).\(ending)")
        }
    }
}

/// What one connection came to.
struct Handshake: Sendable, Equatable {
    /// The subject's common name of what the server showed.
    var server: String
    var alpn: String?
    var version: TLSVersion?
    /// What the server told about the client and the choice, as text.
    var told: String
}

/// A server that tells each client, once the handshake is done, what it knows about it; then echoes.
final class TLSEcho: Sendable {
    private let group: MultiThreadedEventLoopGroup
    private let channel: any Channel
    let port: Int

    static func with<Value>(
        _ certificates: ServerCertificates,
        choose: (@Sendable (String) -> Int?)? = nil,
        _ body: (TLSEcho) async throws -> Value
    ) async throws -> Value {
        let echo = try await TLSEcho(certificates, choose)
        do {
            let value = try await body(echo)
            try await echo.stop()
            return value
        } catch {
            try? await echo.stop()
            throw error
        }
    }

    private init(_ certificates: ServerCertificates, _ choose: (@Sendable (String) -> Int?)?) async throws {
        self.group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        self.channel = try await ServerBootstrap(group: self.group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers(
                        TLSAcceptor(certificates: certificates, fallback: 0, choose: choose),
                        EchoHandler(certificates)
                    )
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        self.port = try #require(self.channel.localAddress?.port)
    }

    private func stop() async throws {
        try? await self.channel.close()
        try await self.group.shutdownGracefully()
    }

    /// A connection that stays open within `body`.
    func connect<Value>(
        host: String? = nil,
        _ configure: (inout TLSConfiguration) -> Void = { _ in },
        _ body: (TLSClient) async throws -> Value
    ) async throws -> Value {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.certificateVerification = .none
        configure(&configuration)
        let context = try NIOSSLContext(configuration: configuration)
        return try await self.connect({ try NIOSSLClientHandler(context: context, serverHostname: host) }, body)
    }

    func connect<Value>(
        _ handler: @escaping @Sendable () throws -> NIOSSLClientHandler?,
        _ body: (TLSClient) async throws -> Value
    ) async throws -> Value {
        let (lines, continuation) = AsyncThrowingStream<String, any Error>.makeStream(
            bufferingPolicy: .bufferingOldest(100)
        )
        let channel = try await ClientBootstrap(group: self.group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls = try handler() { try channel.pipeline.syncOperations.addHandler(tls) }
                    try channel.pipeline.syncOperations.addHandler(LineHandler(continuation))
                }
            }
            .connect(host: "127.0.0.1", port: self.port).get()
        let client = TLSClient(channel: channel, lines: lines.makeAsyncIterator())
        do {
            let value = try await body(client)
            try? await channel.close()
            return value
        } catch {
            try? await channel.close()
            throw error
        }
    }

    /// Connects, and says what came of it.
    func handshake(
        host: String? = nil,
        _ configure: (inout TLSConfiguration) -> Void = { _ in }
    ) async throws -> Handshake {
        try await self.connect(host: host, configure) { try await $0.handshake() }
    }
}

final class TLSClient {
    let channel: any Channel
    private var lines: AsyncThrowingStream<String, any Error>.Iterator

    init(channel: any Channel, lines: AsyncThrowingStream<String, any Error>.Iterator) {
        self.channel = channel
        self.lines = lines
    }

    func line() async throws -> String {
        guard let line = try await self.lines.next(isolation: #isolation) else {
            throw TestSupportError("the connection has ended")
        }
        return line
    }

    func send(_ text: String) async throws { try await self.channel.writeAndFlush(ByteBuffer(string: text + "\n")) }

    func handshake() async throws -> Handshake {
        let told = try await self.line()
        let alpn = try await self.line()
        let certificate = try await self.channel.nioSSL_peerCertificate().get()
        let name = certificate?.subjectName.first { $0.type == .commonName }?.value
        let version = try await self.channel.nioSSL_tlsVersion().get()
        return Handshake(server: name ?? "", alpn: alpn == "-" ? nil : alpn, version: version, told: told)
    }
}

private final class EchoHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let certificates: ServerCertificates
    private var acceptance: TLSAcceptance?

    init(_ certificates: ServerCertificates) { self.certificates = certificates }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let acceptance = event as? TLSAcceptance { self.acceptance = acceptance }
        guard case .handshakeCompleted(let alpn) = event as? TLSUserEvent,
            case .secure(let entry, let name) = self.acceptance, let chosen = self.certificates.context(at: entry),
            let tls = try? context.pipeline.syncOperations.handler(type: NIOSSLServerHandler.self)
        else { return }
        let client = ClientCertificate(tls, mode: chosen.clientCertificate)
        let told = [client.verify, client.subject].map { String(decoding: $0, as: UTF8.self) }.joined(separator: "|")
        self.write(context, "\(told)|\(client.fingerprint.count)|\(entry)|\(name ?? "-")\n\(alpn ?? "-")\n")
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let text = String(buffer: self.unwrapInboundIn(data))
        self.write(context, self.acceptance == .plain ? "plain: \(text)" : text)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func write(_ context: ChannelHandlerContext, _ text: String) {
        context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
    }
}

private final class LineHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let lines: AsyncThrowingStream<String, any Error>.Continuation
    private var text = ""

    init(_ lines: AsyncThrowingStream<String, any Error>.Continuation) { self.lines = lines }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.text += String(buffer: self.unwrapInboundIn(data))
        while let end = self.text.firstIndex(of: "\n") {
            self.lines.yield(String(self.text[..<end]))
            self.text = String(self.text[self.text.index(after: end)...])
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.lines.finish(throwing: error)
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) { self.lines.finish() }
}
