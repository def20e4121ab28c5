internal import ParleyCore
internal import ParleyMessaging

extension TransportConformance {
    static let settling: [Case] = [
        Case("an acked message is gone", Self.ackRemoves),
        Case("a retried message comes again, not before its time", Self.retryWaits),
        Case("a retry without a wait comes again at once", Self.retryAtOnce),
        Case("a waiting consumer gets a retried message when it is due", Self.retryWakes),
        Case("a retry holds back its key only", Self.retryBlocksItsKey),
        Case("deliveries are counted before the handler, and end in the dead letters", Self.exhaustion),
        Case("a retry of the last attempt is a dead letter", Self.lastRetry),
        Case("a dead letter lets the next of its key go", Self.deadLetterFreesKey),
        Case("settling twice is refused", Self.settleTwice),
        Case("settling a former attempt is refused", Self.settleFormerAttempt),
    ]

    static let givingBack: [Case] = [
        Case("what was received and not settled comes again, counted", Self.receivedGoesBack),
        Case("what was not received comes again, uncounted", Self.unseenGoesBack),
        Case("a scope that throws gives back too", Self.throwGivesBack),
        Case("settling after the scope's end is refused", Self.settleAfterScope),
        Case("cancelling next loses nothing", Self.cancelNext),
        Case("no more than prefetch are handed out", Self.prefetch),
    ]

    private static func ackRemoves(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.publish("1")
        try expect(try await scene.drainIDs(1), equals: ["1"], "the message")
        try await scene.expectEmpty()
        let left = try await scene.transport.withSubscription(to: "group", prefetch: 5) {
            try await scene.receiveUntilMarker($0)
        }
        try expect(left.count, equals: 0, "the number of messages that come again")
    }

    private static func retryWaits(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.publish("1")
        // Real time goes on while a busy machine does something else.
        let wait = Duration.seconds(bench.fixture.followsTime ? 2 : 6)
        try await scene.transport.withSubscription(to: "group", prefetch: 5) { deliveries in
            let first = try await deliveries.one()
            try await scene.transport.settle(first.id, .retry(after: wait))
            try await scene.bench.pass(.seconds(1))
            try expect(try await scene.receiveUntilMarker(deliveries).count, equals: 0, "messages before their time")
            try expect(try await scene.statistics().delayed, equals: 1, "messages that wait for their time")
            try await scene.bench.pass(wait - .seconds(1))
            let second = try await deliveries.one()
            try expect(second.message, equals: first.message, "the message of the second attempt")
            try expect(second.attempt, equals: 2, "the number of the second attempt")
            try await scene.transport.settle(second.id, .ack)
        }
        try await scene.expectEmpty()
    }

    private static func retryAtOnce(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare("group", maximumDeliveries: 4)
        try await scene.publish("1")
        try await scene.transport.withSubscription(to: "group", prefetch: 1) { deliveries in
            for attempt in 1...4 {
                let delivery = try await deliveries.one()
                try expect(delivery.attempt, equals: attempt, "the number of the attempt")
                try expect(delivery.isLastAttempt, equals: attempt == 4, "whether it is the last one")
                try await scene.transport.settle(delivery.id, attempt == 4 ? .ack : .retry(after: .zero))
            }
        }
        try await scene.expectEmpty()
    }

    private static func retryWakes(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.publish("1")
        try await scene.transport.withSubscription(to: "group", prefetch: 1) { deliveries in
            let first = try await deliveries.one()
            try await scene.transport.settle(first.id, .retry(after: .seconds(1)))
            async let second = deliveries.one()
            await giveOthersTheirTurn()
            try await scene.bench.pass(.seconds(1))
            let delivery = try await second
            try expect(delivery.attempt, equals: 2, "the number of the attempt")
            try await scene.transport.settle(delivery.id, .ack)
        }
    }

