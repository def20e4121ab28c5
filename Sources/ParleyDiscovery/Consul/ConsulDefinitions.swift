/// What `PUT /v1/agent/service/register` takes. Encoded as Consul's own clients write it; a server reads it with
/// ``ConsulRequestReader``, which accepts all the spellings that Consul does.
package struct ConsulServiceDefinition: Sendable, Equatable, Codable {
    /// Unique on its agent; the name, when it is empty.
    package var id = ""
    package var name: String
    package var tags: [String] = []
    /// Empty for the address of the agent's node.
    package var address = ""
    package var taggedAddresses: [String: ConsulAddress] = [:]
    package var meta: [String: String] = [:]
    package var port = 0
    package var socketPath = ""
    /// `nil` for 1 and 1.
    package var weights: ConsulWeights?
    package var enableTagOverride = false
    package var kind = ""
    package var check: ConsulCheckDefinition?
    package var checks: [ConsulCheckDefinition] = []

    package init(name: String, id: String = "") {
        self.name = name
        self.id = id
    }

    package enum CodingKeys: String, CodingKey {
        case id = "ID"
        case name = "Name"
        case tags = "Tags"
        case address = "Address"
        case taggedAddresses = "TaggedAddresses"
        case meta = "Meta"
        case port = "Port"
        case socketPath = "SocketPath"
        case weights = "Weights"
        case enableTagOverride = "EnableTagOverride"
        case kind = "Kind"
        case check = "Check"
        case checks = "Checks"
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encodeUnlessEmpty(self.id, forKey: .id)
        try container.encode(self.name, forKey: .name)
        try container.encodeUnlessEmpty(self.tags, forKey: .tags)
        try container.encodeUnlessEmpty(self.address, forKey: .address)
        try container.encodeUnlessEmpty(self.taggedAddresses, forKey: .taggedAddresses)
        try container.encodeUnlessEmpty(self.meta, forKey: .meta)
        if self.port != 0 { try container.encode(self.port, forKey: .port) }
        try container.encodeUnlessEmpty(self.socketPath, forKey: .socketPath)
        try container.encodeIfPresent(self.weights, forKey: .weights)
        if self.enableTagOverride { try container.encode(true, forKey: .enableTagOverride) }
        try container.encodeUnlessEmpty(self.kind, forKey: .kind)
        try container.encodeIfPresent(self.check, forKey: .check)
        try container.encodeUnlessEmpty(self.checks, forKey: .checks)
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.name = try container.value(.name, or: "")
        self.id = try container.value(.id, or: "")
        self.tags = try container.value(.tags, or: [])
        self.address = try container.value(.address, or: "")
        self.taggedAddresses = try container.value(.taggedAddresses, or: [:])
        self.meta = try container.value(.meta, or: [:])
        self.port = try container.value(.port, or: 0)
        self.socketPath = try container.value(.socketPath, or: "")
        self.weights = try container.decodeIfPresent(ConsulWeights.self, forKey: .weights)
        self.enableTagOverride = try container.value(.enableTagOverride, or: false)
        self.kind = try container.value(.kind, or: "")
        self.check = try container.decodeIfPresent(ConsulCheckDefinition.self, forKey: .check)
        self.checks = try container.value(.checks, or: [])
    }
}

