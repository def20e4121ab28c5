import Foundation
import NIOHTTP1
import ProcessTestSupport
import RabbitMQTestSupport
import RedisTestSupport
import Synchronization
import Testing

/// Where the events go: every kind of bus must carry the same system.
enum TestBus: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case embedded, redis, rabbitMQ

    var testDescription: String { self.rawValue }

    /// Runs `body` with the arguments that choose the bus.
    func with(_ body: ([String]) async throws -> Void) async throws {
        switch self {
        case .embedded: try await body([])
        case .redis:
            try await RedisServer.with(options: ["--appendonly", "yes"]) { server in
                try await body(["--broker", "redis://127.0.0.1:\(server.port)"])
            }
        case .rabbitMQ:
            let server = try await RabbitMQServer.shared.value
            let host = try await server.makeVirtualHost()
            try await body(["--broker", "amqp://guest:guest@127.0.0.1:\(server.port)/\(host)"])
            try await server.curl("DELETE", "vhosts/\(host)")
        }
    }
}

/// The system without anybody who leads: what it does, and that nothing is lost, over every kind of bus.
@Suite(.timeLimit(.minutes(5)), .serialized)
struct ChoreographyTests {
    private static let up = ["up", "--ephemeral-ports", "--saga", "choreography"]
    private static let declined = "4000000000000002"

    private func notifications(_ shop: Shop, of order: String) async throws -> [String] {
        struct Note: Decodable { var text: String }
        return try await shop.send(.GET, "/api/internal/notifications?order=\(order)").decode([Note].self).map(\.text)
    }

    // MARK: The flow

