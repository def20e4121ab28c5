internal import Foundation
internal import Hummingbird
internal import ParleyCore
internal import ParleyHTTPServer
internal import ParleySagas

/// What a customer sends.
struct OrderRequest: Codable, Sendable {
    struct Item: Codable, Sendable {
        var productId: String
        var quantity: Int
    }

    var userId: String
    var items: [Item]
    /// A test card number; the usual one when left out.
    var card: String?

    static let maximumItems = 100
    static let maximumQuantity = 10_000

    func validate() throws {
        func refuse(_ detail: String) -> ProblemError {
            ProblemError(.unprocessableContent, code: "invalid_order", detail: detail)
        }
        guard !self.userId.isEmpty else { throw refuse("userId must not be empty.") }
        guard (1...Self.maximumItems).contains(self.items.count) else {
            throw refuse("items must have 1 to \(Self.maximumItems) entries; it has \(self.items.count).")
        }
        for (index, item) in self.items.enumerated() {
            guard (1...Self.maximumQuantity).contains(item.quantity) else {
                throw refuse("items[\(index)].quantity is \(item.quantity); it must be 1 to \(Self.maximumQuantity).")
            }
        }
        guard Set(self.items.map(\.productId)).count == self.items.count else {
            throw refuse("a product stands in items twice; add the quantities up.")
        }
        let card = self.card ?? "4242424242424242"
        guard (12...19).contains(card.utf8.count), card.utf8.allSatisfy({ (48...57).contains($0) }) else {
            throw refuse("card must be 12 to 19 digits.")
        }
    }
}

enum OrderStatus: String, Codable, Sendable {
    case pending = "PENDING"
    case confirmed = "CONFIRMED"
    case cancelled = "CANCELLED"
}

/// What a customer sees.
struct OrderView: Codable, Sendable, ResponseEncodable {
    struct Step: Codable, Sendable {
        var at: String
        var status: OrderStatus
        var event: String
        var detail: String?
    }

    var id: String
    var userId: String
    var status: OrderStatus
    var items: [SagaOrder.Line]
    var totalCents: Int
    /// Why it was cancelled.
    var reason: String?
    /// Set while a person has to look at it.
    var attention: String?
    var createdAt: String
    var updatedAt: String
    var history: [Step]?
}

/// The data of `order.created`, `order.confirmed` and `order.cancelled`.
struct OrderEvent: Codable, Sendable {
    var orderId: String
    var userId: String
    var totalCents: Int
    var reason: String?
}
