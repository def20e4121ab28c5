import Foundation
import ParleyCore
import ParleyMessaging
import ParleyRESP
import RedisTestSupport
import Testing

@testable import ParleyRedis

extension RealTime {
    /// Messages that wait, are handed over, are trimmed or come twice.
    @Suite(.timeLimit(.minutes(2))) struct WaitingTests {
        @Test(arguments: Engine.all)
        func longWaitsTakeNoRoomAndOutliveTheirProcess(_ engine: Engine) async throws {
            let stage = try await Stage(engine)
            let wait = Duration.seconds(3)
            let clock = ContinuousClock()
            try await stage.running({
                $0.window = 5
                $0.longestLocalDelay = .milliseconds(200)
            }) { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .seconds(1)))
                try await transport.publish((0..<40).map { message("late\($0)") })
                try await transport.publish((0..<40).map { message("now\($0)") })
                try await transport.withSubscription(to: "g", prefetch: 5) { deliveries in
                    var now = 0
                    for try await delivery in deliveries {
                        #expect(delivery.attempt == 1)
                        if delivery.message.id.hasPrefix("late") {
                            try await transport.settle(delivery.id, .retry(after: wait))
                        } else {
                            try await transport.settle(delivery.id, .ack)
                            now += 1
                        }
                        if now == 40 { break }
                    }
                }
                let figures = try #require(try await transport.statistics().first)
                #expect(figures.delayed == 40)
                #expect(figures.ready == 0)
                #expect(try await stage.cli("XPENDING", stage.stream, "g").contains("parley.parked"))
            }
            let began = clock.now
            try await stage.running { transport in
                try await transport.withSubscription(to: "g", prefetch: 50) { deliveries in
                    var count = 0
                    for try await delivery in deliveries {
                        #expect(delivery.attempt == 2)
                        try await transport.settle(delivery.id, .ack)
                        count += 1
                        if count == 40 { break }
                    }
                }
                #expect(try await transport.statistics().first?.delayed == 0)
            }
            #expect(began.duration(to: clock.now) > .seconds(1), "not before their time")
        }

        @Test func aKeysWaitOutlivesItsProcess() async throws {
            let stage = try await Stage()
            try await stage.running { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .seconds(1)))
                try await transport.publish(["1", "2"].map { message($0, key: "k") })
                try await transport.withSubscription(to: "g", prefetch: 5) { deliveries in
                    for try await delivery in deliveries {
                        #expect(delivery.message.id == "1")
                        try await transport.settle(delivery.id, .retry(after: .seconds(2)))
                        break
                    }
                }
            }
            let clock = ContinuousClock()
            let began = clock.now
            let seen = try await stage.running {
                try await $0.drain("g") { _ in
                } until: {
                    $0.count == 2
                }
            }
            #expect(seen == ["1", "2"])
            #expect(began.duration(to: clock.now) > .milliseconds(500), "its wait went on")
        }

        @Test func parkedEntriesWhoseTimeWasDeletedAreFoundAgain() async throws {
            let stage = try await Stage()
            try await stage.running({ $0.longestLocalDelay = .zero }) { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .milliseconds(500)))
                try await transport.publish([message("1")])
                try await transport.withSubscription(to: "g", prefetch: 5) { deliveries in
                    for try await delivery in deliveries {
                        if delivery.attempt == 2 {
                            try await transport.settle(delivery.id, .ack)
                            break
                        }
                        try await transport.settle(delivery.id, .retry(after: .seconds(3_600)))
                        try await stage.cli("DEL", "\(stage.stream):g:parked")
                    }
                }
            }
        }

        /// A process leaves with most of a key's messages in its memory, and another takes over.
        @Test(arguments: Engine.all)
        func aHandOverKeepsEachKeysOrder(_ engine: Engine) async throws {
            let stage = try await Stage(engine)
            let ids = (0..<600).map { "m\($0)" }
            let first = stage.start { $0.window = 200 }
            let second = stage.start { $0.window = 50 }
            try await first.transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .seconds(10)))
            try await first.transport.publish(ids.map { message($0, key: "k") })
            let order = Order()
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    _ = try await first.transport.drain("g") {
                        order.add($0.message.id)
                    } until: {
                        $0.count == 150
                    }
                }
                try await group.next()
                group.addTask {
                    _ = try await second.transport.drain("g") { delivery in
                        #expect(delivery.attempt == 1, "what no handler has seen is not counted")
                        order.add(delivery.message.id)
                    } until: {
                        $0.last == "m599"
                    }
                }
                try await group.waitForAll()
            }
            #expect(order.ids == ids)
            await first.stop()
            await second.stop()
        }

        @Test func aMessageIsAddedOnceForItsID() async throws {
            let stage = try await Stage()
            try await stage.running({ $0.deduplication = .seconds(60) }) { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"]))
                for _ in 0..<3 { try await transport.publish([message("1"), message("2")]) }
                #expect(try await stage.cli("XLEN", stage.stream).hasPrefix("2"))
                #expect(
                    try await transport.drain("g") { _ in
                    } until: {
                        $0.count == 2
                    } == ["1", "2"]
                )
            }
        }

        @Test(arguments: Engine.all)
        func trimmingLeavesWhatAnyGroupStillNeeds(_ engine: Engine) async throws {
            let stage = try await Stage(engine)
            try await stage.running({
                $0.retention = .handled(olderThan: .zero)
                $0.upkeepInterval = .milliseconds(200)
            }) { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"]))
                try await stage.cli("XGROUP", "CREATE", stage.stream, "foreign", "0")
                for start in stride(from: 0, to: 1_000, by: 100) {
                    try await transport.publish((start..<(start + 100)).map { message("m\($0)") })
                }
                _ = try await transport.drain("g") { _ in
                } until: {
                    $0.count == 1_000
                }
                // The foreign group has read half of it, and one of those is still pending.
                let read = try await stage.cli(
                    "XREADGROUP",
                    "GROUP",
                    "foreign",
                    "c",
                    "COUNT",
                    "500",
                    "STREAMS",
                    stage.stream,
                    ">"
                )
                #expect(read.contains("m499"))
                let pending = try await stage.cli("XPENDING", stage.stream, "foreign", "-", "+", "500")
                let ids = pending.split(separator: "\n").filter { $0.contains("-") }.map(String.init)
                #expect(ids.count == 500)
                for part in stride(from: 0, to: 500, by: 100) {
                    let words = ids[part..<(part + 100)].filter { $0 != ids[300] }
                    _ = try await stage.run(["XACK", stage.stream, "foreign"] + words)
                }
                // Trimming is approximate: whole blocks of a hundred entries.
                try await expectEventually { try await stage.length() <= 800 }
                #expect(try await stage.length() >= 700, "nothing from the pending one on")
                try await stage.cli("XACK", stage.stream, "foreign", ids[300])
                try await expectEventually { try await stage.length() <= 600 }
                #expect(try await stage.length() >= 500, "nothing that was not read")
            }
        }

        @Test func consumersThatAreGoneAreDismissed() async throws {
            let stage = try await Stage()
            try await stage.running { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"]))
                try await stage.cli("XGROUP", "CREATECONSUMER", stage.stream, "g", "parley.old.1.x")
                try await stage.cli("XGROUP", "CREATECONSUMER", stage.stream, "g", "foreign")
                try await transport.publish([message("1")])
                try await stage.cli("XREADGROUP", "GROUP", "g", "parley.busy.2.y", "STREAMS", stage.stream, ">")
                // As if they had not been seen for long: the limit is what is asked for.
                let dismissed = try await RESPConnection.withConnection(stage.server.configuration) { connection in
                    try await connection.eval(
                        StreamScripts.dismiss,
                        keys: [stage.stream],
                        arguments: ["g", "me", "0", "parley.", "parley.parked"]
                    )
                }
                #expect(dismissed.integer == 1)
                let consumers = try await stage.cli("XINFO", "CONSUMERS", stage.stream, "g")
                #expect(!consumers.contains("parley.old.1.x"))
                #expect(consumers.contains("foreign"), "others' consumers are theirs")
                #expect(consumers.contains("parley.busy.2.y"), "what it has pending would be lost with it")
            }
        }
    }
}
