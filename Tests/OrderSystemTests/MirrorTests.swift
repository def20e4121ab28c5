import Foundation
import NIOHTTP1
import ProcessTestSupport
import RedisTestSupport
import Testing

/// The guide's `redis-cli HGETALL saga:order:123` and `HSET … state`, beside the system as its users run it.
@Suite(.timeLimit(.minutes(4)), .serialized)
struct MirrorTests {
    private func cli(_ server: RedisServer, _ arguments: String...) async throws -> String {
        try await Subprocess.run("/usr/bin/redis-cli", ["-p", "\(server.port)"] + arguments).output
    }

    private func hash(_ server: RedisServer, _ order: String) async throws -> [String: String] {
        let lines = try await self.cli(server, "HGETALL", "saga:order:\(order)").split(separator: "\n").map(String.init)
        guard lines.count > 1 else { return [:] }
        let pairs = stride(from: 0, to: lines.count - 1, by: 2).map { (lines[$0], lines[$0 + 1]) }
        return Dictionary(pairs) { first, _ in first }
    }

    private func ask(_ service: Shop, _ path: String, _ body: String) async throws -> Shop.Answer {
        try await service.send(
            .POST,
            "/admin/sagas/\(path)",
            body: body,
            headers: ["Content-Type": "application/json", "X-Service": "support-desk"]
        )
    }

    /// Payment is away: the order waits with its stock reserved, for some seconds.
    private func placeWaiting(_ shop: Shop, _ server: RedisServer) async throws -> String {
        try await eventually(within: .seconds(60), "an order is seen while it waits for its payment") {
            let answer = try await shop.place()
            try #require(answer.status == 202, "\(answer.text)")
            let id = try answer.decode(Shop.Order.self).id
            let state = try await eventually(within: .seconds(20), "it is shown") {
                let state = try await self.hash(server, id)["state"]
                return state == nil || state == "ORDER_CREATED" ? nil : state
            }
            return state == "INVENTORY_RESERVED" ? id : nil
        }
    }

