internal import DequeModule
internal import Synchronization

/// What is needed to start a consumer again, and where its deliveries go.
struct ConsumerState {
    var queue: String
    var request: AMQPMethod.BasicConsume
    var prefetch: UInt16
    var automatic: Bool { self.request.noAck }
    var buffer: ConsumerBuffer
    /// Whether it is started again after the broker has cancelled it.
    var resubscribes = false
    /// The broker has cancelled it, and it waits to be started again.
    var isSuspended = false
}

/// The deliveries that a consumer has not taken yet.
///
/// With acknowledgement it holds at most the prefetch, because the broker sends no more; without, reading from the
/// socket stops while it is full, so it holds at most its limit and what one read brings.
final class ConsumerBuffer: Sendable {
    private struct State {
        var deliveries: Deque<AMQPDelivery> = []
        var nextWaiter: UInt64 = 0
        var waiters: Deque<(id: UInt64, continuation: CheckedContinuation<AMQPDelivery?, any Error>)> = []
        var end: Result<Void, AMQPError>?
        var full = false
    }

    let id: UInt64
    let limit: Int
    private let state = Mutex(State())

    init(id: UInt64, limit: Int) {
        self.id = id
        self.limit = max(1, limit)
    }

    enum PushAction { case taken, full, finished }

    func push(_ delivery: AMQPDelivery) -> PushAction {
        self.state.withLock { state in
            if state.end != nil { return .finished }
            if let waiter = state.waiters.popFirst() {
                waiter.continuation.resume(returning: delivery)
                return .taken
            }
            state.deliveries.append(delivery)
            // The broker keeps to the prefetch, so only a consumer without acknowledgement ever gets over its limit.
            if state.deliveries.count > self.limit { state.full = true }
            return state.full ? .full : .taken
        }
    }

    /// Ends the sequence; with `discarding` returns what was not taken, without it that is still handed out.
    @discardableResult
    func finish(_ error: AMQPError?, discarding: Bool) -> [AMQPDelivery] {
        self.state.withLock { state in
            if state.end == nil { state.end = error.map { .failure($0) } ?? .success(()) }
            for waiter in state.waiters {
                if let error {
                    waiter.continuation.resume(throwing: error)
                } else {
                    waiter.continuation.resume(returning: nil)
                }
            }
            state.waiters = []
            guard discarding else { return [] }
            defer { state.deliveries = [] }
            return Array(state.deliveries)
        }
    }

    func takeAll() -> [AMQPDelivery] {
        self.state.withLock { state in
            defer { state.deliveries = [] }
            return Array(state.deliveries)
        }
    }

    func clear() {
        self.state.withLock { state in
            state.deliveries = []
            state.full = false
        }
    }

    /// The next delivery, or `nil` at the end. `becameFree` says that reading may go on.
    func next() async throws -> (delivery: AMQPDelivery?, becameFree: Bool) {
        // Mostly there is one: no continuation then.
        let (now, waiter, becameFree) = self.state.withLock { state -> (AMQPDelivery?, UInt64, Bool) in
            state.nextWaiter += 1
            guard !Task.isCancelled, let delivery = state.deliveries.popFirst() else {
                return (nil, state.nextWaiter, false)
            }
            return (delivery, 0, self.becameFree(&state))
        }
        if let now { return (now, becameFree) }
        let delivery: AMQPDelivery? = try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                self.state.withLock { state in
                    if Task.isCancelled {
                        continuation.resume(throwing: CancellationError())
                    } else if let delivery = state.deliveries.popFirst() {
                        continuation.resume(returning: delivery)
                    } else if let end = state.end {
                        // The error comes once; whoever asks again is at the end.
                        state.end = .success(())
                        switch end {
                        case .success: continuation.resume(returning: nil)
                        case .failure(let error): continuation.resume(throwing: error)
                        }
                    } else {
                        state.waiters.append((waiter, continuation))
                    }
                }
            }
        } onCancel: {
            self.state.withLock { state in
                guard let index = state.waiters.firstIndex(where: { $0.id == waiter }) else { return }
                state.waiters.remove(at: index).continuation.resume(throwing: CancellationError())
            }
        }
        return (delivery, self.state.withLock { self.becameFree(&$0) })
    }

    private func becameFree(_ state: inout State) -> Bool {
        guard state.full, state.deliveries.count <= self.limit / 2 else { return false }
        state.full = false
        return true
    }
}
