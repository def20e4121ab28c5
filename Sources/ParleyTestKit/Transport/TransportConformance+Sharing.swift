internal import ParleyCore
internal import ParleyMessaging

extension TransportConformance {
    static let durability: [Case] = [
        Case("everything is there again after a restart", Self.restart)
    ]

    static let sharing: [Case] = [
        Case("what one handle publishes wakes a consumer of another", Self.acrossHandles),
        Case("a group that one handle declares holds for the other at once", Self.declareAcrossHandles),
        Case("two handles share one group, each message once", Self.shareGroup),
        Case("a vanished consumer's messages go to another after its lease", needsTime: true, Self.takeover),
        Case("a late settlement of a vanished consumer is refused", needsTime: true, Self.lateSettlement),
        Case("a vanished consumer's key stays in order", needsTime: true, Self.takeoverKeepsOrder),
        Case("a consumer that lives keeps its messages beyond its lease", needsTime: true, Self.livingKeeps),
    ]

    private static func restart(_ bench: Bench) async throws {
        let handle = try await bench.open()
        let before = TransportScene(bench, handle.port)
        try await before.declare("group", ["case.*"], maximumDeliveries: 5)
        try await before.publish("k1", "k2", key: "k")
        try await before.publish("late", "dead", "tried")
        try await before.transport.withSubscription(to: "group", prefetch: 10) { deliveries in
            for delivery in try await deliveries.several(4) {
                switch delivery.message.id {
                case "late": try await before.transport.settle(delivery.id, .retry(after: .seconds(2)))
                case "dead": try await before.transport.settle(delivery.id, .deadLetter(reason: "no"))
                default: break  // k1 and tried are given back, counted
                }
            }
        }
        await handle.close()
        let after = try await TransportScene(bench)
        try await after.publish("other", topic: "other.topic")
        let letters = try await after.transport.deadLetters.list(group: "group", after: 0, limit: 10)
        try expect(letters.map(\.message.id), equals: ["dead"], "the dead letters")
        try await bench.pass(.seconds(2))
        let received = try await after.drain(4)
        let attempts = Dictionary(received.map { ($0.message.id, $0.attempt) }) { first, _ in first }
        try expect(attempts, equals: ["k1": 2, "k2": 1, "late": 2, "tried": 2], "the messages and their attempts")
        try await after.expectEmpty()
    }

    private static func acrossHandles(_ bench: Bench) async throws {
        // On the system's clocks: between processes a wake-up may get lost, and a poll of at most a second covers it.
        let consumer = TransportScene(bench, try await bench.open(on: SystemTimeSource()).port)
        let publisher = TransportScene(bench, try await bench.open(on: SystemTimeSource()).port)
        try await consumer.declare()
        try await consumer.transport.withSubscription(to: "group", prefetch: 1) { deliveries in
            for round in 1...5 {
                async let next = deliveries.one()
                await giveOthersTheirTurn()
                try await publisher.publish("\(round)")
                let delivery = try await next
                try expect(delivery.message.id, equals: "\(round)", "the message just published")
                try await consumer.transport.settle(delivery.id, .ack)
            }
        }
        try await publisher.expectEmpty()
    }

    private static func declareAcrossHandles(_ bench: Bench) async throws {
        let one = try await TransportScene(bench)
        let other = try await TransportScene(bench)
        try await other.publish("warms-up-whatever-is-cached")
        for round in 1...5 {
            try await one.declare("g\(round)", ["round\(round).*"])
            try await other.publish("\(round)", topic: "round\(round).x")
            try expect(try await one.statistics("g\(round)").ready, equals: 1, "messages in the group just declared")
        }
        try await one.declare("g1", ["moved.*"])
        try await other.publish("moved", topic: "moved.x")
        try await other.publish("missed", topic: "round1.x")
        try expect(try await other.drainIDs(2, from: "g1").sorted(), equals: ["1", "moved"], "after declaring again")
        try await other.expectEmpty("g1")
    }

