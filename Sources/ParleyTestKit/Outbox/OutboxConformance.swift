internal import ParleyCore
public import ParleyMessaging

/// What every ``ParleyMessaging/OutboxStore`` promises, one named case a promise. The fixture's handles need
/// transactions.
public enum OutboxConformance {
    public typealias Case = ConformanceCase<any OutboxStore>
    typealias Bench = ConformanceBench<any OutboxStore>

    /// - Parameters:
    ///   - isShared: Whether several handles can be opened on the fixture's storage.
    ///   - followsTime: Whether the store lives by the `TimeSource` that the fixture is given.
    public static func cases(isShared: Bool = false, followsTime: Bool = true) -> [Case] {
        (Self.rows + Self.leases + Self.waiting + (isShared ? Self.sharing : []))
            .filter { followsTime || !$0.needsTime }
    }

    static let rows: [Case] = [
        Case("messages come out whole, in the order of appending", Self.appendOrder),
        Case("what a transaction that fails appended is not there", Self.rollback),
        Case("no more than the limit is read, the oldest first", Self.limit),
        Case("what is recorded as sent is gone", Self.sent),
        Case("a message that failed holds back its key only, until its time", Self.blockedKey),
        Case("a message without a key holds back nothing", Self.unkeyed),
        Case("failures are counted", Self.failures),
        Case("statistics say how much waits, since when, and why", Self.statistics),
    ]

    static let leases: [Case] = [
        Case("one relay has the lease", Self.exclusive),
        Case("of many that ask at once one gets it", Self.race),
        Case("renewing keeps the epoch and the lease", Self.renewal),
        Case("a lease that has run out goes to the next, under a higher epoch", Self.takeover),
        Case("a lease that is given back goes to the next at once", Self.release),
        Case("giving back a former epoch changes nothing", Self.releaseFormer),
        Case("a record under a former epoch does nothing", Self.fenced),
        Case("what was sent and not recorded is sent again under the same id", Self.crash),
        Case("a calendar that jumps back does not keep a dead relay's lease alive", needsTime: true, Self.calendarJump),
    ]

    // MARK: Rows

    private static func appendOrder(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        var first = scene.message("1", key: "k")
        first.subject = "„s“\n"
        first.dataContentType = nil
        first.headers = ["a": "1", "b": ""]
        first.data = Array(0...255)
        try await scene.append([first, scene.message("2")])
        try await scene.append([scene.message("3", key: "k")])
        let batch = try await scene.store.pending(limit: 10)
        try expect(batch.rows.map(\.message.id), equals: ["1", "2", "3"], "the order of appending")
        try expect(batch.rows.first?.message, equals: first, "the message as it was appended")
        try expect(batch.rows.map(\.id), equals: batch.rows.map(\.id).sorted(), "ids that rise")
        try expect(batch.rows.map(\.failures), equals: [0, 0, 0], "failures at first")
        try expect(batch.nextDue, equals: nil, "the next due time when nothing waits")
    }

    private struct Oops: Error {}

    private static func rollback(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        try await scene.append([scene.message("kept")])
        let lost = scene.message("lost")
        try await expectError("the transaction's own error", .ofType(Oops.self)) {
            try await scene.transactions.withTransaction { transaction in
                try scene.store.append([lost], in: transaction)
                throw Oops()
            }
        }
        try expect(try await scene.pendingIDs(), equals: ["kept"], "what is there")
        try expect(try await scene.store.statistics().pending, equals: 1, "what statistics count")
    }

    private static func limit(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        try await scene.append((1...5).map { scene.message("\($0)", key: "k") })
        try expect(try await scene.pendingIDs(limit: 3), equals: ["1", "2", "3"], "the oldest three")
        try expect(try await scene.pendingIDs(limit: 3), equals: ["1", "2", "3"], "the same when asked again")
    }

    private static func sent(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        try await scene.append((1...3).map { scene.message("\($0)") })
        let epoch = try await scene.lease("a")
        let rows = try await scene.store.pending(limit: 2).rows
        try expect(
            try await scene.store.record(sent: rows.map(\.id), failed: [], under: epoch),
            equals: true,
            "whether the record was made"
        )
        try expect(try await scene.pendingIDs(), equals: ["3"], "what is left")
        try expect(
            try await scene.store.record(sent: rows.map(\.id), failed: [], under: epoch),
            equals: true,
            "whether recording twice is harmless"
        )
        try expect(try await scene.pendingIDs(), equals: ["3"], "what is left after that")
    }

