internal import ParleyCore
internal import Testing

@testable internal import ParleyResilience

@Suite struct LoadBalancerTests {
    static let kinds: [LoadBalancing] = [.roundRobin, .leastConnections, .peakEWMA(), .consistentHash()]

    private func balancer(_ kind: LoadBalancing, weights: [Int]) -> LoadBalancer {
        var balancer = LoadBalancer(kind)
        balancer.rearrange(
            weights.enumerated().map { ("i-\($0)", $1) },
            from: [Int?](repeating: nil, count: weights.count)
        )
        return balancer
    }

    @Test func smoothWeightedRoundRobinMixesAsNginxDoes() {
        var balancer = self.balancer(.roundRobin, weights: [5, 1, 1])
        let picks = (0..<14).map { _ in balancer.pick(at: origin, chance: 0, key: nil, accepts: { _ in true }) }
        #expect(picks == [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0])
    }

    @Test func leastConnectionsByWeightAndInTurnAmongEquals() {
        var balancer = self.balancer(.leastConnections, weights: [2, 1])
        var picks: [Int] = []
        for _ in 0..<6 {
            guard let place = balancer.pick(at: origin, chance: 0, key: nil, accepts: { _ in true }) else { return }
            balancer.begin(place)
            picks.append(place)
        }
        #expect(picks.filter { $0 == 0 }.count == 4)
        #expect(balancer.inFlight(at: 0) == 4 && balancer.inFlight(at: 1) == 2)
        var idle = self.balancer(.leastConnections, weights: [1, 1, 1])
        let turns = (0..<6).map { _ in idle.pick(at: origin, chance: 0, key: nil, accepts: { _ in true }) }
        #expect(turns == [0, 1, 2, 0, 1, 2])
    }

    @Test func theFasterOfTwoIsTakenAndASlowOneIsTriedAgainInTime() {
        var balancer = self.balancer(.peakEWMA(decay: .seconds(1)), weights: [1, 1])
        for (place, took) in [(0, 500), (1, 10)] {
            balancer.begin(place)
            balancer.end(place, took: .milliseconds(took), health: .well, at: origin)
        }
        let lots = Lots(1)
        let now = (0..<50).map { _ in balancer.pick(at: origin, chance: lots.bits(), key: nil, accepts: { _ in true }) }
        #expect(now.allSatisfy { $0 == 1 })
        // Only the fast one is asked meanwhile.
        for second in 1...100 {
            balancer.begin(1)
            balancer.end(1, took: .milliseconds(10), health: .well, at: at(.seconds(second)))
        }
        #expect(balancer.pick(at: at(.seconds(100)), chance: lots.bits(), key: nil, accepts: { _ in true }) == 0)
    }

    @Test func aPeakCountsAtOnceAndAQuickFailureIsNoProgress() {
        var balancer = self.balancer(.peakEWMA(), weights: [1])
        balancer.begin(0)
        balancer.end(0, took: .milliseconds(10), health: .well, at: origin)
        balancer.end(0, took: .milliseconds(400), health: .well, at: origin)
        #expect(balancer.latency(at: 0) == 400_000)
        balancer.end(0, took: .milliseconds(1), health: .ill, at: at(.seconds(100)))
        #expect(balancer.latency(at: 0) == 400_000)
        balancer.end(0, took: .milliseconds(1), health: .well, at: at(.seconds(110)))
        #expect(balancer.latency(at: 0) == 200_500)
        #expect(balancer.inFlight(at: 0) == 0)
    }

    /// A hundred thousand draws of two among three: the one with the calls under way gets few.
    @Test func loadCountsWithTheLatency() {
        var balancer = self.balancer(.peakEWMA(), weights: [1, 1, 1])
        for place in 0..<3 { balancer.end(place, took: .milliseconds(10), health: .well, at: origin) }
        for _ in 0..<10 { balancer.begin(0) }
        let lots = Lots(3)
        var counts = [0, 0, 0]
        for _ in 0..<10_000 {
            guard let place = balancer.pick(at: origin, chance: lots.bits(), key: nil, accepts: { _ in true }) else {
                return
            }
            counts[place] += 1
        }
        #expect(counts[0] == 0 && counts[1] > 4_000 && counts[2] > 4_000)
    }

    @Test func aKeyStaysWhereItIsWhenOthersComeAndGo() {
        var balancer = self.balancer(.consistentHash(), weights: [1, 1, 1, 1])
        let keys = (0..<1_000).map { StableHash.of("user-\($0)") }
        func places() -> [Int?] {
            keys.map { balancer.pick(at: origin, chance: 0, key: $0, accepts: { _ in true }) }
        }
        let before = places()
        var counts = [0, 0, 0, 0]
        for place in before.compactMap(\.self) { counts[place] += 1 }
        #expect(counts.allSatisfy { (150...350).contains($0) }, "\(counts)")
        balancer.rearrange((0..<5).map { ("i-\($0)", 1) }, from: [0, 1, 2, 3, nil])
        let after = places()
        let moved = zip(before, after).filter { $0 != $1 }
        #expect(moved.allSatisfy { $0.1 == 4 } && (100...320).contains(moved.count), "\(moved.count)")
    }

