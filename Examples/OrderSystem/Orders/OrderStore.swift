internal import Foundation
internal import ParleyCore
internal import ParleyMessaging
internal import ParleySQLite
internal import ParleySagas

/// The orders in the service's database. Status, saga and outgoing event always change in one commit.
struct OrderStore: Sendable {
    let backend: SQLiteBackend
    let time: any TimeSource = SystemTimeSource()

    static let schema = [
        """
        CREATE TABLE orders (
            id TEXT PRIMARY KEY, user_id TEXT NOT NULL, status TEXT NOT NULL, lines TEXT NOT NULL,
            total_cents INTEGER NOT NULL, reason TEXT, idempotency_key TEXT UNIQUE, request TEXT NOT NULL,
            created_at TEXT NOT NULL, updated_at TEXT NOT NULL
        )
        """,
        "CREATE INDEX orders_status ON orders (status, created_at)",
    ]

    static let flowSchema = [
        "ALTER TABLE orders ADD COLUMN style TEXT NOT NULL DEFAULT 'orchestration'",
        // Why it is being cancelled; from then on a payment no longer confirms it.
        "ALTER TABLE orders ADD COLUMN turned_back TEXT",
    ]

    /// What tells this file from others; a copy of it must not run beside it.
    static let fileID = [
        "CREATE TABLE file_id (id TEXT NOT NULL)",
        "INSERT INTO file_id (id) VALUES (lower(hex(randomblob(16))))",
    ]

    /// An order with this idempotency key exists.
    struct Duplicate: Error {
        var orderID: String
        var isSameRequest: Bool
    }

    func duplicate(of key: String, request: String) async throws -> Duplicate? {
        try await self.backend.read { try Self.duplicate(of: key, request: request, in: $0) }
    }

    /// - Throws: ``Duplicate``.
    func insert(
        _ order: SagaOrder,
        idempotencyKey: String?,
        request: String,
        style: SagaStyle,
        context: RequestContext?,
        in transaction: any Transaction
    ) throws {
        if let idempotencyKey, let found = try Self.duplicate(of: idempotencyKey, request: request, in: transaction) {
            throw found
        }
        let now = SQLValue.text(self.time.wallTime.description)
        try transaction.execute(
            """
            INSERT INTO orders
                (id, user_id, status, lines, total_cents, idempotency_key, request, created_at, updated_at, style)
            VALUES (?, ?, 'PENDING', ?, ?, ?, ?, ?, ?, ?)
            """,
            [
                .text(order.orderId), .text(order.userId), .text(try Self.json(order.lines)),
                .integer(order.totalCents), .optional(idempotencyKey), .text(request), now, now,
                .text(style.rawValue),
            ]
        )
        if style == .choreography {
            let created = try FlowEvent(order).message(
                "order.created",
                by: .orderService,
                context: context,
                time: self.time
            )
            return try self.backend.outbox.append([created], in: transaction)
        }
        let event = OrderEvent(orderId: order.orderId, userId: order.userId, totalCents: order.totalCents)
        try self.announce("order.created", event, context: context, in: transaction)
    }

    /// Ends an order; called in the commit that ends its saga.
    func finish(
        _ order: SagaOrder,
        _ status: OrderStatus,
        reason: String?,
        saga: String,
        in transaction: any Transaction
    ) throws {
        try self.close(order.orderId, status, reason: reason, in: transaction)
        let event = OrderEvent(
            orderId: order.orderId,
            userId: order.userId,
            totalCents: order.totalCents,
            reason: reason
        )
        let context = RequestContext(requestID: saga, correlationID: saga)
        try self.announce("order.\(status.rawValue.lowercased())", event, context: context, in: transaction)
    }

    /// Sets the status with which an order ends; whoever calls it announces it in the same transaction.
    func close(
        _ id: String,
        _ status: OrderStatus,
        reason: String?,
        in transaction: any Transaction
    ) throws {
        try transaction.execute(
            "UPDATE orders SET status = ?, reason = ?, updated_at = ? WHERE id = ?",
            [.text(status.rawValue), .optional(reason), .text(self.time.wallTime.description), .text(id)]
        )
    }

