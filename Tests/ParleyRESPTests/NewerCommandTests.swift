import NIOCore
import ParleyCore
import RedisTestSupport
import Synchronization
import Testing

@testable import ParleyRESP

/// Commands of Redis 8, for which there is no server here: their words against the documented syntax, their replies from
/// a script, and what the real older servers make of them.
@Suite(.timeLimit(.minutes(2))) struct NewerCommandTests {
    private static let ids = [StreamID(1, 2), StreamID(3, 4)]
    private static let fields = [StreamField("f", "v"), StreamField("g", bytes: [0, 255])]

    /// What each of the commands sends, as documented.
    private static func all(on redis: some RESPExecutor) -> [(words: [String], send: () async throws -> Void)] {
        let (ids, field) = (Self.ids, [StreamField("f", "v")])
        let limit = StreamTrimming.maximumLength(9)
        return [
            (["XADD", "s", "IDMP", "p", "i", "*", "f", "v"], { try await redis.once(field, .id("i", producer: "p")) }),
            (["XADD", "s", "IDMPAUTO", "p", "*", "f", "v"], { try await redis.once(field, .content(producer: "p")) }),
            (
                ["XADD", "s", "NOMKSTREAM", "IDMP", "p", "i", "MAXLEN", "~", "9", "*", "f", "v"],
                {
                    let once = StreamIdempotence.id("i", producer: "p")
                    _ = try await redis.xaddOnce("s", field, once, trimming: limit, createsStream: false)
                }
            ),
            (["XACKDEL", "s", "g", "KEEPREF", "IDS", "2", "1-2", "3-4"], { try await redis.xackdel("s", "g", ids) }),
            (
                ["XACKDEL", "s", "g", "ACKED", "IDS", "1", "1-2"],
                { try await redis.xackdel("s", "g", [ids[0]], references: .unlessNeeded) }
            ),
            (["XDELEX", "s", "KEEPREF", "IDS", "2", "1-2", "3-4"], { try await redis.xdelex("s", ids) }),
            (
                ["XDELEX", "s", "DELREF", "IDS", "1", "1-2"],
                { try await redis.xdelex("s", [ids[0]], references: .delete) }
            ),
            (["XNACK", "s", "g", "SILENT", "IDS", "1", "1-2"], { try await redis.xnack("s", "g", .silent, [ids[0]]) }),
            (["XNACK", "s", "g", "FAIL", "IDS", "2", "1-2", "3-4"], { try await redis.xnack("s", "g", .failed, ids) }),
            (
                ["XNACK", "s", "g", "FATAL", "IDS", "1", "1-2", "RETRYCOUNT", "5"],
                { try await redis.xnack("s", "g", .fatal, [ids[0]], deliveries: 5) }
            ),
            (
                ["XREADGROUP", "GROUP", "g", "c", "CLAIM", "1500", "STREAMS", "s", ">"],
                { _ = try await redis.xreadGroup("g", consumer: "c", ["s"], claimingAfter: .milliseconds(1_500)) }
            ),
            (
                [
                    "XREADGROUP", "GROUP", "g", "c", "COUNT", "7", "BLOCK", "1", "CLAIM", "0", "NOACK", "STREAMS", "s",
                    "t", ">", ">",
                ],
                {
                    _ = try await redis.xreadGroup(
                        "g",
                        consumer: "c",
                        ["s", "t"],
                        claimingAfter: .zero,
                        count: 7,
                        block: .zero,
                        withoutAcknowledgement: true
                    )
                }
            ),
        ]
    }

    @Test func theWordsAreTheDocumentedOnes() async throws {
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .bytes("_\r\n")
        } _: { server in
            try await RESPConnection.withConnection(server.configuration) { redis in
                for (words, send) in Self.all(on: redis) {
                    _ = try? await send()
                    #expect(server.commands.last == words)
                }
                // Nothing to do is nothing to send.
                let count = server.commands.count
                let nothing = try await redis.xackdel("s", "g", []) + redis.xdelex("s", [])
                #expect(nothing.isEmpty)
                let released = try await redis.xnack("s", "g", .silent, [])
                #expect(released == 0)
                #expect(server.commands.count == count)
            }
        }
    }

    @Test func byteForByte() {
        let command = RESPConnection.xaddOnceCommand("s", Self.fields, .id("i\r\n", producer: "p"))
        var buffer = ByteBuffer()
        command.write(into: &buffer)
        var expected = ByteBuffer(string: "*10\r\n$4\r\nXADD\r\n$1\r\ns\r\n$4\r\nIDMP\r\n$1\r\np\r\n$3\r\ni\r\n\r\n")
        expected.writeString("$1\r\n*\r\n$1\r\nf\r\n$1\r\nv\r\n$1\r\ng\r\n$2\r\n")
        expected.writeBytes([0, 255, 13, 10])
        #expect(buffer == expected)
    }

    @Test func aReadThatBlocksIsKnownToBlock() async throws {
        let words: RESPCommand = ["XREADGROUP", "GROUP", "g", "c", "BLOCK", "5", "CLAIM", "9", "STREAMS", "s", ">"]
        #expect(words.blocking == .upTo(.milliseconds(5)))
    }

    /// The replies of the documentation, in both protocol versions.
    @Test func replies() async throws {
        let reply = Mutex("")
        func with<Value>(_ text: String, _ ask: () async throws -> Value) async throws -> Value {
            reply.withLock { $0 = text }
            return try await ask()
        }
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .bytes(reply.withLock { $0 })
        } _: { server in
            try await RESPConnection.withConnection(server.configuration) { redis in
                let once = StreamIdempotence.content(producer: "p")
                let added = try await with("$3\r\n1-2\r\n") { try await redis.xaddOnce("s", Self.fields, once) }
                #expect(added == StreamID(1, 2))
                for null in ["_\r\n", "$-1\r\n"] {
                    #expect(try await with(null) { try await redis.xaddOnce("s", Self.fields, once) } == nil)
                }
                let ids = Self.ids + [StreamID(5)]
                let results = "*3\r\n:1\r\n:-1\r\n:2\r\n"
                #expect(
                    try await with(results) { try await redis.xackdel("s", "g", ids) }
                        == [.deleted, .notFound, .stillNeeded]
                )
                #expect(
                    try await with(results) { try await redis.xdelex("s", ids) } == [.deleted, .notFound, .stillNeeded]
                )
                #expect(try await with(":2\r\n") { try await redis.xnack("s", "g", .failed, ids) } == 2)

                let claimed = "*4\r\n$3\r\n1-2\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n:1500\r\n:3\r\n"
                let gone = "*4\r\n$3\r\n2-0\r\n_\r\n:1500\r\n:3\r\n"
                let new = ["*2\r\n$3\r\n3-4\r\n*2\r\n$1\r\nf\r\n$1\r\nw\r\n", "*4\r\n$3\r\n4-0\r\n*0\r\n:0\r\n:0\r\n"]
                let entries = "*4\r\n" + claimed + gone + new.joined()
                for shape in ["%1\r\n$1\r\ns\r\n\(entries)", "*1\r\n*2\r\n$1\r\ns\r\n\(entries)"] {
                    let read = try await with(shape) {
                        try await redis.xreadGroup("g", consumer: "c", ["s"], claimingAfter: .seconds(1))
                    }
                    let deliveries = try #require(read["s"])
                    #expect(deliveries.map(\.entry.id.milliseconds) == [1, 2, 3, 4])
                    #expect(deliveries.map(\.idle) == [.milliseconds(1_500), .milliseconds(1_500), nil, .zero])
                    #expect(deliveries.map(\.deliveries) == [3, 3, nil, 0])
                    #expect(deliveries[0].entry["f"] == "v" && deliveries[1].entry.isDeleted)
                }
                for null in ["_\r\n", "*-1\r\n"] {
                    let nothing = try await with(null) {
                        try await redis.xreadGroup("g", consumer: "c", ["s"], claimingAfter: .seconds(1))
                    }
                    #expect(nothing.isEmpty)
                }
                // What XPENDING shows of an entry that was released.
                let pending = try await with("*1\r\n*4\r\n$3\r\n1-2\r\n$0\r\n\r\n:-1\r\n:1\r\n") {
                    try await redis.xpending("s", "g", count: 10)
                }
                #expect(pending == [PendingEntry(id: StreamID(1, 2), consumer: "", idle: .zero, deliveries: 1)])
            }
        }
    }

    @Test(arguments: [
        "+OK\r\n", "*1\r\n:1\r\n", "*3\r\n:1\r\n:1\r\n:1\r\n", "*2\r\n+x\r\n+y\r\n", "%1\r\n+s\r\n:1\r\n", ",1.5\r\n",
        "%1\r\n+s\r\n*1\r\n*4\r\n$3\r\n1-2\r\n*0\r\n+x\r\n:1\r\n", "%1\r\n+s\r\n*1\r\n*3\r\n$3\r\n1-2\r\n*0\r\n:1\r\n",
    ])
    func repliesOfTheWrongShapeAreErrors(_ shape: String) async throws {
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .bytes(shape)
        } _: { server in
            try await RESPConnection.withConnection(server.configuration) { redis in
                for (words, send) in Self.all(on: redis) {
                    // One integer, where the ids are one, is what these two answer.
                    if shape == "*1\r\n:1\r\n", words.contains("1"), words[0] != "XNACK", words[0] != "XREADGROUP" {
                        continue
                    }
                    let error = try await failure { try await send() }
                    #expect(error.code == .unexpectedReply && error.retry == .mayHaveRun)
                }
                #expect(redis.isOpen)
            }
        }
    }

    @Test(arguments: Dialect.all) func olderServersRefuseThemAndGoOn(_ dialect: Dialect) async throws {
        try await RedisServer.with(dialect.engine) { server in
            var configuration = server.configuration
            configuration.prefersRESP3 = dialect.prefersRESP3
            try await RESPConnection.withConnection(configuration) { redis in
                try await redis.xgroupCreate("s", "g", from: .after(.zero))
                try await redis.xgroupCreate("t", "g", from: .after(.zero))
                for (words, send) in Self.all(on: redis) {
                    let error = try await failure { try await send() }
                    #expect(error.retry == .permanent)
                    if words[0] == "XADD" || words[0] == "XREADGROUP" {
                        #expect(error.code == .server)
                    } else {
                        #expect(error.code == .unknownCommand && error.message.contains("older"))
                    }
                    try await redis.ping()
                }
                #expect(try await redis.xlen("s") == 0)
                #expect(try await redis.xpending("s", "g").count == 0)
            }
            try await withClient(configuration) { (client) async throws in
                #expect(try await client.supports("xadd"))
                #expect(try await client.supports("XGROUP|CREATE"))
                #expect(try await client.supports("XADD", option: "NOMKSTREAM"))
                #expect(try await client.supports("XADD", option: "LIMIT"))
                #expect(try await client.supports("XADD", option: "*"))
                for name in ["XNACK", "XACKDEL", "XDELEX", "XGROUP|NONE", "no such", ""] {
                    #expect(try await !client.supports(name), "\(name)")
                }
                for (name, option) in [
                    ("XADD", "IDMP"), ("XADD", "threshold"), ("XREADGROUP", "CLAIM"), ("XNACK", "X"),
                ] {
                    #expect(try await !client.supports(name, option: option))
                }
            }
        }
    }

    @Test func whatIsKnownIsForgottenWithTheConnection() async throws {
        try await FakeServer.with { command, connection in
            if let answer = FakeServer.handshake(command) { return answer }
            if command.first == "GET" { return .bytes("_\r\n") }
            if command.first == "COMMAND" {
                return .bytes(connection == 0 ? "*1\r\n*-1\r\n" : "*1\r\n*1\r\n+xnack\r\n")
            }
            return .close
        } _: { server in
            try await withClient(server.configuration) { client in
                func questions() -> Int { server.commands.filter { $0 == ["COMMAND", "INFO", "XNACK"] }.count }
                // So that the connection is there, whose coming makes it forget.
                _ = try await client.get("k")
                #expect(try await !client.supports("XNACK"))
                #expect(try await !client.supports("xnack"))
                #expect(questions() == 1)
                let lost = try await failure { try await client.ping() }
                #expect(lost.code == .connectionLost)
                try await eventually("the new one knows it") { try await client.supports("XNACK") }
                #expect(try await client.supports("XNACK"))
                #expect(questions() == 2)
            }
        }
    }

    @Test func whatIsRememberedIsBounded() {
        let knowledge = CommandKnowledge()
        let (_, generation) = knowledge.look(.init(command: "0"))
        for number in 0..<10_000 { knowledge.learn(.init(command: "\(number)"), true, generation: generation) }
        let kept = (0..<10_000).filter { knowledge.look(.init(command: "\($0)")).answer != nil }
        #expect(kept.count <= CommandKnowledge.maximumAnswers && kept.contains(9_999))
        // An answer from before a new connection is none.
        knowledge.forget()
        knowledge.learn(.init(command: "x"), true, generation: generation)
        #expect(knowledge.look(.init(command: "x")).answer == nil)
    }

    @Test func aServerThatCannotTellSaysNo() async throws {
        try await FakeServer.with { command, _ in
            if let answer = FakeServer.handshake(command) { return answer }
            switch command.dropFirst().first {
            case "DOCS": return .bytes("-ERR Unknown subcommand or wrong number of arguments for 'DOCS'.\r\n")
            case "INFO" where command.last == "GET": return .bytes("-NOPERM this user has no permissions\r\n")
            default: return .bytes("+OK\r\n")
            }
        } _: { server in
            try await withClient(server.configuration) { client in
                #expect(try await !client.supports("XADD", option: "IDMP"))
                let forbidden = try await failure { try await client.supports("GET") }
                #expect(forbidden.code == .noPermission)
                let odd = try await failure { try await client.supports("SET") }
                #expect(odd.code == .unexpectedReply)
            }
        }
    }
}

extension RESPExecutor {
    fileprivate func once(_ fields: [StreamField], _ idempotence: StreamIdempotence) async throws {
        _ = try await self.xaddOnce("s", fields, idempotence)
    }
}
