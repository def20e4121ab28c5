internal import ParleyCore
internal import ParleyDiscovery

/// How a check is doing; the better one is the smaller one, so that a whole is the `max()` of its parts.
enum CheckStatus: String, Sendable, Hashable, Codable, Comparable {
    case passing, warning, critical

    static func < (lhs: CheckStatus, rhs: CheckStatus) -> Bool { lhs.rank < rhs.rank }

    private var rank: Int {
        switch self {
        case .passing: 0
        case .warning: 1
        case .critical: 2
        }
    }
}

/// A service or a check: unique on its node.
struct NodeItemKey: Sendable, Hashable, Comparable, Codable {
    var node: String
    var id: String

    static func < (lhs: NodeItemKey, rhs: NodeItemKey) -> Bool { (lhs.node, lhs.id) < (rhs.node, rhs.id) }
}

struct AddressRecord: Sendable, Hashable, Codable {
    var address: String
    var port: Int
}

struct NodeRecord: Sendable, Hashable, Codable {
    var name: String
    var id = ""
    var address: String
    var taggedAddresses: [String: String]?
    var meta: [String: String]?
    var createIndex: UInt64 = 0
    var modifyIndex: UInt64 = 0

    var shortAddress: String? { IPAddress(self.address)?.description }
}

struct ServiceRecord: Sendable, Hashable, Codable {
    var node: String
    var id: String
    var name: String
    var kind = ""
    var tags: [String] = []
    var address = ""
    var taggedAddresses: [String: AddressRecord] = [:]
    var meta: [String: String] = [:]
    var port = 0
    var socketPath = ""
    var passingWeight = 1
    var warningWeight = 1
    var enableTagOverride = false
    var createIndex: UInt64 = 0
    var modifyIndex: UInt64 = 0

    var key: NodeItemKey { NodeItemKey(node: self.node, id: self.id) }
    /// Its own address in its shortest form; `nil` for a host name, or its node's address.
    var shortAddress: String? { IPAddress(self.address)?.description }
    /// Names are found in any case, as in Consul.
    var lookupName: String { self.name.lowercased() }

    /// Whether it says the same, whenever it was said.
    func isSame(as other: ServiceRecord) -> Bool {
        var copy = other
        copy.createIndex = self.createIndex
        copy.modifyIndex = self.modifyIndex
        return copy == self
    }
}

struct CheckRecord: Sendable, Hashable, Codable {
    var node: String
    var id: String
    var name: String
    var status: CheckStatus
    var notes = ""
    var output = ""
    /// Empty for a check of the node.
    var serviceID = ""
    var serviceName = ""
    var serviceTags: [String] = []
    var type = ""
    /// How it is found out; `nil` for one that somebody else finds out.
    var plan: CheckPlan?
    var createIndex: UInt64 = 0
    var modifyIndex: UInt64 = 0

    var key: NodeItemKey { NodeItemKey(node: self.node, id: self.id) }
    var serviceKey: NodeItemKey { NodeItemKey(node: self.node, id: self.serviceID) }
    /// The service whose state this check repeats.
    var followed: NodeItemKey? {
        guard case .alias(let service) = self.plan?.probe else { return nil }
        return NodeItemKey(node: self.node, id: service)
    }

    /// Whether it says the same to those who ask about health; the output does not count (it would wake everybody at
    /// every sign of life).
    func isSame(as other: CheckRecord) -> Bool {
        var copy = other
        copy.createIndex = self.createIndex
        copy.modifyIndex = self.modifyIndex
        copy.output = self.output
        copy.plan = self.plan
        return copy == self
    }
}

/// What has to be done, and how often, to know a check's status.
struct CheckPlan: Sendable, Hashable, Codable {
    enum Probe: Sendable, Hashable, Codable {
        /// Somebody has to say so, again and again.
        case ttl
        case http(HTTPProbe)
        case tcp(String)
        case udp(String)
        case grpc(target: String, useTLS: Bool, verifies: Bool)
        case h2ping(target: String, useTLS: Bool, verifies: Bool)
        /// As the service with this id on the same node; with an empty id, as the node.
        case alias(service: String)

        /// Whom it asks, without the port; empty for what asks nobody.
        var host: String {
            switch self {
            case .ttl, .alias: ""
            case .http(let http): Self.host(of: http.url)
            case .tcp(let target), .udp(let target), .grpc(let target, _, _), .h2ping(let target, _, _):
                Self.host(of: target)
            }
        }

        /// Of `scheme://user@host:port/path`, of which all but the host may be missing. What is no address at all has
        /// some host too: it only decides with which others a check shares.
        private static func host(of text: String) -> String {
            var rest = Substring(text)
            if let scheme = rest.firstRange(of: "://") { rest = rest[scheme.upperBound...] }
            rest = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
            if let at = rest.lastIndex(of: "@") { rest = rest[rest.index(after: at)...] }
            if rest.first == "[" { return rest.dropFirst().prefix { $0 != "]" }.lowercased() }
            if let colon = rest.lastIndex(of: ":") { rest = rest[..<colon] }
            return rest.lowercased()
        }
    }

    var probe: Probe
    /// Between two probes, or how long a sign of life is good for.
    var interval: Duration
    var timeout: Duration
    var successBeforePassing = 0
    var failuresBeforeWarning = 0
    var failuresBeforeCritical = 0
    /// In bytes.
    var outputMaxSize = Self.defaultOutputMaxSize
    /// `nil` keeps a critical service for ever.
    var deregisterAfter: Duration?

    static let defaultOutputMaxSize = 4_096
}

struct HTTPProbe: Sendable, Hashable, Codable {
    var url: String
    var method = "GET"
    var header: [String: [String]] = [:]
    var body = ""
    var followsRedirects = true
    var verifies = true
}

struct KVRecord: Sendable, Hashable, Codable {
    var key: String
    /// Up to half a megabyte; on disk it has a column of its own.
    var value: [UInt8] = []
    var flags: UInt64 = 0
    var lockIndex: UInt64 = 0
    var session: String?
    var createIndex: UInt64 = 0
    var modifyIndex: UInt64 = 0

    private enum CodingKeys: String, CodingKey {
        case key, flags, lockIndex, session, createIndex, modifyIndex
    }
}
