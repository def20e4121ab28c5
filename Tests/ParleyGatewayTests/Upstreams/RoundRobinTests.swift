internal import ParleyGateway
internal import Testing

/// Sequences that nginx 1.22.1 with one worker answered; ports from 91 on refused the connection.
@Suite struct RoundRobinTests {
    private func sequence(_ group: PeerGroup, _ count: Int = 24) -> [[Int]] {
        (0..<count).map { _ in group.ports { $0 >= 91 } }
    }

    @Test func smoothlyWeighted() throws {
        let group = try peerGroup([peer(1, weight: 5), peer(2), peer(3)])
        let expected = [1, 1, 2, 1, 3, 1, 1, 1, 1, 2, 1, 3, 1, 1, 1, 1, 2, 1, 3, 1, 1, 1, 1, 2]
        #expect(self.sequence(group) == expected.map { [$0] })
    }

    @Test(arguments: [BalancingMethod.roundRobin, .leastConnections])
    func withoutThoseThatAreDown(_ method: BalancingMethod) throws {
        let peers = [
            peer(1, weight: 3), peer(2, weight: 2), peer(3, weight: 9) { $0.isDown = true }, peer(4, weight: 7),
        ]
        let group = try peerGroup(peers, method)
        let expected = [4, 1, 4, 2, 4, 1, 4, 4, 2, 4, 1, 4, 4, 1, 4, 2, 4, 1, 4, 4, 2, 4, 1, 4]
        #expect(self.sequence(group) == expected.map { [$0] })
        #expect(group.tries == 3)
    }

    @Test func backupsWhenTheOthersHaveFailed() throws {
        let group = try peerGroup([
            peer(91, weight: 2) {
                $0.maxFails = 2
                $0.failTimeout = 2
            }, peer(92) { $0.failTimeout = 2 },
            peer(1) { $0.isBackup = true }, peer(2) { $0.isBackup = true },
        ])
        let expected = [[91, 92, 1], [91, 2]] + (0..<22).map { [1 + $0 % 2] }
        #expect(self.sequence(group) == expected)
    }

    @Test func failuresTakeWeight() throws {
        let group = try peerGroup([
            peer(1, weight: 4),
            peer(91, weight: 4) {
                $0.maxFails = 3
                $0.failTimeout = 60
            }, peer(2, weight: 3),
        ])
        let expected = [
            [1], [91, 2], [1], [2], [91, 1], [2], [1], [91, 1], [2], [1], [2], [1], [2], [1], [1], [2], [1], [2], [1],
            [2], [1], [1], [2], [1],
        ]
        #expect(self.sequence(group) == expected)
    }

