import Foundation
import NIOHTTP1
import ProcessTestSupport
import RabbitMQTestSupport
import Testing

/// The system with its events on a real RabbitMQ.
@Suite(.timeLimit(.minutes(4)))
struct BrokerTests {
    private func notifications(_ shop: Shop, of order: String) async throws -> [String] {
        struct Note: Decodable { var text: String }
        let answer = try await shop.send(.GET, "/api/internal/notifications?order=\(order)")
        return try answer.decode([Note].self).map(\.text)
    }

    @Test func eventsGoOverTheBrokerAndSurviveItsDeath() async throws {
        let server = try await RabbitMQServer.start()
        let host = try await server.makeVirtualHost()
        let broker = "amqp://guest:guest@127.0.0.1:\(server.port)/\(host)"
        let data = try TemporaryFolder()
        let system = try await OrderSystemProcess.start(
            ["up", "--ephemeral-ports", "--broker", broker],
            data: data
        )
        let shop = Shop(base: system.gateway)
        let declared = ContinuousClock.now
        let first = try await shop.placeAndFinish()
        #expect(first.status == "CONFIRMED")
        let both = try await eventually(within: .seconds(60), "the customer hears twice") {
            let texts = try await self.notifications(shop, of: first.id)
            return texts.count == 2 ? texts : nil
        }
        #expect(both.allSatisfy { $0.contains(first.id) })

        // The guide's own command, as it stands there.
        let routed = try await server.curl(
            "POST",
            "exchanges/\(host)/orders.exchange/publish",
            #"""
            {"properties": {"content_type": "application/json"}, "routing_key": "order.created",
            "payload": "{\"orderId\": \"123\", \"userId\": \"456\", \"amount\": 99.99}",
            "payload_encoding": "string"}
            """#
        )
        #expect(routed.contains(#""routed":true"#))
        _ = try await eventually(within: .seconds(60), "a message of another program is heard") {
            try await self.notifications(shop, of: "123") == ["We have your order 123."] ? true : nil
        }

        // RabbitMQ 3.10 brings a quorum queue that was just declared back without a leader.
        _ = try await eventually("the queues are two seconds old") {
            declared.duration(to: .now) > .seconds(3) ? true : nil
        }
        // Without its broker the shop goes on; who listens hears of it afterwards.
        try await server.kill()
        let second = try await shop.placeAndFinish()
        #expect(second.status == "CONFIRMED")
        try await server.restart()
        _ = try await eventually(within: .seconds(120), "the customer hears of what happened meanwhile") {
            try await self.notifications(shop, of: second.id).count == 2 ? true : nil
        }

        let letters = try await OrderSystemProcess.run(["dead-letters", "--json", "--broker", broker])
        #expect(letters.status == 0 && letters.output.trimmingCharacters(in: .whitespacesAndNewlines) == "[]")
        #expect(await system.interrupt().status == 0)
        try await server.kill()
    }

    /// Nobody leads, and the broker dies in the middle: orders wait in the outboxes, and all of them end.
    @Test func aChoreographySurvivesItsBroker() async throws {
        let server = try await RabbitMQServer.start()
        let host = try await server.makeVirtualHost()
        let broker = "amqp://guest:guest@127.0.0.1:\(server.port)/\(host)"
        let data = try TemporaryFolder()
        let system = try await OrderSystemProcess.start(
            ["up", "--ephemeral-ports", "--saga", "choreography", "--broker", broker],
            data: data
        )
        let shop = Shop(base: system.gateway)
        let declared = ContinuousClock.now
        #expect(try await shop.placeAndFinish().status == "CONFIRMED")
        // RabbitMQ 3.10 brings a quorum queue that was just declared back without a leader.
        _ = try await eventually("the queues are two seconds old") {
            declared.duration(to: .now) > .seconds(3) ? true : nil
        }
        var ids: [String] = []
        for number in 0..<20 {
            if number == 10 { try await server.kill() }
            let answer = try await shop.place(card: number % 3 == 0 ? "4000000000000002" : nil)
            try #require(answer.status == 202, "\(answer.text)")
            ids.append(try answer.decode(Shop.Order.self).id)
        }
        #expect(try await shop.order(ids[19]).status == "PENDING")
        try await server.restart()
        for (number, id) in ids.enumerated() {
            let order = try await shop.finished(id, within: .seconds(120))
            #expect(order.status == (number % 3 == 0 ? "CANCELLED" : "CONFIRMED"))
        }
        try await shop.checkThatEverythingAddsUp()
        #expect(await system.interrupt().status == 0)
        try await server.kill()
    }

    @Test(arguments: [
        ("http://localhost", "amqp://user:password@host:port/vhost"), ("amqp://127.0.0.1:1", "127.0.0.1:1"),
    ])
    func aBrokerThatIsNoneIsRefused(_ url: String, _ word: String) async throws {
        let data = try TemporaryFolder()
        let answer = try await OrderSystemProcess.run(
            ["up", "--ephemeral-ports", "--broker", url, "--data", data.path]
        )
        #expect(answer.status != 0)
        #expect(answer.error.contains(word), "\(answer.error)")
    }
}
