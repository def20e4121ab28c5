internal import ParleyCore
internal import ParleySagas

extension SagaStoreConformance {
    static let claiming: [Case] = [
        Case("a saga that is due is claimed: owner, epoch and version change", Self.claimDue),
        Case("a saga is not claimed before it is due, and the claim says when", Self.notBeforeDue),
        Case("a live driver's saga is not claimed", Self.liveOwner),
        Case("a dead driver's saga is claimed and uncertain", Self.deadOwner),
        Case("a driver that has never said that it lives is dead", Self.neverAlive),
        Case("a claim with a lease holds what it takes from the first moment", Self.claimWithLease),
        Case("a driver that gives up gives up at once", Self.givesUp),
        Case("a stuck saga is claimed when it is due", Self.stuck),
        Case("a saga that has ended is never claimed", Self.ended),
        Case("a claim takes no more than its limit", Self.limit),
        Case("of many claimers no two get the same saga", Self.claimRace),
        Case("a claimer does not claim again what it drives", Self.ownSagas),
        Case("a calendar jump does not keep a dead driver's lease alive", needsTime: true, Self.calendarJumpsBack),
        Case("a driver that lives keeps its sagas when the calendar jumps back", needsTime: true, Self.livingAfterJump),
    ]

    private static func claimDue(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        let instance = scene.instance("1")
        _ = try await scene.create(instance)
        let claimed = try require(try await scene.claim("worker").first, "the saga that is due")
        try expect(claimed.owner, equals: "worker", "its owner")
        try expect([claimed.epoch, claimed.version], equals: [2, 2], "its epoch and version")
        try expect(claimed.isUncertain, equals: false, "whether it is uncertain")
        try expect(try await scene.load("1"), equals: claimed, "what is stored")
        var rest = claimed
        (rest.owner, rest.epoch, rest.version, rest.dueAt) = (nil, 1, 1, instance.dueAt)
        try expect(rest, equals: instance, "everything else, unchanged")
        let moved = try await scene.move(claimed) { $0.state = "NEXT" }
        try expect(try await scene.load("1"), equals: moved, "what its driver commits")
    }

    private static func notBeforeDue(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        var instance = scene.instance("1")
        let due = bench.time.wallTime + .seconds(2)
        instance.dueAt = due
        _ = try await scene.create(instance)
        var later = scene.instance("2")
        later.dueAt = due + .seconds(60)
        _ = try await scene.create(later)
        let early = try await scene.store.claim(owner: "worker", limit: 10)
        try expect(early.instances.map(\.id), equals: [], "what is claimed too early")
        try expect(early.nextDue, equals: due, "when the next one is due")
        try await bench.pass(.seconds(2))
        try expect(try await scene.claim().map(\.id), equals: ["1"], "what is claimed when it is due")
    }

    private static func liveOwner(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        try await scene.store.renew(owner: "alive", lease: .seconds(2))
        let instance = scene.instance("1", owner: "alive")
        _ = try await scene.create(instance)
        for _ in 1...3 {
            try expect(try await scene.claim("other").map(\.id), equals: [], "what another claims")
            try await bench.pass(.seconds(1))
            try await scene.store.renew(owner: "alive", lease: .seconds(2))
        }
        try expect(try await scene.load("1"), equals: instance, "the saga")
    }

    private static func deadOwner(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        try await scene.store.renew(owner: "dying", lease: .seconds(1))
        _ = try await scene.create(scene.instance("1", owner: "dying"))
        _ = try await scene.create(scene.instance("2", owner: "dying"))
        try await bench.pass(.seconds(1) + .milliseconds(1))
        let claimed = try await scene.claim("other")
        try expect(claimed.map(\.id).sorted(), equals: ["1", "2"], "what another claims")
        try expect(claimed.map(\.isUncertain), equals: [true, true], "whether their last action may have run")
        try expect(claimed.map(\.epoch), equals: [2, 2], "their epochs")
        try expect(claimed.map(\.version), equals: [2, 2], "their versions")
        try expect(claimed.map(\.owner), equals: ["other", "other"], "their owners")
    }

    private static func neverAlive(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        _ = try await scene.create(scene.instance("1", owner: "ghost"))
        let claimed = try await scene.claim("other")
        try expect(claimed.map(\.id), equals: ["1"], "what another claims")
        try expect(claimed.map(\.isUncertain), equals: [true], "whether its last action may have run")
    }

