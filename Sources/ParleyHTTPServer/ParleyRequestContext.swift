public import Hummingbird
package import Logging
public import NIOCore
public import ParleyCore

/// What a handler gets along with its request: Hummingbird's context, plus the ``ParleyCore/RequestContext``.
public struct ParleyRequestContext: Hummingbird.RequestContext, RemoteAddressRequestContext {
    public var coreContext: CoreRequestContextStorage
    /// Request id, caller, trace, deadline: also ``ParleyCore/RequestContext/current`` while the handler runs.
    public var request: ParleyCore.RequestContext
    /// The largest body that is read, in bytes.
    public var maxUploadSize: Int
    /// The other end of the connection.
    public var remoteAddress: SocketAddress?

    public init(source: ApplicationRequestContextSource) {
        self.coreContext = CoreRequestContextStorage(source: source)
        self.request = ParleyCore.RequestContext(requestID: "")
        self.maxUploadSize = 1_048_576
        self.remoteAddress = source.channel.remoteAddress
    }

    package init(
        channel: any Channel,
        logger: Logger,
        request: ParleyCore.RequestContext,
        maxBodyBytes: Int
    ) {
        self.init(source: ApplicationRequestContextSource(channel: channel, logger: logger))
        self.request = request
        self.maxUploadSize = maxBodyBytes
    }

    /// Reads JSON bodies and says clearly what is wrong with them; see ``JSONBodyDecoder``.
    public var requestDecoder: JSONBodyDecoder { JSONBodyDecoder() }
}
