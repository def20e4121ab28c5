import NIOCore
import NIOEmbedded
import NIOPosix
import ParleyCore
import RedisTestSupport
import Synchronization
import Testing

@testable import ParleyRESP

/// One connection against a server that says what the test wants, over real sockets.
@Suite(.timeLimit(.minutes(1))) struct ConnectionTests {
    @Test(arguments: [
        "-ERR unknown command `HELLO`, with args beginning with: `3`", "-NOPROTO unsupported protocol version",
    ])
    func anOldServerIsSpokenToInRESP2(_ refusal: String) async throws {
        try await FakeServer.with { command, _ in
            switch command.first {
            case "HELLO": .bytes(refusal + "\r\n")
            case "CLIENT" where command[1] == "SETINFO": .bytes("-ERR unknown subcommand\r\n")
            case "GET": .bytes("$-1\r\n")
            default: .bytes("+OK\r\n")
            }
        } _: { server in
            var configuration = server.configuration
            configuration.username = "app"
            configuration.password = "secret"
            configuration.clientName = "tests"
            configuration.database = 2
            try await RESPConnection.withConnection(configuration) { connection in
                let value = try await connection.get("x")
                #expect(value == nil && !connection.usesRESP3)
            }
            #expect(
                server.commands == [
                    ["HELLO", "3", "AUTH", "app", "secret", "SETNAME", "tests"], ["AUTH", "app", "secret"],
                    ["CLIENT", "SETNAME", "tests"], ["SELECT", "2"], ["CLIENT", "SETINFO", "LIB-NAME", "parley"],
                    ["GET", "x"],
                ]
            )
        }
    }

    @Test(arguments: ["HTTP/1.1 400 Bad Request\r\n\r\n", "\u{15}\u{3}\u{3}", "*1\r\n>0\r\n"])
    func aPeerThatIsNoRedisIsRefused(_ words: String) async throws {
        try await FakeServer.with { _, _ in
            .bytes(words)
        } _: { server in
            let error = try await failure { try await RESPConnection.withConnection(server.configuration) { _ in } }
            #expect(error.code == .protocolViolation)
        }
    }

    @Test func aPeerThatIsSilentInTheHandshakeIsGivenUp() async throws {
        try await FakeServer.with { _, _ in
            .nothing
        } _: { server in
            var configuration = server.configuration
            configuration.connectTimeout = .milliseconds(100)
            let error = try await failure { [configuration] in
                try await RESPConnection.withConnection(configuration) { _ in }
            }
            #expect(error.code == .cannotConnect)
            #expect(error.retry == .notSent)
        }
    }

    @Test func garbageFailsWhatIsUnderWayAndNotWhatWasAnswered() async throws {
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .bytes(command.first == "PING" ? "+PONG\r\n?garbage\r\n" : "")
        } _: { server in
            try await RESPConnection.withConnection(server.configuration) { connection in
                async let lost = failure { try await connection.get("x") }
                try await eventually("the GET is there") { server.commands.last == ["GET", "x"] }
                // Replies come in order: PING's is taken for GET's, as the protocol demands.
                async let ping = failure { try await connection.ping() }
                _ = try? await lost
                let error = try await ping
                #expect(error.code == .protocolViolation)
                #expect(error.retry == .mayHaveRun)
                let later = try await failure { try await connection.ping() }
                #expect(later.retry == .notSent)
            }
        }
    }

    @Test func aReplyThatNobodyAskedForEndsTheConnection() async throws {
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .bytes("+PONG\r\n+PONG\r\n:1\r\n")
        } _: { server in
            try await RESPConnection.withConnection(server.configuration) { connection in
                try await connection.ping()
                try await eventually("the connection is closed") { !connection.isOpen }
                let error = try await failure { try await connection.ping() }
                #expect(error.code == .protocolViolation)
                #expect(error.retry == .notSent)
            }
        }
    }

    @Test func aDeadlineDoesNotShiftTheReplies() async throws {
        try await FakeServer.with { command, _ in
            if let answer = FakeServer.handshake(command) { return answer }
            // Both are answered when the second is there.
            return command == ["GET", "b"] ? .bytes("$1\r\nA\r\n$1\r\nB\r\n") : .nothing
        } _: { server in
            try await RESPConnection.withConnection(server.configuration) { connection in
                let soon = Deadline(after: .milliseconds(30), on: SystemTimeSource())
                let error = try await failure { try await connection.within(soon).get("a") }
                #expect(error.code == .deadlineExceeded)
                #expect(error.retry == .mayHaveRun)
                #expect(try await connection.get("b") == Array("B".utf8))
                let gone = try await failure { try await connection.within(soon).get("c") }
                #expect(gone.retry == .notSent)
                #expect(!server.commands.contains(["GET", "c"]))
            }
        }
    }

    @Test func aCancelledCommandDoesNotShiftTheReplies() async throws {
        try await FakeServer.with { command, _ in
            if let answer = FakeServer.handshake(command) { return answer }
            return command == ["GET", "b"] ? .bytes("$1\r\nA\r\n$1\r\nB\r\n") : .nothing
        } _: { server in
            try await RESPConnection.withConnection(server.configuration) { connection in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        let error = try await failure { try await connection.get("a") }
                        #expect(error.code == .cancelled)
                        #expect(error.retry == .mayHaveRun)
                        #expect(error.cause is CancellationError)
                    }
                    try await eventually("the GET is there") { server.commands.contains(["GET", "a"]) }
                    group.cancelAll()
                    try await group.waitForAll()
                }
                #expect(try await connection.get("b") == Array("B".utf8))
            }
        }
    }

    @Test func theLimitsOfWhatWaitsHold() async throws {
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .nothing
        } _: { server in
            var configuration = server.configuration
            configuration.maximumInFlight = 2
            configuration.maximumWaiting = 3
            try await RESPConnection.withConnection(configuration) { connection in
                try await withThrowingTaskGroup(of: RESPError.self) { group in
                    for _ in 0..<2 { group.addTask { try await failure { try await connection.get("x") } } }
                    try await eventually("two are there") { server.commands.filter { $0 == ["GET", "x"] }.count == 2 }
                    for _ in 0..<3 { group.addTask { try await failure { try await connection.get("y") } } }
                    try await eventually("three wait") { connection.load == 5 }
                    let error = try await failure { try await connection.get("z") }
                    #expect(error.code == .overloaded)
                    #expect(error.retry == .notSent)
                    connection.abort()
                    var safeties: [RetrySafety] = []
                    for try await error in group { safeties.append(error.retry) }
                    #expect(safeties.filter { $0 == .mayHaveRun }.count == 2)
                    #expect(safeties.filter { $0 == .notSent }.count == 3)
                    // What waited was never written.
                    #expect(!server.commands.contains(["GET", "y"]))
                }
            }
        }
    }

    @Test func aPeerThatOwesAReplyAndIsSilentIsClosed() async throws {
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .nothing
        } _: { server in
            var configuration = server.configuration
            configuration.silenceLimit = .milliseconds(100)
            try await RESPConnection.withConnection(configuration) { connection in
                let error = try await failure { try await connection.get("x") }
                #expect(error.code == .connectionLost)
                #expect(error.retry == .mayHaveRun)
                #expect(!connection.isOpen)
            }
        }
    }

    @Test func pushesGoTheirOwnWay() async throws {
        let pushes = Mutex<[[RESPValue]]>([])
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .bytes(">2\r\n+invalidate\r\n*1\r\n+k\r\n+PONG\r\n>1\r\n+late\r\n")
        } _: { server in
            var configuration = server.configuration
            configuration.onPush = { push in pushes.withLock { $0.append(push) } }
            try await RESPConnection.withConnection(configuration) { connection in
                try await connection.ping()
                try await connection.ping()
                #expect(pushes.withLock { $0.count } >= 3)
                #expect(pushes.withLock { $0.first } == [.simpleString("invalidate"), .array([.simpleString("k")])])
            }
        }
    }

    @Test(arguments: ["SUBSCRIBE", "psubscribe", "MONITOR", "QUIT", "RESET", "HELLO", "SYNC"])
    func whatBreaksTheLineIsNotSent(_ name: String) async throws {
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .bytes("+PONG\r\n")
        } _: { server in
            try await RESPConnection.withConnection(server.configuration) { connection in
                let error = try await failure { try await connection.send([RESPArgument(name), "x"]) }
                #expect(error.code == .notAllowed)
                let reply = try await failure { try await connection.send(["CLIENT", "REPLY", "OFF"]) }
                #expect(reply.code == .notAllowed)
                try await connection.ping()
            }
        }
    }

    @Test func repliesOfTheWrongShapeAreErrors() async throws {
        let shapes = ["+OK\r\n", "_\r\n", "*1\r\n:1\r\n", "%1\r\n+a\r\n+b\r\n", "*3\r\n:1\r\n:2\r\n:3\r\n", ",1.5\r\n"]
        for shape in shapes {
            try await FakeServer.with { command, _ in
                FakeServer.handshake(command) ?? .bytes(shape)
            } _: { server in
                try await RESPConnection.withConnection(server.configuration) { connection in
                    // Each throws or gives something; none traps, and the connection goes on.
                    _ = try? await connection.xlen("s")
                    _ = try? await connection.xrange("s")
                    _ = try? await connection.xread([("s", .after(.zero))])
                    _ = try? await connection.xpending("s", "g")
                    _ = try? await connection.xpending("s", "g", count: 1)
                    _ = try? await connection.xautoclaim("s", "g", consumer: "c", minimumIdle: .zero)
                    _ = try? await connection.xclaim("s", "g", consumer: "c", minimumIdle: .zero, [.zero])
                    _ = try? await connection.xinfoStream("s")
                    _ = try? await connection.xinfoGroups("s")
                    _ = try? await connection.xinfoConsumers("s", "g")
                    _ = try? await connection.hgetall("h")
                    _ = try? await connection.zrange("z")
                    _ = try? await connection.info()
                    _ = try? await connection.transaction([["PING"]])
                    #expect(connection.isOpen)
                }
            }
        }
    }

    @Test func theHandlerTakesBytesOneByOne() throws {
        let channel = EmbeddedChannel()
        let connection = RESPConnection(
            channel: channel,
            configuration: RESPConfiguration(endpoint: .host("nowhere")),
            isShared: true,
            time: SystemTimeSource()
        )
        try channel.pipeline.syncOperations.addHandler(RESPChannelHandler(connection: connection))
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        let hello = try #require(try channel.readOutbound(as: ByteBuffer.self))
        #expect(hello == ByteBuffer(string: "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"))
        for byte in "%1\r\n$5\r\nproto\r\n:3\r\n".utf8 { try channel.writeInbound(ByteBuffer(bytes: [byte])) }
        let introduction = try channel.readOutbound(as: ByteBuffer.self)
        #expect(introduction != nil)
        #expect(!connection.isOpen)
        for byte in "+OK\r\n".utf8 { try channel.writeInbound(ByteBuffer(bytes: [byte])) }
        #expect(connection.isOpen && connection.usesRESP3)
        _ = try channel.finish(acceptAlreadyClosed: true)
        #expect(!connection.isOpen)
    }
}