    private static func blockedKey(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        try await scene.append([
            scene.message("a1", key: "a"), scene.message("b1", key: "b"), scene.message("a2", key: "a"),
            scene.message("free"),
        ])
        let epoch = try await scene.lease("relay")
        let due = try await scene.fail("a1", for: .seconds(2), under: epoch)
        let batch = try await scene.store.pending(limit: 10)
        try expect(batch.rows.map(\.message.id), equals: ["b1", "free"], "what may be sent")
        try expect(batch.nextDue, equals: due, "when the failed one is due")
        try await bench.pass(.seconds(2))
        let later = try await scene.store.pending(limit: 10)
        try expect(later.rows.map(\.message.id), equals: ["a1", "b1", "a2", "free"], "what may be sent when it is due")
        try expect(later.nextDue, equals: nil, "the next due time when nothing waits")
    }

    private static func unkeyed(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        try await scene.append((1...3).map { scene.message("\($0)") })
        let epoch = try await scene.lease("relay")
        let late = try await scene.fail("1", for: .seconds(60), under: epoch)
        let early = try await scene.fail("2", for: .seconds(30), under: epoch)
        let batch = try await scene.store.pending(limit: 10)
        try expect(batch.rows.map(\.message.id), equals: ["3"], "what may be sent")
        try expect(batch.nextDue, equals: min(early, late), "the earliest time of those that wait")
    }

    private static func failures(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        try await scene.append([scene.message("1", key: "k"), scene.message("2", key: "k")])
        let epoch = try await scene.lease("relay")
        for count in 1...3 {
            try await scene.fail("1", for: .milliseconds(10), under: epoch)
            try await bench.pass(.milliseconds(10))
            let rows = try await scene.store.pending(limit: 10).rows
            try expect(rows.map(\.failures), equals: [count, 0], "the failures of both")
        }
    }

    private static func statistics(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        let empty = try await scene.store.statistics()
        let nothing = OutboxStatistics(pending: 0, blocked: 0, oldest: nil, worstFailure: nil)
        try expect(empty, equals: nothing, "the figures of an empty outbox")
        let start = bench.clock.wallTime
        try await scene.append([scene.message("1", key: "k")])
        try await bench.pass(.seconds(1))
        try await scene.append([scene.message("2", key: "k"), scene.message("3")])
        let epoch = try await scene.lease("relay")
        try await scene.fail("1", for: .seconds(60), because: "the broker refuses", under: epoch)
        let figures = try await scene.store.statistics()
        try expect(figures.pending, equals: 3, "what is not sent yet")
        try expect(figures.blocked, equals: 2, "the failed message and the one behind it")
        try expect(figures.worstFailure, equals: "the broker refuses", "the last error of the worst one")
        if bench.fixture.followsTime { try expect(figures.oldest, equals: start, "when the oldest was appended") }
    }

    // MARK: Leases

    private static func exclusive(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        let epoch = try await scene.lease("a")
        try expect(epoch.owner, equals: "a", "the owner")
        try expect(try await scene.store.lease(to: "b", for: .seconds(2)), equals: nil, "another relay's lease")
        try await bench.pass(.seconds(1))
        try expect(try await scene.store.lease(to: "b", for: .seconds(2)), equals: nil, "another relay's lease later")
    }

    private static func race(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        for round in 1...20 {
            let won = try await withThrowingTaskGroup(of: OutboxEpoch?.self) { group in
                for owner in 0..<8 {
                    group.addTask { try await scene.store.lease(to: "\(round)-\(owner)", for: .seconds(60)) }
                }
                return try await group.reduce(into: [OutboxEpoch]()) { $0 += [$1].compactMap(\.self) }
            }
            try expect(won.count, equals: 1, "the relays that got the lease")
            if let epoch = won.first { try await scene.store.release(epoch) }
        }
    }

    private static func renewal(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        let epoch = try await scene.lease("a", for: .seconds(2))
        for _ in 1...4 {
            try await bench.pass(.seconds(1))
            try expect(try await scene.lease("a", for: .seconds(2)), equals: epoch, "the epoch of a renewal")
            try expect(try await scene.store.lease(to: "b", for: .seconds(2)), equals: nil, "another relay's lease")
        }
    }

    private static func takeover(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        let first = try await scene.lease("a", for: .seconds(1))
        try await bench.pass(.seconds(1) + .milliseconds(1))
        let second = try await scene.lease("b", for: .seconds(60))
        try expect(second.number > first.number, "a higher epoch", got: "\(second.number) after \(first.number)")
        try expect(try await scene.store.lease(to: "a", for: .seconds(60)), equals: nil, "the former owner's lease")
    }

