internal import HTTPTypes
internal import ParleyCore
internal import ParleyDiscovery

/// `/v1/agent/service…`, `/v1/agent/services`, maintenance, and what the agent says about itself.
extension RegistryAPI {
    func addAgentRoutes(to routes: inout RouteTable) {
        let limit = self.limits.maximumBodyBytes
        routes.add("/v1/agent/services", ["GET": self.agentServices], maximumBodyBytes: limit)
        routes.add("/v1/agent/service/register", ["PUT": self.registerService], maximumBodyBytes: limit)
        routes.add("/v1/agent/service/deregister/", ["PUT": self.deregisterService], maximumBodyBytes: limit)
        routes.add("/v1/agent/service/maintenance/", ["PUT": self.serviceMaintenance], maximumBodyBytes: limit)
        routes.add("/v1/agent/service/", ["GET": self.agentService], maximumBodyBytes: limit)
        routes.add("/v1/agent/maintenance", ["PUT": self.nodeMaintenance], maximumBodyBytes: limit)
        routes.add("/v1/agent/health/service/id/", ["GET": self.serviceHealthByID], maximumBodyBytes: limit)
        routes.add("/v1/agent/health/service/name/", ["GET": self.serviceHealthByName], maximumBodyBytes: limit)
    }

    @Sendable
    private func registerService(_ call: Call) async throws -> APIAnswer {
        let definition = try ConsulRequestReader.service(call.request.body)
        let (service, checks) = try ServiceValidation(configuration: self.configuration).service(definition)
        let replaces = try Self.flag(call.query, "replace-existing-checks") ?? false
        try await self.engine.durableChange { machine throws(RegistryStateMachine.Refusal) in
            try machine.register(service, checks: checks, replacingChecks: replaces)
        }
        return .done
    }

    /// `nil` when it is not there; true when it stands alone.
    static func flag(_ query: QueryItems, _ name: String) throws(APIError) -> Bool? {
        guard let text = query[name] else { return nil }
        if text.isEmpty { return true }
        guard let value = Self.goBool(text) else { throw APIError(400, "Invalid value for ?\(name)") }
        return value
    }

    /// As Go's `ParseBool`.
    static func goBool(_ text: String) -> Bool? {
        switch text {
        case "1", "t", "T", "true", "TRUE", "True": true
        case "0", "f", "F", "false", "FALSE", "False": false
        default: nil
        }
    }

    @Sendable
    private func deregisterService(_ call: Call) async throws -> APIAnswer {
        let id = call.request.rest
        guard !id.isEmpty else { throw APIError(500, "ServiceID missing") }
        let isKnown = try await self.engine.durableResult { machine in
            let key = machine.local(id)
            let isKnown = machine.services[key] != nil && id != RegistryStateMachine.ownService
            return (isKnown ? machine.deregister(key) : RegistryStateMachine.Effects(), isKnown)
        }
        guard isKnown else {
            throw APIError(
                404,
                "Unknown service ID \"\(id)\". Ensure that the service ID is passed, not the service name."
            )
        }
        return .done
    }

    @Sendable
    private func agentServices(_ call: Call) async throws -> APIAnswer {
        let datacenter = self.configuration.datacenter
        let services = self.engine.read { machine in machine.localServices }
        let answers = services.map { ($0.id, $0.agentForm(datacenter: datacenter)) }
        return try self.json(
            Dictionary(uniqueKeysWithValues: answers),
            call.options(self),
            filtering: .elements(.service)
        )
    }

    /// With `?hash=` it waits until the service is another one.
    @Sendable
    private func agentService(_ call: Call) async throws -> APIAnswer {
        let id = call.request.rest
        let options = try call.options(self)
        let datacenter = self.configuration.datacenter
        let find: @Sendable (borrowing RegistryStateMachine) -> ConsulService? = { machine in
            machine.services[machine.local(id)].map { Self.withHash($0.agentForm(datacenter: datacenter)) }
        }
        let hash = call.query["hash"] ?? ""
        let (_, found) = try await self.engine.answer(
            about: .node(self.configuration.nodeName),
            until: self.engine.time.now.advanced(by: hash.isEmpty ? .zero : options.patience.wait),
            onWaiting: call.onWaiting,
            isNews: { find($0)?.agent?.contentHash != hash },
            find
        )
        guard let found, id != RegistryStateMachine.ownService else {
            throw APIError(404, "unknown service ID: \(id)")
        }
        var answer = try self.json(found, options)
        answer.headers.append(("X-Consul-Contenthash", found.agent?.contentHash ?? ""))
        return answer
    }

    /// FNV-1a over all that the service says.
    private static func withHash(_ service: ConsulService) -> ConsulService {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        func add(_ texts: String...) {
            for text in texts {
                for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
                hash = (hash ^ 0xFF) &* 0x100_0000_01B3
            }
        }
        add(service.id, service.service, service.address, "\(service.port)", service.socketPath, service.kind)
        for tag in service.tags { add(tag) }
        for (key, value) in service.meta.sorted(by: { $0.key < $1.key }) { add("meta", key, value) }
        for (key, value) in service.taggedAddresses.sorted(by: { $0.key < $1.key }) {
            add("address", key, value.address, "\(value.port)")
        }
        add("\(service.weights.passing)", "\(service.weights.warning)", "\(service.enableTagOverride)")
        var service = service
        let digits = String(hash, radix: 16)
        service.agent?.contentHash = String(repeating: "0", count: 16 - digits.count) + digits
        return service
    }

    // MARK: Maintenance

