internal import ParleyCore
internal import Testing

@testable internal import ParleyResilience

@Suite struct RateLimiterTests {
    @Test func aBurstAndThenOneByOne() {
        var limiter = RateLimiter(RateLimitPolicy(calls: 10, per: .seconds(1), burst: 3))
        #expect((0..<3).allSatisfy { _ in limiter.take(at: origin) == .admit })
        #expect(limiter.take(at: origin) == .refuse(retryAfter: .milliseconds(100)))
        #expect(limiter.take(at: at(.milliseconds(99))) == .refuse(retryAfter: .milliseconds(1)))
        #expect(limiter.take(at: at(.milliseconds(100))) == .admit)
    }

    @Test func thoseWhoMayWaitAreGivenTheirTurns() {
        var limiter = RateLimiter(RateLimitPolicy(calls: 10, per: .seconds(1), longestWait: .milliseconds(200)))
        #expect(limiter.take(at: origin) == .admit)
        #expect(limiter.take(at: origin) == .wait(.milliseconds(100)))
        #expect(limiter.take(at: origin) == .wait(.milliseconds(200)))
        #expect(limiter.take(at: origin) == .refuse(retryAfter: .milliseconds(300)))
    }

    /// Three a second is not a whole number of nanoseconds apart; a day of it still gives exactly its calls.
    @Test func noRateIsRounded() {
        var limiter = RateLimiter(RateLimitPolicy(calls: 3, per: .seconds(1), longestWait: .seconds(3_600)))
        var admitted = 0
        for _ in 0..<10_801 {
            if case .refuse = limiter.take(at: origin) { break }
            admitted += 1
        }
        #expect(admitted == 10_801)
        #expect(limiter.take(at: origin) == .refuse(retryAfter: .nanoseconds(3_600_333_333_334)))
    }

    /// A bucket with fractions, filled by hand; times and costs are chosen so that it is exact in floating point.
    @Test(arguments: 1...30 as ClosedRange<UInt64>) func asABucketWouldHaveIt(seed: UInt64) {
        let lots = Lots(seed)
        let each = 8 * (1 + lots.below(16))
        let burst = 1 + lots.below(10)
        var limiter = RateLimiter(RateLimitPolicy(calls: 1, per: .milliseconds(each), burst: burst))
        var level = Double(burst * each)
        var now = 0
        var latest = 0
        for step in 0..<500 {
            now += lots.happens(1) ? 3_600_000 : lots.happens(5) ? -50 : lots.below(2 * each)
            level = min(Double(burst * each), level + Double(max(0, now - latest)))
            latest = max(latest, now)
            let answer = limiter.take(at: at(.milliseconds(now)))
            if level >= Double(each) {
                level -= Double(each)
                #expect(answer == .admit, "seed \(seed), step \(step)")
            } else {
                let wait = Duration.milliseconds(Double(each) - level)
                #expect(answer == .refuse(retryAfter: wait), "seed \(seed), step \(step)")
            }
            if step == 0 { (now, latest) = (now, now) }
        }
    }

    @Test func strangePoliciesAreBroughtIntoRange() {
        for number in strangeNumbers {
            for duration in strangeDurations {
                let policy = RateLimitPolicy(calls: number, per: duration, burst: number, longestWait: duration)
                var limiter = RateLimiter(policy)
                #expect(limiter.take(at: origin) == .admit)
                _ = limiter.take(at: at(.seconds(-3_600)))
                _ = limiter.take(at: at(.seconds(1_000_000_000)))
            }
        }
    }
}

@Suite struct BulkheadTests {
    @Test func soManyRunSoManyWaitTheRestIsRefused() {
        var bulkhead = Bulkhead(BulkheadPolicy(maxConcurrent: 2, maxWaiting: 1, longestWait: .seconds(1)))
        #expect(bulkhead.enter(1, at: origin) == .run && bulkhead.enter(2, at: origin) == .run)
        #expect(bulkhead.enter(3, at: origin) == .wait(until: at(.seconds(1))))
        #expect(bulkhead.enter(4, at: origin) == .refuse)
        #expect(bulkhead.leave() == 3)
        #expect(bulkhead.running == 2 && bulkhead.waiting == 0)
        #expect(bulkhead.leave() == nil && bulkhead.running == 1)
    }

    @Test func whoHasBeenLetInCannotGiveUp() {
        var bulkhead = Bulkhead(BulkheadPolicy(maxConcurrent: 1, maxWaiting: 2, longestWait: .seconds(1)))
        _ = bulkhead.enter(1, at: origin)
        _ = bulkhead.enter(2, at: origin)
        _ = bulkhead.enter(3, at: origin)
        #expect(bulkhead.giveUp(2) && !bulkhead.giveUp(2))
        #expect(bulkhead.leave() == 3)
        #expect(bulkhead.giveUp(3) == false)
    }

