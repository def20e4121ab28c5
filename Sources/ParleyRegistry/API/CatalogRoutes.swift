internal import ParleyCore
internal import ParleyDiscovery

/// `/v1/catalog/…`: what there is, whatever its health.
extension RegistryAPI {
    func addCatalogRoutes(to routes: inout RouteTable) {
        let limit = self.limits.maximumBodyBytes
        routes.add("/v1/catalog/services", ["GET": self.catalogServices], maximumBodyBytes: limit)
        routes.add("/v1/catalog/service/", ["GET": self.catalogService], maximumBodyBytes: limit)
        routes.add("/v1/catalog/nodes", ["GET": self.catalogNodes], maximumBodyBytes: limit)
        routes.add("/v1/catalog/node/", ["GET": self.catalogNode], maximumBodyBytes: limit)
        routes.add("/v1/catalog/node-services/", ["GET": self.catalogNodeServices], maximumBodyBytes: limit)
        routes.add("/v1/catalog/datacenters", ["GET": self.datacenters], maximumBodyBytes: limit)
        routes.add("/v1/catalog/register", ["PUT": self.catalogRegister], maximumBodyBytes: limit)
        routes.add("/v1/catalog/deregister", ["PUT": self.catalogDeregister], maximumBodyBytes: limit)
    }

    /// `?node-meta=key:value`, any number of them.
    static func nodeMeta(_ query: QueryItems) -> [String: String] {
        var meta: [String: String] = [:]
        for item in query.all("node-meta") {
            let parts = item.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            meta[String(parts[0])] = parts.count > 1 ? String(parts[1]) : ""
        }
        return meta
    }

    @Sendable
    private func catalogServices(_ call: Call) async throws -> APIAnswer {
        let meta = Self.nodeMeta(call.query)
        return try await self.indexed(call, about: .services) { $0.serviceTags(nodeMeta: meta) }
    }

    @Sendable
    private func catalogService(_ call: Call) async throws -> APIAnswer {
        let name = call.request.rest
        guard !name.isEmpty else { throw APIError(400, "Missing service name") }
        let (tags, meta) = (call.query.all("tag"), Self.nodeMeta(call.query))
        let datacenter = self.configuration.datacenter
        return try await self.indexed(call, about: .service(name.lowercased()), filtering: .elements(.catalogEntry)) {
            machine in
            machine.instances(of: name, tags: tags, nodeMeta: meta).map {
                ConsulCatalogEntry(node: $0.node.wire(datacenter: datacenter), service: $0.service.catalogForm)
            }
        }
    }

    @Sendable
    private func catalogNodes(_ call: Call) async throws -> APIAnswer {
        let meta = Self.nodeMeta(call.query)
        let datacenter = self.configuration.datacenter
        return try await self.indexed(call, about: .nodes, filtering: .elements(.node)) { machine in
            machine.nodes.values.filter { RegistryStateMachine.has($0, meta: meta) }
                .sorted { $0.name < $1.name }.map { $0.wire(datacenter: datacenter) }
        }
    }

    private struct NodeServices: Encodable {
        var node: ConsulNode
        var services: [String: ConsulService]

        enum CodingKeys: String, CodingKey {
            case node = "Node"
            case services = "Services"
        }
    }

    @Sendable
    private func catalogNode(_ call: Call) async throws -> APIAnswer {
        let name = call.request.rest
        guard !name.isEmpty else { throw APIError(400, "Missing node name") }
        let datacenter = self.configuration.datacenter
        return try await self.indexed(call, about: .node(name), filtering: .member("Services", .service)) {
            machine -> NodeServices? in
            guard let node = machine.nodes[name] else { return nil }
            let services = machine.services(ofNode: name).map { ($0.id, $0.catalogForm) }
            return NodeServices(
                node: node.wire(datacenter: datacenter),
                services: Dictionary(uniqueKeysWithValues: services)
            )
        }
    }

    private struct NodeServiceList: Encodable {
        var node: ConsulNode?
        var services: [ConsulService]

        enum CodingKeys: String, CodingKey {
            case node = "Node"
            case services = "Services"
        }
    }

    @Sendable
    private func catalogNodeServices(_ call: Call) async throws -> APIAnswer {
        let name = call.request.rest
        guard !name.isEmpty else { throw APIError(400, "Missing node name") }
        let datacenter = self.configuration.datacenter
        return try await self.indexed(call, about: .node(name), filtering: .member("Services", .service)) { machine in
            NodeServiceList(
                node: machine.nodes[name]?.wire(datacenter: datacenter),
                services: machine.services(ofNode: name).map(\.catalogForm)
            )
        }
    }

    @Sendable
    private func datacenters(_ call: Call) async throws -> APIAnswer {
        try self.json([self.configuration.datacenter], call.options(self))
    }

    // MARK: Services that no agent registers

