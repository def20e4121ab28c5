package import AsyncHTTPClient
internal import NIOCore
internal import Synchronization

/// An `HTTPClient` with an owner: whoever made it shuts it down, at the latest when the last reference is gone (the
/// library traps when a running client is forgotten).
package final class HTTPConnections: Sendable {
    package let client: HTTPClient
    private let isOpen: Mutex<Bool>

    /// Uses a client that belongs to somebody else, who shuts it down.
    package init(borrowing client: HTTPClient) {
        self.client = client
        self.isOpen = Mutex(false)
    }

    /// Opens connections with these limits.
    ///
    /// - Parameters:
    ///   - connectTimeout: for opening a connection, and for waiting until one of `maxConnectionsPerEndpoint` is free.
    ///   - readTimeout: between two reads while an answer is awaited; `nil` for none.
    ///   - idleTimeout: how long an unused connection is kept. Shorter than the 60 s of our servers, so that we close
    ///     first and no request meets a connection that is being closed at the other end.
    package init(
        connectTimeout: Duration,
        readTimeout: Duration? = nil,
        maxConnectionsPerEndpoint: Int,
        idleTimeout: Duration = .seconds(30)
    ) {
        var configuration = HTTPClient.Configuration()
        configuration.timeout = .init(
            connect: TimeAmount(connectTimeout),
            read: readTimeout.map { TimeAmount($0) }
        )
        // A redirect or a compressed body is the caller's to follow or to unpack.
        configuration.redirectConfiguration = .disallow
        configuration.decompression = .disabled
        configuration.httpVersion = .http1Only
        // The library would try to connect again until the connect timeout; retrying is decided in one place, ours.
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = max(1, maxConnectionsPerEndpoint)
        configuration.connectionPool.idleTimeout = TimeAmount(idleTimeout)
        self.client = HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: configuration)
        self.isOpen = Mutex(true)
    }

    deinit {
        if self.close() { self.client.shutdown { _ in } }
    }

    /// Closes all connections; requests that are under way fail. Does nothing the second time, or for a borrowed
    /// client.
    package func shutdown() async {
        guard self.close() else { return }
        // It fails only when it has been shut down already.
        try? await self.client.shutdown()
    }

    private func close() -> Bool {
        self.isOpen.withLock { isOpen in
            defer { isOpen = false }
            return isOpen
        }
    }
}
