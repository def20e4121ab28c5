import ParleyCore
import RedisTestSupport
import Synchronization
import Testing

@testable import ParleyRESP

/// A client of one node, while slots move to another: on two real nodes, and where redirections go in circles.
@Suite(.timeLimit(.minutes(2))) struct RedirectionTests {
    @Test(arguments: Dialect.all) func aSlotThatMovesWhileItIsUsed(_ dialect: Dialect) async throws {
        try await Self.withNodes(dialect.engine) { old, new in
            var configuration = old.configuration
            configuration.prefersRESP3 = dialect.prefersRESP3
            var following = configuration
            following.followsRedirections = true
            try await RESPConnection.withConnection(old.configuration) { a in
                try await RESPConnection.withConnection(new.configuration) { b in
                    let (slot, ids) = try await Self.join(a, b, old, new)
                    try await a.set("{t}here", "1")
                    try await a.set("{t}stays", "1")
                    try await b.send(["CLUSTER", "SETSLOT", slot, "IMPORTING", ids.old])
                    try await a.send(["CLUSTER", "SETSLOT", slot, "MIGRATING", ids.new])

                    try await withClient(configuration) { client in
                        let error = try await failure { try await client.set("{t}away", "x") }
                        #expect(error.code == .ask && error.redirection?.port == new.port)
                    }
                    try await withClient(following) { client in
                        // One that is still there, one that is not, and one that has left.
                        #expect(try await client.incr("{t}here") == 2)
                        #expect(try await client.incr("{t}away") == 1)
                        try await Self.migrate("{t}here", a, to: new)
                        #expect(try await client.incr("{t}here") == 3)
                        #expect(try await client.incr("{t}away") == 2)
                        // Many at once: each is counted exactly once.
                        try await withThrowingTaskGroup(of: Void.self) { group in
                            for _ in 0..<200 { group.addTask { try await client.incr("{t}many") } }
                            try await group.waitForAll()
                        }
                        #expect(try await client.incr("{t}many") == 201)
                        // More than one command is not taken apart.
                        let block = try await client.pipeline([["INCR", "{t}here"], ["INCR", "{t}away"]])
                        for result in block {
                            let error = try await failure { try result.get() }
                            #expect(error.code == .ask)
                        }
                        // Keys on both sides: nobody can tell but the one who asked.
                        let split = try await failure { try await client.send(["MGET", "{t}stays", "{t}here"]) }
                        #expect(split.code == .tryAgain && split.retry == .notSent)
                        try await Self.migrate("{t}stays", a, to: new)

                        for node in [b, a] { try await node.send(["CLUSTER", "SETSLOT", slot, "NODE", ids.new]) }
                        #expect(try await client.incr("{t}here") == 4)
                    }
                    try await withClient(configuration) { client in
                        let error = try await failure { try await client.incr("{t}here") }
                        #expect(error.code == .moved && error.redirection?.port == new.port)
                    }
                    #expect(try await b.get("{t}here") == Array("4".utf8))
                }
            }
        }
    }

    @Test func circlesEnd() async throws {
        let ports = Mutex([Int]())
        let script: FakeServer.Script = { command, _ in
            FakeServer.handshake(command) ?? .bytes("-MOVED 1 127.0.0.1:\(ports.withLock { $0.last ?? 0 })\r\n")
        }
        try await FakeServer.with(script) { first in
            try await FakeServer.with(script) { second in
                ports.withLock { $0 = [first.port, second.port] }
                var configuration = first.configuration
                configuration.followsRedirections = true
                try await withClient(configuration) { client in
                    let error = try await failure { try await client.get("k") }
                    #expect(error.code == .moved && error.redirection?.port == second.port)
                }
                let sent = [first, second].map { $0.commands.filter { $0.first == "GET" }.count }
                #expect(sent == [1, RedirectionFollower.maximumHops])
                #expect(second.connections == 1)
            }
        }
    }

    @Test(arguments: ["MOVED", "MOVED 1", "MOVED x 127.0.0.1:1", "ASK 1 127.0.0.1", "ASK 99999 a:1", "MOVED 1 a:0"])
    func whatIsNoPlaceIsTheErrorItWas(_ refusal: String) async throws {
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .bytes("-\(refusal)\r\n")
        } _: { server in
            var configuration = server.configuration
            configuration.followsRedirections = true
            try await withClient(configuration) { client in
                let error = try await failure { try await client.get("k") }
                #expect(error.code == (refusal.hasPrefix("ASK") ? .ask : .moved))
                #expect(server.commands.filter { $0.first == "GET" }.count == 1)
            }
        }
    }

    /// `ASKING` and its command are one block on a connection that everybody shares; a node without a name is the host
    /// that was asked; and a connection that is lost is made again.
    @Test(arguments: ["", "?", "127.0.0.1"]) func whatTheOtherNodeSees(_ host: String) async throws {
        let other: FakeServer.Script = { command, connection in
            if let answer = FakeServer.handshake(command) { return answer }
            if command == ["ASKING"] { return .bytes("+OK\r\n") }
            return connection == 0 && command == ["GET", "lost"] ? .close : .bytes("$1\r\nv\r\n")
        }
        try await FakeServer.with(other) { other in
            try await FakeServer.with { command, _ in
                FakeServer.handshake(command) ?? .bytes("-ASK 7 \(host):\(other.port)\r\n")
            } _: { server in
                var configuration = server.configuration
                configuration.followsRedirections = true
                try await withClient(configuration) { client in
                    #expect(try await client.get("k") == Array("v".utf8))
                    let error = try await failure { try await client.get("lost") }
                    #expect(error.code == .connectionLost && error.retry == .mayHaveRun)
                    #expect(try await client.get("lost") == Array("v".utf8))
                }
                let seen = other.commands.filter { ["ASKING", "GET"].contains($0.first) }
                #expect(
                    seen == [["ASKING"], ["GET", "k"], ["ASKING"], ["GET", "lost"], ["ASKING"], ["GET", "lost"]]
                )
                #expect(other.connections == 2)
            }
        }
    }

    @Test func aNodeThatIsAwayIsAnErrorThatSaysSo() async throws {
        let dead = try await freePort()
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .bytes("-MOVED 7 127.0.0.1:\(dead)\r\n")
        } _: { server in
            var configuration = server.configuration
            configuration.followsRedirections = true
            try await withClient(configuration) { client in
                let error = try await failure { try await client.get("k") }
                #expect(error.code == .cannotConnect && error.retry == .notSent)
                #expect(error.server == "127.0.0.1:\(dead)")
            }
        }
    }

    /// One that ends every handshake is not tried again and again until the deadline.
    @Test func aNodeThatHangsUpIsAnErrorAtOnce() async throws {
        try await FakeServer.with({ _, _ in .close }) { rude in
            try await FakeServer.with { command, _ in
                FakeServer.handshake(command) ?? .bytes("-MOVED 7 127.0.0.1:\(rude.port)\r\n")
            } _: { server in
                var configuration = server.configuration
                configuration.followsRedirections = true
                try await withClient(configuration) { client in
                    let error = try await failure { try await client.get("k") }
                    #expect(error.code == .connectionLost && error.retry == .notSent)
                    #expect(rude.connections == 1)
                }
            }
        }
    }

    // MARK: Two nodes

    private static func withNodes(
        _ engine: Engine,
        _ body: (_ old: RedisServer, _ new: RedisServer) async throws -> Void
    ) async throws {
        func clustered(_ server: RedisServer) async throws -> RedisServer {
            var server = server
            // The bus is at port + 10000 unless said, which may be none.
            server.options = ["--cluster-enabled", "yes", "--cluster-port", "\(try await freePort())"]
            return server
        }
        try await RedisServer.with(engine, prepare: clustered) { old in
            try await RedisServer.with(engine, prepare: clustered) { new in try await body(old, new) }
        }
    }

    /// Makes one cluster of them, in which the old one has every slot; returns that of `{t}`.
    private static func join(
        _ a: RESPConnection,
        _ b: RESPConnection,
        _ old: RedisServer,
        _ new: RedisServer
    ) async throws -> (slot: RESPArgument, ids: (old: RESPArgument, new: RESPArgument)) {
        try await a.send(["CLUSTER", "ADDSLOTSRANGE", 0, 16_383])
        let meeting = ["CLUSTER", "MEET", "127.0.0.1", "\(new.port)", new.options.last ?? ""].map { RESPArgument($0) }
        try await a.send(RESPCommand(meeting))
        for node in [a, b] {
            try await slowly("they know each other") {
                let info = ServerInfo(try await node.send(["CLUSTER", "INFO"]).string ?? "")
                return info["cluster_state"] == "ok" && info["cluster_known_nodes"] == "2"
            }
        }
        func id(_ node: RESPConnection) async throws -> RESPArgument {
            RESPArgument(try await node.send(["CLUSTER", "MYID"]).string ?? "")
        }
        let slot = RESPArgument(try await a.send(["CLUSTER", "KEYSLOT", "{t}"]).integer ?? -1)
        return (slot, (try await id(a), try await id(b)))
    }

    private static func migrate(
        _ key: RESPArgument,
        _ from: RESPConnection,
        to node: RedisServer
    ) async throws {
        let reply = try await from.send(["MIGRATE", "127.0.0.1", RESPArgument(node.port), key, 0, 5_000])
        guard reply.string == "OK" else { throw ServerFailure("MIGRATE: \(reply)") }
    }
}
