package import NIOCore
internal import NIOSSL
internal import NIOTLS

/// What a connection on a socket of TLS begins with.
package enum TLSDetector {
    package enum Kind: Sendable, Hashable { case tls, plain }

    /// As nginx looks: the first byte of a record of TLS, or of a hello of SSL 2; everything else is taken for HTTP.
    package static func kind(ofFirstByte byte: UInt8) -> Kind { byte == 0x16 || byte & 0x80 != 0 ? .tls : .plain }
}

/// Told to the handlers behind a ``TLSAcceptor``, before anything else comes through.
package enum TLSAcceptance: Sendable, Hashable {
    /// The handshake begins with this entry of the ``ServerCertificates``, for the name that the client asks for (in
    /// lower case). It is done when NIOTLS's `TLSUserEvent.handshakeCompleted` comes.
    case secure(entry: Int, serverName: String?)
    /// The bytes that follow are not of TLS: they are answered with nginx's page for 497, and the connection closed.
    case plain
}

/// Stands first in the pipeline of a socket of TLS: looks at the first bytes, puts the TLS of the right server in its
/// place, and leaves.
package final class TLSAcceptor: ChannelInboundHandler, RemovableChannelHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer

    private let certificates: ServerCertificates
    private let fallback: Int
    private let choose: (@Sendable (String) -> Int?)?
    private var hasBegun = false

    /// - Parameters:
    ///   - fallback: The entry for clients that name no server, or one that is not known: of the socket's default.
    ///   - choose: The entry for a name; `nil` where the socket has one entry only, which saves a look at the hello.
    package init(certificates: ServerCertificates, fallback: Int, choose: (@Sendable (String) -> Int?)?) {
        self.certificates = certificates
        self.fallback = fallback
        self.choose = choose
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !self.hasBegun else {
            context.fireChannelRead(data)
            return
        }
        guard let first = self.unwrapInboundIn(data).readableBytesView.first else { return }
        self.hasBegun = true
        do {
            try self.begin(context, TLSDetector.kind(ofFirstByte: first))
        } catch {
            context.fireErrorCaught(error)
            context.close(promise: nil)
            return
        }
        context.fireChannelRead(data)
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    private func begin(_ context: ChannelHandlerContext, _ kind: TLSDetector.Kind) throws {
        guard kind == .tls else {
            context.fireUserInboundEventTriggered(TLSAcceptance.plain)
            return
        }
        guard let choose = self.choose else {
            let handler = try self.handler(self.fallback)
            try context.pipeline.syncOperations.addHandler(handler, position: .after(self))
            context.fireUserInboundEventTriggered(TLSAcceptance.secure(entry: self.fallback, serverName: nil))
            return
        }
        let (pipeline, loop) = (context.pipeline, context.eventLoop)
        // Removes itself once the handler of TLS is there; the hello goes through it then.
        let names = ByteToMessageHandler(
            SNIHandler { result in
                do {
                    try self.begin(pipeline, result, choose)
                    return loop.makeSucceededVoidFuture()
                } catch {
                    pipeline.fireErrorCaught(error)
                    pipeline.close(mode: .all, promise: nil)
                    return loop.makeFailedFuture(error)
                }
            }
        )
        try pipeline.syncOperations.addHandler(names, position: .after(self))
    }

    private func begin(_ pipeline: ChannelPipeline, _ result: SNIResult, _ choose: (String) -> Int?) throws {
        var name: String?
        if case .hostname(let sent) = result { name = sent.lowercased() }
        let entry = name.flatMap { choose($0) } ?? self.fallback
        let names = try pipeline.syncOperations.handler(type: ByteToMessageHandler<SNIHandler>.self)
        try pipeline.syncOperations.addHandler(try self.handler(entry), position: .after(names))
        let place = try pipeline.syncOperations.context(handler: names)
        place.fireUserInboundEventTriggered(TLSAcceptance.secure(entry: entry, serverName: name))
    }

    private func handler(_ entry: Int) throws -> NIOSSLServerHandler {
        guard let context = self.certificates.context(at: entry) else {
            throw TLSProblem(code: .refused, place: "entry \(entry)", detail: "there is no such server")
        }
        return context.makeHandler()
    }
}
