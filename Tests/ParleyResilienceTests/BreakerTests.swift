internal import ParleyCore
internal import Testing

@testable internal import ParleyResilience

/// A breaker that remembers everything and computes its state anew each time.
private struct BreakerModel {
    let policy: CircuitBreakerPolicy
    var state = BreakerState.closed
    var until = origin
    var openings = 0
    var closedAt: Moment?
    /// Since the last change of state: which bucket, and whether it failed.
    var log: [(bucket: Int, failed: Bool)] = []
    var firstCount: Moment?
    var newest = 0
    var probing = 0
    var proven = 0
    var period = 0

    mutating func admit(_ now: Moment) -> Int? {
        switch self.state {
        case .closed: return self.period
        case .isolated: return nil
        case .open:
            guard now >= self.until else { return nil }
            (self.state, self.probing, self.proven, self.period) = (.halfOpen, 1, 0, self.period + 1)
            return self.period
        case .halfOpen:
            guard self.probing + self.proven < self.policy.probes else { return nil }
            self.probing += 1
            return self.period
        }
    }

    mutating func record(_ health: InstanceHealth, _ permit: Int, _ now: Moment) {
        guard permit == self.period else { return }
        if self.state == .halfOpen {
            self.probing -= 1
            if health == .ill { self.open(now) }
            if health == .well {
                self.proven += 1
                if self.proven == self.policy.probes {
                    self.closedAt = now
                    self.change(.closed)
                }
            }
        } else if self.state == .closed, health == .ill || health == .well {
            let first = self.firstCount ?? now
            self.firstCount = first
            self.newest = max(self.newest, Int(first.duration(to: now).inMilliseconds) / 1_000)
            self.log.append((self.newest, health == .ill))
            let window = self.log.filter { $0.bucket > self.newest - 10 }
            let failed = window.filter(\.failed).count
            let row = self.log.reversed().prefix { $0.failed }.count
            let isTooMuch =
                window.count >= self.policy.minimumThroughput
                && failed * 100 >= window.count * self.policy.failurePercent
            if health == .ill, row >= self.policy.consecutiveFailures || isTooMuch { self.open(now) }
        }
    }

    mutating func open(_ now: Moment) {
        if let closedAt, closedAt.duration(to: now) >= self.policy.openTime.cap { self.openings = 0 }
        self.closedAt = nil
        self.openings += 1
        let time = min(self.policy.openTime.cap, self.policy.openTime.initial * (1 << min(self.openings - 1, 20)))
        self.until = now.advanced(by: time)
        self.change(.open)
    }

    mutating func change(_ state: BreakerState) {
        self.state = state
        self.period += 1
        self.log = []
    }
}

@Suite struct CircuitBreakerTests {
    private static let policy = CircuitBreakerPolicy(
        consecutiveFailures: 3,
        failurePercent: 50,
        minimumThroughput: 10,
        window: .seconds(10),
        openTime: Backoff(initial: .seconds(5), cap: .seconds(60), jitter: 0),
        probes: 2
    )

    private func fail(_ breaker: inout CircuitBreaker, _ count: Int, at now: Moment = origin) {
        for _ in 0..<count {
            guard case .admitted(let permit) = breaker.admit(at: now) else { return }
            _ = breaker.record(.ill, permit, at: now, chance: 0)
        }
    }

    @Test func failuresInARowOpenItAndTimeHalfOpensIt() {
        var breaker = CircuitBreaker(Self.policy)
        self.fail(&breaker, 2)
        #expect(breaker.state(at: origin) == .closed)
        self.fail(&breaker, 1)
        #expect(breaker.state(at: origin) == .open)
        #expect(breaker.admit(at: at(.seconds(4))) == .refused(until: at(.seconds(5))))
        #expect(breaker.state(at: at(.seconds(5))) == .halfOpen && breaker.allows(at: at(.seconds(5))))
    }

    @Test func asManyProbesAsAllowedAndAllMustSucceed() {
        var breaker = CircuitBreaker(Self.policy)
        self.fail(&breaker, 3)
        let later = at(.seconds(5))
        guard case .admitted(let first) = breaker.admit(at: later),
            case .admitted(let second) = breaker.admit(at: later)
        else {
            Issue.record("two probes are allowed")
            return
        }
        #expect(breaker.admit(at: later) == .refused(until: nil) && !breaker.allows(at: later))
        #expect(breaker.record(.well, first, at: later, chance: 0) == nil)
        #expect(!breaker.allows(at: later))
        #expect(breaker.record(.well, second, at: later, chance: 0) == .closed)
        #expect(breaker.state(at: later) == .closed)
    }

    @Test func aProbeWhoseCallerWentAwayMakesRoomForAnother() {
        var breaker = CircuitBreaker(Self.policy)
        self.fail(&breaker, 3)
        let later = at(.seconds(5))
        for _ in 0..<5 {
            guard case .admitted(let permit) = breaker.admit(at: later) else {
                Issue.record("the place of the last probe is free")
                return
            }
            #expect(breaker.record(.unknown, permit, at: later, chance: 0) == nil)
        }
        #expect(breaker.state(at: later) == .halfOpen)
    }

