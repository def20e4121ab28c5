import Logging
import ParleyCore
import ParleyMessaging
import ParleySagas
import ParleyTestKit
import ServiceLifecycle
import Testing

/// Coordinators that die, pause, leave, or are of another version.
@Suite(.timeLimit(.minutes(1))) struct SagaTakeoverTests {
    private let bench = CoordinatorBench()

    @Test func `a paused coordinator is replaced, its saga uncertain, and writes nothing when it wakes`() async throws {
        let gate = Gate()
        let shop = Shop()
        var paused = shop.actions
        paused["process_payment"] = .remote { command in
            await gate.pass()
            return .rejected(reason: "from the past, attempt \(command.attempt)")
        }
        let seen = Guarded<SagaInstance?>(nil)
        var living = shop.actions
        let pay = try #require(living["process_payment"])
        let store = self.bench.store
        living["process_payment"] = .remote { command in
            let saga = try? await store.instances(matching: SagaQuery(id: command.sagaID)).first
            seen.withLock { $0 = saga }
            guard case .remote(let perform) = pay.kind else { return .rejected(reason: "") }
            return await perform(command)
        }
        let definition = try OrderSaga.repaired()
        let one = try self.bench.coordinator(definition, paused, owner: "one", isPaused: true)
        let two = try self.bench.coordinator(definition, living, owner: "two")
        let saga = try await self.bench.running(one) {
            let started = try await one.start("order_saga", businessKey: "k", input: "")
            try await gate.waitForOne()
            #expect(try await self.bench.load(started.id).owner == "one")
            return try await self.bench.running(two) {
                let leasedAt = self.bench.clock.wallTime
                while try await self.bench.load(started.id).owner == "one" {
                    // The second one sleeps twice: until it looks for work again, and until it renews its lease.
                    await self.bench.clock.waitForSleepers(2)
                    self.bench.clock.advance(by: .milliseconds(100))
                }
                let silence = self.bench.clock.wallTime - leasedAt
                #expect(silence >= .seconds(4) && silence <= .milliseconds(5_200), "\(silence)")
                let ended = try await self.bench.settle(started.id)
                gate.open()
                while gate.waiting > 0 { await Task.yield() }
                for _ in 0..<50 { await Task.yield() }
                return ended
            }
        }
        #expect(saga.status == .completed)
        #expect(seen.current?.owner == "two" && seen.current?.isUncertain == true)
        #expect(try await self.bench.load(saga.id) == saga)
        let details = try await self.bench.store.history(of: saga.id).compactMap(\.detail)
        #expect(!details.contains { $0.contains("from the past") })
        #expect(shop.books == Shop.Books(stock: 9, money: 25, confirmed: 1))
    }

    @Test func `a coordinator that shuts down finishes its step and hands over at once`() async throws {
        let gate = Gate()
        let shop = Shop()
        var slow = shop.actions
        let pay = try #require(slow["process_payment"])
        slow["process_payment"] = .remote { command in
            await gate.pass()
            guard case .remote(let perform) = pay.kind else { return .rejected(reason: "") }
            return await perform(command)
        }
        let definition = try OrderSaga.repaired()
        let one = try self.bench.coordinator(definition, slow, owner: "one")
        let group = ServiceGroup(services: [one], logger: .silent)
        let id = try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            let started = try await one.start("order_saga", businessKey: "k", input: "")
            try await gate.waitForOne()
            await group.triggerGracefulShutdown()
            for _ in 0..<20 { await Task.yield() }
            gate.open()
            try await tasks.waitForAll()
            return started.id
        }
        let left = try await self.bench.load(id)
        #expect(left.state == "PAYMENT_PROCESSED" && left.status == .running, "the step was committed, no other begun")
        let two = try self.bench.coordinator(definition, shop.actions, owner: "two")
        let before = self.bench.clock.wallTime
        let saga = try await self.bench.running(two) { try await self.bench.settle(id) }
        #expect(saga.status == .completed)
        #expect(self.bench.clock.wallTime == before, "nobody waited for a lease to run out")
    }

    @Test func `an action that does not end is given up after the drain timeout`() async throws {
        let hasBegun = Guarded(false)
        let clock = self.bench.clock
        let actions = SmallSaga.actions { _ in
            hasBegun.withLock { $0 = true }
            try? await clock.sleep(for: .seconds(100_000))
            return .success(output: nil)
        }
        let configuration = SagaCoordinator.Configuration(
            lease: .seconds(600),
            attemptTimeout: .seconds(1_000),
            drainTimeout: .seconds(3)
        )
        let one = try self.bench.coordinator(SmallSaga.make(), actions, configuration: configuration)
        let group = ServiceGroup(services: [one], logger: .silent)
        let id = try await withThrowingTaskGroup(of: String?.self) { tasks in
            tasks.addTask {
                try await group.run()
                return nil
            }
            let started = try await one.start("small", businessKey: "k", input: "")
            while !hasBegun.current { await Task.yield() }
            await group.triggerGracefulShutdown()
            tasks.addTask {
                // Only time ends it; how many sleep by now is not known.
                while !Task.isCancelled {
                    clock.advance(by: .milliseconds(100))
                    await Task.yield()
                }
                return nil
            }
            _ = try await tasks.next()
            tasks.cancelAll()
            return started.id
        }
        let left = try await self.bench.load(id)
        #expect(left.state == "A" && left.status == .running && left.attempt == 0, "nothing was made up about it")
        let claimed = try await self.bench.store.claim(owner: "two", limit: 10).instances
        #expect(claimed.map(\.id) == [id] && claimed.map(\.isUncertain) == [true])
    }

    @Test func `a running saga stays on the definition that it began with`() async throws {
        let calls = Guarded<[String]>([])
        let gate = Gate()
        let isFirst = Guarded(true)
        func recording(_ name: String) -> SagaAction {
            .remote { command in
                calls.withLock { $0.append(command.action) }
                let waits = isFirst.withLock { first in
                    defer { first = false }
                    return first
                }
                if waits { await gate.pass() }
                return .success(output: nil)
            }
        }
        let v1 = SagaDefinition(
            name: "s",
            initial: "A",
            states: [
                "A": .init(action: "a", onSuccess: "B", onFailure: "SAGA_FAILED"),
                "B": .init(action: "old", onSuccess: "SAGA_COMPLETED", onFailure: "SAGA_FAILED", isPivot: true),
            ]
        )
        var v2 = v1
        v2.states["B"]?.action = "new"
        let actions = ["a": recording("a"), "old": recording("old"), "new": recording("new")]
        let one = try self.bench.coordinator(v1, actions, owner: "one", isPaused: true)
        let started = try await self.bench.running(one) {
            let started = try await one.start("s", businessKey: "k", input: "")
            try await gate.waitForOne()
            self.bench.clock.advance(by: .seconds(5))
            let two = try self.bench.coordinator(v2, actions, owner: "two")
            try await self.bench.running(two) {
                try await self.bench.settle(started.id)
                let fresh = try await two.start("s", businessKey: "k2", input: "")
                try await self.bench.settle(fresh.id)
            }
            gate.open()
            return started
        }
        #expect(try await self.bench.load(started.id).status == .completed)
        #expect(try await self.bench.load(started.id).definition == v1.fingerprint)
        #expect(calls.current == ["a", "a", "old", "a", "new"])
    }

    @Test func `an action that is not registered here makes the saga stuck and visible`() async throws {
        let v1 = SmallSaga.make()
        let one = try self.bench.coordinator(v1, SmallSaga.actions { _ in .success(output: nil) })
        let started = try await one.start("small", businessKey: "k", input: "")
        let v2 = SagaDefinition(
            name: "small",
            initial: "A",
            states: ["A": .init(action: "other", onSuccess: "SAGA_COMPLETED", onFailure: "SAGA_FAILED")]
        )
        let two = try self.bench.coordinator(v2, ["other": .remote { _ in .success(output: nil) }], owner: "two")
        let stuck = try await self.bench.running(two) {
            try await self.bench.settle(started.id) { $0.status == .stuck }
        }
        #expect(stuck.reason?.contains("reserve_x") == true && stuck.owner == nil)
        #expect(try await self.bench.kinds(started.id).last == .stuck)
        let saga = try await self.bench.running(one) {
            try await one.retry(started.id, by: "ada")
            return try await self.bench.settle(started.id)
        }
        #expect(saga.status == .completed)
    }

    @Test func `a thousand sagas at once, three coordinators, one of which leaves`() async throws {
        let shop = Shop()
        let store = InMemorySagaStore()
        let backend = InMemoryBackend()
        let definition = try OrderSaga.repaired()
        let coordinators = try (0..<3).map { number in
            SagaCoordinator(
                store: store,
                transactions: backend,
                sagas: [try SagaRegistration(definition, actions: shop.actions)],
                configuration: .init(concurrency: 100),
                owner: "c\(number)",
                logger: .silent
            )
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            let leaving = ServiceGroup(services: [coordinators[0]], logger: .silent)
            group.addTask { try await leaving.run() }
            for coordinator in coordinators.dropFirst() { group.addTask { try await coordinator.run() } }
            try await withThrowingTaskGroup(of: Void.self) { starts in
                for number in 0..<1_000 {
                    starts.addTask {
                        try await coordinators[number % 3].start("order_saga", businessKey: "\(number)", input: "")
                        if number == 500 { await leaving.triggerGracefulShutdown() }
                    }
                }
                try await starts.waitForAll()
            }
            while try await store.instances(matching: SagaQuery(status: .completed, limit: 1_000)).count < 1_000 {
                try Task.checkCancellation()
                await Task.yield()
            }
            group.cancelAll()
        }
        #expect(shop.books == Shop.Books(stock: 10 - 1_000, money: 25_000, confirmed: 1_000))
    }

    @Test func `a local action that throws is rolled back and tried again`() async throws {
        let tries = Guarded(0)
        let rows = Guarded<[Int]>([])
        let outbox = self.bench.backend.outbox
        let definition = SmallSaga.make()
        let actions: [String: SagaAction] = [
            "reserve_x": .local { _, transaction in
                tries.withLock { $0 += 1 }
                let number = tries.current
                try InMemoryTransaction.require(transaction).onRollback { rows.withLock { _ = $0.removeLast() } }
                rows.withLock { $0.append(number) }
                try outbox.append([Message(source: "s", type: "t.\(number)", data: [])], in: transaction)
                if number < 3 { throw DiskFull() }
                return .success(output: "\(number)")
            },
            "release_x": .remote { _ in .success(output: nil) },
        ]
        let coordinator = try self.bench.coordinator(definition, actions)
        let saga = try await self.bench.running(coordinator) {
            let started = try await coordinator.start("small", businessKey: "k", input: "")
            return try await self.bench.settle(started.id)
        }
        #expect(saga.status == .completed && saga.output(of: "reserve_x") == "3")
        #expect(rows.current == [3], "what the first two tries wrote was taken back")
        let sent = try await outbox.pending(limit: 10).rows.map(\.message.type)
        #expect(sent == ["t.3"], "the command goes out with the commit that it belongs to")
        #expect(!saga.isUncertain)
    }

    private struct DiskFull: Error {}

    @Test func `a local action that always throws has not run, and counts as refused`() async throws {
        let actions: [String: SagaAction] = [
            "reserve_x": .local { _, _ in throw DiskFull() },
            "release_x": .remote { _ in .success(output: nil) },
        ]
        let coordinator = try self.bench.coordinator(SmallSaga.make(onUnknown: true), actions)
        let saga = try await self.bench.running(coordinator) {
            let started = try await coordinator.start("small", businessKey: "k", input: "")
            return try await self.bench.settle(started.id)
        }
        #expect(saga.status == .failed && saga.effects.map(\.status) == [.rejected])
    }
}
