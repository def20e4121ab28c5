internal import Hummingbird
internal import ParleyCore
internal import ParleyHTTPServer
internal import ParleySQLite
internal import ParleySagas

struct StockLevel: Codable, Sendable, ResponseEncodable {
    var productId: String
    var initial: Int
    var available: Int
    /// Held by orders that are confirmed or on their way: initial − available.
    var reserved: Int
}

/// inventory-service: a saga participant that reserves stock and releases it.
struct Inventory: Sendable {
    let backend: SQLiteBackend

    static let schema = [
        SagaBarrier.schema,
        """
        CREATE TABLE stock (
            product_id TEXT PRIMARY KEY, initial INTEGER NOT NULL, available INTEGER NOT NULL CHECK (available >= 0)
        )
        """,
        """
        CREATE TABLE reservation (
            order_id TEXT NOT NULL, product_id TEXT NOT NULL, quantity INTEGER NOT NULL,
            PRIMARY KEY (order_id, product_id)
        )
        """,
        "INSERT INTO stock VALUES ('1', 100000, 100000), ('2', 500, 500), ('3', 0, 0)",
    ]

    var router: ParleyRouter {
        let router = ParleyRouter(service: "inventory-service")
        let inventory = router.group("api/v1/inventory")
        inventory.get { _, _ in
            try await self.backend.read { transaction in
                try transaction.query("SELECT product_id, initial, available FROM stock ORDER BY product_id")
                    .compactMap(Self.level)
            }
        }
        inventory.get(":id") { _, context in
            let id = try context.parameters.require("id")
            let level = try await self.backend.read { transaction in
                try transaction.query(
                    "SELECT product_id, initial, available FROM stock WHERE product_id = ?",
                    [.text(id)]
                ).first.flatMap(Self.level)
            }
            guard let level else {
                throw ProblemError(.notFound, code: "product_not_found", detail: "No stock is kept of product '\(id)'.")
            }
            return level
        }
        let participant = ParticipantRoutes(backend: self.backend)
        participant.add("participant/inventory/reserve", "reserve_inventory", to: router, Self.reserve)
        participant.add("participant/inventory/release", "release_inventory", to: router, Self.release)
        return router
    }

    @Sendable static func reserve(_ order: SagaOrder, in transaction: any Transaction) throws -> SagaOutcome {
        // Everything is looked at before anything is written: a refusal leaves no half of a reservation.
        for line in order.lines {
            let row = try transaction.query("SELECT available FROM stock WHERE product_id = ?", [.text(line.productId)])
            let available = row.first?.first?.integer ?? 0
            guard available >= line.quantity else {
                return .rejected(
                    reason: "out of stock: product \(line.productId) has \(available) left, \(line.quantity) are wanted"
                )
            }
        }
        for line in order.lines {
            try transaction.execute(
                "UPDATE stock SET available = available - ? WHERE product_id = ?",
                [.integer(line.quantity), .text(line.productId)]
            )
            try transaction.execute(
                "INSERT INTO reservation (order_id, product_id, quantity) VALUES (?, ?, ?)",
                [.text(order.orderId), .text(line.productId), .integer(line.quantity)]
            )
        }
        return .success(output: #"{"reservation":"res_\#(order.orderId)"}"#)
    }

    @Sendable static func release(_ order: SagaOrder, in transaction: any Transaction) throws -> SagaOutcome {
        let rows = try transaction.query(
            "SELECT product_id, quantity FROM reservation WHERE order_id = ?",
            [.text(order.orderId)]
        )
        for row in rows {
            try transaction.execute(
                "UPDATE stock SET available = available + ? WHERE product_id = ?",
                [row[1], row[0]]
            )
        }
        try transaction.execute("DELETE FROM reservation WHERE order_id = ?", [.text(order.orderId)])
        return .success(output: nil)
    }

    private static func level(_ row: [SQLValue]) -> StockLevel? {
        guard row.count == 3, let id = row[0].text, let initial = row[1].integer, let available = row[2].integer else {
            return nil
        }
        return StockLevel(
            productId: id,
            initial: Int(initial),
            available: Int(available),
            reserved: Int(initial - available)
        )
    }
}

extension Assembly {
    mutating func addInventory(port: Int) async throws {
        let backend = try await self.openDatabase(of: .inventoryService)
        try await backend.migrate("inventory-service/1", Inventory.schema)
        if self.settings.saga == .choreography {
            let participant = try FlowParticipant(.inventoryService, backend)
            try await self.join(participant) { message in
                let context = RequestContext.current
                try await participant.handle(message) {
                    try Inventory.react(participant, $0, $1, context: context, in: $2)
                }
            }
        }
        self.addHTTP(.inventoryService, port: port, router: Inventory(backend: backend).router)
    }
}
