public import ParleyCore

extension DNSResolver {
    /// Which records say where a service is.
    public struct Lookup: Sendable, Hashable {
        enum Kind: Sendable, Hashable {
            case locations(prefix: String)
            case addresses(port: Int)
        }

        let kind: Kind
        let domain: String

        /// SRV records of `<prefix>.<service>.<domain>`: hosts and ports.
        ///
        /// - Parameters:
        ///   - domain: `service.consul` for a registry, `shop.svc.cluster.local` in Kubernetes.
        ///   - prefix: What stands before the service's name, if anything: `_http._tcp` in Kubernetes, a tag in Consul.
        public static func locations(domain: String, prefix: String = "") -> Lookup {
            Lookup(kind: .locations(prefix: prefix), domain: domain)
        }

        /// A records of `<service>.<domain>`, AAAA records where there are none; every instance listens on `port`.
        public static func addresses(domain: String, port: Int) -> Lookup {
            Lookup(kind: .addresses(port: port), domain: domain)
        }
    }

    /// Whom to ask, and the limits of it. Every wait and every size has one.
    public struct Configuration: Sendable {
        /// Name servers by address and port, not by name: asked from the one on that answered last.
        public var nameServers: [Endpoint]
        public var lookup: Lookup
        /// How long one question may wait for its answer, over UDP and again over TCP.
        public var attemptTimeout: Duration = .seconds(2)
        /// How often a question is asked in all. One that only refreshes an answer is asked once: the older answer is
        /// there, and its caller waits.
        public var attempts = 3
        /// The largest datagram that is asked for, in bytes. 1,232 passes every network unfragmented.
        public var udpPayloadSize: UInt16 = 1_232
        /// Answers are kept for as long as their TTL says, and for at least this long: a registry says 0, and a
        /// question before each call would be too many.
        public var minimumTTL: Duration = .seconds(1)
        /// Answers are kept no longer than this, whatever their TTL.
        public var maximumTTL: Duration = .seconds(300)
        /// "There is no such service" is kept no longer than this.
        public var maximumNegativeTTL: Duration = .seconds(10)
        /// How long nobody is asked about a service after that has failed.
        public var failureHold: Duration = .seconds(5)
        /// How many services are remembered.
        public var maximumServices = 4_096
        /// How many instances of one service are used; further ones are left out.
        public var maximumInstances = 4_096
        /// How many hosts of one answer are asked for because the answer came without their addresses; further ones are
        /// left out.
        public var maximumHostQuestions = 256

        public init(nameServers: [Endpoint], lookup: Lookup) {
            self.nameServers = nameServers
            self.lookup = lookup
        }

        /// - Throws: ``DiscoveryError/Code/invalidConfiguration``.
        func validated() throws(DiscoveryError) -> Configuration {
            guard !self.nameServers.isEmpty else {
                throw Self.invalid("there is no name server: name at least one")
            }
            for server in self.nameServers where IPAddress(server.host) == nil || !(1...65_535).contains(server.port) {
                throw Self.invalid("\(server) is no name server: write its address and port, as in 127.0.0.1:8600")
            }
            if case .addresses(let port) = self.lookup.kind, !(1...65_535).contains(port) {
                throw Self.invalid("the services' port is \(port): it must be 1 to 65535")
            }
            do throws(DNSFormatError) {
                _ = try self.name(of: "x")
            } catch {
                throw Self.invalid("services cannot be looked up in \"\(self.lookup.domain)\": \(error)")
            }
            return self
        }

        func name(of service: ServiceName) throws(DNSFormatError) -> DNSName {
            switch self.lookup.kind {
            case .locations(let prefix) where !prefix.isEmpty:
                try DNSName("\(prefix).\(service).\(self.lookup.domain)")
            case .locations, .addresses: try DNSName("\(service).\(self.lookup.domain)")
            }
        }

        private static func invalid(_ message: String) -> DiscoveryError {
            DiscoveryError(.invalidConfiguration, "DNS resolver: \(message).", retry: .permanent)
        }
    }
}
