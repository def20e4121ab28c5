internal import Hummingbird
internal import ParleyCore
internal import ParleyHTTPServer
internal import ParleySQLite

struct Product: Codable, Sendable, ResponseEncodable {
    var id: String
    var name: String
    /// In the currency's smallest unit.
    var priceCents: Int
    var currency: String
}

/// product-service: what can be ordered, and for how much. What is in stock is the inventory-service's business.
struct Products: Sendable {
    let backend: SQLiteBackend

    static let schema = [
        """
        CREATE TABLE product (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, price_cents INTEGER NOT NULL, currency TEXT NOT NULL
        )
        """,
        """
        INSERT INTO product VALUES ('1', 'Keyboard', 4990, 'EUR'), ('2', 'Mouse', 1990, 'EUR'),
            ('3', 'Lamp (out of stock)', 2990, 'EUR')
        """,
    ]

    var router: ParleyRouter {
        let router = ParleyRouter(service: "product-service")
        let products = router.group("api/v1/products")
        products.get { _, _ in
            try await self.backend.read { transaction in
                try transaction.query("SELECT id, name, price_cents, currency FROM product ORDER BY id")
                    .compactMap(Self.product)
            }
        }
        products.get(":id") { _, context in
            let id = try context.parameters.require("id")
            let product = try await self.backend.read { transaction in
                try transaction.query(
                    "SELECT id, name, price_cents, currency FROM product WHERE id = ?",
                    [.text(id)]
                ).first.flatMap(Self.product)
            }
            guard let product else {
                throw ProblemError(.notFound, code: "product_not_found", detail: "There is no product '\(id)'.")
            }
            return product
        }
        return router
    }

    private static func product(_ row: [SQLValue]) -> Product? {
        guard row.count == 4, let id = row[0].text, let name = row[1].text, let price = row[2].integer,
            let currency = row[3].text
        else { return nil }
        return Product(id: id, name: name, priceCents: Int(price), currency: currency)
    }
}

extension Assembly {
    mutating func addProducts(port: Int) async throws {
        let backend = try await self.openDatabase(of: .productService)
        try await backend.migrate("product-service/1", Products.schema)
        self.addHTTP(.productService, port: port, router: Products(backend: backend).router)
    }
}
