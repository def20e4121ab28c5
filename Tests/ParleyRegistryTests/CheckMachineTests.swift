import ParleyCore
import Testing

@testable import ParleyRegistry

@Suite(.timeLimit(.minutes(1))) struct ThresholdTests {
    private func plan(success: Int = 0, warning: Int = 0, critical: Int = 0) -> CheckPlan {
        var plan = CheckPlan(probe: .tcp("x:1"), interval: .seconds(1), timeout: .seconds(1))
        plan.successBeforePassing = success
        plan.failuresBeforeWarning = warning
        plan.failuresBeforeCritical = critical
        return plan
    }

    @Test func theFirstResultDecidesAtOnce() {
        var good = ThresholdMachine(self.plan(success: 3, critical: 3))
        #expect(good.result(.passing) == .passing)
        var bad = ThresholdMachine(self.plan(success: 3, critical: 3))
        #expect(bad.result(.critical) == .critical)
    }

    @Test func laterOnesNeedTheirNumberInARow() {
        var machine = ThresholdMachine(self.plan(success: 3, critical: 3))
        _ = machine.result(.passing)
        #expect(
            [machine.result(.critical), machine.result(.critical), machine.result(.critical)] == [nil, nil, .critical]
        )
        #expect([machine.result(.passing), machine.result(.critical)] == [nil, nil])
        #expect(
            [machine.result(.passing), machine.result(.passing), machine.result(.passing)] == [nil, nil, .passing]
        )
    }

    @Test func withoutNumbersEachDecides() {
        var machine = ThresholdMachine(self.plan())
        #expect(
            [machine.result(.passing), machine.result(.critical), machine.result(.warning)] == [
                .passing, .critical, .warning,
            ]
        )
    }

    @Test func aWarningMayComeFirst() {
        var machine = ThresholdMachine(self.plan(warning: 1, critical: 3))
        _ = machine.result(.passing)
        #expect(
            [machine.result(.critical), machine.result(.critical), machine.result(.critical)] == [
                .warning, .warning, .critical,
            ]
        )
    }
}

