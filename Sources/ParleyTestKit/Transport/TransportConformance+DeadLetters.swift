internal import ParleyCore
internal import ParleyMessaging

extension TransportConformance {
    static let deadLetters: [Case] = [
        Case("a dead letter tells all that is needed", Self.provenance),
        Case("dead letters are listed by group and in pages", Self.listing),
        Case("a replayed letter goes to its own group, behind the others, with no attempts", Self.replay),
        Case("discarded letters are gone", Self.discard),
    ]

    /// Publishes messages and dead-letters them in this order.
    private static func bury(_ scene: TransportScene, _ ids: [String], in group: String, topic: String) async throws {
        for id in ids {
            try await scene.publish(id, topic: topic)
            try await scene.transport.withSubscription(to: group, prefetch: 1) { deliveries in
                let delivery = try await deliveries.one()
                try await scene.transport.settle(delivery.id, .deadLetter(reason: "because of \(id)"))
            }
        }
    }

    private static func provenance(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        var message = scene.message("1", key: "k")
        message.headers = ["requestid": "r-1"]
        message.data = [0, 255, 10]
        try await scene.transport.publish([message])
        try await scene.transport.withSubscription(to: "group", prefetch: 1) { deliveries in
            let first = try await deliveries.one()
            try await scene.transport.settle(first.id, .retry(after: .zero))
            let second = try await deliveries.one()
            try await scene.bench.pass(.seconds(1))
            try await scene.transport.settle(second.id, .deadLetter(reason: "amount is „negative“"))
        }
        let letters = try await scene.transport.deadLetters.list(group: nil, after: 0, limit: 10)
        let letter = try require(letters.first, "a dead letter")
        try expect(letter.message, equals: message, "the message as it was published")
        try expect(letter.group, equals: "group", "the group in which it died")
        try expect(letter.reason, equals: "amount is „negative“", "the reason")
        try expect(letter.attempts, equals: 2, "the attempts")
        if scene.bench.fixture.followsTime {
            try expect(letter.diedAt, equals: scene.bench.clock.wallTime, "when it died")
        }
        try await scene.expect([1], "the dead letters that statistics count") { [$0.deadLettered] }
        try await scene.expectEmpty()
    }

    private static func listing(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare("a", ["a.#"])
        try await scene.declare("b", ["b.#"])
        try await Self.bury(scene, ["a1", "a2", "a3"], in: "a", topic: "a.x")
        try await Self.bury(scene, ["b1"], in: "b", topic: "b.x")
        try await Self.bury(scene, ["a4"], in: "a", topic: "a.x")
        let store = scene.transport.deadLetters
        let all = try await store.list(group: nil, after: 0, limit: 100)
        try expect(all.map(\.message.id), equals: ["a1", "a2", "a3", "b1", "a4"], "all letters, oldest first")
        try expect(all.map(\.id), equals: all.map(\.id).sorted(), "ids that rise with age")
        let firstPage = try await store.list(group: "a", after: 0, limit: 2)
        try expect(firstPage.map(\.message.id), equals: ["a1", "a2"], "the first page of group a")
        let secondPage = try await store.list(group: "a", after: firstPage.last?.id ?? 0, limit: 2)
        try expect(secondPage.map(\.message.id), equals: ["a3", "a4"], "the second page of group a")
        let thirdPage = try await store.list(group: "a", after: secondPage.last?.id ?? 0, limit: 2)
        try expect(thirdPage.count, equals: 0, "letters on the third page")
        try expect(try await store.list(group: "nobody", after: 0, limit: 9).count, equals: 0, "letters of nobody")
        for (group, count) in [("a", 4), ("b", 1)] {
            try await scene.expect([count], "the dead letters that statistics count", of: group) { [$0.deadLettered] }
        }
    }

    private static func replay(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        // Both groups take the topic, and only one of them failed.
        try await scene.declare("a", maximumDeliveries: 2)
        try await scene.declare("b")
        try await Self.bury(scene, ["dead", "other"], in: "a", topic: "x.y")
        _ = try await scene.drain(2, from: "b")
        try await scene.publish("waiting")
        let letters = try await scene.transport.deadLetters.list(group: "a", after: 0, limit: 10)
        let dead = try require(letters.first { $0.message.id == "dead" }, "the letter")
        let count = try await scene.transport.deadLetters.replay([dead.id, dead.id + 1_000_000])
        try expect(count, equals: 1, "the letters that were replayed")
        try expect(try await scene.transport.deadLetters.replay([dead.id]), equals: 0, "letters replayed twice")
        try await scene.transport.withSubscription(to: "a", prefetch: 1) { deliveries in
            let received = try await Self.ackAll(scene, deliveries, 2)
            try expect(received.map(\.message.id), equals: ["waiting", "dead"], "the order after the replay")
            try expect(received.map(\.attempt), equals: [1, 1], "the attempts after the replay")
            try expect(received.last?.message, equals: dead.message, "the replayed message")
        }
        try expect(try await scene.drainIDs(1, from: "b"), equals: ["waiting"], "what the other group gets")
        try await scene.expectEmpty("a")
        try await scene.expectEmpty("b")
        let left = try await scene.transport.deadLetters.list(group: nil, after: 0, limit: 10)
        try expect(left.map(\.message.id), equals: ["other"], "the letters that are left")
    }

    private static func ackAll(
        _ scene: TransportScene,
        _ deliveries: DeliverySequence,
        _ count: Int
    ) async throws -> [Delivery] {
        var received: [Delivery] = []
        while received.count < count {
            received.append(try await deliveries.one())
            if let last = received.last { try await scene.transport.settle(last.id, .ack) }
        }
        return received
    }

    private static func discard(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await Self.bury(scene, ["1", "2", "3"], in: "group", topic: "x.y")
        let store = scene.transport.deadLetters
        let ids = try await store.list(group: "group", after: 0, limit: 10).map(\.id)
        try expect(try await store.discard(Array(ids.prefix(2)) + [9_999_999]), equals: 2, "the letters discarded")
        try expect(try await store.discard(Array(ids.prefix(2))), equals: 0, "letters discarded twice")
        let left = try await store.list(group: nil, after: 0, limit: 10)
        try expect(left.map(\.message.id), equals: ["3"], "what is left")
        try expect(try await store.replay([]), equals: 0, "letters of an empty replay")
        try await scene.expectEmpty()
    }
}
