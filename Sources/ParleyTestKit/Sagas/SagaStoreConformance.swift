internal import ParleyCore
public import ParleySagas

/// What every ``ParleySagas/SagaStore`` promises, one named case a promise. The fixture's handles need transactions.
public enum SagaStoreConformance {
    public typealias Case = ConformanceCase<any SagaStore>
    typealias Bench = ConformanceBench<any SagaStore>

    /// - Parameters:
    ///   - isShared: Whether several handles can be opened on the fixture's storage.
    ///   - followsTime: Whether the store lives by the `TimeSource` that the fixture is given.
    public static func cases(isShared: Bool = false, followsTime: Bool = true) -> [Case] {
        let cases = Self.creating + Self.committing + Self.claiming + Self.looking + Self.waiting
        return (cases + (isShared ? Self.sharing : [])).filter { followsTime || !$0.needsTime }
    }

    static let creating: [Case] = [
        Case("an instance comes back whole", Self.roundTrip),
        Case("type and business key are unique: the existing one is returned, nothing is added", Self.unique),
        Case("a transaction that fails creates nothing", Self.rollback),
        Case("of many that create at once one does", Self.race),
    ]

    static let committing: [Case] = [
        Case("a commit writes instance and history as the transition says", Self.commit),
        Case("a commit on an old version writes nothing", Self.fencedByVersion),
        Case("a commit under an old epoch writes nothing", Self.fencedByEpoch),
        Case("a commit on an unknown saga writes nothing", Self.unknown),
        Case("a body that throws writes nothing", Self.bodyThrows),
        Case("what else the body writes goes along, or not at all", Self.alongside),
        Case("of many commits on one version one is written", Self.commitRace),
    ]

    // MARK: Creating

