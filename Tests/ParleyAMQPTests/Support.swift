import Foundation
import Logging
import NIOCore
import NIOPosix
import NIOSSL
import ParleyCore
import ProcessTestSupport
import Testing

@testable import ParleyAMQP

let time = SystemTimeSource()
let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

struct Failed: Error, CustomStringConvertible { var description: String }

@discardableResult
func run(_ executable: String, _ arguments: [String], _ environment: [String: String] = [:]) async throws -> String {
    let answer = try await Subprocess.run(executable, arguments, environment)
    let text = answer.output + answer.error
    guard answer.status == 0 else { throw Failed(description: "\(executable) \(arguments): \(answer.status) \(text)") }
    return text.trimmingCharacters(in: .whitespacesAndNewlines)
}

/// A real broker. A machine without one fails the tests.
struct Broker: Sendable {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path

    /// One for all tests that leave it running, because a start takes about ten seconds.
    static let shared = Task { try await Broker.start() }

    let folder: String
    let certificates: String
    let port: Int
    let management: Int
    let tls: Int

    static func start() async throws -> Broker {
        let folder = NSTemporaryDirectory() + "parley-amqp-" + String(SystemRandomSource().next(), radix: 36)
        let certificates = folder + "/certificates"
        try await run(Self.root + "/dev/servers/certificates", [certificates])
        return try await Self.start(folder, certificates)
    }

    private static func start(_ folder: String, _ certificates: String) async throws -> Broker {
        let owner = String(ProcessInfo.processInfo.processIdentifier)
        let ports = try await run(
            Self.root + "/dev/servers/rabbitmq",
            ["start", folder],
            ["RABBITMQ_OWNER": owner, "RABBITMQ_TLS": certificates]
        )
        let numbers = ports.split(separator: " ").compactMap { Int($0) }
        guard numbers.count == 3 else { throw Failed(description: "no ports: \(ports)") }
        return Broker(
            folder: folder,
            certificates: certificates,
            port: numbers[0],
            management: numbers[1],
            tls: numbers[2]
        )
    }

    func kill() async throws { try await run(Self.root + "/dev/servers/rabbitmq", ["kill", self.folder]) }
    func restart() async throws { _ = try await Self.start(self.folder, self.certificates) }
    func stop() async throws { try await run(Self.root + "/dev/servers/rabbitmq", ["stop", self.folder]) }

    func control(_ arguments: String...) async throws {
        try await run(Self.root + "/dev/servers/rabbitmq", ["ctl", self.folder] + arguments)
    }

    /// A request to the management API.
    @discardableResult
    func manage(_ method: String, _ path: String, _ body: String = "") async throws -> String {
        try await run(
            "/usr/bin/env",
            [
                "curl", "-sSf", "-u", "guest:guest", "-X", method, "-H", "content-type: application/json", "-d", body,
                "http://127.0.0.1:\(self.management)/api/\(path)",
            ]
        )
    }

    /// A virtual host of the test's own, so that tests do not see each other.
    func freshHost() async throws -> AMQPConfiguration {
        let name = "h" + String(SystemRandomSource().next(), radix: 36)
        try await self.manage("PUT", "vhosts/\(name)")
        try await self.manage(
            "PUT",
            "permissions/\(name)/guest",
            #"{"configure":".*","write":".*","read":".*"}"#
        )
        return self.configuration(name)
    }

    func configuration(_ virtualHost: String = "/") -> AMQPConfiguration {
        var configuration = AMQPConfiguration(
            endpoints: [.init(host: "127.0.0.1", port: self.port)],
            virtualHost: virtualHost
        )
        configuration.backoff = Backoff(initial: .milliseconds(50), cap: .seconds(1))
        return configuration
    }
}

/// A connection to the shared broker in a virtual host of its own.
func onBroker<Value: Sendable>(
    _ change: (inout AMQPConfiguration) -> Void = { _ in },
    _ body: @Sendable (AMQPConnection) async throws -> Value
) async throws -> Value {
    var configuration = try await Broker.shared.value.freshHost()
    change(&configuration)
    return try await AMQPConnection.withConnection(configuration, logger: quiet, body)
}

func text(_ text: String) -> ByteBuffer { ByteBuffer(string: text) }

/// Expects an `AMQPError` with this code.
@discardableResult
func expect(
    _ code: AMQPError.Code,
    sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () async throws -> Void
) async -> AMQPError? {
    do {
        try await body()
        Issue.record("no error, expected \(code)", sourceLocation: sourceLocation)
    } catch let error as AMQPError {
        #expect(error.code == code, "\(error)", sourceLocation: sourceLocation)
        return error
    } catch {
        Issue.record("\(error), expected \(code)", sourceLocation: sourceLocation)
    }
    return nil
}

/// Asks until it is so; fails after `limit`.
func eventually(
    _ what: String,
    limit: Duration = .seconds(30),
    sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: () async throws -> Bool
) async throws {
    let end = time.now.advanced(by: limit)
    while try await !condition() {
        guard time.now < end else {
            Issue.record("never: \(what)", sourceLocation: sourceLocation)
            throw Failed(description: what)
        }
        try await time.sleep(for: .milliseconds(20))
    }
}

/// A generator that repeats its numbers for a seed.
struct Dice: RandomNumberGenerator {
    let source: SeededRandomSource
    init(_ seed: UInt64) { self.source = SeededRandomSource(seed: seed) }
    mutating func next() -> UInt64 { self.source.next() }
}
