internal import NIOCore
internal import NIOPosix
internal import NIOSSL
public import ParleyCore

extension RESPConnection {
    /// Connects, runs `body`, and closes the connection, however `body` ends.
    ///
    /// The connection is the body's alone: transactions, `WATCH`, `SELECT` and blocking commands are allowed on it.
    @discardableResult
    public static func withConnection<Value>(
        _ configuration: RESPConfiguration,
        time: any TimeSource = SystemTimeSource(),
        isolation: isolated (any Actor)? = #isolation,
        _ body: (RESPConnection) async throws -> sending Value
    ) async throws -> sending Value {
        let connection = try await RESPConnector(configuration, time: time).connect(isShared: false)
        do {
            let value = try await body(connection)
            connection.abort()
            await connection.waitUntilClosed()
            return value
        } catch {
            connection.abort()
            await connection.waitUntilClosed()
            throw error
        }
    }

    /// A connection to the configuration's own host or socket, its handshake done. Whoever asks for it closes it.
    package static func open(
        _ configuration: RESPConfiguration,
        isShared: Bool,
        time: any TimeSource
    ) async throws(RESPError) -> RESPConnection {
        let server = configuration.endpoint.description
        let security: NIOSSLContext?
        do {
            security = try configuration.tls.map { try NIOSSLContext(configuration: $0.settings()) }
        } catch {
            throw RESPError(.tls, server: server, "the certificates cannot be read", cause: error)
        }
        let serverName = configuration.serverName
        let limit = TimeAmount.nanoseconds(Int64(clamping: configuration.connectTimeout.nanosecondsClamped))
        let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .connectTimeout(limit)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.maxMessagesPerRead, value: 16)
        let initialize: @Sendable (any Channel) -> EventLoopFuture<RESPConnection> = { channel in
            channel.eventLoop.makeCompletedFuture {
                if let security {
                    try channel.pipeline.syncOperations.addHandler(
                        try NIOSSLClientHandler(context: security, serverHostname: serverName)
                    )
                }
                let connection = RESPConnection(
                    channel: channel,
                    configuration: configuration,
                    isShared: isShared,
                    time: time
                )
                try channel.pipeline.syncOperations.addHandler(RESPChannelHandler(connection: connection))
                return connection
            }
        }
        let connection: RESPConnection
        do {
            switch configuration.endpoint.kind {
            case .tcp(let host, let port):
                connection = try await bootstrap.connect(host: host, port: port, channelInitializer: initialize)
            case .unix(let path):
                connection = try await bootstrap.connect(
                    unixDomainSocketPath: path,
                    channelInitializer: initialize
                )
            case .sentinel:
                throw RESPError(.notAllowed, server: server, "a sentinel is named by sentinels: name its host")
            }
        } catch let error as RESPError {
            throw error
        } catch let error as NIOSSLExtraError {
            throw RESPError(.tls, server: server, "the server's name cannot be used for TLS", cause: error)
        } catch {
            throw RESPError(
                .cannotConnect,
                server: server,
                "no connection: is the server running, and is the address right?",
                retry: .notSent,
                cause: error
            )
        }
        try await connection.ready()
        return connection
    }
}

extension RESPConfiguration {
    /// TLS verifies names; an address is verified as one without being announced.
    fileprivate var serverName: String? {
        if let name = self.tls?.serverName { return name }
        guard case .tcp(let host, _) = self.endpoint.kind, (try? SocketAddress(ipAddress: host, port: 0)) == nil else {
            return nil
        }
        return host
    }
}

extension RESPConfiguration.TLS {
    fileprivate func settings() throws -> TLSConfiguration {
        var settings = TLSConfiguration.makeClientConfiguration()
        settings.minimumTLSVersion = .tlsv12
        if let authorities = self.authorities { settings.trustRoots = .file(authorities) }
        if let certificate = self.certificate {
            settings.certificateChain = try NIOSSLCertificate.fromPEMFile(certificate).map { .certificate($0) }
        }
        if let key = self.key { settings.privateKey = .privateKey(try NIOSSLPrivateKey(file: key, format: .pem)) }
        return settings
    }
}
