internal import ParleyCore
internal import Testing

@testable internal import ParleyResilience

@Suite struct InstancePoolTests {
    private func policy(_ change: (inout ResiliencePolicy) -> Void = { _ in }) -> ResiliencePolicy {
        var policy = ResiliencePolicy()
        policy.breaker = CircuitBreakerPolicy(
            consecutiveFailures: 2,
            failurePercent: 0,
            openTime: Backoff(initial: .seconds(5), cap: .seconds(60), jitter: 0)
        )
        policy.outliers = nil
        policy.identity.quarantine = Backoff(initial: .seconds(10), cap: .seconds(300), jitter: 0)
        change(&policy)
        return policy
    }

    private func pool(_ count: Int, _ change: (inout ResiliencePolicy) -> Void = { _ in }) -> InstancePool {
        var pool = InstancePool(self.policy(change))
        pool.update((1...count).map { target($0) })
        return pool
    }

    private func pick(
        _ pool: inout InstancePool,
        avoiding tried: [UInt64] = [],
        at now: Duration = .zero
    ) -> InstancePool.Ticket? {
        guard case .picked(let ticket) = pool.pick(avoiding: tried, key: nil, at: at(now), chance: 1) else {
            return nil
        }
        return ticket
    }

    /// Asks until the instance has been asked so often, with one outcome for it and success for all others.
    private func drive(
        _ pool: inout InstancePool,
        _ id: String,
        _ health: InstanceHealth,
        _ count: Int,
        at now: Duration = .zero
    ) -> [PoolChange] {
        var changes: [PoolChange] = []
        var left = count
        while left > 0, let ticket = self.pick(&pool, at: now) {
            let isIt = ticket.target.id == id
            changes += pool.end(ticket, isIt ? health : .well, at: at(now), chance: 0)
            if isIt { left -= 1 }
        }
        return changes
    }

    private func names(_ pool: inout InstancePool, at now: Duration = .zero) -> Set<String> {
        var names: Set<String> = []
        for _ in 0..<10 {
            guard let ticket = self.pick(&pool, at: now) else { continue }
            names.insert(ticket.target.id)
            _ = pool.end(ticket, .unknown, at: at(now), chance: 0)
        }
        return names
    }

    @Test func anOpenBreakerTakesItsInstanceOutUntilAProbeSucceeds() {
        var pool = self.pool(2)
        #expect(self.drive(&pool, "i-1", .ill, 2) == [PoolChange(instance: "i-1", now: .open)])
        #expect(self.names(&pool) == ["i-2"])
        #expect(self.names(&pool, at: .seconds(5)) == ["i-1", "i-2"])
        #expect(self.drive(&pool, "i-1", .well, 1, at: .seconds(5)) == [PoolChange(instance: "i-1", now: .available)])
    }

    @Test func whenAllAreOpenItSaysWhenToComeBack() {
        var pool = self.pool(2)
        _ = self.drive(&pool, "i-1", .ill, 2)
        _ = self.drive(&pool, "i-2", .ill, 2, at: .seconds(1))
        guard case .unavailable(let until) = pool.pick(avoiding: [], key: nil, at: at(.seconds(2)), chance: 1) else {
            Issue.record("nobody may be called")
            return
        }
        #expect(until == at(.seconds(5)))
        #expect(pool.considered(at: at(.seconds(2))).map(\.standing) == [.open, .open])
        // The first is being tried: when that ends, nobody knows; the second comes back by itself.
        #expect(self.pick(&pool, at: .seconds(5))?.target.id == "i-1")
        guard case .unavailable(let next) = pool.pick(avoiding: [], key: nil, at: at(.seconds(5)), chance: 1) else {
            Issue.record("the one that may be called is being tried")
            return
        }
        #expect(next == at(.seconds(6)))
    }

    @Test func belowThePanicThresholdEverybodyIsCalled() {
        var pool = self.pool(3) { $0.panicPercent = 50 }
        _ = self.drive(&pool, "i-1", .ill, 2)
        #expect(self.names(&pool) == ["i-2", "i-3"])
        _ = self.drive(&pool, "i-2", .ill, 2)
        #expect(self.names(&pool) == ["i-1", "i-2", "i-3"])
        #expect(pool.isolate("i-1") == true)
        #expect(self.names(&pool) == ["i-2", "i-3"])
    }

