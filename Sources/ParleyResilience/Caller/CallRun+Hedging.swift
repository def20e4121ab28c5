internal import ParleyCore
internal import Synchronization

/// Instances that tries of this call have been sent to, also those that are still under way.
private final class PickedInstances: Sendable {
    private let list = Mutex<[UInt64]>([])

    var serials: [UInt64] { self.list.withLock { $0 } }

    func add(_ serial: UInt64) { self.list.withLock { $0.append(serial) } }
}

/// What tries of this call came to, by their numbers; as many as the policy lets it make.
final class HedgedValues<Value: Sendable>: Sendable {
    private let values = Mutex<[Int: Value]>([:])

    func keep(_ value: Value, of number: Int) { self.values.withLock { $0[number] = value } }

    func take(_ number: Int) -> Value? { self.values.withLock { $0.removeValue(forKey: number) } }
}

extension CallRun {
    private enum Event: Sendable {
        case ended(AttemptEnd)
        case timer
    }

    /// Several tries beside each other; see ``HedgeMachine``.
    ///
    /// - Returns: the number of the try whose value is the call's.
    func hedged(
        _ policy: HedgePolicy,
        entered: Moment,
        _ attempt: @escaping @Sendable (Attempt) async -> AttemptAnswer
    ) async throws -> (number: Int, explanation: CallExplanation) {
        var hedge = HedgeMachine(
            policy: policy,
            deadline: self.limits.deadline,
            longestRetryAfter: self.caller.policy.retry?.longestRetryAfter ?? .seconds(60)
        )
        // Only counts here: which tries were made, and whether one may have been carried out.
        var counts = RetryMachine(
            policy: .never,
            isRepeatable: true,
            hopBudget: self.call.context?.retryBudget,
            deadline: self.limits.deadline
        )
        var story = Story(self, entered: entered)
        let picked = PickedInstances()
        return try await withThrowingTaskGroup(of: Event.self) { group in
            counts.begin()
            hedge.start(at: self.caller.time.moment)
            self.add(counts, picked, isHedge: false, attempt, to: &group)
            self.addTimer(hedge.nextStart, to: &group)
            var last: AttemptEnd?
            var verdict: (end: AttemptEnd, stop: StopReason)?
            while verdict == nil, let event = try await group.next() {
                let now = self.caller.time.moment
                switch event {
                case .ended(let end):
                    if case .cancelled = end.result { throw CancellationError() }
                    story.add(end)
                    if case .failure(.unavailable, _, _) = end.result {
                        if hedge.foundNobody() { verdict = (last ?? end, .nobodyAvailable) }
                        continue
                    }
                    last = end
                    _ = counts.ended(end.verdict, at: now, chance: 0, withdraw: { false })
                    switch hedge.ended(end.verdict, at: now) {
                    case .finish(let reason): verdict = (end, reason)
                    case .goOn: self.addTimer(hedge.nextStart, to: &group)
                    }
                case .timer:
                    // One that an earlier outcome has put off, or brought forward.
                    guard hedge.isDue(at: now) else { continue }
                    if let reason = self.refusal(of: counts, at: now) {
                        if hedge.refuse(reason), let last { verdict = (last, reason) }
                        continue
                    }
                    let isHedge = hedge.running > 0
                    counts.hedged()
                    hedge.start(at: now)
                    self.caller.onEvent(.retry(service: self.call.service, attempt: counts.attempts, delay: .zero))
                    self.add(counts, picked, isHedge: isHedge, attempt, to: &group)
                    self.addTimer(hedge.nextStart, to: &group)
                }
            }
            guard let verdict else { throw CancellationError() }
            // Whoever comes second is cancelled; it says so to breaker and balancer, and is a part of the story.
            group.cancelAll()
            while let event = await group.nextResult() {
                guard case .success(.ended(let end)) = event else { continue }
                story.add(end)
            }
            let now = self.caller.time.moment
            let explanation = try story.finish(verdict.end, machine: counts, stop: verdict.stop, at: now, self)
            return (verdict.end.record.number, explanation)
        }
    }

    private func refusal(of counts: RetryMachine, at now: Moment) -> StopReason? {
        if counts.hopBudget == 0 { return .hopBudgetSpent }
        return self.lane.withdraw(at: now) ? nil : .clientBudgetSpent
    }

    private func add(
        _ counts: RetryMachine,
        _ picked: PickedInstances,
        isHedge: Bool,
        _ attempt: @escaping @Sendable (Attempt) async -> AttemptAnswer,
        to group: inout ThrowingTaskGroup<Event, any Error>
    ) {
        let (number, hopBudget) = (counts.attempts, counts.hopBudget)
        group.addTask {
            let end = await self.once(
                number: number,
                hopBudget: hopBudget,
                avoiding: picked.serials,
                isHedge: isHedge,
                onPick: { picked.add($0) },
                attempt: attempt
            )
            return .ended(end)
        }
    }

    private func addTimer(_ moment: Moment?, to group: inout ThrowingTaskGroup<Event, any Error>) {
        guard let moment else { return }
        let time = self.caller.time
        group.addTask {
            try await time.sleep(until: moment.instant)
            return .timer
        }
    }
}
