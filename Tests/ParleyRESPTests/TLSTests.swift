import Foundation
import ParleyCore
import ProcessTestSupport
import RedisTestSupport
import Testing

@testable import ParleyRESP

/// Servers that ask who we are.
@Suite(.timeLimit(.minutes(2))) struct TLSTests {
    /// On Redis only: the Valkey that can be had for tests is built without TLS.
    @Test(arguments: ["TLSv1.3", "TLSv1.2"])
    func aServerThatDemandsACertificate(_ version: String) async throws {
        let options = ["--tls-auth-clients", "yes", "--tls-protocols", version]
        try await RedisServer.with(options: options, prepare: Self.certified) { server in
            let right = Self.configuration(server, certificate: "client")
            try await withClient(right) { client in
                #expect(try await client.set("k", "v"))
                try await client.withConnection { try await $0.ping() }
            }
            let without = try await failure {
                try await RESPConnection.withConnection(Self.configuration(server, certificate: nil)) { _ in }
            }
            #expect(without.code == .tls && without.retry == .permanent)
            #expect(without.message.contains("demands a client certificate"))
            #expect(without.message.contains("certificate and key"))
            // It signed itself.
            let stranger = try await failure {
                try await RESPConnection.withConnection(Self.configuration(server, certificate: "other-ca")) { _ in }
            }
            #expect(stranger.code == .tls && stranger.retry == .permanent)
            #expect(stranger.message.contains("refuses our certificate"))
            // A client's callers hear it at once.
            try await withClient(Self.configuration(server, certificate: nil)) { client in
                let error = try await failure { try await client.ping() }
                #expect(error.code == .tls)
            }
        }
    }

    @Test func sentinelsAndTheirMasterBehindTLS() async throws {
        let options = ["--tls-auth-clients", "yes"]
        try await RedisServer.with(options: options, prepare: Self.certified) { master in
            func watching(_ server: RedisServer) async throws -> RedisServer {
                var server = server
                server.tlsPort = try await freePort()
                server.watches = .init(name: "m", port: master.tlsPort ?? 0, quorum: 1)
                for file in ["ca.pem", "server.pem", "server.key"] {
                    try FileManager.default.copyItem(
                        atPath: "\(master.folder)/\(file)",
                        toPath: "\(server.folder)/\(file)"
                    )
                }
                return server
            }
            let replicating = options + ["--tls-replication", "yes"]
            try await RedisServer.with(options: replicating, prepare: watching) { sentinel in
                var configuration = Self.configuration(master, certificate: "client")
                configuration.endpoint = .sentinel(master: "m", [.host("127.0.0.1", port: sentinel.tlsPort ?? 0)])
                let port = try await withClient(configuration) { try await $0.port() }
                #expect(port == master.port)
                configuration.tls?.certificate = nil
                configuration.tls?.key = nil
                let error = try await failure { [configuration] in
                    try await RESPConnection.withConnection(configuration) { _ in }
                }
                #expect(error.code == .noSentinel && error.retry == .permanent)
                #expect((error.cause as? RESPError)?.message.contains("demands a client certificate") == true)
            }
        }
    }

    private static func configuration(_ server: RedisServer, certificate: String?) -> RESPConfiguration {
        var configuration = server.configuration
        configuration.endpoint = .host("localhost", port: server.tlsPort ?? 0)
        configuration.tls = .init(
            authorities: "\(server.folder)/ca.pem",
            certificate: certificate.map { "\(server.folder)/\($0).pem" },
            key: certificate.map { "\(server.folder)/\($0).key" },
            serverName: "localhost"
        )
        return configuration
    }

    private static func certified(_ server: RedisServer) async throws -> RedisServer {
        var server = server
        server.tlsPort = try await freePort()
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let result = try await Subprocess.run(root.path + "/dev/servers/certificates", [server.folder])
        guard result.status == 0 else { throw ServerFailure(result.output + result.error) }
        return server
    }
}