    @Test func theTriedIsAvoidedWhileAnotherIsLeft() {
        var pool = self.pool(2)
        guard let first = self.pick(&pool) else { return }
        _ = pool.end(first, .ill, at: origin, chance: 0)
        for _ in 0..<5 {
            guard let other = self.pick(&pool, avoiding: [first.serial]) else { return }
            #expect(other.target.id != first.target.id)
            _ = pool.end(other, .well, at: origin, chance: 0)
        }
        pool.update([first.target])
        #expect(self.pick(&pool, avoiding: [first.serial])?.target.id == first.target.id)
    }

    @Test func anEjectedInstanceIsStillCalledWhenNobodyElseIsLeft() {
        var pool = self.pool(2) {
            $0.breaker = nil
            $0.outliers = OutlierPolicy(consecutiveFailures: 2)
        }
        #expect(self.drive(&pool, "i-1", .ill, 2) == [PoolChange(instance: "i-1", now: .ejected)])
        #expect(self.names(&pool) == ["i-2"])
        #expect(pool.isolate("i-2") == true)
        #expect(self.names(&pool) == ["i-1"])
    }

    @Test func aForeignAnswerQuarantinesForAGrowingTimeOrUntilTheAddressChanges() {
        var pool = self.pool(2)
        #expect(self.drive(&pool, "i-1", .foreign, 1) == [PoolChange(instance: "i-1", now: .quarantined)])
        #expect(self.names(&pool, at: .seconds(9)) == ["i-2"])
        // A second time, for twice as long.
        _ = self.drive(&pool, "i-1", .foreign, 1, at: .seconds(10))
        #expect(self.names(&pool, at: .seconds(29)) == ["i-2"])
        #expect(self.names(&pool, at: .seconds(30)) == ["i-1", "i-2"])
        _ = self.drive(&pool, "i-1", .foreign, 1, at: .seconds(30))
        #expect(self.names(&pool, at: .seconds(31)) == ["i-2"])
        var moved = target(1)
        moved.endpoint.port = 99
        pool.update([moved, target(2)])
        #expect(self.names(&pool, at: .seconds(31)) == ["i-1", "i-2"])
    }

    @Test func whatIsKnownStaysWithTheInstanceWhereverItStandsInTheList() {
        var pool = self.pool(3)
        _ = self.drive(&pool, "i-3", .ill, 2)
        guard let underWay = self.pick(&pool) else { return }
        pool.update([target(3, weight: 5), underWay.target, target(9)])
        #expect(pool.considered(at: origin).map(\.standing) == [.open, .available, .available])
        #expect(pool.snapshot(at: origin).map(\.inFlight) == [0, 1, 0])
        #expect(pool.end(underWay, .well, at: origin, chance: 0).isEmpty)
        #expect(pool.snapshot(at: origin).map(\.inFlight) == [0, 0, 0])
        // Gone and back: a new one.
        pool.update([target(9)])
        pool.update([target(3), target(9)])
        #expect(pool.considered(at: origin).map(\.standing) == [.available, .available])
    }

    @Test func theOutcomeOfAnInstanceThatIsGoneHarmsNobody() {
        var pool = self.pool(1) { $0.breaker?.consecutiveFailures = 1 }
        guard let old = self.pick(&pool) else { return }
        var moved = target(1)
        moved.endpoint.port = 99
        pool.update([moved])
        #expect(pool.end(old, .ill, at: origin, chance: 0).isEmpty)
        #expect(pool.considered(at: origin).map(\.standing) == [.available])
        pool.update([])
        #expect(pool.end(old, .ill, at: origin, chance: 0).isEmpty)
        guard case .nobody = pool.pick(avoiding: [], key: nil, at: origin, chance: 1) else {
            Issue.record("there is nobody")
            return
        }
    }

