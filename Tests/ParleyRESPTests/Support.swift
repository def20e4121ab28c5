import Foundation
import Logging
import NIOCore
import NIOPosix
import ParleyCore
import Synchronization
import Testing

@testable import ParleyRESP

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Which servers the tests drive. Redis is a must; Valkey comes in where `PARLEY_VALKEY_BIN` names one.
struct Engine: Sendable, CustomTestStringConvertible {
    var name: String
    var binary: String

    static let redis = Engine(name: "redis", binary: "redis-server")
    static let all: [Engine] =
        [.redis]
        + (ProcessInfo.processInfo.environment["PARLEY_VALKEY_BIN"].map { [Engine(name: "valkey", binary: $0)] } ?? [])

    var testDescription: String { self.name }
}

/// A server and a protocol version to speak with it.
struct Dialect: Sendable, CustomTestStringConvertible {
    var engine: Engine
    var prefersRESP3: Bool

    static let all = Engine.all.flatMap { engine in [true, false].map { Dialect(engine: engine, prefersRESP3: $0) } }

    var testDescription: String { "\(self.engine.name), RESP\(self.prefersRESP3 ? 3 : 2)" }
}

struct ServerFailure: Error, CustomStringConvertible {
    var description: String
}

/// A real server in a folder of its own, started with `dev/servers/redis`.
struct RealServer: Sendable {
    let folder: String
    let port: Int
    let engine: Engine
    var tlsPort: Int?
    var options: [String] = []

    var configuration: RESPConfiguration {
        var configuration = RESPConfiguration(endpoint: .host("127.0.0.1", port: self.port))
        configuration.backoff = Backoff(initial: .milliseconds(5), cap: .milliseconds(50))
        return configuration
    }

    func start() async throws {
        var environment = ["REDIS_BIN": self.engine.binary]
        if let tlsPort { environment["REDIS_TLS_PORT"] = "\(tlsPort)" }
        environment["REDIS_TLS_FOLDER"] = self.folder
        try await Self.script(["start", self.folder, "\(self.port)"] + self.options, environment)
    }

    func kill() async throws { try await Self.script(["kill", self.folder], [:]) }
    func stop() async throws { try await Self.script(["stop", self.folder], [:]) }

    static func with<Value>(
        _ engine: Engine = .redis,
        options: [String] = [],
        prepare: (RealServer) async throws -> RealServer = { $0 },
        _ body: (RealServer) async throws -> Value
    ) async throws -> Value {
        let folder = FileManager.default.temporaryDirectory.path + "/parley-resp-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let plain = RealServer(folder: folder, port: try await freePort(), engine: engine, options: options)
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
        let output = try await run(root.path + "/dev/servers/redis", arguments, environment)
        guard output.status == 0 else { throw ServerFailure(description: output.text) }
    }
}

/// Runs a program to its end.
func run(
    _ path: String,
    _ arguments: [String],
    _ environment: [String: String] = [:]
) async throws -> (status: Int32, text: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let log = FileManager.default.temporaryDirectory.path + "/parley-run-" + UUID().uuidString
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    defer { try? FileManager.default.removeItem(atPath: log) }
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: log))
    process.standardOutput = handle
    process.standardError = handle
    let status = try await withCheckedThrowingContinuation { (done: CheckedContinuation<Int32, any Error>) in
        process.terminationHandler = { done.resume(returning: $0.terminationStatus) }
        do { try process.run() } catch { done.resume(throwing: error) }
    }
    return (status, (try? String(contentsOfFile: log, encoding: .utf8)) ?? "")
}

/// A port that was free a moment ago.
func freePort() async throws -> Int {
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .bind(host: "127.0.0.1", port: 0).get()
    let port = channel.localAddress?.port ?? 0
    try await channel.close()
    return port
}

