/// One agent, as the catalog knows it.
package struct ConsulNode: Sendable, Hashable, Codable {
    package var id = ""
    package var name: String
    package var address: String
    package var datacenter = ""
    /// `nil` (null on the wire) for nodes that were registered without.
    package var taggedAddresses: [String: String]?
    package var meta: [String: String]?
    package var createIndex: UInt64 = 0
    package var modifyIndex: UInt64 = 0

    package init(name: String, address: String) {
        self.name = name
        self.address = address
    }

    package enum CodingKeys: String, CodingKey {
        case id = "ID"
        case name = "Node"
        case address = "Address"
        case datacenter = "Datacenter"
        case taggedAddresses = "TaggedAddresses"
        case meta = "Meta"
        case createIndex = "CreateIndex"
        case modifyIndex = "ModifyIndex"
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.id, forKey: .id)
        try container.encode(self.name, forKey: .name)
        try container.encode(self.address, forKey: .address)
        try container.encode(self.datacenter, forKey: .datacenter)
        try container.encode(self.taggedAddresses, forKey: .taggedAddresses)
        try container.encode(self.meta, forKey: .meta)
        try container.encode(self.createIndex, forKey: .createIndex)
        try container.encode(self.modifyIndex, forKey: .modifyIndex)
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.id = try container.value(.id, or: "")
        self.name = try container.decode(String.self, forKey: .name)
        self.address = try container.value(.address, or: "")
        self.datacenter = try container.value(.datacenter, or: "")
        self.taggedAddresses = try container.decodeIfPresent([String: String].self, forKey: .taggedAddresses)
        self.meta = try container.decodeIfPresent([String: String].self, forKey: .meta)
        self.createIndex = try container.value(.createIndex, or: 0)
        self.modifyIndex = try container.value(.modifyIndex, or: 0)
    }
}

/// A service on a node, in both of Consul's forms: the agent's own (``agent``), and the catalog's, which leaves out and
/// adds other fields. What a form does not have is `nil`.
package struct ConsulService: Sendable, Hashable, Codable {
    package var id: String
    package var service: String
    package var tags: [String] = []
    package var meta: [String: String] = [:]
    package var port = 0
    package var address = ""
    package var socketPath = ""
    package var taggedAddresses: [String: ConsulAddress] = [:]
    package var weights = ConsulWeights()
    package var enableTagOverride = false
    package var kind = ""
    /// Only in the agent's form.
    package var agent: AgentPart?
    /// Only in the catalog's.
    package var indexes: Indexes?

    package struct AgentPart: Sendable, Hashable {
        package var datacenter: String
        /// Only where one service was asked for.
        package var contentHash: String?

        package init(datacenter: String, contentHash: String? = nil) {
            self.datacenter = datacenter
            self.contentHash = contentHash
        }
    }

    package struct Indexes: Sendable, Hashable {
        package var create: UInt64
        package var modify: UInt64

        package init(create: UInt64, modify: UInt64) {
            self.create = create
            self.modify = modify
        }
    }

    package init(id: String, service: String) {
        self.id = id
        self.service = service
    }

    package enum CodingKeys: String, CodingKey {
        case id = "ID"
        case service = "Service"
        case tags = "Tags"
        case meta = "Meta"
        case port = "Port"
        case address = "Address"
        case socketPath = "SocketPath"
        case taggedAddresses = "TaggedAddresses"
        case weights = "Weights"
        case enableTagOverride = "EnableTagOverride"
        case kind = "Kind"
        case datacenter = "Datacenter"
        case contentHash = "ContentHash"
        case proxy = "Proxy"
        case connect = "Connect"
        case createIndex = "CreateIndex"
        case modifyIndex = "ModifyIndex"
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encodeUnlessEmpty(self.kind, forKey: .kind)
        try container.encode(self.id, forKey: .id)
        try container.encode(self.service, forKey: .service)
        try container.encode(self.tags, forKey: .tags)
        try container.encode(self.address, forKey: .address)
        try container.encodeUnlessEmpty(self.taggedAddresses, forKey: .taggedAddresses)
        try container.encode(self.weights, forKey: .weights)
        try container.encode(self.enableTagOverride, forKey: .enableTagOverride)
        if let agent {
            try container.encode(self.meta, forKey: .meta)
            try container.encode(self.port, forKey: .port)
            try container.encode(self.socketPath, forKey: .socketPath)
            try container.encode(agent.datacenter, forKey: .datacenter)
            try container.encodeIfPresent(agent.contentHash, forKey: .contentHash)
        } else {
            try container.encode(self.meta.isEmpty ? nil : self.meta, forKey: .meta)
            if self.port != 0 { try container.encode(self.port, forKey: .port) }
            try container.encodeUnlessEmpty(self.socketPath, forKey: .socketPath)
            try container.encode(ConsulMeshPart.proxy, forKey: .proxy)
            try container.encode(ConsulMeshPart.nothing, forKey: .connect)
        }
        if let indexes {
            try container.encode(indexes.create, forKey: .createIndex)
            try container.encode(indexes.modify, forKey: .modifyIndex)
        }
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.id = try container.value(.id, or: "")
        self.service = try container.decode(String.self, forKey: .service)
        self.tags = try container.value(.tags, or: [])
        self.meta = try container.value(.meta, or: [:])
        self.port = try container.value(.port, or: 0)
        self.address = try container.value(.address, or: "")
        self.socketPath = try container.value(.socketPath, or: "")
        self.taggedAddresses = try container.value(.taggedAddresses, or: [:])
        self.weights = try container.value(.weights, or: ConsulWeights())
        self.enableTagOverride = try container.value(.enableTagOverride, or: false)
        self.kind = try container.value(.kind, or: "")
        if let datacenter = try container.decodeIfPresent(String.self, forKey: .datacenter) {
            let hash = try container.decodeIfPresent(String.self, forKey: .contentHash)
            self.agent = AgentPart(datacenter: datacenter, contentHash: hash)
        }
        if let modify = try container.decodeIfPresent(UInt64.self, forKey: .modifyIndex) {
            self.indexes = Indexes(create: try container.value(.createIndex, or: 0), modify: modify)
        }
    }
}

