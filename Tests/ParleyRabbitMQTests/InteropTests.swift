import Foundation
import ParleyCore
import ParleyMessaging
import ParleyRabbitMQ
import ProcessTestSupport
import RabbitMQTestSupport
import Testing

/// Other clients on the same broker: pika, and the management API as the guide uses it.
@Suite(.timeLimit(.minutes(2))) struct InteropTests {
    /// Debian's own Python, which has Debian's pika.
    private func pika(_ host: Host, _ script: String) async throws -> String {
        let head = """
            import json, pika
            connection = pika.BlockingConnection(
                pika.ConnectionParameters("127.0.0.1", \(host.server.port), "\(host.name)"))
            channel = connection.channel()

            """
        let answer = try await Subprocess.run("/usr/bin/python3", ["-c", head + script + "\nconnection.close()"])
        try #require(answer.status == 0, "\(answer.error)")
        return answer.output
    }

    private func one(_ transport: RabbitMQTransport) async throws -> Delivery {
        try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
            let delivery = try #require(try await deliveries.makeAsyncIterator().next())
            try await transport.settle(delivery.id, .ack)
            return delivery
        }
    }

    @Test func pikaReadsWhatWeWrite() async throws {
        let host = try await Host()
        try await host.running { transport in
            try await transport.declare(ConsumerGroup("g", bindings: ["order.*"]))
            var sent = message("id-1", key: "k", data: #"{"orderId":"ä"}"#)
            sent.headers = ["correlationid": "saga-7"]
            try await transport.publish([sent])
            let text = try await self.pika(
                host,
                """
                method, properties, body = next(channel.consume("g"))
                channel.basic_ack(method.delivery_tag)
                print(json.dumps({"id": properties.message_id, "type": properties.type, "app": properties.app_id,
                    "content": properties.content_type, "mode": properties.delivery_mode,
                    "correlation": properties.correlation_id, "key": method.routing_key, "body": body.decode(),
                    "source": properties.headers["cloudEvents:source"],
                    "version": properties.headers["cloudEvents:specversion"]}))
                """
            )
            let read = try JSONDecoder().decode([String: Text].self, from: Data(text.utf8)).mapValues(\.value)
            #expect(
                read == [
                    "id": "id-1", "type": "order.created", "app": "test", "content": "application/json", "mode": "2",
                    "correlation": "saga-7", "key": "order.created", "body": #"{"orderId":"ä"}"#, "source": "test",
                    "version": "1.0",
                ]
            )
        }
    }

    /// A string or a number.
    private struct Text: Decodable {
        var value: String

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let number = try? container.decode(Int.self) {
                self.value = String(number)
            } else {
                self.value = try container.decode(String.self)
            }
        }
    }

    @Test func weReadWhatPikaWrites() async throws {
        let host = try await Host()
        try await host.running { transport in
            try await transport.declare(ConsumerGroup("g", bindings: ["order.#"]))
            _ = try await self.pika(
                host,
                """
                properties = pika.BasicProperties(content_type="text/plain", message_id="from-python", type="order",
                    app_id="shop", correlation_id="c-1", timestamp=1700000000, headers={"Tenant": "a", "n": 7})
                channel.basic_publish("parley.events", "order.item.added", b"hello", properties)
                """
            )
            let delivery = try await self.one(transport)
            let read = delivery.message
            #expect(read.id == "from-python" && read.type == "order" && read.source == "shop")
            #expect(read.topic == "order.item.added" && read.dataContentType == "text/plain")
            #expect(read.data == Array("hello".utf8) && read.time.milliseconds == 1_700_000_000_000)
            #expect(read.headers == ["tenant": "a", "n": "7", "correlationid": "c-1"])
            #expect(delivery.attempt == 1)
        }
    }

    @Test func theGuidesPublishIsConsumedOnceUnderAnIDThatStays() async throws {
        let host = try await Host()
        try await host.running({ $0.exchange = "orders.exchange" }) { transport in
            try await transport.declare(ConsumerGroup("g", bindings: ["order.*"]))
            let answer = try await host.server.curl(
                "POST",
                "exchanges/\(host.name)/orders.exchange/publish",
                #"""
                {"properties": {"content_type": "application/json"}, "routing_key": "order.created",
                "payload": "{\"orderId\": \"123\", \"userId\": \"456\", \"amount\": 99.99}",
                "payload_encoding": "string"}
                """#
            )
            #expect(answer.contains("true"))
            // Twice, as after a crash: it is the same message.
            var ids: [String] = []
            for attempt in 1...2 {
                try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                    let delivery = try #require(try await deliveries.makeAsyncIterator().next())
                    #expect(delivery.attempt == attempt && delivery.message.topic == "order.created")
                    #expect(delivery.message.type == "order.created" && delivery.message.source == "rabbitmq")
                    #expect(String(decoding: delivery.message.data, as: UTF8.self).contains("99.99"))
                    ids.append(delivery.message.id)
                    if attempt == 2 { try await transport.settle(delivery.id, .ack) }
                }
            }
            #expect(ids[0] == ids[1])
        }
    }

    @Test func whateverAnotherProgramWritesTheGroupGoesOn() async throws {
        let host = try await Host()
        try await host.running { transport in
            try await transport.declare(ConsumerGroup("g", bindings: ["order.*"], maximumDeliveries: 3))
            _ = try await self.pika(
                host,
                """
                most = 2 ** 63 - 1
                def publish(id, headers):
                    channel.basic_publish("parley.events", "order.created", b"x",
                        pika.BasicProperties(message_id=id, headers=headers))
                publish("a", {"x-parley-attempts": most, "x-parley-published": -most})
                publish("b", {"x-parley-attempts": -most, "x-parley-key": "k"})
                publish("c", {"x-parley-topic": "no..topic", "x-parley-key": "k" * 5000, "x-parley-copy": "c" * 9000})
                publish(None, {"n" * 250: "the name has no room for a prefix"})
                publish("d", {"n" * 250: "nor this one", "x-parley-attempts": 7})
                publish("e", {"x-parley-not-before": -most, "cloudEvents:time": "yesterday", "cloudEvents:id": "with space"})
                publish("f", {"nested": {"a": [1, {"b": None}]}, "x-parley-letter": most})
                channel.basic_publish("", "g.dead-letters", b"letter",
                    pika.BasicProperties(message_id="l", headers={"x-parley-died-at": most, "x-parley-group": "other"}))
                """
            )
            try await transport.publish([message("last", topic: "order.created")])
            var seen: [String] = []
            try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                for try await delivery in deliveries {
                    seen.append(delivery.message.id)
                    try await transport.settle(delivery.id, .ack)
                    if seen.contains("last") && seen.contains("f") { break }
                }
            }
            #expect(Set(seen).isSuperset(of: ["b", "c", "f", "last"]))
            #expect(
                try await isEventually {
                    let letters = try await transport.deadLetters.list(group: "g", after: 0, limit: 100)
                    return Set(letters.map(\.message.id)).isSuperset(of: ["a", "d", "l"])
                }
            )
            let letters = try await transport.deadLetters.list(group: "g", after: 0, limit: 100)
            #expect(try await transport.deadLetters.discard(letters.map(\.id)) == letters.count)
        }
    }

    @Test func aDeadLetterOfTheBrokersOwnMakingTellsItsStory() async throws {
        let host = try await Host()
        try await host.running { transport in
            try await transport.declare(ConsumerGroup("g", bindings: ["order.*"]))
            try await transport.publish([message("refused")])
            _ = try await self.pika(
                host,
                """
                method, properties, body = next(channel.consume("g"))
                channel.basic_nack(method.delivery_tag, requeue=False)
                """
            )
            #expect(
                try await isEventually {
                    try await transport.deadLetters.list(group: "g", after: 0, limit: 10).count == 1
                }
            )
            let first = try await transport.deadLetters.list(group: "g", after: 0, limit: 10)
            let again = try await transport.deadLetters.list(group: nil, after: 0, limit: 10)
            #expect(first == again, "its number stays")
            #expect(first.first?.message.id == "refused" && first.first?.message.topic == "order.created")
            #expect(first.first?.reason.contains("rejected") == true)
            #expect(try await transport.deadLetters.replay(first.map(\.id)) == 1)
            let back = try await self.one(transport)
            #expect(back.message.id == "refused" && back.message.topic == "order.created" && back.attempt == 1)
        }
    }
}