    private static func enable(_ query: QueryItems) throws(APIError) -> Bool {
        guard let text = query["enable"] else { throw APIError(400, "Missing value for enable") }
        guard let value = Self.goBool(text) else { throw APIError(400, "Invalid value for enable: \"\(text)\"") }
        return value
    }

    @Sendable
    private func serviceMaintenance(_ call: Call) async throws -> APIAnswer {
        let id = call.request.rest
        guard !id.isEmpty else { throw APIError(400, "Missing service ID") }
        let enable = try Self.enable(call.query)
        let reason = call.query["reason"] ?? ""
        let isKnown = try await self.engine.durableResult { machine throws(RegistryStateMachine.Refusal) in
            guard machine.services[machine.local(id)] != nil else { return (RegistryStateMachine.Effects(), false) }
            let checkID = RegistryStateMachine.serviceMaintenance(id)
            guard enable else { return (machine.deregisterCheck(machine.local(checkID)), true) }
            var check = Self.maintenance(machine.localNode, checkID, "Service", reason)
            check.serviceID = id
            return (try machine.register(check), true)
        }
        guard isKnown else { throw APIError(404, "No service registered with ID \"\(id)\"") }
        return .done
    }

    @Sendable
    private func nodeMaintenance(_ call: Call) async throws -> APIAnswer {
        let enable = try Self.enable(call.query)
        let reason = call.query["reason"] ?? ""
        try await self.engine.durableChange { machine throws(RegistryStateMachine.Refusal) in
            let checkID = RegistryStateMachine.nodeMaintenance
            guard enable else { return machine.deregisterCheck(machine.local(checkID)) }
            return try machine.register(Self.maintenance(machine.localNode, checkID, "Node", reason))
        }
        return .done
    }

    private static func maintenance(_ node: String, _ id: String, _ what: String, _ reason: String) -> CheckRecord {
        var check = CheckRecord(node: node, id: id, name: "\(what) Maintenance Mode", status: .critical)
        check.type = "maintenance"
        check.notes =
            reason.isEmpty
            ? "Maintenance mode is enabled for this \(what.lowercased()), but no reason was provided. This is a "
                + "default message."
            : reason
        return check
    }

    // MARK: Health of the agent's own services

    @Sendable
    private func serviceHealthByID(_ call: Call) async throws -> APIAnswer {
        let id = call.request.rest
        guard !id.isEmpty else { throw APIError(400, "Missing serviceID") }
        let found = self.engine.read { machine in
            machine.services[machine.local(id)].map { ($0, machine.allChecks(of: $0)) }
        }
        let datacenter = self.configuration.datacenter
        let report = LocalHealth(found, datacenter: datacenter)
        return try self.health(
            call,
            report,
            word: found == nil ? nil : report.word,
            reason: found == nil ? "ServiceId \(id) not found" : report.word
        )
    }

    @Sendable
    private func serviceHealthByName(_ call: Call) async throws -> APIAnswer {
        let name = call.request.rest
        guard !name.isEmpty else { throw APIError(400, "Missing service Name") }
        let found = self.engine.read { machine in
            machine.services(named: name).filter { $0.node == machine.localNode }.map {
                ($0, machine.allChecks(of: $0))
            }
        }
        let datacenter = self.configuration.datacenter
        let reports = found.map { LocalHealth($0, datacenter: datacenter) }
        let worst = reports.max { $0.rank < $1.rank }?.word
        return try self.health(call, reports, word: worst, reason: worst ?? "ServiceName \(name) Not Found")
    }

    /// The status says it as well, so that a load balancer needs no JSON.
    private func health(
        _ call: Call,
        _ value: some Encodable,
        word: String?,
        reason: String
    ) throws -> APIAnswer {
        let status =
            switch word {
            case "passing": 200
            case "warning": 429
            case nil: 404
            default: 503
            }
        let accept = call.request.headers[.accept] ?? ""
        var answer: APIAnswer
        if call.query["format"] == "text" || accept.hasPrefix("text/plain") {
            answer = .text(status, word ?? reason)
        } else {
            answer = try self.json(value, call.options(self), status: status)
        }
        answer.headers.append(("X-Consul-Reason", reason))
        return answer
    }
}

/// One line of `/v1/agent/health/service/…`.
private struct LocalHealth: Encodable {
    var status: CheckStatus
    var isInMaintenance = false
    var service: ConsulService?
    var checks: [ConsulCheck]?

    init(_ found: (ServiceRecord, [CheckRecord])?, datacenter: String) {
        guard let (service, checks) = found else {
            self.status = .critical
            return
        }
        // Its own checks and its node's; what the node says about itself is not the agent's.
        let own = checks.filter { $0.id != RegistryStateMachine.nodeHealthCheck }
        self.status = own.map(\.status).max() ?? .passing
        self.isInMaintenance = own.contains { $0.type == "maintenance" }
        self.service = service.agentForm(datacenter: datacenter)
        self.checks = own.map { $0.wire(isAgentForm: true) }
    }

    var word: String { self.isInMaintenance ? "maintenance" : self.status.rawValue }
    var rank: Int {
        if self.isInMaintenance { return 3 }
        return self.status == .critical ? 2 : self.status == .warning ? 1 : 0
    }

    private enum CodingKeys: String, CodingKey {
        case status = "AggregatedStatus"
        case service = "Service"
        case checks = "Checks"
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.word, forKey: .status)
        try container.encode(self.service, forKey: .service)
        try container.encode(self.checks, forKey: .checks)
    }
}
