import Foundation
import HTTPTestSupport
import ParleyCore
import ParleyDiscovery
import ParleyHTTPServer
import ProcessTestSupport
import ServiceLifecycle
import Testing

@testable import ParleyRegistry

/// Others' clients, curl, and our own door.
@Suite(.timeLimit(.minutes(3))) struct ClientTests {
    /// The repository's folder: two above this file's.
    private var root: URL {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
    }

    private func python(_ script: String) async throws -> String {
        let prepared = try await Subprocess.run(self.root.path + "/dev/servers/consul-clients", [])
        try #require(prepared.status == 0, "\(prepared.error)")
        let folder = prepared.output.trimmingCharacters(in: .whitespacesAndNewlines)
        let answer = try await Subprocess.run("/usr/bin/python3", ["-c", script], ["PYTHONPATH": folder])
        try #require(answer.status == 0, "\(answer.error)")
        return answer.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    @Test func pythonConsul2() async throws {
        try await withRegistry { running in
            let output = try await self.python(
                """
                import consul, threading, json
                c = consul.Consul(host="127.0.0.1", port=\(running.endpoint.port))
                assert c.agent.service.register("web", service_id="w1", address="10.0.0.1", port=80, tags=["a", "b"],
                    check=consul.Check.ttl("30s"))
                assert c.agent.service.register("web", service_id="w2", port=81)
                assert set(c.agent.services()) == {"w1", "w2"}
                index, nodes = c.health.service("web", passing=True)
                assert [n["Service"]["ID"] for n in nodes] == ["w2"], nodes
                woken = []
                def watch():
                    woken.append(c2.health.service("web", index=index, wait="60s", passing=True))
                c2 = consul.Consul(host="127.0.0.1", port=\(running.endpoint.port))
                thread = threading.Thread(target=watch); thread.start()
                assert c.agent.check.ttl_pass("service:w1", notes="fine")
                thread.join(60)
                assert woken and int(woken[0][0]) > int(index), woken
                assert sorted(n["Service"]["ID"] for n in woken[0][1]) == ["w1", "w2"]
                index, services = c.catalog.services()
                assert sorted(services["web"]) == ["a", "b"] and "consul" in services
                index, instances = c.catalog.service("web", tag="a")
                assert [i["ServiceID"] for i in instances] == ["w1"]
                assert c.agent.checks()["service:w1"]["Output"] == "fine"
                assert c.agent.check.register("mem", consul.Check.ttl("10s"))
                assert c.agent.check.ttl_warn("mem")
                assert c.agent.check.deregister("mem")
                assert c.agent.maintenance(True, "r") and c.health.service("web", passing=True)[1] == []
                assert c.agent.maintenance(False)
                assert c.agent.service.maintenance("w2", True)
                assert c.agent.self()["Config"]["Datacenter"] == "dc1"
                assert c.agent.members()[0]["Status"] == 1
                assert c.status.leader() and c.status.peers()
                assert c.kv.put("a/b", "hello") and c.kv.get("a/b")[1]["Value"] == b"hello"
                assert c.kv.get("a/", keys=True)[1] == ["a/b"]
                assert not c.kv.put("a/b", "x", cas=1)
                assert c.kv.delete("a/b") and c.kv.get("a/b")[1] is None
                assert c.catalog.register("ext", "10.0.0.9", service={"Service": "db", "Port": 5432})
                assert len(c.catalog.nodes()[1]) == 2 and c.catalog.node("ext")[1]["Services"]["db"]["Port"] == 5432
                assert c.catalog.deregister("ext")
                assert c.health.state("critical")[1][0]["CheckID"].startswith("_service_maintenance")
                assert c.health.node("\(local)")[1] and c.health.checks("web")[1]
                assert c.session.list()[1] == []
                assert c.agent.service.deregister("w1")
                print(json.dumps(sorted(c.agent.services())))
                """
            )
            #expect(output == #"["w2"]"#)
        }
    }

    @Test func consulate() async throws {
        try await withRegistry { running in
            let output = try await self.python(
                """
                import consulate
                c = consulate.Consul(host="127.0.0.1", port=\(running.endpoint.port))
                c.agent.service.register("web", port=80, tags=["a"], ttl="10s")
                assert "web" in c.agent.services() or "web" in c.agent.services()[0], c.agent.services()
                # Its signs of life are GET, which Consul has refused since 1.0 as well.
                assert not c.agent.check.ttl_pass("service:web")
                assert c.catalog.service("web")[0]["ServicePort"] == 80
                assert c.health.service("web")[0]["Service"]["ID"] == "web"
                assert c.catalog.datacenters() == ["dc1"]
                c.kv["k"] = "v"
                assert c.kv["k"] == "v" and "k" in c.kv
                del c.kv["k"]
                assert "k" not in c.kv
                assert c.status.leader()
                c.agent.service.deregister("web")
                print(c.catalog.service("web"))
                """
            )
            #expect(output == "[]")
        }
    }

    /// The guide's commands, word for word but for the port.
    @Test func theGuidesCommands() async throws {
        try await withRegistry { running in
            let script = #"""
                set -e
                curl -sS -f -X PUT http://localhost:8500/v1/agent/service/register \
                -H "Content-Type: application/json" \
                -d '{
                "ID": "user-service-1",
                "Name": "user-service",
                "Address": "192.168.1.10",
                "Port": 8080,
                "Tags": ["v1", "production"],
                "Check": {
                "HTTP": "http://192.168.1.10:8080/health",
                "Interval": "10s",
                "Timeout": "5s"
                }
                }'
                curl -sS -f http://localhost:8500/v1/health/service/user-service?passing=true | \
                python3 -m json.tool
                curl -sS -f http://localhost:8500/v1/health/service/user-service
                """#
            let here = script.replacingOccurrences(of: "localhost:8500", with: "\(running.endpoint)")
            let answer = try await Subprocess.run("/bin/bash", ["-c", here])
            #expect(answer.status == 0, "\(answer.error)")
            // Nobody answers at that address, so it is not among those that pass.
            #expect(answer.output.hasPrefix("[]\n["))
            #expect(answer.output.contains(#""ServiceID":"user-service-1""#))
        }
    }

    @Test func theDoorInTheSameProcessLeadsToTheSameState() async throws {
        try await withRegistry { running in
            let (resolver, registrar) = (running.registry.resolver, running.registry.registrar)
            let instance = ServiceInstance(
                id: "u1",
                service: "user-service",
                endpoint: Endpoint(host: "10.0.0.1", port: 80),
                tags: ["a"],
                metadata: ["k": "v"]
            )
            try await registrar.register(instance)
            #expect(try await resolver.resolve("user-service") == [instance])
            #expect(try await running.get("/v1/agent/service/u1")["Port"] == .number("80"))
            // Over HTTP, without an address of its own: the node's.
            try await running.put(
                "/v1/agent/service/register",
                #"{"ID": "u2", "Name": "user-service", "Port": 81, "Check": {"TTL": "60s"}}"#
            )
            #expect(try await resolver.resolve("user-service").map(\.id) == ["u1"])
            try await running.put("/v1/agent/check/warn/service:u2")
            let found = try await resolver.resolve("user-service")
            #expect(found.map(\.endpoint.description) == ["10.0.0.1:80", "127.0.0.1:81"])
            try await registrar.deregister("u1")
            try await registrar.deregister("u1")
            #expect(try await resolver.resolve("user-service").map(\.id) == ["u2"])
            #expect(try await resolver.resolve("unknown").isEmpty)
            await #expect(throws: DiscoveryError.self) {
                try await registrar.register(
                    ServiceInstance(id: "u3", service: "x", endpoint: Endpoint(host: "0.0.0.0", port: 1))
                )
            }
            let shown = try #require(running.registry.healthyInstances(of: "USER-service")?.first)
            #expect(shown.weight == 1 && shown.status == .warning && shown.nodeAddress == "127.0.0.1")
            #expect(running.registry.healthyInstances(of: "unknown") == nil)
            #expect(running.registry.node(local.uppercased())?.address == "127.0.0.1")
        }
    }

    @Test func aPortInUseSaysSo() async throws {
        try await withRegistry { running in
            let second = try await Registry(
                RegistryConfiguration(port: running.endpoint.port),
                logger: testLogger
            )
            await #expect(throws: ServerError.self) { try await second.run() }
        }
    }
}
