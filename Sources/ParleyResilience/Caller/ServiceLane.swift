internal import ParleyCore
internal import Synchronization

/// What a client knows about one service. One lock around all of it: every call takes it four times, for a few
/// dozen nanoseconds each.
final class ServiceLane: Sendable {
    struct State: Sendable {
        var pool: InstancePool
        var budget: RetryBudget?
        var limiter: RateLimiter?
        var bulkhead: Bulkhead?
        var waiters: [UInt64: Signal] = [:]
        var nextWaiter: UInt64 = 0
        /// Lots of its own: the system's generator is a system call.
        var lot: UInt64

        mutating func chance() -> UInt64 {
            self.lot &+= 0x9E37_79B9_7F4A_7C15
            return StableHash.mixed(self.lot)
        }

        /// Uniform in 0..<1.
        mutating func unitChance() -> Double { Double(self.chance() >> 11) * 0x1p-53 }

        var isIdle: Bool { self.waiters.isEmpty && self.pool.isolated.isEmpty && (self.bulkhead?.running ?? 0) == 0 }
    }

    /// Why a call may not begin.
    enum Refusal: Error {
        case tooManyCalls
        case rateLimited(retryAfter: Duration)
        case deadline
        case cancelled
    }

    let service: ServiceName
    let state: Mutex<State>
    private let limitsRate: Bool
    private let time: any TimeSource

    init(_ service: ServiceName, policy: ResiliencePolicy, time: any TimeSource, seed: UInt64) {
        self.service = service
        self.time = time
        self.limitsRate = policy.rateLimit != nil
        self.state = Mutex(
            State(
                pool: InstancePool(policy),
                budget: policy.retryBudget.map { RetryBudget($0) },
                limiter: policy.rateLimit.map { RateLimiter($0) },
                bulkhead: policy.bulkhead.map { Bulkhead($0) },
                lot: seed
            )
        )
    }

    private enum Entry {
        case run
        case wait(id: UInt64, until: Moment, Signal)
        case refuse
    }

    /// Waits for its turn. ``leave()`` follows unless it throws.
    ///
    /// - Returns: when it had its turn; `begin` itself where it did not wait.
    func enter(
        deadline: Deadline,
        at begin: Moment
    ) async throws(Refusal) -> Moment {
        // Above the bulkhead: who waits for the rate must not hold a place meanwhile.
        let now = self.limitsRate ? try await self.awaitRate(deadline: deadline, at: begin) : begin
        let entry = self.state.withLock { state -> Entry in
            state.nextWaiter += 1
            let id = state.nextWaiter
            switch state.bulkhead?.enter(id, at: now) ?? .run {
            case .run:
                // Once for each call whatever its tries, for a retry must not pay for further retries; and not for one
                // that is refused here.
                state.budget?.deposit(at: now)
                return .run
            case .refuse: return .refuse
            case .wait(let until):
                let signal = Signal()
                state.waiters[id] = signal
                return .wait(id: id, until: until, signal)
            }
        }
        switch entry {
        case .run: return now
        case .refuse: throw .tooManyCalls
        case .wait(let id, let until, let signal):
            await signal.wait(after: 0, until: min(until, deadline.moment).instant, on: self.time)
            let hasGivenUp = self.state.withLock { state in
                state.waiters[id] = nil
                let hasGivenUp = state.bulkhead?.giveUp(id) ?? false
                if !hasGivenUp { state.budget?.deposit(at: self.time.moment) }
                return hasGivenUp
            }
            guard hasGivenUp else {
                // It was let in; perhaps at the very moment at which its caller went away.
                guard Task.isCancelled else { return self.time.moment }
                self.leave()
                throw .cancelled
            }
            if Task.isCancelled { throw .cancelled }
            throw deadline.hasPassed(at: self.time.moment) ? .deadline : .tooManyCalls
        }
    }

    private func awaitRate(
        deadline: Deadline,
        at now: Moment
    ) async throws(Refusal) -> Moment {
        // Who cannot wait for a turn takes none: it would be lost for all, and under overload nothing be sent at all.
        let patience = deadline.remaining(at: now)
        switch self.state.withLock({ $0.limiter?.take(at: now, patience: patience) }) {
        case .none, .admit: return now
        case .refuse(let wait): throw .rateLimited(retryAfter: wait)
        case .wait(let wait):
            do { try await self.time.sleep(until: now.advanced(by: wait).instant) } catch { throw .cancelled }
            return self.time.moment
        }
    }

    /// A call has ended.
    func leave() {
        let next = self.state.withLock { state -> Signal? in
            guard let id = state.bulkhead?.leave() else { return nil }
            return state.waiters.removeValue(forKey: id)
        }
        next?.ring()
    }

    func withdraw(at now: Moment) -> Bool {
        self.state.withLock { $0.budget?.withdraw(at: now) ?? true }
    }

    func snapshot(at now: Moment) -> ResilienceSnapshot.Service {
        self.state.withLock { state in
            ResilienceSnapshot.Service(
                name: self.service.description,
                running: state.bulkhead?.running ?? 0,
                waiting: state.bulkhead?.waiting ?? 0,
                retryBudgetLeft: state.budget?.left(at: now),
                instances: state.pool.snapshot(at: now),
                isolated: state.pool.isolated.sorted()
            )
        }
    }
}
