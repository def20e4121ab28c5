internal import NIOCore
public import ParleyCore

#if canImport(Darwin)
internal import Darwin
#elseif canImport(Glibc)
internal import Glibc
#endif

/// Why a DNS server cannot serve.
public struct DNSServerError: RetryClassifiedError, Sendable, CustomStringConvertible {
    /// What kind of failure it is.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Value: String {
            case portInUse, permissionDenied, addressNotAvailable, invalidConfiguration, bindFailed, stopped
        }

        private let value: Value

        private init(_ value: Value) { self.value = value }

        /// Another program has the UDP or the TCP port.
        public static let portInUse = Code(.portInUse)
        /// The port needs rights that the process does not have.
        public static let permissionDenied = Code(.permissionDenied)
        /// The host is not one of this machine's.
        public static let addressNotAvailable = Code(.addressNotAvailable)
        /// The configuration cannot work on any machine.
        public static let invalidConfiguration = Code(.invalidConfiguration)
        /// The operating system refused for another reason.
        public static let bindFailed = Code(.bindFailed)
        /// The server was stopped before it listened, or the system has closed one of its sockets.
        public static let stopped = Code(.stopped)

        public var description: String { self.value.rawValue }
    }

    public var code: Code
    /// Which address, why, and what to do.
    public var message: String
    public var retry: RetrySafety
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, retry: RetrySafety = .permanent, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.retry = retry
        self.cause = cause
    }

    public var description: String { "DNSServerError(\(self.code)): \(self.message)" }

    /// What the operating system's refusal means for the one who starts the server.
    static func bind(_ error: any Error, endpoint: Endpoint) -> DNSServerError {
        let place = "The DNS server cannot listen on \(endpoint)"
        switch (error as? IOError)?.errnoCode {
        case EADDRINUSE:
            return DNSServerError(
                .portInUse,
                "\(place): the port is in use. `ss -lntup | grep \(endpoint.port)` shows by whom; stop it, or choose "
                    + "another port (0 picks a free one).",
                retry: .notSent,
                cause: error
            )
        case EACCES, EPERM:
            return DNSServerError(
                .permissionDenied,
                "\(place): permission denied. Ports below 1024, like DNS's own 53, need the right "
                    + "CAP_NET_BIND_SERVICE; choose a higher one.",
                cause: error
            )
        case EADDRNOTAVAIL:
            return DNSServerError(
                .addressNotAvailable,
                "\(place): no interface of this machine has that address (`ip addr` lists them).",
                cause: error
            )
        default: return DNSServerError(.bindFailed, "\(place): \(error)", cause: error)
        }
    }
}
