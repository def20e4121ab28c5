internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
package import ParleyCore

#if canImport(Darwin)
internal import Darwin
#elseif canImport(Glibc)
internal import Glibc
#endif

/// What an error of the HTTP client library says, in our words. The one place that knows that library's errors.
package struct TransportFailure: Error, Sendable {
    package enum Kind: Sendable, Hashable {
        case connect, busy, timeout, lost, garbage, invalidRequest, shutDown
    }

    package var kind: Kind
    package var retry: RetrySafety
    package var cause: any Error

    /// - Parameter wasBegun: whether the request may have been written. `nil` where nobody can know.
    package init(_ error: any Error, wasBegun: Bool? = nil) {
        self.cause = error
        (self.kind, self.retry) = Self.classify(error)
        // A careful guess gives way to knowledge: nothing was written, whatever broke.
        if self.retry == .mayHaveRun, wasBegun == false { self.retry = .notSent }
    }

    private static func classify(_ error: any Error) -> (Kind, RetrySafety) {
        switch error {
        case let error as HTTPClientError:
            return Self.classify(error)
        case HTTPParserError.invalidEOFState:
            // The parser's word for the end of the connection in the middle of an answer.
            return (.lost, .mayHaveRun)
        case is HTTPParserError:
            return (.garbage, .mayHaveRun)
        case is NIOConnectionError, is SocketAddressError, is SocketAddressError.UnknownHost:
            return (.connect, .notSent)
        case ChannelError.connectTimeout:
            return (.connect, .notSent)
        case let error as IOError where error.errnoCode == ECONNREFUSED || error.errnoCode == EADDRNOTAVAIL:
            // Both come from connect(2) alone. EHOSTUNREACH and ETIMEDOUT may also end an open connection.
            return (.connect, .notSent)
        default:
            return (.lost, .mayHaveRun)
        }
    }

    private static func classify(_ error: HTTPClientError) -> (Kind, RetrySafety) {
        switch error {
        case .getConnectionFromPoolTimeout:
            // Our own limit, not the other side's doing.
            return (.busy, .notSent)
        case .connectTimeout, .tlsHandshakeTimeout, .socksHandshakeTimeout,
            .httpProxyHandshakeTimeout, .proxyAuthenticationRequired:
            return (.connect, .notSent)
        case .readTimeout, .writeTimeout, .deadlineExceeded:
            return (.timeout, .mayHaveRun)
        case .alreadyShutdown:
            return (.shutDown, .notSent)
        case .invalidURL, .emptyHost, .emptyScheme, .missingSocketPath, .identityCodingIncorrectlyPresent,
            .contentLengthMissing, .traceRequestWithBody:
            return (.invalidRequest, .permanent)
        case .invalidProxyResponse:
            return (.garbage, .mayHaveRun)
        default:
            // Cases with payloads have no pattern of their own; both are refused before anything is written.
            let text = error.shortDescription
            if text.hasPrefix("Invalid header field") || text.hasPrefix("Unsupported scheme") {
                return (.invalidRequest, .permanent)
            }
            return (.lost, .mayHaveRun)
        }
    }
}
