import Foundation
import NIOHTTP1
import Testing

@Suite(.timeLimit(.minutes(3)))
struct OrderTests {
    private let data: TemporaryFolder

    init() throws { self.data = try TemporaryFolder() }

    @Test func anOrderIsConfirmed() async throws {
        let system = try await OrderSystemProcess.start(data: self.data)
        let shop = Shop(base: system.gateway)
        let answer = try await shop.place()
        #expect(answer.status == 202)
        let placed = try answer.decode(Shop.Order.self)
        #expect(placed.status == "PENDING")
        #expect(answer.headers["location"] == ["/api/v1/orders/\(placed.id)"])
        #expect(answer.headers["x-request-id"].count == 1)

        let order = try await shop.finished(placed.id)
        #expect(order.status == "CONFIRMED")
        #expect(order.totalCents == 2 * 4990)
        #expect(
            order.history?.map(\.event) == [
                "order placed", "reserve_inventory succeeded", "process_payment succeeded", "confirm_order succeeded",
            ]
        )
        #expect(order.history?.map(\.status) == ["PENDING", "PENDING", "PENDING", "CONFIRMED"])
        try await shop.checkThatEverythingAddsUp()

        let texts = try await eventually("both notifications are sent") {
            let answer = try await shop.send(.GET, "/api/internal/notifications?order=\(placed.id)")
            let texts = try answer.decode([[String: SomeJSON]].self).compactMap { $0["text"]?.text }
            return texts.count == 2 ? texts : nil
        }
        #expect(texts.contains { $0.contains("is confirmed") })
        #expect(await system.interrupt().status == 0)
    }

    @Test func whatIsOutOfStockIsCancelledAndNothingStays() async throws {
        let system = try await OrderSystemProcess.start(data: self.data)
        let shop = Shop(base: system.gateway)
        let order = try await shop.placeAndFinish(
            #"[{"productId":"1","quantity":1},{"productId":"3","quantity":1}]"#
        )
        #expect(order.status == "CANCELLED")
        #expect(order.reason?.contains("out of stock: product 3") == true, "\(order.reason ?? "")")
        #expect(try await shop.money().charges == 0)
        #expect(try await shop.stock().allSatisfy { $0.available == $0.initial })
    }

    @Test func aDeclinedCardGivesTheStockBack() async throws {
        let system = try await OrderSystemProcess.start(data: self.data)
        let shop = Shop(base: system.gateway)
        let order = try await shop.placeAndFinish(card: "4000000000000002")
        #expect(order.status == "CANCELLED")
        #expect(order.reason?.contains("card declined") == true, "\(order.reason ?? "")")
        let events = order.history?.map(\.event) ?? []
        #expect(events.contains("release_inventory succeeded"))
        #expect(try await shop.money().charges == 0)
        #expect(try await shop.stock().allSatisfy { $0.available == $0.initial })
    }

    @Test(arguments: ["payment-service", "inventory-service"])
    func aParticipantThatIsDownEndsInACancelledOrder(_ service: String) async throws {
        let system = try await OrderSystemProcess.start(
            ["up", "--ephemeral-ports", "--without", service],
            data: self.data,
            environment: [
                // A port that nobody listens on: it belongs to no service, and binding to it needs root.
                service.uppercased().replacing("-", with: "_"): "127.0.0.1:1"
            ]
        )
        let shop = Shop(base: system.gateway)
        let order = try await shop.placeAndFinish()
        #expect(order.status == "CANCELLED")
        #expect(order.reason?.contains(service) == true, "\(order.reason ?? "")")
        if service == "payment-service" {
            #expect(try await shop.stock().allSatisfy { $0.available == $0.initial })
        } else {
            #expect(try await shop.money().charges == 0)
        }
    }

    /// It has the command and says nothing: whether it charged is not known, so it is asked to refund, for as long as it
    /// takes, and the order is cancelled only then.
    @Test func aParticipantThatHangsIsAskedUntilItUndoes() async throws {
        let payment = try await OrderSystemProcess.start(["payment-service", "--port", "0"], data: self.data)
        let address = try #require(payment.addresses["payment-service"]?.replacing("http://", with: ""))
        let system = try await OrderSystemProcess.start(
            ["up", "--ephemeral-ports", "--without", "payment-service"],
            data: self.data,
            environment: ["PAYMENT_SERVICE": address]
        )
        let shop = Shop(base: system.gateway)
        payment.signal(SIGSTOP)
        let placed = try await shop.place().decode(Shop.Order.self)
        _ = try await eventually(within: .seconds(60), "the saga turns back") {
            let order = try await shop.order(placed.id)
            #expect(!order.isOver, "cancelled before the money was known to be back")
            return order.history?.contains { $0.event.hasPrefix("process_payment unknown") } == true ? true : nil
        }
        payment.signal(SIGCONT)
        let order = try await shop.finished(placed.id, within: .seconds(60))
        #expect(order.status == "CANCELLED")
        let money = try await shop.money()
        #expect(money.chargedCents == money.refundedCents)
        #expect(try await shop.stock().allSatisfy { $0.available == $0.initial })
    }

    @Test func aHundredOrdersAtOnce() async throws {
        let system = try await OrderSystemProcess.start(data: self.data)
        let shop = Shop(base: system.gateway)
        let statuses = try await withThrowingTaskGroup(of: String.self) { group in
            for number in 0..<100 {
                group.addTask {
                    // Every tenth is declined, so that both ways run into each other.
                    let order = try await shop.placeAndFinish(
                        card: number % 10 == 0 ? "4000000000000002" : nil
                    )
                    return order.status
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(statuses.count { $0 == "CONFIRMED" } == 90)
        #expect(statuses.count { $0 == "CANCELLED" } == 10)
        try await shop.checkThatEverythingAddsUp()
    }

    @Test func theSameIdempotencyKeyIsTheSameOrder() async throws {
        let system = try await OrderSystemProcess.start(data: self.data)
        let shop = Shop(base: system.gateway)
        let answers = try await withThrowingTaskGroup(of: Shop.Answer.self) { group in
            for _ in 0..<10 { group.addTask { try await shop.place(key: "order-of-ada-1") } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(answers.allSatisfy { $0.status == 202 })
        let ids = try Set(answers.map { try $0.decode(Shop.Order.self).id })
        #expect(ids.count == 1)
        _ = try await shop.finished(try #require(ids.first))
        #expect(try await shop.money().charges == 1)
        let other = try await shop.place(#"[{"productId":"2","quantity":1}]"#, key: "order-of-ada-1")
        #expect(other.status == 422)
    }
}

/// Just enough to look into an answer whose shape a test does not care about.
enum SomeJSON: Decodable {
    case text(String)
    case other

    init(from decoder: any Decoder) throws {
        self = (try? decoder.singleValueContainer().decode(String.self)).map(SomeJSON.text) ?? .other
    }

    var text: String? { if case .text(let text) = self { text } else { nil } }
}