    @Test func isolationOutlastsComingAndGoing() {
        var pool = self.pool(2)
        #expect(pool.isolate("i-1") && pool.isolate("i-7"))
        #expect(self.names(&pool) == ["i-2"])
        pool.update([target(2)])
        pool.update([target(1), target(2), target(7)])
        #expect(self.names(&pool) == ["i-2"])
        #expect(pool.release("i-1") && !pool.release("i-1") && pool.release("i-7"))
        #expect(self.names(&pool) == ["i-1", "i-2", "i-7"])
    }

    @Test func soManyCanBeIsolatedAndNoMore() {
        var pool = self.pool(1)
        for number in 0..<InstancePool.maxIsolated { #expect(pool.isolate("x-\(number)") == true) }
        #expect(!pool.isolate("one more") && pool.isolate("x-1"))
    }

    @Test func anIdThatComesTwiceCountsOnce() {
        var pool = InstancePool(self.policy())
        pool.update([target(1), target(1), target(2)])
        #expect(pool.count == 2)
    }

    @Test func aHundredThousandInstances() {
        var pool = self.pool(100_000) {
            $0.balancing = .peakEWMA()
            $0.outliers = OutlierPolicy()
        }
        for step in 0..<1_000 {
            guard case .picked(let ticket) = pool.pick(avoiding: [], key: nil, at: origin, chance: UInt64(step) &* 77)
            else {
                Issue.record("there are many")
                return
            }
            _ = pool.end(ticket, step % 3 == 0 ? .ill : .well, at: origin, chance: 0)
        }
        #expect(pool.considered(at: origin).count == InstancePool.maxConsidered)
        pool.update((50_000...100_000).map { target($0) })
        #expect(pool.count == 50_001)
    }

    /// Random life of a pool: whoever is picked may be called, and what is under way is what was begun and not ended.
    @Test(arguments: 1...30 as ClosedRange<UInt64>) func neverCallsWhoMayNotBeCalled(seed: UInt64) {
        let lots = Lots(seed)
        var pool = InstancePool(
            self.policy {
                $0.outliers = lots.happens(50) ? OutlierPolicy(consecutiveFailures: 2) : nil
                $0.balancing = lots.one(of: LoadBalancerTests.kinds)
            }
        )
        var underWay: [InstancePool.Ticket] = []
        var now = Duration.zero
        for step in 0..<1_000 {
            now += .milliseconds(lots.happens(1) ? 3_600_000 : lots.below(500))
            switch lots.below(20) {
            case 0: pool.update((1...6).filter { _ in lots.happens(70) }.map { target($0) })
            case 1: _ = pool.isolate("i-\(lots.below(7))")
            case 2, 3: _ = pool.release("i-\(lots.below(7))")
            case 4...12:
                let standings = pool.snapshot(at: at(now))
                switch pool.pick(avoiding: [], key: nil, at: at(now), chance: lots.bits()) {
                case .picked(let ticket):
                    let standing = standings.first { $0.id == ticket.target.id }?.standing
                    #expect(standing == .available || standing == .ejected, "seed \(seed), step \(step)")
                    if standing == .ejected {
                        #expect(!standings.contains { $0.standing == .available }, "seed \(seed), step \(step)")
                    }
                    underWay.append(ticket)
                case .nobody: #expect(standings.isEmpty, "seed \(seed), step \(step)")
                case .unavailable:
                    #expect(
                        !standings.isEmpty && !standings.contains { [.available, .ejected].contains($0.standing) },
                        "seed \(seed), step \(step)"
                    )
                }
            default:
                guard !underWay.isEmpty else { continue }
                let ticket = underWay.remove(at: lots.below(underWay.count))
                let health = lots.one(of: [InstanceHealth.well, .ill, .ill, .unknown, .foreign])
                _ = pool.end(ticket, health, at: at(now), chance: lots.unit())
            }
            for instance in pool.snapshot(at: at(now)) {
                let count = underWay.count { ticket in
                    pool.members.contains { $0.serial == ticket.serial && $0.target.id == instance.id }
                }
                #expect(instance.inFlight == count, "seed \(seed), step \(step)")
            }
        }
    }
}
