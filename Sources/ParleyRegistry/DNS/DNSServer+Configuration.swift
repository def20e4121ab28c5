internal import ParleyCore
internal import ParleyDiscovery

extension DNSServer {
    /// What it answers for, and its limits. Every wait and every size has one.
    public struct Configuration: Sendable {
        /// The address to listen on, not a name: `127.0.0.1` is this machine only. With `0.0.0.0` or `::` on a machine
        /// with several addresses, the system may answer a datagram from another one than was asked.
        public var host = "127.0.0.1"
        /// The port, for UDP and TCP; 0 takes one that is free for both.
        public var port = 8_600
        /// The domain of all names.
        public var domain = "consul"
        public var datacenter = "dc1"
        /// The node of the registry on which this server runs: the domain's name server.
        public var nodeName: String
        /// For how long the records of services may be kept, in whole seconds. 0, the default, is for one use only.
        public var serviceTTL: Duration = .zero
        /// The same for nodes and addresses.
        public var nodeTTL: Duration = .zero
        /// Leaves out instances that are `warning`.
        public var onlyPassing = false
        /// How many answers a datagram holds for clients without EDNS: they shall not have the same first ones always,
        /// and many take only the first. 1 to 8.
        public var udpAnswerLimit = 3
        /// The largest datagram that is sent or taken, in bytes: 512 to 65,507. A larger one is more useful to who asks
        /// and to who abuses the server to send much to somebody else.
        public var maximumDatagramSize = 4_096
        /// Sets the TC bit when answers were left out, so that clients ask again over TCP. Consul's default is not to.
        public var marksTruncation = true
        /// How many TCP connections are open at once; further ones are closed at once.
        public var maximumConnections = 256
        /// How long a TCP connection may be without a whole query; then it is closed.
        public var idleTimeout: Duration = .seconds(10)
        /// How many queries a second one address may send over UDP, on average; further ones are dropped.
        public var udpQueriesPerSecond = 20_000
        /// How long TCP connections may take to fetch their last answers after a graceful shutdown has begun.
        public var drainTimeout: Duration = .seconds(2)

        public init(nodeName: String) {
            self.nodeName = nodeName
        }
    }
}

extension DNSServer.Configuration {
    var endpoint: Endpoint { Endpoint(host: self.host, port: self.port) }

    /// - Throws: ``DNSServerError/Code/invalidConfiguration``.
    func zone() throws(DNSServerError) -> DNSZone {
        guard IPAddress(self.host) != nil, (0...65_535).contains(self.port) else {
            throw Self.invalid("it cannot listen on \"\(self.endpoint)\": write an address and a port from 0 to 65535")
        }
        guard let domain = try? DNSName(self.domain), domain != .root else {
            throw Self.invalid("\"\(self.domain)\" is no domain")
        }
        guard (1...8).contains(self.udpAnswerLimit), (512...65_507).contains(self.maximumDatagramSize),
            self.maximumConnections > 0, self.idleTimeout > .zero, self.udpQueriesPerSecond > 0
        else {
            throw Self.invalid(
                "udpAnswerLimit must be 1 to 8, maximumDatagramSize 512 to 65507, the other limits more than nothing"
            )
        }
        var settings = DNSZone.Settings(domain: domain, datacenter: self.datacenter, nodeName: self.nodeName)
        settings.serviceTTL = Self.seconds(self.serviceTTL)
        settings.nodeTTL = Self.seconds(self.nodeTTL)
        settings.onlyPassing = self.onlyPassing
        let zone = DNSZone(settings: settings)
        guard zone.nodeName(self.nodeName) != nil, zone.name([self.datacenter]) != nil else {
            throw Self.invalid(
                "\"\(self.nodeName)\" and \"\(self.datacenter)\" must be names of 1 to 63 bytes: they are part of "
                    + "\(self.nodeName).node.\(self.datacenter).\(self.domain)"
            )
        }
        return zone
    }

    var limits: DNSResponder.Limits {
        var limits = DNSResponder.Limits()
        limits.udpAnswers = self.udpAnswerLimit
        limits.datagram = self.maximumDatagramSize
        limits.marksTruncation = self.marksTruncation
        return limits
    }

    private static func invalid(_ message: String) -> DNSServerError {
        DNSServerError(.invalidConfiguration, "DNS server: \(message).")
    }

    /// TTLs have 31 bits.
    private static func seconds(_ duration: Duration) -> UInt32 {
        UInt32(min(max(duration.components.seconds, 0), Int64(Int32.max)))
    }
}
