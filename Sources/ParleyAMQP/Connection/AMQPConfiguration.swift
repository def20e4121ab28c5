public import NIOSSL
public import ParleyCore

/// How to reach a broker and within which limits.
public struct AMQPConfiguration: Sendable {
    public struct Endpoint: Sendable, Hashable {
        public var host: String
        public var port: Int

        public init(host: String, port: Int = 5_672) {
            self.host = host
            self.port = port
        }
    }

    public struct Credentials: Sendable {
        enum Kind: Sendable {
            case plain(user: String, password: String)
            case external
            case provider(@Sendable () async throws -> Secret)
        }
        let kind: Kind

        /// What a provider gives. Its description holds no secret.
        public struct Secret: Sendable, CustomStringConvertible {
            public var user: String
            public var secret: String
            /// How long it is good from now on; `nil` is without end.
            public var validFor: Duration?

            public init(user: String, secret: String, validFor: Duration? = nil) {
                self.user = user
                self.secret = secret
                self.validFor = validFor
            }

            public var description: String { "Secret(user: \(self.user))" }
        }

        /// SASL PLAIN. Without TLS the password travels readable.
        public static func plain(user: String, password: String) -> Credentials {
            Credentials(kind: .plain(user: user, password: password))
        }
        /// SASL EXTERNAL: the broker takes the user from the client certificate.
        public static let external = Credentials(kind: .external)
        /// SASL PLAIN with what `provide` gives, for example an OAuth 2 token as the secret.
        ///
        /// It is asked before each connection, and again when a fifth of ``Secret/validFor`` is left; that secret goes
        /// to the broker over the open connection. What it throws counts as a failed try to connect, which ends
        /// ``AMQPConnection/run()`` only if it is the first and says ``RetrySafety/permanent``. It has
        /// ``AMQPConfiguration/connectTimeout`` and must then heed the cancellation of its task.
        public static func provider(_ provide: @escaping @Sendable () async throws -> Secret) -> Credentials {
            Credentials(kind: .provider(provide))
        }
    }

    public struct TLS: Sendable {
        public var configuration: TLSConfiguration
        /// The name the certificate must have; the endpoint's host if nothing is said.
        public var serverName: String?

        public init(_ configuration: TLSConfiguration = .makeClientConfiguration(), serverName: String? = nil) {
            self.configuration = configuration
            self.serverName = serverName
        }
    }

    /// Tried in turn, from the one that worked last.
    public var endpoints: [Endpoint]
    public var virtualHost: String
    public var credentials: Credentials
    public var tls: TLS?
    /// What the broker's tools show as the connection's name.
    public var connectionName: String?
    /// Whole seconds; the broker may ask for less. Zero switches heartbeats off: a dead peer is then never noticed.
    public var heartbeat: Duration = .seconds(15)
    /// The largest channel number; the broker may allow fewer.
    public var maximumChannels: UInt16 = 2_047
    /// The largest frame in bytes, at least 4,096; the broker may allow less.
    public var maximumFrameSize: UInt32 = 131_072
    /// A larger message from the broker closes its channel; a larger one of ours is refused before a byte is sent.
    /// RabbitMQ's own limit is 128 MiB, from 4.0 on 16 MiB, and it reads the whole message before it refuses it.
    public var maximumMessageBytes = 128 * 1_024 * 1_024
    /// Publishes wait while more than this is on its way into the socket. One message may go over it.
    public var maximumBufferedBytes = 4 * 1_024 * 1_024
    /// For the TCP connection, and again for the handshakes on it.
    public var connectTimeout: Duration = .seconds(10)
    /// How long a request waits for its reply, or for a connection to be there.
    public var operationTimeout: Duration = .seconds(30)
    /// How long a publish waits to be sent (window full, broker blocked, no connection), and then for its confirm.
    public var publishTimeout: Duration = .seconds(30)
    /// Between tries to connect.
    public var backoff = Backoff(initial: .milliseconds(200), cap: .seconds(15))
    /// Whether a lost connection is made again with all that was on it.
    public var recovers = true
    /// On graceful shutdown: how long to wait for confirms that are open.
    public var drainTimeout: Duration = .seconds(5)

    public init(
        endpoints: [Endpoint] = [Endpoint(host: "127.0.0.1")],
        virtualHost: String = "/",
        credentials: Credentials = .plain(user: "guest", password: "guest"),
        tls: TLS? = nil
    ) {
        self.endpoints = endpoints
        self.virtualHost = virtualHost
        self.credentials = credentials
        self.tls = tls
    }

    /// From `amqp://user:password@host:port/vhost` or `amqps://…`; each part may be left out, `%2F` stands for `/`.
    ///
    /// - Throws: ``AMQPError/Code/invalidArgument``. The text is not repeated in it, because it may hold a password.
    public init(url: String) throws(AMQPError) {
        let invalid = AMQPError(.invalidArgument, "not an AMQP URL: write amqp://user:password@host:port/vhost")
        let secure: Bool
        var rest: Substring
        if url.hasPrefix("amqp://") {
            (secure, rest) = (false, url.dropFirst(7))
        } else if url.hasPrefix("amqps://") {
            (secure, rest) = (true, url.dropFirst(8))
        } else {
            throw invalid
        }
        self.init(tls: secure ? TLS() : nil)
        if let slash = rest.firstIndex(of: "/") {
            guard let name = PercentEncoding.decode(rest[rest.index(after: slash)...]) else { throw invalid }
            self.virtualHost = name
            rest = rest[..<slash]
        }
        if let at = rest.lastIndex(of: "@") {
            let parts = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard let user = parts.first.flatMap(PercentEncoding.decode),
                let password = PercentEncoding.decode(parts.count > 1 ? parts[1] : "")
            else { throw invalid }
            self.credentials = .plain(user: user, password: password)
            rest = rest[rest.index(after: at)...]
        }
        var port = secure ? 5_671 : 5_672
        let afterBracket = rest.lastIndex(of: "]") ?? rest.startIndex
        if let colon = rest[afterBracket...].lastIndex(of: ":") {
            guard let number = UInt16(rest[rest.index(after: colon)...]) else { throw invalid }
            port = Int(number)
            rest = rest[..<colon]
        }
        if rest.hasPrefix("["), rest.hasSuffix("]") { rest = rest.dropFirst().dropLast() }
        self.endpoints = [Endpoint(host: rest.isEmpty ? "127.0.0.1" : String(rest), port: port)]
    }
}