    private static func claimWithLease(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        _ = try await scene.create(scene.instance("1"))
        let claim = try await scene.store.claim(owner: "worker", lease: .seconds(2), limit: 10)
        try expect(claim.instances.map(\.id), equals: ["1"], "what is claimed")
        try expect(try await scene.claim("other").map(\.id), equals: [], "what another claims at once")
        try await bench.pass(.seconds(1))
        let idle = try await scene.store.claim(owner: "worker", lease: .seconds(2), limit: 10)
        try expect(idle.instances.map(\.id), equals: [], "what is claimed when there is nothing")
        try await bench.pass(.seconds(2))
        let taken = try await scene.claim("other")
        try expect(taken.map(\.id), equals: ["1"], "what another claims when the lease has run out")
        try expect(taken.map(\.isUncertain), equals: [true], "whether its last action may have run")
    }

    private static func givesUp(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        try await scene.store.renew(owner: "leaving", lease: .seconds(600))
        _ = try await scene.create(scene.instance("1", owner: "leaving"))
        try expect(try await scene.claim("other").map(\.id), equals: [], "what another claims before")
        try await scene.store.renew(owner: "leaving", lease: .zero)
        try expect(try await scene.claim("other").map(\.id), equals: ["1"], "what another claims after")
    }

    private static func stuck(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        var waiting = scene.instance("waiting")
        waiting.status = .stuck
        _ = try await scene.create(waiting)
        var parked = scene.instance("parked")
        parked.status = .stuck
        parked.dueAt = nil
        _ = try await scene.create(parked)
        let claimed = try await scene.claim()
        try expect(claimed.map(\.id), equals: ["waiting"], "what is claimed")
        try expect(claimed.map(\.status), equals: [.stuck], "its status")
    }

    private static func ended(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        for status in [SagaStatus.completed, .failed] {
            for owner in [nil, "dead"] {
                var instance = scene.instance("\(status)-\(owner ?? "nobody")", owner: owner)
                instance.status = status
                instance.dueAt = bench.time.wallTime
                _ = try await scene.create(instance)
            }
        }
        let claim = try await scene.store.claim(owner: "worker", limit: 10)
        try expect(claim.instances.map(\.id), equals: [], "what is claimed")
        try expect(claim.nextDue, equals: nil, "when the next one is due")
    }

    private static func limit(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        try await scene.store.renew(owner: "worker", lease: .seconds(600))
        for number in 1...5 { _ = try await scene.create(scene.instance("due-\(number)")) }
        for number in 1...5 { _ = try await scene.create(scene.instance("orphan-\(number)", owner: "ghost")) }
        var all: [String] = []
        for wanted in [4, 4, 2, 0] {
            let claimed = try await scene.claim("worker", limit: 4).map(\.id)
            try expect(claimed.count, equals: wanted, "how many are claimed")
            all += claimed
        }
        try expect(Set(all).count, equals: 10, "distinct sagas")
    }

    private static func claimRace(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        let total = 200
        for number in 0..<total {
            _ = try await scene.create(scene.instance("\(number)", owner: number % 2 == 0 ? nil : "ghost"))
        }
        let claimed = try await withThrowingTaskGroup(of: [SagaInstance].self) { group in
            for number in 0..<6 {
                group.addTask {
                    var mine: [SagaInstance] = []
                    try await scene.store.renew(owner: "w\(number)", lease: .seconds(600))
                    while true {
                        let some = try await scene.claim("w\(number)", limit: 7)
                        if some.isEmpty { return mine }
                        mine += some
                        await Task.yield()
                    }
                }
            }
            return try await group.reduce(into: [SagaInstance]()) { $0 += $1 }
        }
        try expect(claimed.count, equals: total, "claims")
        try expect(Set(claimed.map(\.id)).count, equals: total, "distinct sagas")
        let stored = try await scene.all()
        try expect(stored.allSatisfy { $0.epoch == 2 && $0.version == 2 }, "each to be claimed once")
    }

    private static func ownSagas(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        try await scene.store.renew(owner: "worker", lease: .seconds(600))
        _ = try await scene.create(scene.instance("1"))
        try expect(try await scene.claim("worker").map(\.id), equals: ["1"], "the first claim")
        try expect(try await scene.claim("worker").map(\.id), equals: [], "the second claim")
    }

    private static func calendarJumpsBack(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        try await scene.store.renew(owner: "dying", lease: .seconds(4))
        _ = try await scene.create(scene.instance("1", owner: "dying"))
        bench.clock.jumpWall(by: .seconds(-3_600))
        bench.clock.advance(by: .seconds(5))
        try expect(try await scene.claim("other").map(\.id), equals: ["1"], "what another claims")
    }

    private static func livingAfterJump(_ bench: Bench) async throws {
        let scene = try await SagaScene(bench)
        try await scene.store.renew(owner: "alive", lease: .seconds(4))
        _ = try await scene.create(scene.instance("1", owner: "alive"))
        bench.clock.jumpWall(by: .seconds(-3_600))
        try await scene.store.renew(owner: "alive", lease: .seconds(4))
        bench.clock.advance(by: .seconds(2))
        try expect(try await scene.claim("other").map(\.id), equals: [], "what another claims")
    }
}
