internal import ParleyCore
internal import ParleyDiscovery

/// `/v1/agent/check…` and `/v1/agent/checks`.
extension RegistryAPI {
    func addCheckRoutes(to routes: inout RouteTable) {
        let limit = self.limits.maximumBodyBytes
        routes.add("/v1/agent/checks", ["GET": self.agentChecks], maximumBodyBytes: limit)
        routes.add("/v1/agent/check/register", ["PUT": self.registerCheck], maximumBodyBytes: limit)
        routes.add("/v1/agent/check/deregister/", ["PUT": self.deregisterCheck], maximumBodyBytes: limit)
        for (word, status) in [("pass", CheckStatus.passing), ("warn", .warning), ("fail", .critical)] {
            routes.add(
                "/v1/agent/check/\(word)/",
                ["PUT": { call in try await self.noteStatus(call, status) }],
                maximumBodyBytes: limit
            )
        }
        routes.add("/v1/agent/check/update/", ["PUT": self.updateCheck], maximumBodyBytes: limit)
    }

    @Sendable
    private func agentChecks(_ call: Call) async throws -> APIAnswer {
        let checks = self.engine.read { machine in machine.localChecks }
        let answers = checks.map { ($0.id, $0.wire(isAgentForm: true)) }
        return try self.json(
            Dictionary(uniqueKeysWithValues: answers),
            call.options(self),
            filtering: .elements(.check)
        )
    }

    @Sendable
    private func registerCheck(_ call: Call) async throws -> APIAnswer {
        let definition = try ConsulRequestReader.check(call.request.body)
        try self.checkLength(definition.name, definition.checkID, definition.serviceID, definition.notes)
        let check = try CheckValidation(configuration: self.configuration).check(definition)
        try await self.engine.durableChange { machine throws(RegistryStateMachine.Refusal) in
            try machine.register(check)
        }
        return .done
    }

    private func unknownCheck(_ id: String) -> APIError {
        APIError(404, "Unknown check ID \"\(id)\". Ensure that the check ID is passed, not the check name.")
    }

    @Sendable
    private func deregisterCheck(_ call: Call) async throws -> APIAnswer {
        let id = call.request.rest
        guard !id.isEmpty else { throw APIError(400, "Missing check ID") }
        let isKnown = try await self.engine.durableResult { machine in
            let key = machine.local(id)
            let isKnown = machine.checks[key] != nil && id != RegistryStateMachine.nodeHealthCheck
            return (isKnown ? machine.deregisterCheck(key) : RegistryStateMachine.Effects(), isKnown)
        }
        guard isKnown else { throw self.unknownCheck(id) }
        return .done
    }

    private func noteStatus(_ call: Call, _ status: CheckStatus) async throws -> APIAnswer {
        try self.note(call.request.rest, status, call.query["note"] ?? "")
    }

    private func note(_ id: String, _ status: CheckStatus, _ output: String) throws -> APIAnswer {
        let key = NodeItemKey(node: self.configuration.nodeName, id: id)
        switch self.engine.signOfLife(key, status: status, output: output) {
        case .noted: return .done
        case .unknownCheck: throw self.unknownCheck(id)
        case .notTTL: throw APIError(500, "CheckID \"\(id)\" does not have associated TTL")
        }
    }

    @Sendable
    private func updateCheck(_ call: Call) async throws -> APIAnswer {
        var object = try ConsulRequestObject(
            ConsulRequestReader.json(call.request.body),
            type: "agent.checkUpdate"
        )
        let word = try object.string("Status")
        let output = try object.string("Output")
        guard let status = CheckStatus(rawValue: word) else {
            throw APIError(400, "Invalid check status: '\(word)'")
        }
        return try self.note(call.request.rest, status, output)
    }
}
