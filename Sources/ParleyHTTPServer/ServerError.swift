internal import NIOCore
public import ParleyCore

#if canImport(Darwin)
internal import Darwin
#elseif canImport(Glibc)
internal import Glibc
#endif

/// Why a server could not begin to listen.
public struct ServerError: RetryClassifiedError, Sendable, CustomStringConvertible {
    /// What kind of failure it is.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        private enum Value: String {
            case portInUse, permissionDenied, addressNotAvailable, invalidConfiguration, bindFailed, stopped
        }

        private let value: Value

        private init(_ value: Value) { self.value = value }

        /// Another program, or another service of this one, listens there.
        public static let portInUse = Code(.portInUse)
        /// The port needs rights that the process does not have.
        public static let permissionDenied = Code(.permissionDenied)
        /// The host is not one of this machine's.
        public static let addressNotAvailable = Code(.addressNotAvailable)
        /// The configuration cannot work on any machine.
        public static let invalidConfiguration = Code(.invalidConfiguration)
        /// The operating system refused for another reason.
        public static let bindFailed = Code(.bindFailed)
        /// The server was stopped before it listened.
        public static let stopped = Code(.stopped)

        public var description: String { self.value.rawValue }
    }

    public var code: Code
    /// Which server, which address, why, and what to do.
    public var message: String
    public var retry: RetrySafety
    public var cause: (any Error)?

    public init(_ code: Code, _ message: String, retry: RetrySafety = .permanent, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.retry = retry
        self.cause = cause
    }

    public var description: String { "ServerError(\(self.code)): \(self.message)" }

    /// What the operating system's refusal means for the one who starts the server.
    package static func bind(_ error: any Error, name: ServiceName, endpoint: Endpoint) -> ServerError {
        let place = "\(name) cannot listen on \(endpoint)"
        if error is SocketAddressError || error is SocketAddressError.UnknownHost {
            return ServerError(
                .addressNotAvailable,
                "\(place): \"\(endpoint.host)\" is neither an address nor a name that can be looked up. Use 127.0.0.1 "
                    + "for this machine only, 0.0.0.0 for every interface.",
                cause: error
            )
        }
        switch (error as? IOError)?.errnoCode {
        case EADDRINUSE:
            return ServerError(
                .portInUse,
                "\(place): the port is in use. `ss -ltnp | grep \(endpoint.port)` shows by whom; stop it, or choose "
                    + "another port (0 picks a free one).",
                retry: .notSent,
                cause: error
            )
        case EACCES, EPERM:
            return ServerError(
                .permissionDenied,
                "\(place): permission denied. Ports below 1024 need the right CAP_NET_BIND_SERVICE; choose a higher "
                    + "one.",
                cause: error
            )
        case EADDRNOTAVAIL:
            return ServerError(
                .addressNotAvailable,
                "\(place): no interface of this machine has that address (`ip addr` lists them).",
                cause: error
            )
        default:
            return ServerError(.bindFailed, "\(place): \(error)", cause: error)
        }
    }
}
