import ParleyCore
import ParleyMessaging
import ParleySagas
import ParleyTestKit
import Testing

/// The kit on the repaired order saga, and the proof that it finds what it is for.
@Suite(.timeLimit(.minutes(1))) struct SagaTestTests {
    private let test = SagaTest { clock in
        let shop = Shop()
        let registration = try SagaRegistration(OrderSaga.repaired(), actions: shop.actions)
        return SagaTest.Stage(registration, input: "{}", time: clock) { saga in
            try Self.balance(shop, saga)
        }
    }

    private static func balance(_ shop: Shop, _ saga: SagaInstance) throws {
        let wanted =
            saga.status == .completed
            ? Shop.Books(stock: 9, money: 25, confirmed: 1) : Shop.Books(stock: 10, money: 0, confirmed: 0)
        try #require(shop.books == wanted, "\(saga.status) in \(saga.state)")
    }

    @Test func `every step twice`() async throws { try await self.test.everyStepTwice() }

    @Test func `every step failing`() async throws { try await self.test.failEveryStep() }

    @Test func `every step unknown`() async throws { try await self.test.unknownEveryStep() }

    @Test func `a crash everywhere`() async throws { try await self.test.crashEverywhere() }

    @Test func `a participant without a barrier is found`() async throws {
        let counted = Guarded(0)
        let careless = SagaTest { clock in
            counted.withLock { $0 = 0 }
            let shop = Shop()
            var actions = shop.actions
            actions["reserve_inventory"] = .remote { _ in
                counted.withLock { $0 += 1 }
                return .success(output: nil)
            }
            let registration = try SagaRegistration(OrderSaga.repaired(), actions: actions)
            return SagaTest.Stage(registration, input: "{}", time: clock) { _ in
                guard counted.current == 1 else { throw Careless(times: counted.current) }
            }
        }
        await #expect(throws: SagaTestFailure.self) { try await careless.everyStepTwice() }
        await #expect(throws: SagaTestFailure.self) { try await careless.crashEverywhere() }
    }

    private struct Careless: Error { let times: Int }

    @Test func `an undo that gives two answers is found`() async throws {
        let fickle = SagaTest { clock in
            let shop = Shop()
            let calls = Guarded(0)
            var actions = shop.actions
            actions["reserve_inventory"] = .remote { _ in
                calls.withLock { $0 += 1 }
                return .success(output: "\(calls.current)")
            }
            let registration = try SagaRegistration(OrderSaga.repaired(), actions: actions)
            return SagaTest.Stage(registration, input: "{}", time: clock) { _ in }
        }
        let failure = try await #require(throws: ConformanceFailure.self) { try await fickle.everyStepTwice() }
        #expect(failure.description.contains("every step twice, nothing refused"))
    }

    @Test func `the guide's own saga is found to leave effects behind`() async throws {
        let leaking = SagaTest { clock in
            let shop = Shop()
            let definition = try OrderSaga.read(OrderSaga.guideJSON)
            let registration = try SagaRegistration(definition, actions: shop.actions, acceptsFindings: true)
            return SagaTest.Stage(registration, input: "{}", time: clock) { saga in
                try Self.balance(shop, saga)
            }
        }
        // Its COMPENSATE_PAYMENT is not defined: a refused confirmation leaves the saga stuck.
        let failure = try await #require(throws: ConformanceFailure.self) { try await leaking.failEveryStep() }
        #expect(failure.description.contains("COMPENSATE_PAYMENT"))
    }

    @Test func `local actions take part`() async throws {
        let test = SagaTest { clock in
            let shop = Shop()
            let confirmed = Guarded(0)
            var actions = shop.actions
            actions["confirm_order"] = .local { _, transaction in
                let transaction = try InMemoryTransaction.require(transaction)
                confirmed.withLock { $0 += 1 }
                transaction.onRollback { confirmed.withLock { $0 -= 1 } }
                return .success(output: nil)
            }
            let registration = try SagaRegistration(OrderSaga.repaired(), actions: actions)
            return SagaTest.Stage(registration, input: "{}", time: clock) { saga in
                try #require(confirmed.current == (saga.status == .completed ? 1 : 0))
            }
        }
        try await test.everyStepTwice()
        try await test.failEveryStep()
        try await test.unknownEveryStep()
        try await test.crashEverywhere()
    }
}
