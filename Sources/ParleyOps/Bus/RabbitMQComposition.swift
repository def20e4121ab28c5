internal import Logging
internal import ParleyAMQP
internal import ParleyCore
internal import ParleyRabbitMQ

/// The one place where the commands' transport over RabbitMQ is made.
enum RabbitMQComposition {
    static func transport(url: String, logger: Logger) -> TransportSource {
        TransportSource { body in
            var broker = try AMQPConfiguration(url: url)
            broker.connectionName = "parley command"
            // A person waits.
            broker.operationTimeout = .seconds(10)
            try await RabbitMQTransport.withTransport(RabbitMQConfiguration(broker: broker), logger: logger) {
                try await body($0)
            }
        }
    }
}
