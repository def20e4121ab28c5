import Foundation
import ParleyCore
import ParleyMessaging
import ParleyRESP
import ProcessTestSupport
import RedisTestSupport
import Testing

@testable import ParleyRedis

/// Servers that die, refuse or lose what they had.
extension RealTime {
    @Suite(.timeLimit(.minutes(3))) struct ServerFaultTests {
        /// Publishes and consumes while `disturb` does something; what was accepted must come.
        private func flow(
            _ stage: Stage,
            _ count: Int,
            disturb: @escaping @Sendable () async throws -> Void
        ) async throws {
            try await stage.running { transport in
                try await Self.retrying {
                    try await transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .seconds(1)))
                }
                let accepted = Tally()
                let received = Tally()
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask { try await disturb() }
                    group.addTask {
                        for number in 0..<count {
                            let id = "m\(number)"
                            try await Self.retrying {
                                try await transport.publish([message(id, key: number % 2 == 0 ? "k\(number % 8)" : nil)]
                                )
                            }
                            accepted.add(id)
                        }
                    }
                    group.addTask {
                        // What is killed while it subscribes subscribes again.
                        try await Self.retrying {
                            _ = try await transport.drain("g") { delivery in
                                received.add(delivery.message.id)
                            } until: { _ in
                                false
                            }
                        }
                    }
                    try await group.next()
                    try await group.next()
                    #expect(accepted.counts.count == count)
                    try await expectEventually { received.counts.count == count }
                    group.cancelAll()
                    while await group.nextResult() != nil {}
                }
            }
        }

        /// As an outbox relay does.
        static func retrying(_ body: () async throws -> Void) async throws {
            while true {
                do {
                    return try await body()
                } catch let error as MessagingError where error.retry != .permanent {
                    try await SystemTimeSource().sleep(for: .milliseconds(20))
                }
            }
        }

        @Test(arguments: Engine.all)
        func whatWasAcceptedSurvivesTheServersDeath(_ engine: Engine) async throws {
            try await RedisServer.with(engine, options: ["--appendonly", "yes", "--appendfsync", "always"]) { server in
                try await self.flow(Stage(server), 1_500) {
                    for _ in 0..<3 {
                        try await SystemTimeSource().sleep(for: .milliseconds(150))
                        try await server.kill()
                        try await server.start()
                    }
                }
            }
        }

        @Test func connectionsThatAreKilledComeBack() async throws {
            try await RedisServer.with { server in
                let stage = Stage(server)
                try await self.flow(stage, 2_000) {
                    for _ in 0..<15 {
                        try await stage.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                        try await SystemTimeSource().sleep(for: .milliseconds(30))
                    }
                }
            }
        }

        @Test func scriptsThatAreForgottenAreLoadedAgain() async throws {
            try await RedisServer.with { server in
                let stage = Stage(server)
                try await self.flow(stage, 1_000) {
                    for _ in 0..<20 { try await stage.cli("SCRIPT", "FLUSH") }
                }
            }
        }

        @Test(arguments: Engine.all, ["DEL", "FLUSHALL", "XGROUP"])
        func aConsumerOutlivesItsStream(_ engine: Engine, _ how: String) async throws {
            try await RedisServer.with(engine) { server in
                let stage = Stage(server)
                try await stage.running { transport in
                    try await transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .seconds(1)))
                    try await transport.withSubscription(to: "g", prefetch: 10) { deliveries in
                        try await transport.publish([message("before")])
                        var isLost = false
                        for try await delivery in deliveries {
                            try await transport.acknowledge(delivery)
                            if delivery.message.id == "before" {
                                // A group that is made again begins with what was handled before.
                                if isLost { continue }
                                isLost = true
                                switch how {
                                case "DEL": try await stage.cli("DEL", stage.stream)
                                case "XGROUP": try await stage.cli("XGROUP", "DESTROY", stage.stream, "g")
                                default: try await stage.cli("FLUSHALL")
                                }
                                try await transport.publish([message("after")])
                            } else {
                                #expect(delivery.message.id == "after")
                                break
                            }
                        }
                    }
                    #expect(try await stage.cli("XINFO", "GROUPS", stage.stream).contains("g"))
                }
                // What the bus knows of its groups has come back, too: another process can subscribe.
                try await stage.running { transport in
                    try await transport.publish([message("later")])
                    let seen = try await transport.drain("g") { _ in
                    } until: {
                        $0.contains("later")
                    }
                    #expect(seen == ["later"])
                }
            }
        }

        @Test func whatIsTrimmedUnderAConsumerIsReportedAndHoldsNothingUp() async throws {
            let stage = try await Stage()
            try await stage.running { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .milliseconds(400)))
                try await transport.publish((0..<10).map { message("m\($0)", key: "k") })
                try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                    var seen: [String] = []
                    for try await delivery in deliveries {
                        seen.append(delivery.message.id)
                        if seen.count == 1 {
                            try await stage.cli("XTRIM", stage.stream, "MAXLEN", "0")
                            try await transport.publish([message("new", key: "k")])
                        }
                        // Handled is handled, whatever has become of the entry.
                        try? await transport.settle(delivery.id, .ack)
                        if delivery.message.id == "new" { break }
                    }
                    #expect(seen.first == "m0")
                    #expect(seen.last == "new")
                }
                try await expectEventually { try await transport.statistics().first?.unacknowledged == 0 }
            }
            // Pending entries of a dead consumer that are gone from the stream end as well.
            try await stage.cli("XADD", stage.stream, "*", "event_type", "x")
            try await stage.cli("XREADGROUP", "GROUP", "g", "foreign", "STREAMS", stage.stream, ">")
            try await stage.cli("XTRIM", stage.stream, "MAXLEN", "0")
            try await stage.running { transport in
                try await transport.withSubscription(to: "g", prefetch: 1) { _ in
                    try await expectEventually { try await stage.cli("XPENDING", stage.stream, "g").hasPrefix("0") }
                }
            }
        }

        @Test(arguments: Engine.all)
        func aHundredConsumersJoinAndLeave(_ engine: Engine) async throws {
            let stage = try await Stage(engine)
            let total = 3_000
            let received = Tally()
            try await stage.running { publisher in
                try await publisher.declare(ConsumerGroup("g", bindings: ["#"], lease: .seconds(30)))
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        for start in stride(from: 0, to: total, by: 10) {
                            try await publisher.publish((start..<(start + 10)).map { message("m\($0)") })
                        }
                    }
                    // Ten at a time, a hundred in all; each takes what it can get, and leaves.
                    for _ in 0..<10 {
                        group.addTask {
                            for _ in 0..<10 {
                                try await stage.running({
                                    $0.sharing = .allProcesses
                                    $0.window = 20
                                }) { transport in
                                    _ = try await transport.drain("g", prefetch: 5) { delivery in
                                        received.add(delivery.message.id)
                                    } until: {
                                        $0.count >= 25 || received.counts.count == total
                                    }
                                }
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                // What the last ones have left.
                let left = total - received.counts.count
                _ = try await publisher.drain("g") { delivery in
                    received.add(delivery.message.id)
                } until: {
                    $0.count >= left
                }
            }
            let counts = received.counts
            #expect(counts.count == total, "none is lost")
            #expect(counts.values.allSatisfy { $0 == 1 }, "and none came twice: all of them left in peace")
        }

        // MARK: Refusals

        private func failure(_ body: () async throws -> Void) async -> MessagingError? {
            do {
                try await body()
                return nil
            } catch {
                return error as? MessagingError
            }
        }

        @Test func aWrongPasswordIsSaidAtOnce() async throws {
            try await RedisServer.with(options: ["--requirepass", "correct-horse"]) { server in
                let error = await self.failure {
                    var configuration = server.configuration
                    configuration.password = "battery-staple"
                    try await RedisBackend.withBackend(configuration, logger: quiet) { backend in
                        try await backend.transport.publish([message("1")])
                    }
                }
                #expect(error?.code == .unavailable)
                #expect(error?.retry == .permanent)
                #expect((error?.cause as? RESPError)?.code == .wrongPassword)
                #expect(error?.message.contains("password") == true)
                #expect(!"\(String(describing: error))".contains("battery-staple"), "the password is not repeated")
            }
        }

        @Test func aReplicaTakesNoMessage() async throws {
            try await RedisServer.with { master in
                try await RedisServer.with(options: ["--replicaof", "127.0.0.1", "\(master.port)"]) { replica in
                    let error = await self.failure {
                        try await RedisBackend.withBackend(replica.configuration, logger: quiet) { backend in
                            try await backend.transport.publish([message("1")])
                        }
                    }
                    #expect((error?.cause as? RESPError)?.code == .readOnly)
                    #expect(error?.retry == .notSent)
                }
            }
        }

        @Test func tooFewReplicasAreAnError() async throws {
            let stage = try await Stage()
            try await stage.running({ $0.replication = .init(replicas: 1, timeout: .milliseconds(50)) }) { transport in
                let error = await self.failure { try await transport.publish([message("1")]) }
                #expect((error?.cause as? RESPError)?.code == .noReplicas)
                #expect(error?.retry == .mayHaveRun)
            }
        }

        @Test func aServerWithoutMemoryStillLetsConsumersWork() async throws {
            try await RedisServer.with { server in
                let stage = Stage(server)
                try await stage.running { transport in
                    try await transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .milliseconds(500)))
                    let body = String(repeating: "x", count: 10_000)
                    try await transport.publish((0..<50).map { message("m\($0)", data: body) })
                    try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                        var seen = 0
                        for try await delivery in deliveries {
                            if seen == 0 {
                                try await stage.cli("CONFIG", "SET", "maxmemory", "500kb")
                                let error = await self.failure {
                                    try await transport.publish([message("no", data: body)])
                                }
                                #expect((error?.cause as? RESPError)?.code == .outOfMemory)
                                #expect(error?.retry == .notSent)
                            }
                            try await transport.settle(delivery.id, .ack)
                            seen += 1
                            if seen == 50 { break }
                        }
                    }
                    try await stage.cli("CONFIG", "SET", "maxmemory", "0")
                    try await transport.publish([message("yes")])
                }
            }
        }
    }
}
