internal import ParleyCore
internal import ParleyTestKit
internal import Synchronization
internal import Testing

@testable internal import ParleyResilience

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

private struct Broken: Error, Equatable {
    var safety: RetrySafety
}

/// What the instances of a test do, in the order in which they are asked.
private final class Script: Sendable {
    enum Step: Sendable {
        case answer(Int)
        case fail(RetrySafety)
        /// Never ends by itself.
        case hang
    }

    private let steps: Mutex<[Step]>
    private let asked = Mutex<[String]>([])

    init(_ steps: Step...) { self.steps = Mutex(steps) }

    var instances: [String] { self.asked.withLock { $0 } }

    func run(_ attempt: Attempt, on time: any TimeSource) async throws -> Int {
        self.asked.withLock { $0.append(attempt.target.id) }
        let step = self.steps.withLock { $0.isEmpty ? .answer(200) : $0.removeFirst() }
        switch step {
        case .answer(let status): return status
        case .fail(let safety): throw Broken(safety: safety)
        case .hang:
            return try await attempt.withinLimit(on: time) {
                try await SystemTimeSource().sleep(for: .seconds(3_600))
                return 0
            }
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct ResilientCallerTests {
    private let clock = ManualClock()

    private func caller(_ change: (inout ResiliencePolicy) -> Void = { _ in }) -> ResilientCaller {
        var policy = ResiliencePolicy()
        policy.retry?.backoff = Backoff(initial: .zero, cap: .zero)
        change(&policy)
        return ResilientCaller(policy: policy, time: self.clock, random: SeededRandomSource(seed: 1))
    }

    private func call(
        _ caller: ResilientCaller,
        _ script: Script,
        isRepeatable: Bool = true,
        deadline: Deadline? = nil,
        context: RequestContext? = nil,
        instances: Int = 2
    ) async throws -> (value: Int, explanation: CallExplanation) {
        let classifier = caller.policy.classifier
        return try await caller.call(
            Call("user-service", isRepeatable: isRepeatable, deadline: deadline, context: context),
            targets: { (0..<instances).map { target($0 + 1) } },
            classify: { result, attempt in
                switch result {
                case .success(let status): Judgement(classifier.verdict(httpStatus: status), note: "\(status)")
                case .failure(let error as Broken):
                    Judgement(classifier.verdict(failure: error.safety, blamesInstance: true), note: "broken")
                case .failure:
                    Judgement(
                        classifier.verdict(failure: .mayHaveRun, blamesInstance: attempt.blamesTimeout),
                        note: "no answer"
                    )
                }
            },
            attempt: { [clock] in try await script.run($0, on: clock) }
        )
    }

    private func failure(_ body: () async throws -> (value: Int, explanation: CallExplanation)) async -> CallFailure? {
        do {
            _ = try await body()
            return nil
        } catch { return error as? CallFailure }
    }

    @Test func theHappyPathIsOneTryAndItsStoryIsShort() async throws {
        let (value, explanation) = try await self.call(self.caller(), Script())
        #expect(value == 200 && explanation.stop == .answered)
        #expect(explanation.attempts.map(\.instance) == ["i-1"] && explanation.instances == 2)
        #expect(explanation.clientBudgetLeft == 3 && explanation.considered.isEmpty)
        #expect(explanation.description.contains("1. after 0.0 ms: i-1 at 10.0.0.1:1: 200 in 0.0 ms"))
    }

    @Test func aSecondTryGoesElsewhere() async throws {
        let script = Script(.fail(.notSent), .answer(503), .answer(200))
        let (value, explanation) = try await self.call(self.caller(), script)
        #expect(value == 200 && script.instances == ["i-1", "i-2", "i-1"])
        #expect(explanation.attempts.map(\.note) == ["broken", "503", "200"])
        // The first of them was no load for anybody.
        #expect(explanation.clientBudgetLeft == 2)
    }

    @Test func theLastAnswerIsReturnedWhenTriesRunOut() async throws {
        let script = Script(.answer(503), .answer(503), .answer(503), .answer(200))
        let (value, explanation) = try await self.call(self.caller(), script)
        #expect(value == 503 && explanation.stop == .attemptsSpent && explanation.considered.count == 2)
    }

    @Test func whatMustNotBeRepeatedIsNot() async throws {
        let script = Script(.fail(.mayHaveRun), .answer(200))
        let failure = await self.failure { try await self.call(self.caller(), script, isRepeatable: false) }
        #expect(failure?.kind == .attemptFailed && failure?.retry == .mayHaveRun && failure?.attempts == 1)
        #expect(failure?.explanation.stop == .notRepeatable)
        #expect(failure?.cause as? Broken == Broken(safety: .mayHaveRun))
    }

    @Test func oneTryThatMayHaveRunDecidesForTheWholeCall() async throws {
        let script = Script(.fail(.mayHaveRun), .fail(.notSent), .fail(.notSent))
        let failure = await self.failure { try await self.call(self.caller(), script) }
        #expect(failure?.retry == .mayHaveRun && failure?.explanation.stop == .attemptsSpent)
    }

    @Test func theBudgetOfTheClientIsSharedByItsCalls() async throws {
        let caller = self.caller {
            $0.retryBudget = RetryBudgetPolicy(percent: 0, minimum: 3)
            $0.breaker = nil
        }
        var stops: [StopReason?] = []
        for _ in 0..<3 {
            let script = Script(.fail(.mayHaveRun), .fail(.mayHaveRun), .fail(.mayHaveRun))
            stops.append(await self.failure { try await self.call(caller, script) }?.explanation.stop)
        }
        #expect(stops == [.attemptsSpent, .clientBudgetSpent, .clientBudgetSpent])
    }

    /// The few calls that it takes until the breaker of a dead instance opens must not fail on a quiet client.
    @Test func connectionsThatCannotBeOpenedCostNoBudget() async throws {
        let caller = self.caller {
            $0.retryBudget = RetryBudgetPolicy(percent: 0, minimum: 1)
            $0.breaker = nil
        }
        for _ in 0..<20 {
            let (value, explanation) = try await self.call(caller, Script(.fail(.notSent), .answer(200)))
            #expect(value == 200 && explanation.attempts.count == 2 && explanation.clientBudgetLeft == 1)
        }
    }

    @Test func theBudgetOfAllHopsIsRespected() async throws {
        let script = Script(.fail(.notSent), .fail(.notSent), .fail(.notSent))
        let context = RequestContext(requestID: "r", retryBudget: 1)
        let failure = await self.failure { try await self.call(self.caller(), script, context: context) }
        #expect(failure?.attempts == 2 && failure?.explanation.stop == .hopBudgetSpent)
        #expect(failure?.explanation.hopBudgetLeft == 0)
    }

    @Test func whenAllAreOpenItSaysSoAndWhenToComeBack() async throws {
        let caller = self.caller {
            $0.retry = nil
            $0.outliers = nil
            $0.breaker?.consecutiveFailures = 1
            $0.breaker?.openTime = Backoff(initial: .seconds(5), cap: .seconds(5), jitter: 0)
        }
        for _ in 0..<2 { _ = await self.failure { try await self.call(caller, Script(.fail(.mayHaveRun))) } }
        let script = Script()
        let refused = await self.failure { try await self.call(caller, script) }
        #expect(refused?.kind == .unavailable && refused?.retry == .notSent && refused?.retryAfter == .seconds(5))
        #expect(refused?.explanation.stop == .nobodyAvailable && script.instances.isEmpty)
        #expect(refused?.explanation.considered.map(\.standing) == [.open, .open])
        self.clock.advance(by: .seconds(5))
        #expect(try await self.call(caller, script).value == 200)
        let breakers = caller.snapshot().services.first?.instances.map(\.breaker) ?? []
        #expect(Set(breakers) == [.closed, .halfOpen])
    }

    @Test func nobodyIsTriedAgainAndThenSaid() async throws {
        let failure = await self.failure { try await self.call(self.caller(), Script(), instances: 0) }
        #expect(failure?.kind == .nobody && failure?.attempts == 3 && failure?.retry == .notSent)
        #expect(failure?.explanation.description.contains("No instance is known.") == true)
    }

    @Test func aPassedDeadlineAsksNobody() async throws {
        let script = Script()
        let failure = await self.failure {
            try await self.call(self.caller(), script, deadline: Deadline(self.clock.now))
        }
        #expect(failure?.kind == .deadlinePassed && failure?.attempts == 0 && script.instances.isEmpty)
    }

    @Test func aTryEndsAtItsTimeoutAndTheNextIsMade() async throws {
        let caller = self.caller()
        let script = Script(.hang, .answer(200))
        async let result = self.call(caller, script)
        await self.clock.waitForSleepers(1)
        self.clock.advance(by: .seconds(10))
        let (value, explanation) = try await result
        #expect(value == 200 && explanation.attempts.map(\.note) == ["no answer", "200"])
        #expect(explanation.attempts.first?.tookMicroseconds == 10_000_000)
    }

    @Test func theBulkheadLetsInAsManyAsItMayAndTheRestInTurn() async throws {
        let caller = self.caller {
            $0.bulkhead = BulkheadPolicy(maxConcurrent: 1, maxWaiting: 1, longestWait: .seconds(60))
        }
        let script = Script(.hang, .answer(200))
        async let first = self.failure { try await self.call(caller, script, isRepeatable: false) }
        await self.clock.waitForSleepers(1)
        async let second = self.call(caller, script)
        await self.clock.waitForSleepers(2)
        let third = await self.failure { try await self.call(caller, script) }
        #expect(third?.kind == .tooManyCalls && third?.retry == .notSent)
        let service = caller.snapshot().services.first
        #expect(service?.running == 1 && service?.waiting == 1)
        self.clock.advance(by: .seconds(10))
        #expect(await first?.kind == .attemptFailed)
        let (value, explanation) = try await second
        #expect(value == 200 && explanation.waitedMicroseconds == 10_000_000)
        #expect(caller.snapshot().services.first?.running == 0)
    }

    @Test func whoWaitsTooLongForAPlaceIsRefused() async throws {
        let caller = self.caller {
            $0.bulkhead = BulkheadPolicy(maxConcurrent: 1, maxWaiting: 1, longestWait: .seconds(2))
        }
        let script = Script(.hang)
        async let first = self.failure { try await self.call(caller, script, isRepeatable: false) }
        await self.clock.waitForSleepers(1)
        async let second = self.failure { try await self.call(caller, script) }
        await self.clock.waitForSleepers(2)
        self.clock.advance(by: .seconds(2))
        #expect(await second?.kind == .tooManyCalls)
        #expect(caller.snapshot().services.first?.waiting == 0)
        await self.clock.waitForSleepers(1)
        self.clock.advance(by: .seconds(8))
        #expect(await first?.kind == .attemptFailed)
    }

    @Test func theRateLimitMakesCallsWaitOrRefusesThem() async throws {
        let caller = self.caller {
            $0.rateLimit = RateLimitPolicy(calls: 1, per: .seconds(1), longestWait: .seconds(1))
        }
        #expect(try await self.call(caller, Script()).value == 200)
        async let second = self.call(caller, Script())
        await self.clock.waitForSleepers(1)
        let third = await self.failure { try await self.call(caller, Script()) }
        #expect(third?.kind == .rateLimited && third?.retryAfter == .seconds(2))
        self.clock.advance(by: .seconds(1))
        #expect(try await second.explanation.waitedMicroseconds == 1_000_000)
    }

    @Test func aHedgeOvertakesASlowTryAtAnotherInstance() async throws {
        let caller = self.caller { $0.hedge = HedgePolicy(delay: .milliseconds(100)) }
        let script = Script(.hang, .answer(200))
        async let result = self.call(caller, script)
        await self.clock.waitForSleepers(2)
        self.clock.advance(by: .milliseconds(100))
        let (value, explanation) = try await result
        #expect(value == 200 && script.instances == ["i-1", "i-2"])
        #expect(explanation.attempts.map(\.isHedge) == [false, true])
        #expect(explanation.attempts.map(\.note) == ["cancelled", "200"])
        // The slow one was cancelled, which says nothing about it, and is not under way any more.
        let instances = caller.snapshot().services.first?.instances
        #expect(instances?.map(\.inFlight) == [0, 0] && instances?.map(\.breaker) == [.closed, .closed])
    }

    @Test func aFailureStartsTheHedgeAtOnceAndTheLastFailureIsTheCalls() async throws {
        let caller = self.caller { $0.hedge = HedgePolicy(delay: .seconds(20), maxAttempts: 3) }
        // Also where a hedge would come too late for the deadline.
        let late = self.caller { $0.hedge = HedgePolicy(delay: .seconds(100), maxAttempts: 2) }
        #expect(try await self.call(late, Script(.fail(.notSent), .answer(200))).value == 200)
        let script = Script(.fail(.notSent), .fail(.mayHaveRun), .fail(.notSent), .answer(200))
        let failure = await self.failure { try await self.call(caller, script) }
        #expect(failure?.attempts == 3 && failure?.retry == .mayHaveRun)
        #expect(failure?.explanation.stop == .attemptsSpent)
    }

    @Test func hedgesCountAgainstTheBudgets() async throws {
        let caller = self.caller {
            $0.hedge = HedgePolicy(delay: .seconds(20), maxAttempts: 3)
            $0.retryBudget = RetryBudgetPolicy(percent: 0, minimum: 1)
        }
        let script = Script(.fail(.notSent), .fail(.notSent), .answer(200))
        let failure = await self.failure { try await self.call(caller, script) }
        #expect(failure?.attempts == 2 && failure?.explanation.stop == .clientBudgetSpent)
        let context = RequestContext(requestID: "r", retryBudget: 0)
        let none = await self.failure { try await self.call(self.hedging(), Script(.fail(.notSent)), context: context) }
        #expect(none?.attempts == 1 && none?.explanation.stop == .hopBudgetSpent)
    }

    private func hedging() -> ResilientCaller { self.caller { $0.hedge = HedgePolicy(delay: .seconds(20)) } }

    @Test func whatMustNotBeRepeatedIsNotHedged() async throws {
        let script = Script(.fail(.mayHaveRun), .answer(200))
        let failure = await self.failure { try await self.call(self.hedging(), script, isRepeatable: false) }
        #expect(failure?.attempts == 1 && failure?.explanation.stop == .notRepeatable)
    }

    @Test(arguments: [true, false]) func cancellationIsCancellationAndBlamesNobody(_ isHedging: Bool) async throws {
        let caller = self.caller {
            $0.breaker?.consecutiveFailures = 1
            if isHedging { $0.hedge = HedgePolicy(delay: .seconds(20)) }
        }
        let script = Script(.hang)
        await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                do {
                    _ = try await self.call(caller, script)
                    return false
                } catch { return error is CancellationError }
            }
            await self.clock.waitForSleepers(isHedging ? 2 : 1)
            group.cancelAll()
            #expect(await group.next() == true)
        }
        let service = caller.snapshot().services.first
        #expect(service?.running == 0 && service?.instances.map(\.inFlight) == [0, 0])
        #expect(service?.instances.map(\.breaker) == [.closed, .closed])
    }

    @Test func operatorsTakeInstancesOutAndPutThemBack() async throws {
        let caller = self.caller()
        #expect(caller.isolate("i-1", of: "user-service"))
        let script = Script()
        for _ in 0..<4 { _ = try await self.call(caller, script) }
        #expect(Set(script.instances) == ["i-2"])
        let snapshot = caller.snapshot()
        #expect(snapshot.services.first?.isolated == ["i-1"])
        #expect(snapshot.services.first?.instances.map(\.standing) == [.isolated, .available])
        let copy = try JSONDecoder().decode(ResilienceSnapshot.self, from: try JSONEncoder().encode(snapshot))
        #expect(copy == snapshot)
        #expect(caller.release("i-1", of: "user-service") && !caller.release("i-1", of: "user-service"))
        for _ in 0..<4 { _ = try await self.call(caller, script) }
        #expect(Set(script.instances) == ["i-1", "i-2"])
    }

    @Test func anExplanationIsCodable() async throws {
        let failure = await self.failure {
            try await self.call(self.caller(), Script(.fail(.notSent), .answer(503), .fail(.mayHaveRun)))
        }
        let explanation = try #require(failure?.explanation)
        let copy = try JSONDecoder().decode(CallExplanation.self, from: try JSONEncoder().encode(explanation))
        #expect(copy == explanation)
        #expect(
            explanation.description == """
                Call to user-service, 0.0 ms: all tries were made.
                  1. after 0.0 ms: i-1 at 10.0.0.1:1: broken in 0.0 ms
                  2. after 0.0 ms: i-2 at 10.0.0.1:2: 503 in 0.0 ms
                  3. after 0.0 ms: i-1 at 10.0.0.1:1: broken in 0.0 ms
                  Instances: i-1 (10.0.0.1:1) available, i-2 (10.0.0.1:2) available.
                  Retries left: 2 of this client.
                """
        )
    }

