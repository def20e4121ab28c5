internal import ParleyCore
internal import Synchronization

/// Too many questions wait already.
struct TooManyWatchers: Error {
    var limit: Int
}

/// Nobody waits for the answer any more.
struct ClientHasGone: Error {}

extension RegistryEngine {
    /// How long a question waits, and for what.
    struct Patience: Sendable {
        /// Answers with a higher index than this are news; 0 does not wait at all.
        var index: UInt64 = 0
        var wait: Duration = Self.defaultWait

        static let defaultWait: Duration = .seconds(300)
        static let maximumWait: Duration = .seconds(600)
    }

    /// Answers at once when there is news, else as soon as there is, or when the time is over.
    ///
    /// - Parameter onWaiting: Called when it has to wait, with what ends the wait.
    func answer<Value: Sendable>(
        about topic: RegistryStateMachine.Topic,
        patience: Patience,
        onWaiting: (Waiter) async -> Void = { _ in },
        _ read: @Sendable (borrowing RegistryStateMachine) -> Value
    ) async throws -> (index: UInt64, value: Value) {
        let end = self.time.now.advanced(by: patience.wait)
        return try await self.answer(
            about: topic,
            until: end,
            onWaiting: onWaiting,
            isNews: { patience.index == 0 || $0.index(of: topic) > patience.index },
            read
        )
    }

    /// The same with another idea of what is news.
    func answer<Value: Sendable>(
        about topic: RegistryStateMachine.Topic,
        until end: ContinuousClock.Instant,
        onWaiting: (Waiter) async -> Void = { _ in },
        isNews: @Sendable (borrowing RegistryStateMachine) -> Bool,
        _ read: @Sendable (borrowing RegistryStateMachine) -> Value
    ) async throws -> (index: UInt64, value: Value) {
        while true {
            let waiter = Waiter()
            let isOver = self.time.now >= end || Task.isCancelled
            let step = try self.state.withLock { state -> Step<Value> in
                if isOver || state.isDraining || isNews(state.machine) {
                    return .answer(state.machine.index(of: topic), read(state.machine))
                }
                guard let id = state.machine.watch(topic) else {
                    throw TooManyWatchers(limit: state.machine.limits.maximumWatchers)
                }
                state.waiters[id] = waiter
                return .wait(id)
            }
            switch step {
            case .answer(let index, let value): return (index, value)
            case .wait(let id):
                await onWaiting(waiter)
                await self.wait(waiter, until: end)
                self.state.withLock { state in
                    state.machine.unwatch(id)
                    state.waiters[id] = nil
                }
                if waiter.isAbandoned { throw ClientHasGone() }
            }
        }
    }

    private enum Step<Value: Sendable>: Sendable {
        case answer(UInt64, Value)
        case wait(RegistryStateMachine.WatcherID)
    }

    private func wait(_ waiter: Waiter, until end: ContinuousClock.Instant) async {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { [time] in
                // Also when the task is cancelled.
                try? await time.sleep(until: end)
                waiter.fire()
            }
            await waiter.wait()
            group.cancelAll()
        }
    }
}
