internal import ParleyCore
internal import ParleyGateway
internal import Testing

@Suite struct ChanceTests {
    @Test func drawsByWeight() throws {
        let group = try peerGroup([peer(1), peer(2, weight: 2), peer(3, weight: 5)], .random)
        let chance = SeededRandomSource(seed: 1)
        var counts: [Int: Int] = [:]
        for _ in 0..<8_000 { counts[try #require(group.ports(chance: chance.next()).first), default: 0] += 1 }
        for (port, share) in [(1, 1_000), (2, 2_000), (3, 5_000)] {
            #expect(((share * 9 / 10)...(share * 11 / 10)).contains(counts[port] ?? 0))
        }
    }

    @Test(arguments: [BalancingMethod.random, .randomTwo, .ewma])
    func theSameChanceMakesTheSameChoice(_ method: BalancingMethod) throws {
        let groups = try (0..<2).map { _ in try peerGroup((1...9).map { peer($0) }, method) }
        for chance in 0..<200 as Range<UInt64> {
            #expect(groups[0].ports(chance: chance) == groups[1].ports(chance: chance))
        }
        #expect(Set(groups[0].states(now: 0).map(\.selections)).count > 1)
    }

    @Test(arguments: [BalancingMethod.randomTwo, .ewma])
    func ofTwoTheOneWithLessToDo(_ method: BalancingMethod) throws {
        // With two peers both are always drawn, so the loads stay as equal as the weights are.
        let group = try peerGroup([peer(1), peer(2, weight: 3)], method)
        let chance = SeededRandomSource(seed: 3)
        if method == .ewma {
            for _ in 0..<2 {
                let peer = try #require(group.pickOnce(chance: chance.next()))
                group.finish(peer, .succeeded, answer: .good, latency: 1_000, now: 0)
            }
            #expect(group.states(now: 0).allSatisfy { $0.latency == 1_000 })
        }
        for _ in 0..<400 { #expect(group.pickOnce(chance: chance.next()) != nil) }
        let active = group.states(now: 0).map(\.active)
        #expect(abs(active[0] * 3 - active[1]) <= 3)
    }

    @Test func ewmaAvoidsTheSlow() throws {
        let group = try peerGroup([peer(1), peer(2)], .ewma)
        let chance = SeededRandomSource(seed: 5)
        func request(at now: Int64) throws -> Int {
            let peer = try #require(group.pickOnce(now: now, chance: chance.next()))
            let port = try #require(group.port(peer))
            group.finish(peer, .succeeded, answer: .good, latency: port == 1 ? 100_000 : 1_000, now: now)
            return port
        }
        // Both are unknown at first, so both are asked.
        #expect(Set([try request(at: 0), try request(at: 0)]) == [1, 2])
        for now in stride(from: Int64(0), to: 900_000, by: 5_000) { #expect(try request(at: now) == 2) }
        // When it has faded to less than the other's, it gets another chance, and one is enough.
        let later = try stride(from: Int64(900_000), to: 1_400_000, by: 1_000).filter { try request(at: $0) == 1 }
        #expect(later == [1_091_000])
        #expect(group.state(1, now: 1_091_000)?.latency == 100_000)
    }

    /// Of one never heard of, one request at a time is answered before more are sent.
    @Test func ewmaTriesTheUnknownWithOne() throws {
        let group = try peerGroup([peer(1)], .ewma)
        try group.replace(peers: [peer(1), peer(2)], now: 0)
        let first = try #require(group.pickOnce())
        let second = try #require(group.pickOnce())
        #expect(first != second)
        group.finish(first, .succeeded, answer: .good, latency: 5_000, now: 0)
        let known = group.port(first)
        for _ in 0..<5 { #expect(group.port(group.pickOnce()) == known) }
    }
}
