internal import Foundation
internal import Hummingbird
internal import ParleyCore
internal import ParleyHTTPServer
internal import ParleyMessaging
internal import ParleySQLite
internal import ParleySagas

struct Notification: Codable, Sendable, ResponseEncodable {
    var id: Int
    var orderId: String
    var userId: String
    var text: String
    var sentAt: String
}

/// notification-service: tells customers what became of their orders. It listens to the orders' events as the group
/// that the guide names, and its inbox makes sure that nobody is told twice.
struct Notifications: Sendable {
    static let group = "notification-service"

    let backend: SQLiteBackend

    static let schema = [
        """
        CREATE TABLE notification (
            id INTEGER PRIMARY KEY AUTOINCREMENT, order_id TEXT NOT NULL, user_id TEXT NOT NULL, text TEXT NOT NULL,
            sent_at TEXT NOT NULL
        )
        """
    ]

    var router: ParleyRouter {
        let router = ParleyRouter(service: "notification-service")
        router.get("api/internal/notifications") { request, _ in
            let order = request.uri.queryParameters["order"].map(String.init)
            return try await self.backend.read { transaction in
                try transaction.query(
                    """
                    SELECT id, order_id, user_id, text, sent_at FROM notification
                    WHERE (?1 IS NULL OR order_id = ?1) ORDER BY id DESC LIMIT 100
                    """,
                    [.optional(order)]
                ).compactMap(Self.notification)
            }
        }
        return router
    }

    /// What is needed of an event, whoever sends it: other programs write other fields beside these.
    private struct Heard: Decodable {
        var orderId: String
        var userId: String
        var reason: String?
    }

    func handle(_ delivery: Delivery) async throws {
        // Requests between services have other bodies, and are not for customers.
        guard ["order.created", "order.confirmed", "order.cancelled"].contains(delivery.message.type) else { return }
        let decoder = JSONDecoder()
        // A person at redis-cli writes order_id.
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let event: Heard
        do {
            event = try decoder.decode(Heard.self, from: Data(delivery.message.data))
        } catch {
            throw MessagingError(
                .invalidMessage,
                "'\(delivery.message.type)' says neither which order nor whose",
                retry: .permanent,
                cause: error
            )
        }
        let text: String
        switch delivery.message.type {
        case "order.created": text = "We have your order \(event.orderId)."
        case "order.confirmed": text = "Your order \(event.orderId) is confirmed."
        case "order.cancelled":
            text = "Your order \(event.orderId) was cancelled: \(event.reason ?? "no reason given")."
        default: return
        }
        try await self.backend.withTransaction { transaction in
            // Said once more for the other services, it is no news for the customer.
            let id = delivery.message.replayOf ?? delivery.message.id
            guard try self.backend.inbox.admit(id, to: Self.group, in: transaction) else { return }
            try transaction.execute(
                "INSERT INTO notification (order_id, user_id, text, sent_at) VALUES (?, ?, ?, ?)",
                [.text(event.orderId), .text(event.userId), .text(text), .text(delivery.message.time.description)]
            )
        }
    }

    private static func notification(_ row: [SQLValue]) -> Notification? {
        guard row.count == 5, let id = row[0].integer, let order = row[1].text, let user = row[2].text,
            let text = row[3].text, let sentAt = row[4].text
        else { return nil }
        return Notification(id: Int(id), orderId: order, userId: user, text: text, sentAt: sentAt)
    }
}

extension Assembly {
    mutating func addNotifications(port: Int) async throws {
        let backend = try await self.openDatabase(of: .notificationService)
        try await backend.migrate("notification-service/1", Notifications.schema)
        let notifications = Notifications(backend: backend)
        let bus = try await self.openBus()
        var router = MessageRouter(transport: bus.transport, logger: self.logger(.notificationService))
        let group = try ConsumerGroup(Notifications.group, bindings: ["order.#"])
        router.consume(group) { try await notifications.handle($0) }
        // Now, and not when it runs: an order that is placed in the meantime must not be missed.
        try await bus.declare([group])
        self.append(router)
        self.append(
            InboxJanitor(
                inbox: backend.inbox,
                consumers: [Notifications.group],
                logger: self.logger(.notificationService)
            )
        )
        self.addHTTP(.notificationService, port: port, router: notifications.router)
    }
}
