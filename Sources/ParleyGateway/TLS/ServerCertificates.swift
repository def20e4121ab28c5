internal import NIOCore
package import NIOSSL
package import ParleyCore
internal import Synchronization

/// The certificates that the gateway shows, and what it asks of its clients.
///
/// All files are read and checked before any is used: a configuration, or a ``reload()``, takes effect as a whole or
/// not at all. A connection keeps what it was opened with.
package final class ServerCertificates: Sendable {
    /// A server on a socket: the same server counts twice when one of its sockets speaks HTTP/2 and another does not.
    package struct Entry: Sendable, Hashable {
        package var tls: ServerTLS
        package var hasHTTP2: Bool

        package init(tls: ServerTLS, hasHTTP2: Bool) {
            self.tls = tls
            self.hasHTTP2 = hasHTTP2
        }
    }

    private struct State: Sendable {
        /// One for each entry.
        var contexts: [ServerTLSContext]
        var stamps: [String: FileStamp?]
    }

    private let entries: [Entry]
    private let time: any TimeSource
    /// Of the start; ``reload()`` returns its own.
    package let warnings: [TLSWarning]
    private let state: Mutex<State>

    /// Blocks: reads the files.
    package init(entries: [Entry], time: any TimeSource) throws(TLSProblem) {
        self.entries = entries
        self.time = time
        var files = TLSFiles(now: time.wallTime)
        let contexts = try Self.load(entries, &files)
        self.warnings = files.warnings
        self.state = Mutex(State(contexts: contexts, stamps: files.stamps))
    }

    /// What the entry at this index shows now; `nil` when there is no such entry.
    package func context(at index: Int) -> ServerTLSContext? {
        self.state.withLock { $0.contexts.indices.contains(index) ? $0.contexts[index] : nil }
    }

    /// Whether a file has another version than when it was last read, whether or not that one could be used. Blocks.
    package func changed() -> Bool {
        TLSFiles.haveChanged(self.state.withLock { $0.stamps })
    }

    /// Reads all files anew. When anything is wrong with them, what was in force stays in force. Blocks.
    ///
    /// - Returns: What the log should say about the new certificates.
    package func reload() throws(TLSProblem) -> [TLSWarning] {
        var files = TLSFiles(now: self.time.wallTime)
        do throws(TLSProblem) {
            let contexts = try Self.load(self.entries, &files)
            self.state.withLock { $0 = State(contexts: contexts, stamps: files.stamps) }
            return files.warnings
        } catch {
            // What was read of the broken version is not tried again until it changes; nor is what was not reached.
            self.state.withLock { $0.stamps.merge(files.stamps) { $1 } }
            throw error
        }
    }

    private static func load(_ entries: [Entry], _ files: inout TLSFiles) throws(TLSProblem) -> [ServerTLSContext] {
        // Servers often share a certificate, and a context is large.
        var known: [Entry: ServerTLSContext] = [:]
        var contexts: [ServerTLSContext] = []
        for entry in entries {
            if let context = known[entry] {
                contexts.append(context)
                continue
            }
            let context = try ServerTLSContext(entry, &files)
            known[entry] = context
            contexts.append(context)
        }
        return contexts
    }
}

/// One server's side of TLS, ready for connections.
package struct ServerTLSContext: Sendable {
    package let clientCertificate: ServerTLS.ClientCertificate
    package let handshakeTimeout: Int
    let context: NIOSSLContext

    init(_ entry: ServerCertificates.Entry, _ files: inout TLSFiles) throws(TLSProblem) {
        let tls = entry.tls
        let chain = try files.certificates(tls.certificate)
        let key = try files.key(tls.key)
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) },
            privateKey: .privateKey(key)
        )
        configuration.minimumTLSVersion = tls.versions == [.v13] ? .tlsv13 : .tlsv12
        configuration.maximumTLSVersion = tls.versions == [.v12] ? .tlsv12 : nil
        configuration.applicationProtocols = entry.hasHTTP2 ? ["h2", "http/1.1"] : ["http/1.1"]
        if let ciphers = tls.ciphers {
            guard let names = CipherList.names(of: ciphers) else {
                throw TLSProblem(code: .ciphers, place: "ssl_ciphers \(ciphers)", detail: "no cipher is left")
            }
            configuration.cipherSuites = names
        }
        try Self.askClients(tls, &configuration, &files)
        self.context = try Self.context(configuration, certificate: tls.certificate, key: tls.key)
        self.clientCertificate = tls.clientCertificate
        self.handshakeTimeout = tls.handshakeTimeout
    }

    /// For one connection.
    package func makeHandler() -> NIOSSLServerHandler {
        guard self.clientCertificate == .optionalNoCA else { return NIOSSLServerHandler(context: self.context) }
        // Whoever asks for certificates without an authority looks at them himself; here they only have to fit the key.
        return NIOSSLServerHandler(
            context: self.context,
            customVerificationCallback: { _, promise in
                promise.succeed(.certificateVerified)
            }
        )
    }

    private static func askClients(
        _ tls: ServerTLS,
        _ configuration: inout TLSConfiguration,
        _ files: inout TLSFiles
    ) throws(TLSProblem) {
        guard tls.clientCertificate != .off else { return }
        if let path = tls.clientAuthorities {
            configuration.trustRoots = .certificates(try files.certificates(path, warns: false))
            configuration.sendCANameList = true
        } else if tls.clientCertificate == .optionalNoCA {
            configuration.trustRoots = .certificates([])
        } else {
            throw TLSProblem(
                code: .noAuthorities,
                place: tls.certificate,
                detail: "clients are asked for certificates, and no authority is named that these must be of"
            )
        }
        configuration.certificateVerification =
            tls.clientCertificate == .on ? .noHostnameVerification : .optionalVerification
    }

    static func context(
        _ configuration: TLSConfiguration,
        certificate: String,
        key: String
    ) throws(TLSProblem) -> NIOSSLContext {
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch NIOSSLError.failedToLoadPrivateKey {
            throw TLSProblem(code: .keyMismatch, place: key, detail: "it is not the key of \(certificate)")
        } catch {
            throw TLSProblem(code: .refused, place: certificate, detail: "\(error)")
        }
    }
}