    @Test(arguments: 1...40 as ClosedRange<UInt64>) func asAListWouldHaveIt(seed: UInt64) {
        let lots = Lots(seed)
        let (most, queue) = (1 + lots.below(4), lots.below(5))
        var bulkhead = Bulkhead(BulkheadPolicy(maxConcurrent: most, maxWaiting: queue, longestWait: .seconds(1)))
        var running: [UInt64] = []
        var waiting: [UInt64] = []
        var next: UInt64 = 0
        for step in 0..<800 {
            switch lots.below(3) {
            case 0:
                next += 1
                let entry = bulkhead.enter(next, at: origin)
                if running.count < most, waiting.isEmpty {
                    running.append(next)
                    #expect(entry == .run, "seed \(seed), step \(step)")
                } else if waiting.count < queue {
                    waiting.append(next)
                    #expect(entry == .wait(until: at(.seconds(1))), "seed \(seed), step \(step)")
                } else {
                    #expect(entry == .refuse, "seed \(seed), step \(step)")
                }
            case 1 where !running.isEmpty:
                running.remove(at: lots.below(running.count))
                let expected = waiting.isEmpty ? nil : waiting.removeFirst()
                #expect(bulkhead.leave() == expected, "seed \(seed), step \(step)")
                if let expected { running.append(expected) }
            case 2:
                let id =
                    lots.happens(70) && !waiting.isEmpty ? lots.one(of: waiting) : UInt64(lots.below(Int(next) + 1))
                #expect(bulkhead.giveUp(id) == waiting.contains(id), "seed \(seed), step \(step)")
                waiting.removeAll { $0 == id }
            default:
                break
            }
            #expect(
                bulkhead.running == running.count && bulkhead.waiting == waiting.count,
                "seed \(seed), step \(step)"
            )
        }
    }

    /// One call runs for ever while 100,000 others come and give up: nobody is kept who is not there.
    @Test func thoseWhoGaveUpTakeNoRoom() {
        var bulkhead = Bulkhead(BulkheadPolicy(maxConcurrent: 1, maxWaiting: 8, longestWait: .seconds(1)))
        _ = bulkhead.enter(0, at: origin)
        for id in 1...100_000 as ClosedRange<UInt64> {
            #expect(bulkhead.enter(id, at: origin) != .refuse)
            #expect(bulkhead.giveUp(id) == true)
        }
        #expect(Mirror(reflecting: bulkhead).descendant("queue").map { String(describing: $0).count < 1_000 } == true)
    }

    @Test func strangePoliciesAreBroughtIntoRange() {
        for number in strangeNumbers {
            for duration in strangeDurations {
                var bulkhead = Bulkhead(
                    BulkheadPolicy(maxConcurrent: number, maxWaiting: number, longestWait: duration)
                )
                #expect(bulkhead.enter(1, at: origin) == .run)
                _ = bulkhead.enter(2, at: origin)
                _ = bulkhead.leave()
                _ = bulkhead.leave()
                #expect(bulkhead.leave() == nil && bulkhead.running == 0)
            }
        }
    }
}

@Suite struct AttemptLimitTests {
    @Test func theEarlierOfDeadlineAndAttemptTimeout() {
        let limit = AttemptLimit(deadline: Deadline(at(.seconds(15))), attemptTimeout: .seconds(10))
        #expect(limit.limit(at: origin) == Deadline(at(.seconds(10))))
        #expect(limit.limit(at: at(.seconds(8))) == Deadline(at(.seconds(15))))
        let none = AttemptLimit(deadline: Deadline(at(.seconds(15))), attemptTimeout: nil)
        #expect(none.limit(at: origin) == Deadline(at(.seconds(15))))
    }

    @Test func aCallerWithoutPatienceIsNotTheInstancesFault() {
        let limit = AttemptLimit(deadline: Deadline(at(.seconds(1))), attemptTimeout: .seconds(10))
        #expect(limit.blamesInstance(began: origin, limit: limit.limit(at: origin)))
        #expect(!limit.blamesInstance(began: at(.milliseconds(1)), limit: limit.limit(at: at(.milliseconds(1)))))
    }

    @Test func strangeTimeoutsAreBroughtIntoRange() {
        for duration in strangeDurations {
            let limit = AttemptLimit(deadline: Deadline(at(.seconds(900_000))), attemptTimeout: duration)
            let end = limit.limit(at: origin).moment
            #expect(end > origin && end <= at(.seconds(86_400)))
        }
    }
}

