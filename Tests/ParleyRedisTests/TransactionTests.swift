import ParleyCore
import ParleyRESP
import ParleyTestKit
import RedisTestSupport
import Testing

@testable import ParleyRedis

@Suite("Transactions on Redis", .serialized, .timeLimit(.minutes(2)))
struct TransactionTests {
    private struct Oops: Error {}

    private static func with(
        _ engine: Engine = .redis,
        _ body: (RESPClient, RedisTransactionRunner) async throws -> Void
    ) async throws {
        try await RedisServer.withClients(engine) { _, clients in
            let client = clients.open().client
            try await body(client, RedisTransactionRunner(client: client))
        }
    }

    private static func redis(_ transaction: any Transaction) throws -> RedisTransaction {
        try #require(transaction as? RedisTransaction)
    }

    private static func number(_ bytes: [UInt8]?) -> Int {
        bytes.flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? 0
    }

    private static func bytes(_ number: Int) -> [UInt8] { Array("\(number)".utf8) }

    @Test(arguments: Engine.all) func ofManyThatCountNoneIsLost(_ engine: Engine) async throws {
        try await Self.with(engine) { client, runner in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<10 {
                    group.addTask {
                        for _ in 0..<10 {
                            try await runner.withTransaction { transaction in
                                let redis = try Self.redis(transaction)
                                let next = Self.number(try redis.string("n")) + 1
                                try redis.set("n", Self.bytes(next))
                                try redis.setFields(["n": Self.bytes(next)], in: "h")
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect(try await client.get("n") == Self.bytes(100))
            #expect(try await client.send(["HGET", "h", "n"]).string == "100")
        }
    }

    /// Two sums that are always equal in the end: a transaction that reads them apart would see them differ.
    @Test func whatIsReadTogetherWasTrueTogether() async throws {
        try await Self.with { client, runner in
            _ = try await client.transaction([["SET", "a", "0"], ["SET", "b", "0"]])
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    for round in 1...200 {
                        let text = RESPArgument(round)
                        _ = try await client.transaction([["SET", "a", text], ["SET", "b", text]])
                    }
                }
                for fails in [true, false] {
                    group.addTask {
                        for _ in 0..<50 {
                            let pair = Guarded<[Int]>([])
                            try? await runner.withTransaction { transaction in
                                let redis = try Self.redis(transaction)
                                let seen = [Self.number(try redis.string("a")), Self.number(try redis.string("b"))]
                                pair.withLock { $0 = seen }
                                if fails { throw Oops() }
                            }
                            #expect(Set(pair.current).count == 1)
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test func aTransactionSeesItsOwnWrites() async throws {
        try await Self.with { client, runner in
            try await client.send(["HSET", "h", "old", "1", "gone", "1"])
            try await client.set("s", "1")
            try await runner.withTransaction { transaction in
                let redis = try Self.redis(transaction)
                try redis.setFields(["new": [2]], in: "h")
                try redis.removeFields(["gone"], in: "h")
                #expect(try redis.hash("h") == ["old": [49], "new": [2]])
                try redis.delete("s")
                #expect(try redis.string("s") == nil)
                try redis.setFields(["f": [3]], in: "s")
                #expect(try redis.hash("s") == ["f": [3]])
                try redis.set("t", [4])
                #expect(try redis.string("t") == [4])
                #expect(throws: RedisTransactionError.self) { _ = try redis.hash("t") }
                #expect(throws: RedisTransactionError.self) { _ = try redis.string("h") }
                try redis.delete("h")
                #expect(try redis.hash("h").isEmpty)
            }
            #expect(try await client.send(["HGET", "s", "f"]).bytes == [3])
            #expect(try await client.get("t") == [4])
            #expect(try await client.send(["EXISTS", "h"]).integer == 0)
        }
    }

    @Test func whatThrowsWritesNothing() async throws {
        try await Self.with { client, runner in
            await #expect(throws: Oops.self) {
                try await runner.withTransaction { transaction in
                    try Self.redis(transaction).set("k", [1])
                    throw Oops()
                }
            }
            let stored = try await client.get("k")
            #expect(stored == nil)
        }
    }

    /// A body that takes every error for "not there" must not commit on what it has not read.
    @Test func aBodyThatIgnoresErrorsReadsAllTheSame() async throws {
        try await Self.with { client, runner in
            try await client.set("k", "7")
            let seen = try await runner.withTransaction { transaction in
                Self.number((try? Self.redis(transaction).string("k")) ?? nil)
            }
            #expect(seen == 7)
        }
    }

    @Test func anEndlessConflictEnds() async throws {
        try await RedisServer.withClients { _, clients in
            let (client, other) = (clients.open().client, clients.open().client)
            let runner = RedisTransactionRunner(client: client, maximumConflicts: 5)
            let runs = Guarded(0)
            let error = await withTaskGroup(of: Void.self) { group in
                group.addTask { while !Task.isCancelled { _ = try? await other.send(["INCR", "n"]) } }
                defer { group.cancelAll() }
                return await #expect(throws: RedisTransactionError.self) {
                    // Two reads, one after the other: there is always an increment between the first and the end.
                    while true {
                        try await runner.withTransaction { transaction in
                            let redis = try Self.redis(transaction)
                            _ = try redis.string("n")
                            for key in 0..<5 { _ = try redis.string("other-\(key)") }
                            runs.withLock { $0 += 1 }
                            try redis.set("written", [1])
                        }
                    }
                }
            }
            #expect(error?.code == .conflict)
            #expect(error?.retry == .notSent)
            #expect(runs.current >= 6)
        }
    }

    @Test func thereIsNoSQL() async throws {
        try await Self.with { _, runner in
            for statement in ["SELECT 1", "DELETE FROM t"] {
                let error = await #expect(throws: RedisTransactionError.self) {
                    try await runner.withTransaction { transaction in
                        if statement.hasPrefix("S") {
                            _ = try transaction.query(statement)
                        } else {
                            try transaction.execute(statement)
                        }
                    }
                }
                #expect(error?.code == .noSQL)
            }
        }
    }

    @Test func anotherTypeRefusesAllWrites() async throws {
        try await Self.with { client, runner in
            try await client.send(["RPUSH", "list", "1"])
            let error = await #expect(throws: RedisTransactionError.self) {
                try await runner.withTransaction { transaction in
                    let redis = try Self.redis(transaction)
                    try redis.set("k", [1])
                    try redis.setFields(["f": [1]], in: "list")
                }
            }
            #expect(error?.code == .wrongType)
            #expect(try await client.get("k") == nil)
            let reading = await #expect(throws: RESPError.self) {
                try await runner.withTransaction { _ = try Self.redis($0).string("list") }
            }
            #expect(reading?.code == .wrongType)
        }
    }

    @Test func afterItsScopeItIsOver() async throws {
        try await Self.with { client, runner in
            nonisolated(unsafe) var kept: RedisTransaction?
            try await runner.withTransaction { kept = try Self.redis($0) }
            let error = #expect(throws: RedisTransactionError.self) { try kept?.set("k", [1]) }
            #expect(error?.code == .over)
        }
    }

    @Test func itsSizeIsBounded() async throws {
        try await Self.with { client, runner in
            let most = RedisTransaction.maximumSteps
            for count in [most, most + 1] {
                let error: RedisTransactionError?
                do {
                    try await runner.withTransaction { transaction in
                        let redis = try Self.redis(transaction)
                        for number in 0..<count { try redis.set("k\(number)", [1]) }
                    }
                    error = nil
                } catch let found as RedisTransactionError {
                    error = found
                }
                #expect(error?.code == (count > most ? .tooLarge : nil))
                #expect(try await client.send(["DBSIZE"]).integer == Int64(most))
            }
            // Many fields in one write, more than Lua takes in one call.
            let fields = Dictionary(uniqueKeysWithValues: (0..<20_000).map { ("f\($0)", [UInt8(1)]) })
            try await runner.withTransaction { try Self.redis($0).setFields(fields, in: "h") }
            #expect(try await client.send(["HLEN", "h"]).integer == 20_000)
            try await runner.withTransaction { try Self.redis($0).removeFields(Array(fields.keys), in: "h") }
            #expect(try await client.send(["EXISTS", "h"]).integer == 0)
        }
    }
}