    @Test(arguments: Engine.all) func theGuidesTwoSteps(_ engine: Engine) async throws {
        try await RedisServer.with(engine) { server in
            let data = try TemporaryFolder()
            let system = try await OrderSystemProcess.start(
                ["up", "--ephemeral-ports", "--without", "payment-service"],
                data: data,
                environment: [
                    "MIRROR_URL": "redis://127.0.0.1:\(server.port)", "PAYMENT_SERVICE": "127.0.0.1:1",
                ]
            )
            let shop = Shop(base: system.gateway)
            let service = Shop(base: try #require(system.addresses["order-service"]))
            // On a machine that is busy an order may give up by itself before all is typed: then it is another one's turn.
            let id = try await eventually(within: .seconds(90), "an order is edited while it waits") {
                let id = try await self.placeWaiting(shop, server)
                let shown = try await self.hash(server, id)
                // What cannot be is refused, and stays to be corrected.
                _ = try await self.cli(server, "HSET", "saga:order:\(id)", "state", "COMPENSATE_INVENTROY")
                let refused = try await self.ask(service, "\(id)/replay", #"{"reason":"x"}"#)
                _ = try await self.cli(server, "HSET", "saga:order:\(id)", "state", "COMPENSATE_INVENTORY")
                let order = try await shop.order(id)
                let done = try await self.ask(service, "\(id)/replay", #"{"reason":"payment is down","by":"ann"}"#)
                if done.status == 409 { return String?.none }
                #expect(Set(shown.keys) == ["state", "order_id", "inventory_reservation", "started_at"])
                #expect(shown["order_id"] == id && shown["inventory_reservation"] == "res_\(id)")
                #expect(refused.status == 422 && refused.text.contains("COMPENSATE_INVENTORY"), "\(refused.text)")
                #expect(order.attention?.contains("INVENTORY_RESERVED → COMPENSATE_INVENTORY") == true, "\(order)")
                #expect(done.status == 200 && done.text.contains("release_inventory is called"), "\(done.text)")
                return id
            }
            #expect(try await shop.finished(id).status == "CANCELLED")
            _ = try await eventually(within: .seconds(20), "the end is shown") {
                try await self.hash(server, id)["state"] == "SAGA_FAILED" ? true : nil
            }
            let history = try await OrderSystemProcess.parley(
                ["sagas", "show", id, "--store", "sqlite:\(data.path)/order-service.db"]
            )
            #expect(
                history.output.contains("by ann, through support-desk: payment is down (set in 'saga:order:\(id)')")
            )
            // It may say that a payment that was being tried in that moment is uncertain.
            #expect(try await shop.order(id).attention?.contains("edited by hand") != true)
            for stock in try await shop.stock() where stock.productId == "1" {
                #expect(stock.available == stock.initial)
            }

            // Said in words, it settles what was set in the hash.
            let other = try await eventually(within: .seconds(90), "another is edited while it waits") {
                let id = try await self.placeWaiting(shop, server)
                _ = try await self.cli(server, "HSET", "saga:order:\(id)", "state", "PAYMENT_PROCESSED")
                let body = #"{"state":"COMPENSATE_INVENTORY","reason":"no, back"}"#
                // Refused while it moves: asked again.
                let said = try await self.ask(service, "\(id)/state", body)
                return said.status == 200 ? id : nil
            }
            #expect(try await shop.finished(other).status == "CANCELLED")
            _ = try await eventually(within: .seconds(20), "the end is shown") {
                try await self.hash(server, other)["state"] == "SAGA_FAILED" ? true : nil
            }

            // Nobody can tell what was set: the present step is not tried in its place.
            try await server.kill()
            let unknown = try await eventually(within: .seconds(90), "a replay of one that waits") {
                let id = try await shop.place().decode(Shop.Order.self).id
                let answer = try await self.ask(service, "\(id)/replay", #"{"reason":"x"}"#)
                #expect(try await shop.order(id).id == id)
                return answer.status == 409 ? nil : answer
            }
            #expect(unknown.status == 503 && unknown.text.contains("mirror_unavailable"), "\(unknown.text)")
            #expect(await system.interrupt().status == 0)
        }
    }

    /// An edit of a state that the saga has left since is not taken for one of the state that it is in.
    @Test func anEditThatTheSagaHasOvertakenIsRefused() async throws {
        try await RedisServer.with { server in
            let data = try TemporaryFolder()
            // It hangs: whether it charges is not known, and after its time the saga turns back and waits for it there.
            let payment = try await OrderSystemProcess.start(["payment-service", "--port", "0"], data: data)
            let address = try #require(payment.addresses["payment-service"]?.replacing("http://", with: ""))
            payment.signal(SIGSTOP)
            defer { payment.signal(SIGCONT) }
            let mirror = ["--mirror", "redis://127.0.0.1:\(server.port)"]
            let system = try await OrderSystemProcess.start(
                ["up", "--ephemeral-ports", "--without", "payment-service"] + mirror,
                data: data,
                environment: ["PAYMENT_SERVICE": address]
            )
            let shop = Shop(base: system.gateway)
            let service = Shop(base: try #require(system.addresses["order-service"]))
            let id = try await self.placeWaiting(shop, server)
            _ = try await self.cli(server, "HSET", "saga:order:\(id)", "state", "PAYMENT_PROCESSED")
            _ = try await eventually(within: .seconds(60), "it turns back by itself") {
                let show = try await OrderSystemProcess.parley(
                    ["sagas", "show", id, "--store", "sqlite:\(data.path)/order-service.db"]
                )
                return show.output.contains("state   COMPENSATE_PAYMENT") ? true : nil
            }
            let overtaken = try await self.ask(service, "\(id)/replay", #"{"reason":"x"}"#)
            #expect(overtaken.status == 409 && overtaken.text.contains("moved on to 'COMPENSATE_PAYMENT'"))
            #expect(try await self.hash(server, id)["state"] == "PAYMENT_PROCESSED", "what was set stays to be seen")
            _ = try await self.cli(server, "DEL", "saga:order:\(id)")
            _ = try await eventually(within: .seconds(20), "deleted, it is written anew") {
                try await self.hash(server, id)["state"] == "COMPENSATE_PAYMENT" ? true : nil
            }

            payment.signal(SIGCONT)
            #expect(try await shop.finished(id, within: .seconds(60)).status == "CANCELLED")
            _ = try await eventually(within: .seconds(20), "its end is shown") {
                try await self.hash(server, id)["state"] == "SAGA_FAILED" ? true : nil
            }
            _ = try await self.cli(server, "HSET", "saga:order:\(id)", "state", "COMPENSATE_PAYMENT")
            let late = try await self.ask(service, "\(id)/replay", #"{"reason":"x"}"#)
            #expect(late.status == 409 && late.text.contains("has ended"), "\(late.text)")
        }
    }

    /// Two order-services on one file; one is killed under load, so is the server, which forgets everything. In the end
    /// every order's hash shows its end.
    @Test(arguments: Engine.all) func everyOrderIsShownWhoeverDies(_ engine: Engine) async throws {
        try await RedisServer.with(engine) { server in
            let data = try TemporaryFolder()
            let mirror = ["--mirror", "redis://127.0.0.1:\(server.port)"]
            var system = try await OrderSystemProcess.start(["up", "--ephemeral-ports"] + mirror, data: data)
            let second = try await OrderSystemProcess.start(["order-service", "--port", "0"] + mirror, data: data)
            var accepted: [String] = []
            for round in 0..<3 {
                let shop = Shop(base: system.gateway)
                for number in 0..<10 {
                    let card = number % 5 == 0 ? "4000000000000002" : nil
                    let answer = try await shop.place(card: card)
                    try #require(answer.status == 202, "\(answer.text)")
                    accepted.append(try answer.decode(Shop.Order.self).id)
                    if round == 1, number == 5 { try await server.kill() }
                }
                await system.killNow()
                if round == 1 { try await server.start() }
                system = try await OrderSystemProcess.start(["up", "--ephemeral-ports"] + mirror, data: data)
            }
            let shop = Shop(base: system.gateway)
            for id in accepted {
                let order = try await shop.finished(id, within: .seconds(120))
                let end = order.status == "CONFIRMED" ? "SAGA_COMPLETED" : "SAGA_FAILED"
                _ = try await eventually(within: .seconds(30), "order \(id) is shown as \(end)") {
                    try await self.hash(server, id)["state"] == end ? true : nil
                }
            }
            try await shop.checkThatEverythingAddsUp()
            #expect(await second.interrupt().status == 0)
            #expect(await system.interrupt().status == 0)
        }
    }

    @Test func whatIsNoMirrorIsRefused() async throws {
        for url in ["http://:s3cr3t@x", "redis://:s3cr3t@x:port"] {
            let answer = try await OrderSystemProcess.run(["up", "--ephemeral-ports", "--mirror", url])
            #expect(answer.status == 64 && answer.error.contains("--mirror is not of the form"), "\(answer.error)")

            #expect(!answer.error.contains("s3cr3t"))
        }
    }
}
