internal import ParleyCore
internal import ParleyMessaging

extension TransportConformance {
    static let routing: [Case] = [
        Case("a message arrives with every attribute", Self.roundTrip),
        Case("a message arrives with every optional attribute empty", Self.roundTripOfLittle),
        Case("bindings choose topics as AMQP does", Self.bindings),
        Case("overlapping bindings deliver once", Self.overlap),
        Case("each group gets its own copy", Self.twoGroups),
        Case("consumers of one group share", Self.competing),
        Case("a group sees what comes after it was declared", Self.declaredLate),
        Case("declaring again changes bindings and keeps messages", Self.redeclare),
        Case("a message that no group takes is accepted", Self.nobodyListens),
        Case("publishing nothing is fine", Self.publishNothing),
        Case("a waiting consumer is woken by a publish", Self.wakes),
        Case("an undeclared group is refused", Self.unknownGroup),
        Case("an invalid message is refused and nothing stored", Self.invalidMessages),
    ]

    private static func roundTrip(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        let message = Message(
            id: "id-1/~!",
            source: "https://example.org/shop?x=1",
            type: "order.created",
            subject: "Bestellung „7“ \u{1F4E6}\n'; DROP TABLE orders; --",
            time: Timestamp(microseconds: 1_767_225_600_123_456),
            dataContentType: "application/octet-stream",
            data: Array(0...255) + [0, 0],
            topic: "order.created.eu",
            key: "Schlüssel 7",
            headers: [
                "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "empty": "",
                "text": "\"quoted\", \\ and \u{1F600}\r\n",
            ]
        )
        try await scene.transport.publish([message])
        let delivery = try require(try await scene.drain(1).first, "the message")
        try expect(delivery.message, equals: message, "the message as it was published")
        try expect(delivery.attempt, equals: 1, "the number of the first attempt")
        try expect(delivery.id.group, equals: "group", "the delivery's group")
        try await scene.expectEmpty()
    }

    private static func roundTripOfLittle(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        let message = Message(
            id: "1",
            source: "s",
            type: "t",
            time: Timestamp(microseconds: 0),
            dataContentType: nil,
            data: []
        )
        try await scene.transport.publish([message])
        try expect(try await scene.drain(1).first?.message, equals: message, "the message as it was published")
    }

    private static func bindings(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        let topics = ["order", "order.created", "order.item.added", "payment.created", "orders.created.eu"]
        let wanted = [
            "order": ["order"],
            "order.*": ["order.created"],
            "order.#": ["order", "order.created", "order.item.added"],
            "*.created": ["order.created", "payment.created"],
            "#.created.#": ["order.created", "payment.created", "orders.created.eu"],
            "*": ["order"],
            "#": topics,
        ]
        for (number, binding) in wanted.keys.sorted().enumerated() { try await scene.declare("g\(number)", [binding]) }
        try await scene.transport.publish(topics.map { scene.message($0, topic: $0) })
        for (number, binding) in wanted.keys.sorted().enumerated() {
            let expected = wanted[binding] ?? []
            let got = try await scene.drainIDs(expected.count, from: "g\(number)")
            try expect(got.sorted(), equals: expected.sorted(), "what the binding '\(binding)' takes")
            try await scene.expectEmpty("g\(number)")
        }
    }

    private static func overlap(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare("group", ["order.*", "order.#", "#", "order.created"])
        try await scene.publish("1", topic: "order.created")
        try await scene.publish("2", topic: "order.created")
        try expect(try await scene.drainIDs(2).sorted(), equals: ["1", "2"], "each message once")
        try await scene.expectEmpty()
    }

    private static func twoGroups(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare("billing")
        try await scene.declare("mail")
        try await scene.publish("1", "2")
        try expect(try await scene.drainIDs(2, from: "billing").sorted(), equals: ["1", "2"], "what billing gets")
        try expect(try await scene.drainIDs(2, from: "mail").sorted(), equals: ["1", "2"], "what mail gets")
    }

