internal import ParleyCore
internal import Testing

@testable internal import ParleyResilience

@Suite struct RetryMachineTests {
    private func machine(
        isRepeatable: Bool = true,
        attempts: Int = 3,
        hopBudget: Int? = nil,
        within limit: Duration = .seconds(10)
    ) -> RetryMachine {
        let backoff = Backoff(initial: .milliseconds(10), cap: .seconds(1), jitter: 0)
        var machine = RetryMachine(
            policy: RetryPolicy(maxAttempts: attempts, backoff: backoff, longestRetryAfter: .seconds(5)),
            isRepeatable: isRepeatable,
            hopBudget: hopBudget,
            deadline: Deadline(at(limit))
        )
        machine.begin()
        return machine
    }

    private let lost = Verdict(.retryableFailure, safety: .mayHaveRun, health: .ill)
    private let refused = Verdict(.retryableFailure, safety: .notSent, health: .ill)

    @Test(arguments: [true, false])
    func whatMayHaveRunIsRepeatedOnlyIfThatIsHarmless(_ isRepeatable: Bool) {
        var machine = self.machine(isRepeatable: isRepeatable)
        let action = machine.ended(self.lost, at: origin, chance: 0) { true }
        #expect(action == (isRepeatable ? .retry(after: .milliseconds(10)) : .stop(.notRepeatable)))
        #expect(machine.mayHaveRun)
    }

    @Test(arguments: [true, false])
    func whatWasNotSentIsRepeatedAlways(_ isRepeatable: Bool) {
        var machine = self.machine(isRepeatable: isRepeatable)
        #expect(machine.ended(self.refused, at: origin, chance: 0) { true } == .retry(after: .milliseconds(10)))
        machine.begin()
        #expect(machine.ended(self.refused, at: origin, chance: 0) { true } == .retry(after: .milliseconds(20)))
        machine.begin()
        #expect(machine.ended(self.refused, at: origin, chance: 0) { true } == .stop(.attemptsSpent))
        #expect(!machine.mayHaveRun)
    }

    @Test func onlyRetryableFailuresAreTriedAgain() {
        let ends: [(Verdict, StopReason)] = [
            (.success, .answered), (.cancelled, .cancelled),
            (Verdict(.permanentFailure, safety: .mayHaveRun, health: .ill), .permanent),
            (Verdict(.retryableFailure, safety: .permanent, health: .ill), .permanent),
        ]
        for (verdict, reason) in ends {
            var machine = self.machine()
            #expect(machine.ended(verdict, at: origin, chance: 0) { true } == .stop(reason))
        }
    }

    @Test func theBudgetOfAllHopsIsSpentAndPassedOn() {
        var machine = self.machine(attempts: 10, hopBudget: 1)
        #expect(machine.ended(self.refused, at: origin, chance: 0) { true } != .stop(.hopBudgetSpent))
        #expect(machine.hopBudget == 0)
        machine.begin()
        #expect(machine.ended(self.refused, at: origin, chance: 0) { true } == .stop(.hopBudgetSpent))
    }

    @Test func theClientsBudgetIsAskedLast() {
        var asked = 0
        var late = self.machine(within: .milliseconds(10))
        _ = late.ended(self.refused, at: origin, chance: 0) {
            asked += 1
            return true
        }
        #expect(asked == 0)
        var machine = self.machine(hopBudget: 5)
        #expect(machine.ended(self.refused, at: origin, chance: 0) { false } == .stop(.clientBudgetSpent))
        #expect(machine.hopBudget == 5)
    }

    @Test func aTryThatWouldBeginAfterTheDeadlineIsNotMade() {
        var machine = self.machine(within: .milliseconds(10))
        #expect(machine.ended(self.refused, at: origin, chance: 0) { true } == .stop(.deadline))
    }

    @Test func retryAfterIsObeyedUpToTheDeadlineAndThePatienceOfThePolicy() {
        func answer(_ wait: Duration, within limit: Duration) -> RetryMachine.Action {
            var machine = self.machine(within: limit)
            var verdict = self.lost
            verdict.retryAfter = wait
            return machine.ended(verdict, at: origin, chance: 0) { true }
        }
        #expect(answer(.seconds(2), within: .seconds(10)) == .retry(after: .seconds(2)))
        #expect(answer(.seconds(2), within: .seconds(1)) == .stop(.deadline))
        #expect(answer(.seconds(6), within: .seconds(10)) == .stop(.retryAfterTooLong))
        #expect(answer(.seconds(-6), within: .seconds(10)) == .retry(after: .milliseconds(10)))
    }