    @Test func theNumberOfServicesIsLimited() async throws {
        let caller = self.caller()
        for number in 0...ResilientCaller.maxServices {
            _ = try await caller.call(
                Call(ServiceName("s-\(number)") ?? "s", isRepeatable: true),
                targets: { [target(1)] },
                classify: { _, _ in Judgement(.success, note: "") },
                attempt: { _ in 1 }
            )
        }
        #expect(caller.snapshot().services.count <= ResilientCaller.maxServices)
    }

    /// Many calls at once over instances that fail at random: everything that was begun has ended.
    @Test(arguments: 1...6 as ClosedRange<UInt64>) func nothingIsLeftUnderWay(seed: UInt64) async throws {
        let caller = self.caller {
            $0.bulkhead = BulkheadPolicy(maxConcurrent: 8, maxWaiting: 1_000, longestWait: .seconds(60))
            if seed % 2 == 0 { $0.hedge = HedgePolicy(delay: .milliseconds(1), maxAttempts: 3) }
        }
        let lots = Lots(seed)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<300 {
                group.addTask {
                    let script = Script(
                        lots.one(of: [.answer(200), .answer(503), .fail(.notSent), .fail(.mayHaveRun)]),
                        lots.one(of: [.answer(200), .answer(500), .fail(.notSent)])
                    )
                    _ = await self.failure { try await self.call(caller, script, instances: 4) }
                }
            }
        }
        let service = caller.snapshot().services.first
        #expect(service?.running == 0 && service?.waiting == 0, "seed \(seed)")
        #expect(service?.instances.map(\.inFlight) == [0, 0, 0, 0], "seed \(seed)")
    }
}
