internal import ParleyCore
internal import Synchronization

/// What a transport made of a try, but for its value, which is kept by whoever made the closure. All that stands
/// between the two ends of a call is the same for every type; what is generic costs a look-up for each thing that is
/// done with it.
struct AttemptAnswer: Sendable {
    var result: AttemptEnd.Result
    var judgement: Judgement
}

/// How a try ended.
struct AttemptEnd: Sendable {
    enum Result: Sendable {
        case value
        case failure(CallFailure.Kind, cause: (any Error)?, retryAfter: Duration?)
        case cancelled
    }

    var result: Result
    var verdict: Verdict
    /// When.
    var moment: Moment
    var target: CallTarget?
    /// Of the instance, so that the next try goes elsewhere.
    var serial: UInt64?
    var record: CallExplanation.Attempt
    var instances: Int
    var clientBudgetLeft: Int?

    /// Whether anybody had work with it. A try for which there was nobody, or no connection, is no load, and its
    /// repetition elsewhere makes no overload worse: budgets are for the others. (A client with little traffic would
    /// otherwise fail for the few calls that it takes until the breaker of a dead instance opens.)
    var wasLoad: Bool {
        self.target != nil && !(self.verdict.safety == .notSent && self.verdict.health == .ill)
    }
}

/// One call on its way: what stays the same over its tries.
struct CallRun: Sendable {
    let caller: ResilientCaller
    let lane: ServiceLane
    let call: Call
    let key: UInt64?
    let limits: AttemptLimit
    let start: Moment
    let targets: @Sendable () async throws -> [CallTarget]

    private var time: any TimeSource { self.caller.time }

    /// One after the other.
    ///
    /// - Parameters:
    ///   - entered: when the call had its turn.
    ///   - attempt: sends it; the value that it came to last is the call's.
    /// - Throws: if that is no value.
    func retried(
        entered: Moment,
        _ attempt: (Attempt) async -> AttemptAnswer
    ) async throws -> CallExplanation {
        var machine = RetryMachine(
            policy: self.caller.policy.retry,
            isRepeatable: self.call.isRepeatable,
            hopBudget: self.call.context?.retryBudget,
            deadline: self.limits.deadline
        )
        var story = Story(self, entered: entered)
        var last: AttemptEnd?
        while true {
            machine.begin()
            let end = await self.once(
                number: machine.attempts,
                hopBudget: machine.hopBudget,
                avoiding: story.tried,
                isHedge: false,
                attempt: attempt
            )
            if case .cancelled = end.result { throw CancellationError() }
            story.add(end)
            // Breakers have opened while this call was at it: what the last try came to says more than that.
            if case .failure(.unavailable, _, _) = end.result {
                let end = last ?? end
                return try story.finish(end, machine: machine, stop: .nobodyAvailable, at: self.time.moment, self)
            }
            let now = end.moment
            let action = machine.ended(
                end.verdict,
                at: now,
                chance: end.verdict.outcome == .retryableFailure ? self.unitChance() : 0,
                withdraw: { !end.wasLoad || self.lane.withdraw(at: now) }
            )
            switch action {
            case .stop(let reason):
                return try story.finish(end, machine: machine, stop: reason, at: now, self)
            case .retry(let delay):
                last = end
                self.caller.onEvent(.retry(service: self.call.service, attempt: machine.attempts, delay: delay))
                if delay > .zero { try await self.time.sleep(until: now.advanced(by: delay).instant) }
            }
        }
    }

    /// The instances, by a resolver that knows until when they are of use.
    private func lookedUp() async throws -> [CallTarget] {
        guard var context = self.call.context else { return try await self.targets() }
        context.deadline = self.limits.deadline
        return try await context.withCurrent { try await self.targets() }
    }

    private func unitChance() -> Double { self.lane.state.withLock { $0.unitChance() } }

