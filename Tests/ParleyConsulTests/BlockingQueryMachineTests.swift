import ParleyCore
import Testing

@testable import ParleyConsul

@Suite(.timeLimit(.minutes(1))) struct BlockingQueryMachineTests {
    private static let start = SystemTimeSource().now

    private static let rules = BlockingQueryMachine.Rules(
        wait: .seconds(55),
        shortWait: .seconds(2),
        backoff: Backoff(initial: .seconds(1), cap: .seconds(30), jitter: 0),
        interval: .seconds(1),
        maximumLag: .seconds(30)
    )

    /// A machine with a clock that a test moves by hand.
    private struct Bench {
        var machine = BlockingQueryMachine(BlockingQueryMachineTests.rules)
        var now = BlockingQueryMachineTests.start

        /// Waits as long as it must, then asks.
        mutating func ask() -> BlockingQueryMachine.Question {
            while true {
                switch self.machine.next(now: self.now) {
                case .ask(let question): return question
                case .wait(let instant): self.now = instant
                }
            }
        }

        mutating func answer(
            _ index: UInt64,
            hasLeader: Bool = true,
            lag: Duration = .zero
        ) -> BlockingQueryMachine.AnswerAction {
            self.machine.answered(index: index, hasLeader: hasLeader, lag: lag, now: self.now, chance: 0)
        }
    }

    @Test func theFirstQuestionDoesNotWaitAndFurtherOnesCarryTheIndex() {
        var bench = Bench()
        #expect(bench.ask() == .init(index: 0, wait: .zero, allowsStale: true))
        #expect(bench.answer(16) == .report)
        #expect(bench.ask() == .init(index: 16, wait: .seconds(55), allowsStale: true))
        #expect(bench.answer(16) == .ignore)
        #expect(bench.ask().index == 16)
        #expect(bench.answer(17) == .report)
        #expect(bench.ask().index == 17)
    }

    @Test func anIndexThatGoesBackIsForgotten() {
        var bench = Bench()
        _ = bench.ask()
        _ = bench.answer(100)
        _ = bench.ask()
        #expect(bench.answer(7) == .report)
        #expect(bench.ask() == .init(index: 0, wait: .zero, allowsStale: true))
        #expect(bench.answer(7) == .report)
        #expect(bench.ask().index == 7)
    }

    @Test func theIndexZeroCountsAsOne() {
        var bench = Bench()
        _ = bench.ask()
        #expect(bench.answer(0) == .report)
        #expect(bench.ask() == .init(index: 1, wait: .seconds(55), allowsStale: true))
        // Nobody can tell whether something has changed.
        #expect(bench.answer(0) == .report)
        #expect(bench.ask().index == 1)
    }

    @Test func twoQuestionsAtOnceThenOneAnInterval() {
        var bench = Bench()
        var asked: [Duration] = []
        for index in 1...6 {
            _ = bench.ask()
            asked.append(Self.start.duration(to: bench.now))
            _ = bench.answer(UInt64(index))
        }
        #expect(asked == [.zero, .zero, .seconds(1), .seconds(2), .seconds(3), .seconds(4)])
    }

    @Test func aClockThatJumpsAnHourGivesNoMoreThanTwo() {
        var bench = Bench()
        for index in 1...4 {
            _ = bench.ask()
            _ = bench.answer(UInt64(index))
        }
        bench.now = bench.now.advanced(by: .seconds(3_600))
        let jumped = bench.now
        for index in 5...7 {
            _ = bench.ask()
            _ = bench.answer(UInt64(index))
        }
        #expect(jumped.duration(to: bench.now) == .seconds(1))
    }

    @Test func aClockThatGoesBackDoesNotStopItForLong() {
        var bench = Bench()
        for index in 1...2 {
            _ = bench.ask()
            _ = bench.answer(UInt64(index))
        }
        bench.now = bench.now.advanced(by: .seconds(-3_600))
        #expect(bench.machine.next(now: bench.now) == .wait(until: bench.now.advanced(by: .seconds(1))))
    }

    @Test func failuresWaitLongerEachTimeAndKeepTheIndex() {
        var bench = Bench()
        _ = bench.ask()
        _ = bench.answer(16)
        var waits: [Duration] = []
        for _ in 1...7 {
            let question = bench.ask()
            #expect(question.index == 16 && question.wait == .seconds(waits.isEmpty ? 55 : 2))
            let failed = bench.now
            bench.machine.failed(now: bench.now, chance: 0)
            guard case .wait(let instant) = bench.machine.next(now: bench.now) else {
                Issue.record("it does not wait")
                return
            }
            waits.append(failed.duration(to: instant))
        }
        #expect(waits == [1, 2, 4, 8, 16, 30, 30].map { .seconds($0) })
        #expect(bench.ask().index == 16)
        // Nothing has changed; but somebody wants to know that it works again.
        #expect(bench.answer(16) == .report)
        #expect(bench.machine.failures == 0)
    }

    @Test(arguments: [(false, Duration.zero), (true, .seconds(31))])
    func aServerWithoutALeaderOrFarBehindDoesNotCount(_ hasLeader: Bool, _ lag: Duration) {
        var bench = Bench()
        _ = bench.ask()
        _ = bench.answer(16)
        _ = bench.ask()
        #expect(bench.answer(3, hasLeader: hasLeader, lag: lag) == .distrust)
        // Another time the leader is asked itself.
        #expect(bench.ask() == .init(index: 16, wait: .seconds(2), allowsStale: false))
        #expect(bench.answer(17) == .report)
        #expect(bench.ask() == .init(index: 17, wait: .seconds(55), allowsStale: true))
    }

    @Test func whereOthersWaitForTheirTurnItWaitsShorter() {
        var bench = Bench()
        _ = bench.ask()
        _ = bench.answer(16)
        #expect(
            bench.machine.next(now: bench.now, isCrowded: true)
                == .ask(.init(index: 16, wait: .seconds(2), allowsStale: true))
        )
    }

    /// Whatever is answered and however the clock goes: never more questions than the bucket allows, and never with an
    /// index that nobody said.
    @Test(arguments: 0..<50) func holdsItsLimits(_ seed: UInt64) {
        let random = SeededRandomSource(seed: seed)
        var bench = Bench()
        var last: UInt64 = 0
        var asked: [ContinuousClock.Instant] = []
        for _ in 0..<500 {
            let question = bench.ask()
            asked.append(bench.now)
            #expect(question.index == 0 || question.index == 1 || question.index == last, "seed \(seed)")
            #expect((question.index == 0) == (question.wait == .zero), "seed \(seed)")
            bench.now = bench.now.advanced(by: .milliseconds(Int64(random.next() % 3_000)))
            switch random.next() % 4 {
            case 0: bench.machine.failed(now: bench.now, chance: random.unitInterval())
            case 1: _ = bench.answer(random.next() % 50, hasLeader: false)
            default:
                last = random.next() % 50
                _ = bench.answer(last)
            }
        }
        for (index, instant) in asked.enumerated().dropFirst(3) {
            #expect(asked[index - 3].duration(to: instant) >= .seconds(1), "seed \(seed)")
        }
    }
}
