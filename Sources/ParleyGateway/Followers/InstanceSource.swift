internal import NIOCore
internal import ParleyCore
internal import ParleyDiscovery

/// Says which instances an upstream has now. Made for one plan; keeps what it has looked up for as long as it is good.
struct InstanceSource: Sendable {
    /// How often it is asked. Resolvers of registries and of DNS answer from what they keep themselves.
    let interval: Duration
    private let find: @Sendable () async throws -> [PeerModel]

    init(interval: Duration, find: @escaping @Sendable () async throws -> [PeerModel]) {
        self.interval = interval
        self.find = find
    }

    func peers() async throws -> [PeerModel] { try await self.find() }

    private static let registryInterval: Duration = .milliseconds(100)
    /// The system's resolver does not say for how long its answers are good.
    private static let systemInterval: Duration = .seconds(5)
    fileprivate static let systemLimit: Duration = .seconds(10)

    /// `nil` for instances that do not change.
    ///
    /// - Throws: ``GatewayError`` when nobody can be asked.
    static func source(
        of model: UpstreamModel,
        isRPC: Bool,
        resolvers: Resolvers,
        time: any TimeSource,
        random: any RandomSource
    ) throws -> InstanceSource? {
        switch model.instances {
        case .fixed:
            return nil
        case .service(let text):
            guard let name = ServiceName(text) else {
                throw GatewayError(
                    .invalidConfiguration,
                    "upstream \"\(model.name)\": \"\(text)\" is no name of a service; letters, digits, \"-\", \"_\" "
                        + "and \".\" make one"
                )
            }
            guard let resolver = isRPC ? resolvers.rpc ?? resolvers.http : resolvers.http else {
                throw GatewayError(
                    .invalidConfiguration,
                    "upstream \"\(model.name)\" follows the service \(name), and no registry is configured"
                )
            }
            let hosts = HostAddresses(time: time)
            return InstanceSource(interval: Self.registryInterval) {
                var peers: [PeerModel] = []
                for instance in try await resolver.resolve(name) {
                    if let peer = try await Self.peer(instance, like: model.found, isRPC: isRPC, hosts) {
                        peers.append(peer)
                    }
                }
                return peers
            }
        case .dns(let name, let port):
            return try Self.dns(model, name, port, resolvers.names, time, random)
        }
    }

    /// Whom to ask.
    struct Resolvers: Sendable {
        var http: (any ServiceResolver)?
        /// Where instances answer gRPC; `nil` is the same.
        var rpc: (any ServiceResolver)?
        var names: ResolverModel?
    }

    private static let portKey = "grpc_port"

    private static func peer(
        _ instance: ServiceInstance,
        like model: PeerModel,
        isRPC: Bool,
        _ hosts: HostAddresses
    ) async throws -> PeerModel? {
        guard let address = try await hosts.address(of: instance.endpoint.host) else { return nil }
        var port = instance.endpoint.port
        // The port of an instance in a registry is that of HTTP; of a fixed address, the one that is meant.
        if isRPC, let text = instance.metadata[Self.portKey], let number = Int(text), (1...65_535).contains(number) {
            port = number
        }
        var peer = model
        peer.host = address
        peer.port = port
        peer.name = address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
        peer.instanceID = instance.knowsItsID ? instance.id : nil
        if let text = instance.metadata[ServiceInstance.weight], let weight = Int(text) {
            peer.weight = min(max(weight, 1), PeerGroupError.maxWeight)
        }
        return peer
    }

    // MARK: - DNS

    private static func dns(
        _ model: UpstreamModel,
        _ name: String,
        _ port: Int,
        _ names: ResolverModel?,
        _ time: any TimeSource,
        _ random: any RandomSource
    ) throws -> InstanceSource {
        guard let names, !names.servers.isEmpty else {
            guard port > 0 else {
                throw GatewayError(
                    .invalidConfiguration,
                    "upstream \"\(model.name)\": SRV records of \(name) need a resolver; name a DNS server"
                )
            }
            return InstanceSource(interval: Self.systemInterval) {
                let addresses = try await HostLookup.addresses(of: name, port: port, within: Self.systemLimit, on: time)
                guard !addresses.isEmpty else { throw GatewayError(.unknownHost, "the name \(name) is not known") }
                return addresses.map { address in
                    var peer = model.found
                    peer.host = address
                    peer.port = port
                    peer.name = address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
                    return peer
                }
            }
        }
        let (service, domain) = try Self.parts(name, of: model.name)
        var configuration = DNSResolver.Configuration(
            nameServers: try names.servers.map { try Self.nameServer($0) },
            lookup: port == 0 ? .locations(domain: domain) : .addresses(domain: domain, port: port)
        )
        if let valid = names.validMilliseconds {
            configuration.minimumTTL = .milliseconds(max(1, valid))
            configuration.maximumTTL = .milliseconds(max(1, valid))
        }
        let resolver = try DNSResolver(configuration, time: time, random: random)
        let hosts = HostAddresses(time: time)
        return InstanceSource(interval: Self.registryInterval) {
            var peers: [PeerModel] = []
            for instance in try await resolver.resolve(service) {
                if let peer = try await Self.peer(instance, like: model.found, isRPC: false, hosts) {
                    peers.append(peer)
                }
            }
            return peers
        }
    }

    /// The first label is looked up in the rest.
    private static func parts(_ name: String, of upstream: String) throws -> (ServiceName, String) {
        guard let dot = name.firstIndex(of: "."), let service = ServiceName(name[..<dot]) else {
            throw GatewayError(
                .invalidConfiguration,
                "upstream \"\(upstream)\": \"\(name)\" must have a domain to be looked up at a DNS server"
            )
        }
        return (service, String(name[name.index(after: dot)...]))
    }

    private static func nameServer(_ text: String) throws -> Endpoint {
        if IPAddress(text) != nil { return Endpoint(host: text, port: 53) }
        guard let endpoint = Endpoint(text), IPAddress(endpoint.host) != nil else {
            throw GatewayError(.invalidConfiguration, "the resolver \"\(text)\" is no address, nor address:port")
        }
        return endpoint
    }
}

/// The addresses of hosts that a registry knows by name. Asked by one follower at a time.
actor HostAddresses {
    private static let lifetime: Duration = .seconds(5)
    private static let maxHosts = 4_096

    private let time: any TimeSource
    private var known: [String: (address: String?, until: ContinuousClock.Instant)] = [:]

    init(time: any TimeSource) {
        self.time = time
    }

    /// `nil` when nobody knows the host: its instance cannot be asked now.
    func address(of host: String) async throws -> String? {
        if IPAddress(host) != nil { return host }
        if let entry = self.known[host], self.time.now < entry.until { return entry.address }
        let limit = InstanceSource.systemLimit
        let addresses = try await HostLookup.addresses(of: host, port: 0, within: limit, on: self.time)
        if self.known.count >= Self.maxHosts { self.known.removeAll() }
        // One instance is one peer. The first that is IPv4, as resolvers of registries choose.
        let address = addresses.first { !$0.contains(":") } ?? addresses.first
        self.known[host] = (address, self.time.now.advanced(by: Self.lifetime))
        return address
    }
}
