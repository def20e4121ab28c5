import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import Testing

/// What a customer's program sees of the system: JSON over HTTP, through the gateway.
struct Shop: Sendable {
    struct Order: Decodable, Sendable {
        struct Step: Decodable, Sendable {
            var status: String
            var event: String
            var detail: String?
        }

        var id: String
        var status: String
        var totalCents: Int
        var reason: String?
        var attention: String?
        var items: [Item]
        var history: [Step]?

        var isOver: Bool { self.status == "CONFIRMED" || self.status == "CANCELLED" }
    }

    struct Item: Decodable, Sendable {
        var productId: String
        var quantity: Int
    }

    struct Stock: Decodable, Sendable {
        var productId: String
        var initial: Int
        var available: Int
    }

    struct Money: Decodable, Sendable {
        var charges: Int
        var chargedCents: Int
        var refunds: Int
        var refundedCents: Int
    }

    struct Answer: Sendable {
        var status: Int
        var headers: HTTPHeaders
        var body: Data

        func decode<Value: Decodable>(_ type: Value.Type = Value.self) throws -> Value {
            try JSONDecoder().decode(Value.self, from: self.body)
        }

        var text: String { String(decoding: self.body, as: UTF8.self) }
    }

    let base: String

    func send(
        _ method: HTTPMethod,
        _ path: String,
        body: String? = nil,
        headers: [String: String] = [:],
        timeout: TimeAmount = .seconds(20)
    ) async throws -> Answer {
        var request = HTTPClientRequest(url: self.base + path)
        request.method = method
        for (name, value) in headers { request.headers.replaceOrAdd(name: name, value: value) }
        if let body { request.body = .bytes(ByteBuffer(string: body)) }
        let response = try await HTTPClient.shared.execute(request, timeout: timeout)
        let bytes = try await response.body.collect(upTo: 8_388_608)
        return Answer(status: Int(response.status.code), headers: response.headers, body: Data(bytes.readableBytesView))
    }

    func place(
        _ items: String = #"[{"productId":"1","quantity":2}]"#,
        card: String? = nil,
        key: String? = nil
    ) async throws -> Answer {
        let card = card.map { #","card":"\#($0)""# } ?? ""
        var headers = ["Content-Type": "application/json"]
        headers["Idempotency-Key"] = key
        return try await self.send(
            .POST,
            "/api/v1/orders",
            body: #"{"userId":"1","items":\#(items)\#(card)}"#,
            headers: headers
        )
    }

    func order(_ id: String) async throws -> Order {
        try await self.send(.GET, "/api/v1/orders/\(id)").decode()
    }

    /// The order once it is confirmed or cancelled.
    func finished(_ id: String, within limit: Duration = .seconds(40)) async throws -> Order {
        try await eventually(within: limit, "order \(id) is confirmed or cancelled") {
            let order = try await self.order(id)
            return order.isOver ? order : nil
        }
    }

    func placeAndFinish(
        _ items: String = #"[{"productId":"1","quantity":2}]"#,
        card: String? = nil
    ) async throws -> Order {
        let answer = try await self.place(items, card: card)
        try #require(answer.status == 202, "\(answer.text)")
        return try await self.finished(try answer.decode(Order.self).id)
    }

    func orders(_ status: String) async throws -> [Order] {
        try await self.send(.GET, "/api/v1/orders?limit=1000&status=\(status)").decode()
    }

    func stock() async throws -> [Stock] { try await self.send(.GET, "/api/v1/inventory").decode() }

    func money() async throws -> Money { try await self.send(.GET, "/api/v1/payments/summary").decode() }

    /// Sold + left = initial, and charged − refunded = the sum of the confirmed orders: to the piece and to the cent.
    func checkThatEverythingAddsUp(sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let confirmed = try await self.orders("CONFIRMED")
        for stock in try await self.stock() {
            let sold = confirmed.flatMap(\.items).filter { $0.productId == stock.productId }.reduce(0) {
                $0 + $1.quantity
            }
            #expect(
                sold + stock.available == stock.initial,
                "product \(stock.productId): \(sold) sold, \(stock.available) left of \(stock.initial)",
                sourceLocation: sourceLocation
            )
        }
        let money = try await self.money()
        let earned = confirmed.reduce(0) { $0 + $1.totalCents }
        #expect(
            money.chargedCents - money.refundedCents == earned,
            "charged \(money.chargedCents), refunded \(money.refundedCents), confirmed \(earned)",
            sourceLocation: sourceLocation
        )
        #expect(money.charges - money.refunds == confirmed.count, sourceLocation: sourceLocation)
    }
}

struct NeverHappened: Error, CustomStringConvertible {
    var what: String
    var lastError: (any Error)?
    var description: String { "did not happen in time: \(self.what)" + (self.lastError.map { " (\($0))" } ?? "") }
}

/// Asks again and again until there is an answer.
func eventually<Value>(
    within limit: Duration = .seconds(20),
    _ what: String,
    _ ask: () async throws -> Value?
) async throws -> Value {
    let end = ContinuousClock.now.advanced(by: limit)
    var lastError: (any Error)?
    repeat {
        do {
            if let value = try await ask() { return value }
            lastError = nil
        } catch {
            lastError = error
        }
        // Between two questions of a poll, so that asking does not take the processor from what is asked for.
        try await ContinuousClock().sleep(for: .milliseconds(20))
    } while ContinuousClock.now < end
    throw NeverHappened(what: what, lastError: lastError)
}
