internal import ParleyCore
internal import ParleySagas

extension SagaStoreConformance {
    static let looking: [Case] = [
        Case("instances are listed stuck ones first, then by age", Self.order),
        Case("a query's conditions must all hold", Self.query),
        Case("an unknown saga has no history, an unknown definition no text", Self.nothing),
        Case("a definition is stored once for all its instances", Self.definitions),
    ]

    static let waiting: [Case] = [
        Case("a saga that is started wakes who waits for work", Self.wokenByCreate),
        Case("a saga that is left to others wakes who waits for work", Self.wokenByCommit),
        Case("a driver that gives up wakes who waits for work", Self.wokenByGivingUp),
        Case("work that came before the wait is not missed", Self.notMissed),
        Case("a wait for work ends at its instant", Self.ends),
        Case("a cancelled wait for work ends", Self.cancelled),
    ]

    static let sharing: [Case] = [
        Case("what one handle creates another claims", Self.acrossHandles),
        Case("everything is there again after a restart", Self.restart),
        Case("of many claimers on two handles no two get the same saga", Self.claimRaceAcrossHandles),
    ]

    // MARK: Looking

    private static func order(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        let statuses: [SagaStatus] = [.completed, .stuck, .running, .stuck, .failed]
        for (number, status) in statuses.enumerated() {
            var instance = scene.instance("\(number)")
            instance.status = status
            _ = try await scene.create(instance)
            try await bench.pass(.milliseconds(10))
        }
        try expect(try await scene.all().map(\.id), equals: ["1", "3", "0", "2", "4"], "the order")
        let two = try await scene.store.instances(matching: SagaQuery(limit: 2))
        try expect(two.map(\.id), equals: ["1", "3"], "the first two")
    }

    private static func query(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        for (id, type, key) in [("1", "order", "a"), ("2", "order", "b"), ("3", "refund", "a")] {
            var instance = scene.instance(id, key: key)
            instance.type = type
            if id == "2" { instance.status = .stuck }
            _ = try await scene.create(instance)
        }
        func ids(_ query: SagaQuery) async throws -> [String] {
            try await scene.store.instances(matching: query).map(\.id).sorted()
        }
        try expect(try await ids(SagaQuery()), equals: ["1", "2", "3"], "all")
        try expect(try await ids(SagaQuery(id: "2")), equals: ["2"], "by id")
        try expect(try await ids(SagaQuery(type: "order")), equals: ["1", "2"], "by type")
        try expect(try await ids(SagaQuery(businessKey: "a")), equals: ["1", "3"], "by business key")
        try expect(try await ids(SagaQuery(status: .stuck)), equals: ["2"], "by status")
        let three = SagaQuery(type: "order", businessKey: "a", status: .running)
        try expect(try await ids(three), equals: ["1"], "by three")
        try expect(try await ids(SagaQuery(id: "1", status: .stuck)), equals: [], "by two that exclude each other")
    }

    private static func nothing(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        try expect(try await scene.store.history(of: "nobody"), equals: [], "the history")
        try expect(try await scene.store.definition("nothing"), equals: nil, "the definition")
        try expect(try await scene.all(), equals: [], "the instances")
    }

    private static func definitions(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        for number in 1...3 { _ = try await scene.create(scene.instance("\(number)")) }
        try expect(try await scene.store.definition("fingerprint"), equals: scene.definition, "the definition")
    }

    // MARK: Waiting

    private static func generation(_ scene: SagaScene) async -> UInt64 {
        await scene.store.waitForWork(after: 0, until: scene.bench.time.now)
    }

    private static func wokenByCreate(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        var generation = await Self.generation(scene)
        for round in 1...50 {
            let before = generation
            async let woken = scene.store.waitForWork(after: before, until: nil)
            for _ in 0..<(round % 5) { await Task.yield() }
            _ = try await scene.create(scene.instance("\(round)"))
            generation = await woken
        }
    }

    private static func wokenByCommit(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        try await scene.store.renew(owner: "worker", lease: .seconds(600))
        let instance = scene.instance("1", owner: "worker")
        _ = try await scene.create(instance)
        let generation = await Self.generation(scene)
        async let woken = scene.store.waitForWork(after: generation, until: nil)
        await giveOthersTheirTurn()
        let now = bench.time.wallTime
        _ = try await scene.move(instance) { ($0.owner, $0.dueAt) = (nil, now) }
        _ = await woken
        try expect(try await scene.claim("other").map(\.id), equals: ["1"], "what there is to claim")
    }

