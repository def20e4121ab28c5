import ParleyCore
import ParleyMessaging
import ParleySagas
import ParleyTestKit
import Testing

@Suite(.timeLimit(.minutes(1))) struct SagaCoordinatorTests {
    private let bench = CoordinatorBench()

    @Test func `an order goes through`() async throws {
        let shop = Shop()
        let coordinator = try self.bench.coordinator(try OrderSaga.repaired(), shop.actions)
        let saga = try await self.bench.running(coordinator) {
            let started = try await coordinator.start("order_saga", businessKey: "order-1", input: #"{"n":2}"#)
            return try await self.bench.settle(started.id)
        }
        #expect(saga.status == .completed && saga.state == "SAGA_COMPLETED" && saga.input == #"{"n":2}"#)
        #expect(shop.books == Shop.Books(stock: 9, money: 25, confirmed: 1))
        #expect(try await self.bench.kinds(saga.id) == [.started, .succeeded, .succeeded, .succeeded, .ended])
        let history = try await self.bench.store.history(of: saga.id)
        #expect(history.map(\.version) == [1, 2, 3, 4, 4] || history.map(\.version) == [1, 3, 4, 5, 5])
    }

    @Test func `a refusal undoes what was done and keeps the reason`() async throws {
        let shop = Shop()
        var actions = shop.actions
        actions["process_payment"] = .remote { _ in .rejected(reason: "card declined") }
        let coordinator = try self.bench.coordinator(try OrderSaga.repaired(), actions)
        let saga = try await self.bench.running(coordinator) {
            let started = try await coordinator.start("order_saga", businessKey: "order-1", input: "{}")
            return try await self.bench.settle(started.id)
        }
        #expect(saga.status == .failed && saga.reason == "card declined")
        #expect(shop.books == Shop.Books())
    }

    @Test func `a lost answer is asked for again under the same key`() async throws {
        let keys = Guarded<[String]>([])
        let actions = SmallSaga.actions { command in
            keys.withLock { $0.append("\(command.idempotencyKey) \(command.attempt)") }
            return keys.current.count < 3 ? .unknown(reason: "lost", retry: .mayHaveRun) : .success(output: nil)
        }
        let coordinator = try self.bench.coordinator(SmallSaga.make(), actions)
        let saga = try await self.bench.running(coordinator) {
            let started = try await coordinator.start("small", businessKey: "k", input: "")
            return try await self.bench.settle(started.id)
        }
        #expect(saga.status == .completed)
        #expect(keys.current == (1...3).map { "\(saga.id)/reserve_x/action \($0)" })
    }

    @Test func `an outcome that stays unknown is undone by on_unknown`() async throws {
        let undone = Guarded<[String]>([])
        let actions = SmallSaga.actions { _ in
            .unknown(reason: "no answer", retry: .mayHaveRun)
        } release: { command in
            undone.withLock { $0.append(command.step) }
            return .success(output: nil)
        }
        let coordinator = try self.bench.coordinator(SmallSaga.make(onUnknown: true), actions)
        let saga = try await self.bench.running(coordinator) {
            let started = try await coordinator.start("small", businessKey: "k", input: "")
            return try await self.bench.settle(started.id)
        }
        #expect(saga.status == .failed && saga.effects.map(\.status) == [.undone])
        #expect(undone.current == ["reserve_x"])
        #expect(saga.reason?.contains("3 tries") == true)
        #expect(try await self.bench.kinds(saga.id).contains(.unknown))
    }

    @Test func `a step that could never be sent counts as refused`() async throws {
        let actions = SmallSaga.actions { _ in
            .unknown(reason: "connection refused", retry: .notSent)
        } release: { _ in
            Issue.record("nothing to undo")
            return .success(output: nil)
        }
        let coordinator = try self.bench.coordinator(SmallSaga.make(onUnknown: true), actions)
        let saga = try await self.bench.running(coordinator) {
            let started = try await coordinator.start("small", businessKey: "k", input: "")
            return try await self.bench.settle(started.id)
        }
        #expect(saga.status == .failed && saga.effects.map(\.status) == [.rejected])
    }

    @Test func `no answer in time is unknown, and the action is cancelled and told its deadline`() async throws {
        let context = Guarded<RequestContext?>(nil)
        let clock = self.bench.clock
        let actions = SmallSaga.actions { command in
            guard command.attempt == 1 else { return .success(output: nil) }
            context.withLock { $0 = RequestContext.current }
            do {
                try await clock.sleep(for: .seconds(3_600))
                return .rejected(reason: "not cancelled")
            } catch {
                return .rejected(reason: "too late to matter")
            }
        }
        let configuration = SagaCoordinator.Configuration(lease: .seconds(600), attemptTimeout: .seconds(5))
        let coordinator = try self.bench.coordinator(SmallSaga.make(), actions, configuration: configuration)
        let saga = try await self.bench.running(coordinator) {
            let started = try await coordinator.start("small", businessKey: "k", input: "")
            while context.current == nil { await Task.yield() }
            let left = context.current?.deadline?.remaining(at: clock.now)
            #expect(left == .seconds(5))
            #expect(context.current?.correlationID == started.id && context.current?.requestID == started.id)
            while try await self.bench.load(started.id).attempt == 0 {
                clock.advance(by: .milliseconds(500))
                await Task.yield()
            }
            let waiting = try await self.bench.load(started.id)
            #expect(waiting.isUncertain && waiting.status == .running)
            return try await self.bench.settle(started.id)
        }
        #expect(saga.status == .completed)
        let line = try await self.bench.store.history(of: saga.id).first { $0.kind == .retrying }
        #expect(line?.detail?.contains("no answer within") == true)
    }

    @Test func `starting twice gives the one that exists`() async throws {
        let shop = Shop()
        let coordinator = try self.bench.coordinator(try OrderSaga.repaired(), shop.actions)
        let written = Guarded(0)
        try await self.bench.running(coordinator) {
            let first = try await coordinator.start("order_saga", businessKey: "k", input: "1") { _ in
                written.withLock { $0 += 1 }
            }
            let second = try await coordinator.start("order_saga", businessKey: "k", input: "2") { _ in
                written.withLock { $0 += 1 }
            }
            #expect(second.id == first.id && second.input == "1")
            #expect(written.current == 2)
            let ids = try await withThrowingTaskGroup(of: String.self) { group in
                for _ in 0..<50 {
                    group.addTask { try await coordinator.start("order_saga", businessKey: "many", input: "").id }
                }
                return try await group.reduce(into: Set<String>()) { $0.insert($1) }
            }
            #expect(ids.count == 1)
            try await self.bench.settle(first.id)
            for id in ids { try await self.bench.settle(id) }
        }
        #expect(shop.books == Shop.Books(stock: 8, money: 50, confirmed: 2))
    }

    private struct Oops: Error {}

    @Test func `a body that throws starts nothing`() async throws {
        let coordinator = try self.bench.coordinator(try OrderSaga.repaired(), Shop().actions)
        try await self.bench.running(coordinator) {
            await #expect(throws: Oops.self) {
                try await coordinator.start("order_saga", businessKey: "k", input: "") { _ in throw Oops() }
            }
            let stored = try await self.bench.store.instances(matching: SagaQuery())
            #expect(stored.isEmpty)
        }
        let error = await #expect(throws: SagaError.self) {
            try await coordinator.start("unheard_of", businessKey: "k", input: "")
        }
        #expect(error?.code == .unknownDefinition && error?.message.contains("order_saga") == true)
    }

    @Test func `what a running coordinator starts it drives itself, at once`() async throws {
        let gate = Gate()
        let actions = SmallSaga.actions { command in
            if command.businessKey == "second" { await gate.pass() }
            return .success(output: nil)
        }
        let coordinator = try self.bench.coordinator(SmallSaga.make(), actions)
        try await self.bench.running(coordinator) {
            // Once the first one has been driven, it surely runs.
            let first = try await coordinator.start("small", businessKey: "first", input: "")
            try await self.bench.settle(first.id)
            let second = try await coordinator.start("small", businessKey: "second", input: "")
            #expect(second.owner == "one" && second.dueAt == nil)
            try await gate.waitForOne()
            let stored = try await self.bench.load(second.id)
            #expect(stored == second, "no claim was needed")
            gate.open()
            #expect(try await self.bench.settle(second.id).version == 2)
        }
    }

    @Test func `what was started while nobody runs is found by whoever runs next`() async throws {
        let shop = Shop()
        let starter = try self.bench.coordinator(try OrderSaga.repaired(), shop.actions, owner: "starter")
        let started = try await starter.start("order_saga", businessKey: "k", input: "")
        #expect(started.owner == nil)
        let runner = try self.bench.coordinator(try OrderSaga.repaired(), shop.actions, owner: "runner")
        let saga = try await self.bench.running(runner) { try await self.bench.settle(started.id) }
        #expect(saga.status == .completed && !saga.isUncertain)
    }

    @Test func `an undo that keeps failing is stuck and visible, and a retry heals it`() async throws {
        let isMended = Guarded(false)
        var actions = Shop().actions
        actions["confirm_order"] = .remote { _ in .rejected(reason: "sold out") }
        actions["refund_payment"] = .remote { _ in
            isMended.current ? .success(output: nil) : .rejected(reason: "account closed")
        }
        let coordinator = try self.bench.coordinator(try OrderSaga.repaired(), actions)
        let saga = try await self.bench.running(coordinator) {
            let started = try await coordinator.start("order_saga", businessKey: "k", input: "")
            let stuck = try await self.bench.settle(started.id) { $0.status == .stuck }
            #expect(stuck.state == "COMPENSATE_PAYMENT" && stuck.reason?.contains("account closed") == true)
            #expect(stuck.effects.filter { $0.status == .applied }.count == 2)
            #expect(try await self.bench.store.instances(matching: SagaQuery(status: .stuck)).map(\.id) == [stuck.id])
            isMended.withLock { $0 = true }
            let resumed = try await coordinator.retry(stuck.id, by: "ada")
            #expect(resumed.status == .running && resumed.attempt == 0)
            return try await self.bench.settle(started.id)
        }
        #expect(saga.status == .failed)
        let resumed = try await self.bench.store.history(of: saga.id).first { $0.kind == .resumed }
        #expect(resumed?.detail == "tried again by ada")
    }

    @Test func `a stuck saga tries again by itself`() async throws {
        let isMended = Guarded(false)
        let actions = SmallSaga.actions { _ in
            isMended.current ? .success(output: nil) : .unknown(reason: "down", retry: .mayHaveRun)
        }
        let coordinator = try self.bench.coordinator(SmallSaga.make(), actions)
        let saga = try await self.bench.running(coordinator) {
            let started = try await coordinator.start("small", businessKey: "k", input: "")
            try await self.bench.settle(started.id) { $0.status == .stuck }
            isMended.withLock { $0 = true }
            return try await self.bench.settle(started.id)
        }
        #expect(saga.status == .completed)
    }

    @Test func `operators are told what cannot be done`() async throws {
        let coordinator = try self.bench.coordinator(try OrderSaga.repaired(), Shop().actions)
        let codes = try await self.bench.running(coordinator) {
            let saga = try await coordinator.start("order_saga", businessKey: "k", input: "")
            try await self.bench.settle(saga.id)
            var codes: [SagaError.Code?] = []
            for attempt in 0..<3 {
                do {
                    switch attempt {
                    case 0: try await coordinator.retry("nobody", by: "ada")
                    case 1: try await coordinator.retry(saga.id, by: "ada")
                    default: try await coordinator.force(saga.id, to: "ORDER_CREATED", by: "ada", because: "x")
                    }
                } catch {
                    codes.append((error as? SagaError)?.code)
                }
            }
            return codes
        }
        #expect(codes == [.unknownSaga, .notAllowed, .notAllowed])
    }

    @Test func `force is audited, fences the driver at work, and goes on from there`() async throws {
        let gate = Gate()
        let shop = Shop()
        var actions = shop.actions
        let confirm = try #require(actions["confirm_order"])
        actions["confirm_order"] = .remote { command in
            await gate.pass()
            guard case .remote(let perform) = confirm.kind else { return .rejected(reason: "") }
            return await perform(command)
        }
        let coordinator = try self.bench.coordinator(try OrderSaga.repaired(), actions)
        let saga = try await self.bench.running(coordinator) {
            let started = try await coordinator.start("order_saga", businessKey: "k", input: "")
            try await gate.waitForOne()
            let error = await #expect(throws: SagaError.self) {
                try await coordinator.force(started.id, to: "NOWHERE", by: "ada", because: "x")
            }
            #expect(error?.code == .unknownState)
            let before = try await self.bench.load(started.id)
            let forced = try await coordinator.force(
                started.id,
                to: "COMPENSATE_PAYMENT",
                by: "ada",
                because: "customer called"
            )
            #expect(forced.epoch == before.epoch + 1)
            let ended = try await self.bench.settle(started.id)
            gate.open()
            while gate.waiting > 0 { await Task.yield() }
            return ended
        }
        #expect(saga.status == .failed)
        #expect(try await self.bench.load(saga.id) == saga, "what the fenced driver found out is not written")
        let line = try #require(try await self.bench.store.history(of: saga.id).first { $0.kind == .forced })
        #expect(line.state == "PAYMENT_PROCESSED" && line.nextState == "COMPENSATE_PAYMENT")
        #expect(line.detail == "by ada: customer called")
    }

    @Test func `retrying what waits in a state without an action is refused`() async throws {
        let definition = SmallSaga.make(onFailure: "SAGA_STUCK")
        let coordinator = try self.bench.coordinator(
            definition,
            SmallSaga.actions { _ in .rejected(reason: "odd") }
        )
        try await self.bench.running(coordinator) {
            let started = try await coordinator.start("small", businessKey: "k", input: "")
            let stuck = try await self.bench.settle(started.id) { $0.status == .stuck }
            #expect(stuck.state == "SAGA_STUCK")
            // Otherwise it would look as if it were running, and nothing would ever happen.
            let error = await #expect(throws: SagaError.self) { try await coordinator.retry(stuck.id, by: "ada") }
            #expect(error?.code == .notAllowed)
            #expect(try await self.bench.load(stuck.id) == stuck)
            try await coordinator.force(stuck.id, to: "U", by: "ada", because: "to be sure")
            #expect(try await self.bench.settle(stuck.id).status == .failed)
        }
    }
}
