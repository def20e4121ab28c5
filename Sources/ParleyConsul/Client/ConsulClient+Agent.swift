internal import ParleyCore
public import ParleyDiscovery

// What one agent knows and does: the services and checks that were registered with it.
extension ConsulClient {
    // MARK: Services

    /// Makes a service known. A repetition changes nothing.
    ///
    /// - Parameter replacesChecks: Whether checks that the service had before and are not among these are removed.
    /// - Throws: ``ConsulError/Code/refused`` with Consul's own reason.
    public func register(_ service: Consul.Registration, replacesChecks: Bool = true) async throws {
        var path = ConsulPath("agent/service/register")
        if replacesChecks { path.add("replace-existing-checks", "true") }
        try await self.put(path, service.definition)
    }

    /// Forgets a service with its checks. Not being there is as good.
    public func deregister(serviceID: String) async throws {
        do {
            try await self.put(ConsulPath("agent/service/deregister", serviceID))
        } catch let error as ConsulError where error.code == .notFound {}
    }

    /// The agent's services by id.
    public func agentServices(filter: String? = nil) async throws -> [String: Consul.Service] {
        var path = ConsulPath("agent/services")
        if let filter { path.add("filter", filter) }
        return try await self.get(path, as: [String: ConsulService].self).mapValues { Consul.Service($0) }
    }

    /// One of them; `nil` when there is none with this id.
    public func agentService(_ id: String) async throws -> Consul.Service? {
        do {
            return Consul.Service(try await self.get(ConsulPath("agent/service", id), as: ConsulService.self))
        } catch let error as ConsulError where error.code == .notFound {
            return nil
        }
    }

    /// Takes a service out of all healthy answers, or puts it back.
    ///
    /// - Throws: ``ConsulError/Code/notFound``.
    public func setMaintenance(ofService id: String, _ isOn: Bool, reason: String = "") async throws {
        try await self.setMaintenance(ConsulPath("agent/service/maintenance", id), isOn, reason)
    }

    /// The same for everything on the agent's node.
    public func setNodeMaintenance(_ isOn: Bool, reason: String = "") async throws {
        try await self.setMaintenance(ConsulPath("agent/maintenance"), isOn, reason)
    }

    private func setMaintenance(_ path: ConsulPath, _ isOn: Bool, _ reason: String) async throws {
        var path = path.adding("enable", isOn ? "true" : "false")
        if !reason.isEmpty { path.add("reason", reason) }
        try await self.put(path)
    }

    // MARK: Checks

    /// The agent's checks by id.
    public func agentChecks(filter: String? = nil) async throws -> [String: Consul.Check] {
        var path = ConsulPath("agent/checks")
        if let filter { path.add("filter", filter) }
        return try await self.get(path, as: [String: ConsulCheck].self).mapValues { Consul.Check($0) }
    }

    /// Adds a check to a service, or to the node when there is none named.
    public func register(_ check: Consul.CheckDefinition, serviceID: String = "") async throws {
        var definition = check.definition
        definition.serviceID = serviceID
        try await self.put(ConsulPath("agent/check/register"), definition)
    }

    /// Removes a check. Not being there is as good.
    public func deregister(checkID: String) async throws {
        do {
            try await self.put(ConsulPath("agent/check/deregister", checkID))
        } catch let error as ConsulError where error.code == .notFound {}
    }

    /// The sign of life for a TTL check: all is well.
    ///
    /// - Throws: ``ConsulError/Code/notFound`` when the agent does not know the check (any more), or it is no
    ///   TTL check.
    public func pass(_ checkID: String, note: String = "") async throws {
        try await self.report("agent/check/pass", checkID, note)
    }

    /// The sign of life for a TTL check: somebody should look.
    public func warn(_ checkID: String, note: String = "") async throws {
        try await self.report("agent/check/warn", checkID, note)
    }

    /// The sign of life for a TTL check: it cannot do its work.
    public func fail(_ checkID: String, note: String = "") async throws {
        try await self.report("agent/check/fail", checkID, note)
    }

    private func report(_ path: String, _ checkID: String, _ note: String) async throws {
        var path = ConsulPath(path, checkID)
        if !note.isEmpty { path.add("note", note) }
        try await self.put(path)
    }

    /// The sign of life for a TTL check, with a longer text than fits into a URL.
    ///
    /// - Throws: As ``pass(_:note:)``.
    public func update(_ checkID: String, _ status: HealthStatus, output: String = "") async throws {
        let report = ["Status": status.rawValue, "Output": output]
        try await self.put(ConsulPath("agent/check/update", checkID), report)
    }

    // MARK: The agent itself

    /// Who the agent is.
    public func agent() async throws -> Consul.Agent {
        let answer = try await self.get(ConsulPath("agent/self"), as: AgentAnswer.self)
        return Consul.Agent(
            nodeName: answer.config.nodeName,
            datacenter: answer.config.datacenter,
            version: answer.config.version ?? ""
        )
    }

    /// Where the cluster's leader is; `nil` while there is none.
    public func leader() async throws -> String? {
        do {
            let leader = try await self.get(ConsulPath("status/leader"), as: String.self)
            return leader.isEmpty ? nil : leader
        } catch let error as ConsulError where error.reason?.contains("No cluster leader") == true {
            return nil
        }
    }
}

/// What is of interest in `/v1/agent/self`.
private struct AgentAnswer: Decodable, Sendable {
    struct Config: Decodable, Sendable {
        var nodeName: String
        var datacenter: String
        var version: String?

        enum CodingKeys: String, CodingKey {
            case nodeName = "NodeName"
            case datacenter = "Datacenter"
            case version = "Version"
        }
    }

    var config: Config

    enum CodingKeys: String, CodingKey {
        case config = "Config"
    }
}
