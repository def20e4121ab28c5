internal import ParleyCore
internal import ParleyMessaging

extension TransportConformance {
    static let ordering: [Case] = [
        Case("a batch keeps its order within a key", Self.batchOrder),
        Case("one message of a key at a time", Self.oneAtATime),
        Case("different keys and messages without one go in parallel", Self.parallel),
        Case("one group's order does not hold up another group", Self.groupsAreIndependent),
        Case("each key stays in order under eight workers and random retries", Self.randomised),
    ]

    static let volume: [Case] = [
        Case("statistics say how many are where, and since when", Self.statistics),
        Case("ten thousand messages arrive, each once", Self.tenThousand),
    ]

    private static func batchOrder(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        let ids = (0..<300).map { String($0) }
        for start in stride(from: 0, to: 300, by: 100) {
            try await scene.transport.publish(ids[start..<start + 100].map { scene.message($0, key: "k") })
        }
        try expect(try await scene.drainIDs(300), equals: ids, "the order of publishing")
    }

    private static func oneAtATime(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        try await scene.publish("1", "2", "3", key: "k")
        try await scene.transport.withSubscription(to: "group", prefetch: 10) { deliveries in
            for id in ["1", "2", "3"] {
                let delivery = try await deliveries.one()
                try expect(delivery.message.id, equals: id, "the next of the key")
                let tooEarly = try await scene.receiveUntilMarker(deliveries).map(\.message.id)
                try expect(tooEarly, equals: [], "messages while the one before them is not settled")
                try await scene.transport.settle(delivery.id, .ack)
            }
        }
        try await scene.expectEmpty()
    }

    private static func parallel(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        for key in ["a", "b", "c"] { try await scene.publish("\(key)1", "\(key)2", key: key) }
        try await scene.publish("free1", "free2", "free3")
        try await scene.transport.withSubscription(to: "group", prefetch: 20) { deliveries in
            // Nothing is settled until all six are there.
            let held = try await deliveries.several(6)
            let wanted = ["a1", "b1", "c1", "free1", "free2", "free3"]
            try expect(held.map(\.message.id).sorted(), equals: wanted, "what may be handled at a time")
            for delivery in held { try await scene.transport.settle(delivery.id, .ack) }
            for delivery in try await deliveries.several(3) { try await scene.transport.settle(delivery.id, .ack) }
        }
        try await scene.expectEmpty()
    }

    private static func groupsAreIndependent(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare("slow")
        try await scene.declare("fast")
        try await scene.publish("1", "2", key: "k")
        try await scene.transport.withSubscription(to: "slow", prefetch: 5) { deliveries in
            let held = try await deliveries.one()
            try expect(try await scene.drainIDs(2, from: "fast"), equals: ["1", "2"], "what the other group gets")
            try await scene.transport.settle(held.id, .ack)
            let second = try await deliveries.one()
            try expect(second.message.id, equals: "2", "the next of the slow group")
            try await scene.transport.settle(second.id, .ack)
        }
    }

    /// What the handlers of the randomised case have seen.
    private struct Progress: Sendable {
        var done: [String: [Int]] = [:]
        var running: Set<String> = []
        var attempts: [String: Int] = [:]
        var handled = 0
        var problem: String?
    }

