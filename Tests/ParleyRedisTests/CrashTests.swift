import Foundation
import ParleyCore
import ParleyMessaging
import ParleySQLite
import ProcessTestSupport
import RedisTestSupport
import Testing

@testable import ParleyRedis

/// Processes that die, hang and come back.
extension RealTime {
    @Suite(.timeLimit(.minutes(3))) struct CrashTests {
        @Test(arguments: Engine.all)
        func aKilledConsumersThousandMessagesAreAppliedOnce(_ engine: Engine) async throws {
            let stage = try await Stage(engine)
            let folder = NSTemporaryDirectory() + fresh("parley-redis-inbox-")
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let database = folder + "/effects.db"
            let effects = try await SQLiteBackend(path: database, logger: quiet)
            try await effects.migrate("test/1", ["CREATE TABLE effects (id TEXT NOT NULL)"])
            let total = 1_000
            try await stage.running { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .seconds(1)))
                try await transport.publish(
                    (0..<total).map { message("m\($0)", key: $0 % 2 == 0 ? "k\($0 % 40)" : nil) }
                )
            }
            try await ChildProcess.with("inbox", stage, group: "g", [database]) { child in
                let isBusy = try await isEventually { child.lines.count { $0 == "done" } >= 100 }
                #expect(isBusy)
                child.signal(SIGKILL)
            }
            let left = try await stage.running { try await $0.statistics().first }
            let (held, ready) = (left?.unacknowledged ?? 0, left?.ready ?? 0)
            #expect(held > 0, "the killed process held messages")
            try await stage.running { transport in
                try await transport.publish([message("last")])
                // Without a key, "last" may come before what the killed process held.
                _ = try await transport.drain("g") { delivery in
                    if delivery.message.id != "last" { try await ChildRole.apply(delivery, in: effects) }
                } until: {
                    $0.count >= held + ready + 1
                }
                try await expectEventually { try await transport.statistics().first?.unacknowledged == 0 }
            }
            let ids = try await effects.read { try $0.query("SELECT id FROM effects").compactMap { $0.first?.text } }
            #expect(ids.count == total, "each once")
            #expect(Set(ids).count == total, "and all of them")
            await effects.close()
        }

        @Test(arguments: Engine.all)
        func aMessageThatKillsItsProcessEndsInTheDeadLetters(_ engine: Engine) async throws {
            let stage = try await Stage(engine)
            let limit = 3
            let harmless = (0..<30).map { "m\($0)" }
            var begun: [String] = []
            try await stage.running { transport in
                try await transport.declare(
                    ConsumerGroup("g", bindings: ["#"], maximumDeliveries: limit, lease: .milliseconds(500))
                )
                var messages = harmless.map { message($0, key: "k\($0.count)") }
                messages.insert(message("poison", key: "p"), at: 10)
                try await transport.publish(messages)
            }
            for _ in 0..<limit {
                begun += try await ChildProcess.with("poison", stage, group: "g") { child in
                    let isDead = try await isEventually { child.lines.contains("poison") }
                    #expect(isDead)
                    return child.lines
                }
            }
            let done = Set(begun)
            let letters = try await stage.running { transport in
                try await transport.publish([message("last")])
                let left = Set(harmless).subtracting(done).union(["last"])
                _ = try await transport.drain("g", prefetch: 1) {
                    #expect($0.message.id != "poison")
                } until: {
                    left.isSubset(of: $0)
                }
                var letters: [DeadLetter] = []
                _ = try await transport.withSubscription(to: "g", prefetch: 1) { _ in
                    try await isEventually {
                        letters = try await transport.deadLetters.list(group: "g", after: 0, limit: 100)
                        return letters.contains { $0.message.id == "poison" }
                    }
                }
                return letters
            }
            #expect(begun.count { $0 == "poison" } == limit, "begun exactly as often as allowed")
            #expect(letters.contains { $0.message.id == "poison" })
            // One whose ack died with its process each time has had its chances as well, and was handled in each.
            for letter in letters {
                #expect(letter.attempts == limit)
                #expect(begun.count { $0 == letter.message.id } == limit)
            }
        }

        @Test(arguments: Engine.all, [StreamConfiguration.Sharing.oneProcess, .allProcesses])
        func aHandlerOfThreeLeasesIsDeliveredOnce(_ engine: Engine, _ sharing: StreamConfiguration.Sharing) async throws
        {
            let stage = try await Stage(engine)
            let lease = Duration.milliseconds(1_200)
            let (one, other) = (stage.start { $0.sharing = sharing }, stage.start { $0.sharing = sharing })
            try await one.transport.declare(ConsumerGroup("g", bindings: ["#"], lease: lease))
            try await one.transport.publish((0..<20).map { message("slow\($0)") })
            let seen = Counter()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for running in [one, other] {
                    group.addTask {
                        try await running.transport.withSubscription(to: "g", prefetch: 20) { deliveries in
                            try await withThrowingTaskGroup(of: Void.self) { handlers in
                                for try await delivery in deliveries {
                                    seen.add()
                                    handlers.addTask {
                                        // The length of a handler is what this test is about.
                                        try await SystemTimeSource().sleep(for: lease * 3)
                                        try await running.transport.settle(delivery.id, .ack)
                                    }
                                }
                            }
                        }
                    }
                }
                let isDone = try await isEventually {
                    let figures = try await one.transport.statistics().first
                    return figures.map { $0.ready + $0.unacknowledged } == 0
                }
                #expect(isDone)
                group.cancelAll()
                while await group.nextResult() != nil {}
            }
            #expect(seen.value == 20, "each once")
            let letters = try await one.transport.deadLetters.list(group: "g", after: 0, limit: 10)
            #expect(letters.isEmpty)
            await one.stop()
            await other.stop()
        }

        @Test func aPausedProcessSettlesNothingThatAnotherHasTaken() async throws {
            let stage = try await Stage()
            try await stage.running { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .milliseconds(1_200)))
                try await transport.publish(["1", "2", "3"].map { message($0, key: "k") })
            }
            try await ChildProcess.with("holder", stage, group: "g") { child in
                try await expectEventually { child.lines.contains("got 1") }
                child.signal(SIGSTOP)
                // Another process takes over with its lease, and in the key's order.
                let seen = try await stage.running {
                    try await $0.drain("g") { _ in
                    } until: {
                        $0.count == 3
                    }
                }
                #expect(seen == ["1", "2", "3"])
                _ = FileManager.default.createFile(atPath: child.log + ".go", contents: nil)
                defer { try? FileManager.default.removeItem(atPath: child.log + ".go") }
                child.signal(SIGCONT)
                try await expectEventually { child.lines.contains("refused 1 leaseLost") }
                #expect(!child.lines.contains { $0.hasPrefix("settled") })
                #expect(!child.lines.contains("got 2"), "what another has handled is not handed out here")
            }
        }

        @Test func aKilledProcessesKeysStayInOrder() async throws {
            let stage = try await Stage()
            let ids = (0..<200).map { "m\($0)" }
            try await stage.running { transport in
                try await transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .milliseconds(1_200)))
                for start in stride(from: 0, to: 200, by: 20) {
                    try await transport.publish(ids[start..<(start + 20)].map { message($0, key: "k") })
                }
            }
            try await ChildProcess.with("holder", stage, group: "g") { child in
                try await expectEventually { child.lines.contains("got m0") }
                child.signal(SIGKILL)
            }
            let seen = try await stage.running {
                try await $0.drain("g") { _ in
                } until: {
                    $0.count == 200
                }
            }
            #expect(seen == ids)
        }
    }
}
