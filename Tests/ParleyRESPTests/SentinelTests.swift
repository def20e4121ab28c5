import Foundation
import ParleyCore
import RedisTestSupport
import Synchronization
import Testing

@testable import ParleyRESP

/// The client finds its master: on a real master with a replica and three sentinels, and among sentinels that lie.
@Suite(.timeLimit(.minutes(3))) struct SentinelTests {
    @Test(arguments: Engine.all) func writesGoOnAfterTheMasterWasKilled(_ engine: Engine) async throws {
        try await SentinelSetup.with(engine) { setup in
            try await withClient(setup.configuration) { client in
                // One that is idle now must not be what a later caller gets.
                try await client.withConnection { try await $0.ping() }
                let workers = 20
                let tally = Tally()
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for worker in 0..<workers {
                        group.addTask {
                            var number = 0
                            while !tally.isOver {
                                number += 1
                                let name = "\(worker)/\(number)"
                                do throws(RESPError) {
                                    _ = try await client.xadd("s", [StreamField("w", name)])
                                    tally.add(name)
                                } catch {
                                    tally.add(error)
                                }
                            }
                        }
                    }
                    try await slowly("progress") { tally.added.count > 200 }
                    try await setup.master.kill()
                    // A caller that comes while there is no master is served by the next one and notices nothing.
                    try await client.set("asked while it was away", "x")
                    #expect(try await client.port() == setup.replica.port)
                    let before = tally.added.count
                    try await slowly("progress at the new master") { tally.added.count > before + 200 }
                    tally.stop()
                    try await group.waitForAll()
                }
                // What was in flight is what is not sure; everything that was not sent was sent to the new master.
                let errors = tally.unsure
                // Each worker can have lost one command on each shared connection.
                #expect(errors.count <= workers * setup.configuration.sharedConnections)
                #expect(errors.allSatisfy { $0.code == .connectionLost && $0.retry == .mayHaveRun })
                let entries = try await client.xrange("s").compactMap { $0["w"] }
                #expect(Set(entries).count == entries.count, "something was sent twice")
                // Replication is asynchronous: the last ones before the kill may be lost, what came after not.
                let confirmed = tally.added
                #expect(Set(entries).isSuperset(of: confirmed.suffix(200)))
                try await client.withConnection { try await Self.expect($0, setup.replica.port) }
                #expect(try await client.get("asked while it was away") != nil)
            }
        }
    }

    @Test func aMasterThatBecomesAReplicaIsLeft() async throws {
        try await SentinelSetup.with(.redis) { setup in
            try await withClient(setup.configuration) { client in
                try await client.set("k", "1")
                #expect(try await client.port() == setup.master.port)
                try await client.withConnection { leased in
                    try await leased.ping()
                    try await RESPConnection.withConnection(setup.sentinels[0].configuration) {
                        try await $0.send(["SENTINEL", "FAILOVER", RESPArgument(SentinelSetup.name)])
                    }
                    try await slowly("writes reach the new master") {
                        do throws(RESPError) {
                            try await client.set("k", "2")
                            return try await client.info("server")["tcp_port"] == "\(setup.replica.port)"
                        } catch {
                            // Never anything that a caller could not know how to go on from.
                            guard error.code == .readOnly || error.code == .connectionLost else { throw error }
                            return false
                        }
                    }
                    // What was leased from the old master takes no more.
                    try await eventually("the old one is given up") { !leased.isOpen }
                }
                try await client.withConnection { try await Self.expect($0, setup.replica.port) }
            }
        }
    }

    @Test func readOnlyLeadsToANewQuestion() async throws {
        let isDemoted = Mutex(false)
        func server(_ number: Int) -> FakeServer.Script {
            { command, _ in
                if let answer = FakeServer.handshake(command) { return answer }
                switch command.first {
                case "ROLE": return .bytes("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n")
                case "GET": return .bytes("$1\r\n\(number)\r\n")
                default:
                    guard number == 1 else { return .bytes("+OK\r\n") }
                    isDemoted.withLock { $0 = true }
                    return .bytes("-READONLY You can't write against a read only replica.\r\n")
                }
            }
        }
        try await FakeServer.with(server(1)) { old in
            try await FakeServer.with(server(2)) { new in
                let script: FakeServer.Script = { command, _ in
                    FakeServer.handshake(command)
                        ?? Self.address(isDemoted.withLock { $0 } ? new.port : old.port)
                }
                try await FakeServer.with(script) { sentinel in
                    try await withClient(Self.configuration([sentinel])) { client in
                        #expect(try await client.get("k") == Array("1".utf8))
                        // An idle one and the shared one both lead to the old server.
                        try await client.withConnection { leased in
                            let error = try await failure { try await leased.set("k", "v") }
                            #expect(error.code == .readOnly && error.retry == .notSent)
                        }
                        let error = try await failure { try await client.set("k", "v") }
                        #expect(error.code == .readOnly && error.retry == .notSent)
                        #expect(try await client.set("k", "v"))
                        #expect(try await client.get("k") == Array("2".utf8))
                        let value = try await client.withConnection { try await $0.get("k") }
                        #expect(value == Array("2".utf8))
                        #expect(old.commands.filter { $0.first == "SET" }.count == 2)
                        #expect(new.commands.filter { $0.first == "SET" }.count == 1)
                    }
                }
            }
        }
    }

    /// A master that was replaced by hand does not know it for ten seconds, and what it takes until then is lost.
    @Test func anotherMasterIsNoticedWithoutAnyError() async throws {
        let hasMoved = Mutex(false)
        func server(_ number: Int) -> FakeServer.Script {
            { command, _ in
                if let answer = FakeServer.handshake(command) { return answer }
                return .bytes(command == ["ROLE"] ? "*1\r\n$6\r\nmaster\r\n" : "$1\r\n\(number)\r\n")
            }
        }
        try await FakeServer.with(server(1)) { old in
            try await FakeServer.with(server(2)) { new in
                let script: FakeServer.Script = { command, _ in
                    FakeServer.handshake(command) ?? Self.address(hasMoved.withLock { $0 } ? new.port : old.port)
                }
                try await FakeServer.with(script) { sentinel in
                    var configuration = Self.configuration([sentinel])
                    configuration.sentinelInterval = .milliseconds(20)
                    configuration.sharedConnections = 2
                    try await withClient(configuration) { client in
                        try await client.withConnection { leased in
                            #expect(try await client.get("k") == Array("1".utf8))
                            hasMoved.withLock { $0 = true }
                            try await eventually("the new one answers") {
                                try await client.get("k") == Array("2".utf8)
                            }
                            try await eventually("the old one is given up") { !leased.isOpen }
                        }
                        // All of the questions were asked on a few connections.
                        #expect(sentinel.connections < 12)
                        try await eventually("it goes on asking") { Self.questions(sentinel) > 20 }
                        #expect(sentinel.connections < 12)
                    }
                }
            }
        }
    }

    @Test func sentinelsThatLieAreDownOrSilentAreNotTheEnd() async throws {
        try await RedisServer.with { master in
            try await RedisServer.with(options: ["--replicaof", "127.0.0.1 \(master.port)"]) { replica in
                let dead = try await freePort()
                try await Self.withSentinel(at: replica.port) { behind in
                    try await Self.withSentinel(at: dead) { stale in
                        try await FakeServer.with({ _, _ in .nothing }) { silent in
                            try await Self.withSentinel(at: master.port) { right in
                                var configuration = Self.configuration([behind, stale, silent, right])
                                guard case .sentinel(var group) = configuration.endpoint.kind else { return }
                                group.endpoints.insert(.host("127.0.0.1", port: dead), at: 0)
                                configuration.endpoint = .sentinel(master: "m", group.endpoints)
                                // The silent one has a fifth of it.
                                configuration.connectTimeout = .seconds(10)
                                configuration.sharedConnections = 1
                                try await withClient(configuration) { client in
                                    #expect(try await client.port() == master.port)
                                    // The next connection asks the one that was right, and no other.
                                    try await client.withConnection { try await Self.expect($0, master.port) }
                                }
                                #expect(Self.questions(behind) == 1)
                                #expect(Self.questions(stale) == 1)
                                #expect(Self.questions(right) == 2)
                            }
                        }
                    }
                }
            }
        }
    }

    @Test func whenNobodyKnowsTheErrorSaysWhatToDo() async throws {
        try await RedisServer.with { master in
            try await SentinelSetup.withSentinels(1, of: master, quorum: 1, options: ["--requirepass", "s3cret"]) {
                let place = $0[0].configuration.endpoint
                let dead = RESPConfiguration.Endpoint.host("127.0.0.1", port: try await freePort())
                func connect(_ endpoint: RESPConfiguration.Endpoint) async throws -> RESPError {
                    try await failure {
                        try await RESPConnection.withConnection(RESPConfiguration(endpoint: endpoint)) { _ in }
                    }
                }
                let name = SentinelSetup.name
                try await RESPConnection.withConnection(
                    RESPConfiguration(endpoint: .sentinel(master: name, [dead, place], password: "s3cret"))
                ) { try await Self.expect($0, master.port) }

                let unknown = try await connect(.sentinel(master: "other", [place], password: "s3cret"))
                #expect(unknown.code == .unknownMaster && unknown.retry == .permanent)
                #expect(unknown.message.contains("other") && unknown.message.contains("SENTINEL MASTERS"))
                // One that is down might have known it.
                let perhaps = try await connect(.sentinel(master: "other", [dead, place], password: "s3cret"))
                #expect(perhaps.code == .unknownMaster && perhaps.retry == .notSent)
                #expect(perhaps.message.contains(dead.description))

                let none = try await connect(.sentinel(master: name, [dead]))
                #expect(none.code == .noSentinel && none.retry == .notSent)
                #expect(none.server == dead.description && none.message.contains("running"))
                #expect((none.cause as? RESPError)?.code == .cannotConnect)
                for wrong in [nil, "wr0ng"] {
                    let refused = try await connect(.sentinel(master: name, [place], password: wrong))
                    #expect(refused.code == .noSentinel && refused.retry == .permanent)
                    let cause = (refused.cause as? RESPError)?.code
                    #expect(cause == (wrong == nil ? .authenticationRequired : .wrongPassword))
                    #expect(!"\(refused)".contains("wr0ng"))
                }
                let nobody = try await connect(.sentinel(master: name, []))
                #expect(nobody.code == .noSentinel && nobody.retry == .permanent)
                // A server is no sentinel.
                let server = try await connect(.sentinel(master: name, [master.configuration.endpoint]))
                #expect(server.code == .noSentinel && server.retry == .permanent)
                // A client's callers do not wait for what waiting does not mend.
                let other = RESPConfiguration(endpoint: .sentinel(master: "other", [place], password: "s3cret"))
                try await withClient(other) { client in
                    let error = try await failure { try await client.ping() }
                    #expect(error.code == .unknownMaster)
                }
            }
        }
    }

    @Test func onlyAReplicaIsNoMaster() async throws {
        try await RedisServer.with { server in
            try await RESPConnection.withConnection(server.configuration) {
                try await $0.send(["REPLICAOF", "127.0.0.1", "1"])
            }
            try await Self.withSentinel(at: server.port) { sentinel in
                let configuration = Self.configuration([sentinel])
                let error = try await failure { try await RESPConnection.withConnection(configuration) { _ in } }
                #expect(error.code == .notMaster && error.retry == .notSent)
                #expect(error.server == server.configuration.endpoint.description)
                // Once it is one, whoever waits is served.
                try await withClient(configuration) { client in
                    async let answer: Void = client.ping()
                    try await slowly("it was asked again") { Self.questions(sentinel) > 2 }
                    try await RESPConnection.withConnection(server.configuration) {
                        try await $0.send(["REPLICAOF", "NO", "ONE"])
                    }
                    try await answer
                }
            }
        }
    }

    @Test(arguments: [
        "*2\r\n$0\r\n\r\n$4\r\n6379\r\n", "*2\r\n$1\r\na\r\n$5\r\n65536\r\n", "*2\r\n$1\r\na\r\n$1\r\n0\r\n",
        "*2\r\n$1\r\na\r\n$2\r\n-1\r\n", "*1\r\n$1\r\na\r\n", "*0\r\n", ":1\r\n", "+OK\r\n", "*2\r\n:1\r\n*0\r\n",
        "*2\r\n$1\r\n\u{1}\r\n$1\r\nx\r\n", "$99999999999\r\n", "HTTP/1.1 400 Bad Request\r\n",
        "-IDONTKNOW the name\r\n", "*2\r\n_\r\n_\r\n",
    ])
    func garbageFromASentinelIsAnError(_ answer: String) async throws {
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .bytes(answer)
        } _: { sentinel in
            let error = try await failure {
                try await RESPConnection.withConnection(Self.configuration([sentinel])) { _ in }
            }
            #expect(error.code == .noSentinel)
            #expect(error.retry != .mayHaveRun)
        }
    }

    @Test(arguments: ["+OK\r\n", "*0\r\n", "*1\r\n:1\r\n", "-NOPERM no\r\n", "*1\r\n$8\r\nsentinel\r\n"])
    func garbageInsteadOfARoleIsNoMaster(_ role: String) async throws {
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .bytes(role)
        } _: { server in
            try await Self.withSentinel(at: server.port) { sentinel in
                let error = try await failure {
                    try await RESPConnection.withConnection(Self.configuration([sentinel])) { _ in }
                }
                #expect(error.code == (role.hasPrefix("-") ? .noPermission : .notMaster))
                #expect(error.retry != .mayHaveRun)
            }
        }
    }

    @Test func aSearchThatIsCancelledEnds() async throws {
        try await FakeServer.with({ _, _ in .nothing }) { silent in
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    let error = try await failure {
                        try await RESPConnection.withConnection(Self.configuration([silent])) { _ in }
                    }
                    #expect(error.code == .cancelled && error.retry == .notSent)
                }
                try await eventually("it is asked") { !silent.commands.isEmpty }
                group.cancelAll()
                try await group.waitForAll()
            }
        }
    }

    // MARK: Sentinels that say what a test wants

    private static func expect(_ connection: RESPConnection, _ port: Int) async throws {
        #expect(try await connection.port() == port)
    }

    private static func address(_ port: Int) -> FakeServer.Answer {
        .bytes("*2\r\n$9\r\n127.0.0.1\r\n$\("\(port)".count)\r\n\(port)\r\n")
    }

    private static func withSentinel(at port: Int, _ body: (FakeServer) async throws -> Void) async throws {
        try await FakeServer.with({ command, _ in FakeServer.handshake(command) ?? Self.address(port) }, body)
    }

    private static func questions(_ sentinel: FakeServer) -> Int {
        sentinel.commands.filter { $0 == ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "m"] }.count
    }

    private static func configuration(_ sentinels: [FakeServer]) -> RESPConfiguration {
        var configuration = RESPConfiguration(
            endpoint: .sentinel(master: "m", sentinels.map(\.configuration.endpoint))
        )
        configuration.backoff = Backoff(initial: .milliseconds(1), cap: .milliseconds(20))
        configuration.sharedConnections = 1
        // Not in between: tests count the questions.
        configuration.sentinelInterval = .seconds(3_600)
        return configuration
    }
}

/// What the writers of a test have seen.
private final class Tally: Sendable {
    private struct State {
        var added: [String] = []
        var unsure: [RESPError] = []
        var isOver = false
    }

    private let state = Mutex(State())

    var added: [String] { self.state.withLock { $0.added } }
    var unsure: [RESPError] { self.state.withLock { $0.unsure } }
    var isOver: Bool { self.state.withLock { $0.isOver } }

    func add(_ name: String) { self.state.withLock { $0.added.append(name) } }
    func add(_ error: RESPError) { self.state.withLock { $0.unsure.append(error) } }
    func stop() { self.state.withLock { $0.isOver = true } }
}
