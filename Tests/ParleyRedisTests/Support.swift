import Foundation
import Logging
import ParleyCore
import ParleyMessaging
import ParleyRESP
import ProcessTestSupport
import RedisTestSupport
import ServiceLifecycle
import Synchronization
import Testing

@testable import ParleyRedis

/// A server for all tests of the process that leave it alone; each test has streams of its own on it.
final class SharedServers: Sendable {
    static let redis = Task { try await SharedServers.start(.redis) }
    static let valkey = Task { try await SharedServers.start(Engine.all.last ?? .redis) }

    static func server(_ engine: Engine) async throws -> RedisServer {
        try await (engine.name == Engine.redis.name ? Self.redis : Self.valkey).value
    }

    private static func start(_ engine: Engine) async throws -> RedisServer {
        try await RedisServer.startForProcess(engine)
    }
}

/// A name that no other test has.
func fresh(_ prefix: String = "s") -> String { prefix + String(SystemRandomSource().next(), radix: 36) }

/// One process's hold on the bus.
struct RunningBackend: Sendable {
    let backend: RedisBackend
    private let shutdown: GracefulShutdownSwitch
    private let running: Task<Void, any Error>

    var transport: RedisTransport { self.backend.transport }

    init(_ server: RedisServer, _ stream: StreamConfiguration) {
        var configuration = server.configuration
        configuration.clientName = "test"
        let backend = RedisBackend(configuration, stream: stream, logger: quiet)
        let shutdown = GracefulShutdownSwitch()
        self.backend = backend
        self.shutdown = shutdown
        self.running = Task {
            var group = ServiceGroupConfiguration(services: [backend, shutdown], logger: quiet)
            group.services = [
                .init(service: backend),
                .init(service: shutdown, successTerminationBehavior: .gracefullyShutdownGroup),
            ]
            try await ServiceGroup(configuration: group).run()
        }
    }

    /// As a process ends that is told to.
    func stop() async {
        self.shutdown.flip()
        _ = await self.running.result
    }
}

/// Ends its group when it is told to.
final class GracefulShutdownSwitch: Service {
    private let stream = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))

    func flip() { self.stream.continuation.finish() }

    func run() async throws {
        for await _ in self.stream.stream.cancelOnGracefulShutdown() {}
    }
}

/// A stream of a test's own, and processes on it.
struct Stage: Sendable {
    let server: RedisServer
    let stream: String

    init(_ engine: Engine = .redis) async throws {
        self.init(try await SharedServers.server(engine))
    }

    init(_ server: RedisServer, stream: String = fresh()) {
        self.server = server
        self.stream = stream
    }

    func start(_ change: (inout StreamConfiguration) -> Void = { _ in }) -> RunningBackend {
        var configuration = StreamConfiguration(stream: self.stream)
        change(&configuration)
        return RunningBackend(self.server, configuration)
    }

    /// A process for the time of `body`, which ends as it is told to.
    func running<Value: Sendable>(
        _ change: (inout StreamConfiguration) -> Void = { _ in },
        _ body: @Sendable (RedisTransport) async throws -> Value
    ) async throws -> Value {
        let running = self.start(change)
        let result: Result<Value, any Error>
        do { result = .success(try await body(running.transport)) } catch { result = .failure(error) }
        await running.stop()
        return try result.get()
    }

    /// What a person types.
    @discardableResult
    func cli(_ arguments: String...) async throws -> String { try await self.run(arguments) }

    @discardableResult
    func run(_ arguments: [String]) async throws -> String {
        let answer = try await Subprocess.run("/usr/bin/redis-cli", ["-p", "\(self.server.port)"] + arguments)
        guard answer.status == 0 else { throw ServerFailure(answer.output + answer.error) }
        return answer.output
    }
}

func message(_ id: String, key: String? = nil, type: String = "order.created", data: String = "{}") -> Message {
    Message(id: id, source: "test", type: type, data: Array(data.utf8), key: key)
}

extension RedisTransport {
    /// As a router does: until it is stored, or the message is another's.
    func acknowledge(_ delivery: Delivery) async throws {
        while true {
            do {
                return try await self.settle(delivery.id, .ack)
            } catch let error as MessagingError {
                // It comes again.
                if error.code == .leaseLost { return }
                guard error.retry != .permanent else { throw error }
                try await SystemTimeSource().sleep(for: .milliseconds(20))
            }
        }
    }

    /// Acks until `isDone` says so of all that came, in its order.
    func drain(
        _ group: String,
        prefetch: Int = 50,
        _ handle: @Sendable (Delivery) async throws -> Void = { _ in },
        until isDone: @Sendable ([String]) -> Bool
    ) async throws -> [String] {
        try await self.withSubscription(to: group, prefetch: prefetch) { deliveries in
            var seen: [String] = []
            if isDone(seen) { return seen }
            for try await delivery in deliveries {
                try await handle(delivery)
                seen.append(delivery.message.id)
                try await self.acknowledge(delivery)
                if isDone(seen) { break }
            }
            return seen
        }
    }
}

/// Asks until it is so.
func expectEventually(
    _ sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: () async throws -> Bool
) async throws {
    let isSo = try await isEventually(within: .seconds(30), condition)
    #expect(isSo, sourceLocation: sourceLocation)
}

final class Counter: Sendable {
    private let count = Mutex(0)
    var value: Int { self.count.withLock { $0 } }
    func add() { self.count.withLock { $0 += 1 } }
}

/// How often each came.
final class Tally: Sendable {
    private let state = Mutex<[String: Int]>([:])
    var counts: [String: Int] { self.state.withLock { $0 } }
    func add(_ name: String) { self.state.withLock { $0[name, default: 0] += 1 } }
}

/// Tests in which leases run out: one at a time, because a machine that is busy with all of them at once makes its own
/// processes look dead.
@Suite(.serialized) enum RealTime {}

/// What came, in its order.
final class Order: Sendable {
    private let state = Mutex<[String]>([])
    var ids: [String] { self.state.withLock { $0 } }
    func add(_ id: String) { self.state.withLock { $0.append(id) } }
}

extension Stage {
    func length() async throws -> Int {
        Int(try await self.cli("XLEN", self.stream).trimmingCharacters(in: .whitespacesAndNewlines)) ?? -1
    }
}
