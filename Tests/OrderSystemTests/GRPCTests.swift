import Foundation
import NIOHTTP1
import ProcessTestSupport
import RedisTestSupport
import Testing

/// The system over gRPC, with a real Envoy in front of it and by the environment of the guide's compose file.
@Suite(.timeLimit(.minutes(3))) struct GRPCTests {
    let data: TemporaryFolder

    init() throws { self.data = try TemporaryFolder() }

    private struct Order: Decodable {
        var id: String
        var status: String
        var totalCents: String
    }

    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().path

    private static let body = #"{"userId":"1","items":[{"productId":"1","quantity":2}],"idempotencyKey":"k-1"}"#

    private func post(_ base: String, _ method: String, _ body: String) async throws -> Shop.Answer {
        try await Shop(base: base).send(
            .POST,
            "/\(method)",
            body: body,
            headers: ["content-type": "application/json", "x-request-id": "by-json"]
        )
    }

    @Test func envoyStandsInFrontOfBothServices() async throws {
        let system = try await OrderSystemProcess.start(data: self.data)
        let users = try #require(system.addresses["user-service-grpc"])
        let orders = try #require(system.addresses["order-service-grpc"])
        let (port, admin) = (try await freePort(), try await freePort())
        let envoy = try RunningProcess(
            Self.root + "/dev/servers/envoy",
            [self.data.path + "/envoy", "\(port)", "\(admin)", users, orders]
        )
        // The first time, it is fetched.
        let isUp = try await isEventually(within: .seconds(90)) {
            guard envoy.isRunning else { throw TestSupportError(envoy.error) }
            let answer = try? await Shop(base: "http://127.0.0.1:\(admin)").send(.GET, "/clusters")
            return answer.map { $0.text.components(separatedBy: "health_flags::healthy").count == 3 } ?? false
        }
        try #require(isUp, "\(envoy.output)\(envoy.error)")
        let base = "http://127.0.0.1:\(port)"
        let user = try await self.post(base, "users.v1.UserService/GetUser", #"{"id":"1"}"#)
        #expect(user.status == 200 && user.text.contains("Ada Lovelace"))
        #expect(user.headers.first(name: "x-request-id") == "by-json")
        let nobody = try await self.post(base, "users.v1.UserService/GetUser", #"{"id":"nobody"}"#)
        #expect(nobody.status == 404 && nobody.text.contains("There is no user"))
        let placed = try await self.post(base, "orders.v1.OrderService/PlaceOrder", Self.body).decode(Order.self)
        #expect(placed.totalCents == "9980")
        let again = try await self.post(base, "orders.v1.OrderService/PlaceOrder", Self.body).decode(Order.self)
        #expect(again.id == placed.id)
        // A stream becomes a list: as it was at first, and how it ended.
        let watched = try await self.post(base, "orders.v1.OrderService/WatchOrder", "{\"id\":\"\(placed.id)\"}")
        #expect(try watched.decode([Order].self).last?.status == "CONFIRMED")
        let refused = try await self.post(base, "orders.v1.OrderService/PlaceOrder", #"{"userId":"1"}"#)
        #expect(refused.status == 400 && refused.text.contains("items must have"))
        await envoy.killNow()
    }

    /// `GRPC_PORT` and `USER_SERVICE` as in the guide.
    @Test func servicesAloneFindEachOtherAsTheGuideSays() async throws {
        let userPort = try await freePort()
        let orderPort = try await freePort()
        let user = try await OrderSystemProcess.start(
            ["user-service", "--port", "0"],
            data: self.data,
            environment: ["GRPC_PORT": "\(userPort)"]
        )
        #expect(user.addresses["user-service-grpc"] == "127.0.0.1:\(userPort)")
        let product = try await OrderSystemProcess.start(["product-service", "--port", "0"], data: self.data)
        let order = try await OrderSystemProcess.start(
            ["order-service", "--port", "0"],
            data: self.data,
            environment: [
                "GRPC_PORT": "\(orderPort)", "USER_SERVICE": "127.0.0.1:\(userPort)",
                "PRODUCT_SERVICE": product.addresses["product-service"]?.replacing("http://", with: "") ?? "",
            ]
        )
        #expect(order.addresses["order-service-grpc"] == "127.0.0.1:\(orderPort)")
        let shop = Shop(base: try #require(order.addresses["order-service"]))
        let placed = try await shop.place()
        #expect(placed.status == 202)
        // It is asked over gRPC: without it nobody can order.
        await user.killNow()
        let refused = try await shop.place()
        #expect(refused.status == 503 && refused.text.contains("user-service"))
    }

    @Test func aPortForGRPCThatIsNoneIsRefused() async throws {
        let run = try await OrderSystemProcess.run(["user-service", "--grpc-port", "70000"])
        #expect(run.status == 64 && run.error.contains("--grpc-port"))
        let variable = try await OrderSystemProcess.run(["user-service"], environment: ["GRPC_PORT": "x"])
        #expect(variable.status == 64 && variable.error.contains("GRPC_PORT"))
    }
}