    private static func wokenByGivingUp(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        try await scene.store.renew(owner: "leaving", lease: .seconds(600))
        _ = try await scene.create(scene.instance("1", owner: "leaving"))
        let generation = await Self.generation(scene)
        async let woken = scene.store.waitForWork(after: generation, until: nil)
        await giveOthersTheirTurn()
        try await scene.store.renew(owner: "leaving", lease: .zero)
        _ = await woken
        try expect(try await scene.claim("other").map(\.id), equals: ["1"], "what there is to claim")
    }

    private static func notMissed(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        let generation = await Self.generation(scene)
        _ = try await scene.create(scene.instance("1"))
        // Without a time, and nothing happens any more: only a generation that has moved on ends this.
        _ = await scene.store.waitForWork(after: generation, until: nil)
    }

    private static func ends(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        let generation = await Self.generation(scene)
        let end = bench.time.now.advanced(by: .milliseconds(300))
        async let woken = scene.store.waitForWork(after: generation, until: end)
        for _ in 0..<6 {
            await giveOthersTheirTurn()
            try await bench.pass(.milliseconds(50))
        }
        _ = await woken
    }

    private static func cancelled(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        let generation = await Self.generation(scene)
        let distant = bench.time.now.advanced(by: .seconds(86_400))
        await withTaskGroup(of: Void.self) { group in
            group.addTask { _ = await scene.store.waitForWork(after: generation, until: distant) }
            await giveOthersTheirTurn()
            group.cancelAll()
        }
    }

    // MARK: Sharing

    private static func acrossHandles(_ bench: Bench) async throws {
        // On the system's clocks: between processes a wake-up may get lost, and a poll of at most a second covers it.
        let starter = try await SagaScene(bench, on: SystemTimeSource())
        let worker = try await SagaScene(bench, on: SystemTimeSource())
        try await worker.store.renew(owner: "worker", lease: .seconds(600))
        var generation = await worker.store.waitForWork(after: 0, until: SystemTimeSource().now)
        for round in 1...5 {
            _ = try await starter.create(starter.instance("\(round)"))
            var claimed: [SagaInstance] = []
            while claimed.isEmpty {
                claimed = try await worker.claim("worker")
                if claimed.isEmpty { generation = await worker.store.waitForWork(after: generation, until: nil) }
            }
            try expect(claimed.map(\.id), equals: ["\(round)"], "what the other handle claims")
            let seen = try await starter.load("\(round)")
            try expect(seen?.owner, equals: "worker", "the owner that the first handle sees")
        }
    }

    private static func restart(_ bench: Bench) async throws {
        let handle = try await bench.open()
        let transactions = try bench.transactions(handle)
        let store = handle.port
        let now = bench.time.wallTime
        let instance = SagaInstance(
            id: "1",
            type: "order",
            businessKey: "k",
            definition: "f",
            state: "A",
            enteredAt: now,
            dueAt: now,
            input: "{}",
            createdAt: now,
            updatedAt: now
        )
        let event = SagaEvent(
            version: 1,
            at: now,
            kind: .started,
            state: "A",
            nextState: "A",
            action: nil,
            attempt: 0,
            detail: nil
        )
        _ = try await transactions.withTransaction {
            try store.create(instance, definition: "{}", events: [event], in: $0)
        }
        await handle.close()
        let scene = try await SagaScene(bench)
        try expect(try await scene.all(), equals: [instance], "the instances")
        try expect(try await scene.store.history(of: "1"), equals: [event], "the history")
        try expect(try await scene.store.definition("f"), equals: "{}", "the definition")
        try expect(try await scene.claim().map(\.id), equals: ["1"], "what there is to claim")
    }

    private static func claimRaceAcrossHandles(_ bench: Bench) async throws {
        let scenes = [try await SagaScene(bench), try await SagaScene(bench)]
        let total = 120
        for number in 0..<total { _ = try await scenes[0].create(scenes[0].instance("\(number)")) }
        let claimed = try await withThrowingTaskGroup(of: [String].self) { group in
            for number in 0..<4 {
                group.addTask {
                    let scene = scenes[number % 2]
                    var mine: [String] = []
                    try await scene.store.renew(owner: "w\(number)", lease: .seconds(600))
                    while true {
                        let some = try await scene.claim("w\(number)", limit: 5)
                        if some.isEmpty { return mine }
                        mine += some.map(\.id)
                    }
                }
            }
            return try await group.reduce(into: [String]()) { $0 += $1 }
        }
        try expect([claimed.count, Set(claimed).count], equals: [total, total], "claims, and distinct sagas")
    }
}