@Suite struct HedgeMachineTests {
    private func machine(_ most: Int = 3, within limit: Duration = .seconds(10)) -> HedgeMachine {
        let policy = HedgePolicy(delay: .milliseconds(100), maxAttempts: most)
        var machine = HedgeMachine(policy: policy, deadline: Deadline(at(limit)), longestRetryAfter: .seconds(5))
        machine.start(at: origin)
        return machine
    }

    private let lost = Verdict(.retryableFailure, safety: .mayHaveRun, health: .ill)

    @Test func aSlowTryGetsCompanyAndTheFirstAnswerWins() {
        var machine = self.machine()
        #expect(!machine.isDue(at: at(.milliseconds(99))) && machine.isDue(at: at(.milliseconds(100))))
        machine.start(at: at(.milliseconds(100)))
        #expect(machine.nextStart == at(.milliseconds(200)))
        #expect(machine.ended(.success, at: at(.milliseconds(150))) == .finish(.answered))
    }

    @Test func aFailureBeginsTheNextAtOnceUntilNoneIsLeft() {
        var machine = self.machine(2)
        #expect(machine.ended(self.lost, at: at(.milliseconds(10))) == .goOn)
        #expect(machine.isDue(at: at(.milliseconds(10))))
        machine.start(at: at(.milliseconds(10)))
        #expect(machine.nextStart == nil)
        #expect(machine.ended(self.lost, at: at(.milliseconds(20))) == .finish(.attemptsSpent))
    }

    @Test func aFailureThatIsFinalWinsToo() {
        var machine = self.machine()
        machine.start(at: at(.milliseconds(100)))
        let final = Verdict(.permanentFailure, safety: .mayHaveRun, health: .ill)
        #expect(machine.ended(final, at: at(.milliseconds(150))) == .finish(.permanent))
    }

    @Test func retryAfterIsObeyed() {
        var machine = self.machine()
        var later = self.lost
        later.retryAfter = .seconds(2)
        #expect(machine.ended(later, at: origin) == .goOn && machine.nextStart == at(.seconds(2)))
        var hasty = self.machine(3, within: .seconds(1))
        #expect(hasty.ended(later, at: origin) == .finish(.deadline))
        var impatient = self.machine()
        later.retryAfter = .seconds(6)
        #expect(impatient.ended(later, at: origin) == .finish(.retryAfterTooLong))
    }

    @Test func whatTheBudgetRefusesIsNotBegun() {
        var machine = self.machine()
        #expect(!machine.refuse(.clientBudgetSpent) && machine.nextStart == nil)
        #expect(machine.ended(self.lost, at: origin) == .finish(.clientBudgetSpent))
    }

    @Test(arguments: 1...60 as ClosedRange<UInt64>) func alwaysEndsWithinItsLimits(seed: UInt64) {
        let lots = Lots(seed)
        let most = lots.below(12)
        let deadline = at(.seconds(1 + lots.below(3)))
        var machine = HedgeMachine(
            policy: HedgePolicy(delay: .milliseconds(lots.below(500)), maxAttempts: most),
            deadline: Deadline(deadline),
            longestRetryAfter: .seconds(1)
        )
        machine.start(at: origin)
        var (now, started, running, steps) = (origin, 1, 1, 0)
        var isOver = false
        while !isOver {
            steps += 1
            guard steps < 1_000 else {
                Issue.record("seed \(seed): no end")
                return
            }
            #expect(machine.started == started && machine.running == running, "seed \(seed)")
            // Nothing under way and nothing planned would wait for ever.
            #expect(running > 0 || machine.nextStart != nil, "seed \(seed)")
            if running == 0 || lots.happens(50), let next = machine.nextStart {
                now = max(now, next)
                #expect(now < deadline || running > 0, "seed \(seed)")
                if lots.happens(10) {
                    isOver = machine.refuse(.clientBudgetSpent)
                } else {
                    machine.start(at: now)
                    (started, running) = (started + 1, running + 1)
                }
            } else if running > 0 {
                now = now.advanced(by: .milliseconds(lots.below(300)))
                let verdict =
                    lots.happens(80)
                    ? Verdict(
                        .retryableFailure,
                        safety: .mayHaveRun,
                        health: .ill,
                        retryAfter: lots.happens(30) ? .milliseconds(lots.below(1_500)) : nil
                    ) : .success
                running -= 1
                if case .finish = machine.ended(verdict, at: now) { isOver = true }
            }
        }
        #expect(started <= min(10, max(1, most)), "seed \(seed)")
    }
}