@Suite(.timeLimit(.minutes(1))) struct ScheduleTests {
    private let start = SystemTimeSource().now
    private func at(_ seconds: Double) -> ContinuousClock.Instant { self.start.advanced(by: .seconds(seconds)) }
    private func plan(_ probe: CheckPlan.Probe = .tcp("x:1"), every seconds: Int = 10) -> CheckPlan {
        CheckPlan(probe: probe, interval: .seconds(seconds), timeout: .seconds(1))
    }

    @Test func theFirstProbeComesAfterAPartOfTheInterval() {
        var schedule = CheckScheduleMachine(maximumRunning: 8)
        schedule.plan(key("a"), self.plan(), status: .critical, now: self.at(0), chance: 0.5)
        #expect(schedule.nextDue == self.at(5))
        #expect(schedule.takeDue(now: self.at(4.9)).probes.isEmpty)
        let probe = schedule.takeDue(now: self.at(5)).probes
        #expect(probe.map(\.key) == [key("a")])
        #expect(schedule.nextDue == nil)
        #expect(schedule.finished(probe[0], .passing, now: self.at(6)) == .passing)
        #expect(schedule.nextDue == self.at(16))
    }

    @Test func noMoreRunThanMay() {
        var schedule = CheckScheduleMachine(maximumRunning: 2)
        for id in ["a", "b", "c"] {
            schedule.plan(key(id), self.plan(), status: .critical, now: self.at(0), chance: 0)
        }
        let first = schedule.takeDue(now: self.at(0)).probes
        #expect(first.count == 2)
        #expect(schedule.nextDue == nil)
        _ = schedule.finished(first[0], .passing, now: self.at(1))
        #expect(schedule.takeDue(now: self.at(1)).probes.count == 1)
    }

    /// All slots are taken by checks that hang; signs of life are none of their business.
    @Test func signsOfLifeExpireWhileAllSlotsHang() {
        var schedule = CheckScheduleMachine(maximumRunning: 2)
        for id in ["a", "b", "c"] {
            schedule.plan(key(id), self.plan(), status: .passing, now: self.at(0), chance: 0)
        }
        schedule.plan(key("t"), self.plan(.ttl, every: 30), status: .passing, now: self.at(0), chance: 0)
        #expect(schedule.takeDue(now: self.at(0)).probes.count == 2)
        #expect(schedule.nextDue == self.at(30))
        let due = schedule.takeDue(now: self.at(30))
        #expect(due.expired == [key("t")])
        #expect(due.probes.isEmpty)
        #expect(schedule.nextDue == nil)
    }

    @Test func oneHostTakesNoMoreThanItsShare() {
        var schedule = CheckScheduleMachine(maximumRunning: 4, maximumRunningPerHost: 2)
        for number in 0..<100 {
            schedule.plan(
                key("h\(number)"),
                self.plan(.tcp("hole:\(number)")),
                status: .passing,
                now: self.at(0),
                chance: 0
            )
        }
        schedule.plan(key("z"), self.plan(.tcp("well:1")), status: .passing, now: self.at(0), chance: 0.1)
        let first = schedule.takeDue(now: self.at(0)).probes
        #expect(first.map(\.key) == [key("h0"), key("h1")])
        #expect(schedule.nextDue == self.at(1))
        #expect(schedule.takeDue(now: self.at(1)).probes.map(\.key) == [key("z")])
        #expect(schedule.nextDue == nil)
        // Each end makes room for the one that has waited longest, also when some were removed meanwhile.
        schedule.unplan(key("h2"))
        _ = schedule.finished(first[0], .critical, now: self.at(2))
        #expect(schedule.takeDue(now: self.at(2)).probes.map(\.key) == [key("h3")])
        _ = schedule.finished(first[1], .critical, now: self.at(2))
        schedule.unplan(key("h4"))
        #expect(schedule.takeDue(now: self.at(2)).probes.map(\.key) == [key("h5")])
        #expect(schedule.runningCount == 3)
    }

    /// Whatever is planned, ends and goes in whatever order: each check that is due comes up, and no limit is passed.
    @Test func nobodyIsForgotten() {
        let random = SeededRandomSource(seed: 5)
        var schedule = CheckScheduleMachine(maximumRunning: 6, maximumRunningPerHost: 2)
        var running: [CheckScheduleMachine.Probe] = []
        var planned: Set<NodeItemKey> = []
        var seconds = 0.0
        func pick(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }
        for _ in 0..<20_000 {
            seconds += 0.1
            let id = key("c\(pick(40))")
            switch pick(4) {
            case 0:
                schedule.plan(id, self.plan(.tcp("h\(pick(4)):1")), status: .passing, now: self.at(seconds), chance: 0)
                planned.insert(id)
            case 1:
                schedule.unplan(id)
                planned.remove(id)
            case 2 where !running.isEmpty:
                _ = schedule.finished(running.remove(at: pick(running.count)), .passing, now: self.at(seconds))
            default: running += schedule.takeDue(now: self.at(seconds)).probes
            }
            #expect(schedule.runningCount == running.count && running.count <= 6)
            #expect(Dictionary(grouping: running) { $0.plan.probe.host }.values.allSatisfy { $0.count <= 2 })
            #expect(schedule.queueCount <= 150)
        }
        // Now all of them end at once, again and again.
        var seen: Set<NodeItemKey> = []
        for _ in 0..<200 {
            seconds += 1
            for probe in running { _ = schedule.finished(probe, .passing, now: self.at(seconds)) }
            running = schedule.takeDue(now: self.at(seconds)).probes
            seen.formUnion(running.map(\.key))
        }
        #expect(seen == planned)
    }

    @Test(arguments: [
        (CheckPlan.Probe.ttl, ""), (.tcp("Web.Example:80"), "web.example"), (.udp("[::1]:53"), "::1"),
        (.grpc(target: "10.0.0.1:90/shop", useTLS: false, verifies: true), "10.0.0.1"),
        (.http(HTTPProbe(url: "http://user:pass@web:80/a@b?c#d")), "web"),
        (.http(HTTPProbe(url: "https://web")), "web"),
        (.http(HTTPProbe(url: "http://[fd00::1]:80/")), "fd00::1"), (.tcp("nonsense"), "nonsense"), (.tcp(""), ""),
        (.http(HTTPProbe(url: "://@:")), ""), (.alias(service: "web"), ""),
    ])
    func probesShareByHost(_ probe: CheckPlan.Probe, _ host: String) {
        #expect(probe.host == host)
    }

    /// A check that is registered again and again, while its target hangs, has no more probes under way than may be.
    @Test func aPlanThatIsReplacedKeepsItsSlotUntilItsProbeEnds() {
        var schedule = CheckScheduleMachine(maximumRunning: 2)
        var probes: [CheckScheduleMachine.Probe] = []
        for turn in 0..<10 {
            schedule.plan(key("a"), self.plan(every: 10 + turn), status: .passing, now: self.at(0), chance: 0)
            probes += schedule.takeDue(now: self.at(0)).probes
        }
        #expect(probes.count == 2)
        schedule.unplan(key("a"))
        #expect(schedule.runningCount == 2)
        schedule.plan(key("b"), self.plan(), status: .passing, now: self.at(0), chance: 0)
        #expect(schedule.takeDue(now: self.at(0)).probes.isEmpty)
        #expect(schedule.finished(probes[0], .critical, now: self.at(1)) == nil)
        // Twice is once.
        #expect(schedule.finished(probes[0], .critical, now: self.at(1)) == nil)
        #expect(schedule.runningCount == 1)
        #expect(schedule.takeDue(now: self.at(1)).probes.map(\.key) == [key("b")])
    }

    @Test func theResultOfAPlanThatIsGoneCountsForNothing() {
        var schedule = CheckScheduleMachine(maximumRunning: 1)
        schedule.plan(key("a"), self.plan(), status: .critical, now: self.at(0), chance: 0)
        let old = schedule.takeDue(now: self.at(0)).probes[0]
        schedule.plan(key("a"), self.plan(every: 20), status: .critical, now: self.at(1), chance: 0)
        #expect(schedule.finished(old, .passing, now: self.at(2)) == nil)
        let new = schedule.takeDue(now: self.at(2)).probes
        #expect(new.count == 1)
        schedule.unplan(key("a"))
        #expect(schedule.finished(new[0], .passing, now: self.at(3)) == nil)
        #expect(schedule.nextDue == nil)
    }

    @Test func signsOfLifeMoveTheEndAndExpireOnce() {
        var schedule = CheckScheduleMachine(maximumRunning: 1)
        schedule.plan(key("t"), self.plan(.ttl), status: .passing, now: self.at(0), chance: 0.9)
        for second in stride(from: 5.0, to: 50, by: 5) {
            #expect(schedule.signOfLife(key("t"), now: self.at(second)) == true)
            #expect(schedule.takeDue(now: self.at(second)).expired.isEmpty)
        }
        #expect(schedule.takeDue(now: self.at(54)).expired.isEmpty)
        #expect(schedule.takeDue(now: self.at(55)).expired == [key("t")])
        #expect(schedule.takeDue(now: self.at(500)).expired.isEmpty)
        #expect(schedule.signOfLife(key("t"), now: self.at(600)) == true)
        #expect(schedule.takeDue(now: self.at(610)).expired == [key("t")])
        #expect(schedule.signOfLife(key("unknown"), now: self.at(1)) == false)
    }

    @Test func aHundredThousandSignsOfLifeTakeNoRoom() {
        var schedule = CheckScheduleMachine(maximumRunning: 1)
        schedule.plan(key("t"), self.plan(.ttl), status: .passing, now: self.at(0), chance: 0)
        for turn in 0..<100_000 { _ = schedule.signOfLife(key("t"), now: self.at(Double(turn) / 100_000)) }
        #expect(schedule.queueCount == 1)
        for turn in 0..<10_000 {
            schedule.plan(key("t"), self.plan(.ttl), status: .passing, now: self.at(Double(turn)), chance: 0)
        }
        #expect(schedule.queueCount < 100)
    }

    @Test func whatIsCriticalForTooLongIsOverdue() {
        var schedule = CheckScheduleMachine(maximumRunning: 1)
        var plan = self.plan(.ttl)
        plan.deregisterAfter = .seconds(5)
        schedule.plan(key("t"), plan, status: .critical, now: self.at(0), chance: 0)
        #expect(schedule.overdue(now: self.at(50), minimum: .seconds(60)).isEmpty)
        #expect(schedule.overdue(now: self.at(61), minimum: .seconds(60)) == [key("t")])
        schedule.noted(key("t"), .critical, now: self.at(30))
        #expect(schedule.overdue(now: self.at(61), minimum: .seconds(60)) == [key("t")])
        schedule.noted(key("t"), .passing, now: self.at(61))
        #expect(schedule.overdue(now: self.at(900), minimum: .zero).isEmpty)
        schedule.noted(key("t"), .critical, now: self.at(900))
        #expect(schedule.overdue(now: self.at(904), minimum: .zero).isEmpty)
        #expect(schedule.overdue(now: self.at(906), minimum: .zero) == [key("t")])
    }
}
