internal import Foundation
internal import ParleyCore
internal import ProcessTestSupport

/// A real broker with its management API. A machine without one fails the tests.
public struct RabbitMQServer: Sendable {
    /// One for all tests of the process, because a start takes about ten seconds; it ends with the process.
    public static let shared = Task { try await RabbitMQServer.start() }

    public static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().path

    public let folder: String
    public let port: Int
    public let managementPort: Int

    /// As the administrator `guest`.
    public var management: String { "http://guest:guest@127.0.0.1:\(self.managementPort)" }

    /// One of a test's own, to be killed and started again. It ends with the process, or by ``stop()``.
    public static func start() async throws -> RabbitMQServer {
        try await self.start(in: NSTemporaryDirectory() + Self.fresh("parley-rabbitmq-"))
    }

    private static func start(in folder: String) async throws -> RabbitMQServer {
        let owner = String(ProcessInfo.processInfo.processIdentifier)
        let text = try await Self.script(["start", folder], ["RABBITMQ_OWNER": owner])
        let numbers = text.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
        guard numbers.count == 3 else { throw TestSupportError("the broker did not say its ports: \(text)") }
        return RabbitMQServer(folder: folder, port: numbers[0], managementPort: numbers[1])
    }

    @discardableResult
    private static func script(_ arguments: [String], _ environment: [String: String] = [:]) async throws -> String {
        let answer = try await Subprocess.run(Self.root + "/dev/servers/rabbitmq", arguments, environment)
        guard answer.status == 0 else {
            throw TestSupportError("dev/servers/rabbitmq \(arguments): \(answer.output) \(answer.error)")
        }
        return answer.output
    }

    public func kill() async throws { try await Self.script(["kill", self.folder]) }
    /// On the same data and ports.
    public func restart() async throws { _ = try await Self.start(in: self.folder) }
    public func stop() async throws { try await Self.script(["stop", self.folder]) }

    /// `rabbitmqctl` on it.
    @discardableResult
    public func control(_ arguments: String...) async throws -> String {
        try await Self.script(["ctl", self.folder] + arguments)
    }

    /// A virtual host of the test's own, so that tests do not see each other.
    public func makeVirtualHost() async throws -> String {
        let name = Self.fresh("h")
        try await self.curl("PUT", "vhosts/\(name)")
        try await self.curl("PUT", "permissions/\(name)/guest", #"{"configure":".*","write":".*","read":".*"}"#)
        return name
    }

    /// A name that nobody else has.
    public static func fresh(_ prefix: String) -> String {
        prefix + String(SystemRandomSource().next(), radix: 36)
    }

    /// A request to the management API, as a person makes it by hand; says what was answered.
    @discardableResult
    public func curl(
        _ method: String,
        _ path: String,
        _ body: String? = nil,
        user: String = "guest:guest"
    ) async throws -> String {
        let arguments = ["curl", "-sS", "--fail-with-body", "-u", user, "-X", method]
        let content = body.map { ["-H", "Content-Type: application/json", "-d", $0] } ?? []
        let answer = try await Subprocess.run(
            "/usr/bin/env",
            arguments + content + ["http://127.0.0.1:\(self.managementPort)/api/\(path)"]
        )
        guard answer.status == 0 else { throw TestSupportError("\(method) \(path): \(answer.output) \(answer.error)") }
        return answer.output
    }
}