    private func checkDatacenter(_ name: String) throws(APIError) {
        guard name.isEmpty || name.lowercased() == self.configuration.datacenter.lowercased() else {
            throw APIError(500, "No path to datacenter")
        }
    }

    @Sendable
    private func catalogRegister(_ call: Call) async throws -> APIAnswer {
        let registration = try ConsulRequestReader.catalogRegistration(call.request.body)
        try self.checkDatacenter(registration.datacenter)
        let node = registration.node
        guard !node.name.isEmpty, !node.address.isEmpty else {
            throw APIError(400, "Must provide node and address")
        }
        try self.checkLength(node.name, node.address, registration.service?.id ?? "")
        let limits = self.limits
        guard registration.checks.count <= limits.maximumChecksPerService else {
            throw APIError(400, "At most \(limits.maximumChecksPerService) checks can be registered at once")
        }
        var checks: [CheckRecord] = []
        for check in registration.checks { checks.append(try self.record(check)) }
        let service = try registration.service.map { service throws(APIError) in
            try self.record(service, node: node.name)
        }
        // This registry's own node is its own affair.
        let isOwn = node.name == self.configuration.nodeName
        let known = self.engine.read { machine in machine.nodes[node.name] != nil }
        let change = isOwn || (registration.skipsNodeUpdate && known) ? nil : Self.record(node)
        try await self.engine.durableChange { [checks] machine throws(RegistryStateMachine.Refusal) in
            try machine.registerInCatalog(nodeName: node.name, node: change, service: service, checks: checks)
        }
        return try self.json(true, call.options(self))
    }

    private static func record(_ node: ConsulNode) -> NodeRecord {
        var record = NodeRecord(name: node.name, id: node.id, address: node.address)
        record.taggedAddresses = node.taggedAddresses
        record.meta = node.meta
        return record
    }

    /// What this registry says about itself is nobody else's affair.
    private func isOwn(node: String, service: String, check: String) -> Bool {
        node == self.configuration.nodeName
            && (check == RegistryStateMachine.nodeHealthCheck
                || service == RegistryStateMachine.ownService && self.configuration.listsItself)
    }

    private func record(_ service: ConsulService, node: String) throws(APIError) -> ServiceRecord {
        guard !service.service.isEmpty else { throw APIError(400, "Must provide service name") }
        var definition = ConsulServiceDefinition(name: service.service, id: service.id)
        // Another node may have a "consul" of its own.
        if service.id == RegistryStateMachine.ownService, node != self.configuration.nodeName { definition.id = "-" }
        definition.kind = service.kind
        definition.tags = service.tags
        definition.meta = service.meta
        definition.address = service.address
        definition.port = service.port
        definition.socketPath = service.socketPath
        definition.taggedAddresses = service.taggedAddresses
        definition.weights = service.weights
        definition.enableTagOverride = service.enableTagOverride
        var record = try ServiceValidation(configuration: self.configuration).service(definition).service
        record.node = node
        record.id = service.id
        return record
    }

    private func record(_ check: ConsulCheck) throws(APIError) -> CheckRecord {
        guard !check.checkID.isEmpty else { throw APIError(400, "Must provide CheckID or Name") }
        guard !self.isOwn(node: check.node, service: "", check: check.checkID) else {
            throw APIError(400, "The check ID \"\(check.checkID)\" is the registry's own; choose another")
        }
        try self.checkLength(check.checkID, check.name, check.notes, check.serviceID)
        guard check.status.isEmpty || CheckStatus(rawValue: check.status) != nil else {
            throw APIError(400, "Invalid check status: '\(check.status)'")
        }
        var record = CheckRecord(
            node: check.node,
            id: check.checkID,
            name: check.name.isEmpty ? check.checkID : check.name,
            status: CheckStatus(rawValue: check.status) ?? .critical
        )
        record.notes = check.notes
        record.output = CheckOutput.cut(check.output, to: CheckPlan.defaultOutputMaxSize)
        record.serviceID = check.serviceID
        record.type = check.type
        return record
    }

    @Sendable
    private func catalogDeregister(_ call: Call) async throws -> APIAnswer {
        let request = try ConsulRequestReader.catalogDeregistration(call.request.body)
        try self.checkDatacenter(request.datacenter)
        guard !request.node.isEmpty else { throw APIError(400, "Must provide node") }
        guard !self.isOwn(node: request.node, service: request.serviceID, check: request.checkID) else {
            return try self.json(true, call.options(self))
        }
        try await self.engine.durableChange { machine in
            if !request.serviceID.isEmpty {
                return machine.deregister(NodeItemKey(node: request.node, id: request.serviceID))
            }
            if !request.checkID.isEmpty {
                return machine.deregisterCheck(NodeItemKey(node: request.node, id: request.checkID))
            }
            return machine.deregisterNode(request.node)
        }
        return try self.json(true, call.options(self))
    }
}
