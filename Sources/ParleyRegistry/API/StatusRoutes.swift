internal import NIOCore
internal import ParleyDiscovery

/// What one registry says about the cluster that it is not: it is its own leader and only member.
extension RegistryAPI {
    func addStatusRoutes(to routes: inout RouteTable) {
        let limit = self.limits.maximumBodyBytes
        func add(_ path: String, needsToken: Bool = true, _ value: @escaping @Sendable () -> JSONValue) {
            routes.add(
                path,
                ["GET": { call in try self.json(value(), call) }],
                needsToken: needsToken,
                maximumBodyBytes: limit
            )
        }
        let own = self.identity
        add("/v1/status/leader", needsToken: false) { .string(own.serverAddress) }
        add("/v1/status/peers", needsToken: false) { .array([.string(own.serverAddress)]) }
        add("/v1/agent/self") { own.agentSelf }
        add("/v1/agent/members") { .array([own.member]) }
        add("/v1/agent/host") { .object([]) }
        add("/v1/coordinate/datacenters") { .array([]) }
        add("/v1/operator/raft/configuration") { own.raftConfiguration }
        // Clients ask for sessions when they look for locks that others have left.
        for path in ["/v1/session/list", "/v1/session/node/", "/v1/session/info/", "/v1/coordinate/nodes"] {
            routes.add(path, ["GET": self.nothing], maximumBodyBytes: limit)
        }
    }

    /// Nothing, and it stays so: who waits for it waits in vain, and not in a loop.
    @Sendable
    private func nothing(_ call: Call) async throws -> APIAnswer {
        try await self.indexed(call, about: .nothing) { _ in [String]() }
    }

    private func json(_ value: JSONValue, _ call: Call) throws -> APIAnswer {
        let options = try call.options(self)
        var bytes: [UInt8] = []
        value.write(indent: options.isPretty ? 4 : 0, into: &bytes)
        if options.isPretty { bytes.append(UInt8(ascii: "\n")) }
        return APIAnswer(body: .json(ByteBuffer(bytes: bytes)))
    }
}

/// Who this registry says it is.
struct RegistryIdentity: Sendable {
    /// A version whose clients' expectations the answers meet.
    static let version = "1.10.0"

    var nodeID: String
    var nodeName: String
    var datacenter: String
    var address: String

    /// Where Consul's servers talk to each other; nobody listens there.
    static let serverPort = 8_300
    private static let gossipPort = 8_301

    var serverAddress: String {
        self.address.contains(":") ? "[\(self.address)]:\(Self.serverPort)" : "\(self.address):\(Self.serverPort)"
    }

    var node: NodeRecord {
        let family = self.address.contains(":") ? "ipv6" : "ipv4"
        var node = NodeRecord(name: self.nodeName, id: self.nodeID, address: self.address)
        node.taggedAddresses = [
            "lan": self.address, "wan": self.address, "lan_\(family)": self.address, "wan_\(family)": self.address,
        ]
        node.meta = ["consul-network-segment": ""]
        return node
    }

    private static func object(_ members: KeyValuePairs<String, JSONValue>) -> JSONValue {
        .object(members.map { JSONValue.Member($0.key, $0.value) })
    }

    var member: JSONValue {
        Self.object([
            "Name": .string(self.nodeName), "Addr": .string(self.address), "Port": .number("\(Self.gossipPort)"),
            "Tags": Self.object([
                "acls": .string("0"), "build": .string("\(Self.version):"), "dc": .string(self.datacenter),
                "id": .string(self.nodeID), "port": .string("\(Self.serverPort)"), "raft_vsn": .string("3"),
                "role": .string("consul"), "segment": .string(""), "vsn": .string("2"), "vsn_max": .string("3"),
                "vsn_min": .string("2"),
            ]),
            "Status": .number("1"), "ProtocolMin": .number("1"), "ProtocolMax": .number("5"),
            "ProtocolCur": .number("2"), "DelegateMin": .number("2"), "DelegateMax": .number("5"),
            "DelegateCur": .number("4"),
        ])
    }

    var agentSelf: JSONValue {
        Self.object([
            "Config": Self.object([
                "Datacenter": .string(self.datacenter), "PrimaryDatacenter": .string(self.datacenter),
                "NodeName": .string(self.nodeName), "NodeID": .string(self.nodeID), "Revision": .string("parley"),
                "Server": .bool(true), "Version": .string(Self.version),
            ]),
            "DebugConfig": .object([]),
            "Coord": .null,
            "Member": self.member,
            "Stats": Self.object([
                "agent": Self.object(["check_monitors": .string("0")]),
                "consul": Self.object(["server": .string("true"), "leader": .string("true")]),
            ]),
            "Meta": Self.object(["consul-network-segment": .string("")]),
        ])
    }

    var raftConfiguration: JSONValue {
        Self.object([
            "Servers": .array([
                Self.object([
                    "ID": .string(self.nodeID), "Node": .string(self.nodeName),
                    "Address": .string(self.serverAddress), "Leader": .bool(true), "Voter": .bool(true),
                    "ProtocolVersion": .string("3"),
                ])
            ]),
            "Index": .number("1"),
        ])
    }
}
