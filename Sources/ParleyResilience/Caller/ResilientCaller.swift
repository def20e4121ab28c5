public import ParleyCore
internal import Synchronization

/// Carries out a ``ResiliencePolicy`` for the calls of one client, whatever they are sent by. ParleyHTTPClient's
/// client is made with it; a client of another protocol is a closure that sends one try.
///
/// What it learns belongs to the client and is forgotten with it; about an instance, when the resolver forgets that.
/// Every call ends with a ``CallExplanation``.
public final class ResilientCaller: Sendable {
    /// The names come from the program itself; the limit only keeps a mistake from growing without end.
    public static let maxServices = 4_096

    public let policy: ResiliencePolicy
    let time: any TimeSource
    let random: any RandomSource
    let onEvent: @Sendable (CallEvent) -> Void
    private let lanes = Mutex<[ServiceName: ServiceLane]>([:])

    public convenience init(
        policy: ResiliencePolicy,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) {
        self.init(policy: policy, time: time, random: random, onEvent: { _ in })
    }

    /// - Parameter onEvent: called outside all locks, on the task of the call; it should be quick.
    package init(
        policy: ResiliencePolicy,
        time: any TimeSource,
        random: any RandomSource,
        onEvent: @escaping @Sendable (CallEvent) -> Void
    ) {
        self.policy = policy
        self.time = time
        self.random = random
        self.onEvent = onEvent
    }

    /// Calls `attempt` until an outcome of it is worth returning, or the policy has had enough.
    ///
    /// - Parameters:
    ///   - targets: the instances at this moment; asked before each try.
    ///   - classify: what the end of a try means. Not asked when the caller's task was cancelled.
    ///   - attempt: sends it once; keeps to the limit of its ``Attempt``.
    /// - Returns: the value of the last try, also one that was classified as a failure.
    /// - Throws: ``CallFailure``, or `CancellationError` when the task is cancelled.
    public func call<Value: Sendable>(
        _ call: Call,
        targets: @escaping @Sendable () async throws -> [CallTarget],
        classify: @escaping @Sendable (Result<Value, any Error>, Attempt) -> Judgement,
        attempt: @escaping @Sendable (Attempt) async throws -> Value
    ) async throws -> (value: Value, explanation: CallExplanation) {
        let start = self.time.moment
        // The deadline: above everything that waits, so that every wait ends with it.
        let own = call.deadline ?? Deadline(start.advanced(by: self.policy.timeout.between(.zero, .seconds(864_000))))
        let limits = AttemptLimit(
            deadline: min(own, call.context?.deadline ?? own),
            attemptTimeout: self.policy.attemptTimeout
        )
        let lane = self.lane(for: call.service)
        let run = CallRun(
            caller: self,
            lane: lane,
            call: call,
            key: call.key.map { StableHash.of($0) },
            limits: limits,
            start: start,
            targets: targets
        )
        guard !limits.deadline.hasPassed(at: start) else { throw run.refusal(.deadline) }
        // Rate limit and bulkhead: above the retries, so that a call in difficulties does not queue anew for each try,
        // and a service in difficulties does not get more at once by being tried again.
        let entered: Moment
        do { entered = try await lane.enter(deadline: limits.deadline, at: start) } catch {
            if case .cancelled = error { throw CancellationError() }
            throw run.refusal(error)
        }
        defer { lane.leave() }
        // Hedge or retry: above the choice of an instance, so that each try goes elsewhere; below the bulkhead and
        // the deadline, which hold for all tries together.
        if let hedge = self.policy.hedge, call.isRepeatable {
            let values = HedgedValues<Value>()
            let (number, explanation) = try await run.hedged(hedge, entered: entered) { tried in
                await Self.ask(tried, attempt, classify) { values.keep($0, of: tried.number) }
            }
            guard let value = values.take(number) else { throw CancellationError() }
            return (value, explanation)
        }
        var value: Value?
        let explanation = try await run.retried(entered: entered) { tried in
            value = nil
            return await Self.ask(tried, attempt, classify) { value = $0 }
        }
        guard let value else { throw CancellationError() }
        return (value, explanation)
    }

    /// One try, by the caller's closures.
    private static func ask<Value: Sendable>(
        _ tried: Attempt,
        _ attempt: (Attempt) async throws -> Value,
        _ classify: (Result<Value, any Error>, Attempt) -> Judgement,
        keep: (Value) -> Void
    ) async -> AttemptAnswer {
        do {
            let value = try await attempt(tried)
            let judgement = classify(.success(value), tried)
            keep(value)
            return AttemptAnswer(result: .value, judgement: judgement)
        } catch {
            if Task.isCancelled {
                return AttemptAnswer(result: .cancelled, judgement: Judgement(.cancelled, note: "cancelled"))
            }
            let judgement = classify(.failure(error), tried)
            let wait = judgement.verdict.retryAfter
            return AttemptAnswer(
                result: .failure(.attemptFailed, cause: error, retryAfter: wait),
                judgement: judgement
            )
        }
    }

    private func lane(for service: ServiceName) -> ServiceLane {
        self.lanes.withLock { lanes in
            if let lane = lanes[service] { return lane }
            if lanes.count >= Self.maxServices {
                // First those that nobody uses, then all that holds no decision of a person.
                lanes = lanes.filter { !$0.value.state.withLock(\.isIdle) }
                if lanes.count >= Self.maxServices {
                    lanes = lanes.filter { !$0.value.state.withLock(\.pool.isolated.isEmpty) }
                }
                if lanes.count >= Self.maxServices { lanes.removeAll() }
            }
            let lane = ServiceLane(service, policy: self.policy, time: self.time, seed: self.random.next())
            lanes[service] = lane
            return lane
        }
    }
}

// MARK: - By hand, and to look at

extension ResilientCaller {
    /// Sends nothing to an instance until ``release(_:of:)``, also when it is not known (yet), or goes and comes back.
    ///
    /// - Returns: `false` when too many are taken out already (4,096).
    public func isolate(_ instance: String, of service: ServiceName) -> Bool {
        self.lane(for: service).state.withLock { $0.pool.isolate(instance) }
    }

    /// - Returns: whether it was isolated.
    public func release(_ instance: String, of service: ServiceName) -> Bool {
        self.lane(for: service).state.withLock { $0.pool.release(instance) }
    }

    public func snapshot() -> ResilienceSnapshot {
        let now = self.time.moment
        let lanes = self.lanes.withLock { Array($0.values) }
        return ResilienceSnapshot(services: lanes.map { $0.snapshot(at: now) }.sorted { $0.name < $1.name })
    }
}
