internal import Synchronization

/// Lets so many callers go ahead at a time; the others wait in the order in which they came.
final class Turns: Sendable {
    private struct Waiter {
        var id: UInt64
        var continuation: CheckedContinuation<Bool, Never>
    }

    private struct State {
        var free: Int
        var nextID: UInt64 = 0
        var queue: [Waiter] = []
    }

    private let state: Mutex<State>

    init(_ count: Int) {
        self.state = Mutex(State(free: max(1, count)))
    }

    /// Whether somebody has to wait.
    var isCrowded: Bool { self.state.withLock { !$0.queue.isEmpty } }

    /// - Throws: `CancellationError` when the task is cancelled before its turn.
    func whenFree<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        guard await self.take() else { throw CancellationError() }
        defer { self.giveBack() }
        return try await body()
    }

    private func take() async -> Bool {
        let id = self.state.withLock { state in
            state.nextID &+= 1
            return state.nextID
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isTaken: Bool? = self.state.withLock { state in
                    if Task.isCancelled { return false }
                    guard state.free == 0 else {
                        state.free -= 1
                        return true
                    }
                    state.queue.append(Waiter(id: id, continuation: continuation))
                    return nil
                }
                if let isTaken { continuation.resume(returning: isTaken) }
            }
        } onCancel: {
            let waiter = self.state.withLock { state in
                state.queue.firstIndex { $0.id == id }.map { state.queue.remove(at: $0) }
            }
            waiter?.continuation.resume(returning: false)
        }
    }

    private func giveBack() {
        let next = self.state.withLock { state -> Waiter? in
            guard !state.queue.isEmpty else {
                state.free += 1
                return nil
            }
            return state.queue.removeFirst()
        }
        next?.continuation.resume(returning: true)
    }
}
