import Foundation
import ParleyCore
import ProcessTestSupport
import RedisTestSupport
import ServiceLifecycle
import Synchronization
import Testing

@testable import ParleyRESP

@Suite(.timeLimit(.minutes(2))) struct ClientTests {
    @Test func aServerThatIsLoadingSaysSo() async throws {
        let asked = Mutex(0)
        try await FakeServer.with { command, _ in
            if let answer = FakeServer.handshake(command) { return answer }
            let count = asked.withLock { count in
                count += 1
                return count
            }
            return .bytes(count == 1 ? "-LOADING Redis is loading the dataset in memory\r\n" : "$1\r\nv\r\n")
        } _: { server in
            try await withClient(server.configuration) { client in
                let error = try await failure { try await client.get("k") }
                #expect(error.code == .loading)
                #expect(error.retry == .notSent)
                #expect(try await client.get("k") == Array("v".utf8))
            }
        }
    }

    @Test func readOnlyLooksForAnotherServer() async throws {
        try await FakeServer.with { command, connection in
            FakeServer.handshake(command)
                ?? .bytes(connection == 0 ? "-READONLY You can't write against a read only replica.\r\n" : "+OK\r\n")
        } _: { server in
            try await withClient(server.configuration) { client in
                let error = try await failure { try await client.set("k", "v") }
                #expect(error.code == .readOnly)
                #expect(try await client.set("k", "v"))
                #expect(server.connections == 2)
            }
        }
    }

    @Test func whatWasNotSentIsSentOnTheNextConnection() async throws {
        try await FakeServer.with { command, connection in
            if let answer = FakeServer.handshake(command) { return answer }
            if connection == 0 { return command == ["GET", "first"] ? .nothing : .close }
            return .bytes("$1\r\nv\r\n")
        } _: { server in
            var configuration = server.configuration
            configuration.maximumInFlight = 2
            try await withClient(configuration) { client in
                try await withThrowingTaskGroup(of: (String, RESPError?).self) { group in
                    func get(_ key: String) {
                        group.addTask {
                            do throws(RESPError) {
                                _ = try await client.get(key)
                                return (key, nil)
                            } catch {
                                return (key, error)
                            }
                        }
                    }
                    get("first")
                    try await eventually("the first is there") { server.commands.contains(["GET", "first"]) }
                    for _ in 0..<5 { get("second") }
                    var lost = 0
                    var answered = 0
                    for try await (_, error) in group {
                        if let error {
                            #expect(error.retry == .mayHaveRun)
                            lost += 1
                        } else {
                            answered += 1
                        }
                    }
                    // Two were in flight; the other four had not been sent, and their callers noticed nothing.
                    #expect(lost == 2)
                    #expect(answered == 4)
                }
                #expect(server.commands.filter { $0 == ["GET", "first"] }.count == 1)
            }
        }
    }

    @Test func aClientThatDoesNotRunSaysSo() async throws {
        let client = RESPClient(RESPConfiguration(endpoint: .host("127.0.0.1", port: 1)), logger: quiet)
        let soon = Deadline(after: .milliseconds(20), on: SystemTimeSource())
        let error = try await failure { try await client.within(soon).ping() }
        #expect(error.code == .notRunning)
        #expect(error.retry == .notSent)
    }

    @Test func afterItsEndItSaysSo() async throws {
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .bytes("+PONG\r\n")
        } _: { server in
            let client = try await withClient(server.configuration) { client in
                try await client.ping()
                return client
            }
            let error = try await failure { try await client.ping() }
            #expect(error.code == .closed)
            #expect(error.retry == .notSent)
            await #expect(throws: RESPError.self) { try await client.run() }
        }
    }

    @Test func aGracefulShutdownAnswersWhatWasTaken() async throws {
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .nothing
        } _: { server in
            let client = RESPClient(server.configuration, logger: quiet)
            let services = ServiceGroup(services: [client], logger: quiet)
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await services.run() }
                async let value = client.get("taken")
                try await eventually("it is there") { server.commands.contains(["GET", "taken"]) }
                await services.triggerGracefulShutdown()
                // Asked without a command, which would get in line behind the other.
                try await eventually("nothing new is taken") {
                    do {
                        try await client.withConnection { _ in }
                        return false
                    } catch {
                        return (error as? RESPError)?.code == .closed
                    }
                }
                server.say("$1\r\nv\r\n")
                #expect(try await value == Array("v".utf8))
                try await group.waitForAll()
            }
            #expect(server.commands.filter { $0.first == "GET" }.count == 1)
        }
    }

    @Test func sharedConnectionsRefuseWhatWouldStay() async throws {
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .bytes("+OK\r\n")
        } _: { server in
            try await withClient(server.configuration) { client in
                for command in [["MULTI"], ["WATCH", "k"], ["SELECT", 1], ["AUTH", "x"]] as [RESPCommand] {
                    let error = try await failure { try await client.send(command) }
                    #expect(error.code == .notAllowed)
                }
                try await client.withConnection { try await $0.send(["WATCH", "k"]) }
                try await client.withConnection { try await $0.send(["GET", "k"]) }
                try await client.withConnection { try await $0.send(["GET", "k"]) }
                // One shared; the one with a changed session was not used again; the next two used one.
                #expect(server.connections == 3)
            }
        }
    }

    @Test func dedicatedConnectionsAreLimited() async throws {
        try await FakeServer.with { command, _ in
            FakeServer.handshake(command) ?? .bytes("+OK\r\n")
        } _: { server in
            var configuration = server.configuration
            configuration.maximumDedicated = 2
            try await withClient(configuration) { client in
                try await client.withConnection { _ in
                    try await client.withConnection { _ in
                        let soon = Deadline(after: .milliseconds(20), on: SystemTimeSource())
                        let error = try await failure { try await client.within(soon).send(["BLPOP", "x", 1]) }
                        #expect(error.code == .cannotConnect)
                        #expect(error.retry == .notSent)
                    }
                    // One is free again.
                    #expect(try await client.send(["BLPOP", "x", 1]).string == "OK")
                }
            }
        }
    }

    @Test func aRefusedConnectionIsTriedAgain() async throws {
        try await FakeServer.with { command, connection in
            connection < 3 ? .close : FakeServer.handshake(command) ?? .bytes("+PONG\r\n")
        } _: { server in
            try await withClient(server.configuration) { client in
                try await client.ping()
                #expect(server.connections == 4)
            }
        }
    }

    @Test func tls() async throws {
        func prepare(_ server: RedisServer) async throws -> RedisServer {
            var server = server
            server.tlsPort = try await freePort()
            try await makeCertificates(in: server.folder)
            return server
        }
        try await RedisServer.with(prepare: prepare) { server in
            var configuration = server.configuration
            configuration.endpoint = .host("localhost", port: server.tlsPort ?? 0)
            configuration.tls = .init(authorities: server.folder + "/ca.pem")
            try await withClient(configuration) { client in
                let large = [UInt8](repeating: 7, count: 3_000_000)
                try await client.set("k", RESPArgument(large))
                #expect(try await client.get("k") == large)
            }
            for broken in [
                RESPConfiguration.TLS(authorities: server.folder + "/other.pem"),
                RESPConfiguration.TLS(authorities: server.folder + "/ca.pem", serverName: "other.example"),
                RESPConfiguration.TLS(),
                RESPConfiguration.TLS(authorities: server.folder + "/missing.pem"),
            ] {
                configuration.tls = broken
                let error = try await failure { [configuration] in
                    try await RESPConnection.withConnection(configuration) { try await $0.ping() }
                }
                #expect(error.code == .tls)
                #expect(error.retry == .permanent)
            }
            // TLS to a port that speaks plain text, and the other way round.
            configuration.tls = .init(authorities: server.folder + "/ca.pem")
            configuration.endpoint = server.configuration.endpoint
            configuration.connectTimeout = .seconds(2)
            let plain = try await failure { [configuration] in
                try await RESPConnection.withConnection(configuration) { _ in }
            }
            #expect([.tls, .connectionLost, .cannotConnect].contains(plain.code))
            configuration.tls = nil
            configuration.endpoint = .host("localhost", port: server.tlsPort ?? 0)
            let encrypted = try await failure { [configuration] in
                try await RESPConnection.withConnection(configuration) { _ in }
            }
            #expect([.protocolViolation, .connectionLost].contains(encrypted.code))
        }
    }

    @Test func aUnixSocket() async throws {
        func prepare(_ server: RedisServer) -> RedisServer {
            var server = server
            server.options = ["--unixsocket", server.folder + "/socket"]
            return server
        }
        try await RedisServer.with(prepare: prepare) { server in
            let configuration = RESPConfiguration(endpoint: .unixSocket(server.folder + "/socket"))
            try await RESPConnection.withConnection(configuration) { try await $0.ping() }
        }
    }

    /// An authority, a server certificate for `localhost` from it, and another authority.
    private func makeCertificates(in folder: String) async throws {
        let script = """
            set -e; cd '\(folder)'
            for name in ca other; do
                openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$name" -keyout $name.key -out $name.pem
            done
            openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr
            printf 'subjectAltName=DNS:localhost\\n' >names
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem
            """
        let result = try await Subprocess.run("/bin/bash", ["-c", script])
        guard result.status == 0 else { throw ServerFailure(result.output + result.error) }
    }
}
