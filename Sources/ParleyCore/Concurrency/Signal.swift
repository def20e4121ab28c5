internal import Synchronization

/// A doorbell inside one process that cannot lose a ring.
///
/// A waiter reads ``generation`` *before* it looks for work; a ring between that look and the wait is then seen by
/// ``wait(after:until:on:)``, which returns at once. Any number may wait; a ring wakes all of them.
package final class Signal: Sendable {
    private struct State {
        var generation: UInt64 = 0
        var nextWaiter: UInt64 = 0
        var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
    }

    private let state = Mutex(State())

    package init() {}

    package var generation: UInt64 { self.state.withLock { $0.generation } }

    package func ring() {
        let waiters = self.state.withLock { state in
            state.generation &+= 1
            defer { state.waiters.removeAll() }
            return state.waiters
        }
        for waiter in waiters.values { waiter.resume() }
    }

    /// Returns when the signal has rung since `generation` was read, or `instant` has come, or the task is cancelled.
    package func wait(
        after generation: UInt64,
        until instant: ContinuousClock.Instant?,
        on time: any TimeSource
    ) async {
        guard let instant else {
            await self.wait(after: generation)
            return
        }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.wait(after: generation) }
            group.addTask { try? await time.sleep(until: instant) }
            await group.next()
            group.cancelAll()
        }
    }

    private func wait(after generation: UInt64) async {
        let waiter = self.state.withLock { state in
            state.nextWaiter &+= 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let resumeNow = self.state.withLock { state in
                    if state.generation != generation || Task.isCancelled { return true }
                    state.waiters[waiter] = continuation
                    return false
                }
                if resumeNow { continuation.resume() }
            }
        } onCancel: {
            self.state.withLock { $0.waiters.removeValue(forKey: waiter) }?.resume()
        }
    }
}
