internal import ParleyCore
internal import ParleyGateway
internal import Testing

@Suite struct ReplaceTests {
    @Test func whoStaysKeepsWhatIsKnown() throws {
        let group = try peerGroup([peer(1, weight: 4), peer(2, weight: 4)])
        let held = try #require(group.pickOnce(now: 5_000))
        #expect(group.port(held) == 1)
        let failed = try #require(group.pickOnce(now: 5_000))
        group.finish(failed, .failed, now: 5_000)
        try group.replace(peers: [peer(3), peer(2, weight: 8), peer(1, weight: 8)], now: 5_000)
        #expect(group.states(now: 5_000).map(\.peer.port) == [3, 2, 1])
        #expect(group.state(1, now: 5_000)?.active == 1)
        #expect(group.state(1, now: 5_000)?.effectiveWeight == 8)
        #expect(group.state(2, now: 5_000)?.standing == .failed)
        #expect(group.state(2, now: 5_000)?.effectiveWeight == 0)
        group.finish(held, .succeeded, now: 5_000)
        #expect(group.state(1, now: 5_000)?.active == 0)
        // The same name at another address is somebody else, and so is another name at the same address.
        try group.replace(peers: [PeerModel(host: "127.0.0.1", port: 2, name: "other")], now: 5_000)
        #expect(group.state(2, now: 5_000)?.fails == 0)
    }

    @Test func whoLeavesEndsItsRequestsAndIsForgotten() throws {
        let group = try peerGroup([peer(1), peer(2)])
        let held = [try #require(group.pickOnce()), try #require(group.pickOnce())]
        try group.replace(peers: [peer(2)], now: 0)
        #expect(group.model(of: held[0])?.port == 1)
        #expect(group.tries == 1)
        // It comes back while a request of before is under way: as a new one.
        try group.replace(peers: [peer(2), peer(1)], now: 0)
        #expect(group.state(1)?.active == 0)
        group.finish(held[0], .failed, now: 0)
        #expect(group.state(1)?.fails == 0)
        #expect(group.model(of: held[0]) == nil)
        // Its slot is somebody else's now; who still speaks of the old one means nobody.
        try group.replace(peers: [peer(2), peer(1), peer(3)], now: 0)
        #expect(group.state(3)?.id.slot == held[0].slot)
        group.finish(held[0], .failed, now: 0)
        #expect(group.state(3)?.fails == 0)
        #expect(group.state(2)?.active == 1)
    }

    @Test func twoThatAreAlikeAreTwo() throws {
        let group = try peerGroup([peer(1), peer(1)])
        let held = try #require(group.pickOnce())
        try group.replace(peers: [peer(1), peer(1)], now: 0)
        #expect(group.states(now: 0).map(\.active) == [1, 0])
        try group.replace(peers: [peer(1)], now: 0)
        #expect(group.states(now: 0).map(\.active) == [1])
        group.finish(held, .succeeded, now: 0)
        #expect(group.states(now: 0).map(\.active) == [0])
    }

    @Test func whoJoinsStartsSlowly() throws {
        let group = try peerGroup([peer(1, weight: 10)])
        try group.replace(peers: [peer(1, weight: 10), peer(2, weight: 10) { $0.slowStart = 10 }], now: 50_000)
        #expect(group.state(2, now: 50_000)?.isStarting == true)
        #expect((0..<20).flatMap { _ in group.ports(now: 50_000) }.count { $0 == 2 } == 0)
        #expect((0..<20).flatMap { _ in group.ports(now: 60_000) }.count { $0 == 2 } >= 9)
    }

    @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func changesWhileRequestsAreUnderWay(seed: UInt64) throws {
        let chance = SeededRandomSource(seed: seed)
        func draw(_ bound: Int) -> Int { Int(chance.next() % UInt64(bound)) }
        let methods: [BalancingMethod] = [.roundRobin, .leastConnections, .ipHash, .consistentHash, .randomTwo, .ewma]
        let group = try peerGroup([], methods[Int(seed) - 1])
        var members: Set<Int> = []
        /// Of each port, under the id that it has now.
        var counts: [PeerID: Int] = [:]
        var held: [PeerID] = []
        var mostSlots: UInt32 = 0
        for step in 0..<6_000 {
            let now = Int64(step) * 100
            switch draw(12) {
            case 0:
                members = Set((0..<draw(9)).map { _ in draw(20) })
                try group.replace(peers: members.sorted().map { peer($0, weight: 1 + $0 % 3) }, now: now)
            case 1...5 where !held.isEmpty:
                let peer = held.remove(at: draw(held.count))
                counts[peer, default: 0] -= 1
                group.finish(peer, .succeeded, answer: .good, latency: Int64(draw(5_000)), now: now)
            default:
                guard held.count < 200 else { continue }
                let key = [UInt8(draw(256)), UInt8(draw(256)), 1, 1]
                let peer = group.pickOnce(key: key, now: now, chance: chance.next())
                #expect((peer == nil) == members.isEmpty)
                guard let peer else { continue }
                #expect(members.contains(try #require(group.port(peer))))
                mostSlots = max(mostSlots, peer.slot)
                counts[peer, default: 0] += 1
                held.append(peer)
            }
            for state in group.states(now: now) { #expect(state.active == counts[state.id, default: 0]) }
        }
        // Slots are used again: no more than members and those who have left with requests under way.
        #expect(mostSlots < 250)
    }

    /// From several threads at once nothing is lost.
    @Test(.timeLimit(.minutes(1))) func isShared() async throws {
        let group = try peerGroup([peer(1), peer(2, weight: 2), peer(3)], .leastConnections)
        await withTaskGroup(of: Void.self) { tasks in
            for task in 0..<4 {
                tasks.addTask {
                    for number in 0..<2_000 {
                        guard let peer = group.pickOnce(now: Int64(number)) else { continue }
                        group.finish(peer, (number + task) % 3 == 0 ? .notCounted : .succeeded, now: Int64(number))
                    }
                }
            }
        }
        let states = group.states(now: 2_000)
        #expect(states.allSatisfy { $0.active == 0 })
        #expect(states.reduce(0) { $0 + $1.selections } == 8_000)
    }
}
