internal import NIOCore
internal import ParleyCore
internal import Testing

@testable internal import ParleyGateway

@Suite struct PeerChangeTests {
    private func peer(_ port: Int, id: String? = nil, weight: Int = 1) -> PeerModel {
        var peer = PeerModel(host: "127.0.0.1", port: port)
        peer.instanceID = id
        peer.weight = weight
        return peer
    }

    @Test func theOrderIsNoChange() {
        let change = PeerChange(from: [self.peer(1), self.peer(2)], to: [self.peer(2), self.peer(1)])
        #expect(change.isNone)
    }

    @Test func saysWhoCameAndWhoLeft() {
        let change = PeerChange(from: [self.peer(1), self.peer(2)], to: [self.peer(2), self.peer(3)])
        #expect(change.joined == ["127.0.0.1:3"] && change.left == ["127.0.0.1:1"] && !change.isNone)
    }

    @Test func anotherWeightIsAChange() {
        let change = PeerChange(from: [self.peer(1)], to: [self.peer(1, weight: 2)])
        #expect(change.isAltered && change.joined.isEmpty && change.left.isEmpty && !change.isNone)
    }

    @Test func anotherProgramAtTheSameAddressIsAnotherInstance() {
        let change = PeerChange(from: [self.peer(1, id: "a")], to: [self.peer(1, id: "b")])
        #expect(change.joined.count == 1 && change.left.count == 1)
    }
}

@Suite struct CheckScheduleTests {
    private static let rules: HealthCheckRules = {
        var rules = HealthCheckRules(kind: .tcp)
        rules.interval = 1_000
        return rules
    }()

    /// Against a model: over a long time each member is asked about once an interval, never twice within one, and never
    /// more than the limit at once.
    @Test(arguments: [1 as UInt64, 2, 3])
    func everybodyIsAskedOnceAnInterval(_ seed: UInt64) {
        var state = seed
        func chance() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state >> 16
        }
        var schedule = CheckSchedule(rules: Self.rules)
        let members = (0..<50).map { PeerID(slot: UInt32($0), generation: 0) }
        var last: [PeerID: Int64] = [:]
        var counts: [PeerID: Int] = [:]
        var now: Int64 = 0
        while now < 60_000 {
            let due = schedule.due(members, now: now, limit: 8, chance: chance)
            #expect(due.count <= 8)
            for member in due {
                if let before = last[member] { #expect(now - before >= 1_000) }
                last[member] = now
                counts[member, default: 0] += 1
            }
            let wait = schedule.wait(now: now)
            #expect((1...CheckSchedule.longestWait).contains(wait))
            now += wait
        }
        #expect(counts.count == members.count)
        for count in counts.values { #expect((50...60).contains(count), "\(count)") }
    }

    @Test func whoLeavesIsForgotten() {
        var schedule = CheckSchedule(rules: Self.rules)
        let one = PeerID(slot: 0, generation: 0)
        #expect(schedule.due([one], now: 0, limit: 1) { 0 } == [one])
        #expect(schedule.due([], now: 5_000, limit: 1) { 0 }.isEmpty)
        #expect(schedule.wait(now: 5_000) == CheckSchedule.longestWait)
        #expect(schedule.due([PeerID(slot: 0, generation: 1)], now: 5_000, limit: 1) { 0 }.count == 1)
    }
}

@Suite struct RPCHealthMessageTests {
    @Test func asksForAService() {
        #expect(Array(RPCHealthQuestion.message(of: "").readableBytesView) == [0, 0, 0, 0, 0])
        #expect(Array(RPCHealthQuestion.message(of: "ab").readableBytesView) == [0, 0, 0, 0, 4, 0x0A, 2, 97, 98])
    }

    @Test(
        arguments: [
            ([0, 0, 0, 0, 2, 8, 1], true), ([0, 0, 0, 0, 2, 8, 2], false), ([0, 0, 0, 0, 0], false), ([], false),
            ([1, 0, 0, 0, 2, 8, 1], false), ([0, 0, 0, 0, 2, 8], false),
        ] as [([UInt8], Bool)]
    )
    func readsTheAnswer(_ bytes: [UInt8], _ isServing: Bool) {
        #expect(RPCHealthQuestion.isServing(bytes.span) == isServing)
    }
}
