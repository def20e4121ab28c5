internal import Foundation
public import Logging
internal import NIOCore
internal import NIOPosix
internal import ParleyCore
public import ParleyRESP
internal import ProcessTestSupport
internal import Synchronization

public let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Which servers the tests drive. Redis is a must; Valkey comes in where `PARLEY_VALKEY_BIN` names one.
public struct Engine: Sendable, CustomStringConvertible {
    public var name: String
    public var binary: String

    public static let redis = Engine(name: "redis", binary: "redis-server")
    public static let all: [Engine] =
        [.redis]
        + (ProcessInfo.processInfo.environment["PARLEY_VALKEY_BIN"].map { [Engine(name: "valkey", binary: $0)] } ?? [])

    public var description: String { self.name }
}

public struct ServerFailure: Error, CustomStringConvertible {
    public var description: String

    public init(_ description: String) {
        self.description = description
    }
}

/// A real server in a folder of its own, started with `dev/servers/redis`.
public struct RedisServer: Sendable {
    public let folder: String
    public let port: Int
    public let engine: Engine
    public var tlsPort: Int?
    public var options: [String] = []
    /// Whom it watches, if it is a sentinel.
    public var watches: Watched?

    public struct Watched: Sendable {
        public var name: String
        public var port: Int
        public var quorum: Int

        public init(name: String, port: Int, quorum: Int) {
            self.name = name
            self.port = port
            self.quorum = quorum
        }
    }

    public var configuration: RESPConfiguration {
        var configuration = RESPConfiguration(endpoint: .host("127.0.0.1", port: self.port))
        configuration.backoff = Backoff(initial: .milliseconds(5), cap: .milliseconds(50))
        return configuration
    }

    public func start() async throws { try await self.start([:]) }

    private func start(_ extra: [String: String]) async throws {
        var environment = extra
        environment["REDIS_BIN"] = self.engine.binary
        if let tlsPort { environment["REDIS_TLS_PORT"] = "\(tlsPort)" }
        environment["REDIS_TLS_FOLDER"] = self.folder
        var arguments = ["start", self.folder, "\(self.port)"]
        if let watches {
            arguments[0] = "sentinel"
            arguments += [watches.name, "\(watches.port)", "\(watches.quorum)"]
        }
        try await Self.script(arguments + self.options, environment)
    }

    /// One that ends with this process, for tests that leave it alone.
    public static func startForProcess(_ engine: Engine, options: [String] = []) async throws -> RedisServer {
        let folder = FileManager.default.temporaryDirectory.path + "/parley-redis-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let server = RedisServer(folder: folder, port: try await freePort(), engine: engine, options: options)
        try await server.start(["REDIS_OWNER": "\(ProcessInfo.processInfo.processIdentifier)"])
        return server
    }

    public func kill() async throws { try await Self.script(["kill", self.folder], [:]) }
    public func stop() async throws { try await Self.script(["stop", self.folder], [:]) }

    public static func with<Value>(
        _ engine: Engine = .redis,
        options: [String] = [],
        prepare: (RedisServer) async throws -> RedisServer = { $0 },
        _ body: (RedisServer) async throws -> Value
    ) async throws -> Value {
        let folder = FileManager.default.temporaryDirectory.path + "/parley-resp-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let plain = RedisServer(folder: folder, port: try await freePort(), engine: engine, options: options)
        let server = try await prepare(plain)
        let result: Result<Value, any Error>
        do {
            try await server.start()
            result = .success(try await body(server))
        } catch {
            result = .failure(error)
        }
        try? await server.kill()
        try? FileManager.default.removeItem(atPath: folder)
        return try result.get()
    }

    private static func script(_ arguments: [String], _ environment: [String: String]) async throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let answer = try await Subprocess.run(root.path + "/dev/servers/redis", arguments, environment)
        guard answer.status == 0 else { throw ServerFailure(answer.output + answer.error) }
    }
}

private let takenPorts = Mutex<Set<Int>>([])

/// A port on which nobody listened a moment ago, and that nobody else in this process gets. Below those that the system
/// hands out by itself, because connections and other listeners of these tests would soon have such a one. Not tried by
/// listening: a process that another test starts meanwhile would inherit the socket, and hold the port.
public func freePort() async throws -> Int {
    for _ in 0..<100 {
        let port = Int.random(in: 10_000..<32_000)
        guard takenPorts.withLock({ $0.insert(port).inserted }) else { continue }
        let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        guard let channel = try? await bootstrap.connect(host: "127.0.0.1", port: port).get() else { return port }
        try? await channel.close()
    }
    throw ServerFailure("no port is free between 10000 and 32000")
}

/// Asks again until it holds: each question is a round trip or a turn for the others, so no time is fixed.
public func eventually(_ what: String, _ holds: () async throws -> Bool) async throws {
    let end = ContinuousClock.now.advanced(by: .seconds(20))
    while ContinuousClock.now < end {
        if try await holds() { return }
        await Task.yield()
    }
    throw ServerFailure("never came true: \(what)")
}

/// Runs a client around `body`, and shuts it down.
public func withClient<Value: Sendable>(
    _ configuration: RESPConfiguration,
    _ body: (RESPClient) async throws -> sending Value
) async throws -> Value {
    let client = RESPClient(configuration, logger: quiet)
    return try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { try await client.run() }
        let result: Result<Value, any Error>
        do { result = .success(try await body(client)) } catch { result = .failure(error) }
        group.cancelAll()
        while (try? await group.next()) != nil {}
        return try result.get()
    }
}
