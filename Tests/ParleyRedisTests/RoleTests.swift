import Foundation
import ParleyCore
import ParleyMessaging
import ParleyRESP
import RedisTestSupport
import Testing

@testable import ParleyRedis

extension RealTime {
    /// Who hands out, and what becomes of what others held.
    @Suite(.timeLimit(.minutes(2))) struct RoleTests {
        /// The key is deleted under a process that lives: what it holds must not be nobody's.
        @Test(arguments: Engine.all)
        func aProcessThatHasLostItsRoleGivesEverythingUp(_ engine: Engine) async throws {
            let stage = try await Stage(engine)
            let (first, second) = (stage.start(), stage.start())
            try await first.transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .seconds(20)))
            try await first.transport.publish((0..<100).map { message("m\($0)", key: "k\($0 % 5)") })
            let seen = Tally()
            try await first.transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                // Holds one, has read the others, and does nothing more.
                for try await delivery in deliveries {
                    try await stage.cli("DEL", "\(stage.stream):g:active")
                    _ = try await second.transport.drain("g") {
                        seen.add($0.message.id)
                    } until: {
                        Set($0).count == 100
                    }
                    do {
                        try await first.transport.settle(delivery.id, .ack)
                        Issue.record("what another has handled was settled here")
                    } catch let error as MessagingError {
                        #expect(error.code == .leaseLost)
                    }
                    break
                }
            }
            #expect(seen.counts.count == 100)
            await first.stop()
            await second.stop()
        }

        /// The server is away while a subscription ends, so nothing can be given back; the same process comes again.
        @Test func whatCouldNotBeGivenBackIsFetchedAgain() async throws {
            try await RedisServer.with(options: ["--appendonly", "yes", "--appendfsync", "always"]) { server in
                let stage = Stage(server)
                try await stage.running { transport in
                    try await transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .seconds(30)))
                    try await transport.publish((0..<50).map { message("m\($0)", key: "k") })
                    let clock = ContinuousClock()
                    let wait = Duration.seconds(6)
                    let asked = clock.now
                    try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                        for try await delivery in deliveries {
                            try await transport.settle(delivery.id, .retry(after: wait))
                            try await server.kill()
                            break
                        }
                    }
                    try await server.start()
                    let seen = try await transport.drain("g") { delivery in
                        #expect(asked.duration(to: clock.now) >= wait, "\(delivery.message.id) before its time")
                    } until: {
                        $0.count == 50
                    }
                    #expect(seen == (0..<50).map { "m\($0)" })
                }
            }
        }

        @Test func oneDeliveryMeansOneForEachMessage() async throws {
            let stage = try await Stage()
            try await stage.running { transport in
                try await transport.declare(
                    ConsumerGroup("g", bindings: ["#"], maximumDeliveries: 1, lease: .milliseconds(800))
                )
                var messages = (0..<50).map { message("m\($0)") }
                messages.insert(message("poison"), at: 5)
                try await transport.publish(messages)
            }
            let begun = try await ChildProcess.with("poison", stage, group: "g") { child in
                try await expectEventually { child.lines.contains("poison") }
                return child.lines
            }
            try await stage.running { transport in
                try await transport.publish([message("last")])
                let left = Set((0..<50).map { "m\($0)" }).subtracting(begun).union(["last"])
                let seen = try await transport.drain("g") { _ in
                } until: {
                    left.isSubset(of: $0)
                }
                #expect(Set(seen).count == seen.count)
                #expect(!seen.contains("poison"))
                try await transport.withSubscription(to: "g", prefetch: 1) { _ in
                    try await expectEventually {
                        try await transport.deadLetters.list(group: "g", after: 0, limit: 100)
                            .contains { $0.message.id == "poison" }
                    }
                }
            }
        }

        @Test func aKeyThatWaitsDoesNotFillTheWindow() async throws {
            let stage = try await Stage()
            try await stage.running({ $0.window = 10 }) { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"]))
                try await transport.publish((0..<60).map { message("hot\($0)", key: "hot") })
                try await transport.publish((0..<20).map { message("other\($0)", key: "k\($0)") })
                try await transport.withSubscription(to: "g", prefetch: 5) { deliveries in
                    var others = 0
                    for try await delivery in deliveries {
                        if delivery.message.key == "hot" {
                            try await transport.settle(delivery.id, .retry(after: .seconds(3_600)))
                        } else {
                            try await transport.settle(delivery.id, .ack)
                            others += 1
                        }
                        if others == 20 { break }
                    }
                }
            }
        }

        /// Nothing can be stored among the dead letters: the others go on, and the letter waits until it can.
        @Test func whatCannotBeSettledHoldsNothingUp() async throws {
            let stage = try await Stage()
            try await stage.running { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"], maximumDeliveries: 1))
                try await stage.cli("SET", stage.stream + ".dlq", "not a stream")
                try await transport.publish([message("bad")] + (0..<10).map { message("m\($0)") })
                try await transport.withSubscription(to: "g", prefetch: 2) { deliveries in
                    var done = 0
                    for try await delivery in deliveries {
                        if delivery.message.id == "bad" {
                            do {
                                try await transport.settle(delivery.id, .deadLetter(reason: "bad"))
                                if done < 10 { Issue.record("it cannot be stored") }
                                done += 1
                            } catch let error as MessagingError {
                                #expect(error.retry == .permanent)
                                #expect((error.cause as? RESPError)?.code == .wrongType)
                            }
                        } else {
                            try await transport.settle(delivery.id, .ack)
                            done += 1
                            if done == 10 { try await stage.cli("DEL", stage.stream + ".dlq") }
                        }
                        if done == 11 { break }
                    }
                }
                let letters = try await transport.deadLetters.list(group: "g", after: 0, limit: 10)
                #expect(letters.map(\.message.id) == ["bad"])
            }
        }

        @Test func aGroupThatIsMadeAgainPassesOverNothing() async throws {
            let stage = try await Stage()
            try await stage.running({ $0.longestLocalDelay = .zero }) { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .seconds(1)))
                try await transport.publish((0..<5).map { message("m\($0)") })
                try await transport.withSubscription(to: "g", prefetch: 5) { deliveries in
                    var seen: Set<String> = []
                    var isDestroyed = false
                    for try await delivery in deliveries {
                        // Laid aside, all of them; then the group goes, and with it what lay aside.
                        if !isDestroyed {
                            try await transport.settle(delivery.id, .retry(after: .seconds(3_600)))
                            seen.insert(delivery.message.id)
                            if seen.count == 5 {
                                try await stage.cli("XGROUP", "DESTROY", stage.stream, "g")
                                isDestroyed = true
                                seen = []
                            }
                            continue
                        }
                        try await transport.acknowledge(delivery)
                        seen.insert(delivery.message.id)
                        if seen.count == 5 { break }
                    }
                }
            }
        }

        @Test func busyStreamsAreTrimmedAsFastAsTheyGrow() async throws {
            let stage = try await Stage()
            try await stage.running({
                $0.retention = .handled(olderThan: .zero)
                $0.upkeepInterval = .seconds(1)
            }) { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"]))
                let script = "for i = 1, 60000 do redis.call('XADD', KEYS[1], '*', 'n', i) end"
                try await stage.cli("EVAL", script, "1", stage.stream)
                let last = try await stage.cli("XREVRANGE", stage.stream, "+", "-", "COUNT", "1")
                let id = last.split(separator: "\n").first.map(String.init) ?? ""
                try await stage.cli("XGROUP", "SETID", stage.stream, "g", id)
                // More than one call of XTRIM removes.
                try await expectEventually { try await stage.length() <= 200 }
            }
        }
    }
}