    /// How a choreographed order stands; `nil` for an unknown one, and for one that a coordinator leads.
    func flowState(
        of id: String,
        in transaction: any Transaction
    ) throws -> (order: SagaOrder, status: OrderStatus, turnedBackBecause: String?)? {
        let row = try transaction.query(
            "\(Self.columns), turned_back FROM orders WHERE id = ? AND style = 'choreography'",
            [.text(id)]
        ).first
        guard let row else { return nil }
        let view = try Self.view(Array(row.dropLast()))
        let order = SagaOrder(
            orderId: view.id,
            userId: view.userId,
            lines: view.items,
            totalCents: view.totalCents,
            card: ""
        )
        return (order, view.status, row.last?.text)
    }

    func turnBack(_ id: String, because reason: String, in transaction: any Transaction) throws {
        try transaction.execute(
            "UPDATE orders SET turned_back = ?, updated_at = ? WHERE id = ?",
            [.text(reason), .text(self.time.wallTime.description), .text(id)]
        )
    }

    /// How many orders were begun in this style, and how many of them are still on their way.
    func count(_ style: SagaStyle) async throws -> (all: Int, pending: Int) {
        try await self.backend.read { transaction in
            let rows = try transaction.query(
                "SELECT count(*), coalesce(sum(status = 'PENDING'), 0) FROM orders WHERE style = ?",
                [.text(style.rawValue)]
            )
            return (Int(rows.first?.first?.integer ?? 0), Int(rows.first?.last?.integer ?? 0))
        }
    }

    func find(_ id: String) async throws -> OrderView? {
        try await self.backend.read { transaction in
            try transaction.query("\(Self.columns) FROM orders WHERE id = ?", [.text(id)]).first.map(Self.view)
        }
    }

    func list(status: OrderStatus?, limit: Int) async throws -> [OrderView] {
        try await self.backend.read { transaction in
            try transaction.query(
                "\(Self.columns) FROM orders WHERE (?1 IS NULL OR status = ?1) ORDER BY created_at DESC LIMIT ?2",
                [.optional(status?.rawValue), .integer(limit)]
            ).map(Self.view)
        }
    }

    func counts() async throws -> [String: Int] {
        try await self.backend.read { transaction in
            let rows = try transaction.query("SELECT status, count(*) FROM orders GROUP BY status")
            return Dictionary(rows.map { ($0[0].text ?? "", Int($0[1].integer ?? 0)) }) { first, _ in first }
        }
    }

    private func announce(
        _ type: String,
        _ event: OrderEvent,
        context: RequestContext?,
        in transaction: any Transaction
    ) throws {
        var message = Message(
            source: "order-service",
            type: type,
            subject: event.orderId,
            time: self.time.wallTime,
            data: Array(try JSONEncoder().encode(event)),
            key: event.orderId
        )
        if let context { message = message.carrying(context, on: self.time) }
        // The customer's deadline is over long before the news is old.
        message.expiresAt = nil
        try self.backend.outbox.append([message], in: transaction)
    }

    private static let columns =
        "SELECT id, user_id, status, lines, total_cents, reason, created_at, updated_at"

    private static func view(_ row: [SQLValue]) throws -> OrderView {
        guard row.count == 8, let id = row[0].text, let user = row[1].text,
            let status = row[2].text.flatMap(OrderStatus.init), let lines = row[3].text, let total = row[4].integer,
            let createdAt = row[6].text, let updatedAt = row[7].text
        else {
            throw MessagingError(.unavailable, "a row of 'orders' cannot be read", retry: .permanent)
        }
        return OrderView(
            id: id,
            userId: user,
            status: status,
            items: try JSONDecoder().decode([SagaOrder.Line].self, from: Data(lines.utf8)),
            totalCents: Int(total),
            reason: row[5].text,
            createdAt: createdAt,
            updatedAt: updatedAt
        )
    }

    private static func duplicate(
        of key: String,
        request: String,
        in transaction: any Transaction
    ) throws -> Duplicate? {
        let row = try transaction.query("SELECT id, request FROM orders WHERE idempotency_key = ?", [.text(key)]).first
        guard let id = row?.first?.text else { return nil }
        return Duplicate(orderID: id, isSameRequest: row?.last?.text == request)
    }

    static func json(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }
}