    @Test(
        arguments: [
            ("3", .seconds(3)), ("0", .zero), ("-1", nil), ("soon", nil), ("99999999999", .seconds(86_400)),
            ("99999999999999999999", nil), ("Thu, 01 Jan 1970 00:01:40 GMT", .seconds(90)),
            ("Thu, 01 Jan 1970 00:00:01 GMT", .zero), ("Thu, 99 Jan 1970 00:00:01 GMT", nil), (nil, nil),
            ("Fri, 01 Jan 2999 00:00:00 GMT", .seconds(86_400)),
        ] as [(String?, Duration?)]
    )
    func readsRetryAfter(_ value: String?, _ expected: Duration?) {
        #expect(RetryAfter.parse(value, wallTime: Timestamp(microseconds: 10_000_000)) == expected)
    }

    /// Whatever happens: never more tries than allowed, never one that may do it twice, never one after the deadline.
    @Test(arguments: 1...40 as ClosedRange<UInt64>) func itsPromisesHoldForAnySequence(seed: UInt64) {
        let lots = Lots(seed)
        let isRepeatable = lots.happens(50)
        let most = lots.below(6)
        let hops = lots.happens(50) ? lots.below(4) : nil
        let deadline = Deadline(at(.milliseconds(lots.below(2_000))))
        var machine = RetryMachine(
            policy: RetryPolicy(maxAttempts: most),
            isRepeatable: isRepeatable,
            hopBudget: hops,
            deadline: deadline
        )
        var now = origin
        var mayHaveRun = false
        var withdrawn = 0
        while true {
            machine.begin()
            let verdict = Verdict(
                lots.one(of: [.retryableFailure, .retryableFailure, .retryableFailure, .permanentFailure]),
                safety: lots.one(of: [.notSent, .notSent, .mayHaveRun]),
                health: .ill,
                retryAfter: lots.happens(20) ? .milliseconds(lots.below(1_000)) : nil
            )
            mayHaveRun = mayHaveRun || verdict.safety == .mayHaveRun
            let action = machine.ended(verdict, at: now, chance: lots.unit()) {
                withdrawn += 1
                return lots.happens(90)
            }
            guard case .retry(let delay) = action else { break }
            #expect(isRepeatable || !mayHaveRun, "seed \(seed)")
            #expect(delay >= verdict.retryAfter ?? .zero, "seed \(seed)")
            now = now.advanced(by: delay)
            #expect(!deadline.hasPassed(at: now), "seed \(seed)")
            #expect(withdrawn == machine.attempts, "seed \(seed)")
        }
        #expect(machine.attempts <= max(1, most) && machine.mayHaveRun == mayHaveRun, "seed \(seed)")
        if let hops { #expect(machine.attempts <= hops + 1, "seed \(seed)") }
    }

    @Test func strangePoliciesAreBroughtIntoRange() {
        for number in strangeNumbers {
            for duration in strangeDurations {
                var machine = RetryMachine(
                    policy: RetryPolicy(
                        maxAttempts: number,
                        backoff: Backoff(initial: duration, cap: duration),
                        longestRetryAfter: duration
                    ),
                    isRepeatable: true,
                    hopBudget: number,
                    deadline: Deadline(at(.seconds(1)))
                )
                for _ in 0..<150 {
                    machine.begin()
                    guard case .retry = machine.ended(self.lost, at: origin, chance: 0.5, withdraw: { true }) else {
                        break
                    }
                }
                #expect(machine.attempts <= 100)
            }
        }
    }
}

@Suite struct RetryBudgetTests {
    @Test func oneInFiveAndThreeOnTop() {
        var budget = RetryBudget(RetryBudgetPolicy())
        #expect((0..<5).map { _ in budget.withdraw(at: origin) } == [true, true, true, false, false])
        for _ in 0..<9 { budget.deposit(at: origin) }
        #expect(budget.withdraw(at: origin) && !budget.withdraw(at: origin))
        budget.deposit(at: origin)
        #expect(budget.withdraw(at: origin) && !budget.withdraw(at: origin))
    }

