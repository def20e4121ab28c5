import Foundation
import Logging
import ParleyCore
import ParleyMessaging
import ParleySQLite
import ServiceLifecycle
import UnixSignals

/// The README shows what stands between the two marks; `ReadmeTests` compares the texts and runs it.
enum ReadmeExample {
    static func run(path: String, logger: Logger, handled: @escaping @Sendable (String) -> Void) async throws {
        // example: begin
        let backend = try await SQLiteBackend(path: path, logger: logger)
        _ = try await backend.migrate("shop/1", ["CREATE TABLE sale (id TEXT PRIMARY KEY, cents INTEGER)"])

        var router = MessageRouter(transport: backend.transport, logger: logger)
        router.consume(try ConsumerGroup("mailer", bindings: ["order.*"])) { delivery in
            handled(delivery.message.type)  // at least once, in order for each key; errors retry, then dead-letter
        }
        try await router.declareGroups()

        // The row and the message are stored together, or neither is.
        try await backend.withTransaction { transaction in
            try transaction.execute("INSERT INTO sale VALUES ('17', 4990)")
            let message = Message(source: "shop", type: "order.created", data: Array(#"{"id":"17"}"#.utf8), key: "17")
            try backend.outbox.append([message], in: transaction)
        }

        let relay = OutboxRelay(store: backend.outbox, transport: backend.transport, logger: logger)
        try await ServiceGroup(
            services: [backend, router, relay],
            gracefulShutdownSignals: [.sigterm, .sigint],
            logger: logger
        ).run()
        // example: end
    }
}
