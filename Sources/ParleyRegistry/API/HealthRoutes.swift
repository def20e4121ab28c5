internal import ParleyCore
internal import ParleyDiscovery

/// `/v1/health/…`: what there is, with its checks.
extension RegistryAPI {
    func addHealthRoutes(to routes: inout RouteTable) {
        let limit = self.limits.maximumBodyBytes
        routes.add("/v1/health/service/", ["GET": self.healthService], maximumBodyBytes: limit)
        routes.add("/v1/health/checks/", ["GET": self.healthChecks], maximumBodyBytes: limit)
        routes.add("/v1/health/node/", ["GET": self.healthNode], maximumBodyBytes: limit)
        routes.add("/v1/health/state/", ["GET": self.healthState], maximumBodyBytes: limit)
    }

    @Sendable
    private func healthService(_ call: Call) async throws -> APIAnswer {
        let name = call.request.rest
        guard !name.isEmpty else { throw APIError(400, "Missing service name") }
        let onlyPassing = try Self.flag(call.query, "passing") ?? false
        let (tags, meta) = (call.query.all("tag"), Self.nodeMeta(call.query))
        let datacenter = self.configuration.datacenter
        return try await self.indexed(call, about: .service(name.lowercased()), filtering: .elements(.healthEntry)) {
            machine in
            machine.instances(of: name, onlyPassing: onlyPassing, tags: tags, nodeMeta: meta)
                .map { $0.healthEntry(datacenter: datacenter) }
        }
    }

    @Sendable
    private func healthChecks(_ call: Call) async throws -> APIAnswer {
        let name = call.request.rest
        guard !name.isEmpty else { throw APIError(400, "Missing service name") }
        let meta = Self.nodeMeta(call.query)
        return try await self.indexed(call, about: .service(name.lowercased()), filtering: .elements(.check)) {
            machine in
            machine.services(named: name).filter { service in
                machine.nodes[service.node].map { RegistryStateMachine.has($0, meta: meta) } ?? false
            }.flatMap { machine.checks(ofService: $0.key) }.map { $0.wire() }
        }
    }

    @Sendable
    private func healthNode(_ call: Call) async throws -> APIAnswer {
        let name = call.request.rest
        guard !name.isEmpty else { throw APIError(400, "Missing node name") }
        return try await self.indexed(call, about: .node(name), filtering: .elements(.check)) { machine in
            machine.checks.values.filter { $0.node == name }.sorted { $0.id < $1.id }.map { $0.wire() }
        }
    }

    @Sendable
    private func healthState(_ call: Call) async throws -> APIAnswer {
        let word = call.request.rest
        guard !word.isEmpty else { throw APIError(400, "Missing check state") }
        let meta = Self.nodeMeta(call.query)
        return try await self.indexed(call, about: .checks, filtering: .elements(.check)) { machine in
            machine.checks.values.filter { check in
                (word == "any" || check.status.rawValue == word)
                    && (meta.isEmpty
                        || machine.nodes[check.node].map { RegistryStateMachine.has($0, meta: meta) } ?? false)
            }.sorted { $0.key < $1.key }.map { $0.wire() }
        }
    }
}
