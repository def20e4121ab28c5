internal import ParleyCore
internal import ParleyDiscovery

/// From what a client sends to what the catalog holds, or Consul's refusal.
struct CheckValidation {
    let configuration: RegistryConfiguration

    /// - Parameters:
    ///   - position: counted from 1, among the service's checks; `nil` when it is the only one.
    func check(
        _ definition: ConsulCheckDefinition,
        of service: ServiceRecord,
        position: Int?
    ) throws(APIError) -> CheckRecord {
        let suffix = position.map { ":\($0)" } ?? ""
        var record = try self.record(
            definition,
            id: definition.checkID.isEmpty ? "service:\(service.id)\(suffix)" : definition.checkID,
            name: definition.name.isEmpty ? "Service '\(service.name)' check" : definition.name,
            badStatus: "Status for checks must 'passing', 'warning', 'critical'"
        )
        record.serviceID = service.id
        record.serviceName = service.name
        record.serviceTags = service.tags
        return record
    }

    /// A check that was registered by itself.
    func check(_ definition: ConsulCheckDefinition) throws(APIError) -> CheckRecord {
        guard !definition.name.isEmpty else { throw APIError(400, "Missing check name") }
        var record = try self.record(
            definition,
            id: definition.checkID.isEmpty ? definition.name : definition.checkID,
            name: definition.name,
            badStatus: "Bad check status"
        )
        record.serviceID = definition.serviceID
        return record
    }

    private func record(
        _ definition: ConsulCheckDefinition,
        id: String,
        name: String,
        badStatus: String
    ) throws(APIError) -> CheckRecord {
        try self.checkSizes(definition, id: id, name: name)
        let (plan, type) = try self.plan(definition)
        guard definition.status.isEmpty || CheckStatus(rawValue: definition.status) != nil else {
            throw APIError(400, badStatus)
        }
        guard id != RegistryStateMachine.nodeHealthCheck else {
            throw APIError(400, "The check ID \"\(id)\" is the registry's own; choose another")
        }
        var record = CheckRecord(
            node: self.configuration.nodeName,
            id: id,
            name: name,
            status: CheckStatus(rawValue: definition.status) ?? .critical
        )
        record.notes = definition.notes
        record.type = type
        record.plan = plan
        return record
    }

    /// A check is kept as long as its service, and there are many.
    private func checkSizes(_ definition: ConsulCheckDefinition, id: String, name: String) throws(APIError) {
        let header = definition.header.reduce(0) { total, field in
            total + field.key.utf8.count + field.value.reduce(0) { $0 + $1.utf8.count }
        }
        let texts = [
            id, name, definition.notes, definition.http, definition.method, definition.body, definition.tcp,
            definition.udp,
            definition.grpc, definition.h2ping, definition.aliasService, definition.serviceID,
        ]
        let limit = self.configuration.limits.maximumTextBytes
        guard header <= limit, texts.allSatisfy({ $0.utf8.count <= limit }) else {
            throw APIError(400, "A text of the check, or all its headers, are longer than \(limit) bytes")
        }
    }

    private func plan(_ definition: ConsulCheckDefinition) throws(APIError) -> (CheckPlan, type: String) {
        try Self.validate(definition)
        // Better refused than taken and not done.
        guard definition.aliasNode.isEmpty || definition.aliasNode == self.configuration.nodeName else {
            throw APIError(400, "Invalid check: AliasNode must be this node: checks of other nodes cannot be followed")
        }
        guard definition.tlsServerName.isEmpty else {
            throw APIError(400, "Invalid check: TLSServerName is not supported; use the name in the check's address")
        }
        let (probe, type) = Self.probe(definition)
        let isTTL = probe == .ttl
        var plan = CheckPlan(
            probe: probe,
            interval: min(
                isTTL ? definition.ttl : max(definition.interval, self.configuration.minimumCheckInterval),
                Self.maximumInterval
            ),
            timeout: definition.timeout > .zero ? definition.timeout : .seconds(10)
        )
        plan.successBeforePassing = max(0, definition.successBeforePassing)
        plan.failuresBeforeWarning = max(0, definition.failuresBeforeWarning)
        plan.failuresBeforeCritical = max(0, definition.failuresBeforeCritical)
        if definition.outputMaxSize > 0 {
            plan.outputMaxSize = min(definition.outputMaxSize, Self.maximumOutputSize)
        }
        let limit = definition.deregisterCriticalServiceAfter
        if limit > .zero { plan.deregisterAfter = max(limit, self.configuration.minimumDeregisterAfter) }
        return (plan, type)
    }

