internal import ArgumentParser
internal import Logging
internal import ParleyAMQP
internal import ParleyCore
internal import ParleyMessaging
internal import ParleyRESP
internal import ParleyRabbitMQ
internal import ParleyRedis
internal import ParleySQLite
internal import ServiceLifecycle

/// What the services tell each other through: a file on this machine, or a broker.
struct Bus {
    let transport: any MessageTransport
    let service: any Service
    /// Makes groups exist before anything runs, so that nothing that happens from then on is missed by them.
    let declare: @Sendable ([ConsumerGroup]) async throws -> Void

    /// Which broker a URL means.
    enum Broker: Sendable {
        case rabbitMQ(RabbitMQConfiguration)
        case redis(RESPConfiguration, StreamConfiguration)

        init(_ url: String) throws {
            do {
                if url.hasPrefix("amqp") {
                    var broker = try AMQPConfiguration(url: url)
                    broker.connectionName = "order-system"
                    self = .rabbitMQ(RabbitMQConfiguration(broker: broker, exchange: Bus.exchange))
                } else if url.hasPrefix("redis") || url.hasPrefix("valkey") {
                    var server = try RESPConfiguration(url: url)
                    server.clientName = "order-system"
                    let stream = StreamConfiguration(stream: Bus.stream, foreignKeyField: "order_id")
                    self = .redis(server, stream)
                } else {
                    throw ValidationError(
                        "--broker is amqp://user:password@host:port/vhost or redis://user:password@host:port"
                    )
                }
            } catch let error as AMQPError {
                throw ValidationError("--broker is \(error.message)")
            } catch let error as RESPError {
                throw ValidationError("--broker is \(error.message)")
            }
        }

        /// Runs `body` with the broker, before the services run and beside them. Somebody waits: a broker that is not
        /// there is said after ten seconds, and not in half a minute.
        func withTransport<Value: Sendable>(
            logger: Logger,
            _ body: @Sendable (any MessageTransport) async throws -> Value
        ) async throws -> Value {
            switch self {
            case .rabbitMQ(var configuration):
                configuration.broker.operationTimeout = .seconds(10)
                return try await RabbitMQTransport.withTransport(configuration, logger: logger) { try await body($0) }
            case .redis(var server, let stream):
                server.commandTimeout = .seconds(10)
                return try await RedisBackend.withBackend(server, stream: stream, logger: logger) {
                    try await body($0.transport)
                }
            }
        }
    }

    /// The exchange and the stream that the guide names.
    static let exchange = "orders.exchange"
    static let stream = "order-events"

    static func open(_ settings: Settings) async throws -> Bus {
        let logger = settings.logger("bus")
        guard let broker = try settings.chosenBroker() else {
            let backend = try await SQLiteBackend(path: "\(settings.data)/bus.db", logger: logger)
            let transport = backend.transport
            return Bus(transport: transport, service: backend) { groups in
                for group in groups { try await transport.declare(group) }
            }
        }
        let (transport, service): (any MessageTransport, any Service)
        switch broker {
        case .rabbitMQ(let configuration):
            let rabbitMQ = RabbitMQTransport(configuration, logger: logger)
            (transport, service) = (rabbitMQ, rabbitMQ)
        case .redis(let server, let stream):
            let redis = RedisBackend(server, stream: stream, logger: logger)
            (transport, service) = (redis.transport, redis)
        }
        return Bus(transport: transport, service: service) { groups in
            // Over a connection of its own: the transport's run with the other services.
            try await broker.withTransport(logger: logger) { transport in
                for group in groups { try await transport.declare(group) }
            }
        }
    }
}