/// Asks again until it holds: each question is a round trip or a turn for the others, so no time is fixed.
func eventually(_ what: String, _ holds: () async throws -> Bool) async throws {
    let end = ContinuousClock.now.advanced(by: .seconds(20))
    while ContinuousClock.now < end {
        if try await holds() { return }
        await Task.yield()
    }
    throw ServerFailure(description: "never came true: \(what)")
}

/// Runs a client around `body`, and shuts it down.
func withClient<Value: Sendable>(
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

final class Counter: Sendable {
    private let count = Mutex(0)
    var value: Int { self.count.withLock { $0 } }
    func add() { self.count.withLock { $0 += 1 } }
}

/// The error that `body` throws, which must be one of ours.
func failure<Value>(_ body: () async throws -> Value) async throws -> RESPError {
    do {
        let value = try await body()
        throw ServerFailure(description: "no error, but \(value)")
    } catch let error as RESPError {
        return error
    }
}

// MARK: - A server that says what a test wants

/// Answers commands from a script, over a real socket.
final class FakeServer: Sendable {
    enum Answer: Sendable {
        case bytes(String)
        case nothing
        case close
    }

    typealias Script = @Sendable (_ command: [String], _ connection: Int) -> Answer

    let port: Int
    private let source: Children

    private init(port: Int, children: Children) {
        self.port = port
        self.source = children
    }

    private final class Children: Sendable {
        let channels = Mutex<[any Channel]>([])
        let seen = Mutex<[[String]]>([])
    }

    var configuration: RESPConfiguration {
        var configuration = RESPConfiguration(endpoint: .host("127.0.0.1", port: self.port))
        configuration.backoff = Backoff(initial: .milliseconds(1), cap: .milliseconds(20))
        configuration.sharedConnections = 1
        return configuration
    }

    /// Every command so far, on all connections.
    var commands: [[String]] { self.source.seen.withLock { $0 } }
    var connections: Int { self.source.channels.withLock { $0.count } }

    /// Sends to every connection.
    func say(_ text: String) {
        for channel in self.source.channels.withLock({ $0 }) {
            channel.writeAndFlush(ByteBuffer(string: text), promise: nil)
        }
    }

    static func with<Value>(
        _ script: @escaping Script,
        _ body: (FakeServer) async throws -> Value
    ) async throws -> Value {
        let children = Children()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let number = children.channels.withLock {
                        $0.append(channel)
                        return $0.count - 1
                    }
                    try channel.pipeline.syncOperations.addHandler(Handler(script, number, children))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let server = FakeServer(port: channel.localAddress?.port ?? 0, children: children)
        let result: Result<Value, any Error>
        do { result = .success(try await body(server)) } catch { result = .failure(error) }
        try? await channel.close()
        for child in children.channels.withLock({ $0 }) { child.close(promise: nil) }
        return try result.get()
    }

    /// What a server of today says to a handshake; `nil` for every other command.
    static func handshake(_ command: [String]) -> Answer? {
        switch command.first {
        case "HELLO": .bytes("%2\r\n+server\r\n+redis\r\n+proto\r\n:3\r\n")
        case "CLIENT", "SELECT", "AUTH": .bytes("+OK\r\n")
        default: nil
        }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let script: Script
        private let number: Int
        private let children: Children
        private var parser = RESPParser()
        private var received = ByteBuffer()

        init(_ script: @escaping Script, _ number: Int, _ children: Children) {
            self.script = script
            self.number = number
            self.children = children
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var incoming = self.unwrapInboundIn(data)
            self.received.writeBuffer(&incoming)
            while let value = try? self.parser.next(from: &self.received) {
                let command = (value.elements ?? []).map { $0.string ?? "" }
                self.children.seen.withLock { $0.append(command) }
                switch self.script(command, self.number) {
                case .bytes(let text):
                    context.channel.writeAndFlush(ByteBuffer(string: text), promise: nil)
                case .nothing: break
                case .close: context.close(promise: nil)
                }
            }
        }
    }
}
