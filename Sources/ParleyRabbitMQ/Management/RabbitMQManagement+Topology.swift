// What a broker has, one thing at a time. Creating what is there already, the same, succeeds.

extension RabbitMQManagement {
    // MARK: - Virtual hosts

    public func virtualHosts() async throws -> [RabbitMQTopology.VirtualHost] {
        let records: [VirtualHostRecord] = try await self.get(ManagementPath("vhosts"))
        return records.compactMap { record in
            record.name.map { .init($0, description: record.description, tags: record.tags) }
        }
    }

    /// Those that run on every node that says anything about them.
    func runningVirtualHosts() async throws -> Set<String> {
        let records: [RabbitMQValue] = try await self.get(ManagementPath("vhosts"))
        let running = records.filter { record in
            record["cluster_state"].members.values.allSatisfy { $0 == "running" }
        }
        return Set(running.compactMap { $0["name"].text })
    }

    /// Creates it or changes description and tags. Who creates one gets all permissions on it, by the broker.
    public func put(_ host: RabbitMQTopology.VirtualHost) async throws {
        var body: [String: RabbitMQValue] = [:]
        if let description = host.description { body["description"] = .string(description) }
        if let tags = host.tags { body["tags"] = .string(tags.joined(separator: ",")) }
        try await self.put(ManagementPath("vhosts", host.name), body)
    }

    /// Deletes it with everything in it.
    public func deleteVirtualHost(_ name: String) async throws {
        try await self.delete(ManagementPath("vhosts", name))
    }

    // MARK: - Users

    public func users() async throws -> [TopologySnapshot.User] {
        let records: [UserRecord] = try await self.get(ManagementPath("users"))
        return records.map {
            TopologySnapshot.User(
                $0.name,
                hash: .init(value: $0.hash ?? "", algorithm: $0.algorithm ?? RabbitMQPasswordHash.sha256),
                tags: $0.tags.values
            )
        }
    }

    /// Creates the user or changes its tags and password. The password does not travel, its hash does.
    public func put(_ user: TopologySnapshot.User) async throws {
        let body: [String: RabbitMQValue] = [
            "password_hash": .string(user.hash.value), "hashing_algorithm": .string(user.hash.algorithm),
            "tags": .string(user.tags.joined(separator: ",")),
        ]
        try await self.put(ManagementPath("users", user.name), body)
    }

    public func deleteUser(_ name: String) async throws {
        try await self.delete(ManagementPath("users", name))
    }

    // MARK: - Permissions

    public func permissions() async throws -> [RabbitMQTopology.Permission] {
        try await self.get(ManagementPath("permissions"))
    }

    public func put(_ permission: RabbitMQTopology.Permission) async throws {
        let body = ["configure": permission.configure, "write": permission.write, "read": permission.read]
        try await self.put(ManagementPath("permissions", permission.virtualHost, permission.user), body)
    }

    public func deletePermission(of user: String, in virtualHost: String) async throws {
        try await self.delete(ManagementPath("permissions", virtualHost, user))
    }

    // MARK: - Exchanges

    public func exchanges(in virtualHost: String) async throws -> [RabbitMQTopology.Exchange] {
        try await self.list(
            ManagementPath("exchanges", virtualHost),
            columns: "name,vhost,type,durable,auto_delete,internal,arguments"
        )
    }

    /// - Throws: ``RabbitMQManagementError/Code/inequivalent`` when it is there with other settings.
    public func put(_ exchange: RabbitMQTopology.Exchange) async throws {
        try await self.put(ManagementPath("exchanges", exchange.virtualHost, exchange.name), exchange)
    }

    public func deleteExchange(_ name: String, in virtualHost: String) async throws {
        try await self.delete(ManagementPath("exchanges", virtualHost, name))
    }

    // MARK: - Queues

    /// - Throws: ``RabbitMQManagementError/Code/inequivalent`` when it is there with other settings.
    public func put(_ queue: RabbitMQTopology.Queue) async throws {
        try await self.put(ManagementPath("queues", queue.virtualHost, queue.name), queue)
    }

