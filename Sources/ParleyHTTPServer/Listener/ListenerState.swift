internal import NIOCore
package import ParleyCore
internal import Synchronization

/// What a listener and those who wait for it share: its address once there is one, whether it drains, and its open
/// connections.
package final class ListenerState: Sendable {
    private enum Phase {
        case starting
        case listening(Endpoint)
        case ended(ServerError)
    }

    private struct State {
        var phase = Phase.starting
        var isDraining = false
        var isDrainOver = false
        /// Bounded by `maxConnections`.
        var connections: [ObjectIdentifier: any Channel] = [:]
    }

    private let state = Mutex(State())
    private let changed = Signal()
    private let drainEnd = Signal()
    private let time: any TimeSource

    package init(time: any TimeSource) {
        self.time = time
    }

    package var isDraining: Bool { self.state.withLock { $0.isDraining } }

    /// Waits until the listener accepts connections.
    ///
    /// - Throws: why it will not, or `CancellationError`.
    package func endpoint() async throws -> Endpoint {
        while true {
            let generation = self.changed.generation
            switch self.state.withLock({ $0.phase }) {
            case .listening(let endpoint): return endpoint
            case .ended(let error): throw error
            case .starting: break
            }
            await self.changed.wait(after: generation, until: nil, on: self.time)
            try Task.checkCancellation()
        }
    }

    func listening(on endpoint: Endpoint) {
        self.state.withLock { $0.phase = .listening(endpoint) }
        self.changed.ring()
    }

    /// An address once announced stays: who asks late wants to know where it was.
    func ended(_ error: ServerError) {
        self.state.withLock { state in
            if case .starting = state.phase { state.phase = .ended(error) }
        }
        self.changed.ring()
    }

    func beginDraining() { self.state.withLock { $0.isDraining = true } }

    /// From now on, work under way is cancelled.
    func endDraining() {
        self.state.withLock { state in
            state.isDraining = true
            state.isDrainOver = true
        }
        self.drainEnd.ring()
    }

    /// Returns when the time for draining is over, or the task is cancelled.
    ///
    /// Work waits for this beside itself, rather than being cancelled along with its connection: a cancelled connection
    /// can no longer write the answer that says why.
    package func untilDrainIsOver() async {
        while !Task.isCancelled {
            let generation = self.drainEnd.generation
            if self.state.withLock({ $0.isDrainOver }) { return }
            await self.drainEnd.wait(after: generation, until: nil, on: self.time)
        }
    }

    /// Runs `work` until the time for draining is over.
    ///
    /// - Throws: `CancellationError` then, and what `work` throws.
    package func whileServing<Value: Sendable>(
        _ work: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Value?.self) { group in
            group.addTask { try await work() }
            group.addTask {
                await self.untilDrainIsOver()
                return nil
            }
            defer { group.cancelAll() }
            guard let value = try await group.next() ?? nil else { throw CancellationError() }
            return value
        }
    }

    func opened(_ channel: any Channel) {
        self.state.withLock { $0.connections[ObjectIdentifier(channel)] = channel }
    }

    func closed(_ channel: any Channel) {
        self.state.withLock { $0.connections[ObjectIdentifier(channel)] = nil }
    }

    /// Closes what is still open after `delay`, whatever it does then.
    func closeConnections(after delay: Duration) {
        for channel in self.openConnections {
            channel.eventLoop.scheduleTask(in: TimeAmount(delay)) {
                channel.triggerUserOutboundEvent(ConnectionEndHandler.CloseNow(), promise: nil)
            }
        }
    }

    /// Closes what is open. Connections whose answer has not been begun are closed when it has been written, or takes
    /// longer than `answerTime`; returns when all have been told.
    func closeConnections(answerTime: Duration) async {
        let event = ConnectionEndHandler.CloseNow(answerTime: answerTime)
        let told = self.openConnections.map { channel in
            let promise = channel.eventLoop.makePromise(of: Void.self)
            channel.triggerUserOutboundEvent(event, promise: promise)
            return promise.futureResult
        }
        // A connection that has ended meanwhile refuses the event, which is as good.
        for future in told { try? await future.get() }
    }

    private var openConnections: [any Channel] { self.state.withLock { Array($0.connections.values) } }
}