    private static func shareGroup(_ bench: Bench) async throws {
        let handles = [try await TransportScene(bench), try await TransportScene(bench)]
        try await handles[0].declare("group", lease: .seconds(600))
        let total = 400
        let received = Guarded<[String]>([])
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for scene in handles {
                tasks.addTask {
                    try await scene.transport.withSubscription(to: "group", prefetch: 4) { deliveries in
                        while true {
                            let delivery = try await deliveries.one()
                            received.withLock { $0.append(delivery.message.id) }
                            try await scene.transport.settle(delivery.id, .ack)
                        }
                    }
                }
            }
            tasks.addTask {
                for number in 0..<total {
                    try await handles[number % 2].publish("\(number)", key: number % 3 == 0 ? nil : "k\(number % 7)")
                }
                // One handle may know nothing of what the other has in its hands.
                try await eventually {
                    let figures = [try await handles[0].statistics(), try await handles[1].statistics()]
                    return figures.allSatisfy { $0.ready == 0 && $0.unacknowledged == 0 }
                }
            }
            // The consumers never end by themselves; one that fails does.
            try await tasks.next()
            tasks.cancelAll()
        }
        let ids = received.current
        try expect([ids.count, Set(ids).count], equals: [total, total], "deliveries, and distinct ones")
        try await handles[0].expectEmpty()
    }

    /// A consumer whose process is paused while it holds a message, and another handle that goes on.
    ///
    /// - Parameter body: Is given the paused consumer's delivery and its handle, and the living handle and its clock.
    private static func withVanished(
        _ bench: Bench,
        _ body: (Delivery, TransportScene, TransportScene, ManualClock) async throws -> Void
    ) async throws {
        let clock = ManualClock()
        let vanished = TransportScene(bench, try await bench.open(on: ManualClock()).port)
        let living = TransportScene(bench, try await bench.open(on: clock).port)
        try await vanished.declare("group", lease: .seconds(4))
        try await vanished.publish("1", "2", key: "k")
        try await vanished.transport.withSubscription(to: "group", prefetch: 1) { deliveries in
            let held = try await deliveries.one()
            try expect(held.message.id, equals: "1", "the first message")
            try await body(held, vanished, living, clock)
        }
    }

    private static func takeover(_ bench: Bench) async throws {
        try await Self.withVanished(bench) { held, _, living, clock in
            try await living.transport.withSubscription(to: "group", prefetch: 10) { deliveries in
                clock.advance(by: .seconds(3))
                let tooEarly = try await living.receiveUntilMarker(deliveries).map(\.message.id)
                try expect(tooEarly, equals: [], "what comes before the lease has run out")
                // It waits already when the lease runs out: nobody rings for that.
                async let next = deliveries.one()
                await giveOthersTheirTurn()
                clock.advance(by: .seconds(2))
                let delivery = try await next
                try expect(delivery.message, equals: held.message, "the vanished consumer's message")
                try expect(delivery.attempt, equals: 2, "its attempt")
                try await living.transport.settle(delivery.id, .ack)
            }
        }
    }

    private static func lateSettlement(_ bench: Bench) async throws {
        let settlements: [Settlement] = [.ack, .retry(after: .zero), .deadLetter(reason: "late")]
        try await Self.withVanished(bench) { held, vanished, living, clock in
            try await living.transport.withSubscription(to: "group", prefetch: 10) { deliveries in
                clock.advance(by: .seconds(5))
                let delivery = try await deliveries.one()
                for late in settlements { try await vanished.expectLeaseLost(held.id, late, "a late \(late)") }
                try await living.transport.settle(delivery.id, .ack)
                for late in settlements { try await vanished.expectLeaseLost(held.id, late, "an even later \(late)") }
                let next = try await deliveries.one()
                try expect([next.message.id, "\(next.attempt)"], equals: ["2", "1"], "the next message")
                try await living.transport.settle(next.id, .ack)
            }
            try await living.expectEmpty()
            try expect(try await living.statistics().deadLettered, equals: 0, "dead letters")
        }
    }

    private static func takeoverKeepsOrder(_ bench: Bench) async throws {
        try await Self.withVanished(bench) { _, _, living, clock in
            clock.advance(by: .seconds(5))
            let received = try await living.drain(2)
            try expect(received.map(\.message.id), equals: ["1", "2"], "the order of the key")
            try expect(received.map(\.attempt), equals: [2, 1], "the attempts")
        }
    }

    private static func livingKeeps(_ bench: Bench) async throws {
        let clock = ManualClock()
        let busy = TransportScene(bench, try await bench.open(on: clock).port)
        let other = TransportScene(bench, try await bench.open(on: clock).port)
        try await busy.declare("group", lease: .seconds(3))
        try await busy.publish("1", key: "k")
        try await busy.transport.withSubscription(to: "group", prefetch: 1) { deliveries in
            let held = try await deliveries.one()
            // Three leases pass. Whoever sleeps is the one that renews: it is waited for after each step.
            for _ in 0..<9 {
                await clock.waitForSleepers(1)
                clock.advance(by: .seconds(1))
            }
            await clock.waitForSleepers(1)
            let taken = try await other.transport.withSubscription(to: "group", prefetch: 5) {
                try await other.receiveUntilMarker($0).map(\.message.id)
            }
            try expect(taken, equals: [], "what others get of a consumer that lives")
            try await busy.transport.settle(held.id, .ack)
        }
        try await busy.expectEmpty()
    }
}