    private static func roundTrip(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        var instance = scene.instance("1", key: "order „7“ \u{1F4E6}'\n")
        instance.state = "PAYMENT"
        instance.version = 7
        instance.epoch = 3
        instance.owner = "worker"
        instance.attempt = 2
        instance.isUncertain = true
        instance.enteredAt = Timestamp(microseconds: 1_767_225_600_000_001)
        instance.dueAt = nil
        instance.input = #"{"text":"\"ü\" \\ \n"}"#
        instance.effects = [
            SagaEffect(step: "reserve", action: "reserve", status: .applied, output: #"{"id":"r-1"}"#),
            SagaEffect(step: "charge", action: "charge", status: .maybe),
            SagaEffect(step: "charge#2", action: "charge", status: .rejected, output: nil),
            SagaEffect(step: "mail", action: "mail", status: .undone, output: ""),
        ]
        instance.reason = "„declined“"
        instance.updatedAt = Timestamp(microseconds: 1_767_225_600_000_003)
        let events = [
            scene.event(.started, version: 1),
            SagaEvent(
                version: 2,
                at: instance.updatedAt,
                kind: .rejected,
                state: "A",
                nextState: "B",
                action: "reserve",
                attempt: 4,
                detail: "because „so“\n"
            ),
        ]
        try expect(try await scene.create(instance, events: events), equals: nil, "the existing instance")
        try expect(try await scene.load("1"), equals: instance, "the instance as it was created")
        try expect(try await scene.store.history(of: "1"), equals: events, "its history")
        try expect(try await scene.store.definition("fingerprint"), equals: scene.definition, "its definition")
    }

    private static func unique(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        let first = scene.instance("1", key: "order-1")
        _ = try await scene.create(first)
        let moved = try await scene.move(first) { $0.state = "NEXT" }
        var second = scene.instance("2", key: "order-1")
        second.input = "{}"
        second.definition = "another"
        try expect(try await scene.create(second), equals: moved, "the instance that exists, as it is now")
        try expect(try await scene.all().map(\.id), equals: ["1"], "the instances")
        try expect(try await scene.store.history(of: "2"), equals: [], "the history of what was not created")
        try expect(try await scene.load("1"), equals: moved, "the first instance")
        var otherType = scene.instance("3", key: "order-1")
        otherType.type = "refund"
        try expect(try await scene.create(otherType), equals: nil, "the same key under another type")
    }

    private struct Oops: Error {}

    private static func rollback(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        let instance = scene.instance("1", key: "k")
        try await expectError("the transaction's own error", .ofType(Oops.self)) {
            try await scene.transactions.withTransaction { transaction in
                _ = try scene.store.create(instance, definition: "{}", events: [], in: transaction)
                throw Oops()
            }
        }
        try expect(try await scene.all(), equals: [], "the instances")
        try expect(try await scene.store.history(of: "1"), equals: [], "the history")
        try expect(try await scene.create(scene.instance("2", key: "k")), equals: nil, "the key, free again")
        try expect(try await scene.all().map(\.id), equals: ["2"], "the instances")
    }

    private static func race(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        for round in 1...10 {
            let others = try await withThrowingTaskGroup(of: String?.self) { group in
                for number in 0..<8 {
                    let instance = scene.instance("\(round)-\(number)", key: "k\(round)")
                    group.addTask { try await scene.create(instance)?.id }
                }
                return try await group.reduce(into: [String?]()) { $0.append($1) }
            }
            let winner = try require(
                try await scene.store.instances(matching: SagaQuery(businessKey: "k\(round)")).first,
                "the instance"
            )
            try expect(others.count { $0 == nil }, equals: 1, "how many created it")
            try expect(Set(others.compactMap(\.self)), equals: [winner.id], "whom the others were given")
        }
    }

    // MARK: Committing

    private static func commit(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        let instance = scene.instance("1")
        _ = try await scene.create(instance)
        var next = instance
        next.version = 2
        next.epoch = 5
        next.state = "SAGA_COMPLETED"
        next.status = .completed
        next.owner = nil
        next.dueAt = nil
        next.effects = [SagaEffect(step: "a", action: "a", status: .applied, output: "1")]
        next.reason = "why"
        next.updatedAt = instance.updatedAt + .seconds(1)
        let transition = SagaTransition(
            instance: next,
            events: [scene.event(.succeeded, version: 2), scene.event(.ended, version: 2)]
        )
        let result = try await scene.store.commit(instance) { _ in transition }
        try expect(result, equals: .written(next), "the result")
        try expect(try await scene.load("1"), equals: next, "the instance")
        let kinds = try await scene.store.history(of: "1").map(\.kind)
        try expect(kinds, equals: [.started, .succeeded, .ended], "its history, oldest first")
    }

    private static func expectFenced(
        _ scene: SagaScene,
        _ expected: SagaInstance,
        stored: SagaInstance?,
        line: Int = #line
    ) async throws {
        let before = try await scene.store.history(of: expected.id)
        var next = expected
        next.version += 1
        next.state = "STOLEN"
        let transition = SagaTransition(instance: next, events: [scene.event(.forced, version: next.version)])
        let side = scene.instance("side-effect")
        let result = try await scene.store.commit(expected) { transaction in
            _ = try scene.store.create(side, definition: "{}", events: [], in: transaction)
            return transition
        }
        try expect(result, equals: .fenced, "the result", line: line)
        try expect(try await scene.load(expected.id), equals: stored, "the instance after it", line: line)
        try expect(try await scene.store.history(of: expected.id), equals: before, "the history after it", line: line)
        try expect(try await scene.load("side-effect"), equals: nil, "what the body wrote besides", line: line)
    }

    private static func fencedByVersion(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        let old = scene.instance("1")
        _ = try await scene.create(old)
        let moved = try await scene.move(old) { $0.state = "NEXT" }
        try await Self.expectFenced(scene, old, stored: moved)
        var future = moved
        future.version += 1
        try await Self.expectFenced(scene, future, stored: moved)
    }

    private static func fencedByEpoch(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        var old = scene.instance("1", owner: "dead")
        _ = try await scene.create(old)
        let claim = try await scene.store.claim(owner: "alive", limit: 10)
        let taken = try require(claim.instances.first, "the dead driver's saga")
        try await Self.expectFenced(scene, old, stored: taken)
        // Even a driver that has guessed the version is turned away by the epoch.
        old.version = taken.version
        try await Self.expectFenced(scene, old, stored: taken)
    }

    private static func unknown(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        try await Self.expectFenced(scene, scene.instance("nobody"), stored: nil)
    }

    private static func bodyThrows(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        let instance = scene.instance("1")
        _ = try await scene.create(instance)
        let side = scene.instance("side-effect")
        try await expectError("the body's own error", .ofType(Oops.self)) {
            _ = try await scene.store.commit(instance) { transaction in
                _ = try scene.store.create(side, definition: "{}", events: [], in: transaction)
                throw Oops()
            }
        }
        try expect(try await scene.all(), equals: [instance], "the instances after it")
        let moved = try await scene.move(instance) { $0.state = "NEXT" }
        try expect(try await scene.load("1"), equals: moved, "the instance after a commit that works")
    }

    private static func alongside(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        let instance = scene.instance("1")
        _ = try await scene.create(instance)
        var next = instance
        next.version += 1
        let transition = SagaTransition(instance: next, events: [])
        let child = scene.instance("child")
        let result = try await scene.store.commit(instance) { transaction in
            _ = try scene.store.create(child, definition: "{}", events: [], in: transaction)
            return transition
        }
        try expect(result, equals: .written(next), "the result")
        try expect(try await scene.all().map(\.id).sorted(), equals: ["1", "child"], "the instances")
    }

    private static func commitRace(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        var instance = scene.instance("1")
        _ = try await scene.create(instance)
        for round in 1...20 {
            let current = instance
            let written = try await withThrowingTaskGroup(of: SagaInstance?.self) { group in
                for number in 0..<6 {
                    group.addTask {
                        var next = current
                        next.version += 1
                        next.state = "\(round)-\(number)"
                        let transition = SagaTransition(
                            instance: next,
                            events: [scene.event(.succeeded, version: next.version)]
                        )
                        guard case .written(let saga) = try await scene.store.commit(current, { _ in transition })
                        else { return nil }
                        return saga
                    }
                }
                return try await group.reduce(into: [SagaInstance]()) { $0 += [$1].compactMap(\.self) }
            }
            try expect(written.count, equals: 1, "how many commits were written")
            instance = try require(written.first, "the one that was written")
            try expect(try await scene.load("1"), equals: instance, "what is stored")
        }
        try expect(try await scene.store.history(of: "1").count, equals: 21, "the lines of its history")
    }
}

/// One store under test, with the words that most cases need.
struct SagaScene: Sendable {
    let bench: SagaStoreConformance.Bench
    let store: any SagaStore
    let transactions: any TransactionRunner
    let definition = #"{"order":{"initial":"A","states":{}}}"#