    /// Ten years: clocks count no further than some hundred.
    private static let maximumInterval: Duration = .seconds(315_360_000)
    /// However much a check asks to keep.
    private static let maximumOutputSize = 65_536

    private static func validate(_ definition: ConsulCheckDefinition) throws(APIError) {
        let isScript = !definition.scriptArguments.isEmpty || !definition.dockerContainerID.isEmpty
        let isAlias = !definition.aliasNode.isEmpty || !definition.aliasService.isEmpty
        let texts = [definition.http, definition.tcp, definition.udp, definition.grpc, definition.h2ping]
        let hasInterval = isScript || !definition.osService.isEmpty || texts.contains { !$0.isEmpty }
        let problem: String? =
            if definition.interval > .zero, definition.ttl > .zero {
                "Interval and TTL cannot both be specified"
            } else if hasInterval, definition.interval <= .zero {
                "Interval must be > 0 for Script, HTTP, H2PING, or TCP checks"
            } else if hasInterval, isAlias {
                "Interval cannot be set for Alias checks"
            } else if isAlias, definition.ttl > .zero {
                "TTL must be not be set for Alias checks"
            } else if !hasInterval, !isAlias, definition.ttl <= .zero {
                "TTL must be > 0 for TTL checks"
            } else if !definition.method.utf8.allSatisfy({ ($0 | 0x20) >= 97 && ($0 | 0x20) <= 122 }) {
                "Method must be a word such as GET"
            } else if definition.outputMaxSize < 0 {
                "MaxOutputMaxSize must be positive"
            } else {
                nil
            }
        if let problem { throw APIError(400, "Invalid check: \(problem)") }
        if isScript || !definition.osService.isEmpty {
            throw APIError(
                500,
                "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to "
                    + "true"
            )
        }
    }

    private static func probe(
        _ definition: ConsulCheckDefinition
    ) -> (CheckPlan.Probe, type: String) {
        if !definition.http.isEmpty {
            var probe = HTTPProbe(url: definition.http)
            if !definition.method.isEmpty { probe.method = definition.method }
            probe.header = definition.header
            probe.body = definition.body
            probe.followsRedirects = !definition.disableRedirects
            probe.verifies = !definition.tlsSkipVerify
            return (.http(probe), "http")
        }
        if !definition.tcp.isEmpty { return (.tcp(definition.tcp), "tcp") }
        if !definition.udp.isEmpty { return (.udp(definition.udp), "udp") }
        if !definition.grpc.isEmpty {
            let probe = CheckPlan.Probe.grpc(
                target: definition.grpc,
                useTLS: definition.grpcUseTLS,
                verifies: !definition.tlsSkipVerify
            )
            return (probe, "grpc")
        }
        if !definition.h2ping.isEmpty {
            let probe = CheckPlan.Probe.h2ping(
                target: definition.h2ping,
                useTLS: definition.h2pingUseTLS ?? true,
                verifies: !definition.tlsSkipVerify
            )
            return (probe, "h2ping")
        }
        if !definition.aliasNode.isEmpty || !definition.aliasService.isEmpty {
            return (.alias(service: definition.aliasService), "alias")
        }
        return (.ttl, "ttl")
    }
}
