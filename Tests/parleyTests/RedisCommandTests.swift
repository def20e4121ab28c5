import Foundation
import Logging
import ParleyMessaging
import ParleyRESP
import ParleyRedis
import ParleySQLite
import ProcessTestSupport
import RedisTestSupport
import Testing

/// `parley streams`, `parley pending` and the other looks at a bus, on a real server and on the embedded bus.
@Suite(.timeLimit(.minutes(2)), .serialized) struct RedisCommandTests {
    private func message(_ id: String) -> Message {
        Message(id: id, source: "test", type: "order.created", data: Array("{}".utf8))
    }

    /// Two messages: one in a handler's hands, one that waits for its next try. And a dead one.
    private func prepare(_ transport: any MessageTransport, _ look: () async throws -> Void) async throws {
        try await transport.declare(ConsumerGroup("notification-service", bindings: ["#"]))
        try await transport.publish(["held", "late", "dead"].map(self.message))
        try await transport.withSubscription(to: "notification-service", prefetch: 3) { deliveries in
            var seen = 0
            for try await delivery in deliveries {
                switch delivery.message.id {
                case "late": try await transport.settle(delivery.id, .retry(after: .seconds(3_600)))
                case "dead": try await transport.settle(delivery.id, .deadLetter(reason: "of no use"))
                default: break
                }
                seen += 1
                if seen == 3 { break }
            }
            try await look()
        }
    }

    @Test(arguments: Engine.all) func streamsOnAServer(_ engine: Engine) async throws {
        try await RedisServer.with(engine) { server in
            let bus = "redis://127.0.0.1:\(server.port)"
            let configuration = StreamConfiguration(stream: "order-events")
            let empty = try await parley(["streams", "--bus", bus])
            #expect(empty.status == 0)
            #expect(empty.output.contains("no streams"))
            try await RedisBackend.withBackend(server.configuration, stream: configuration, logger: quiet) { backend in
                try await self.prepare(backend.transport) {
                    let streams = try rows(try await parley(["streams", "--bus", bus, "--json"]))
                    let own = try #require(streams.first { $0["stream"] as? String == "order-events" })
                    #expect(own["length"] as? Int == 3)
                    #expect(own["group"] as? String == "notification-service")
                    #expect(own["pending"] as? Int == 2)
                    #expect(streams.contains { $0["stream"] as? String == "order-events.dlq" })

                    let arguments = ["pending", "order-events", "notification-service", "--bus", bus]
                    let pending = try rows(try await parley(arguments + ["--json"]))
                    #expect(pending.map { $0["message"] as? String } == ["held", "late"])
                    #expect(pending[0]["consumer"] as? String == backend.transport.consumerName)
                    #expect(pending[0]["deliveries"] as? Int == 1)
                    #expect(pending[0]["dueAt"] is NSNull)
                    #expect(pending[1]["consumer"] as? String == "parley.parked")
                    #expect(pending[1]["dueAt"] is String)
                    let text = try await parley(arguments)
                    #expect(text.output.contains("DELIVERIES"))
                    #expect(!text.output.contains("\u{1B}"), "no colours in a pipe")

                    let queues = try rows(try await parley(["queues", "--bus", bus, "--json"]))
                    #expect(queues.count == 1)
                    #expect(queues[0]["unacknowledged"] as? Int == 1)
                    #expect(queues[0]["delayed"] as? Int == 1)
                    #expect(queues[0]["dead"] as? Int == 1)
                    #expect(queues[0]["consumers"] as? Int == 1)
                    let consumers = try rows(try await parley(["consumers", "--bus", bus, "--json"]))
                    #expect(consumers.count == 1)
                    #expect(consumers[0]["active"] as? Bool == true)
                }
            }
            // What was trimmed under the group is said to be lost.
            _ = try await Subprocess.run(
                "/usr/bin/redis-cli",
                ["-p", "\(server.port)", "XTRIM", "order-events", "MAXLEN", "0"]
            )
            let lost = try await parley(["pending", "order-events", "notification-service", "--bus", bus])
            #expect(lost.output.contains("lost"))
            let letters = try rows(try await parley(["dead-letters", "list", "--bus", bus, "--json"]))
            #expect(letters.count == 1)
        }
    }

    @Test func streamsOnTheEmbeddedBus() async throws {
        let folder = NSTemporaryDirectory() + "parley-streams-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let backend = try await SQLiteBackend(path: folder + "/bus.db", logger: quiet)
        let bus = "sqlite:\(folder)/bus.db"
        try await self.prepare(backend.transport) {
            let streams = try rows(try await parley(["streams", "--bus", bus, "--json"]))
            #expect(streams.count == 1)
            #expect(streams[0]["stream"] as? String == "bus")
            #expect(streams[0]["pending"] as? Int == 1)
            #expect(streams[0]["lag"] as? Int == 1)
            let pending = try rows(
                try await parley(["pending", "bus", "notification-service", "--bus", bus, "--json"])
            )
            #expect(pending.map { $0["message"] as? String } == ["held", "late"])
            #expect((pending[0]["consumer"] as? String)?.hasPrefix("lease ") == true)
            #expect(pending[1]["consumer"] as? String == "-")
            #expect(pending[1]["dueAt"] is String)
        }
        await backend.close()
    }

    @Test func saysWhatIsWrong() async throws {
        try await RedisServer.with(options: ["--requirepass", "right"]) { server in
            let secret = "s3cr3t"
            let wrong = try await parley(["streams", "--bus", "redis://:\(secret)@127.0.0.1:\(server.port)"])
            #expect(wrong.status == 1)
            #expect(wrong.error.contains("password"))
            #expect(!(wrong.error + wrong.output).contains(secret))
            let right = "redis://:right@127.0.0.1:\(server.port)"
            let unknown = try await parley(["pending", "nothing", "nobody", "--bus", right])
            #expect(unknown.status == 1)
            #expect(unknown.error.contains("parley streams"), "the next step")
        }
        let away = try await parley(["streams", "--bus", "redis://127.0.0.1:1"])
        #expect(away.status == 1)
        #expect(away.error.contains("127.0.0.1:1"))
        let malformed = try await parley(["streams", "--bus", "redis://host:port:\(1)?x=y"])
        #expect(malformed.status == 1)
        #expect(malformed.error.contains("redis://user:password@host:port/database?stream=NAME"))
        let rabbit = try await parley(["streams", "--bus", "amqp://guest:guest@127.0.0.1:1"])
        #expect(rabbit.status == 1)
        #expect(rabbit.error.contains("parley queues"))
    }

    @Test func severalBusesAreAskedFor() async throws {
        try await RedisServer.with { server in
            for stream in ["one", "two"] {
                try await RedisBackend.withBackend(
                    server.configuration,
                    stream: StreamConfiguration(stream: stream),
                    logger: quiet
                ) { try await $0.transport.declare(ConsumerGroup("g", bindings: ["#"])) }
            }
            let bus = "redis://127.0.0.1:\(server.port)"
            let answer = try await parley(["queues", "--bus", bus])
            #expect(answer.status == 1)
            #expect(answer.error.contains("one, two"))
            #expect(try await parley(["queues", "--bus", bus + "?stream=two"]).status == 0)
        }
    }
}