    private static func retryBlocksItsKey(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.publish("a1", "a2", key: "a")
        try await scene.publish("b1", "b2", key: "b")
        try await scene.publish("free")
        try await scene.transport.withSubscription(to: "group", prefetch: 10) { deliveries in
            var others: [String] = []
            while others.count < 3 {
                let delivery = try await deliveries.one()
                if delivery.message.key == "a" {
                    try expect(delivery.message.id, equals: "a1", "the first of its key")
                    try expect(delivery.attempt, equals: 1, "its attempt, before its time has come")
                    try await scene.transport.settle(delivery.id, .retry(after: .seconds(2)))
                } else {
                    others.append(delivery.message.id)
                    try await scene.transport.settle(delivery.id, .ack)
                }
            }
            try expect(others.filter { $0 != "free" }, equals: ["b1", "b2"], "the other key's messages, in order")
            try await scene.bench.pass(.seconds(2))
            let again = try await deliveries.one()
            try expect(again.message.id, equals: "a1", "what comes when its time has come")
            try await scene.transport.settle(again.id, .ack)
            let behind = try await deliveries.one()
            try expect(behind.message.id, equals: "a2", "what comes behind it")
            try await scene.transport.settle(behind.id, .ack)
        }
        try await scene.expectEmpty()
    }

    private static func exhaustion(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare("group", maximumDeliveries: 3)
        try await scene.publish("killer", key: "k")
        for attempt in 1...3 {
            // Nothing is settled: this is what a handler that kills its process looks like.
            let delivery = try await scene.transport.withSubscription(to: "group", prefetch: 1) {
                try await $0.one()
            }
            try expect(delivery.message.id, equals: "killer", "the message")
            try expect(delivery.attempt, equals: attempt, "the number of the attempt")
            try expect(delivery.isLastAttempt, equals: attempt == 3, "whether it is the last one")
        }
        let fourth = try await scene.transport.withSubscription(to: "group", prefetch: 5) {
            try await scene.receiveUntilMarker($0)
        }
        try expect(fourth.count, equals: 0, "deliveries over the limit")
        let letters = try await scene.transport.deadLetters.list(group: "group", after: 0, limit: 10)
        try expect(letters.map(\.message.id), equals: ["killer"], "the dead letters")
        try expect(letters.first?.attempts, equals: 3, "the attempts that the letter tells of")
        try expect(letters.first?.reason.isEmpty, equals: false, "whether the letter has no reason")
    }

    private static func lastRetry(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare("group", maximumDeliveries: 2)
        try await scene.publish("1")
        try await scene.transport.withSubscription(to: "group", prefetch: 5) { deliveries in
            for _ in 1...2 {
                let delivery = try await deliveries.one()
                try await scene.transport.settle(delivery.id, .retry(after: .zero))
            }
            try expect(try await scene.receiveUntilMarker(deliveries).count, equals: 0, "deliveries over the limit")
        }
        let letters = try await scene.transport.deadLetters.list(group: "group", after: 0, limit: 10)
        try expect(letters.map(\.attempts), equals: [2], "the attempts of the dead letters")
        try await scene.expectEmpty()
    }

    private static func deadLetterFreesKey(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.publish("1", "2", key: "k")
        try await scene.transport.withSubscription(to: "group", prefetch: 5) { deliveries in
            let first = try await deliveries.one()
            try await scene.transport.settle(first.id, .deadLetter(reason: "cannot be read"))
            let second = try await deliveries.one()
            try expect(second.message.id, equals: "2", "what comes behind a dead letter")
            try await scene.transport.settle(second.id, .ack)
        }
    }

    private static func settleTwice(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.publish("1", "2", "3")
        try await scene.transport.withSubscription(to: "group", prefetch: 5) { deliveries in
            let settlements: [Settlement] = [.ack, .retry(after: .seconds(60)), .deadLetter(reason: "no")]
            for settlement in settlements {
                let delivery = try await deliveries.one()
                try await scene.transport.settle(delivery.id, settlement)
                for second in settlements {
                    try await scene.expectLeaseLost(delivery.id, second, "\(second) after \(settlement)")
                }
            }
        }
        try await scene.expect([1, 1], "delayed and dead-lettered") { [$0.delayed, $0.deadLettered] }
    }

    private static func settleFormerAttempt(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.publish("1")
        try await scene.transport.withSubscription(to: "group", prefetch: 5) { deliveries in
            let first = try await deliveries.one()
            try await scene.transport.settle(first.id, .retry(after: .zero))
            let second = try await deliveries.one()
            try await scene.expectLeaseLost(first.id, .ack, "an ack with the first attempt's id")
            try await scene.transport.settle(second.id, .ack)
        }
        try await scene.expectEmpty()
    }

    // MARK: Giving back

