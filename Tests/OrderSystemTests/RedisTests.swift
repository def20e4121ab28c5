import Foundation
import NIOHTTP1
import ProcessTestSupport
import RedisTestSupport
import Testing

/// The system with its events on a real Redis or Valkey, and the guide's own commands beside it.
@Suite(.timeLimit(.minutes(3)))
struct RedisTests {
    private func notifications(_ shop: Shop, of order: String) async throws -> [String] {
        struct Note: Decodable { var text: String }
        let answer = try await shop.send(.GET, "/api/internal/notifications?order=\(order)")
        return try answer.decode([Note].self).map(\.text)
    }

    private func cli(_ server: RedisServer, _ arguments: String...) async throws -> String {
        try await Subprocess.run("/usr/bin/redis-cli", ["-p", "\(server.port)"] + arguments).output
    }

    @Test(arguments: Engine.all)
    func eventsGoOverTheStreamAndSurviveItsServersDeath(_ engine: Engine) async throws {
        try await RedisServer.with(engine, options: ["--appendonly", "yes", "--appendfsync", "always"]) { server in
            let broker = "redis://127.0.0.1:\(server.port)"
            let data = try TemporaryFolder()
            let system = try await OrderSystemProcess.start(
                ["up", "--ephemeral-ports", "--broker", broker],
                data: data
            )
            let shop = Shop(base: system.gateway)
            let first = try await shop.placeAndFinish()
            #expect(first.status == "CONFIRMED")
            _ = try await eventually(within: .seconds(30), "the customer hears twice") {
                try await self.notifications(shop, of: first.id).count == 2 ? true : nil
            }

            // The guide's chapter, as it stands there.
            _ = try await self.cli(
                server,
                "XADD",
                "order-events",
                "*",
                "event_type",
                "order.created",
                "order_id",
                "123",
                "user_id",
                "456",
                "amount",
                "99.99",
                "timestamp",
                "2026-11-23T12:00:00Z"
            )
            _ = try await eventually(within: .seconds(30), "a message of another program is heard") {
                try await self.notifications(shop, of: "123") == ["We have your order 123."] ? true : nil
            }
            #expect(try await self.cli(server, "XLEN", "order-events").hasPrefix("3"))
            #expect(try await self.cli(server, "XINFO", "GROUPS", "order-events").contains("notification-service"))
            let pending = try await self.cli(
                server,
                "XPENDING",
                "order-events",
                "notification-service",
                "-",
                "+",
                "10"
            )
            #expect(pending.trimmingCharacters(in: .whitespacesAndNewlines).isEmpty)
            let shown = try await self.cli(server, "XRANGE", "order-events", "-", "+")
            #expect(shown.contains("order_id\n\(first.id)"), "field by field")

            // Without its broker the shop goes on; who listens hears of it afterwards.
            try await server.kill()
            let second = try await shop.placeAndFinish()
            #expect(second.status == "CONFIRMED")
            try await server.start()
            _ = try await eventually(within: .seconds(60), "the customer hears of what happened meanwhile") {
                try await self.notifications(shop, of: second.id).count == 2 ? true : nil
            }
            let letters = try await OrderSystemProcess.run(["dead-letters", "--json", "--broker", broker])
            #expect(letters.status == 0)
            #expect(letters.output.trimmingCharacters(in: .whitespacesAndNewlines) == "[]")
            #expect(await system.interrupt().status == 0)
        }
    }

    @Test func aBrokerThatIsNoneIsRefused() async throws {
        for url in ["redis//localhost", "http://localhost", "redis://localhost:notaport"] {
            let answer = try await OrderSystemProcess.run(["up", "--broker", url])
            #expect(answer.status == 64, "\(url): \(answer.output)")
        }
    }
}
