import Foundation
import Logging
import ParleyCore
import ParleyMessaging
import ParleyRESP
import RedisTestSupport
import ServiceLifecycle
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

    /// As a process ends that is killed, as far as the server can see.
    func crash() async {
        self.running.cancel()
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