    /// Chooses an instance, asks it, and tells everybody what came of it.
    func once(
        number: Int,
        hopBudget: Int?,
        avoiding tried: [UInt64],
        isHedge: Bool,
        onPick: (UInt64) -> Void = { _ in },
        attempt: (Attempt) async -> AttemptAnswer
    ) async -> AttemptEnd {
        let targets: [CallTarget]
        do { targets = try await self.lookedUp() } catch {
            if Task.isCancelled { return self.nobodyAsked(number, .cancelled, note: "cancelled") }
            let failure = AttemptEnd.Result.failure(.resolverFailed, cause: error, retryAfter: nil)
            return self.nobodyAsked(number, failure, note: "its instances could not be looked up")
        }
        let began = self.time.moment
        // A look-up may have taken all the time there was; then nothing must be sent any more.
        if self.limits.deadline.hasPassed(at: began) {
            let failure = AttemptEnd.Result.failure(.deadlinePassed, cause: nil, retryAfter: nil)
            return self.nobodyAsked(number, failure, note: "its instances were looked up too late")
        }
        // The pick counts the try with the breaker and the balancer in the same step: nobody else can take the last
        // place of a half-open breaker in between.
        let (pick, instances) = self.lane.state.withLock { state in
            state.pool.update(targets)
            let chance = state.chance()
            return (state.pool.pick(avoiding: tried, key: self.key, at: began, chance: chance), state.pool.count)
        }
        switch pick {
        case .nobody:
            let failure = AttemptEnd.Result.failure(.nobody, cause: nil, retryAfter: nil)
            return self.nobodyAsked(number, failure, note: "no instance is known")
        case .unavailable(let until):
            let wait = until.map { max(.zero, began.duration(to: $0)) }
            var end = self.nobodyAsked(
                number,
                .failure(.unavailable, cause: nil, retryAfter: wait),
                note: "no instance may be called"
            )
            end.instances = instances
            return end
        case .picked(let ticket):
            onPick(ticket.serial)
            // The attempt timeout: below the breaker, which must see that it happened.
            let limit = self.limits.limit(at: began)
            let answer = await attempt(
                Attempt(
                    target: ticket.target,
                    number: number,
                    limit: limit,
                    deadline: self.limits.deadline,
                    hopBudget: hopBudget,
                    blamesTimeout: self.limits.blamesInstance(began: began, limit: limit)
                )
            )
            return self.ended(answer, ticket, number, isHedge: isHedge, began: began, instances: instances)
        }
    }

    /// Tells everybody what came of a try.
    private func ended(
        _ answer: AttemptAnswer,
        _ ticket: InstancePool.Ticket,
        _ number: Int,
        isHedge: Bool,
        began: Moment,
        instances: Int
    ) -> AttemptEnd {
        let judgement = answer.judgement
        let now = self.time.moment
        let (changes, budget) = self.lane.state.withLock { state in
            let chance = state.unitChance()
            let changes = state.pool.end(ticket, judgement.verdict.health, at: now, chance: chance)
            return (changes, state.budget?.left(at: now))
        }
        for change in changes { self.caller.onEvent(.changed(service: self.call.service, change)) }
        return AttemptEnd(
            result: answer.result,
            verdict: judgement.verdict,
            moment: now,
            target: ticket.target,
            serial: ticket.serial,
            record: CallExplanation.Attempt(
                number: number,
                instance: ticket.target.id,
                endpoint: ticket.place,
                begunAfterMicroseconds: self.start.duration(to: began).inMicroseconds,
                tookMicroseconds: began.duration(to: now).inMicroseconds,
                outcome: judgement.verdict.outcome,
                health: judgement.verdict.health,
                breaker: ticket.breaker,
                isHedge: isHedge,
                note: judgement.note
            ),
            instances: instances,
            clientBudgetLeft: budget
        )
    }

