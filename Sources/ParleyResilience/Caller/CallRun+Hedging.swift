internal import ParleyCore
internal import Synchronization

/// Instances that tries of this call have been sent to, also those that are still under way.
private final class PickedInstances: Sendable {
    private let list = Mutex<[UInt64]>([])

    var serials: [UInt64] { self.list.withLock { $0 } }

    func add(_ serial: UInt64) { self.list.withLock { $0.append(serial) } }
}

extension CallRun {
    private enum Event: Sendable {
        case ended(End)
        case timer
    }

    /// Several tries beside each other; see ``HedgeMachine``.
    func hedged(_ policy: HedgePolicy) async throws -> (value: Value, explanation: CallExplanation) {
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
        var story = Story(self)
        let picked = PickedInstances()
        return try await withThrowingTaskGroup(of: Event.self) { group in
            // Whoever comes second is cancelled, and says so to breaker and balancer before the group ends.
            defer { group.cancelAll() }
            counts.begin()
            hedge.start(at: self.caller.time.now)
            self.add(counts, picked, isHedge: false, to: &group)
            self.addTimer(hedge.nextStart, to: &group)
            var last: End?
            while let event = try await group.next() {
                let now = self.caller.time.now
                switch event {
                case .ended(let end):
                    if case .cancelled = end.result { throw CancellationError() }
                    story.add(end)
                    if case .failure(.unavailable, _, _) = end.result {
                        if hedge.foundNobody() {
                            return try story.finish(last ?? end, machine: counts, stop: .nobodyAvailable, self)
                        }
                        continue
                    }
                    last = end
                    _ = counts.ended(end.verdict, at: now, chance: 0, withdraw: { false })
                    if case .finish(let reason) = hedge.ended(end.verdict, at: now) {
                        return try story.finish(end, machine: counts, stop: reason, self)
                    }
                    self.addTimer(hedge.nextStart, to: &group)
                case .timer:
                    // One that an earlier outcome has put off, or brought forward.
                    guard hedge.isDue(at: now) else { continue }
                    let reason: StopReason? =
                        counts.hopBudget == 0
                        ? .hopBudgetSpent : self.lane.withdraw(at: now) ? nil : .clientBudgetSpent
                    if let reason {
                        guard hedge.refuse(reason) else { continue }
                        if let last { return try story.finish(last, machine: counts, stop: reason, self) }
                        continue
                    }
                    let isHedge = hedge.running > 0
                    counts.hedged()
                    hedge.start(at: now)
                    self.caller.onEvent(.retry(service: self.call.service, attempt: counts.attempts, delay: .zero))
                    self.add(counts, picked, isHedge: isHedge, to: &group)
                    self.addTimer(hedge.nextStart, to: &group)
                }
            }
            throw CancellationError()
        }
    }

    private func add(
        _ counts: RetryMachine,
        _ picked: PickedInstances,
        isHedge: Bool,
        to group: inout ThrowingTaskGroup<Event, any Error>
    ) {
        let (number, hopBudget) = (counts.attempts, counts.hopBudget)
        group.addTask {
            .ended(
                await self.once(
                    number: number,
                    hopBudget: hopBudget,
                    avoiding: picked.serials,
                    isHedge: isHedge,
                    onPick: { picked.add($0) }
                )
            )
        }
    }

    private func addTimer(_ instant: ContinuousClock.Instant?, to group: inout ThrowingTaskGroup<Event, any Error>) {
        guard let instant else { return }
        let time = self.caller.time
        group.addTask {
            try await time.sleep(until: instant)
            return .timer
        }
    }
}
