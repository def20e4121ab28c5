import Foundation
import NIOHTTP1
import ProcessTestSupport
import RedisTestSupport
import Testing

/// Every service a process of its own, with a registry that is not theirs: as with a Consul.
@Suite(.timeLimit(.minutes(3))) struct ConsulTests {
    let data: TemporaryFolder

    init() throws { self.data = try TemporaryFolder() }

    private func registry(port: String = "0") async throws -> (process: RunningProcess, address: String) {
        let beside = URL(fileURLWithPath: OrderSystemProcess.binary).deletingLastPathComponent().path + "/parley"
        let binary = ProcessInfo.processInfo.environment["PARLEY_BINARY"] ?? beside
        let process = try RunningProcess(
            binary,
            ["registry", "--http-port", port, "--without-dns", "--memory", "--json"]
        )
        let line = try await process.firstLine()
        let text = try #require(line, "\(process.error)")
        let addresses = try JSONDecoder().decode([String: String].self, from: Data(text.utf8))
        return (process, try #require(addresses["http"]?.replacing("http://", with: "")))
    }

    @Test func servicesFindEachOtherThroughItAlsoAfterItHasForgottenThem() async throws {
        let first = try await self.registry(port: "\(try await freePort())")
        let url = "consul://\(first.address)"
        var services: [String: OrderSystemProcess] = [:]
        for name in [
            "user-service", "product-service", "inventory-service", "payment-service", "order-service", "gateway",
        ] {
            services[name] = try await OrderSystemProcess.start(
                [name, "--port", "0", "--registry", url],
                data: self.data
            )
        }
        let shop = Shop(base: try #require(services["gateway"]?.gateway))
        let placed = try await shop.place()
        #expect(placed.status == 202, "\(placed.text)")
        let order = try await shop.finished(try placed.decode(Shop.Order.self).id, within: .seconds(30))
        #expect(order.status == "CONFIRMED")
        // Away: what is known stays known.
        await first.process.killNow()
        #expect(try await shop.place().status == 202)
        // Back, and empty: they register again by themselves.
        let port = String(first.address.split(separator: ":").last ?? "")
        let second = try await self.registry(port: port)
        let catalog = Shop(base: "http://\(second.address)")
        // Passing, all of them: one that is registered and not yet passing would be out of the shop's sight once more.
        for name in ["user-service", "product-service", "inventory-service", "payment-service", "order-service"] {
            #expect(
                try await isEventually(within: .seconds(60)) {
                    try await catalog.send(.GET, "/v1/health/service/\(name)?passing=true").text.contains("ServiceID")
                },
                "\(name) has come back"
            )
        }
        #expect(try await isEventually { try await shop.place().status == 202 })
        // One that is killed is critical within its TTL, and is not called any more: a typed answer, no hanging.
        await services["user-service"]?.killNow()
        let refused = try await shop.place()
        #expect(refused.status == 503 && refused.text.contains("user-service"), "\(refused.text)")
        await second.process.killNow()
    }

    @Test func aRegistryThatIsNoneIsRefused() async throws {
        let run = try await OrderSystemProcess.run(["up", "--registry", "http://localhost"])
        #expect(run.status == 64 && run.error.contains("consul://"), "\(run.error)")
    }
}
