internal import Synchronization

/// One result that is waited for, possibly before it is there, possibly by several, possibly by nobody any more.
final class Completion<Value: Sendable>: Sendable {
    private struct State {
        var result: Result<Value, any Error>?
        var abandoned = false
        var nextWaiter: UInt64 = 0
        var waiters: [UInt64: CheckedContinuation<Value, any Error>] = [:]
        var observers: [@Sendable () -> Void] = []
    }

    private let state = Mutex(State())

    init() {}

    var isDone: Bool { self.state.withLock { $0.result != nil } }

    var hasFailed: Bool {
        self.state.withLock { state in if case .failure = state.result { true } else { false } }
    }

    /// The first result counts. Returns whether it was this one and somebody may still take it: a reply that nobody
    /// takes (a message that was got, a channel that was opened) has to be undone by the caller.
    @discardableResult
    func complete(_ result: Result<Value, any Error>) -> Bool {
        let (waiters, observers, taken) = self.state.withLock { state in
            guard state.result == nil else {
                return ([CheckedContinuation<Value, any Error>](), [@Sendable () -> Void](), false)
            }
            state.result = result
            defer { (state.waiters, state.observers) = ([:], []) }
            return (Array(state.waiters.values), state.observers, !state.abandoned)
        }
        for waiter in waiters { waiter.resume(with: result) }
        for observer in observers { observer() }
        return taken
    }

    /// Calls back once there is a result, now if there is one; whoever calls must not wait in it.
    func whenDone(_ observer: @escaping @Sendable () -> Void) {
        let now = self.state.withLock { state in
            if state.result == nil { state.observers.append(observer) }
            return state.result != nil
        }
        if now { observer() }
    }

    /// - Throws: `CancellationError` as soon as the task is cancelled; the completion then counts as abandoned.
    func value() async throws -> Value {
        let (waiter, now) = self.state.withLock { state in
            state.nextWaiter += 1
            return (state.nextWaiter, state.result)
        }
        // Mostly it is there: no continuation then.
        if let now { return try now.get() }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let now: Result<Value, any Error>? = self.state.withLock { state in
                    if let result = state.result { return result }
                    if Task.isCancelled {
                        state.abandoned = true
                        return .failure(CancellationError())
                    }
                    state.waiters[waiter] = continuation
                    return nil
                }
                if let now { continuation.resume(with: now) }
            }
        } onCancel: {
            let continuation = self.state.withLock { state in
                let continuation = state.waiters.removeValue(forKey: waiter)
                if continuation != nil, state.waiters.isEmpty { state.abandoned = true }
                return continuation
            }
            continuation?.resume(throwing: CancellationError())
        }
    }
}
