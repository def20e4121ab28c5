/// How one ``Registry`` listens, what it is called and what it takes.
public struct RegistryConfiguration: Sendable {
    /// The address to listen on: `127.0.0.1` is this machine only, `0.0.0.0` every IPv4 interface.
    public var host: String
    /// Consul's own port unless said otherwise; 0 takes a free one.
    public var port: Int
    /// The SQLite file that holds everything; `nil` keeps it in memory, and a restart begins empty.
    public var path: String?
    /// The only datacenter there is; questions about another are refused.
    public var datacenter = "dc1"
    /// The node that services are registered on. Another name begins another node: what was on the old one stays there.
    public var nodeName = "parley"
    /// The address of that node, which clients use for services without an address of their own.
    public var advertisedAddress: String
    /// What every request must carry (`X-Consul-Token`, `Authorization: Bearer`, `?token=`); `nil` asks for nothing.
    public var token: String?
    /// Whether the registry itself is among the services, as `consul`, as Consul does.
    public var listsItself = true
    /// A check that asks to be made more often is made this often.
    public var minimumCheckInterval: Duration = .seconds(1)
    /// A check that asks for a longer `Timeout` has this one; a UDP check none longer than its interval either, because
    /// silence is what it waits for.
    public var maximumCheckTimeout: Duration = .seconds(60)
    /// `DeregisterCriticalServiceAfter` counts as at least this.
    public var minimumDeregisterAfter: Duration = .seconds(60)
    /// How often it is looked for services that were critical for too long.
    public var reapInterval: Duration = .seconds(30)
    public var limits = RegistryLimits()

    public init(host: String = "127.0.0.1", port: Int = 8_500, path: String? = nil) {
        self.host = host
        self.port = port
        self.path = path
        self.advertisedAddress = host == "0.0.0.0" || host == "::" || host == "localhost" ? "127.0.0.1" : host
    }
}
