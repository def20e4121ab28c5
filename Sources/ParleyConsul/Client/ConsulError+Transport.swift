internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import ParleyCore

#if canImport(Darwin)
internal import Darwin
#elseif canImport(Glibc)
internal import Glibc
#endif

extension ConsulError {
    /// What an error of the HTTP library says, in our words. The one place that knows that library's errors.
    init(transport error: any Error, what: String, isRead: Bool, _ configuration: ConsulConfiguration) {
        if let error = error as? ConsulError {
            self = error
            return
        }
        let begun: RetrySafety = isRead ? .notSent : .mayHaveRun
        func connecting(_ why: String, _ cause: (any Error)? = nil) -> ConsulError {
            Self.connecting(what, why, cause)
        }
        switch error {
        case let error as NIOConnectionError:
            let isRefused = error.connectionErrors.allSatisfy { ($0.error as? IOError)?.errnoCode == ECONNREFUSED }
            if error.connectionErrors.isEmpty {
                self = connecting("the name '\(error.host)' has no address")
            } else {
                self = isRefused ? connecting("nobody listens there") : connecting("no connection", error)
            }
        case is NIOTooManyBytesError:
            self.init(
                .answerTooLarge,
                "\(what): the answer is longer than \(configuration.maximumAnswerBytes) bytes; ask with a filter, or "
                    + "raise maximumAnswerBytes"
            )
        case let error as HTTPClientError: self = Self.library(error, what, isRead: isRead, configuration)
        case ChannelError.connectTimeout: self = connecting("no connection in \(configuration.connectTimeout)")
        case let error as IOError where error.errnoCode == ECONNREFUSED: self = connecting("nobody listens there")
        case is NIOSSLError, is NIOSSLExtraError, is BoringSSLError:
            self = connecting("TLS failed; check tls, its authorities and certificates, and the agent's name", error)
        case HTTPParserError.invalidEOFState: self = Self.lost(what, begun, error)
        case is HTTPParserError:
            self.init(
                .invalidAnswer,
                "\(what): what answers there does not speak HTTP; Consul's API is on port 8500 by default",
                cause: error
            )
        default: self = Self.lost(what, begun, error)
        }
    }

    private static func library(
        _ error: HTTPClientError,
        _ what: String,
        isRead: Bool,
        _ configuration: ConsulConfiguration
    ) -> ConsulError {
        switch error {
        case .connectTimeout, .getConnectionFromPoolTimeout, .tlsHandshakeTimeout:
            Self.connecting(what, "no connection in \(configuration.connectTimeout)")
        case .readTimeout, .writeTimeout, .deadlineExceeded:
            ConsulError(
                .timedOut,
                "\(what): no whole answer in time; " + (isRead ? "try again" : "it may have been done: try again"),
                retry: isRead ? .notSent : .mayHaveRun
            )
        case .alreadyShutdown:
            ConsulError(.closed, "\(what): the client has been shut down", retry: .notSent, cause: error)
        case .invalidURL, .emptyHost, .emptyScheme:
            ConsulError(.invalidConfiguration, "\(what): the address is invalid", cause: error)
        default: Self.lost(what, isRead ? .notSent : .mayHaveRun, error)
        }
    }

    private static func connecting(_ what: String, _ why: String, _ cause: (any Error)? = nil) -> ConsulError {
        ConsulError(
            .unavailable,
            "\(what): \(why); is the agent running, and is the port right?",
            retry: .notSent,
            cause: cause
        )
    }

    private static func lost(_ what: String, _ retry: RetrySafety, _ cause: any Error) -> ConsulError {
        ConsulError(
            .unavailable,
            "\(what): the connection broke before the whole answer was there; try again",
            retry: retry,
            cause: cause
        )
    }
}

extension ConsulConfiguration.TLS {
    func settings() throws(ConsulError) -> TLSConfiguration {
        var settings = TLSConfiguration.makeClientConfiguration()
        if !self.verifiesAgent { settings.certificateVerification = .none }
        var file = ""
        do {
            if let path = self.authoritiesFile {
                file = path
                settings.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(path))
            }
            if let path = self.certificateFile {
                file = path
                settings.certificateChain = try NIOSSLCertificate.fromPEMFile(path).map { .certificate($0) }
            }
            if let path = self.keyFile {
                file = path
                settings.privateKey = .privateKey(try NIOSSLPrivateKey(file: path, format: .pem))
            }
        } catch {
            throw ConsulError(
                .invalidConfiguration,
                "\(file) cannot be used for TLS: it must be a readable file in PEM",
                cause: error
            )
        }
        guard (self.certificateFile == nil) == (self.keyFile == nil) else {
            throw ConsulError(
                .invalidConfiguration,
                "a client's certificate needs its key, and the key its certificate"
            )
        }
        return settings
    }
}
