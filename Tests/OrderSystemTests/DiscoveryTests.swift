import Foundation
import NIOHTTP1
import ProcessTestSupport
import Testing

/// The system's own registry, asked as operators ask Consul.
@Suite(.timeLimit(.minutes(2))) struct DiscoveryTests {
    let data: TemporaryFolder

    init() throws { self.data = try TemporaryFolder() }

    @Test func everyServiceIsFoundByHTTPAndByDNS() async throws {
        let system = try await OrderSystemProcess.start(data: self.data)
        let registry = Shop(base: try #require(system.addresses["registry"]))
        let dns = try #require(system.addresses["dns"]).split(separator: ":").last.map(String.init) ?? ""
        let services = try await registry.send(.GET, "/v1/catalog/services").text
        for name in ["user-service", "product-service", "order-service", "inventory-service", "payment-service"] {
            #expect(services.contains(name))
            let port = try #require(system.addresses[name]?.split(separator: ":").last)
            let health = try await registry.send(.GET, "/v1/health/service/\(name)?passing=true").text
            #expect(health.contains("\"Port\":\(port)"))
            let found = try await Subprocess.run(
                "dig",
                ["@127.0.0.1", "-p", dns, "+short", "\(name).service.consul", "SRV"]
            )
            #expect(found.output == "1 1 \(port) 7f000001.addr.dc1.consul.\n")
        }
        // Beside the port for HTTP stands the one for gRPC.
        let user = try await registry.send(.GET, "/v1/catalog/service/user-service").text
        let port = try #require(system.addresses["user-service-grpc"]?.split(separator: ":").last)
        #expect(user.contains("\"grpc_port\":\"\(port)\""))
        // The checks are made, not claimed.
        #expect(
            try await isEventually {
                try await registry.send(.GET, "/v1/health/checks/user-service").text.contains("200 OK Output")
            }
        )
    }

    /// An operator takes a service out, as with Consul: nobody calls it until it is back.
    @Test func aServiceInMaintenanceIsNotCalled() async throws {
        let system = try await OrderSystemProcess.start(data: self.data)
        let registry = Shop(base: try #require(system.addresses["registry"]))
        let shop = Shop(base: system.gateway)
        #expect(try await shop.place().status == 202)
        let id =
            "user-service-127.0.0.1-"
            + (system.addresses["user-service"]?.split(separator: ":").last.map(String.init) ?? "")
        let out = try await registry.send(.PUT, "/v1/agent/service/maintenance/\(id)?enable=true&reason=test")
        #expect(out.status == 200, "\(out.text)")
        let refused = try await shop.place()
        #expect(refused.status == 503 && refused.text.contains("user-service"), "\(refused.text)")
        _ = try await registry.send(.PUT, "/v1/agent/service/maintenance/\(id)?enable=false")
        #expect(try await shop.place().status == 202)
    }

    @Test func withoutTheRegistryTheyFindEachOtherAllTheSame() async throws {
        let system = try await OrderSystemProcess.start(
            ["up", "--ephemeral-ports", "--without-registry"],
            data: self.data
        )
        #expect(system.addresses["registry"] == nil)
        #expect(try await Shop(base: system.gateway).place().status == 202)
    }
}
