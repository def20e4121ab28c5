package import NIOSSL
package import ParleyCore
internal import Synchronization

/// TLS towards upstreams: one context for each way in which a location wants it.
package final class UpstreamCertificates: Sendable {
    private struct Settings: Sendable, Hashable {
        var tls: UpstreamTLS
        var protocols: [String]
    }

    private struct State: Sendable {
        var contexts: [Settings: NIOSSLContext] = [:]
        var stamps: [String: FileStamp?] = [:]
    }

    private let time: any TimeSource
    private let state = Mutex(State())

    package init(time: any TimeSource) {
        self.time = time
    }

    /// Makes what ``makeHandler(_:protocols:host:)`` needs; for the start, where an error can still be told. Blocks.
    package func prepare(_ tls: UpstreamTLS, protocols: [String] = []) throws(TLSProblem) -> [TLSWarning] {
        let settings = Settings(tls: tls, protocols: protocols)
        var files = TLSFiles(now: self.time.wallTime)
        let context = try Self.context(settings, &files)
        self.state.withLock { state in
            state.contexts[settings] = context
            state.stamps.merge(files.stamps) { $1 }
        }
        return files.warnings
    }

    /// For one connection.
    ///
    /// - Parameters:
    ///   - protocols: For ALPN: `h2` for gRPC and HTTP/2, nothing for HTTP/1.
    ///   - host: Of `proxy_pass`, without the port: what is expected when the settings have no name.
    package func makeHandler(
        _ tls: UpstreamTLS,
        protocols: [String] = [],
        host: String
    ) throws(TLSProblem) -> NIOSSLClientHandler {
        let settings = Settings(tls: tls, protocols: protocols)
        guard let context = self.state.withLock({ $0.contexts[settings] }) else {
            throw TLSProblem(code: .refused, place: host, detail: "these settings were not prepared at the start")
        }
        let name = tls.name ?? host
        let isAddress = IPAddress(name) != nil
        // Verification is against the name that is sent, so one that is verified is always sent. An address is never
        // sent; the certificate is then compared with the address of the connection.
        let sent = (tls.sendsServerName || tls.verifies) && !isAddress ? name : nil
        do {
            return try NIOSSLClientHandler(context: context, serverHostname: sent)
        } catch {
            throw TLSProblem(code: .hostname, place: name, detail: "\(error)")
        }
    }

    /// Whether a file has another version than when it was last read. Blocks.
    package func changed() -> Bool {
        TLSFiles.haveChanged(self.state.withLock { $0.stamps })
    }

    /// Reads all files anew; when one is broken, all stays as it was. Blocks.
    package func reload() throws(TLSProblem) -> [TLSWarning] {
        let known = self.state.withLock { Array($0.contexts.keys) }
        var files = TLSFiles(now: self.time.wallTime)
        do throws(TLSProblem) {
            var contexts: [Settings: NIOSSLContext] = [:]
            for settings in known { contexts[settings] = try Self.context(settings, &files) }
            let made = contexts
            self.state.withLock { state in
                state.contexts.merge(made) { $1 }
                state.stamps.merge(files.stamps) { $1 }
            }
            return files.warnings
        } catch {
            self.state.withLock { $0.stamps.merge(files.stamps) { $1 } }
            throw error
        }
    }

    private static func context(_ settings: Settings, _ files: inout TLSFiles) throws(TLSProblem) -> NIOSSLContext {
        let tls = settings.tls
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = settings.protocols
        configuration.certificateVerification = tls.verifies ? .fullVerification : .none
        if tls.verifies, let path = tls.authorities {
            configuration.trustRoots = .certificates(try files.certificates(path, warns: false))
        }
        if let certificate = tls.certificate {
            // The key may stand in the same file.
            let key = tls.key ?? certificate
            configuration.certificateChain = try files.certificates(certificate).map { .certificate($0) }
            configuration.privateKey = .privateKey(try files.key(key))
            return try ServerTLSContext.context(configuration, certificate: certificate, key: key)
        }
        return try ServerTLSContext.context(configuration, certificate: tls.authorities ?? "client", key: "")
    }
}
