internal import ParleyCore

/// What the broker says about a queue it declared.
public struct AMQPQueueInfo: Sendable, Hashable {
    public var name: String
    /// Messages ready for delivery.
    public var messages: Int
    public var consumers: Int
}

/// How to declare a queue. The default is durable and classic; `arguments` take everything else
/// (`["x-queue-type": "quorum"]`). An old broker silently accepts arguments that it does not know.
public struct AMQPQueueOptions: Sendable, Hashable {
    public var durable: Bool
    /// For this connection only; gone with it. Recovery declares it again, empty.
    public var exclusive: Bool
    /// Removed by the broker with its last consumer.
    public var autoDelete: Bool
    public var arguments: AMQPTable

    public init(
        durable: Bool = true,
        exclusive: Bool = false,
        autoDelete: Bool = false,
        arguments: AMQPTable = [:]
    ) {
        self.durable = durable
        self.exclusive = exclusive
        self.autoDelete = autoDelete
        self.arguments = arguments
    }

    /// Replicated, and with every message on disk.
    public static let quorum = AMQPQueueOptions(arguments: ["x-queue-type": "quorum"])
}

public struct AMQPExchangeOptions: Sendable, Hashable {
    public var durable: Bool
    /// Removed by the broker with its last binding.
    public var autoDelete: Bool
    /// Not for publishers, only for bindings from other exchanges.
    public var isInternal: Bool
    public var arguments: AMQPTable

    public init(durable: Bool = true, autoDelete: Bool = false, isInternal: Bool = false, arguments: AMQPTable = [:]) {
        self.durable = durable
        self.autoDelete = autoDelete
        self.isInternal = isInternal
        self.arguments = arguments
    }
}

/// Declarations. What is declared over a connection is declared again when the connection is made again.
extension AMQPChannel {
    /// Declares a queue; with the empty name the broker makes one up, which is in the answer.
    ///
    /// - Throws: ``AMQPError/Code/preconditionFailed`` if it is there with other options,
    ///   ``AMQPError/Code/resourceLocked`` if it is exclusive to another connection. Both close this channel.
    @discardableResult
    public func declareQueue(_ name: String = "", _ options: AMQPQueueOptions = .init()) async throws -> AMQPQueueInfo {
        try await self.declare(
            .init(
                queue: name,
                durable: options.durable,
                exclusive: options.exclusive,
                autoDelete: options.autoDelete,
                arguments: options.arguments
            )
        )
    }

    /// Asks about a queue.
    ///
    /// - Throws: ``AMQPError/Code/notFound`` if it is not there, which closes this channel.
    public func inspectQueue(_ name: String) async throws -> AMQPQueueInfo {
        try await self.declare(.init(queue: name, passive: true))
    }

    private func declare(_ declare: AMQPMethod.QueueDeclare) async throws -> AMQPQueueInfo {
        guard case .method(.queueDeclareOk(let answer)) = try await self.call(.queueDeclare(declare)) else {
            throw AMQPError(.protocolViolation, "queue.declare got another answer", retry: .mayHaveRun)
        }
        return AMQPQueueInfo(
            name: answer.queue,
            messages: Int(answer.messageCount),
            consumers: Int(answer.consumerCount)
        )
    }

    /// Declares an exchange of the type `direct`, `fanout`, `topic`, `headers`, or one that a plugin brings.
    public func declareExchange(
        _ name: String,
        type: String = "topic",
        _ options: AMQPExchangeOptions = .init()
    ) async throws {
        try await self.call(
            .exchangeDeclare(
                .init(
                    exchange: name,
                    type: type,
                    durable: options.durable,
                    autoDelete: options.autoDelete,
                    forExchangesOnly: options.isInternal,
                    arguments: options.arguments
                )
            )
        )
    }

    public func bindQueue(
        _ queue: String,
        to exchange: String,
        routingKey: String = "",
        arguments: AMQPTable = [:]
    ) async throws {
        try await self.call(
            .queueBind(.init(queue: queue, exchange: exchange, routingKey: routingKey, arguments: arguments))
        )
    }

    /// Removing a binding that is not there succeeds.
    public func unbindQueue(
        _ queue: String,
        from exchange: String,
        routingKey: String = "",
        arguments: AMQPTable = [:]
    ) async throws {
        try await self.call(
            .queueUnbind(.init(queue: queue, exchange: exchange, routingKey: routingKey, arguments: arguments))
        )
    }

    /// Messages that `source` routes by `routingKey` go on to `destination`.
    public func bindExchange(
        _ destination: String,
        to source: String,
        routingKey: String = "",
        arguments: AMQPTable = [:]
    ) async throws {
        try await self.call(
            .exchangeBind(
                .init(destination: destination, source: source, routingKey: routingKey, arguments: arguments)
            )
        )
    }

    public func unbindExchange(
        _ destination: String,
        from source: String,
        routingKey: String = "",
        arguments: AMQPTable = [:]
    ) async throws {
        try await self.call(
            .exchangeUnbind(
                .init(destination: destination, source: source, routingKey: routingKey, arguments: arguments)
            )
        )
    }

    /// Deletes a queue and returns how many messages were lost with it. Deleting one that is not there succeeds.
    @discardableResult
    public func deleteQueue(_ name: String, ifUnused: Bool = false, ifEmpty: Bool = false) async throws -> Int {
        let delete = AMQPMethod.QueueDelete(queue: name, ifUnused: ifUnused, ifEmpty: ifEmpty)
        guard case .method(.queueDeleteOk(let answer)) = try await self.call(.queueDelete(delete)) else { return 0 }
        return Int(answer.messageCount)
    }

    public func deleteExchange(_ name: String, ifUnused: Bool = false) async throws {
        try await self.call(.exchangeDelete(.init(exchange: name, ifUnused: ifUnused)))
    }

    /// Removes the messages that are ready and returns how many.
    @discardableResult
    public func purgeQueue(_ name: String) async throws -> Int {
        guard case .method(.queuePurgeOk(let answer)) = try await self.call(.queuePurge(.init(queue: name))) else {
            return 0
        }
        return Int(answer.messageCount)
    }
}