    private func nobodyAsked(_ number: Int, _ result: AttemptEnd.Result, note: String) -> AttemptEnd {
        let now = self.time.moment
        return AttemptEnd(
            result: result,
            verdict: .nobody,
            moment: now,
            target: nil,
            serial: nil,
            record: CallExplanation.Attempt(
                number: number,
                instance: nil,
                endpoint: nil,
                begunAfterMicroseconds: self.start.duration(to: now).inMicroseconds,
                tookMicroseconds: 0,
                outcome: .retryableFailure,
                health: .unknown,
                breaker: .closed,
                isHedge: false,
                note: note
            ),
            instances: 0,
            clientBudgetLeft: self.lane.state.withLock { $0.budget?.left(at: now) }
        )
    }

    /// The error of a call that was not begun.
    func refusal(_ refusal: ServiceLane.Refusal) -> CallFailure {
        let kind: CallFailure.Kind
        let stop: StopReason
        var retryAfter: Duration?
        switch refusal {
        case .deadline, .cancelled: (kind, stop) = (.deadlinePassed, .deadline)
        case .tooManyCalls: (kind, stop) = (.tooManyCalls, .tooManyCalls)
        case .rateLimited(let wait):
            (kind, stop) = (.rateLimited, .rateLimited)
            retryAfter = wait
        }
        var explanation = CallExplanation(service: self.call.service.description, stop: stop)
        let now = self.time.moment
        explanation.tookMicroseconds = self.start.duration(to: now).inMicroseconds
        explanation.waitedMicroseconds = explanation.tookMicroseconds
        explanation.hopBudgetLeft = self.call.context?.retryBudget
        let (considered, instances, budget) = self.lane.state.withLock {
            ($0.pool.considered(at: now), $0.pool.count, $0.budget?.left(at: now))
        }
        explanation.considered = considered
        explanation.instances = instances
        explanation.clientBudgetLeft = budget
        return CallFailure(
            kind: kind,
            retry: .notSent,
            target: nil,
            retryAfter: retryAfter,
            cause: nil,
            attempts: 0,
            explanation: explanation
        )
    }
}

/// What is to be told of a call, while it goes on.
struct Story {
    private var explanation: CallExplanation
    /// Instances that this call has failed at, the last one last.
    private(set) var tried: [UInt64] = []

    init(_ run: CallRun, entered: Moment) {
        self.explanation = CallExplanation(service: run.call.service.description)
        self.explanation.waitedMicroseconds = run.start.duration(to: entered).inMicroseconds
    }

    mutating func add(_ end: AttemptEnd) {
        self.explanation.attempts.append(end.record)
        self.explanation.instances = max(end.instances, self.explanation.instances)
        self.explanation.clientBudgetLeft = end.clientBudgetLeft
        if let serial = end.serial, end.verdict.outcome != .success {
            self.tried.removeAll { $0 == serial }
            self.tried.append(serial)
        }
    }

    /// - Parameter end: the try whose outcome is the call's.
    ///
    /// - Throws: the failure, if it is one.
    mutating func finish(
        _ end: AttemptEnd,
        machine: RetryMachine,
        stop: StopReason,
        at now: Moment,
        _ run: CallRun
    ) throws -> CallExplanation {
        self.explanation.stop = stop
        // Hedges end in an order of their own.
        if self.explanation.attempts.count > 1 { self.explanation.attempts.sort { $0.number < $1.number } }
        self.explanation.hopBudgetLeft = machine.hopBudget
        self.explanation.tookMicroseconds = run.start.duration(to: now).inMicroseconds
        if end.verdict.outcome != .success {
            self.explanation.considered = run.lane.state.withLock { $0.pool.considered(at: now) }
        }
        switch end.result {
        case .value:
            return self.explanation
        case .cancelled:
            throw CancellationError()
        case .failure(let kind, let cause, let retryAfter):
            // One try that may have been carried out decides for all of them.
            let retry = end.verdict.safety
            throw CallFailure(
                kind: kind,
                retry: retry == .notSent && machine.mayHaveRun ? .mayHaveRun : retry,
                target: end.target,
                retryAfter: retryAfter,
                cause: cause,
                attempts: machine.attempts,
                explanation: self.explanation
            )
        }
    }
}