    @Test(arguments: TestBus.allCases) func everyWayThroughTheFlow(_ bus: TestBus) async throws {
        try await bus.with { broker in
            let data = try TemporaryFolder()
            let system = try await OrderSystemProcess.start(Self.up + broker, data: data)
            let shop = Shop(base: system.gateway)

            let answer = try await shop.place()
            #expect(answer.status == 202)
            #expect(try answer.decode(Shop.Order.self).status == "PENDING")
            let confirmed = try await shop.finished(try answer.decode(Shop.Order.self).id)
            #expect(confirmed.status == "CONFIRMED" && confirmed.attention == nil)
            let texts = try await eventually(within: .seconds(40), "the customer hears twice") {
                let texts = try await self.notifications(shop, of: confirmed.id)
                return texts.count == 2 ? texts : nil
            }
            #expect(texts.contains { $0.contains("is confirmed") })
            let events = try await eventually(within: .seconds(40), "the timeline is whole") {
                let events = try await shop.order(confirmed.id).history?.map(\.event) ?? []
                return events.last == "order.confirmed" ? events : nil
            }
            #expect(
                events == ["order placed", "inventory.reserved", "payment.processed", "order.confirmed"]
            )

            let sold = try await shop.placeAndFinish(
                #"[{"productId":"1","quantity":1},{"productId":"3","quantity":1}]"#
            )
            #expect(sold.status == "CANCELLED")
            #expect(sold.reason?.contains("out of stock: product 3") == true, "\(sold.reason ?? "")")

            let declined = try await shop.placeAndFinish(card: Self.declined)
            #expect(declined.status == "CANCELLED")
            #expect(declined.reason?.contains("card declined") == true, "\(declined.reason ?? "")")
            let told = try await eventually(within: .seconds(40), "the customer is told why") {
                try await self.notifications(shop, of: declined.id).first { $0.contains("cancelled") }
            }
            #expect(told.contains("card declined"))
            #expect(try await shop.money().charges == 1)
            try await shop.checkThatEverythingAddsUp()
            #expect(await system.interrupt().status == 0)
        }
    }

    /// The flow waits for a service that is down, says so, and goes on when it is back.
    @Test(arguments: TestBus.allCases) func aServiceThatIsDownIsWaitedFor(_ bus: TestBus) async throws {
        try await bus.with { broker in
            let data = try TemporaryFolder()
            let system = try await OrderSystemProcess.start(
                Self.up + broker + ["--without", "payment-service"],
                data: data
            )
            let shop = Shop(base: system.gateway)
            let ids = try await [nil, Self.declined, nil].asyncMap { card in
                try await shop.place(card: card).decode(Shop.Order.self).id
            }
            _ = try await eventually(within: .seconds(60), "each is shown with what it waits for") { () -> Bool? in
                for id in ids where try await shop.order(id).attention?.contains("payment-service") != true {
                    return nil
                }
                return true
            }
            #expect(try await shop.orders("PENDING").count == 3)
            let payment = try await OrderSystemProcess.start(
                ["payment-service", "--port", "0", "--saga", "choreography"] + broker,
                data: data
            )
            let statuses = try await ids.asyncMap { try await shop.finished($0, within: .seconds(60)).status }
            #expect(statuses == ["CONFIRMED", "CANCELLED", "CONFIRMED"])
            _ = try await eventually(within: .seconds(40), "nothing is wrong any more") { () -> Bool? in
                for id in ids where try await shop.order(id).attention != nil { return nil }
                return true
            }
            let money = try #require(payment.addresses["payment-service"])
            let summary = try await Shop(base: money).send(.GET, "/api/v1/payments/summary").decode(Shop.Money.self)
            #expect(summary.charges == 2 && summary.refunds == 0)
            #expect(summary.chargedCents == 2 * 2 * 4990)
            let reserved = try await shop.stock().reduce(0) { $0 + $1.initial - $1.available }
            #expect(reserved == 2 * 2)
        }
    }

    /// Load, `kill -9`, the same command again, and once more: every order ends, and nothing is lost or done twice.
    @Test(arguments: TestBus.allCases) func nothingIsLostWhenTheProcessIsKilledUnderLoad(_ bus: TestBus) async throws {
        try await bus.with { broker in
            let data = try TemporaryFolder()
            let accepted = Mutex<Set<String>>([])
            for _ in 0..<(bus == .embedded ? 6 : 3) {
                let system = try await OrderSystemProcess.start(Self.up + broker, data: data)
                let shop = Shop(base: system.gateway)
                let before = accepted.withLock { $0.count }
                try await withThrowingTaskGroup(of: String?.self) { group in
                    for customer in 0..<12 {
                        group.addTask {
                            let card = customer % 4 == 0 ? Self.declined : nil
                            let answer = try? await shop.place(card: card)
                            return answer?.status == 202 ? try answer?.decode(Shop.Order.self).id : nil
                        }
                    }
                    var count = 0
                    let moment = Int.random(in: 1...60)
                    // The moment is counted in accepted orders, so that a slow machine has its crash under load too.
                    while let id = try await group.next() {
                        guard let id else { continue }
                        accepted.withLock { _ = $0.insert(id) }
                        count += 1
                        if count == moment { break }
                        if count < 400 {
                            let card = count % 5 == 0 ? Self.declined : nil
                            group.addTask {
                                let answer = try? await shop.place(card: card)
                                return answer?.status == 202 ? try answer?.decode(Shop.Order.self).id : nil
                            }
                        }
                    }
                    await system.killNow()
                    group.cancelAll()
                }
                #expect(accepted.withLock { $0.count } > before)
            }
            let system = try await OrderSystemProcess.start(Self.up + broker, data: data)
            let shop = Shop(base: system.gateway)
            for id in accepted.withLock({ $0 }) { #expect(try await shop.finished(id, within: .seconds(120)).isOver) }
            _ = try await eventually(within: .seconds(120), "no order is pending") {
                try await shop.orders("PENDING").isEmpty ? true : nil
            }
            try await shop.checkThatEverythingAddsUp()
            // The monitor has been killed as well, and knows all the same how each of them ended.
            _ = try await eventually(within: .seconds(120), "every instance has ended") { () -> Bool? in
                let list = try await OrderSystemProcess.parley(
                    ["sagas", "list", "--json", "--limit", "1000", "--store", "sqlite:\(data.path)/order-service.db"]
                )
                let sagas = try JSONDecoder().decode([SagaRow].self, from: Data(list.output.utf8))
                guard Set(sagas.map(\.businessKey)).isSuperset(of: accepted.withLock { $0 }) else { return nil }
                return sagas.allSatisfy { ["completed", "failed"].contains($0.status) } ? true : nil
            }
            #expect(await system.interrupt().status == 0)
        }
    }

    /// An order that a coordinator leads goes on, and ends, after a restart in the other style.
    @Test func ordersOfTheOtherStyleAreFinished() async throws {
        let data = try TemporaryFolder()
        let first = try await OrderSystemProcess.start(
            ["up", "--ephemeral-ports", "--without", "payment-service"],
            data: data,
            environment: ["PAYMENT_SERVICE": "127.0.0.1:1"]
        )
        let led = try await Shop(base: first.gateway).place().decode(Shop.Order.self).id
        await first.killNow()
        let second = try await OrderSystemProcess.start(Self.up, data: data)
        let shop = Shop(base: second.gateway)
        #expect(try await shop.placeAndFinish().status == "CONFIRMED")
        #expect(try await shop.finished(led, within: .seconds(60)).isOver)
        try await shop.checkThatEverythingAddsUp()
    }

    // MARK: Mending

    struct SagaRow: Decodable {
        var businessKey: String
        var style: String
        var status: String
        var reason: String?
    }

    struct Report: Decodable {
        struct Line: Decodable { var what: String }
        struct Effect: Decodable { var what: String, status: String }
        struct Intervention: Decodable { var kind: String, by: String, because: String }

        var saga: SagaRow
        var timeline: [Line]
        var effects: [Effect]
        var remaining: [String]
        var interventions: [Intervention]
        var commands: [String]
    }

    /// The payment is down, the customer calls: the order is turned back. The payment that comes back later finds the
    /// refund before the charge, and never charges.
    /// Somebody says in payment's place that it failed; payment comes back, finds its queue, and charges.
    @Test func moneyThatIsTakenForACancelledOrderGoesBack() async throws {
        let data = try TemporaryFolder()
        let system = try await OrderSystemProcess.start(Self.up + ["--without", "payment-service"], data: data)
        let shop = Shop(base: system.gateway)
        let order = try await shop.place().decode(Shop.Order.self).id
        let store = ["--store", "sqlite:\(data.path)/order-service.db"]
        let inject = ["sagas", "inject", order, "payment.failed", "--reason", "no answer", "--by", "ada"] + store
        _ = try await eventually(within: .seconds(60), "the payment is awaited") {
            try await OrderSystemProcess.parley(inject).status == 0 ? true : nil
        }
        let finished = try await shop.finished(order, within: .seconds(60))
        #expect(finished.status == "CANCELLED")
        // The customer hears of it at once, whatever else is on the bus.
        _ = try await eventually(within: .seconds(30), "the customer hears of it") {
            try await self.notifications(shop, of: order).contains { $0.contains("cancelled") } ? true : nil
        }
        let payment = try await OrderSystemProcess.start(
            ["payment-service", "--port", "0", "--saga", "choreography"],
            data: data
        )
        let address = try #require(payment.addresses["payment-service"])
        _ = try await eventually(within: .seconds(60), "the money has gone back") {
            let money = try await Shop(base: address).send(.GET, "/api/v1/payments/summary").decode(Shop.Money.self)
            return money.chargedCents > 0 && money.chargedCents == money.refundedCents ? true : nil
        }
        #expect(try await shop.order(order).status == "CANCELLED")
        #expect(try await shop.stock().allSatisfy { $0.available == $0.initial })
    }

    @Test func anOperatorTurnsAnOrderBackWhilePaymentIsDown() async throws {
        let data = try TemporaryFolder()
        let system = try await OrderSystemProcess.start(Self.up + ["--without", "payment-service"], data: data)
        let shop = Shop(base: system.gateway)
        let order = try await shop.place().decode(Shop.Order.self).id
        let store = ["--store", "sqlite:\(data.path)/order-service.db"]
        func show() async throws -> Report {
            let answer = try await OrderSystemProcess.parley(["sagas", "show", order, "--json"] + store)
            return try JSONDecoder().decode(Report.self, from: Data(answer.output.utf8))
        }
        let waiting = try await eventually(within: .seconds(60), "it is late at the payment") {
            let report = try await show()
            return report.saga.status == "late" ? report : nil
        }
        #expect(waiting.saga.style == "choreography")
        #expect(waiting.effects.map(\.what) == ["inventory.reserved"])
        #expect(waiting.remaining.first == "payment.processed")
        #expect(waiting.commands.contains { $0.hasPrefix("parley sagas compensate \(order)") })

        let mend = ["sagas", "compensate", order, "--reason", "the customer called", "--by", "ada"] + store
        let dry = try await OrderSystemProcess.parley(mend + ["--dry-run"])
        #expect(dry.status == 0 && dry.output.contains("order.cancel is published"), "\(dry.output)\(dry.error)")
        #expect(try await show().interventions.isEmpty)
        let done = try await OrderSystemProcess.parley(mend)
        #expect(done.status == 0, "\(done.error)")
        _ = try await eventually(within: .seconds(40), "it is being cancelled") {
            try await show().timeline.contains { $0.what == "order.cancelling" } ? true : nil
        }
        #expect(try await shop.order(order).status == "PENDING")

        let payment = try await OrderSystemProcess.start(
            ["payment-service", "--port", "0", "--saga", "choreography"],
            data: data
        )
        let finished = try await shop.finished(order, within: .seconds(60))
        #expect(finished.status == "CANCELLED")
        #expect(finished.reason == "the customer called")
        _ = try await eventually(within: .seconds(30), "the customer hears of it") {
            try await self.notifications(shop, of: order).contains { $0.contains("the customer called") } ? true : nil
        }
        #expect(try await shop.stock().allSatisfy { $0.available == $0.initial })
        // Paid and refunded, or never paid: inventory.reserved lay in the queue before order.cancelling.
        let address = try #require(payment.addresses["payment-service"])
        let money = try await Shop(base: address).send(.GET, "/api/v1/payments/summary").decode(Shop.Money.self)
        #expect(money.chargedCents == money.refundedCents)
        let report = try await eventually(within: .seconds(40), "the instance has ended") {
            let report = try await show()
            return report.saga.status == "failed" ? report : nil
        }
        #expect(report.interventions.map(\.by) == ["ada"])
        #expect(report.interventions.map(\.kind) == ["compensated"])
        #expect(report.interventions.map(\.because) == ["the customer called"])
    }

    /// Saying everything again from the beginning changes nothing that was done.
    @Test func aReplayFromTheBeginningDoesNothingTwice() async throws {
        let data = try TemporaryFolder()
        let system = try await OrderSystemProcess.start(Self.up, data: data)
        let shop = Shop(base: system.gateway)
        let confirmed = try await shop.placeAndFinish().id
        let cancelled = try await shop.placeAndFinish(card: Self.declined).id
        let store = ["--store", "sqlite:\(data.path)/order-service.db"]
        for order in [confirmed, cancelled] {
            let said = try await eventually(within: .seconds(40), "the beginning is known") {
                let answer = try await OrderSystemProcess.parley(
                    ["sagas", "replay", order, "--from", "order.created", "--reason", "test"] + store
                )
                return answer.status == 0 ? answer.output : nil
            }
            #expect(said.contains("order.created is published"))
            _ = try await eventually(within: .seconds(40), "the services have answered again") {
                let answer = try await OrderSystemProcess.parley(["sagas", "show", order] + store)
                return answer.output.contains("inventory.reserved  inventory-service  (said 2 times)") ? true : nil
            }
        }
        let again = try await shop.placeAndFinish()
        #expect(again.status == "CONFIRMED")
        #expect(try await shop.order(confirmed).status == "CONFIRMED")
        #expect(try await shop.order(cancelled).status == "CANCELLED")
        #expect(try await shop.money().charges == 2)
        try await shop.checkThatEverythingAddsUp()
    }

    @Test func theAdminEndpointIsOnTheServicesOwnPort() async throws {
        let data = try TemporaryFolder()
        let system = try await OrderSystemProcess.start(Self.up + ["--without", "payment-service"], data: data)
        let shop = Shop(base: system.gateway)
        let order = try await shop.place().decode(Shop.Order.self).id
        let service = Shop(base: try #require(system.addresses["order-service"]))
        func ask(_ shop: Shop, _ path: String, _ body: String, as caller: String? = nil) async throws -> Shop.Answer {
            var headers = ["Content-Type": "application/json"]
            headers["X-Service"] = caller
            return try await shop.send(.POST, "/admin/sagas/\(path)", body: body, headers: headers)
        }
        #expect(try await ask(shop, "\(order)/replay", #"{"reason":"x","by":"ada"}"#).status == 404)
        let done = try await eventually(within: .seconds(40), "the order is known") {
            let answer = try await ask(service, "\(order)/replay", #"{"reason":"x"}"#, as: "support-desk")
            return answer.status == 200 ? answer : nil
        }
        #expect(done.text.contains("is published"))
        let shown = try await OrderSystemProcess.parley(
            ["sagas", "show", order, "--store", "sqlite:\(data.path)/order-service.db"]
        )
        #expect(shown.output.contains("by support-desk: x"), "\(shown.output)")
        #expect(try await ask(service, "\(order)/replay", #"{"by":"ada"}"#).status == 422)
        #expect(try await ask(service, "\(order)/replay", #"{"reason":"x"}"#).status == 422)
        #expect(try await ask(service, "nope/replay", #"{"reason":"x","by":"ada"}"#).status == 404)
        #expect(try await ask(service, "\(order)/state", #"{"reason":"x","by":"ada"}"#).status == 422)
        let state = try await ask(service, "\(order)/state", #"{"state":"PAID","reason":"x","by":"ada"}"#)
        #expect(state.status == 409 && state.text.contains("inject"), "\(state.text)")
    }

    /// The guide's "set state and replay", on a saga that a coordinator leads and that is stuck.
    @Test func theGuidesStuckSagaIsMended() async throws {
        let data = try TemporaryFolder()
        let system = try await OrderSystemProcess.start(data: data)
        let shop = Shop(base: system.gateway)
        let order = try await shop.placeAndFinish()
        let store = ["--store", "sqlite:\(data.path)/order-service.db"]
        let list = try await OrderSystemProcess.parley(["sagas", "list"] + store)
        #expect(list.output.contains(order.id) && list.output.contains("orchestration"), "\(list.output)\(list.error)")
        let ended = try await OrderSystemProcess.parley(
            ["sagas", "set-state", order.id, "COMPENSATE_INVENTORY", "--reason", "x"] + store
        )
        #expect(ended.status == 1 && ended.error.contains("has ended"), "\(ended.error)")
        let service = Shop(base: try #require(system.addresses["order-service"]))
        let refused = try await service.send(
            .POST,
            "/admin/sagas/\(order.id)/state",
            body: #"{"state":"COMPENSATE_INVENTORY","reason":"x","by":"ada"}"#,
            headers: ["Content-Type": "application/json"]
        )
        #expect(refused.status == 409)

        // A participant that hangs: the order waits in a state that can be set.
        let payment = try await OrderSystemProcess.start(["payment-service", "--port", "0"], data: data)
        let address = try #require(payment.addresses["payment-service"]?.replacing("http://", with: ""))
        await system.killNow()
        let second = try await OrderSystemProcess.start(
            ["up", "--ephemeral-ports", "--without", "payment-service"],
            data: data,
            environment: ["PAYMENT_SERVICE": address]
        )
        payment.signal(SIGSTOP)
        let waiting = try await Shop(base: second.gateway).place().decode(Shop.Order.self).id
        _ = try await eventually(within: .seconds(60), "it waits for the refund") {
            let show = try await OrderSystemProcess.parley(["sagas", "show", waiting] + store)
            return show.output.contains("COMPENSATE_PAYMENT") ? true : nil
        }
        let dry = try await OrderSystemProcess.parley(
            ["sagas", "set-state", waiting, "COMPENSATE_PAYMENT", "--reason", "look", "--dry-run", "--json"] + store
        )
        #expect(dry.status == 0 && dry.output.contains(#""dryRun" : true"#), "\(dry.output)\(dry.error)")
        let unknown = try await OrderSystemProcess.parley(
            ["sagas", "set-state", waiting, "NOWHERE", "--reason", "x"] + store
        )
        #expect(unknown.status == 1 && unknown.error.contains("COMPENSATE_INVENTORY"), "\(unknown.error)")
        payment.signal(SIGCONT)
        // It moves in these moments, so the first try may find it elsewhere.
        _ = try await eventually(within: .seconds(60), "it is tried again by hand, or has ended") {
            let answer = try await OrderSystemProcess.parley(
                ["sagas", "replay", waiting, "--reason", "mended"] + store
            )
            return answer.status == 0 || answer.error.contains("has ended") ? true : nil
        }
        #expect(try await Shop(base: second.gateway).finished(waiting, within: .seconds(60)).status == "CANCELLED")
    }
}

extension Array {
    fileprivate func asyncMap<Value>(_ body: (Element) async throws -> Value) async throws -> [Value] {
        var values: [Value] = []
        for element in self { values.append(try await body(element)) }
        return values
    }
}
