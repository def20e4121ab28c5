internal import Synchronization

/// One question that waits. Whoever comes first ends the wait: the change, its time, the client that goes away, the end.
final class Waiter: Sendable {
    private enum State {
        case pending
        case waiting(CheckedContinuation<Void, Never>)
        case fired
    }

    private let state = Mutex(State.pending)
    private let gone = Mutex(false)

    /// Whether nobody waits for the answer any more.
    var isAbandoned: Bool { self.gone.withLock { $0 } }

    func fire() {
        let continuation = self.state.withLock { state -> CheckedContinuation<Void, Never>? in
            defer { state = .fired }
            if case .waiting(let continuation) = state { return continuation }
            return nil
        }
        continuation?.resume()
    }

    /// The client has gone.
    func abandon() {
        self.gone.withLock { $0 = true }
        self.fire()
    }

    /// Returns when ``fire()`` was or is called.
    func wait() async {
        await withCheckedContinuation { continuation in
            let isFired = self.state.withLock { state in
                if case .fired = state { return true }
                state = .waiting(continuation)
                return false
            }
            if isFired { continuation.resume() }
        }
    }
}
