import Foundation
import ParleyCore
import ParleyMessaging
import ParleyRESP
import ProcessTestSupport
import RedisTestSupport
import Testing

@testable import ParleyRedis

/// The guide's own commands, typed by a person, beside a running bus.
extension RealTime {
    @Suite(.timeLimit(.minutes(1))) struct InteropTests {
        @Test(arguments: Engine.all)
        func theGuidesCommandsWorkWithOurGroup(_ engine: Engine) async throws {
            try await RedisServer.with(engine) { server in
                let stage = Stage(server, stream: "order-events")
                // Before any of ours has run.
                try await stage.cli("XGROUP", "CREATE", "order-events", "notification-service", "$", "MKSTREAM")
                let id = try await stage.cli(
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
                    "2026-04-05T12:00:00Z"
                ).trimmingCharacters(in: .whitespacesAndNewlines)
                try await stage.running({ $0.foreignKeyField = "order_id" }) { transport in
                    try await transport.declare(ConsumerGroup("notification-service", bindings: ["order.#"]))
                    try await transport.withSubscription(to: "notification-service", prefetch: 10) { deliveries in
                        for try await delivery in deliveries {
                            let message = delivery.message
                            #expect(message.id == "order-events/\(id)")
                            #expect(message.type == "order.created")
                            #expect(message.topic == "order.created")
                            #expect(message.key == "123")
                            #expect(message.time == Timestamp("2026-04-05T12:00:00Z"))
                            let fields = try JSONDecoder().decode([String: String].self, from: Data(message.data))
                            #expect(fields["amount"] == "99.99")
                            #expect(fields["order_id"] == "123")
                            // While it is being handled it is pending, with our consumer.
                            let pending = try await stage.cli(
                                "XPENDING",
                                "order-events",
                                "notification-service",
                                "-",
                                "+",
                                "10"
                            )
                            #expect(pending.contains(id))
                            #expect(pending.contains(transport.consumerName))
                            try await transport.settle(delivery.id, .ack)
                            break
                        }
                    }
                }
                #expect(try await stage.cli("XPENDING", "order-events", "notification-service").hasPrefix("0"))
                #expect(try await stage.cli("XLEN", "order-events").hasPrefix("1"))
                let groups = try await stage.cli("XINFO", "GROUPS", "order-events")
                #expect(groups.contains("notification-service"))
                #expect(groups.contains("last-delivered-id\n\(id)"))
            }
        }

        @Test func whatWePublishIsReadFieldByField() async throws {
            let stage = try await Stage()
            try await stage.running { transport in
                let body = #"{"orderId":"7","total":12.5,"paid":true,"items":[1],"data":"no","count":3}"#
                try await transport.publish([
                    Message(
                        id: "e-1",
                        source: "order-service",
                        type: "order.created",
                        subject: "7",
                        data: Array(body.utf8),
                        key: "7",
                        headers: ["correlationid": "c-1"]
                    )
                ])
                let lines = try await stage.cli("XRANGE", stage.stream, "-", "+").split(separator: "\n").map(
                    String.init
                )
                let fields = Dictionary(
                    zip(
                        lines.dropFirst().enumerated().filter { $0.offset % 2 == 0 }.map(\.element),
                        lines.dropFirst().enumerated().filter { $0.offset % 2 == 1 }.map(\.element)
                    )
                ) { first, _ in first }
                #expect(fields["event_type"] == "order.created")
                #expect(fields["order_id"] == "7")
                #expect(fields["total"] == "12.5")
                #expect(fields["paid"] == "true")
                #expect(fields["count"] == "3")
                #expect(fields["ce_id"] == "e-1")
                #expect(fields["ce_correlationid"] == "c-1")
                #expect(fields["parley_key"] == "7")
                #expect(fields["data"] == body)
                // As the guide's own consumer reads.
                try await stage.cli("XGROUP", "CREATE", stage.stream, "theirs", "0")
                let read = try await stage.cli(
                    "XREADGROUP",
                    "GROUP",
                    "theirs",
                    "consumer-1",
                    "COUNT",
                    "10",
                    "STREAMS",
                    stage.stream,
                    ">"
                )
                #expect(read.contains("order.created"))
            }
        }

        @Test func aForeignConsumersMessageIsTakenOverWithItsLease() async throws {
            let stage = try await Stage()
            try await stage.running { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .milliseconds(400)))
                try await transport.publish([message("1")])
                try await stage.cli("XREADGROUP", "GROUP", "g", "consumer-1", "STREAMS", stage.stream, ">")
                let clock = ContinuousClock()
                let began = clock.now
                try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                    for try await delivery in deliveries {
                        #expect(delivery.attempt == 2, "the other one's counts")
                        try await transport.settle(delivery.id, .ack)
                        break
                    }
                }
                #expect(began.duration(to: clock.now) > .milliseconds(300), "not while it may be at work")
            }
        }

        @Test func aForeignConsumerFindsNothingToClaimWhileOursLives() async throws {
            let stage = try await Stage()
            try await stage.running { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .milliseconds(1_500)))
                try await transport.publish((0..<5).map { message("\($0)") })
                try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                    for try await delivery in deliveries {
                        // One is with a handler, the others lie in the memory of this process.
                        for _ in 0..<50 {
                            let claim = try await stage.cli(
                                "XAUTOCLAIM",
                                stage.stream,
                                "g",
                                "thief",
                                "1500",
                                "0",
                                "JUSTID"
                            )
                            #expect(!claim.contains("-0\n1"), "\(claim)")
                            let summary = try await stage.cli("XPENDING", stage.stream, "g")
                            #expect(!summary.contains("thief"))
                            try await SystemTimeSource().sleep(for: .milliseconds(50))
                        }
                        try await transport.settle(delivery.id, .ack)
                        break
                    }
                }
            }
        }

        @Test func aDeadLetterTellsWhereItComesFrom() async throws {
            let stage = try await Stage()
            try await stage.running { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"]))
                try await transport.declare(ConsumerGroup("other", bindings: ["#"]))
                try await stage.cli("XADD", stage.stream, "*", "event_type", "x.y", "n", "1")
                try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                    for try await delivery in deliveries {
                        try await transport.settle(delivery.id, .deadLetter(reason: "no such thing"))
                        break
                    }
                }
                let shown = try await stage.cli("XRANGE", stage.stream + ".dlq", "-", "+")
                for text in ["dlq_stream", stage.stream, "dlq_group", "no such thing", "dlq_deliveries", "n"] {
                    #expect(shown.contains(text))
                }
                let letter = try #require(try await transport.deadLetters.list(group: "g", after: 0, limit: 10).first)
                // Replayed, it goes to its own group only, under the id that an inbox knows.
                #expect(try await transport.deadLetters.replay([letter.id]) == 1)
                #expect(try await transport.deadLetters.replay([letter.id]) == 0)
                let again = try await transport.drain("g") {
                    #expect($0.message == letter.message)
                } until: {
                    $0.count == 1
                }
                #expect(again == [letter.message.id])
                #expect(
                    try await transport.drain("other") { _ in
                    } until: {
                        $0.count == 1
                    } == [letter.message.id]
                )
                try await expectEventually {
                    try await transport.statistics().allSatisfy { $0.ready + $0.unacknowledged == 0 }
                }
            }
        }

        @Test func whateverSomebodyAddsIsAMessage() async throws {
            let stage = try await Stage()
            try await stage.running { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"]))
                try await stage.cli("XADD", stage.stream, "*", "event_type", "a..b", "\u{1}", "x")
                try await stage.cli("XADD", stage.stream, "*", "ce_specversion", "1.0")
                try await stage.cli(
                    "XADD",
                    stage.stream,
                    "*",
                    "ce_specversion",
                    "1.0",
                    "ce_id",
                    "a b",
                    "ce_time",
                    "never"
                )
                try await stage.cli(
                    "XADD",
                    stage.stream,
                    "5000000000000000-1",
                    "timestamp",
                    "nonsense",
                    "event_type",
                    ""
                )
                let seen = try await transport.drain("g") { delivery in
                    try delivery.message.validate(maximumBytes: 1_000)
                } until: {
                    $0.count == 4
                }
                #expect(Set(seen).count == 4)
            }
        }
    }
}
