public import Logging
public import ParleyCore
public import ParleyRESP
public import ServiceLifecycle

/// One Redis or Valkey server and what Parley keeps on it.
///
/// ```swift
/// var server = RESPConfiguration(endpoint: .host("127.0.0.1"))
/// let redis = RedisBackend(server, stream: StreamConfiguration(stream: "order-events"), logger: logger)
/// let router = MessageRouter(transport: redis.transport, logger: logger)
/// try await ServiceGroup(services: [redis, router], gracefulShutdownSignals: [.sigterm], logger: logger).run()
/// ```
public final class RedisBackend: Service {
    public let client: RESPClient
    public let transport: RedisTransport
    private let logger: Logger

    public init(
        _ server: RESPConfiguration,
        stream: StreamConfiguration = StreamConfiguration(),
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource(),
        logger: Logger
    ) {
        self.client = RESPClient(server, logger: logger, time: time, random: random)
        self.transport = RedisTransport(stream, client: self.client, time: time, random: random, logger: logger)
        self.logger = logger
    }

    /// Runs the connections and what needs them. At a graceful shutdown the bus gives everything back before the
    /// connections close.
    public func run() async throws {
        // The group ends its services the other way round.
        try await ServiceGroup(services: [self.client, self.transport], logger: self.logger).run()
    }

    /// A backend that runs for the time of `body`.
    ///
    /// - Throws: what `body` throws, or why the backend could not run.
    public static func withBackend<Value: Sendable>(
        _ server: RESPConfiguration,
        stream: StreamConfiguration = StreamConfiguration(),
        logger: Logger,
        _ body: @Sendable (RedisBackend) async throws -> Value
    ) async throws -> Value {
        let backend = RedisBackend(server, stream: stream, logger: logger)
        return try await withoutActuallyEscaping(body) { body in
            try await withThrowingTaskGroup(of: Value?.self) { group in
                group.addTask {
                    try await backend.run()
                    return nil
                }
                group.addTask { try await body(backend) }
                defer { group.cancelAll() }
                while let ended = try await group.next() {
                    if let value = ended { return value }
                }
                throw CancellationError()
            }
        }
    }
}