/// What Consul says about its service mesh where there is none; some clients expect the fields.
package struct ConsulMeshPart: Sendable, Encodable {
    private struct Empty: Encodable {}

    private enum CodingKeys: String, CodingKey {
        case mode = "Mode"
        case meshGateway = "MeshGateway"
        case expose = "Expose"
    }

    private let isProxy: Bool

    package static let proxy = ConsulMeshPart(isProxy: true)
    /// `{}`
    package static let nothing = ConsulMeshPart(isProxy: false)

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        guard self.isProxy else { return }
        try container.encode("", forKey: .mode)
        try container.encode(Empty(), forKey: .meshGateway)
        try container.encode(Empty(), forKey: .expose)
    }
}

/// The state of one check. In the agent's answers the indexes are 0.
package struct ConsulCheck: Sendable, Hashable, Codable {
    package var node: String
    package var checkID: String
    package var name = ""
    /// `passing`, `warning` or `critical`.
    package var status: String
    package var notes = ""
    package var output = ""
    /// Empty for a check of the node.
    package var serviceID = ""
    package var serviceName = ""
    package var serviceTags: [String] = []
    package var type = ""
    package var createIndex: UInt64 = 0
    package var modifyIndex: UInt64 = 0

    package init(node: String, checkID: String, status: String) {
        self.node = node
        self.checkID = checkID
        self.status = status
    }

    package enum CodingKeys: String, CodingKey {
        case node = "Node"
        case checkID = "CheckID"
        case name = "Name"
        case status = "Status"
        case notes = "Notes"
        case output = "Output"
        case serviceID = "ServiceID"
        case serviceName = "ServiceName"
        case serviceTags = "ServiceTags"
        case type = "Type"
        case exposedPort = "ExposedPort"
        case definition = "Definition"
        case createIndex = "CreateIndex"
        case modifyIndex = "ModifyIndex"
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.node, forKey: .node)
        try container.encode(self.checkID, forKey: .checkID)
        try container.encode(self.name, forKey: .name)
        try container.encode(self.status, forKey: .status)
        try container.encode(self.notes, forKey: .notes)
        try container.encode(self.output, forKey: .output)
        try container.encode(self.serviceID, forKey: .serviceID)
        try container.encode(self.serviceName, forKey: .serviceName)
        try container.encode(self.serviceTags, forKey: .serviceTags)
        try container.encode(self.type, forKey: .type)
        try container.encode(0, forKey: .exposedPort)
        try container.encode(ConsulMeshPart.nothing, forKey: .definition)
        try container.encode(self.createIndex, forKey: .createIndex)
        try container.encode(self.modifyIndex, forKey: .modifyIndex)
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.node = try container.value(.node, or: "")
        self.checkID = try container.decode(String.self, forKey: .checkID)
        self.name = try container.value(.name, or: "")
        self.status = try container.value(.status, or: "critical")
        self.notes = try container.value(.notes, or: "")
        self.output = try container.value(.output, or: "")
        self.serviceID = try container.value(.serviceID, or: "")
        self.serviceName = try container.value(.serviceName, or: "")
        self.serviceTags = try container.value(.serviceTags, or: [])
        self.type = try container.value(.type, or: "")
        self.createIndex = try container.value(.createIndex, or: 0)
        self.modifyIndex = try container.value(.modifyIndex, or: 0)
    }
}

/// One line of `/v1/health/service/:name`: an instance, where it runs, and all checks that decide about it.
package struct ConsulHealthEntry: Sendable, Hashable, Codable {
    package var node: ConsulNode
    package var service: ConsulService
    /// The node's checks first, then the service's, each by id.
    package var checks: [ConsulCheck]

    package init(node: ConsulNode, service: ConsulService, checks: [ConsulCheck]) {
        self.node = node
        self.service = service
        self.checks = checks
    }

    package enum CodingKeys: String, CodingKey {
        case node = "Node"
        case service = "Service"
        case checks = "Checks"
    }
}

/// One entry of the key-value store.
package struct ConsulKVEntry: Sendable, Hashable, Codable {
    package var lockIndex: UInt64 = 0
    package var key: String
    package var flags: UInt64 = 0
    /// In base64; `nil` for an empty value.
    package var value: String?
    /// The session that holds the lock.
    package var session: String?
    package var createIndex: UInt64 = 0
    package var modifyIndex: UInt64 = 0

    package init(key: String) {
        self.key = key
    }

    package enum CodingKeys: String, CodingKey {
        case lockIndex = "LockIndex"
        case key = "Key"
        case flags = "Flags"
        case value = "Value"
        case session = "Session"
        case createIndex = "CreateIndex"
        case modifyIndex = "ModifyIndex"
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.lockIndex, forKey: .lockIndex)
        try container.encode(self.key, forKey: .key)
        try container.encode(self.flags, forKey: .flags)
        try container.encode(self.value, forKey: .value)
        try container.encodeIfPresent(self.session, forKey: .session)
        try container.encode(self.createIndex, forKey: .createIndex)
        try container.encode(self.modifyIndex, forKey: .modifyIndex)
    }
}
