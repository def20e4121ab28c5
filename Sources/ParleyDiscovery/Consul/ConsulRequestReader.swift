/// Reads the bodies that clients send to Consul, in all the spellings that it takes.
package enum ConsulRequestReader {
    /// The body as JSON.
    package static func json(_ body: [UInt8]) throws(ConsulRequestFault) -> JSONValue {
        do throws(JSONReader.Fault) { return try JSONReader.read(body) } catch {
            throw ConsulRequestFault(error.message)
        }
    }

    /// `PUT /v1/agent/service/register`.
    package static func service(_ body: [UInt8]) throws(ConsulRequestFault) -> ConsulServiceDefinition {
        try self.service(ConsulRequestObject(self.json(body), type: "structs.ServiceDefinition"))
    }

    /// `PUT /v1/agent/check/register`.
    package static func check(_ body: [UInt8]) throws(ConsulRequestFault) -> ConsulCheckDefinition {
        try self.check(ConsulRequestObject(self.json(body), type: "structs.CheckDefinition"))
    }

    private static func service(
        _ object: ConsulRequestObject
    ) throws(ConsulRequestFault) -> ConsulServiceDefinition {
        var object = object
        var service = ConsulServiceDefinition(name: try object.string("Name"), id: try object.string("ID"))
        service.kind = try object.string("Kind")
        service.tags = try object.strings("Tags")
        service.address = try object.string("Address")
        service.taggedAddresses = try self.taggedAddresses(&object)
        service.meta = try object.stringMap("Meta") ?? [:]
        service.port = try object.integer("Port") ?? 0
        service.socketPath = try object.string("SocketPath")
        if let check = try object.object("Check", type: "structs.CheckType") { service.check = try self.check(check) }
        for check in try object.objects("Checks", type: "structs.CheckType") {
            service.checks.append(try self.check(check))
        }
        service.weights = try self.weights(&object)
        service.enableTagOverride = try object.bool("EnableTagOverride") ?? false
        // Known to Consul, and without a meaning here: the mesh, and the enterprise's tenants.
        _ = object.take("Token", "Proxy", "Connect", "Namespace", "Partition", "Locality", "PeerName")
        try object.refuseTheRest()
        return service
    }

    static func taggedAddresses(
        _ object: inout ConsulRequestObject
    ) throws(ConsulRequestFault) -> [String: ConsulAddress] {
        guard let value = object.take("TaggedAddresses") else { return [:] }
        guard case .object(let members) = value else {
            throw ConsulRequestFault(
                "json: cannot unmarshal \(value.goKind) into Go struct field .TaggedAddresses of type "
                    + "map[string]structs.ServiceAddress"
            )
        }
        var addresses: [String: ConsulAddress] = [:]
        for member in members {
            var fields = try ConsulRequestObject(member.value, type: "structs.ServiceAddress")
            addresses[member.key] = ConsulAddress(
                address: try fields.string("Address"),
                port: try fields.integer("Port") ?? 0
            )
            try fields.refuseTheRest()
        }
        return addresses
    }

    static func weights(_ object: inout ConsulRequestObject) throws(ConsulRequestFault) -> ConsulWeights? {
        guard var fields = try object.object("Weights", type: "structs.Weights") else { return nil }
        let weights = ConsulWeights(
            passing: try fields.integer("Passing") ?? 0,
            warning: try fields.integer("Warning") ?? 0
        )
        try fields.refuseTheRest()
        return weights
    }

    private static func check(_ object: ConsulRequestObject) throws(ConsulRequestFault) -> ConsulCheckDefinition {
        var object = object
        var check = ConsulCheckDefinition()
        let alternativeID = try object.string("ID")
        check.checkID = try object.string("CheckID")
        if check.checkID.isEmpty { check.checkID = alternativeID }
        check.name = try object.string("Name")
        check.notes = try object.string("Notes")
        check.serviceID = try object.string("ServiceID")
        check.status = try object.string("Status")
        check.http = try object.string("HTTP")
        check.method = try object.string("Method")
        check.header = try object.stringsMap("Header")
        check.body = try object.string("Body")
        check.disableRedirects = try object.bool("DisableRedirects") ?? false
        check.tcp = try object.string("TCP")
        if try object.bool("TCPUseTLS") == true {
            throw ConsulRequestFault("TCPUseTLS is not supported: a TCP check connects without TLS; leave it out")
        }
        check.udp = try object.string("UDP")
        check.grpc = try object.string("GRPC")
        check.grpcUseTLS = try object.bool("GRPCUseTLS") ?? false
        check.h2ping = try object.string("H2PING")
        check.h2pingUseTLS = try object.bool("H2PingUseTLS")
        check.aliasNode = try object.string("AliasNode")
        check.aliasService = try object.string("AliasService")
        let script = try object.string("Script")
        check.scriptArguments = try object.strings("ScriptArgs") + object.strings("Args")
        if check.scriptArguments.isEmpty, !script.isEmpty { check.scriptArguments = [script] }
        check.dockerContainerID = try object.string("DockerContainerID")
        check.osService = try object.string("OSService")
        check.tlsServerName = try object.string("TLSServerName")
        check.tlsSkipVerify = try object.bool("TLSSkipVerify") ?? false
        check.ttl = try object.duration("TTL")
        check.interval = try object.duration("Interval")
        check.timeout = try object.duration("Timeout")
        check.deregisterCriticalServiceAfter = try object.duration("DeregisterCriticalServiceAfter")
        check.successBeforePassing = try object.integer("SuccessBeforePassing") ?? 0
        check.failuresBeforeWarning = try object.integer("FailuresBeforeWarning") ?? 0
        check.failuresBeforeCritical = try object.integer("FailuresBeforeCritical") ?? 0
        check.outputMaxSize = try object.integer("OutputMaxSize") ?? 0
        _ = object.take("Token", "Shell", "ProxyHTTP", "ProxyGRPC", "Namespace", "Partition", "EnterpriseMeta")
        try object.refuseTheRest()
        return check
    }
}
