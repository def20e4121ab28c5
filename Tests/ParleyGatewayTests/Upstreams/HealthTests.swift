internal import ParleyGateway
internal import Testing

@Suite struct HealthTests {
    private func group(
        _ peers: [PeerModel],
        healthy: Int = 2,
        unhealthy: Int = 3,
        _ change: (inout PeerGroupSettings) -> Void = { _ in }
    ) throws -> PeerGroup {
        var rules = HealthCheckRules(kind: .tcp)
        rules.healthyThreshold = healthy
        rules.unhealthyThreshold = unhealthy
        return try peerGroup(peers) {
            $0.healthCheck = rules
            change(&$0)
        }
    }

    @Test func thresholdsAndTheFirstResult() throws {
        let group = try self.group([peer(1), peer(2)])
        let id = try #require(group.state(1)?.id)
        func check(_ results: Bool...) -> [HealthChange?] {
            results.map { group.recordCheck(of: id, hasPassed: $0, now: 0) }
        }
        // Three would be needed, but it is the first.
        #expect(check(false) == [.becameUnhealthy])
        #expect(group.state(1)?.standing == .unhealthy)
        #expect((0..<4).flatMap { _ in group.ports() } == [2, 2, 2, 2])
        #expect(check(true, false, true, true) == [nil, nil, nil, .becameHealthy])
        #expect(check(false, false, true, false, false, false) == [nil, nil, nil, nil, nil, .becameUnhealthy])
        #expect(check(false, false) == [nil, nil])
    }

    @Test func aFirstPassIsNoChange() throws {
        let group = try self.group([peer(1), peer(2)])
        let id = try #require(group.state(1)?.id)
        let results = [true, false, false, false].map { group.recordCheck(of: id, hasPassed: $0, now: 0) }
        #expect(results == [nil, nil, nil, .becameUnhealthy])
    }

    @Test func unhealthyUntilTheFirstPass() throws {
        let group = try self.group([peer(1)]) { $0.startsHealthy = false }
        #expect(group.pickOnce() == nil)
        let id = try #require(group.state(1)?.id)
        #expect(group.recordCheck(of: id, hasPassed: true, now: 0) == .becameHealthy)
        #expect(group.pickOnce() == id)
    }

    @Test func panicLooksAtNoHealth() throws {
        for (percent, expected) in [(0, [3]), (33, [3]), (34, [1, 2, 3])] {
            let group = try self.group([peer(1), peer(2), peer(3), peer(4) { $0.isDown = true }]) {
                $0.panicPercent = percent
            }
            for port in 1...2 {
                let id = try #require(group.state(port)?.id)
                #expect(group.recordCheck(of: id, hasPassed: false, now: 0) == .becameUnhealthy)
            }
            #expect(Set((0..<9).flatMap { _ in group.ports() }) == Set(expected))
        }
    }

    @Test func aCheckOfSomebodyElseChangesNothing() throws {
        let group = try self.group([peer(1), peer(2)])
        let gone = try #require(group.state(1)?.id)
        try group.replace(peers: [peer(2), peer(3)], now: 0)
        #expect(group.recordCheck(of: gone, hasPassed: false, now: 0) == nil)
        #expect(group.recordCheck(of: PeerID(slot: 99, generation: 0), hasPassed: false, now: 0) == nil)
        #expect(!group.states(now: 0).contains { !$0.isHealthy })
        #expect(try peerGroup([peer(1)]).recordCheck(of: gone, hasPassed: false, now: 0) == nil)
    }

    @Test func theIntervalHasAJitter() {
        var rules = HealthCheckRules(kind: .tcp)
        rules.interval = 1_000
        #expect(rules.delay(chance: 0) == 1_000)
        #expect(rules.delay(chance: 100) == 1_100)
        #expect(rules.delay(chance: 101) == 1_000)
        #expect((1_000...1_100).contains(rules.delay(chance: .max)))
        #expect((0..<1_000).contains(rules.firstDelay(chance: .max)))
        rules.interval = .min
        #expect(rules.delay(chance: .max) == 1)
        #expect(rules.firstDelay(chance: .max) == 0)
    }

    @Test func aSlowStartAfterARecovery() throws {
        let group = try self.group([peer(1, weight: 4) { $0.slowStart = 10 }, peer(2, weight: 4)], unhealthy: 1)
        let id = try #require(group.state(1)?.id)
        // At the start of the group nobody is slow.
        #expect((0..<4).flatMap { _ in group.ports() } == [1, 2, 1, 2])
        #expect(group.recordCheck(of: id, hasPassed: false, now: 0) == .becameUnhealthy)
        #expect(group.recordCheck(of: id, hasPassed: true, now: 1_000) == nil)
        #expect(group.recordCheck(of: id, hasPassed: true, now: 2_000) == .becameHealthy)
        func share(_ now: Int64) -> Int { (0..<600).flatMap { _ in group.ports(now: now) }.count { $0 == 1 } }
        #expect(share(2_000) <= 1)
        #expect((195...205).contains(share(7_000)))
        #expect(group.state(1, now: 11_999)?.isStarting == true)
        #expect(group.state(1, now: 12_000)?.isStarting == false)
        #expect((299...301).contains(share(12_000)))
    }
}