    private static func receivedGoesBack(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.publish("1")
        for attempt in 1...3 {
            let delivery = try await scene.transport.withSubscription(to: "group", prefetch: 5) { try await $0.one() }
            try expect(delivery.attempt, equals: attempt, "the number of the attempt")
        }
        try await scene.expect([1], "messages that are ready again") { [$0.ready] }
    }

    private static func unseenGoesBack(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.publish("1", "2", "3", "4", "5")
        let first = try await scene.transport.withSubscription(to: "group", prefetch: 5) { deliveries in
            let delivery = try await deliveries.one()
            try await scene.transport.settle(delivery.id, .ack)
            return delivery.message.id
        }
        try await scene.expect([4], "messages that are ready again") { [$0.ready] }
        let rest = try await scene.drain(4)
        try expect((rest.map(\.message.id) + [first]).sorted(), equals: ["1", "2", "3", "4", "5"], "all messages")
        try expect(rest.map(\.attempt), equals: [1, 1, 1, 1], "the attempts of what nobody had received")
    }

    private struct Oops: Error {}

    private static func throwGivesBack(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.publish("1", key: "k")
        try await scene.publish("2", key: "k")
        try await expectError("the body's own error", .ofType(Oops.self)) {
            try await scene.transport.withSubscription(to: "group", prefetch: 5) { deliveries in
                _ = try await deliveries.one()
                throw Oops()
            }
        }
        let received = try await scene.drain(2)
        try expect(received.map(\.message.id), equals: ["1", "2"], "the messages, in order")
        try expect(received.map(\.attempt), equals: [2, 1], "their attempts")
    }

    private static func settleAfterScope(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.publish("1")
        let delivery = try await scene.transport.withSubscription(to: "group", prefetch: 5) { try await $0.one() }
        try await scene.expectLeaseLost(delivery.id, .ack, "an ack after the scope's end")
        let again = try await scene.drain(1)
        try expect(again.map(\.attempt), equals: [2], "the attempts of the message that came again")
        try await scene.expectLeaseLost(delivery.id, .deadLetter(reason: "late"), "a dead letter even later")
        try await scene.expectEmpty()
    }

    private static func cancelNext(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        let count = 100
        try await scene.transport.withSubscription(to: "group", prefetch: 10) { deliveries in
            var received: [String] = []
            for number in 0..<count {
                let delivery = try await withThrowingTaskGroup(of: Delivery?.self) { group in
                    group.addTask {
                        do { return try await deliveries.one() } catch is CancellationError { return nil }
                    }
                    for _ in 0..<(number % 4) { await Task.yield() }
                    try await scene.publish("\(number)")
                    for _ in 0..<(number % 7) { await Task.yield() }
                    group.cancelAll()
                    return try await group.next() ?? nil
                }
                guard let delivery else { continue }
                received.append(delivery.message.id)
                try await scene.transport.settle(delivery.id, .ack)
            }
            // One by one: there may be more of them than may be unsettled at a time.
            while received.count < count {
                let delivery = try await deliveries.one()
                try expect(delivery.attempt, equals: 1, "the attempt of what a cancelled next() did not return")
                received.append(delivery.message.id)
                try await scene.transport.settle(delivery.id, .ack)
            }
            let all = (0..<count).map(String.init).sorted()
            try expect(received.sorted() == all, "each of \(count) messages once", got: "\(received.sorted())")
        }
        try await scene.expectEmpty()
    }

    private static func prefetch(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.publish("1", "2", "3", "4", "5")
        try await scene.transport.withSubscription(to: "group", prefetch: 2) { deliveries in
            let first = try await deliveries.several(2)
            try expect(try await scene.statistics().unacknowledged, equals: 2, "messages that are handed out")
            try await withThrowingTaskGroup(of: Delivery.self) { group in
                group.addTask { try await deliveries.one() }
                await giveOthersTheirTurn()
                try await scene.expect([3, 2], "ready and unacknowledged") { [$0.ready, $0.unacknowledged] }
                try await scene.transport.settle(first[0].id, .ack)
                let third = try require(try await group.next(), "a third delivery, once one is settled")
                try await scene.transport.settle(third.id, .ack)
            }
            try await scene.transport.settle(first[1].id, .ack)
            for delivery in try await deliveries.several(2) { try await scene.transport.settle(delivery.id, .ack) }
        }
        try await scene.expectEmpty()
    }
}
