internal import Dispatch
internal import HeapModule
internal import Synchronization

/// Everybody in the process who sleeps on the system's clock, behind one timer.
///
/// Who is cancelled leaves nothing behind. The runtime's own sleep keeps a task and a timer, some 700 bytes, until the
/// time comes, also when it was cancelled long before; and most time limits are: a server with a limit of minutes for
/// each request would remember for minutes all that it has answered.
final class SleepQueue: Sendable {
    static let shared = SleepQueue()

    private struct Sleeper: Comparable {
        var end: ContinuousClock.Instant
        var id: UInt64

        static func < (first: Sleeper, second: Sleeper) -> Bool {
            (first.end, first.id) < (second.end, second.id)
        }
    }

    private struct State {
        var timer: (any DispatchSourceTimer)?
        /// When the timer fires; `nil` when nobody sleeps.
        var alarm: ContinuousClock.Instant?
        /// Also those who have been cancelled, as long as they are not the most.
        var sleepers = Heap<Sleeper>()
        var continuations: [UInt64: CheckedContinuation<Void, any Error>] = [:]
        var lastID: UInt64 = 0
    }

    private let state = Mutex(State())

    init() {
        self.state.withLock { state in
            let timer = DispatchSource.makeTimerSource()
            timer.setEventHandler { [weak self] in self?.wake() }
            timer.activate()
            state.timer = timer
        }
    }

    deinit { self.state.withLock { $0.timer?.cancel() } }

    /// How many ends are remembered.
    var count: Int { self.state.withLock { $0.sleepers.count } }

    /// - Throws: `CancellationError` as soon as the task is cancelled.
    func sleep(until end: ContinuousClock.Instant) async throws {
        try Task.checkCancellation()
        guard end > ContinuousClock.now else {
            // Whoever sleeps in a loop must not keep its thread.
            await Task.yield()
            return
        }
        let id = self.state.withLock { state in
            state.lastID += 1
            return state.lastID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let isCancelled = self.state.withLock { state in
                    // Looked at under the lock: a cancellation after it finds the continuation.
                    if Task.isCancelled { return true }
                    state.continuations[id] = continuation
                    state.sleepers.insert(Sleeper(end: end, id: id))
                    Self.setAlarm(&state)
                    return false
                }
                if isCancelled { continuation.resume(throwing: CancellationError()) }
            }
        } onCancel: {
            self.cancel(id)
        }
    }

    /// So many cancelled ones are remembered in any case; beyond, never more than there are others.
    static let fewCancelled = 64

    private func cancel(_ id: UInt64) {
        let continuation = self.state.withLock { state in
            let continuation = state.continuations.removeValue(forKey: id)
            if state.sleepers.count > 2 * state.continuations.count + Self.fewCancelled {
                state.sleepers = Heap(state.sleepers.unordered.filter { state.continuations[$0.id] != nil })
            }
            return continuation
        }
        continuation?.resume(throwing: CancellationError())
    }

    private func wake() {
        let due = self.state.withLock { state in
            var due: [CheckedContinuation<Void, any Error>] = []
            let now = ContinuousClock.now
            while let first = state.sleepers.min, first.end <= now {
                state.sleepers.removeMin()
                if let continuation = state.continuations.removeValue(forKey: first.id) { due.append(continuation) }
            }
            state.alarm = nil
            Self.setAlarm(&state)
            return due
        }
        for continuation in due { continuation.resume() }
    }

    /// The timer's clock stands still while the machine sleeps, ours does not: it looks at least this often.
    private static let longestAlarm: Duration = .seconds(60)

    private static func setAlarm(_ state: inout State) {
        guard let first = state.sleepers.min else { return }
        let now = ContinuousClock.now
        let alarm = min(first.end, now.advanced(by: Self.longestAlarm))
        if let set = state.alarm, set <= alarm { return }
        state.alarm = alarm
        let (seconds, attoseconds) = max(alarm - now, .zero).components
        // Rounded up: one that fires too early would have to be set again.
        let nanoseconds = Int(seconds) * 1_000_000_000 + Int(attoseconds / 1_000_000_000) + 1
        state.timer?.schedule(deadline: .now() + .nanoseconds(nanoseconds), leeway: .nanoseconds(0))
    }
}