    @Test func afterTheFailTimeoutOneTrialForEach() throws {
        let group = try peerGroup([peer(1), peer(91)])
        // In the second of the failure and in the ten after it, the peer is out.
        #expect(group.ports(now: 500) { $0 >= 91 } == [1])
        #expect(group.ports(now: 500) { $0 >= 91 } == [91, 1])
        for now in stride(from: Int64(501), through: 10_999, by: 500) {
            #expect(group.ports(now: now) { $0 >= 91 } == [1])
        }
        // One request at a time goes to try it, and no other while its answer is not there.
        // (Its weight is 0 after the failure, so it is not the very next.)
        let next = (0..<4).compactMap { _ in group.pickOnce(now: 11_000) }
        #expect(next.count { group.port($0) == 91 } == 1)
        let trial = try #require(next.first { group.port($0) == 91 })
        for _ in 0..<10 { #expect(group.port(group.pickOnce(now: 11_000)) == 1) }
        #expect(group.state(91, now: 11_000)?.fails == 1)
        group.finish(trial, .succeeded, now: 11_900)
        #expect(group.state(91, now: 11_900)?.fails == 0)
        #expect(group.state(91, now: 11_900)?.standing == .available)
    }

    /// A success that was under way when another request failed says nothing.
    @Test func onlyASuccessOfATrialClearsTheFailures() throws {
        let group = try peerGroup([peer(1), peer(2) { $0.maxFails = 2 }])
        var requests: [PeerID] = []
        for _ in 0..<6 {
            let peer = try #require(group.pickOnce(now: 1_000))
            if group.port(peer) == 2 { requests.append(peer) }
        }
        group.finish(requests[0], .failed, now: 2_000)
        group.finish(requests[1], .succeeded, now: 3_000)
        #expect(group.state(2)?.fails == 1)
        group.finish(requests[2], .notCounted, now: 3_000)
        #expect(group.state(2)?.fails == 1)
        #expect(group.state(2)?.active == 0)
    }

    @Test func maxFailsOfZeroNeverDisables() throws {
        let group = try peerGroup([peer(91) { $0.maxFails = 0 }, peer(1)])
        for _ in 0..<4 {
            #expect(group.ports { $0 >= 91 } == [91, 1])
            #expect(group.ports { $0 >= 91 } == [1])
        }
    }

    @Test func theOnlyPeerIsAlwaysTriedOnce() throws {
        let group = try peerGroup([peer(91)])
        for _ in 0..<5 { #expect(group.ports { $0 >= 91 } == [91]) }
        #expect(group.tries == 1)
        #expect(group.state(91)?.standing == .available)
        let limited = try peerGroup([peer(1) { $0.maxConnections = 1 }])
        let held = try #require(limited.pickOnce())
        #expect(limited.pickOnce() == nil)
        limited.finish(held, .succeeded, now: 0)
        #expect(limited.pickOnce() != nil)
        #expect(try peerGroup([peer(1) { $0.isDown = true }]).pickOnce() == nil)
        // With a backup it is not the only one.
        let backed = try peerGroup([peer(91), peer(1) { $0.isBackup = true }])
        #expect(backed.tries == 2)
        #expect(backed.ports { $0 >= 91 } == [91, 1])
        #expect(backed.ports { $0 >= 91 } == [1])
    }

    @Test func maxConnectionsAndNobodyLeft() throws {
        let group = try peerGroup([peer(1) { $0.maxConnections = 1 }, peer(2) { $0.maxConnections = 2 }])
        let held = (0..<3).compactMap { _ in group.pickOnce() }
        #expect(held.count == 3)
        #expect(group.pickOnce() == nil)
        #expect(group.state(2)?.standing == .full)
        group.finish(held[0], .succeeded, now: 0)
        #expect(group.pickOnce() == held[0])
        #expect(try peerGroup([]).pickOnce() == nil)
        #expect(try peerGroup([]).tries == 0)
    }

    @Test func eachPeerOnceForARequestAlsoInLargeGroups() throws {
        for method in [BalancingMethod.roundRobin, .leastConnections, .hash, .consistentHash, .random, .randomTwo] {
            let group = try peerGroup((0..<200).map { peer($0) }, method)
            var tried = PeerSet()
            var seen: Set<PeerID> = []
            while let peer = group.pick(&tried, key: [1], chance: 7) { #expect(seen.insert(peer).inserted) }
            #expect(seen.count == 200)
        }
    }

    @Test func leastConnectionsByWeight() throws {
        let group = try peerGroup([peer(1), peer(2, weight: 3)], .leastConnections)
        var counts = [1: 0, 2: 0]
        for _ in 0..<40 { counts[group.port(group.pickOnce()) ?? 0, default: 0] += 1 }
        #expect(counts == [1: 10, 2: 30])
    }

    @Test func extremeNumbersDoNotOverflow() throws {
        let peers = (1...3).map { port in
            peer(port, weight: PeerGroupError.maxWeight) {
                $0.maxFails = .max
                $0.failTimeout = .max
                $0.maxConnections = .max
                $0.slowStart = .max
            }
        }
        for method in [BalancingMethod.roundRobin, .leastConnections, .ewma, .ipHash] {
            let group = try peerGroup(peers, method)
            for now in [0, .max, 1, Int64.max / 2] {
                var tried = PeerSet()
                let peer = try #require(group.pick(&tried, key: [1, 2, 3, 4], now: now))
                group.finish(peer, .failed, answer: .gatewayFailure, latency: .max, now: now)
            }
            try group.replace(peers: peers + [peer(9) { $0.slowStart = 5 }], now: .max)
            #expect(group.states(now: .min).count == 4)
        }
    }

    @Test func whatCannotBeAGroup() throws {
        #expect(throws: PeerGroupError.self) { try peerGroup((0...4_096).map { peer($0) }) }
        #expect(throws: PeerGroupError.self) { try peerGroup([peer(1, weight: 0)]) }
        #expect(throws: PeerGroupError.self) { try peerGroup([peer(1, weight: 65_536)]) }
        #expect(throws: PeerGroupError.self) { try peerGroup([peer(1, weight: 16_385)], .consistentHash) }
        let group = try peerGroup([peer(1)])
        let error = #expect(throws: PeerGroupError.self) { try group.replace(peers: [peer(2, weight: -1)], now: 0) }
        #expect(error?.code == .weightOutOfRange)
        #expect(group.port(group.pickOnce()) == 1)
    }
}
