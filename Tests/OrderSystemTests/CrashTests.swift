import Foundation
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(5)))
struct CrashTests {
    /// Ten times: load, `kill -9` at a random moment, the same command again. In the end every order that was accepted
    /// has its end, and nothing is lost or done twice.
    @Test func nothingIsLostWhenTheProcessIsKilledTenTimesUnderLoad() async throws {
        let data = try TemporaryFolder()
        let accepted = AcceptedOrders()
        var generator = SystemRandomNumberGenerator()
        for round in 0..<10 {
            let system = try await OrderSystemProcess.start(data: data)
            let shop = Shop(base: system.gateway)
            let placed = try await withThrowingTaskGroup(of: Void.self) { group in
                for customer in 0..<16 {
                    group.addTask {
                        for number in 0..<1_000 {
                            // A customer whose connection breaks does not know whether the order was taken, and asks
                            // nobody: those orders must add up as well.
                            let card = (customer + number) % 7 == 0 ? "4000000000000002" : nil
                            guard let answer = try? await shop.place(card: card), answer.status == 202 else { return }
                            let id = try answer.decode(Shop.Order.self).id
                            accepted.add(id)
                        }
                    }
                }
                // The moment is counted in accepted orders, not in time, so that a slow machine has its crash under
                // load as well.
                let before = accepted.ids.count
                let moment = Int.random(in: 1...60, using: &generator)
                _ = try await eventually(within: .seconds(60), "\(moment) orders are accepted") {
                    accepted.ids.count >= before + moment ? true : nil
                }
                await system.killNow()
                group.cancelAll()
                try await group.waitForAll()
                return accepted.ids.count - before
            }
            #expect(placed > 0, "round \(round) had no load")
        }
        let system = try await OrderSystemProcess.start(data: data)
        let shop = Shop(base: system.gateway)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for id in accepted.ids {
                group.addTask {
                    let order = try await shop.finished(id, within: .seconds(120))
                    #expect(order.isOver)
                }
            }
            try await group.waitForAll()
        }
        _ = try await eventually(within: .seconds(120), "no order is pending") {
            try await shop.orders("PENDING").isEmpty ? true : nil
        }
        try await shop.checkThatEverythingAddsUp()
        #expect(await system.interrupt().status == 0)
    }

    @Test func ctrlCUnderLoadStopsWithinFiveSecondsAndGoesOnAfterwards() async throws {
        let data = try TemporaryFolder()
        let system = try await OrderSystemProcess.start(data: data)
        let shop = Shop(base: system.gateway)
        let accepted = AcceptedOrders()
        let (status, took) = try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    while let answer = try? await shop.place(), answer.status == 202 {
                        let id = try answer.decode(Shop.Order.self).id
                        accepted.add(id)
                    }
                }
            }
            _ = try await eventually("there is load") { accepted.ids.count > 20 ? true : nil }
            let end = await system.interrupt()
            group.cancelAll()
            try await group.waitForAll()
            return end
        }
        #expect(status == 0)
        #expect(took < .seconds(5))
        let again = try await OrderSystemProcess.start(data: data)
        for id in accepted.ids {
            #expect(try await Shop(base: again.gateway).finished(id).status == "CONFIRMED")
        }
        try await Shop(base: again.gateway).checkThatEverythingAddsUp()
    }
}

/// The ids of the orders that were answered with 202.
private final class AcceptedOrders: Sendable {
    private let state = Mutex<Set<String>>([])

    var ids: Set<String> { self.state.withLock { $0 } }

    func add(_ id: String) { self.state.withLock { _ = $0.insert(id) } }
}
