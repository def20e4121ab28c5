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
    /// For messages and everything else that must not be lost.
    private let publishChannel = Mutex<AMQPChannel?>(nil)
    /// What ``RabbitMQTransport/run()`` has to run: one job for each journal that is read, each group that is consumed.
    let jobs = AsyncStream.makeStream(of: (@Sendable () async -> Void).self, bufferingPolicy: .unbounded)

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
    ///
    /// - Parameter declare: Makes the queue of a mandatory message again when somebody has deleted it.
    func publish(
        _ messages: [AMQPMessage],
        orDeclare declare: ((AMQPChannel) async throws -> Void)? = nil
    ) async throws {
        guard !messages.isEmpty else { return }
        try await self.reporting {
            do {
                try await self.channel().publish(messages)
            } catch let error as AMQPError where error.code == .returned {
                guard let declare else { throw error }
                try await self.ask { try await declare($0) }
                try await self.channel().publish(messages)
            }
        }
    }

    /// Does something on a channel of its own, for an answer of the broker may close it. What is declared there is not
    /// declared again by recovery: other processes may have changed it meanwhile.
    func ask<Value>(_ body: (AMQPChannel) async throws -> sending Value) async throws -> sending Value {
        try await self.reporting { try await self.consuming.withChannel(Self.unrecorded, body) }
    }

    static var unrecorded: AMQPChannelSettings {
        var settings = AMQPChannelSettings(confirms: false)
        settings.recordsTopology = false
        return settings
    }

    private func channel() async throws -> AMQPChannel {
        if let channel = self.publishChannel.withLock({ $0 }), !channel.isClosed { return channel }
        let opened = try await self.publishing.openChannel(.init(window: 2_000))
        let (kept, surplus): (AMQPChannel, AMQPChannel?) = self.publishChannel.withLock { channel in
            // Another task may have been faster.
            if let other = channel, !other.isClosed { return (other, opened) }
            channel = opened
            return (opened, nil)
        }
        await surplus?.close()
        return kept
    }

    /// Says what AMQP's errors mean for a bus.
    func reporting<Value>(_ body: () async throws -> sending Value) async throws -> sending Value {
        do {
            return try await body()
        } catch let error as AMQPError {
            throw Self.messagingError(error)
        }
    }

    static func messagingError(_ error: AMQPError) -> MessagingError {
        switch error.code {
        case _ where error.retry != .permanent && error.code != .closed:
            // Somebody else's mistake on the same channel, or a broker that is away.
            MessagingError(.unavailable, "RabbitMQ did not answer as it should", retry: error.retry, cause: error)
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
