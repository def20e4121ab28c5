public import ParleyCore

/// Where the server is, who we are, and every limit.
public struct RESPConfiguration: Sendable, CustomStringConvertible, CustomReflectable {
    /// How the server proves who it is, and we do.
    public struct TLS: Sendable, Hashable {
        /// A PEM file with the authorities to trust; without one, those of the system.
        public var authorities: String?
        /// PEM files with our own certificate and its key, for servers that ask.
        public var certificate: String?
        public var key: String?
        /// The name that the server's certificate must hold; without one, the endpoint's host.
        public var serverName: String?

        public init(
            authorities: String? = nil,
            certificate: String? = nil,
            key: String? = nil,
            serverName: String? = nil
        ) {
            self.authorities = authorities
            self.certificate = certificate
            self.key = key
            self.serverName = serverName
        }
    }

    public var endpoint: Endpoint
    /// An ACL user; without one a password is that of the default user. Not used without a password.
    public var username: String?
    public var password: String?
    /// What `SELECT` is sent for; 0 sends none.
    public var database: Int
    /// What `CLIENT LIST` shows. No spaces.
    public var clientName: String?
    /// Encrypts and verifies the server; `nil` is plain text.
    public var tls: TLS?
    /// Ask for RESP3 and fall back when the server refuses; `false` speaks RESP2 from the start.
    public var prefersRESP3: Bool
    /// For a connection to come about, the handshake included.
    public var connectTimeout: Duration
    /// For a reply, when neither the caller nor its `RequestContext` says less. A command that blocks gets its own
    /// limit added.
    public var commandTimeout: Duration
    /// A peer that owes a reply and sends nothing for this long counts as gone, and its connection is closed.
    public var silenceLimit: Duration
    /// Commands on one connection that were written and have no reply: more wait here, not in the server.
    public var maximumInFlight: Int
    /// Commands on one connection that wait to be written: more are refused as ``RESPError/Code/overloaded``.
    public var maximumWaiting: Int
    /// What the server may send.
    public var limits: RESPLimits
    /// Told about push messages, such as invalidations. Runs on the connection's event loop, so it must not block.
    public var onPush: (@Sendable ([RESPValue]) -> Void)?

    // The client's

    /// Connections that every caller shares.
    public var sharedConnections: Int
    /// Connections that one caller has alone, for blocking commands and ``RESPClient/withConnection(isolation:_:)``.
    public var maximumDedicated: Int
    /// Of those, how many stay open while nobody uses them.
    public var maximumIdle: Int
    /// The waits between tries to connect.
    public var backoff: Backoff
    /// How often the client asks a sentinel whether the master is still the same; at least a millisecond. A master that
    /// was replaced may take writes until it knows, and they are lost: about so long here, ten seconds without asking.
    public var sentinelInterval: Duration
    /// Send a command that the server answers with `MOVED` or `ASK` to the node that is named, and to that node this
    /// configuration's password; `false` leaves them as errors.
    ///
    /// For a client of one node of a cluster, while slots move: only for commands that are sent alone and do not block,
    /// and with a round trip more for each, since nothing is remembered of where slots are. Not a cluster client.
    public var followsRedirections: Bool

    public init(
        endpoint: Endpoint,
        username: String? = nil,
        password: String? = nil,
        database: Int = 0,
        clientName: String? = nil,
        tls: TLS? = nil,
        prefersRESP3: Bool = true,
        connectTimeout: Duration = .seconds(5),
        commandTimeout: Duration = .seconds(10),
        silenceLimit: Duration = .seconds(10),
        maximumInFlight: Int = 4_096,
        maximumWaiting: Int = 65_536,
        limits: RESPLimits = RESPLimits(),
        onPush: (@Sendable ([RESPValue]) -> Void)? = nil,
        sharedConnections: Int = 2,
        maximumDedicated: Int = 64,
        maximumIdle: Int = 8,
        backoff: Backoff = Backoff(initial: .milliseconds(50), cap: .seconds(5), jitter: 0.5),
        sentinelInterval: Duration = .seconds(1),
        followsRedirections: Bool = false
    ) {
        self.endpoint = endpoint
        self.username = username
        self.password = password
        self.database = max(0, database)
        self.clientName = clientName
        self.tls = tls
        self.prefersRESP3 = prefersRESP3
        self.connectTimeout = connectTimeout
        self.commandTimeout = commandTimeout
        self.silenceLimit = silenceLimit
        self.maximumInFlight = max(1, maximumInFlight)
        self.maximumWaiting = max(1, maximumWaiting)
        self.limits = limits
        self.onPush = onPush
        self.sharedConnections = max(1, sharedConnections)
        self.maximumDedicated = max(1, maximumDedicated)
        self.maximumIdle = max(0, maximumIdle)
        self.backoff = backoff
        self.sentinelInterval = max(.milliseconds(1), sentinelInterval)
        self.followsRedirections = followsRedirections
    }

    /// The endpoint, the user and the database: what may stand in a log. Never a password.
    public var description: String {
        (self.username.map { "\($0) at " } ?? "") + "\(self.endpoint), database \(self.database)"
            + (self.tls == nil ? "" : ", TLS")
    }

    /// For debuggers and `dump`: the description.
    public var customMirror: Mirror { Mirror(self, children: ["description": self.description]) }
}

extension RESPConfiguration {
    package var handshake: RESPConnectionMachine.Handshake {
        .init(
            prefersRESP3: self.prefersRESP3,
            authenticates: self.password != nil,
            names: self.clientName != nil,
            selects: self.database != 0
        )
    }

    package func command(for step: RESPConnectionMachine.Step) -> RESPCommand {
        switch step {
        case .hello:
            var words: [RESPArgument] = ["HELLO", "3"]
            if let password { words += ["AUTH", RESPArgument(self.username ?? "default"), RESPArgument(password)] }
            if let clientName { words += ["SETNAME", RESPArgument(clientName)] }
            return RESPCommand(words)
        case .authenticate:
            // Servers before 6 know no user names, and one argument means the default user on all others.
            let user = self.username.map { [RESPArgument($0)] } ?? []
            return RESPCommand(["AUTH"] + user + [RESPArgument(self.password ?? "")])
        case .name: return ["CLIENT", "SETNAME", RESPArgument(self.clientName ?? "")]
        case .select: return ["SELECT", RESPArgument(self.database)]
        case .introduce: return ["CLIENT", "SETINFO", "LIB-NAME", "parley"]
        }
    }
}

extension RESPConfiguration {
    /// The text of a peer without our secrets: some repeat the arguments of what they refuse.
    package func withoutSecrets(_ text: String) -> String {
        guard let password, !password.isEmpty else { return text }
        return text.split(separator: password, omittingEmptySubsequences: false).joined(separator: "(password)")
    }
}

extension Duration {
    /// Whole nanoseconds, zero for a negative duration, saturating.
    package var nanosecondsClamped: UInt64 {
        let (seconds, attoseconds) = self.components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        guard seconds < 9_000_000_000 else { return 9_000_000_000_000_000_000 }
        return UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
    }
}
