internal import Logging
internal import NIOCore
internal import ParleyAMQP
internal import ParleyCore
internal import ParleyMessaging
internal import Synchronization

/// The two connections, and the channels on them that everybody uses.
///
/// Publishing has a connection of its own: a broker with a memory or disk alarm answers nothing on one that has
/// published, and settlements must get through just then.
final class BrokerLink: Sendable {
    let configuration: RabbitMQConfiguration
    let publishing: AMQPConnection
    let consuming: AMQPConnection
    let time: any TimeSource
    let random: any RandomSource
    let logger: Logger
    private let channels = Mutex<[Purpose: AMQPChannel]>([:])
    /// What ``RabbitMQTransport/run()`` has to run: one job for each journal that is read, each group that is consumed.
    let jobs = AsyncStream.makeStream(of: (@Sendable () async -> Void).self, bufferingPolicy: .unbounded)

    enum Purpose: Hashable {
        /// Messages and everything else that must not be lost.
        case publish
        /// Declarations and questions.
        case ask
    }

    init(
        _ configuration: RabbitMQConfiguration,
        time: any TimeSource,
        random: any RandomSource,
        logger: Logger
    ) {
        self.configuration = configuration
        self.time = time
        self.random = random
        self.logger = logger
        func connection(_ role: String) -> AMQPConnection {
            var broker = configuration.broker
            broker.connectionName = [broker.connectionName ?? "parley", role].joined(separator: " ")
            return AMQPConnection(broker, time: time, random: random, logger: logger)
        }
        self.publishing = connection("publishes")
        self.consuming = connection("consumes")
    }

    /// Has `job` run as long as the transport does.
    func start(_ job: @escaping @Sendable () async -> Void) { self.jobs.continuation.yield(job) }

    var features: BrokerFeatures { BrokerFeatures(serverProperties: self.consuming.serverProperties) }

    /// Publishes and waits for the broker's confirms.
    func publish(_ messages: [AMQPMessage]) async throws {
        guard !messages.isEmpty else { return }
        try await self.reporting { try await self.channel(.publish).publish(messages) }
    }

    /// Does something on the channel for questions. An answer that closes it (404, 406) costs nobody else's channel.
    func ask<Value>(_ body: (AMQPChannel) async throws -> Value) async throws -> Value {
        try await self.reporting {
            let channel = try await self.channel(.ask)
            do {
                return try await body(channel)
            } catch {
                // Not knowing whether it lived through the error, the next one takes a new one.
                self.channels.withLock { if $0[.ask] === channel { $0[.ask] = nil } }
                await channel.close()
                throw error
            }
        }
    }

    private func channel(_ purpose: Purpose) async throws -> AMQPChannel {
        if let channel = self.channels.withLock({ $0[purpose] }), !channel.isClosed { return channel }
        let connection = purpose == .publish ? self.publishing : self.consuming
        let opened = try await connection.openChannel(.init(window: 2_000))
        let (kept, surplus): (AMQPChannel, AMQPChannel?) = self.channels.withLock { channels in
            // Another task may have been faster.
            if let other = channels[purpose], !other.isClosed { return (other, opened) }
            channels[purpose] = opened
            return (opened, nil)
        }
        await surplus?.close()
        return kept
    }

    /// Says what AMQP's errors mean for a bus.
    func reporting<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch let error as AMQPError {
            throw Self.messagingError(error)
        }
    }

    static func messagingError(_ error: AMQPError) -> MessagingError {
        switch error.code {
        case .closed:
            MessagingError(.closed, "the connection to RabbitMQ is closed", retry: error.retry, cause: error)
        case .contentTooLarge:
            MessagingError(.invalidMessage, "RabbitMQ takes no message of this size", retry: .permanent, cause: error)
        case .accessRefused, .noSuchVirtualHost, .permissionDenied, .preconditionFailed, .notImplemented, .tls:
            MessagingError(.unavailable, "RabbitMQ refuses", retry: .permanent, cause: error)
        default:
            MessagingError(.unavailable, "RabbitMQ did not answer as it should", retry: error.retry, cause: error)
        }
    }
}

/// How long to wait before trying again what must succeed in the end.
extension BrokerLink {
    func pause(afterFailures failures: Int) async throws {
        let backoff = Backoff(initial: .milliseconds(50), cap: .seconds(2), jitter: 0.5)
        try await self.time.sleep(for: backoff.delay(afterFailures: failures, random: self.random))
    }
}