    @Test func noInstanceIsAskedForMoreThanItsShareAndABit() {
        var balancer = self.balancer(.consistentHash(boundPercent: 125), weights: [1, 1, 1, 1])
        let key = StableHash.of("the one that everybody wants")
        var counts = [0, 0, 0, 0]
        for _ in 0..<100 {
            guard let place = balancer.pick(at: origin, chance: 0, key: key, accepts: { _ in true }) else { return }
            balancer.begin(place)
            counts[place] += 1
        }
        #expect(counts.max().map { $0 <= 32 } == true && counts.reduce(0, +) == 100, "\(counts)")
    }

    /// Only what is acceptable, always something if there is any, and no drift of what is under way.
    @Test(arguments: Self.kinds, 1...12 as ClosedRange<UInt64>)
    func picksWhatIsAcceptableWhileInstancesComeAndGo(_ kind: LoadBalancing, seed: UInt64) {
        let lots = Lots(seed)
        var balancer = LoadBalancer(kind)
        var names: [Int] = []
        var nextName = 0
        var underWay: [Int] = []
        var now = origin
        for step in 0..<1_500 {
            now = now.advanced(by: .milliseconds(lots.happens(1) ? 3_600_000 : lots.happens(3) ? -100 : lots.below(20)))
            if step == 0 || lots.happens(3) {
                var origins: [Int?] = names.indices.filter { _ in lots.happens(80) }
                let kept = origins.compactMap { $0.map { names[$0] } }
                let new = (0..<lots.below(5)).map { _ in
                    nextName += 1
                    return nextName
                }
                origins += new.map { _ in nil }
                names = kept + new
                balancer.rearrange(names.map { ("n-\($0)", $0 % 7) }, from: origins)
                underWay.removeAll { !names.contains($0) }
            } else if lots.happens(60) {
                let allowed = Set(names.indices.filter { _ in lots.happens(70) })
                let key = lots.happens(50) ? lots.bits() : nil
                let place = balancer.pick(at: now, chance: lots.bits(), key: key, accepts: { allowed.contains($0) })
                #expect((place == nil) == allowed.isEmpty, "seed \(seed), step \(step)")
                guard let place else { continue }
                #expect(allowed.contains(place), "seed \(seed), step \(step)")
                balancer.begin(place)
                underWay.append(names[place])
            } else if !underWay.isEmpty {
                let name = underWay.remove(at: lots.below(underWay.count))
                guard let place = names.firstIndex(of: name) else { continue }
                let health = lots.one(of: [InstanceHealth.well, .ill, .unknown])
                balancer.end(place, took: .milliseconds(lots.below(50)), health: health, at: now)
            }
            for (place, name) in names.enumerated() {
                let count = underWay.filter { $0 == name }.count
                #expect(balancer.inFlight(at: place) == count, "seed \(seed), step \(step)")
            }
        }
    }

    @Test(arguments: Self.kinds) func aHundredThousandInstances(_ kind: LoadBalancing) {
        var balancer = self.balancer(kind, weights: [Int](repeating: 1, count: 100_000))
        let lots = Lots(1)
        for _ in 0..<20 {
            let place = balancer.pick(at: origin, chance: lots.bits(), key: lots.bits(), accepts: { $0 % 2 == 1 })
            #expect(place.map { $0 % 2 == 1 } == true)
            if let place { balancer.begin(place) }
        }
        // All but one are taken out.
        let last = balancer.pick(at: origin, chance: lots.bits(), key: lots.bits(), accepts: { $0 == 77_777 })
        #expect(last == 77_777)
    }

    @Test func strangeParametersAreBroughtIntoRange() {
        for number in strangeNumbers {
            for kind in strangeDurations.map({ LoadBalancing.peakEWMA(decay: $0) })
                + [.consistentHash(boundPercent: number), .roundRobin, .leastConnections]
            {
                var balancer = self.balancer(kind, weights: [number, number, 1])
                for _ in 0..<50 {
                    let place = balancer.pick(at: origin, chance: 1, key: 1, accepts: { _ in true })
                    #expect(place != nil)
                    if let place { balancer.begin(place) }
                }
                balancer.end(0, took: .seconds(Int64.max), health: .well, at: at(.seconds(-1)))
                balancer.end(0, took: .seconds(-1), health: .well, at: at(.seconds(1_000_000)))
                #expect(balancer.pick(at: origin, chance: .max, key: .max, accepts: { _ in true }) != nil)
                #expect(balancer.pick(at: origin, chance: .max, key: nil, accepts: { _ in false }) == nil)
            }
        }
        var empty = LoadBalancer(.consistentHash())
        #expect(empty.pick(at: origin, chance: 1, key: nil, accepts: { _ in true }) == nil)
        empty.rearrange([], from: [])
        #expect(empty.pick(at: origin, chance: 1, key: nil, accepts: { _ in true }) == nil)
    }
}