    private static func competing(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.publish("1", "2")
        let got = try await scene.transport.withSubscription(to: "group", prefetch: 1) { first in
            try await scene.transport.withSubscription(to: "group", prefetch: 1) { second in
                // Neither settles, so each must have been handed the message that the other has not.
                let deliveries = [try await first.one(), try await second.one()]
                for delivery in deliveries { try await scene.transport.settle(delivery.id, .ack) }
                return deliveries.map(\.message.id)
            }
        }
        try expect(got.sorted(), equals: ["1", "2"], "what the two consumers have together")
    }

    private static func declaredLate(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare("early")
        try await scene.publish("before")
        try await scene.declare("late")
        try await scene.publish("after")
        try expect(try await scene.drainIDs(1, from: "late"), equals: ["after"], "what the late group gets")
        try await scene.expectEmpty("late")
        try expect(try await scene.drainIDs(2, from: "early").count, equals: 2, "what the early group gets")
    }

    private static func redeclare(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare("group", ["old.*"], maximumDeliveries: 10)
        try await scene.publish("kept", topic: "old.one")
        try await scene.declare("group", ["new.*"], maximumDeliveries: 1)
        try await scene.publish("missed", topic: "old.two")
        try await scene.publish("taken", topic: "new.one")
        let received = try await scene.drain(2)
        try expect(received.map(\.message.id).sorted(), equals: ["kept", "taken"], "what the group gets")
        try expect(received.map(\.isLastAttempt), equals: [true, true], "whether the new limit holds for both")
        try await scene.expectEmpty()
    }

    private static func nobodyListens(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.publish("1")
        try await scene.declare("group", ["other.*"])
        try await scene.publish("2")
        try await scene.expectEmpty()
    }

    private static func publishNothing(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.transport.publish([])
        try await scene.expectEmpty()
    }

    private static func wakes(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.transport.withSubscription(to: "group", prefetch: 1) { deliveries in
            // Often, so that the publish falls before, into and after the consumer's going to sleep.
            for round in 1...200 {
                async let next = deliveries.one()
                for _ in 0..<(round % 5) { await Task.yield() }
                try await scene.publish("\(round)")
                let delivery = try await next
                try expect(delivery.message.id, equals: "\(round)", "the message just published")
                try await scene.transport.settle(delivery.id, .ack)
            }
        }
    }

    private static func unknownGroup(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await expectError(
            "subscribing to an undeclared group to throw unknownGroup",
            .messaging(.unknownGroup)
        ) {
            try await scene.transport.withSubscription(to: "nobody", prefetch: 1) { _ in
                throw ConformanceFailure("no subscription", got: "one")
            }
        }
    }

    private static func invalidMessages(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        var noSource = scene.message("source")
        noSource.source = ""
        var large = scene.message("large")
        large.data = Array(repeating: 7, count: scene.transport.capabilities.maximumMessageBytes + 1)
        let refused: [(Message, MessagingError.Code)] = [
            (scene.message("topic", topic: ""), .invalidTopic),
            (scene.message("topic", topic: "a..b"), .invalidTopic),
            (scene.message("topic", topic: "order.*"), .invalidTopic),
            (scene.message("topic", topic: "order.#"), .invalidTopic),
            (scene.message("topic", topic: String(repeating: "a", count: 256)), .invalidTopic),
            (scene.message(""), .invalidMessage),
            (scene.message("with space"), .invalidMessage),
            (scene.message("key", key: ""), .invalidMessage),
            (scene.message("key", key: String(repeating: "k", count: 256)), .invalidMessage),
            (noSource, .invalidMessage),
            (large, .invalidMessage),
        ]
        for (message, code) in refused {
            try await expectError(
                "a message with id '\(message.id)', topic '\(message.topic.prefix(20))' to be refused as \(code)",
                .messaging(code)
            ) { try await scene.transport.publish([scene.message("good"), message]) }
        }
        try await scene.expectEmpty()
        var largest = scene.message("largest")
        largest.data = Array(repeating: 7, count: scene.transport.capabilities.maximumMessageBytes)
        try await scene.transport.publish([largest])
        try expect(try await scene.drain(1).first?.message == largest, "the largest message allowed to arrive whole")
    }
}
