/// What `PUT /v1/catalog/register` takes: a node, with at most one service and any number of checks.
package struct ConsulCatalogRegistration: Sendable, Equatable {
    package var datacenter: String
    package var node: ConsulNode
    package var skipsNodeUpdate: Bool
    package var service: ConsulService?
    package var checks: [ConsulCheck]
}

/// What `PUT /v1/catalog/deregister` takes: a check, or a service, or, with neither, a whole node.
package struct ConsulCatalogDeregistration: Sendable, Equatable {
    package var datacenter: String
    package var node: String
    package var serviceID: String
    package var checkID: String
}

extension ConsulRequestReader {
    /// `PUT /v1/catalog/register`.
    package static func catalogRegistration(
        _ body: [UInt8]
    ) throws(ConsulRequestFault) -> ConsulCatalogRegistration {
        var object = try ConsulRequestObject(self.json(body), type: "structs.RegisterRequest")
        var node = ConsulNode(name: try object.string("Node"), address: try object.string("Address"))
        node.id = try object.string("ID")
        node.taggedAddresses = try object.stringMap("TaggedAddresses")
        node.meta = try object.stringMap("NodeMeta")
        var registration = ConsulCatalogRegistration(
            datacenter: try object.string("Datacenter"),
            node: node,
            skipsNodeUpdate: try object.bool("SkipNodeUpdate") ?? false,
            checks: []
        )
        if let service = try object.object("Service", type: "structs.NodeService") {
            registration.service = try self.catalogService(service)
        }
        if let check = try object.object("Check", type: "structs.HealthCheck") {
            registration.checks.append(try self.catalogCheck(check, node: node.name))
        }
        for check in try object.objects("Checks", type: "structs.HealthCheck") {
            registration.checks.append(try self.catalogCheck(check, node: node.name))
        }
        _ = object.take("WriteRequest", "Token", "Namespace", "Partition", "EnterpriseMeta")
        try object.refuseTheRest()
        return registration
    }

    /// `PUT /v1/catalog/deregister`.
    package static func catalogDeregistration(
        _ body: [UInt8]
    ) throws(ConsulRequestFault) -> ConsulCatalogDeregistration {
        var object = try ConsulRequestObject(self.json(body), type: "structs.DeregisterRequest")
        let deregistration = ConsulCatalogDeregistration(
            datacenter: try object.string("Datacenter"),
            node: try object.string("Node"),
            serviceID: try object.string("ServiceID"),
            checkID: try object.string("CheckID")
        )
        _ = object.take("Address", "WriteRequest", "Token", "Namespace", "Partition", "EnterpriseMeta")
        try object.refuseTheRest()
        return deregistration
    }

    private static func catalogService(_ object: ConsulRequestObject) throws(ConsulRequestFault) -> ConsulService {
        var object = object
        var service = ConsulService(id: try object.string("ID"), service: try object.string("Service"))
        if service.id.isEmpty { service.id = service.service }
        service.kind = try object.string("Kind")
        service.tags = try object.strings("Tags")
        service.meta = try object.stringMap("Meta") ?? [:]
        service.address = try object.string("Address")
        service.port = try object.integer("Port") ?? 0
        service.socketPath = try object.string("SocketPath")
        service.taggedAddresses = try self.taggedAddresses(&object)
        service.weights = try self.weights(&object) ?? ConsulWeights()
        service.enableTagOverride = try object.bool("EnableTagOverride") ?? false
        // Those who copy an answer into a request send these along.
        _ = object.take(
            "Proxy",
            "Connect",
            "Namespace",
            "Partition",
            "PeerName",
            "Locality",
            "CreateIndex",
            "ModifyIndex",
            "ContentHash",
            "Datacenter",
            "EnterpriseMeta"
        )
        try object.refuseTheRest()
        return service
    }

    private static func catalogCheck(
        _ object: ConsulRequestObject,
        node: String
    ) throws(ConsulRequestFault) -> ConsulCheck {
        var object = object
        var check = ConsulCheck(node: node, checkID: try object.string("CheckID"), status: try object.string("Status"))
        check.name = try object.string("Name")
        if check.checkID.isEmpty { check.checkID = check.name }
        check.notes = try object.string("Notes")
        check.output = try object.string("Output")
        check.serviceID = try object.string("ServiceID")
        check.type = try object.string("Type")
        _ = object.take(
            "Node",
            "ServiceName",
            "ServiceTags",
            "Definition",
            "ExposedPort",
            "Interval",
            "Timeout",
            "Namespace",
            "Partition",
            "PeerName",
            "CreateIndex",
            "ModifyIndex",
            "EnterpriseMeta"
        )
        try object.refuseTheRest()
        return check
    }
}