    /// - Parameter ifEmpty: Refuse when messages are ready; classic queues only, the others refuse the question.
    public func deleteQueue(_ name: String, in virtualHost: String, ifEmpty: Bool = false) async throws {
        var path = ManagementPath("queues", virtualHost, name)
        if ifEmpty { path.query = "if-empty=true" }
        try await self.delete(path)
    }

    // MARK: - Bindings

    /// Without those of the default exchange, which every queue has.
    public func bindings(in virtualHost: String) async throws -> [TopologySnapshot.Binding] {
        let records: [BindingRecord] = try await self.get(ManagementPath("bindings", virtualHost))
        return records.filter { !$0.binding.source.isEmpty }
            .map { .init($0.binding, propertiesKey: $0.propertiesKey) }
    }

    public func put(_ binding: RabbitMQTopology.Binding) async throws {
        let body: [String: RabbitMQValue] = [
            "routing_key": .string(binding.routingKey), "arguments": .table(binding.arguments),
        ]
        try await self.post(Self.path(of: binding), body)
    }

    public func delete(_ binding: TopologySnapshot.Binding) async throws {
        try await self.delete(Self.path(of: binding.binding, binding.propertiesKey))
    }

    private static func path(of binding: RabbitMQTopology.Binding) -> ManagementPath {
        let kind = binding.destinationType == .queue ? "q" : "e"
        return ManagementPath("bindings", binding.virtualHost, "e", binding.source, kind, binding.destination)
    }

    private static func path(of binding: RabbitMQTopology.Binding, _ key: String) -> ManagementPath {
        let kind = binding.destinationType == .queue ? "q" : "e"
        return ManagementPath("bindings", binding.virtualHost, "e", binding.source, kind, binding.destination, key)
    }

    // MARK: - Policies

    public func policies(in virtualHost: String) async throws -> [RabbitMQTopology.Policy] {
        try await self.get(ManagementPath("policies", virtualHost))
    }

    public func put(_ policy: RabbitMQTopology.Policy) async throws {
        try await self.put(ManagementPath("policies", policy.virtualHost, policy.name), policy)
    }

    public func deletePolicy(_ name: String, in virtualHost: String) async throws {
        try await self.delete(ManagementPath("policies", virtualHost, name))
    }
}

private struct VirtualHostRecord: Decodable, Sendable {
    /// Missing from one that is being deleted at this moment: only its statistics are still listed.
    var name: String?
    var description: String?
    var tags: [String]?

    private enum CodingKeys: String, CodingKey {
        case name, description, tags
        case received = "recv_oct"
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        // Without either it is no virtual host of RabbitMQ's.
        self.name =
            container.contains(.received)
            ? try container.decodeIfPresent(String.self, forKey: .name)
            : try container.decode(String.self, forKey: .name)
        self.description = try container.decodeIfPresent(String.self, forKey: .description)
        self.tags = try container.decodeIfPresent([String].self, forKey: .tags)
    }
}

private struct UserRecord: Decodable, Sendable {
    /// A list from RabbitMQ 3.9 on, a text with commas before.
    struct Tags: Decodable, Sendable {
        var values: [String]

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let list = try? container.decode([String].self) {
                self.values = list
            } else {
                self.values = try container.decode(String.self).split(separator: ",").map { String($0) }
            }
        }
    }

    var name: String
    var hash: String?
    var algorithm: String?
    var tags: Tags

    private enum CodingKeys: String, CodingKey {
        case name, tags
        case hash = "password_hash"
        case algorithm = "hashing_algorithm"
    }
}

private struct BindingRecord: Decodable, Sendable {
    var binding: RabbitMQTopology.Binding
    var propertiesKey: String

    private enum CodingKeys: String, CodingKey { case propertiesKey = "properties_key" }

    init(from decoder: any Decoder) throws {
        self.binding = try RabbitMQTopology.Binding(from: decoder)
        self.propertiesKey = try decoder.container(keyedBy: CodingKeys.self).decode(String.self, forKey: .propertiesKey)
    }
}
