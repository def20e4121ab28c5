internal import ParleyCore
public import ParleyMessaging

/// What every ``ParleyMessaging/Inbox`` promises, one named case a promise. The fixture's handles need transactions.
public enum InboxConformance {
    public typealias Case = ConformanceCase<any Inbox>
    typealias Bench = ConformanceBench<any Inbox>

    /// - Parameter followsTime: Whether the inbox lives by the `TimeSource` that the fixture is given.
    public static func cases(followsTime: Bool = true) -> [Case] {
        Self.all.filter { followsTime || !$0.needsTime }
    }

    private static let all: [Case] = [
        Case("a message is admitted once", Self.once),
        Case("consumers are told apart", Self.perConsumer),
        Case("a transaction that fails admits nothing", Self.rollback),
        Case("of many that admit at once one is first", Self.race),
        Case("a purge forgets what is older than the window and not among the newest", Self.purge),
        Case("the window is measured from the newest message, not from the calendar", Self.downtime),
        Case("the newest are kept, whatever their age", Self.keep),
        Case("a purge is for one consumer", Self.purgeOne),
        Case("a calendar that jumps back does not make the newest the oldest", needsTime: true, Self.calendarJump),
    ]

    private struct Scene: Sendable {
        let inbox: any Inbox
        let transactions: any TransactionRunner

        init(_ bench: Bench) async throws {
            let handle = try await bench.open()
            self.inbox = handle.port
            self.transactions = try bench.transactions(handle)
        }

        func admit(_ ids: String..., to consumer: String = "billing") async throws -> [Bool] {
            try await self.transactions.withTransaction { transaction in
                try ids.map { try self.inbox.admit($0, to: consumer, in: transaction) }
            }
        }
    }

    private struct Oops: Error {}

    private static func once(_ bench: Bench) async throws {
        let scene = try await Scene(bench)
        try expect(try await scene.admit("1", "2"), equals: [true, true], "the first time")
        try expect(try await scene.admit("2", "1", "3", "3"), equals: [false, false, true, false], "again")
    }

    private static func perConsumer(_ bench: Bench) async throws {
        let scene = try await Scene(bench)
        try expect(try await scene.admit("1"), equals: [true], "the first consumer's first time")
        try expect(try await scene.admit("1", to: "mail"), equals: [true], "the second consumer's first time")
        try expect(try await scene.admit("1", to: "mail"), equals: [false], "the second consumer again")
    }

    private static func rollback(_ bench: Bench) async throws {
        let scene = try await Scene(bench)
        try expect(try await scene.admit("before"), equals: [true], "the first message")
        try await expectError("the transaction's own error", .ofType(Oops.self)) {
            try await scene.transactions.withTransaction { transaction in
                _ = try scene.inbox.admit("1", to: "billing", in: transaction)
                _ = try scene.inbox.admit("before", to: "billing", in: transaction)
                throw Oops()
            }
        }
        try expect(try await scene.admit("1", "before"), equals: [true, false], "after the rollback")
    }

    private static func race(_ bench: Bench) async throws {
        let scene = try await Scene(bench)
        for round in 1...20 {
            let first = try await withThrowingTaskGroup(of: Bool.self) { group in
                for _ in 0..<8 { group.addTask { try await scene.admit("\(round)") == [true] } }
                return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
            }
            try expect(first, equals: 1, "how many were the first")
        }
    }

    private static func purge(_ bench: Bench) async throws {
        let scene = try await Scene(bench)
        for id in ["1", "2", "3", "4"] {
            _ = try await scene.admit(id)
            try await bench.pass(.milliseconds(400))
        }
        // Ages measured from "4": 1.2 s, 0.8 s, 0.4 s, 0.
        try expect(try await Self.forget(scene, .milliseconds(600), keep: 3), equals: 1, "what both rules let go")
        try expect(try await scene.admit("2"), equals: [false], "what is old and among those to keep")
        try expect(try await Self.forget(scene, .milliseconds(600), keep: 0), equals: 1, "what the window lets go")
        try expect(try await scene.admit("3", "4"), equals: [false, false], "what is within the window")
        try expect(try await scene.admit("1", "2"), equals: [true, true], "what was forgotten")
    }

    private static func forget(_ scene: Scene, _ window: Duration, keep: Int) async throws -> Int {
        try await scene.inbox.purge(consumer: "billing", window: window, keep: keep)
    }

    private static func downtime(_ bench: Bench) async throws {
        let scene = try await Scene(bench)
        _ = try await scene.admit("1", "2")
        try await bench.pass(bench.fixture.followsTime ? .seconds(7_200) : .seconds(1))
        // The consumer was down; the first thing it does is to purge, the second to get everything again.
        try expect(try await Self.forget(scene, .milliseconds(100), keep: 0), equals: 0, "what is forgotten")
        try expect(try await scene.admit("1", "2"), equals: [false, false], "what is redelivered then")
    }

    private static func keep(_ bench: Bench) async throws {
        let scene = try await Scene(bench)
        for id in ["1", "2", "3"] {
            _ = try await scene.admit(id)
            try await bench.pass(.milliseconds(50))
        }
        try expect(try await Self.forget(scene, .zero, keep: 3), equals: 0, "of three with three to keep")
        try expect(try await Self.forget(scene, .zero, keep: 100), equals: 0, "with more to keep than there are")
        try expect(try await Self.forget(scene, .zero, keep: 1), equals: 2, "with one to keep")
        try expect(try await scene.admit("3", "2"), equals: [false, true], "what is known after that")
        try expect(try await scene.inbox.purge(consumer: "nobody", window: .zero, keep: 0), equals: 0, "of nobody")
    }

    private static func purgeOne(_ bench: Bench) async throws {
        let scene = try await Scene(bench)
        for consumer in ["billing", "mail"] {
            _ = try await scene.admit("1", to: consumer)
            try await bench.pass(.milliseconds(50))
            _ = try await scene.admit("2", to: consumer)
        }
        try expect(try await Self.forget(scene, .zero, keep: 0), equals: 1, "what billing forgets")
        try expect(try await scene.admit("1", "2", to: "mail"), equals: [false, false], "what mail still knows")
    }

    private static func calendarJump(_ bench: Bench) async throws {
        let scene = try await Scene(bench)
        _ = try await scene.admit("before")
        bench.clock.jumpWall(by: .seconds(-86_400))
        _ = try await scene.admit("after")
        try expect(try await Self.forget(scene, .seconds(3_600), keep: 0), equals: 0, "what is forgotten")
        try expect(try await scene.admit("after", "before"), equals: [false, false], "what is known after that")
    }
}