    @Test func whatIsOlderThanTheWindowIsForgotten() {
        var budget = RetryBudget(RetryBudgetPolicy())
        for _ in 0..<100 { budget.deposit(at: origin) }
        #expect(budget.left(at: at(.seconds(9))) == 23)
        #expect(budget.left(at: at(.seconds(10))) == 3)
        #expect(budget.left(at: at(.seconds(3_600))) == 3)
    }

    @Test(arguments: 1...30 as ClosedRange<UInt64>) func asAListOfAllCallsWouldHaveIt(seed: UInt64) {
        let lots = Lots(seed)
        let policy = RetryBudgetPolicy(percent: lots.below(120), minimum: lots.below(5), window: .seconds(10))
        var budget = RetryBudget(policy)
        var now = origin
        var newest = 0
        var calls: [Int] = []
        var retries: [Int] = []
        for step in 0..<400 {
            // Sometimes back, sometimes far ahead.
            let jump = lots.happens(2) ? 3_600_000 : lots.happens(5) ? -5_000 : lots.below(300)
            now = now.advanced(by: .milliseconds(jump))
            newest = max(newest, Int(origin.duration(to: now).inMilliseconds) / 1_000)
            if step == 0 {
                now = origin
                newest = 0
                budget.deposit(at: now)
                calls.append(0)
            }
            let left = {
                calls.filter { $0 > newest - 10 }.count * policy.percent
                    + (policy.minimum - retries.filter { $0 > newest - 10 }.count) * 100
            }
            #expect(budget.left(at: now) == max(0, left() / 100), "seed \(seed), step \(step)")
            if lots.happens(60) {
                budget.deposit(at: now)
                calls.append(newest)
            } else {
                let expected = left() >= 100
                #expect(budget.withdraw(at: now) == expected, "seed \(seed), step \(step)")
                if expected { retries.append(newest) }
            }
        }
    }

    @Test func strangePoliciesAreBroughtIntoRange() {
        for number in strangeNumbers {
            for duration in strangeDurations {
                var budget = RetryBudget(RetryBudgetPolicy(percent: number, minimum: number, window: duration))
                for _ in 0..<10 { budget.deposit(at: origin) }
                #expect(budget.left(at: at(.seconds(-9))) >= 0)
                #expect((0...1_000_100).contains(budget.left(at: at(.seconds(1_000_000)))))
            }
        }
    }
}

@Suite struct OutcomeClassifierTests {
    @Test(arguments: [
        (200, Outcome.success, InstanceHealth.well), (302, .success, .well), (404, .success, .well),
        (421, .retryableFailure, .unknown), (429, .retryableFailure, .unknown), (500, .permanentFailure, .ill),
        (501, .permanentFailure, .ill), (502, .retryableFailure, .ill), (503, .retryableFailure, .ill),
        (504, .retryableFailure, .ill), (999, .success, .well), (-1, .success, .well),
    ])
    func statuses(_ status: Int, _ outcome: Outcome, _ health: InstanceHealth) {
        let verdict = OutcomeClassifier().verdict(httpStatus: status)
        #expect(verdict.outcome == outcome && verdict.health == health)
        #expect((verdict.safety == .notSent) == [421, 429].contains(status))
    }

    @Test(arguments: [
        (0, Outcome.success, InstanceHealth.well), (1, .ignorable, .unknown), (2, .permanentFailure, .ill),
        (3, .success, .well), (4, .retryableFailure, .ill), (5, .success, .well), (8, .retryableFailure, .well),
        (12, .success, .well), (13, .permanentFailure, .ill), (14, .retryableFailure, .ill), (99, .success, .well),
    ])
    func codes(_ code: Int, _ outcome: Outcome, _ health: InstanceHealth) {
        let verdict = OutcomeClassifier().verdict(grpcCode: code)
        #expect(verdict.outcome == outcome && verdict.health == health)
    }

    @Test func retryAfterGoesAlong() {
        #expect(OutcomeClassifier().verdict(httpStatus: 503, retryAfter: .seconds(1)).retryAfter == .seconds(1))
        #expect(OutcomeClassifier().verdict(grpcCode: 14, retryAfter: .seconds(1)).retryAfter == .seconds(1))
    }
}