    private static func release(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        let first = try await scene.lease("a", for: .seconds(600))
        try await scene.store.release(first)
        let second = try await scene.lease("b", for: .seconds(600))
        try expect(second.number > first.number, "a higher epoch", got: "\(second.number) after \(first.number)")
    }

    private static func releaseFormer(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        let first = try await scene.lease("a", for: .seconds(1))
        try await bench.pass(.seconds(2))
        let second = try await scene.lease("b", for: .seconds(600))
        try await scene.store.release(first)
        try expect(try await scene.store.lease(to: "c", for: .seconds(1)), equals: nil, "a third relay's lease")
        try expect(
            try await scene.store.record(sent: [], failed: [], under: second),
            equals: true,
            "whether the holder may still record"
        )
    }

    private static func fenced(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        try await scene.append([scene.message("1", key: "k"), scene.message("2", key: "k")])
        let former = try await scene.lease("a", for: .seconds(1))
        let rows = try await scene.store.pending(limit: 10).rows
        try await bench.pass(.seconds(2))
        _ = try await scene.lease("b", for: .seconds(600))
        let failure = OutboxFailure(id: rows[1].id, reason: "late", nextTry: bench.time.wallTime + .seconds(60))
        let isRecorded = try await scene.store.record(sent: [rows[0].id], failed: [failure], under: former)
        try expect(isRecorded, equals: false, "whether a record under a former epoch was made")
        let left = try await scene.store.pending(limit: 10)
        try expect(left.rows.map(\.message.id), equals: ["1", "2"], "what is there after it")
        try expect(left.rows.map(\.failures), equals: [0, 0], "the failures after it")
    }

    private static func crash(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        try await scene.append([scene.message("1", key: "k"), scene.message("2", key: "k")])
        _ = try await scene.lease("a", for: .seconds(1))
        let before = try await scene.store.pending(limit: 10).rows
        try await bench.pass(.seconds(2))
        _ = try await scene.lease("b", for: .seconds(600))
        try expect(try await scene.store.pending(limit: 10).rows, equals: before, "the rows that are sent again")
    }

    private static func calendarJump(_ bench: Bench) async throws {
        let scene = try await OutboxScene(bench)
        let first = try await scene.lease("a", for: .seconds(4))
        bench.clock.jumpWall(by: .seconds(-3_600))
        bench.clock.advance(by: .seconds(5))
        let second = try await scene.lease("b", for: .seconds(4))
        try expect(second.number > first.number, "a higher epoch", got: "\(second.number) after \(first.number)")
    }
}

/// One outbox under test, with the words that most cases need.
struct OutboxScene: Sendable {
    let bench: OutboxConformance.Bench
    let store: any OutboxStore
    let transactions: any TransactionRunner

    init(_ bench: OutboxConformance.Bench, on time: (any TimeSource)? = nil) async throws {
        let handle = try await bench.open(on: time ?? bench.time)
        self.bench = bench
        self.store = handle.port
        self.transactions = try bench.transactions(handle)
    }

    func message(_ id: String, key: String? = nil) -> Message {
        Message(
            id: id,
            source: "conformance",
            type: "case.event",
            time: self.bench.clock.wallTime,
            data: Array(id.utf8),
            key: key
        )
    }

    func append(_ messages: [Message]) async throws {
        try await self.transactions.withTransaction { try self.store.append(messages, in: $0) }
    }

    func lease(_ owner: String, for duration: Duration = .seconds(600)) async throws -> OutboxEpoch {
        try require(try await self.store.lease(to: owner, for: duration), "a lease for '\(owner)'")
    }

    func pendingIDs(limit: Int = 100) async throws -> [String] {
        try await self.store.pending(limit: limit).rows.map(\.message.id)
    }

    /// Records that sending the message has failed; says when it is due again.
    @discardableResult
    func fail(
        _ id: String,
        for wait: Duration,
        because reason: String = "no",
        under epoch: OutboxEpoch
    ) async throws -> Timestamp {
        let rows = try await self.store.pending(limit: 100).rows
        let row = try require(rows.first { $0.message.id == id }, "the message '\(id)' to be pending")
        let due = self.bench.time.wallTime + wait
        let failure = OutboxFailure(id: row.id, reason: reason, nextTry: due)
        let isRecorded = try await self.store.record(sent: [], failed: [failure], under: epoch)
        try expect(isRecorded, equals: true, "whether the failure was recorded")
        return due
    }
}