    private static func randomised(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare("group", maximumDeliveries: 1_000)
        let random = SeededRandomSource(seed: 20_261_123)
        let keys = 12
        let perKey = 25
        let total = keys * perKey
        let progress = Guarded(Progress())
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                for number in 0..<perKey {
                    let batch = (0..<keys).map { scene.message("\($0)-\(number)", key: "key-\($0)") }
                    try await scene.transport.publish(batch)
                }
                try await eventually { progress.current.handled == total || progress.current.problem != nil }
            }
            tasks.addTask {
                try await scene.transport.withSubscription(to: "group", prefetch: 8) { deliveries in
                    try await withThrowingDiscardingTaskGroup { workers in
                        while true {
                            let delivery = try await deliveries.one()
                            let (chance, pause) = (random.unitInterval(), Int(random.next() % 6))
                            workers.addTask { try await Self.work(scene, delivery, chance, pause, progress) }
                        }
                    }
                }
            }
            try await tasks.next()
            tasks.cancelAll()
        }
        if let problem = progress.current.problem {
            throw ConformanceFailure("one at a time, attempts counted (seed 20261123)", got: problem)
        }
        for key in 0..<keys {
            let order = progress.current.done["key-\(key)"] ?? []
            try expect(order, equals: Array(0..<perKey), "the order in which key \(key) was handled (seed 20261123)")
        }
        try await scene.expectEmpty()
    }

    private static func work(
        _ scene: TransportScene,
        _ delivery: Delivery,
        _ chance: Double,
        _ pause: Int,
        _ progress: Guarded<Progress>
    ) async throws {
        let key = delivery.message.key ?? ""
        let id = delivery.message.id
        let number = Int(id.split(separator: "-").last ?? "") ?? -1
        progress.withLock { progress in
            let before = progress.attempts[id] ?? 0
            progress.attempts[id] = delivery.attempt
            if !progress.running.insert(key).inserted { progress.problem = "two messages of '\(key)' at a time" }
            guard delivery.attempt != before + 1 else { return }
            progress.problem = "attempt \(delivery.attempt) of \(id) after \(before)"
        }
        for _ in 0..<pause { await Task.yield() }
        let isRetried = chance < 0.3
        progress.withLock { progress in
            progress.running.remove(key)
            if !isRetried { progress.done[key, default: []].append(number) }
        }
        try await scene.transport.settle(delivery.id, isRetried ? .retry(after: .zero) : .ack)
        if !isRetried { progress.withLock { $0.handled += 1 } }
    }

    // MARK: Volume

    private static func statistics(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare("group")
        try await scene.declare("idle", ["nothing.here"])
        let empty = try await scene.transport.statistics()
        try expect(empty.map(\.group), equals: ["group", "idle"], "one entry a group, by name")
        try expect(empty.map(\.oldest), equals: [nil, nil], "the age of nothing")
        let start = bench.clock.wallTime
        var old = scene.message("old-event")
        old.time = Timestamp(microseconds: 0)
        try await scene.transport.publish([old])
        try await bench.pass(.seconds(1))
        try await scene.publish("k1", "k2", "k3", key: "k")
        try await scene.publish("late", "dead")
        try await scene.transport.withSubscription(to: "group", prefetch: 100) { deliveries in
            var byID: [String: Delivery] = [:]
            for delivery in try await deliveries.several(4) { byID[delivery.message.id] = delivery }
            let late = try require(byID["late"], "the message 'late'")
            let dead = try require(byID["dead"], "the message 'dead'")
            try await scene.transport.settle(late.id, .retry(after: .seconds(60)))
            try await scene.transport.settle(dead.id, .deadLetter(reason: "no"))
            let figures = try await scene.statistics()
            try expect(figures.ready, equals: 2, "ready: what waits behind the first of its key")
            try expect(figures.delayed, equals: 1, "delayed")
            try expect(figures.unacknowledged, equals: 2, "unacknowledged")
            try expect(figures.deadLettered, equals: 1, "dead-lettered")
            if bench.fixture.followsTime {
                try expect(figures.oldest, equals: start, "when the oldest was published, not what its sender says")
                try await scene.transport.settle(try require(byID["old-event"], "the oldest").id, .ack)
                try expect(try await scene.statistics().oldest, equals: start + .seconds(1), "the oldest after that")
            }
        }
        let idle = try await scene.statistics("idle")
        let counts = [idle.ready, idle.delayed, idle.unacknowledged, idle.deadLettered]
        try expect(counts, equals: [0, 0, 0, 0], "the figures of a group that gets nothing")
    }

    private static func tenThousand(_ bench: Bench) async throws {
        let scene = try await TransportScene(bench)
        try await scene.declare()
        let total = 10_000
        let seen = Guarded<[String: Int]>([:])
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask {
                for start in stride(from: 0, to: total, by: 500) {
                    let batch = (start..<start + 500).map {
                        scene.message("\($0)", key: $0 % 2 == 0 ? "key-\($0 % 200)" : nil)
                    }
                    try await scene.transport.publish(batch)
                }
            }
            tasks.addTask {
                try await scene.transport.withSubscription(to: "group", prefetch: 64) { deliveries in
                    try await withThrowingDiscardingTaskGroup { workers in
                        for _ in 0..<total {
                            let delivery = try await deliveries.one()
                            seen.withLock { $0[delivery.message.id, default: 0] += 1 }
                            workers.addTask { try await scene.transport.settle(delivery.id, .ack) }
                        }
                    }
                }
            }
            try await tasks.waitForAll()
        }
        let counts = [seen.current.count, seen.current.values.max() ?? 0]
        try expect(counts, equals: [total, 1], "distinct messages, and how often one of them came")
        try await scene.expectEmpty()
    }
}
