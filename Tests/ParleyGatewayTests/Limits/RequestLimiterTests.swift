internal import Testing

@testable internal import ParleyGateway

@Suite struct RequestLimiterTests {
    private func zone(_ rate: Int, name: String = "zone", bytes: Int = 1_048_576) throws -> RequestZone {
        try RequestZone(name: name, bytes: bytes, rate: rate)
    }

    private func limiter(
        _ rate: Int,
        burst: Int = 0,
        delay: RequestLimitUse.Delay = .all,
        isDryRun: Bool = false
    ) throws -> RequestLimiter {
        try RequestLimiter([.init(zone: try self.zone(rate), burst: burst, delay: delay)], isDryRun: isDryRun)
    }

    private func outcome(_ limiter: RequestLimiter, _ key: String = "a", at now: Int64) -> RequestVerdict.Outcome {
        limiter.check(now: now) { _ in limitKey(key) }.outcome
    }

    /// 200r/m is 3,333 thousandths a second: 300 ms drain 999 of them, one too few; 301 ms drain 1,003. As nginx counts.
    @Test func twoHundredAMinuteWithABurstOfFifty() throws {
        let limiter = try self.limiter(3_333, burst: 50, delay: .none)
        for _ in 0..<51 { #expect(self.outcome(limiter, at: 1_000) == .passed) }
        for _ in 0..<20 { #expect(self.outcome(limiter, at: 1_000) == .rejected) }
        #expect(self.outcome(limiter, at: 1_300) == .rejected)
        #expect(self.outcome(limiter, at: 1_301) == .passed)
        #expect(self.outcome(limiter, at: 1_301) == .rejected)
        // Asked each millisecond for a minute: 200 more, because refused requests cost nothing.
        var passed = 0
        for now in 1_302...61_301 where self.outcome(limiter, at: Int64(now)) == .passed { passed += 1 }
        #expect((199...200).contains(passed))
        // The other clients are not concerned.
        #expect(self.outcome(limiter, "b", at: 1_000) == .passed)
    }

    @Test func withoutABurstOneFitsInItsTime() throws {
        let limiter = try self.limiter(10_000)
        #expect(self.outcome(limiter, at: 0) == .passed)
        #expect(self.outcome(limiter, at: 99) == .rejected)
        #expect(self.outcome(limiter, at: 100) == .passed)
        #expect(self.outcome(limiter, at: 199) == .rejected)
        #expect(self.outcome(limiter, at: 200) == .passed)
    }

    @Test func whatIsAheadOfTheRateWaits() throws {
        let limiter = try self.limiter(2_000, burst: 3)
        let outcomes = (0..<5).map { _ in self.outcome(limiter, at: 0) }
        let expected: [RequestVerdict.Outcome] = [
            .passed, .delayed(milliseconds: 500), .delayed(milliseconds: 1_000), .delayed(milliseconds: 1_500),
            .rejected,
        ]
        #expect(outcomes == expected)
        #expect(self.outcome(limiter, at: 250) == .rejected)
        #expect(self.outcome(limiter, at: 500) == .delayed(milliseconds: 1_500))
    }

    @Test func onlyWhatIsAboveTheDelayWaits() throws {
        let limiter = try self.limiter(1_000, burst: 4, delay: .above(2))
        let outcomes = (0..<6).map { _ in self.outcome(limiter, at: 0) }
        let expected: [RequestVerdict.Outcome] = [
            .passed, .passed, .passed, .delayed(milliseconds: 1_000), .delayed(milliseconds: 2_000), .rejected,
        ]
        #expect(outcomes == expected)
    }

    @Test func theVerdictSaysWhichLimitAndHowFar() throws {
        let limits: [RequestLimiter.Limit] = [
            .init(zone: try self.zone(1_000, name: "slow"), burst: 5, delay: .all),
            .init(zone: try self.zone(100_000, name: "fast"), burst: 5, delay: .all),
        ]
        let limiter = try RequestLimiter(limits)
        #expect(limiter.check(now: 0) { _ in limitKey("a") }.outcome == .passed)
        let second = limiter.check(now: 0) { _ in limitKey("a") }
        #expect(
            second
                == RequestVerdict(outcome: .delayed(milliseconds: 1_000), limit: 0, excess: 1_000, isDryRun: false)
        )
        for _ in 0..<4 { _ = limiter.check(now: 0) { _ in limitKey("a") } }
        let last = limiter.check(now: 0) { _ in limitKey("a") }
        #expect(last == RequestVerdict(outcome: .rejected, limit: 0, excess: 6_000, isDryRun: false))
    }

    @Test func aRefusalByOneLimitCostsNothingInTheOthers() throws {
        let wide = try self.zone(1_000, name: "wide")
        let narrow = try self.zone(1_000, name: "narrow")
        let both = try RequestLimiter([.init(zone: wide, burst: 1, delay: .none), .init(zone: narrow)])
        let key: (Int) -> LimitKey = { $0 == 0 ? limitKey("a") : limitKey("b") }
        #expect(both.check(now: 0, key: key).outcome == .passed)
        for _ in 0..<10 { #expect(both.check(now: 0, key: key).limit == 1) }
        // Of the burst of the first nothing has been taken.
        let alone = try RequestLimiter([.init(zone: wide, burst: 1, delay: .none)])
        #expect(alone.check(now: 0, key: key).outcome == .passed)
        #expect(alone.check(now: 0, key: key).outcome == .rejected)
    }

    @Test func anEmptyKeyAndOneTooLongAreNotLimited() throws {
        let limiter = try self.limiter(1_000)
        let long = limitKey(Array(repeating: 7, count: 65_536))
        let longest = limitKey(Array(repeating: 7, count: 65_535))
        for _ in 0..<3 {
            for key in [LimitKey.none, limitKey([] as [UInt8]), long] {
                let verdict = limiter.check(now: 0) { _ in key }
                #expect(verdict.outcome == .passed)
                #expect(verdict.limit == nil)
            }
        }
        #expect(limiter.check(now: 0) { _ in longest }.outcome == .passed)
        #expect(limiter.check(now: 0) { _ in longest }.outcome == .rejected)
    }

    /// The last limit has no key for the request: those before it count all the same.
    @Test func anEmptyLastKeyLeavesTheOthers() throws {
        let limits: [RequestLimiter.Limit] = [.init(zone: try self.zone(1_000)), .init(zone: try self.zone(1_000))]
        let limiter = try RequestLimiter(limits)
        let key: (Int) -> LimitKey = { $0 == 0 ? limitKey("a") : .none }
        #expect(limiter.check(now: 0, key: key).outcome == .passed)
        #expect(limiter.check(now: 0, key: key).outcome == .rejected)
    }

    /// The clock set back a little is no time at all; set back by more than a minute, the state follows it.
    @Test func theClockMayStep() throws {
        let limiter = try self.limiter(1_000)
        #expect(self.outcome(limiter, at: 100_000) == .passed)
        #expect(self.outcome(limiter, at: 40_000) == .rejected)
        #expect(self.outcome(limiter, at: 39_999) == .rejected)
        #expect(self.outcome(limiter, at: 100_999) == .rejected)
        #expect(self.outcome(limiter, at: 101_000) == .passed)
        let follower = try self.limiter(1_000, burst: 2, delay: .none)
        #expect(self.outcome(follower, at: 100_000) == .passed)
        #expect(self.outcome(follower, at: 39_999) == .passed)
        #expect(self.outcome(follower, at: 40_999) == .passed)
        #expect(self.outcome(follower, at: .max) == .passed)
        #expect(self.outcome(follower, at: .min) == .passed)
    }

    @Test func aDryRunCountsAndSaysSo() throws {
        let limiter = try self.limiter(1_000, burst: 1, isDryRun: true)
        let verdicts = (0..<3).map { _ in limiter.check(now: 0) { _ in limitKey("a") } }
        #expect(verdicts.map(\.outcome) == [.passed, .delayed(milliseconds: 1_000), .rejected])
        #expect(verdicts.allSatisfy { $0.isDryRun })
    }

    @Test func aReloadKeepsTheStateAndChangesTheRate() throws {
        let zone = try self.zone(1_000)
        let limiter = try RequestLimiter([.init(zone: zone)])
        #expect(self.outcome(limiter, at: 0) == .passed)
        zone.change(rate: 10_000)
        #expect(self.outcome(limiter, at: 99) == .rejected)
        #expect(self.outcome(limiter, at: 100) == .passed)
    }

    @Test func anEnormousBurstAndRateDoNotOverflow() throws {
        let limiter = try self.limiter(.max, burst: .max, delay: .above(.max))
        #expect(self.outcome(limiter, at: 0) == .passed)
        #expect(self.outcome(limiter, at: .max) == .passed)
        let slow = try self.limiter(0, burst: .max)
        #expect(self.outcome(slow, at: 0) == .passed)
        #expect(self.outcome(slow, at: 0) == .delayed(milliseconds: 1_000_000))
    }

    @Test func aZoneHoldsAboutWhatNginxSays() throws {
        #expect(try self.zone(1, bytes: 10 * 1_048_576).usage.capacity == 81_440)
        #expect(try self.zone(1, bytes: 1_048_576).usage.capacity == 8_128)
        #expect(throws: LimitError.self) { try self.zone(1, bytes: 32_767) }
        let many = try (0..<9).map { _ in RequestLimiter.Limit(zone: try self.zone(1)) }
        #expect(throws: LimitError.self) { try RequestLimiter(many) }
        let eight = try RequestLimiter(Array(many.dropLast()))
        #expect(eight.check(now: 0) { limitKey("\($0)") }.limit == 7)
    }

    /// A full zone gives up the key used longest ago; one that a check still holds stays.
    @Test func aFullZoneGivesUpTheOldest() {
        var state = RequestZoneState(capacity: 2, rate: 1_000)
        #expect(state.reserve(limitKey("pinned"), burst: 0, now: 0) == .within(slot: 0))
        #expect(state.charge(limitKey("a"), burst: 0, now: 0) == .within(excess: 0, rate: 1_000))
        #expect(state.charge(limitKey("b"), burst: 0, now: 0) == .noRoom)
        #expect(state.usage.overflowed == 1)
        #expect(state.settle(0, now: 0) == 0)
        #expect(state.charge(limitKey("b"), burst: 0, now: 0) == .within(excess: 0, rate: 1_000))
        #expect(state.usage.forced == 1)
        #expect(state.charge(limitKey("a"), burst: 0, now: 0) == .exceeded(excess: 1_000))
        #expect(state.charge(limitKey("pinned"), burst: 0, now: 0) == .within(excess: 0, rate: 1_000))
        #expect(state.usage == ZoneUsage(keys: 2, capacity: 2, forced: 2, overflowed: 1))
    }

    @Test func twoIdleKeysGoForEachNewOne() {
        var state = RequestZoneState(capacity: 100, rate: 1_000)
        for number in 0..<10 { _ = state.charge(limitKey("\(number)"), burst: 0, now: 0) }
        _ = state.charge(limitKey("x"), burst: 0, now: 59_999)
        #expect(state.usage.keys == 11)
        _ = state.charge(limitKey("y"), burst: 0, now: 60_000)
        #expect(state.usage.keys == 10)
        _ = state.charge(limitKey("y"), burst: 0, now: 200_000)
        #expect(state.usage.keys == 10)
        #expect(state.usage.forced == 0)
    }
}
