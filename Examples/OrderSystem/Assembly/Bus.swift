internal import ArgumentParser
internal import Logging
internal import ParleyAMQP
internal import ParleyMessaging
internal import ParleyRabbitMQ
internal import ParleySQLite
internal import ServiceLifecycle

/// What the services tell each other through: a file on this machine, or a broker.
struct Bus {
    let transport: any MessageTransport
    let service: any Service
    /// Makes groups exist before anything runs, so that nothing that happens from then on is missed by them.
    let declare: @Sendable ([ConsumerGroup]) async throws -> Void

    /// The exchange that the guide names.
    static let exchange = "orders.exchange"

    static func open(_ settings: Settings) async throws -> Bus {
        guard let url = settings.brokerURL else { return try await self.embedded(settings) }
        return try self.rabbitMQ(try self.configuration(url), settings.logger("bus"))
    }

    static func configuration(_ url: String) throws -> RabbitMQConfiguration {
        do {
            var broker = try AMQPConfiguration(url: url)
            broker.connectionName = "order-system"
            return RabbitMQConfiguration(broker: broker, exchange: self.exchange)
        } catch {
            throw ValidationError("--broker is \(error.message)")
        }
    }

    private static func embedded(_ settings: Settings) async throws -> Bus {
        let backend = try await SQLiteBackend(path: "\(settings.data)/bus.db", logger: settings.logger("bus"))
        let transport = backend.transport
        return Bus(transport: transport, service: backend) { groups in
            for group in groups { try await transport.declare(group) }
        }
    }

    private static func rabbitMQ(_ configuration: RabbitMQConfiguration, _ logger: Logger) throws -> Bus {
        let transport = RabbitMQTransport(configuration, logger: logger)
        return Bus(transport: transport, service: transport) { groups in
            // Over a connection of its own: the transport's run with the other services. A broker that is not there is
            // said now, and not in half a minute.
            var first = configuration
            first.broker.operationTimeout = .seconds(10)
            try await RabbitMQTransport.withTransport(first, logger: logger) { transport in
                for group in groups { try await transport.declare(group) }
            }
        }
    }
}
