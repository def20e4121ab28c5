import Logging
import ParleyAMQP
import ParleyCore
import ParleyMessaging
import ParleyRabbitMQ
import ParleyTestKit
import RabbitMQTestSupport

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// A virtual host of a test, and transports on it.
struct Host: Sendable {
    let server: RabbitMQServer
    let name: String

    init(_ server: RabbitMQServer? = nil) async throws {
        if let server { self.server = server } else { self.server = try await RabbitMQServer.shared.value }
        self.name = try await self.server.makeVirtualHost()
    }

    var broker: AMQPConfiguration {
        var broker = AMQPConfiguration(
            endpoints: [.init(host: "127.0.0.1", port: self.server.port)],
            virtualHost: self.name
        )
        broker.backoff = Backoff(initial: .milliseconds(50), cap: .seconds(1))
        return broker
    }

    func transport(
        _ change: (inout RabbitMQConfiguration) -> Void = { _ in },
        logger: Logger = quiet
    ) -> RabbitMQTransport {
        var configuration = RabbitMQConfiguration(broker: self.broker)
        change(&configuration)
        return RabbitMQTransport(configuration, logger: logger)
    }

    /// A transport that runs for the length of `body`, as a process of its own would have it.
    func running<Value: Sendable>(
        _ change: (inout RabbitMQConfiguration) -> Void = { _ in },
        _ body: (RabbitMQTransport) async throws -> Value
    ) async throws -> Value {
        let transport = self.transport(change)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await transport.run() }
            defer { group.cancelAll() }
            return try await body(transport)
        }
    }
}

func message(_ id: String, topic: String = "order.created", key: String? = nil, data: String = "{}") -> Message {
    Message(id: id, source: "test", type: topic, data: Array(data.utf8), key: key)
}
