internal import GRPCNIOTransportHTTP2Posix

/// How a gRPC server protects its connections.
///
/// All files are PEM. They are read when the server starts; a new certificate needs a restart.
public struct GRPCServerSecurity: Sendable, Hashable {
    private enum Kind: Sendable, Hashable {
        case plaintext
        case tls(chain: String, key: String)
        case mutual(chain: String, key: String, roots: String)
    }

    private let kind: Kind

    /// No encryption: inside a host or a network that is trusted.
    public static let plaintext = GRPCServerSecurity(kind: .plaintext)

    /// The server shows a certificate.
    public static func tls(certificateChain: String, privateKey: String) -> GRPCServerSecurity {
        GRPCServerSecurity(kind: .tls(chain: certificateChain, key: privateKey))
    }

    /// Both sides show a certificate; a client whose certificate none of `trustRoots` signed is not served.
    public static func mutualTLS(
        certificateChain: String,
        privateKey: String,
        trustRoots: String
    ) -> GRPCServerSecurity {
        GRPCServerSecurity(kind: .mutual(chain: certificateChain, key: privateKey, roots: trustRoots))
    }

    var transport: HTTP2ServerTransport.Posix.TransportSecurity {
        switch self.kind {
        case .plaintext: .plaintext
        case .tls(let chain, let key):
            .tls(certificateChain: [.file(path: chain, format: .pem)], privateKey: .file(path: key, format: .pem)) {
                $0.requireALPN = true
            }
        case .mutual(let chain, let key, let roots):
            .mTLS(certificateChain: [.file(path: chain, format: .pem)], privateKey: .file(path: key, format: .pem)) {
                $0.requireALPN = true
                $0.trustRoots = .certificates([.file(path: roots, format: .pem)])
                // A client has no host name that could be compared.
                $0.clientCertificateVerification = .noHostnameVerification
            }
        }
    }
}

/// How a gRPC client protects its connections.
public struct GRPCClientSecurity: Sendable, Hashable {
    private enum Kind: Sendable, Hashable {
        case plaintext
        case tls(roots: String?)
        case mutual(chain: String, key: String, roots: String?)
    }

    private let kind: Kind

    /// No encryption.
    public static let plaintext = GRPCClientSecurity(kind: .plaintext)

    /// The server's certificate must be signed by one of `trustRoots` (a PEM file; the system's roots when `nil`) and
    /// be for the host of the instance, or for `serverName` of the client's configuration.
    public static func tls(trustRoots: String? = nil) -> GRPCClientSecurity {
        GRPCClientSecurity(kind: .tls(roots: trustRoots))
    }

    /// As ``tls(trustRoots:)``, and the client shows a certificate of its own.
    public static func mutualTLS(
        certificateChain: String,
        privateKey: String,
        trustRoots: String? = nil
    ) -> GRPCClientSecurity {
        GRPCClientSecurity(kind: .mutual(chain: certificateChain, key: privateKey, roots: trustRoots))
    }

    var transport: HTTP2ClientTransport.Posix.TransportSecurity {
        func trust(_ roots: String?) -> TLSConfig.TrustRootsSource {
            roots.map { .certificates([.file(path: $0, format: .pem)]) } ?? .systemDefault
        }
        return switch self.kind {
        case .plaintext: .plaintext
        case .tls(let roots): .tls { $0.trustRoots = trust(roots) }
        case .mutual(let chain, let key, let roots):
            .mTLS(certificateChain: [.file(path: chain, format: .pem)], privateKey: .file(path: key, format: .pem)) {
                $0.trustRoots = trust(roots)
            }
        }
    }
}