    init(_ bench: SagaStoreConformance.Bench, on time: (any TimeSource)? = nil) async throws {
        let handle = try await bench.open(on: time ?? bench.time)
        self.bench = bench
        self.store = handle.port
        self.transactions = try bench.transactions(handle)
    }

    /// Due now and driven by nobody, or driven by `owner`.
    func instance(_ id: String, key: String? = nil, owner: String? = nil) -> SagaInstance {
        let now = self.bench.time.wallTime
        return SagaInstance(
            id: id,
            type: "order",
            businessKey: key ?? id,
            definition: "fingerprint",
            state: "A",
            owner: owner,
            enteredAt: now,
            dueAt: owner == nil ? now : nil,
            input: "{}",
            createdAt: now,
            updatedAt: now
        )
    }

    func event(_ kind: SagaEvent.Kind, version: Int64) -> SagaEvent {
        SagaEvent(
            version: version,
            at: self.bench.clock.wallTime,
            kind: kind,
            state: "A",
            nextState: "A",
            action: nil,
            attempt: 0,
            detail: nil
        )
    }

    func create(_ instance: SagaInstance, events: [SagaEvent]? = nil) async throws -> SagaInstance? {
        let events = events ?? [self.event(.started, version: instance.version)]
        return try await self.transactions.withTransaction {
            try self.store.create(instance, definition: self.definition, events: events, in: $0)
        }
    }

    /// Commits a change with the next version.
    func move(_ instance: SagaInstance, _ change: (inout SagaInstance) -> Void) async throws -> SagaInstance {
        var next = instance
        next.version += 1
        change(&next)
        let transition = SagaTransition(instance: next, events: [self.event(.succeeded, version: next.version)])
        let result = try await self.store.commit(instance) { _ in transition }
        try expect(result, equals: .written(next), "the result of a commit")
        return next
    }

    func load(_ id: String) async throws -> SagaInstance? {
        try await self.store.instances(matching: SagaQuery(id: id)).first
    }

    func all() async throws -> [SagaInstance] {
        try await self.store.instances(matching: SagaQuery(limit: 1_000))
    }

    func claim(_ owner: String = "worker", limit: Int = 100) async throws -> [SagaInstance] {
        try await self.store.claim(owner: owner, limit: limit).instances
    }
}