    @Test func eachOpeningInARowTakesLonger() {
        var breaker = CircuitBreaker(Self.policy)
        self.fail(&breaker, 3)
        var now = origin
        var times: [Duration] = []
        for _ in 0..<6 {
            guard let until = breaker.opensUntil else { break }
            times.append(now.duration(to: until))
            now = until
            self.fail(&breaker, 1, at: now)
        }
        #expect(times == [5, 10, 20, 40, 60, 60].map { .seconds($0) })
    }

    @Test func anOutcomeFromBeforeTheOpeningSaysNothingAboutTheRecovery() {
        var breaker = CircuitBreaker(Self.policy)
        guard case .admitted(let old) = breaker.admit(at: origin) else { return }
        self.fail(&breaker, 3)
        let later = at(.seconds(5))
        _ = breaker.admit(at: later)
        #expect(breaker.record(.ill, old, at: later, chance: 0) == nil)
        #expect(breaker.state(at: later) == .halfOpen)
    }

    @Test func isolatedMeansUntilReleased() {
        var breaker = CircuitBreaker(Self.policy)
        breaker.isolate()
        #expect(breaker.admit(at: at(.seconds(1_000_000))) == .refused(until: nil))
        breaker.release()
        #expect(breaker.state(at: origin) == .closed && breaker.allows(at: origin))
        self.fail(&breaker, 3)
        breaker.release()
        #expect(breaker.state(at: origin) == .open)
    }

    @Test func aJumpOfAnHourAheadEmptiesTheWindowAndOneBackKeepsItOpen() {
        var breaker = CircuitBreaker(Self.policy)
        self.fail(&breaker, 2)
        guard case .admitted(let permit) = breaker.admit(at: origin) else { return }
        _ = breaker.record(.well, permit, at: at(.seconds(3_600)), chance: 0)
        self.fail(&breaker, 2, at: at(.seconds(3_600)))
        #expect(breaker.state(at: origin) == .closed)
        self.fail(&breaker, 1, at: at(.seconds(3_600)))
        #expect(breaker.state(at: origin) == .open)
    }

    @Test(arguments: 1...60 as ClosedRange<UInt64>) func asTheModelHasIt(seed: UInt64) {
        let lots = Lots(seed)
        let policy = CircuitBreakerPolicy(
            consecutiveFailures: 2 + lots.below(6),
            failurePercent: 20 + lots.below(80),
            minimumThroughput: 1 + lots.below(20),
            window: .seconds(10),
            openTime: Backoff(initial: .seconds(1), cap: .seconds(20), jitter: 0),
            probes: 1 + lots.below(3)
        )
        var breaker = CircuitBreaker(policy)
        var model = BreakerModel(policy: policy)
        var underWay: [(CircuitBreaker.Permit, Int)] = []
        var now = origin
        let sick = 10 + lots.below(80)
        for step in 0..<600 {
            let jump = lots.happens(1) ? 3_600_000 : lots.happens(3) ? -2_000 : lots.below(400)
            now = now.advanced(by: .milliseconds(jump))
            if lots.happens(1) {
                breaker.isolate()
                model.change(.isolated)
            } else if model.state == .isolated, lots.happens(20) {
                breaker.release()
                (model.openings, model.closedAt) = (0, nil)
                model.change(.closed)
            } else if lots.happens(55) || underWay.isEmpty {
                let expected = model.admit(now)
                #expect(breaker.allows(at: now) == (expected != nil), "seed \(seed), step \(step)")
                if case .admitted(let permit) = breaker.admit(at: now), let expected {
                    underWay.append((permit, expected))
                } else {
                    #expect(expected == nil, "seed \(seed), step \(step)")
                }
            } else {
                let (permit, expected) = underWay.remove(at: lots.below(underWay.count))
                let health: InstanceHealth =
                    lots.happens(5) ? .unknown : lots.happens(sick) ? .ill : .well
                let before = model.state
                model.record(health, expected, now)
                let change = breaker.record(health, permit, at: now, chance: lots.unit())
                #expect(change == (model.state == before ? nil : model.state), "seed \(seed), step \(step)")
            }
            let expected = model.state == .open && now >= model.until ? .halfOpen : model.state
            guard breaker.state(at: now) == expected else {
                Issue.record("seed \(seed), step \(step): \(breaker.state(at: now)) instead of \(expected)")
                return
            }
            if model.state == .open { #expect(breaker.opensUntil == model.until, "seed \(seed), step \(step)") }
        }
    }

    @Test func strangePoliciesAreBroughtIntoRange() {
        for number in strangeNumbers {
            for duration in strangeDurations {
                var breaker = CircuitBreaker(
                    CircuitBreakerPolicy(
                        consecutiveFailures: number,
                        failurePercent: number,
                        minimumThroughput: number,
                        window: duration,
                        openTime: Backoff(initial: duration, factor: .infinity, cap: duration, jitter: .nan),
                        probes: number
                    )
                )
                self.fail(&breaker, 30)
                self.fail(&breaker, 30, at: at(.seconds(-10)))
                self.fail(&breaker, 30, at: at(.seconds(1_000_000_000)))
                _ = breaker.state(at: origin)
            }
        }
        var never = CircuitBreaker(.never)
        self.fail(&never, 1_000)
        #expect(never.state(at: origin) == .closed)
    }
}
