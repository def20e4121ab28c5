internal import Foundation
internal import ParleyCore

/// A real RabbitMQ in a folder of its own. A machine without one fails the tests.
public struct RabbitMQServer: Sendable {
    /// One for all tests that leave it running, because a start takes about ten seconds. It ends with the test process.
    public static let shared = Task { try await RabbitMQServer.start() }

    public let folder: String
    public let port: Int
    public let management: Int

    private static var script: String {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().path + "/dev/servers/rabbitmq"
    }

    public static func start() async throws -> RabbitMQServer {
        try await self.start(in: NSTemporaryDirectory() + "parley-rabbitmq-" + Self.unique())
    }

    private static func start(in folder: String) async throws -> RabbitMQServer {
        let owner = String(ProcessInfo.processInfo.processIdentifier)
        let text = try await run(Self.script, ["start", folder], environment: ["RABBITMQ_OWNER": owner])
        let ports = text.split(separator: " ").compactMap { Int($0) }
        guard ports.count == 3 else { throw CommandFailure(description: "no ports: \(text)") }
        return RabbitMQServer(folder: folder, port: ports[0], management: ports[1])
    }

    public func kill() async throws { try await run(Self.script, ["kill", self.folder]) }
    /// On the same data and ports.
    public func restart() async throws { _ = try await Self.start(in: self.folder) }
    public func stop() async throws { try await run(Self.script, ["stop", self.folder]) }

    /// `rabbitmqctl` on it.
    @discardableResult
    public func control(_ arguments: String...) async throws -> String {
        try await run(Self.script, ["ctl", self.folder] + arguments)
    }

    /// A request to the management API, as the guide makes it.
    @discardableResult
    public func manage(_ method: String, _ path: String, _ body: String = "") async throws -> String {
        try await run(
            "/usr/bin/env",
            [
                "curl", "-sSf", "-u", "guest:guest", "-X", method, "-H", "content-type: application/json", "-d", body,
                "http://127.0.0.1:\(self.management)/api/\(path)",
            ]
        )
    }

    /// A virtual host of the test's own, so that tests do not see each other.
    public func makeVirtualHost() async throws -> String {
        let name = "h" + Self.unique()
        try await self.manage("PUT", "vhosts/\(name)")
        try await self.manage("PUT", "permissions/\(name)/guest", #"{"configure":".*","write":".*","read":".*"}"#)
        return name
    }

    private static func unique() -> String { String(SystemRandomSource().next(), radix: 36) }
}
