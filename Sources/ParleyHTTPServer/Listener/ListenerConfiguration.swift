public import ParleyCore

/// Where a server listens and how long its connections may take: what ``HTTPService`` and the gateway share.
public struct ListenerConfiguration: Sendable {
    /// The service, as others find it.
    public var name: ServiceName
    /// The address to listen on: `127.0.0.1` is this machine only, `0.0.0.0` every IPv4 interface, `::` both families.
    public var host: String
    /// The port; 0 takes a free one, which is then announced.
    public var port: Int
    /// How long a connection may be silent while nothing or half a request has come; then it is closed. It also bounds
    /// the time for a request's head, so that a slow sender cannot hold a connection.
    public var idleTimeout: Duration = .seconds(60)
    /// How long requests under way may go on after a graceful shutdown has begun; then they are cancelled.
    public var drainTimeout: Duration = .seconds(4)
    /// How many connections are open at once; further ones wait in the operating system's queue.
    public var maxConnections = 4_096
    /// The length of that queue.
    public var backlog = 512
    /// How much of a body is read and thrown away after the answer has been given early, so that the client sees the
    /// answer rather than a broken connection; then the connection is closed. In bytes.
    public var maxLingerBytes = 2_097_152
    /// How long that may take.
    public var lingerTimeout: Duration = .seconds(2)

    public init(name: ServiceName, host: String = "127.0.0.1", port: Int = 0) {
        self.name = name
        self.host = host
        self.port = port
    }

    func validated() throws -> ListenerConfiguration {
        guard (0...65_535).contains(self.port), !self.host.isEmpty else {
            throw ServerError(
                .invalidConfiguration,
                "\(self.name) cannot listen on \"\(self.host):\(self.port)\": the host must not be empty and the port "
                    + "must be 0 to 65535 (0 picks a free one)."
            )
        }
        return self
    }
}
