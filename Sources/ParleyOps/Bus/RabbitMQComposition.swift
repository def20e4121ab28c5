internal import Logging
internal import ParleyAMQP
internal import ParleyCore
internal import ParleyMessaging
internal import ParleyRabbitMQ

/// The one place where the commands' transport over RabbitMQ is made.
enum RabbitMQComposition {
    static func transport(url: String, logger: Logger) -> TransportSource {
        TransportSource { body in
            var broker = try AMQPConfiguration(url: url)
            broker.connectionName = "parley command"
            // A person waits.
            broker.operationTimeout = .seconds(10)
            let transport = RabbitMQTransport(RabbitMQConfiguration(broker: broker), logger: logger)
            try await withoutActuallyEscaping(body) { body in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        try await transport.run()
                        throw MessagingError(.closed, "the connection to RabbitMQ has ended", retry: .mayHaveRun)
                    }
                    group.addTask { try await body(transport) }
                    defer { group.cancelAll() }
                    // The body, or why there is no connection.
                    try await group.next()
                }
            }
        }
    }
}
