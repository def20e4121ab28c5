import NIOSSL
import ParleyCore
import Testing

@testable import ParleyAMQP

@Suite struct TLSTests {
    private func configuration(authority: String) async throws -> (Broker, AMQPConfiguration) {
        let broker = try await Broker.shared.value
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .file(broker.certificates + "/" + authority)
        var configuration = broker.configuration()
        configuration.endpoints = [.init(host: "localhost", port: broker.tls)]
        configuration.tls = .init(tls)
        return (broker, configuration)
    }

    @Test func theRightAuthorityConnects() async throws {
        let (_, configuration) = try await self.configuration(authority: "ca.pem")
        try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
            let channel = try await connection.openChannel()
            let queue = try await channel.declareQueue("", .init(durable: false, exclusive: true)).name
            try await channel.publish(AMQPMessage(text("secret"), routingKey: queue))
            #expect(try await channel.get(queue)?.body == text("secret"))
        }
    }

    @Test func anotherAuthorityIsRefused() async throws {
        let (_, configuration) = try await self.configuration(authority: "other-ca.pem")
        let error = await expect(.tls) {
            try await AMQPConnection.withConnection(configuration, logger: quiet) { try await $0.ready() }
        }
        #expect(error?.retry == .permanent)
    }

    @Test func anotherNameIsRefused() async throws {
        var (_, configuration) = try await self.configuration(authority: "ca.pem")
        configuration.tls?.serverName = "elsewhere.example"
        await expect(.tls) {
            try await AMQPConnection.withConnection(configuration, logger: quiet) { try await $0.ready() }
        }
    }

    @Test func theClientCertificateIsTheUser() async throws {
        var (broker, configuration) = try await self.configuration(authority: "ca.pem")
        try await broker.manage("PUT", "users/parley", #"{"password":"","tags":""}"#)
        try await broker.manage("PUT", "permissions/%2F/parley", #"{"configure":".*","write":".*","read":".*"}"#)
        let chain = try NIOSSLCertificate.fromPEMFile(broker.certificates + "/client.pem")
        configuration.tls?.configuration.certificateChain = chain.map { .certificate($0) }
        configuration.tls?.configuration.privateKey = .privateKey(
            try NIOSSLPrivateKey(file: broker.certificates + "/client.key", format: .pem)
        )
        configuration.credentials = .external
        try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
            try await connection.withChannel { try await $0.declareQueue("", .init(durable: false, exclusive: true)) }
        }
    }
}
