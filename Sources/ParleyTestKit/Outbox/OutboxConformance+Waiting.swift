internal import ParleyCore
internal import ParleyMessaging

extension OutboxConformance {
    static let waiting: [Case] = [
        Case("an append wakes who waits for it", Self.wakes),
        Case("an append before the wait is not missed", Self.notMissed),
        Case("a wait ends at its instant", Self.ends),
        Case("a cancelled wait ends", Self.cancelled),
    ]

    static let sharing: [Case] = [
        Case("an append of one handle wakes another", Self.acrossHandles),
        Case("two handles share rows, lease and epochs", Self.sharedLease),
    ]

    private static func wakes(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        var generation = await scene.store.waitForAppend(after: 0, until: bench.time.now)
        for round in 1...100 {
            let before = generation
            async let woken = scene.store.waitForAppend(after: before, until: nil)
            for _ in 0..<(round % 5) { await Task.yield() }
            try await scene.append([scene.message("\(round)")])
            generation = await woken
        }
        try expect(try await scene.store.statistics().pending, equals: 100, "what was appended")
    }

    private static func notMissed(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        let generation = await scene.store.waitForAppend(after: 0, until: bench.time.now)
        try await scene.append([scene.message("1")])
        // Without a time, and nobody appends any more: only a generation that has moved on ends this.
        _ = await scene.store.waitForAppend(after: generation, until: nil)
    }

    private static func ends(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        let generation = await scene.store.waitForAppend(after: 0, until: bench.time.now)
        let end = bench.time.now.advanced(by: .milliseconds(300))
        async let woken = scene.store.waitForAppend(after: generation, until: end)
        for _ in 0..<6 {
            await giveOthersTheirTurn()
            try await bench.pass(.milliseconds(50))
        }
        _ = await woken
    }

    private static func cancelled(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        let generation = await scene.store.waitForAppend(after: 0, until: bench.time.now)
        let distant = bench.time.now.advanced(by: .seconds(86_400))
        await withTaskGroup(of: Void.self) { group in
            group.addTask { _ = await scene.store.waitForAppend(after: generation, until: distant) }
            await giveOthersTheirTurn()
            group.cancelAll()
        }
    }

    // MARK: Sharing

    private static func acrossHandles(_ bench: Bench) async throws {
        // On the system's clocks: between processes a wake-up may get lost, and a poll of at most a second covers it.
        let appender = try await OutboxScene(bench, on: SystemTimeSource())
        let relay = try await OutboxScene(bench, on: SystemTimeSource())
        var generation = await relay.store.waitForAppend(after: 0, until: SystemTimeSource().now)
        for round in 1...5 {
            try await appender.append([appender.message("\(round)")])
            while try await relay.store.statistics().pending < round {
                generation = await relay.store.waitForAppend(after: generation, until: nil)
            }
        }
        try expect(try await relay.pendingIDs(), equals: ["1", "2", "3", "4", "5"], "what the other handle sees")
    }

    private static func sharedLease(_ bench: Bench) async throws {
        let one = try await OutboxScene(bench)
        let other = try await OutboxScene(bench)
        try await one.append([one.message("1")])
        let first = try await one.lease("a", for: .seconds(1))
        try expect(try await other.store.lease(to: "b", for: .seconds(1)), equals: nil, "the other handle's lease")
        try await bench.pass(.seconds(2))
        let second = try await other.lease("b", for: .seconds(600))
        let rows = try await one.store.pending(limit: 10).rows
        let isLate = try await one.store.record(sent: rows.map(\.id), failed: [], under: first)
        try expect(isLate, equals: false, "whether the former owner recorded")
        let isRecorded = try await other.store.record(sent: rows.map(\.id), failed: [], under: second)
        try expect(isRecorded, equals: true, "whether the present owner recorded")
        try expect(try await one.pendingIDs(), equals: [], "what is left")
    }
}
