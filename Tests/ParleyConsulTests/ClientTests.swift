import HTTPTestSupport
import ParleyCore
import ParleyDiscovery
import Testing

@testable import ParleyConsul

/// Every call, over HTTP, against Parley's own registry.
@Suite(.timeLimit(.minutes(2))) struct ConsulClientTests {
    @Test func servicesComeAndGo() async throws {
        try await withRegistry { endpoint in
            try await withClient(endpoint) { client in
                var registration = Consul.Registration(name: "web", id: "web-1", address: "10.0.0.1", port: 8_080)
                registration.tags = ["v1", "blue"]
                registration.meta = ["version": "2"]
                registration.weights = Consul.Weights(passing: 10, warning: 2)
                try await client.register(registration)
                try await client.register(registration)
                let service = try #require(try await client.agentServices()["web-1"])
                #expect(service.name == "web" && service.address == "10.0.0.1" && service.port == 8_080)
                #expect(service.tags == ["v1", "blue"] && service.meta == ["version": "2"])
                #expect(service.passingWeight == 10 && service.warningWeight == 2)
                #expect(try await client.agentService("web-1") == service)
                #expect(try await client.agentService("web-2") == nil)
                #expect(try await client.agentServices(filter: #"ID == "nothing""#).isEmpty)
                #expect(try await client.services().value["web"]?.sorted() == ["blue", "v1"])
                let registered = try await client.registered("web")
                #expect(registered.value.map(\.service) == [service] && registered.index > 0)
                #expect(registered.value.first?.node.name == "refnode")
                try await client.deregister(serviceID: "web-1")
                try await client.deregister(serviceID: "web-1")
                #expect(try await client.agentService("web-1") == nil)
            }
        }
    }

    @Test func allKindsOfChecksAreTaken() async throws {
        try await withRegistry { endpoint in
            try await withClient(endpoint) { client in
                let target = "127.0.0.1:1"
                let kinds: [(String, Consul.CheckDefinition.Kind)] = [
                    ("ttl", .ttl(.seconds(15))), ("tcp", .tcp(address: target)), ("udp", .udp(address: target)),
                    ("http", .http(url: "http://\(target)/", method: "PUT", headers: ["A": ["b"]], body: "x")),
                    ("grpc", .grpc(address: target)), ("h2ping", .http2Ping(address: target, usesTLS: false)),
                    ("alias", .alias(service: "db")),
                ]
                try await client.register(Consul.Registration(name: "db"))
                let checks = kinds.map { Consul.CheckDefinition($1, id: "check-\($0)", name: $0, notes: "note") }
                try await client.register(Consul.Registration(name: "web", checks: checks))
                let found = try await client.agentChecks()
                for (name, _) in kinds {
                    let check = try #require(found["check-\(name)"], "\(name)")
                    #expect(check.kind == name && check.serviceID == "web" && check.notes == "note", "\(name)")
                }
                // Without them they are gone, or stay where that is wanted.
                try await client.register(Consul.Registration(name: "web"), replacesChecks: false)
                #expect(try await client.agentChecks().count == kinds.count)
                try await client.register(Consul.Registration(name: "web"))
                #expect(try await client.agentChecks().isEmpty)
                let refused = await consulError {
                    try await client.register(Consul.CheckDefinition(.tcp(address: target), every: .zero))
                }
                #expect(refused?.code == .refused && refused?.retry == .permanent)
            }
        }
    }

    @Test func signsOfLifeMoveTheHealth() async throws {
        try await withRegistry { endpoint in
            try await withClient(endpoint) { client in
                try await client.register(Consul.Registration(name: "web", port: 1))
                let check = Consul.CheckDefinition(.ttl(.seconds(60)), id: "alive", name: "alive")
                try await client.register(check, serviceID: "web")
                func status() async throws -> HealthStatus? {
                    try await client.instances(of: "web").value.first?.status
                }
                func passing() async throws -> Int {
                    try await client.instances(of: "web", .init(isPassingOnly: true)).value.count
                }
                #expect(try await status() == .critical)
                try await client.pass("alive")
                #expect(try await status() == .passing)
                #expect(try await passing() == 1)
                try await client.warn("alive", note: "so & so")
                #expect(try await status() == .warning)
                #expect(try await passing() == 0)
                #expect(try await client.agentChecks()["alive"]?.output == "so & so")
                try await client.fail("alive")
                #expect(try await status() == .critical)
                #expect(try await client.checks(in: .critical).value.map(\.id) == ["alive"])
                try await client.update("alive", .passing, output: "long text")
                #expect(try await client.checks(ofService: "web").value.first?.output == "long text")
                #expect(try await client.checks(in: nil).value.contains { $0.id == "alive" })

                try await client.setMaintenance(ofService: "web", true, reason: "new disks")
                #expect(try await passing() == 0)
                #expect(try await client.agentChecks()["_service_maintenance:web"]?.notes == "new disks")
                try await client.setMaintenance(ofService: "web", false)
                try await client.setNodeMaintenance(true)
                #expect(try await passing() == 0)
                try await client.setNodeMaintenance(false)
                #expect(try await passing() == 1)

                try await client.deregister(checkID: "alive")
                try await client.deregister(checkID: "alive")
                let unknown = await consulError { try await client.pass("alive") }
                #expect(unknown?.code == .notFound)
                let unknownService = await consulError { try await client.setMaintenance(ofService: "no", true) }
                #expect(unknownService?.code == .notFound)
            }
        }
    }

    @Test func questionsCanBeNarrowed() async throws {
        try await withRegistry { endpoint in
            try await withClient(endpoint) { client in
                for (id, tags, version) in [("a", ["v1"], "1"), ("b", ["v1", "v2"], "2"), ("c", ["v2"], "3")] {
                    var registration = Consul.Registration(name: "web", id: id, port: 1)
                    registration.tags = tags
                    registration.meta = ["version": version]
                    try await client.register(registration)
                }
                func ids(_ query: Consul.Query) async throws -> [String] {
                    try await client.instances(of: "web", query).value.map(\.service.id).sorted()
                }
                #expect(try await ids(.init(tags: ["v1"])) == ["a", "b"])
                #expect(try await ids(.init(tags: ["v1", "v2"])) == ["b"])
                #expect(try await ids(.init(filter: #"Service.Meta.version == "3""#)) == ["c"])
                #expect(try await ids(.init(consistency: .stale, near: "_agent")) == ["a", "b", "c"])
                #expect(try await ids(.init(consistency: .consistent)) == ["a", "b", "c"])
                let elsewhere = await consulError { _ = try await ids(.init(datacenter: "nowhere")) }
                #expect(elsewhere?.code == .refused && elsewhere?.reason == "No path to datacenter")
                let broken = await consulError { _ = try await ids(.init(filter: "((")) }
                #expect(broken?.code == .refused)
                #expect(try await ids(.init(datacenter: "dc1")).count == 3)
                #expect(try await client.nodes().value.map(\.name) == ["refnode"])
                #expect(try await client.datacenters() == ["dc1"])
                let agent = try await client.agent()
                #expect(agent.nodeName == "refnode" && agent.datacenter == "dc1")
                #expect(try await client.leader() != nil)
            }
        }
    }

    @Test func keysAreStored() async throws {
        try await withRegistry { endpoint in
            try await withClient(endpoint) { client in
                #expect(try await client.value(at: "shop/a b") == nil)
                #expect(try await client.set([1, 0, 255], at: "shop/a b", flags: 42, ifIndex: 0))
                let stored = try #require(try await client.value(at: "shop/a b"))
                #expect(stored.key == "shop/a b" && stored.value == [1, 0, 255] && stored.flags == 42)
                #expect(try await !client.set([2], at: "shop/a b", ifIndex: 0))
                #expect(try await !client.set([2], at: "shop/a b", ifIndex: stored.modifyIndex + 1))
                #expect(try await client.set([2], at: "shop/a b", ifIndex: stored.modifyIndex))
                try await client.set([], at: "shop/empty")
                try await client.set(Array("x".utf8), at: "shop/deep/er")
                #expect(try await client.value(at: "shop/empty")?.value == [])
                #expect(
                    try await client.values(below: "shop/").map(\.key) == ["shop/a b", "shop/deep/er", "shop/empty"]
                )
                #expect(
                    try await client.keys(below: "shop/", separator: "/") == ["shop/a b", "shop/deep/", "shop/empty"]
                )
                #expect(try await client.keys(below: "nothing").isEmpty)
                #expect(try await !client.delete("shop/empty", ifIndex: 1))
                #expect(try await client.delete("shop/empty"))
                #expect(try await client.delete("shop/empty"))
                try await client.deleteAll(below: "shop/")
                #expect(try await client.values(below: "").isEmpty)
            }
        }
    }

    @Test func aTokenIsSentAndAWrongOneIsSaid() async throws {
        try await withRegistry(token: "right") { endpoint in
            for (token, isRight) in [("right", true), ("wrong", false), (nil, false)] {
                try await withClient(endpoint) {
                    $0.token = token.map { ConsulToken($0) }
                } _: { client in
                    let error = await consulError { _ = try await client.services() }
                    #expect((error == nil) == isRight)
                    guard let error else { return }
                    #expect(error.code == .forbidden && error.retry == .permanent && error.status == 403)
                    #expect("\(error)".contains("token") && !"\(error)".contains("wrong"))
                }
            }
        }
    }
}
