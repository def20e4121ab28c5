import ParleyCore
import RedisTestSupport
import Testing

@testable import ParleyRESP

/// Every typed command, on the real server, in both protocol versions.
@Suite(.timeLimit(.minutes(2))) struct CommandTests {
    private func with(
        _ dialect: Dialect,
        _ body: (RESPConnection) async throws -> Void
    ) async throws {
        try await RedisServer.with(dialect.engine) { server in
            var configuration = server.configuration
            configuration.prefersRESP3 = dialect.prefersRESP3
            try await RESPConnection.withConnection(configuration) { connection in
                #expect(connection.usesRESP3 == dialect.prefersRESP3)
                try await body(connection)
            }
        }
    }

    @Test(arguments: Dialect.all) func streams(_ dialect: Dialect) async throws {
        try await self.with(dialect) { redis in
            #expect(try await redis.xadd("s", [StreamField("a", "1")], createsStream: false) == nil)
            let first = try #require(
                try await redis.xadd("s", [StreamField("event_type", "order.created"), StreamField("order_id", "123")])
            )
            let second = try #require(try await redis.xadd("s", [StreamField("b", bytes: [0, 255, 13, 10])]))
            #expect(first < second)
            #expect(try await redis.xlen("s") == 2)
            #expect(try await redis.xlen("none") == 0)

            let all = try await redis.xrange("s")
            #expect(all.map(\.id) == [first, second])
            #expect(all[0]["event_type"] == "order.created" && all[0]["order_id"] == "123" && all[0]["x"] == nil)
            #expect(all[1].fields == [StreamField("b", bytes: [0, 255, 13, 10])])
            #expect(try await redis.xrevrange("s", count: 1).map(\.id) == [second])
            #expect(try await redis.xrange("s", from: second).map(\.id) == [second])
            #expect(try await redis.xrange("s", through: first).map(\.id) == [first])

            #expect(
                try await redis.xread([("s", .after(first)), ("none", .after(.zero))]).mapValues { $0.map(\.id) } == [
                    "s": [second]
                ]
            )
            #expect(try await redis.xread([("s", .end)]).isEmpty)
            #expect(try await redis.xread([("s", .end)], block: .milliseconds(5)).isEmpty)

            #expect(try await redis.xdel("s", [first, StreamID(1)]) == 1)
            for number in 0..<10 {
                _ = try await redis.xadd(
                    "s",
                    [StreamField("n", "\(number)")],
                    trimming: .maximumLength(5, approximately: false)
                )
            }
            #expect(try await redis.xlen("s") == 5)
            let kept = try await redis.xrange("s")
            #expect(try await redis.xtrim("s", .minimumID(kept[3].id, approximately: false)) == 3)
            #expect(try await redis.xtrim("s", .maximumLength(100, approximately: true, limit: 10)) == 0)
            let exact = StreamID(UInt64.max - 1, 7)
            #expect(try await redis.xadd("s", [StreamField("z", "z")], id: exact) == exact)
            let small = try await failure { try await redis.xadd("s", [StreamField("z", "z")], id: StreamID(5)) }
            #expect(small.code == .server)
            let info = try await redis.xinfoStream("s")
            #expect(info.length == 3 && info.lastGeneratedID == exact && info.groups == 0)
            #expect(info.firstEntry?.id == kept[3].id && info.lastEntry?.id == exact)
            #expect(info.entriesAdded == 13 && info.maximumDeletedID == first)
        }
    }

    @Test(arguments: Dialect.all) func groups(_ dialect: Dialect) async throws {
        try await self.with(dialect) { redis in
            let missing = try await failure { try await redis.xreadGroup("g", consumer: "c", [("s", .new)]) }
            #expect(missing.code == .noGroup)
            try await redis.xgroupCreate("s", "g", from: .after(.zero))
            let twice = try await failure { try await redis.xgroupCreate("s", "g", from: .end) }
            #expect(twice.code == .groupExists)
            var ids: [StreamID] = []
            for number in 0..<5 {
                ids.append(try #require(try await redis.xadd("s", [StreamField("n", "\(number)")])))
            }
            #expect(
                try await redis.xpending("s", "g") == PendingSummary(count: 0, first: nil, last: nil, consumers: [:])
            )
            let read = try await redis.xreadGroup("g", consumer: "a", [("s", .new)], count: 3)
            #expect(read["s"]?.map(\.id) == Array(ids[0..<3]))
            #expect(read["s"]?[1]["n"] == "1")
            #expect(try await redis.xreadGroup("g", consumer: "b", [("s", .new)])["s"]?.count == 2)
            #expect(try await redis.xreadGroup("g", consumer: "b", [("s", .new)]).isEmpty)
            #expect(try await redis.xreadGroup("g", consumer: "b", [("s", .new)], block: .milliseconds(5)).isEmpty)

            let summary = try await redis.xpending("s", "g")
            #expect(summary == PendingSummary(count: 5, first: ids[0], last: ids[4], consumers: ["a": 3, "b": 2]))
            #expect(try await redis.xack("s", "g", [ids[0]]) == 1)
            #expect(try await redis.xack("s", "g", [ids[0]]) == 0)
            #expect(try await redis.xack("s", "g", []) == 0)

            // A deleted entry is still pending, and its replay says so.
            try await redis.xdel("s", [ids[1]])
            let replay = try await redis.xreadGroup("g", consumer: "a", [("s", .after(.zero))])["s"] ?? []
            #expect(replay.map(\.id) == [ids[1], ids[2]])
            #expect(replay.map(\.isDeleted) == [true, false])
            let pending = try await redis.xpending("s", "g", count: 10, consumer: "a")
            #expect(pending.map(\.id) == [ids[1], ids[2]])
            // Asking for one's own counts as a delivery; what is deleted was not delivered.
            #expect(pending.map(\.deliveries) == [1, 2])
            #expect(pending[0].consumer == "a" && pending[0].idle < .seconds(60))
            #expect(try await redis.xpending("s", "g", from: ids[3], through: ids[3], count: 10).map(\.id) == [ids[3]])
            #expect(try await redis.xpending("s", "g", count: 10, idle: .seconds(1_000)).isEmpty)

            // A heartbeat does not count as a delivery.
            let beat = try await redis.xclaim("s", "g", consumer: "a", minimumIdle: .zero, [ids[2]], justIDs: true)
            #expect(beat.map(\.id) == [ids[2]])
            #expect(try await redis.xpending("s", "g", count: 10, consumer: "a").last?.deliveries == 2)
            let taken = try await redis.xclaim(
                "s",
                "g",
                consumer: "b",
                minimumIdle: .zero,
                [ids[2]],
                idle: .seconds(3_600),
                deliveries: 7
            )
            #expect(taken.first?["n"] == "2")
            #expect(try await redis.xclaim("s", "g", consumer: "b", minimumIdle: .zero, []).isEmpty)
            let claimed = try #require(try await redis.xpending("s", "g", count: 10, consumer: "b").first)
            #expect(claimed.deliveries == 7 && claimed.idle >= .seconds(3_600))

            let page = try await redis.xautoclaim("s", "g", consumer: "c", minimumIdle: .zero, count: 1)
            #expect(page.deleted == [ids[1]])
            #expect(page.entries.map(\.id) == [] || page.entries.map(\.id) == [ids[2]])
            let rest = try await redis.xautoclaim("s", "g", consumer: "c", minimumIdle: .zero)
            #expect(rest.cursor == .zero)
            #expect(rest.entries.map(\.id) == Array(ids[2...4]))
            #expect(rest.entries.first?["n"] == "2")
            let just = try await redis.xautoclaim("s", "g", consumer: "c", minimumIdle: .zero, justIDs: true)
            #expect(just.entries.map(\.id) == Array(ids[2...4]) && just.entries[0].fields.isEmpty)

            let info = try #require(try await redis.xinfoGroups("s").first)
            #expect(info.name == "g" && info.pending == 3 && info.lastDeliveredID == ids[4] && info.consumers == 3)
            let consumers = try await redis.xinfoConsumers("s", "g")
            #expect(consumers.map(\.name).sorted() == ["a", "b", "c"])
            #expect(consumers.first { $0.name == "c" }?.pending == 3)
            #expect(try await redis.xgroupCreateConsumer("s", "g", "d"))
            #expect(try await !redis.xgroupCreateConsumer("s", "g", "d"))
            #expect(try await redis.xgroupDeleteConsumer("s", "g", "c") == 3)
            try await redis.xgroupSetID("s", "g", to: .after(.zero))
            #expect(
                try await redis.xreadGroup("g", consumer: "e", [("s", .new)], withoutAcknowledgement: true)["s"]?.count
                    == 4
            )
            #expect(try await redis.xpending("s", "g").count == 0)
            #expect(try await redis.xgroupDestroy("s", "g"))
            #expect(try await !redis.xgroupDestroy("s", "g"))
            let gone = try await failure { try await redis.xgroupCreate("no", "g", from: .end, createsStream: false) }
            #expect(gone.code == .server)
        }
    }

    @Test(arguments: Dialect.all) func keysHashesAndSortedSets(_ dialect: Dialect) async throws {
        try await self.with(dialect) { redis in
            try await redis.ping()
            #expect(try await redis.get("k") == nil)
            #expect(try await redis.set("k", "v", when: .present) == false)
            #expect(try await redis.set("k", RESPArgument([0, 255]), expiresAfter: .seconds(100), when: .absent))
            #expect(try await redis.set("k", "w", when: .absent) == false)
            #expect(try await redis.get("k") == [0, 255])
            #expect(try await redis.expire("k", after: .seconds(5)))
            #expect(try await redis.exists("k"))
            #expect(try await redis.del("k", "none") == 1)
            #expect(try await redis.incr("n") == 1)
            #expect(try await redis.incr("n", by: -5) == -4)

            let wrong = try await failure { try await redis.xlen("n") }
            #expect(wrong.code == .wrongType && wrong.retry == .permanent)

            #expect(try await redis.hset("saga:order:123", ["state": "PENDING", "order_id": "123"]) == 2)
            #expect(try await redis.hset("saga:order:123", ["state": "PAID"]) == 0)
            #expect(try await redis.hget("saga:order:123", "state") == Array("PAID".utf8))
            #expect(try await redis.hget("saga:order:123", "x") == nil)
            #expect(try await redis.hgetall("saga:order:123").keys.sorted() == ["order_id", "state"])
            #expect(try await redis.hgetall("none").isEmpty)
            #expect(try await redis.hincr("saga:order:123", "tries", by: 2) == 2)
            #expect(try await redis.hdel("saga:order:123", "tries", "x") == 1)

            let members = [ScoredMember("a", 1), ScoredMember("b", 2.5), ScoredMember("c", .infinity)]
            #expect(try await redis.zadd("z", members) == 3)
            #expect(try await redis.zadd("z", [ScoredMember("a", 1)]) == 0)
            #expect(try await redis.zrange("z") == members)
            #expect(try await redis.zrange("z", from: .excluding(1), through: .including(2.5)).map(\.string) == ["b"])
            #expect(try await redis.zrange("z", limit: 1).map(\.score) == [1])
            #expect(try await redis.zrange("none").isEmpty)
            #expect(try await redis.zscore("z", "b") == 2.5)
            #expect(try await redis.zscore("z", "x") == nil)
            #expect(try await redis.zcard("z") == 3)
            #expect(try await redis.zremrange("z", through: .excluding(2.5)) == 1)
            #expect(try await redis.zrem("z", "b", "x") == 1)
        }
    }

    @Test(arguments: Dialect.all) func scriptsTransactionsAndInfo(_ dialect: Dialect) async throws {
        try await self.with(dialect) { redis in
            let script = RESPScript("redis.call('INCRBY', KEYS[1], ARGV[1]) return {redis.call('GET', KEYS[1]), 'x'}")
            #expect(try await redis.eval(script, keys: ["n"], arguments: [5]).elements?.first?.integer == 5)
            // The server forgets; nobody notices.
            try await redis.send(["SCRIPT", "FLUSH"])
            #expect(try await redis.eval(script, keys: ["n"], arguments: [5]).elements?.first?.integer == 10)
            let broken = try await failure { try await redis.eval(RESPScript("this is not Lua")) }
            #expect(broken.code == .server)
            let unknown = try await failure {
                try await redis.send(["EVALSHA", RESPArgument(String(repeating: "0", count: 40)), 0])
            }
            #expect(unknown.code == .noScript)

            let replies = try await redis.transaction([["SET", "t", "1"], ["XLEN", "t"], ["INCR", "t"]])
            #expect(replies[0].string == "OK")
            #expect(replies[1].errorMessage?.hasPrefix("WRONGTYPE") == true)
            #expect(replies[2].integer == 2)
            let refused = try await failure { try await redis.transaction([["SET", "t", "9"], ["NOSUCH"]]) }
            #expect(refused.code == .transactionAborted)
            #expect((refused.cause as? RESPError)?.code == .unknownCommand)
            #expect(try await redis.get("t") == Array("2".utf8))
            #expect(try await redis.transaction([]).isEmpty)
            let nested = try await failure { try await redis.transaction([["MULTI"]]) }
            #expect(nested.code == .notAllowed)

            try await redis.send(["WATCH", "t"])
            try await redis.incr("t")
            let watched = try await failure { try await redis.transaction([["SET", "t", "100"]]) }
            #expect(watched.code == .transactionAborted && watched.retry == .notSent)

            let info = try await redis.info()
            #expect(info.product == dialect.engine.name)
            #expect(info.role == "master" && !info.isLoading && info.version != nil)
            #expect((info.usedMemory ?? 0) > 0)
            #expect(try await redis.info("memory").maximumMemory == 0)
            #expect(ServerInfo("# S\r\nbroken\r\na:b:c\r\n\r\n").values == ["a": "b:c"])

            let results = try await redis.pipeline([["SET", "p", "1"], ["NOSUCH"], ["GET", "p"]])
            #expect(results.count == 3)
            #expect(try results[2].get().string == "1")
            #expect(throws: RESPError.self) { try results[1].get() }
        }
    }
}
