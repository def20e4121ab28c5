import ParleyDiscovery
import Testing

@testable import ParleyConsul

/// Answers of a Consul 1.10, as it gave them.
@Suite(.timeLimit(.minutes(1))) struct ConsulGoldenTests {
    private static let node = """
        "ID": "3ba71d63-9937-90b8-1a07-320a76654f37", "Node": "refnode", "Address": "127.0.0.1", "Datacenter": "dc1",
        "TaggedAddresses": {"lan": "127.0.0.1", "lan_ipv4": "127.0.0.1", "wan": "127.0.0.1", "wan_ipv4": "127.0.0.1"}
        """
    private static let tail = """
        "EnableTagOverride": false, "Proxy": {"Mode": "", "MeshGateway": {}, "Expose": {}}, "Connect": {},
        "CreateIndex": 16, "ModifyIndex": 16
        """
    private static let serfHealth = """
        {"Node": "refnode", "CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "passing", "Notes": "",
         "Output": "Agent alive and reachable", "ServiceID": "", "ServiceName": "", "ServiceTags": [], "Type": "",
         "ExposedPort": 0, "Definition": {}, "CreateIndex": 11, "ModifyIndex": 11}
        """

    /// What a client makes of this body.
    private func answer<Value: Sendable>(
        _ body: String,
        _ call: @Sendable (ConsulClient) async throws -> Value
    ) async throws -> Value {
        try await ScriptedAgent.with { _ in
            .answer(
                200,
                body,
                [
                    ("Content-Type", "application/json"), ("X-Consul-Default-Acl-Policy", "allow"),
                    ("X-Consul-Effective-Consistency", "leader"), ("X-Consul-Index", "16"),
                    ("X-Consul-Knownleader", "true"), ("X-Consul-Lastcontact", "12"),
                    ("X-Consul-Query-Backend", "blocking-query"),
                ]
            )
        } _: { endpoint, _ in
            try await withClient(endpoint) { try await call($0) }
        }
    }

    @Test func health() async throws {
        let body = """
            [{"Node": {\(Self.node), "Meta": {"consul-network-segment": ""}, "CreateIndex": 11, "ModifyIndex": 13},
              "Service": {"ID": "web", "Service": "web", "Tags": [], "Address": "", "Meta": null,
                          "Weights": {"Passing": 1, "Warning": 1}, \(Self.tail)},
              "Checks": [\(Self.serfHealth)]},
             {"Node": {\(Self.node), "Meta": {"consul-network-segment": ""}, "CreateIndex": 11, "ModifyIndex": 13},
              "Service": {"ID": "w1", "Service": "web", "Tags": ["v1", "primary"], "Address": "127.0.0.2",
                          "TaggedAddresses": {"lan_ipv4": {"Address": "127.0.0.2", "Port": 8080},
                                              "wan": {"Address": "198.18.0.1", "Port": 80}},
                          "Meta": {"ver": "1"}, "Port": 8080, "Weights": {"Passing": 10, "Warning": 2}, \(Self.tail)},
              "Checks": [\(Self.serfHealth),
                {"Node": "refnode", "CheckID": "service:w1:1", "Name": "h", "Status": "critical", "Notes": "",
                 "Output": "", "ServiceID": "w1", "ServiceName": "web", "ServiceTags": ["v1", "primary"],
                 "Type": "http", "ExposedPort": 0, "Definition": {}, "CreateIndex": 17, "ModifyIndex": 17}]}]
            """
        let answer = try await self.answer(body) { try await $0.instances(of: "web") }
        #expect(answer.index == 16 && answer.hasLeader && answer.lastContact == .milliseconds(12))
        let (first, second) = (answer.value[0], answer.value[1])
        #expect(first.host == "127.0.0.1" && first.service.port == 0 && first.status == .passing)
        #expect(first.service.meta.isEmpty && first.node.datacenter == "dc1")
        #expect(second.host == "127.0.0.2" && second.service.port == 8_080 && second.status == .critical)
        #expect(second.service.tags == ["v1", "primary"] && second.service.meta == ["ver": "1"])
        #expect(second.service.passingWeight == 10 && second.weight == 2)
        #expect(second.checks.map(\.id) == ["serfHealth", "service:w1:1"])
    }

    @Test func catalog() async throws {
        let body = """
            [{\(Self.node), "NodeMeta": {"consul-network-segment": ""}, "ServiceKind": "", "ServiceID": "web",
              "ServiceName": "web", "ServiceTags": [], "ServiceAddress": "",
              "ServiceWeights": {"Passing": 1, "Warning": 1}, "ServiceMeta": {}, "ServicePort": 0,
              "ServiceSocketPath": "", "ServiceEnableTagOverride": false,
              "ServiceProxy": {"Mode": "", "MeshGateway": {}, "Expose": {}}, "ServiceConnect": {},
              "CreateIndex": 16, "ModifyIndex": 16}]
            """
        let found = try await self.answer(body) { try await $0.registered("web").value }
        #expect(found.first?.host == "127.0.0.1" && found.first?.service.name == "web")
        let services = try await self.answer(#"{"consul": [], "web": []}"#) { try await $0.services().value }
        #expect(services == ["consul": [], "web": []])
    }

    @Test func agent() async throws {
        let services = try await self.answer(
            """
            {"web": {"ID": "web", "Service": "web", "Tags": [], "Meta": {}, "Port": 0, "Address": "", "SocketPath": "",
                     "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": false, "Datacenter": "dc1"}}
            """
        ) { try await $0.agentServices() }
        #expect(services["web"]?.name == "web")
        let checks = try await self.answer(
            """
            {"tc": {"Node": "refnode", "CheckID": "tc", "Name": "Service 'web' check", "Status": "critical",
                    "Notes": "", "Output": "", "ServiceID": "w1", "ServiceName": "web",
                    "ServiceTags": ["v1", "primary"], "Type": "tcp", "ExposedPort": 0, "Definition": {},
                    "CreateIndex": 0, "ModifyIndex": 0}}
            """
        ) { try await $0.agentChecks() }
        #expect(checks["tc"]?.kind == "tcp" && checks["tc"]?.status == .critical)
    }

    @Test func keyValues() async throws {
        let body =
            #"[{"LockIndex": 0, "Key": "a", "Flags": 0, "Value": "aGVsbG8=", "CreateIndex": 27, "ModifyIndex": 27}]"#
        let entry = try await self.answer(body) { try await $0.value(at: "a") }
        #expect(entry?.value == Array("hello".utf8) && entry?.modifyIndex == 27)
    }
}
