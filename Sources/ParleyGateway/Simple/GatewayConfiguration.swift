public import ParleyCore
public import ParleyHTTPServer

/// Which paths go to which service.
public struct GatewayRoute: Sendable, Hashable {
    /// `/api/v1/users` is that path and everything below it, by whole segments: not `/api/v1/usersX`.
    public var prefix: String
    /// Who answers; the path is passed on as it came.
    public var service: ServiceName
    /// Who may call it, by the address of the connection; `nil` is everybody, others are answered 403.
    public var allowedClients: [CIDR]?

    public init(prefix: String, service: ServiceName, allowedClients: [CIDR]? = nil) {
        self.prefix = prefix
        self.service = service
        self.allowedClients = allowedClients
    }
}

/// The same routes over TLS, with HTTP/1.1 and HTTP/2.
public struct GatewayTLS: Sendable, Hashable {
    /// The port; 0 takes a free one.
    public var port: Int
    /// A PEM file: the certificate, then those that lead to an authority.
    public var certificate: String
    /// A PEM file: the certificate's private key.
    public var key: String

    public init(port: Int, certificate: String, key: String) {
        self.port = port
        self.certificate = certificate
        self.key = key
    }
}

/// Calls of gRPC, over HTTP/2 without TLS, by the names of their services.
public struct GatewayRPC: Sendable, Hashable {
    /// The port; 0 takes a free one.
    public var port: Int
    /// `users.v1.UserService` to the service that answers it.
    public var services: [String: ServiceName]

    public init(port: Int, services: [String: ServiceName]) {
        self.port = port
        self.services = services
    }
}

/// What a gateway does. Every wait and every size has a limit.
public struct GatewayConfiguration: Sendable {
    /// Where it listens, and how long its connections may take.
    public var listener: ListenerConfiguration
    /// The routes; the longest prefix that matches wins, in whatever order they are given.
    public var routes: [GatewayRoute]
    /// The routes over TLS too; `nil` is not.
    public var tls: GatewayTLS?
    /// gRPC too; `nil` is not.
    public var rpc: GatewayRPC?
    /// How many event loops carry connections; `nil` is one for each core.
    public var workers: Int? = 1
    /// How long opening a connection to a service may take.
    public var connectTimeout: Duration = .seconds(5)
    /// How long a service may be silent, before its answer or within it.
    public var readTimeout: Duration = .seconds(30)
    /// The largest request body, in bytes.
    public var maxBodyBytes = 16_777_216
    /// How many instances are tried for one request. Another one is tried when nothing was sent to the first; for GET,
    /// HEAD and OPTIONS also when its connection broke before it answered.
    public var maxAttempts = 3
    /// How many requests one instance has at once.
    public var maxConnectionsPerEndpoint = 1_024
    /// How long `/health` waits for each service.
    public var healthTimeout: Duration = .seconds(1)
    /// How long `/health/ready` says no before the gateway closes its sockets, for balancers in front of it to notice.
    public var drainDelay: Duration = .zero

    public init(name: ServiceName = "gateway", host: String = "127.0.0.1", port: Int = 0, routes: [GatewayRoute]) {
        self.listener = ListenerConfiguration(name: name, host: host, port: port)
        self.routes = routes
    }
}
