import Foundation
import Logging
import NIOHTTP1
import ParleyMessaging
import ParleySQLite
import ProcessTestSupport
import Testing

/// What a network does to events, done to the running system: they are put on its bus by hand.
@Suite(.timeLimit(.minutes(3)))
struct ChoreographyFaultTests {
    private static let up = ["up", "--ephemeral-ports", "--saga", "choreography"]
    private let data: TemporaryFolder

    init() throws { self.data = try TemporaryFolder() }

    private func bus() async throws -> SQLiteBackend {
        try await SQLiteBackend(
            path: "\(self.data.path)/bus.db",
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
    }

    private func event(
        _ type: String,
        of order: String,
        id: String = UUID().uuidString,
        quantity: Int = 2,
        body: String? = nil
    ) -> Message {
        let lines = #"[{"productId":"1","quantity":\#(quantity)}]"#
        let whole = """
            {"orderId":"\(order)","userId":"1","totalCents":9980,"lines":\(lines),"card":"4242424242424242"}
            """
        return Message(
            id: id,
            source: "test",
            type: type,
            subject: order,
            data: Array((body ?? whole).utf8),
            key: order,
            headers: ["correlationid": order, "choreography": "order_choreography"]
        )
    }

    private func shown(_ order: String) async throws -> String {
        try await OrderSystemProcess.parley(
            ["sagas", "show", order, "--store", "sqlite:\(self.data.path)/order-service.db"]
        ).output
    }

    private func isUntouched(_ shop: Shop) async throws -> Bool {
        let stock = try await shop.stock()
        let money = try await shop.money()
        return stock.allSatisfy { $0.available == $0.initial } && money.chargedCents == money.refundedCents
    }

    /// The undo overtakes the action, at both participants: nothing to undo, and the action is refused afterwards.
    @Test func anUndoThatComesFirstForbidsTheAction() async throws {
        let system = try await OrderSystemProcess.start(Self.up, data: self.data)
        let shop = Shop(base: system.gateway)
        let bus = try await self.bus()
        try await bus.transport.publish([self.event("payment.refunded", of: "early")])
        _ = try await eventually("the null compensation is announced") {
            try await self.shown("early").contains("inventory.released") ? true : nil
        }
        try await bus.transport.publish([self.event("order.created", of: "early")])
        _ = try await eventually("the reservation is refused") {
            try await self.shown("early").contains("inventory.failed") ? true : nil
        }
        try await bus.transport.publish([self.event("order.cancelling", of: "early")])
        _ = try await eventually("the null refund is announced") {
            // By the service now, and by this test before: one happening.
            try await self.shown("early").contains("payment.refunded  test  (said 2 times") ? true : nil
        }
        try await bus.transport.publish([self.event("inventory.reserved", of: "early")])
        _ = try await eventually("the charge is refused") {
            try await self.shown("early").contains("payment.failed") ? true : nil
        }
        #expect(try await self.isUntouched(shop))
        #expect(try await shop.money().charges == 0)
        await bus.close()
    }

    /// Every event of an order again, as the same message and as others, forwards and backwards.
    @Test func repetitionsInAnyOrderChangeNothing() async throws {
        let system = try await OrderSystemProcess.start(Self.up, data: self.data)
        let shop = Shop(base: system.gateway)
        let confirmed = try await shop.placeAndFinish().id
        let cancelled = try await shop.placeAndFinish(card: "4000000000000002").id
        let before = (try await shop.stock().map(\.available), try await shop.money().charges)
        let bus = try await self.bus()
        let types = [
            "order.created", "inventory.reserved", "payment.processed", "payment.failed", "inventory.released",
            "order.confirmed", "order.cancelled",
        ]
        for order in [cancelled, confirmed] {
            // A confirmed order's repetitions are those of its own way.
            let own =
                order == cancelled
                ? types.filter { $0 != "payment.processed" && $0 != "order.confirmed" }
                : Array(types.prefix(3))
            for type in own + own.reversed() {
                let twice = self.event(type, of: order)
                try await bus.transport.publish([twice, twice, self.event(type, of: order)])
            }
        }
        let last = try await shop.placeAndFinish()
        #expect(last.status == "CONFIRMED")
        _ = try await eventually("the bus is empty") {
            try await bus.transport.statistics().allSatisfy { $0.ready + $0.unacknowledged + $0.delayed == 0 }
                ? true : nil
        }
        #expect(try await shop.order(confirmed).status == "CONFIRMED")
        #expect(try await shop.order(cancelled).status == "CANCELLED")
        let stock = try await shop.stock().map(\.available)
        #expect(stock.first == before.0.first.map { $0 - 2 })
        #expect(try await shop.money().charges == before.1 + 1)
        try await shop.checkThatEverythingAddsUp()
        await bus.close()
    }

    @Test func aStyleThatIsNoneIsRefused() async throws {
        let up = ["up", "--ephemeral-ports", "--data", self.data.path]
        for (arguments, environment) in [(up + ["--saga", "tango"], [:]), (up, ["SAGA_STYLE": "tango"])] {
            let answer = try await OrderSystemProcess.run(arguments, environment: environment)
            #expect(answer.status == 64 && answer.error.contains("tango"), "\(answer.error)")
        }
    }

    /// Bodies that are none, events of nobody's flow, requests of orders that do not exist.
    @Test func garbageGoesToTheDeadLettersAndStopsNothing() async throws {
        let system = try await OrderSystemProcess.start(Self.up, data: self.data)
        let shop = Shop(base: system.gateway)
        let bus = try await self.bus()
        var foreign = self.event("order.created", of: "123", body: #"{"orderId":"123","userId":"456","amount":99.99}"#)
        foreign.headers = [:]
        try await bus.transport.publish([
            foreign, self.event("order.created", of: "bad", body: "{"),
            self.event("inventory.reserved", of: "bad", body: "[1]"),
            self.event("order.cancel", of: "bad", body: "7"),
            self.event(
                "order.cancel",
                of: "nobody",
                body: #"{"instance":"x","businessKey":"nobody","reason":"r","by":"b","effects":[]}"#
            ),
            self.event("payment.processed", of: "nobody"),
        ])
        let letters = try await eventually("the bad ones are dead letters") {
            let letters = try await bus.transport.deadLetters.list(group: nil, after: 0, limit: 100)
            // The notifications find no order in it, either, after their tries.
            let ours = letters.filter { $0.group.hasSuffix(".flow") }
            return ours.count == 3 ? ours : nil
        }
        #expect(Set(letters.map(\.group)) == ["inventory-service.flow", "payment-service.flow", "order-service.flow"])
        #expect(letters.allSatisfy { $0.message.subject == "bad" && $0.attempts == 1 })
        #expect(try await shop.placeAndFinish().status == "CONFIRMED")
        try await shop.checkThatEverythingAddsUp()
        await bus.close()
    }

    /// A change of style and back: orders wait for theirs, and queues that nobody reads do not grow.
    @Test func queuesOfAStyleThatIsNotInUseDoNotGrow() async throws {
        let first = try await OrderSystemProcess.start(Self.up + ["--without", "payment-service"], data: self.data)
        let waiting = try await Shop(base: first.gateway).place().decode(Shop.Order.self).id
        _ = try await eventually("it waits for its payment") {
            try await Shop(base: first.gateway).stock().contains { $0.available < $0.initial } ? true : nil
        }
        #expect(await first.interrupt().status == 0)
        let second = try await OrderSystemProcess.start(data: self.data)
        let bus = try await self.bus()
        func depth() async throws -> Int {
            try await bus.transport.statistics().filter { $0.group != "notification-service" }.reduce(0) {
                $0 + $1.ready + $1.delayed + $1.unacknowledged
            }
        }
        let before = try await depth()
        for _ in 0..<5 { #expect(try await Shop(base: second.gateway).placeAndFinish().status == "CONFIRMED") }
        #expect(try await depth() == before)
        #expect(try await Shop(base: second.gateway).order(waiting).status == "PENDING")
        #expect(await second.interrupt().status == 0)
        let third = try await OrderSystemProcess.start(Self.up, data: self.data)
        #expect(try await Shop(base: third.gateway).finished(waiting).status == "CONFIRMED")
        try await Shop(base: third.gateway).checkThatEverythingAddsUp()
        await bus.close()
    }
}
