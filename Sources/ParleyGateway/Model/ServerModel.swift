/// A virtual server: what answers to some names on some sockets.
package struct ServerModel: Sendable, Hashable {
    package var listens: [ListenModel]
    package var names: [ServerName]
    /// The certificate and its rules; `nil` when no socket of it speaks TLS.
    package var tls: ServerTLS?
    package var connection = ConnectionSettings()
    /// Run before a location is looked for.
    package var rewrites: [RewriteStep] = []
    package var locations: [LocationModel] = []
    /// What holds outside of every location.
    package var settings = LocationSettings()

    package init(listens: [ListenModel], names: [ServerName] = []) {
        self.listens = listens
        self.names = names
    }
}

package struct ListenModel: Sendable, Hashable {
    /// An address: `0.0.0.0`, `::`, `127.0.0.1`.
    package var host: String
    package var port: Int
    package var isDefault: Bool
    package var isTLS: Bool
    package var hasHTTP2: Bool
    /// Each connection begins with the PROXY protocol, version 1 or 2.
    package var hasProxyProtocol: Bool
    package var backlog: Int

    package init(
        host: String = "0.0.0.0",
        port: Int,
        isDefault: Bool = false,
        isTLS: Bool = false,
        hasHTTP2: Bool = false,
        hasProxyProtocol: Bool = false,
        backlog: Int = 511
    ) {
        self.host = host
        self.port = port
        self.isDefault = isDefault
        self.isTLS = isTLS
        self.hasHTTP2 = hasHTTP2
        self.hasProxyProtocol = hasProxyProtocol
        self.backlog = backlog
    }
}

package enum ServerName: Sendable, Hashable {
    /// In lower case; may be empty: a request without a host.
    case exact(String)
    /// `*.example.com` as `.example.com` without the name itself.
    case suffix(String)
    /// `.example.com`: the name and all below it.
    case nameAndSuffix(String)
    /// `www.example.*` as `www.example.`
    case prefix(String)
    case regex(RegexModel)
}

/// TLS towards clients.
package struct ServerTLS: Sendable, Hashable {
    package enum ClientCertificate: String, Sendable, Hashable {
        case off, on, optional
        case optionalNoCA = "optional_no_ca"
    }
    package enum Version: String, Sendable, Hashable, CaseIterable {
        case v12 = "TLSv1.2"
        case v13 = "TLSv1.3"
    }

    /// Paths of PEM files: the certificate with its chain, and the key.
    package var certificate: String
    package var key: String
    package var versions: Set<Version> = [.v12, .v13]
    /// OpenSSL's list, for TLS 1.2; `nil` is the library's choice.
    package var ciphers: String?
    package var clientCertificate = ClientCertificate.off
    package var clientAuthorities: String?
    package var handshakeTimeout = 60_000

    package init(certificate: String, key: String) {
        self.certificate = certificate
        self.key = key
    }
}

/// What holds before a request's location is known. Of the server that is the default of the socket, until the head
/// has told the name.
package struct ConnectionSettings: Sendable, Hashable {
    package var clientHeaderTimeout = 60_000
    package var clientHeaderBufferSize = 1_024
    package var largeHeaderBuffers = 4
    package var largeHeaderBufferSize = 8_192
    package var mergesSlashes = true
    package var allowsUnderscores = false
    package var ignoresInvalidHeaders = true
    package var maxConcurrentStreams = 128
    /// How long what a client still sends is thrown away before its connection is closed.
    package var lingerTimeout = 5_000
    /// Refuses paths with dot segments or control characters, also encoded ones, which a service could understand
    /// otherwise than the gateway does.
    package var refusesMisleadingPaths = false

    package init() {}
}
