import Foundation
import NIOCore
import ParleyCore
import RedisTestSupport
import Testing

@testable import ParleyRESP

/// Load and faults on the real server.
@Suite(.timeLimit(.minutes(3))) struct ServerTests {
    @Test(arguments: Engine.all) func tenThousandInOnePipeline(_ engine: Engine) async throws {
        try await RedisServer.with(engine) { server in
            try await RESPConnection.withConnection(server.configuration) { redis in
                let commands = (0..<10_000).map { RESPCommand(["INCRBY", "n", RESPArgument($0)]) }
                let replies = try await redis.execute(commands, deadline: nil)
                var sum: Int64 = 0
                for (number, reply) in replies.enumerated() {
                    sum += Int64(number)
                    guard reply == .number(sum) else {
                        Issue.record("reply \(number) is \(reply)")
                        break
                    }
                }
                #expect(replies.count == 10_000)
            }
        }
    }

    @Test(arguments: Engine.all) func aThousandAtOnceEachGetTheirOwn(_ engine: Engine) async throws {
        try await RedisServer.with(engine) { server in
            var configuration = server.configuration
            configuration.maximumInFlight = 50
            try await withClient(configuration) { client in
                try await withThrowingTaskGroup(of: Bool.self) { group in
                    for number in 0..<1_000 {
                        group.addTask { try await client.send(["ECHO", "\(number)"]).string == "\(number)" }
                    }
                    var right = 0
                    for try await isRight in group where isRight { right += 1 }
                    #expect(right == 1_000)
                }
            }
        }
    }

    @Test func aStormOfCancellationsLeavesTheLineInStep() async throws {
        try await RedisServer.with { server in
            var configuration = server.configuration
            configuration.sharedConnections = 1
            configuration.maximumInFlight = 16
            try await withClient(configuration) { client in
                for round in 0..<20 {
                    await withTaskGroup(of: Void.self) { group in
                        for number in 0..<100 {
                            group.addTask {
                                do throws(RESPError) {
                                    let reply = try await client.send(["ECHO", "\(round)/\(number)"])
                                    #expect(reply.string == "\(round)/\(number)")
                                } catch {
                                    #expect(error.code == .cancelled)
                                }
                            }
                        }
                        // Some have an answer by now, some are in flight, some wait.
                        for _ in 0..<(5 * round) { await group.next() }
                        group.cancelAll()
                    }
                    let reply = try await client.send(["ECHO", "after \(round)"])
                    #expect(reply.string == "after \(round)")
                }
            }
        }
    }

    @Test(arguments: Engine.all) func blockingReadsDoNotBlockOthers(_ engine: Engine) async throws {
        try await RedisServer.with(engine) { server in
            try await withClient(server.configuration) { client in
                try await client.xgroupCreate("s", "g", from: .end)
                try await withThrowingTaskGroup(of: Int.self) { group in
                    for number in 0..<10 {
                        group.addTask {
                            let read = try await client.xreadGroup(
                                "g",
                                consumer: "c\(number)",
                                [("s", .new)],
                                count: 1,
                                block: .seconds(30)
                            )
                            return read["s"]?.count ?? 0
                        }
                    }
                    group.addTask {
                        try await client.send(["BLPOP", "list", 30]).elements?.count ?? 0
                    }
                    try await eventually("all eleven block") {
                        try await client.info("clients")["blocked_clients"] == "11"
                    }
                    try await client.ping()
                    for number in 0..<10 { _ = try await client.xadd("s", [StreamField("n", "\(number)")]) }
                    try await client.send(["RPUSH", "list", "x"])
                    var counts: [Int] = []
                    for try await count in group { counts.append(count) }
                    #expect(counts.sorted() == Array(repeating: 1, count: 10) + [2])
                }
            }
        }
    }

    @Test func aDeletedStreamUnderABlockedReaderIsATypedError() async throws {
        for engine in Engine.all {
            try await RedisServer.with(engine) { server in
                try await withClient(server.configuration) { client in
                    try await client.xgroupCreate("s", "g", from: .end)
                    async let error = failure {
                        try await client.xreadGroup("g", consumer: "c", [("s", .new)], block: .seconds(30))
                    }
                    try await eventually("it blocks") { try await client.info("clients")["blocked_clients"] == "1" }
                    try await client.del("s")
                    let code = try await error.code
                    #expect(code == .unblocked || code == .noGroup)
                }
            }
        }
    }

    @Test func aCancelledBlockingReadGivesItsConnectionUp() async throws {
        try await RedisServer.with { server in
            try await withClient(server.configuration) { client in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        let error = try await failure { try await client.xread([("s", .end)], block: .seconds(60)) }
                        #expect(error.code == .cancelled)
                    }
                    try await eventually("it blocks") { try await client.info("clients")["blocked_clients"] == "1" }
                    group.cancelAll()
                    try await group.waitForAll()
                }
                try await eventually("the server has noticed") {
                    try await client.info("clients")["blocked_clients"] == "0"
                }
            }
        }
    }

    @Test(arguments: Engine.all) func clientKillInTheMiddle(_ engine: Engine) async throws {
        try await RedisServer.with(engine) { server in
            var configuration = server.configuration
            configuration.maximumInFlight = 8
            try await withClient(configuration) { client in
                let added = Counter()
                let maybe = Counter()
                try await RESPConnection.withConnection(server.configuration) { killer in
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        for worker in 0..<20 {
                            group.addTask {
                                for number in 0..<100 {
                                    do throws(RESPError) {
                                        _ = try await client.xadd("s", [StreamField("w", "\(worker)/\(number)")])
                                        added.add()
                                    } catch {
                                        #expect(error.code == .connectionLost)
                                        #expect(error.retry == .mayHaveRun)
                                        maybe.add()
                                    }
                                }
                            }
                        }
                        group.addTask {
                            for round in 1...5 {
                                try await eventually("progress") { added.value + maybe.value > round * 200 }
                                try await killer.send(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
                            }
                        }
                        try await group.waitForAll()
                    }
                    // Every confirmed one is there, and nothing was sent twice.
                    let length = try await killer.xlen("s")
                    let (sure, unsure) = (added.value, maybe.value)
                    #expect(sure + unsure == 2_000)
                    #expect((sure...(sure + unsure)).contains(length))
                    let entries = try await killer.xrange("s").compactMap { $0["w"] }
                    #expect(Set(entries).count == entries.count)
                }
            }
        }
    }

    @Test func aCrashOfTheServerAndItsReturn() async throws {
        try await RedisServer.with(options: ["--appendonly", "yes"]) { server in
            try await withClient(server.configuration) { client in
                #expect(try await client.xadd("s", [StreamField("a", "1")]) != nil)
                // In flight for certain: the server waits.
                try await withThrowingTaskGroup(of: RESPError.self) { group in
                    group.addTask { try await failure { try await client.send(["BLPOP", "none", 60]) } }
                    try await eventually("it blocks") { try await client.info("clients")["blocked_clients"] == "1" }
                    try await server.kill()
                    for try await error in group {
                        #expect(error.code == .connectionLost)
                        #expect(error.retry == .mayHaveRun)
                    }
                }
                // The other connections hear of it a moment later.
                try await eventually("nothing is connected") {
                    let soon = Deadline(after: .milliseconds(100), on: SystemTimeSource())
                    return try await failure { try await client.within(soon).ping() }.retry == .notSent
                }
                // While it is away: an error in time, and nothing was sent.
                let soon = Deadline(after: .milliseconds(100), on: SystemTimeSource())
                let away = try await failure { try await client.within(soon).ping() }
                #expect(away.code == .cannotConnect || away.code == .deadlineExceeded)
                #expect(away.retry == .notSent)
                // A caller that waits is served when it is back.
                async let waiting = client.xadd("s", [StreamField("b", "2")])
                try await server.start()
                #expect(try await waiting != nil)
                #expect(try await client.xlen("s") == 2)
            }
        }
    }

    @Test func passwordsAndPermissions() async throws {
        let options =
            ["--requirepass", "secret", "--user"]
            + ["reader", "on", ">pass", "~*", "+@read", "+ping", "+hello", "+client"]
        try await RedisServer.with(options: options) { server in
            let open = try await failure { try await RESPConnection.withConnection(server.configuration) { _ in } }
            _ = open
            var configuration = server.configuration
            configuration.password = "wrong"
            for prefersRESP3 in [true, false] {
                configuration.prefersRESP3 = prefersRESP3
                let error = try await failure { [configuration] in
                    try await RESPConnection.withConnection(configuration) { _ in }
                }
                #expect(error.code == .wrongPassword)
                #expect(error.retry == .permanent)
            }
            // A client does not let its callers wait for a password to become right.
            try await withClient(configuration) { client in
                let error = try await failure { try await client.ping() }
                #expect(error.code == .wrongPassword)
            }
            for prefersRESP3 in [true, false] {
                configuration.prefersRESP3 = prefersRESP3
                configuration.username = nil
                configuration.password = "secret"
                try await RESPConnection.withConnection(configuration) { try await $0.set("k", "v") }
                configuration.username = "reader"
                configuration.password = "pass"
                try await RESPConnection.withConnection(configuration) { redis in
                    #expect(try await redis.get("k") != nil)
                    let error = try await failure { try await redis.set("k", "w") }
                    #expect(error.code == .noPermission)
                }
            }
        }
    }

    @Test func noPasswordWhereOneIsAskedFor() async throws {
        try await RedisServer.with(options: ["--requirepass", "secret"]) { server in
            for prefersRESP3 in [true, false] {
                var configuration = server.configuration
                configuration.prefersRESP3 = prefersRESP3
                let error = try await failure { [configuration] in
                    try await RESPConnection.withConnection(configuration) { try await $0.ping() }
                }
                #expect(error.code == .authenticationRequired)
                #expect(error.retry == .permanent)
            }
        }
    }

    @Test func aServerWithoutMemoryRefusesWrites() async throws {
        try await RedisServer.with(options: ["--maxmemory", "1", "--maxmemory-policy", "noeviction"]) { server in
            try await withClient(server.configuration) { client in
                let error = try await failure { try await client.xadd("s", [StreamField("a", "b")]) }
                #expect(error.code == .outOfMemory)
                #expect(error.retry == .notSent)
                #expect(try await client.get("k") == nil)
                try await client.send(["CONFIG", "SET", "maxmemory", "0"])
                #expect(try await client.xadd("s", [StreamField("a", "b")]) != nil)
            }
        }
    }

    @Test func aReplicaRefusesWritesAndReadsGoOn() async throws {
        try await RedisServer.with { server in
            try await withClient(server.configuration) { client in
                try await client.set("k", "v")
                try await client.send(["REPLICAOF", "127.0.0.1", "1"])
                let error = try await failure { try await client.set("k", "w") }
                #expect(error.code == .readOnly)
                #expect(error.retry == .notSent)
                #expect(try await client.get("k") == Array("v".utf8))
                try await client.send(["REPLICAOF", "NO", "ONE"])
                #expect(try await client.set("k", "w"))
            }
        }
    }
}
