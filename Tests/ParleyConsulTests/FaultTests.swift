import Foundation
import HTTPTestSupport
import NIOSSL
import ParleyCore
import ParleyDiscovery
import ParleyTestKit
import ProcessTestSupport
import Testing

@testable import ParleyConsul

/// Agents that misbehave.
@Suite(.timeLimit(.minutes(2))) struct ConsulFaultTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var reply: ScriptedAgent.Reply
        var code: ConsulError.Code
        var retry: RetrySafety
        var testDescription: String

        init(_ name: String, _ reply: ScriptedAgent.Reply, _ code: ConsulError.Code, _ retry: RetrySafety) {
            self.testDescription = name
            self.reply = reply
            self.code = code
            self.retry = retry
        }
    }

    @Test(arguments: [
        Case("no leader", .answer(500, "No cluster leader"), .unavailable, .notSent),
        Case("400", .answer(400, "Invalid index"), .refused, .permanent),
        Case("403", .answer(403, "Permission denied"), .forbidden, .permanent),
        Case("403 inside", .answer(500, "rpc error making call: Permission denied"), .forbidden, .permanent),
        Case("404", .answer(404, ""), .notFound, .permanent),
        Case("429", .answer(429, "Too many requests"), .unavailable, .notSent),
        Case("503", .answer(503, "upstream connect error"), .unavailable, .notSent),
        Case("redirect", .answer(301, "", [("Location", "/ui/")]), .invalidAnswer, .permanent),
        Case("HTML", .answer(200, "<html>router</html>"), .invalidAnswer, .permanent),
        Case("other JSON", .answer(200, #"{"a": 1}"#), .invalidAnswer, .permanent),
        Case("half a JSON", .answer(200, #"[{"Node": {"#), .invalidAnswer, .permanent),
        Case("nothing", .answer(200, ""), .invalidAnswer, .permanent),
        Case("no word", .drop, .unavailable, .notSent),
        Case("half an answer", .cut(#"[{"Node":"#), .unavailable, .notSent),
        Case("no end", .flood, .answerTooLarge, .permanent),
    ])
    func eachFaultHasItsError(_ fault: Case) async throws {
        try await ScriptedAgent.with { _ in
            fault.reply
        } _: { endpoint, _ in
            try await withClient(endpoint) {
                $0.maximumAnswerBytes = 1 << 20
            } _: { client in
                let error = try #require(await consulError { _ = try await client.instances(of: "web") })
                #expect(error.code == fault.code && error.retry == fault.retry, "\(error)")
                #expect(error.message.contains("/v1/health/service/web"), "\(error)")
            }
        }
    }

    @Test func whatDoesNotSpeakHTTPIsSaid() async throws {
        try await RawServer.with(.answerAndClose("SSH-2.0-OpenSSH_9.2\r\n")) { endpoint, _ in
            try await withClient(endpoint) { client in
                let error = await consulError { _ = try await client.services() }
                #expect(error?.code == .invalidAnswer)
            }
        }
    }

    @Test func nobodyListens() async throws {
        try await withClient(try await unusedEndpoint()) { client in
            let error = await consulError { try await client.register(Consul.Registration(name: "web")) }
            #expect(error?.code == .unavailable && error?.retry == .notSent)
        }
    }

    @Test func aWriteWithoutAnAnswerMayHaveRun() async throws {
        try await ScriptedAgent.with { _ in
            .drop
        } _: { endpoint, _ in
            try await withClient(endpoint) { client in
                let error = await consulError { try await client.register(Consul.Registration(name: "web")) }
                #expect(error?.code == .unavailable && error?.retry == .mayHaveRun)
            }
        }
    }

    @Test func anAnswerThatNeverComesEnds() async throws {
        let clock = ManualClock()
        try await ScriptedAgent.with { _ in
            .hang
        } _: { endpoint, agent in
            try await withClient(endpoint, time: clock) { client in
                async let error = consulError { _ = try await client.services() }
                try await agent.wait { $0.requests.count == 1 }
                await clock.waitForSleepers(1)
                clock.advance(by: client.configuration.requestTimeout)
                #expect(await error?.code == .timedOut)
            }
        }
    }

    @Test func whatWaitsTakesNothingFromTheRest() async throws {
        // One may wait, and one may ask: both at the same time.
        try await ScriptedAgent.with { request in
            request.index == nil ? .found("{}", index: 5) : .hang
        } _: { endpoint, agent in
            try await withClient(endpoint) {
                $0.maximumWaitingQuestions = 1
                $0.maximumRequests = 1
            } _: { client in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<2 {
                        group.addTask { _ = try await client.ask(.services(), index: 5, wait: .seconds(60)) }
                    }
                    try await agent.wait { $0.requests.count == 1 }
                    _ = try await client.services()
                    #expect(try await isEventually { client.isCrowded })
                    #expect(agent.requests.filter { $0.index != nil }.count == 1)
                    group.cancelAll()
                    while let result = await group.nextResult() {
                        #expect(throws: CancellationError.self) { try result.get() }
                    }
                }
                #expect(!client.isCrowded)
            }
        }
    }

    @Test func aClientThatWasShutDownSaysSo() async throws {
        let client = try ConsulClient()
        await client.shutdown()
        await client.shutdown()
        let error = await consulError { _ = try await client.services() }
        #expect(error?.code == .closed)
    }

    @Test func speaksTLSAndTrustsOnlyWhomItIsTold() async throws {
        let folder = NSTemporaryDirectory() + "parley-consul-tls-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let made = try await Subprocess.run("dev/servers/certificates", [folder])
        try #require(made.status == 0, "\(made.error)")
        var server = TLSConfiguration.makeServerConfiguration(
            certificateChain: try NIOSSLCertificate.fromPEMFile(folder + "/server.pem").map { .certificate($0) },
            privateKey: .privateKey(try NIOSSLPrivateKey(file: folder + "/server.key", format: .pem))
        )
        server.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(folder + "/ca.pem"))
        server.certificateVerification = .noHostnameVerification
        let context = try NIOSSLContext(configuration: server)
        try await ScriptedAgent.with(tls: context) { _ in
            .answer(200, #""127.0.0.1:8300""#)
        } _: { endpoint, _ in
            func leader(_ change: (inout ConsulConfiguration.TLS) -> Void) async throws -> String? {
                var tls = ConsulConfiguration.TLS()
                tls.authoritiesFile = folder + "/ca.pem"
                tls.certificateFile = folder + "/client.pem"
                tls.keyFile = folder + "/client.key"
                tls.serverName = "localhost"
                change(&tls)
                return try await withClient(endpoint) {
                    $0.tls = tls
                } _: {
                    try await $0.leader()
                }
            }
            let found = try await leader { _ in }
            #expect(found == "127.0.0.1:8300")
            let others: [(inout ConsulConfiguration.TLS) -> Void] = [
                { $0.authoritiesFile = folder + "/other-ca.pem" }, { $0.serverName = nil },
                {
                    $0.certificateFile = nil
                    $0.keyFile = nil
                },
            ]
            for change in others {
                let error = await consulError { _ = try await leader(change) }
                #expect(error?.code == .unavailable, "\(error.debugDescription)")
            }
        }
    }
}