/// One check, alone (`PUT /v1/agent/check/register`) or with its service. Which kind it is follows from what is set.
package struct ConsulCheckDefinition: Sendable, Equatable, Codable {
    package var checkID = ""
    package var name = ""
    package var notes = ""
    /// The service that it is about; empty for the node.
    package var serviceID = ""
    /// The first status: `passing`, `warning` or `critical` (also when it is empty).
    package var status = ""

    package var http = ""
    package var method = ""
    package var header: [String: [String]] = [:]
    package var body = ""
    package var disableRedirects = false
    package var tcp = ""
    package var udp = ""
    package var grpc = ""
    package var grpcUseTLS = false
    package var h2ping = ""
    /// `nil` for true.
    package var h2pingUseTLS: Bool?
    package var aliasNode = ""
    package var aliasService = ""
    package var scriptArguments: [String] = []
    package var dockerContainerID = ""
    package var osService = ""
    package var tlsServerName = ""
    package var tlsSkipVerify = false

    package var ttl: Duration = .zero
    package var interval: Duration = .zero
    package var timeout: Duration = .zero
    package var deregisterCriticalServiceAfter: Duration = .zero
    package var successBeforePassing = 0
    package var failuresBeforeWarning = 0
    package var failuresBeforeCritical = 0
    package var outputMaxSize = 0

    package init() {}

    package enum CodingKeys: String, CodingKey {
        case checkID = "CheckID"
        case name = "Name"
        case notes = "Notes"
        case serviceID = "ServiceID"
        case status = "Status"
        case http = "HTTP"
        case method = "Method"
        case header = "Header"
        case body = "Body"
        case disableRedirects = "DisableRedirects"
        case tcp = "TCP"
        case udp = "UDP"
        case grpc = "GRPC"
        case grpcUseTLS = "GRPCUseTLS"
        case h2ping = "H2PING"
        case h2pingUseTLS = "H2PingUseTLS"
        case aliasNode = "AliasNode"
        case aliasService = "AliasService"
        case scriptArguments = "Args"
        case dockerContainerID = "DockerContainerID"
        case osService = "OSService"
        case tlsServerName = "TLSServerName"
        case tlsSkipVerify = "TLSSkipVerify"
        case ttl = "TTL"
        case interval = "Interval"
        case timeout = "Timeout"
        case deregisterCriticalServiceAfter = "DeregisterCriticalServiceAfter"
        case successBeforePassing = "SuccessBeforePassing"
        case failuresBeforeWarning = "FailuresBeforeWarning"
        case failuresBeforeCritical = "FailuresBeforeCritical"
        case outputMaxSize = "OutputMaxSize"
    }

    private typealias Key = CodingKeys

    private static let texts: [(any WritableKeyPath<Self, String> & Sendable, Key)] = [
        (\.checkID, .checkID), (\.name, .name), (\.notes, .notes), (\.serviceID, .serviceID), (\.status, .status),
        (\.http, .http), (\.method, .method), (\.body, .body), (\.tcp, .tcp), (\.udp, .udp), (\.grpc, .grpc),
        (\.h2ping, .h2ping), (\.aliasNode, .aliasNode), (\.aliasService, .aliasService),
        (\.dockerContainerID, .dockerContainerID), (\.osService, .osService), (\.tlsServerName, .tlsServerName),
    ]
    private static let switches: [(any WritableKeyPath<Self, Bool> & Sendable, Key)] = [
        (\.disableRedirects, .disableRedirects), (\.grpcUseTLS, .grpcUseTLS), (\.tlsSkipVerify, .tlsSkipVerify),
    ]
    private static let counts: [(any WritableKeyPath<Self, Int> & Sendable, Key)] = [
        (\.successBeforePassing, .successBeforePassing), (\.failuresBeforeWarning, .failuresBeforeWarning),
        (\.failuresBeforeCritical, .failuresBeforeCritical), (\.outputMaxSize, .outputMaxSize),
    ]
    private static let durations: [(any WritableKeyPath<Self, Duration> & Sendable, Key)] = [
        (\.ttl, .ttl), (\.interval, .interval), (\.timeout, .timeout),
        (\.deregisterCriticalServiceAfter, .deregisterCriticalServiceAfter),
    ]

    /// Only what is set: Consul tells the kinds apart by it.
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        for (path, key) in Self.texts { try container.encodeUnlessEmpty(self[keyPath: path], forKey: key) }
        for (path, key) in Self.switches where self[keyPath: path] { try container.encode(true, forKey: key) }
        for (path, key) in Self.counts where self[keyPath: path] != 0 {
            try container.encode(self[keyPath: path], forKey: key)
        }
        for (path, key) in Self.durations where self[keyPath: path] != .zero {
            try container.encode(GoDuration.text(self[keyPath: path]), forKey: key)
        }
        try container.encodeUnlessEmpty(self.header, forKey: .header)
        try container.encodeUnlessEmpty(self.scriptArguments, forKey: .scriptArguments)
        try container.encodeIfPresent(self.h2pingUseTLS, forKey: .h2pingUseTLS)
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        for (path, key) in Self.texts { self[keyPath: path] = try container.value(key, or: "") }
        for (path, key) in Self.switches { self[keyPath: path] = try container.value(key, or: false) }
        for (path, key) in Self.counts { self[keyPath: path] = try container.value(key, or: 0) }
        for (path, key) in Self.durations {
            guard let text = try container.decodeIfPresent(String.self, forKey: key) else { continue }
            do throws(GoDuration.Fault) {
                self[keyPath: path] = try GoDuration.parse(text)
            } catch {
                throw DecodingError.dataCorruptedError(forKey: key, in: container, debugDescription: error.message)
            }
        }
        self.header = try container.value(.header, or: [:])
        self.scriptArguments = try container.value(.scriptArguments, or: [])
        self.h2pingUseTLS = try container.decodeIfPresent(Bool.self, forKey: .h2pingUseTLS)
    }
}

/// How much an instance gets compared with others, while it passes and while it warns.
package struct ConsulWeights: Sendable, Hashable, Codable {
    package var passing: Int
    package var warning: Int

    package init(passing: Int = 1, warning: Int = 1) {
        self.passing = passing
        self.warning = warning
    }

    package enum CodingKeys: String, CodingKey {
        case passing = "Passing"
        case warning = "Warning"
    }
}

/// One of a service's further addresses (`lan`, `wan`, `lan_ipv4`, …).
package struct ConsulAddress: Sendable, Hashable, Codable {
    package var address: String
    package var port: Int

    package init(address: String, port: Int) {
        self.address = address
        self.port = port
    }

    package enum CodingKeys: String, CodingKey {
        case address = "Address"
        case port = "Port"
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.address = try container.value(.address, or: "")
        self.port = try container.value(.port, or: 0)
    }
}

extension KeyedDecodingContainer {
    /// What is missing or null is empty: Consul's versions differ in what they leave out.
    func value<Value: Decodable>(_ key: Key, or empty: Value) throws -> Value {
        try self.decodeIfPresent(Value.self, forKey: key) ?? empty
    }
}

extension KeyedEncodingContainer {
    mutating func encodeUnlessEmpty(_ value: some Collection & Encodable, forKey key: Key) throws {
        if !value.isEmpty { try self.encode(value, forKey: key) }
    }
}
