internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import ParleyDiscovery

/// Refuses methods that the server does not have, and says who does.
///
/// The library's router would do it as well, but without our layers and so without a name; a caller could not know
/// whether it met an older version of the instance that it means, or another program at its address.
struct NamingTransport: ServerTransport {
    typealias Bytes = HTTP2ServerTransport.Posix.Bytes

    let base: HTTP2ServerTransport.Posix
    let methods: Set<MethodDescriptor>
    let identity: InstanceIdentity

    func configure(context: GRPCServerContext) { self.base.configure(context: context) }

    func listen(
        streamHandler: @escaping @Sendable @concurrent (RPCStream<Inbound, Outbound>, ServerContext) async -> Void
    ) async throws {
        try await self.base.listen { stream, context in
            guard !self.methods.contains(context.descriptor) else {
                await streamHandler(stream, context)
                return
            }
            let status = Status(
                code: .unimplemented,
                message: "This server has no \(context.descriptor.fullyQualifiedMethod)."
            )
            var metadata: Metadata = [:]
            if let id = self.identity.id { metadata.addString(id, forKey: GRPCAttemptMark.field) }
            try? await stream.outbound.write(.status(status, metadata))
            await stream.outbound.finish()
        }
    }

    func beginGracefulShutdown() { self.base.beginGracefulShutdown() }
}
