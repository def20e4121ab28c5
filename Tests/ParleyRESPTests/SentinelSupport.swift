import Foundation
import ParleyCore
import ProcessTestSupport
import RedisTestSupport

@testable import ParleyRESP

/// A real master, its replica, and three sentinels that know each other and both of them.
struct SentinelSetup: Sendable {
    static let name = "mymaster"

    var master: RedisServer
    var replica: RedisServer
    var sentinels: [RedisServer]

    /// Names the sentinels. Patient, since a fail-over takes seconds and callers are to wait for it.
    var configuration: RESPConfiguration {
        var configuration = RESPConfiguration(
            endpoint: .sentinel(master: Self.name, self.sentinels.map(\.configuration.endpoint))
        )
        configuration.backoff = Backoff(initial: .milliseconds(5), cap: .milliseconds(100))
        configuration.commandTimeout = .seconds(60)
        return configuration
    }

    static func with<Value>(_ engine: Engine, _ body: (SentinelSetup) async throws -> Value) async throws -> Value {
        try await RedisServer.with(engine) { master in
            try await RedisServer.with(engine, options: ["--replicaof", "127.0.0.1 \(master.port)"]) { replica in
                try await self.withSentinels(3, of: master, quorum: 2) { sentinels in
                    let setup = SentinelSetup(master: master, replica: replica, sentinels: sentinels)
                    try await setup.waitUntilComplete()
                    return try await body(setup)
                }
            }
        }
    }

    static func withSentinels<Value>(
        _ count: Int,
        of master: RedisServer,
        quorum: Int,
        options: [String] = [],
        _ body: ([RedisServer]) async throws -> Value
    ) async throws -> Value {
        func watching(_ server: RedisServer) -> RedisServer {
            var server = server
            server.watches = .init(name: Self.name, port: master.port, quorum: quorum)
            return server
        }
        func start(_ sentinels: [RedisServer]) async throws -> Value {
            guard sentinels.count < count else { return try await body(sentinels) }
            return try await RedisServer.with(master.engine, options: options, prepare: watching) { sentinel in
                try await start(sentinels + [sentinel])
            }
        }
        return try await start([])
    }

    /// Before this a fail-over could find no replica, or no majority.
    private func waitUntilComplete() async throws {
        for sentinel in self.sentinels {
            var settings = sentinel.configuration
            settings.prefersRESP3 = false
            try await RESPConnection.withConnection(settings) { connection in
                try await slowly("the sentinels and the replica are known") {
                    let state = try await connection.send(["SENTINEL", "MASTER", RESPArgument(Self.name)])
                    let replicas = try await connection.send(["SENTINEL", "REPLICAS", RESPArgument(Self.name)])
                    return state["num-other-sentinels"]?.integer == 2
                        && replicas.elements?.first?["master-link-status"]?.string == "ok"
                }
            }
        }
    }
}

extension RESPExecutor {
    /// Of the server that answers.
    func port() async throws -> Int? { try await self.info("server")["tcp_port"].flatMap { Int($0) } }
}

/// `eventually` for what takes a server seconds: asked so seldom that the other tests have the processor.
func slowly(_ what: String, _ holds: () async throws -> Bool) async throws {
    guard try await isEventually(within: .seconds(60), holds) else { throw ServerFailure("never came true: \(what)") }
}
