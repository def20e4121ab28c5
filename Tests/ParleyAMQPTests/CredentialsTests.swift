import NIOCore
import ParleyCore
import Synchronization
import Testing

@testable import ParleyAMQP

/// Gives what the test sets, and counts.
private final class Issuer: Sendable {
    struct Refusal: Error, Equatable {}

    struct State {
        var asked = 0
        var user = "guest"
        var secret = "guest"
        var validFor: Duration?
        var fails = false
    }

    let state = Mutex(State())

    var credentials: AMQPConfiguration.Credentials {
        .provider {
            try self.state.withLock { state in
                state.asked += 1
                if state.fails { throw Refusal() }
                return .init(user: state.user, secret: state.secret, validFor: state.validFor)
            }
        }
    }

    func set(_ change: (inout sending State) -> Void) { self.state.withLock { change(&$0) } }
    var asked: Int { self.state.withLock { $0.asked } }
}

@Suite struct CredentialsTests {
    @Test(.timeLimit(.minutes(1))) func theProviderIsAskedForEachConnection() async throws {
        let broker = try await Broker.shared.value
        var configuration = try await broker.freshHost()
        let user = "p" + configuration.virtualHost
        try await broker.manage("PUT", "users/\(user)", #"{"password":"first","tags":""}"#)
        try await broker.manage(
            "PUT",
            "permissions/\(configuration.virtualHost)/\(user)",
            #"{"configure":".*","write":".*","read":".*"}"#
        )
        let issuer = Issuer()
        issuer.set { ($0.user, $0.secret) = (user, "first") }
        configuration.credentials = issuer.credentials
        try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
            try await connection.ready()
            #expect(issuer.asked == 1)
            // The former password is good no more: only one that asks again gets in.
            try await broker.manage("PUT", "users/\(user)", #"{"password":"second","tags":""}"#)
            issuer.set { $0.fails = true }
            let events = connection.events()
            let host = connection.core.configuration.virtualHost
            try await broker.control("close_all_connections", "--vhost", host, "test")
            for await event in events where event.error?.code == .credentialsUnavailable {
                #expect(event.error?.cause is Issuer.Refusal)
                break
            }
            issuer.set { ($0.secret, $0.fails) = ("second", false) }
            for await event in events where event.kind == .recovered { break }
            try await connection.withChannel { try await $0.declareQueue("q") }
        }
        issuer.set { $0.secret = "wrong" }
        await expect(.accessRefused) {
            try await AMQPConnection.withConnection(configuration, logger: quiet) { try await $0.ready() }
        }
    }

    @Test(.timeLimit(.minutes(1))) func aSecretThatEndsIsRenewedOverTheOpenConnection() async throws {
        let issuer = Issuer()
        issuer.set { $0.validFor = .milliseconds(500) }
        try await onBroker {
            $0.credentials = issuer.credentials
        } _: { connection in
            try await connection.ready()
            let events = connection.events()
            var seen: [AMQPEvent.Kind] = []
            for await event in events {
                seen.append(event.kind)
                if event.kind == .secretRenewed { issuer.set { $0.fails.toggle() } }
                if seen.count == 4 { break }
            }
            // Renewed, then refused by the issuer once or more often: the connection is still the first one.
            #expect(seen == [.secretRenewed, .secretFailed, .secretFailed, .secretFailed])
            issuer.set { $0.fails = false }
            for await event in events {
                seen.append(event.kind)
                if event.kind == .secretRenewed { break }
            }
            #expect(!seen.contains(.disconnected))
            #expect(connection.isReady && connection.core.with { $0.epoch } == 1)
        }
    }

    @Test(.timeLimit(.minutes(1))) func theBrokerGetsTheNewSecretAndABrokerThatIsSilentIsNotWaitedFor() async throws {
        let secrets = Mutex<[String]>([])
        let issuer = Issuer()
        issuer.set { ($0.secret, $0.validFor) = ("token-1", .milliseconds(200)) }
        let server = FakeServer { method, _ in
            switch method {
            case .connectionStartOk(let start):
                secrets.withLock { $0.append(String(decoding: start.response.dropFirst(7), as: UTF8.self)) }
                issuer.set { $0.secret = "token-2" }
                return nil
            case .connectionUpdateSecret(let update):
                let count = secrets.withLock { secrets in
                    secrets.append(String(decoding: update.newSecret, as: UTF8.self))
                    return secrets.count
                }
                return count == 2 ? [] : [AMQPFrame(channel: 0, payload: .method(.connectionUpdateSecretOk))]
            default: return nil
            }
        }
        try await server.run { configuration in
            var configuration = configuration
            configuration.credentials = issuer.credentials
            configuration.operationTimeout = .milliseconds(200)
            try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
                for await event in connection.events() where event.kind == .secretFailed {
                    #expect(event.error?.code == .timedOut)
                    break
                }
                try await eventually("it is tried again") { secrets.withLock { $0.count } > 2 }
            }
        }
        #expect(secrets.withLock { Array($0.prefix(3)) } == ["token-1", "token-2", "token-2"])
    }

    @Test(.timeLimit(.minutes(1))) func aProviderThatHangsIsGivenUp() async throws {
        var configuration = AMQPConfiguration(
            credentials: .provider {
                try await time.sleep(for: .seconds(3_600))
                throw Issuer.Refusal()
            }
        )
        configuration.connectTimeout = .milliseconds(50)
        configuration.recovers = false
        let error = await expect(.credentialsUnavailable) {
            try await AMQPConnection.withConnection(configuration, logger: quiet) { try await $0.ready() }
        }
        #expect((error?.cause as? AMQPError)?.code == .timedOut)
    }
}
