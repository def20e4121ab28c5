internal import NIOCore
internal import ParleyCore
internal import Synchronization

/// The lock around ``ConnectionState``, and the one place that touches the socket and its timers.
///
/// Continuations are resumed under the lock: that only enqueues their tasks. The socket is touched outside of it, on
/// its event loop, because NIO may call back at once.
final class ConnectionCore: Sendable {
    let configuration: AMQPConfiguration
    let eventLoop: any EventLoop
    let telemetry: Telemetry
    private let state: Mutex<ConnectionState>

    init(configuration: AMQPConfiguration, eventLoop: any EventLoop) {
        self.configuration = configuration
        self.eventLoop = eventLoop
        self.telemetry = Telemetry(connection: configuration.connectionName)
        self.state = Mutex(ConnectionState(configuration: configuration, metrics: self.telemetry.metrics))
        self.state.withLock { $0.core = self }
    }

    /// Changes the state, then does what the change asks for: writes, ends the socket, stops or starts reading.
    func with<Value: Sendable, Failure: Error>(
        _ body: (ConnectionState) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        let (result, after) = self.state.withLock { state in
            let full = state.fullConsumers.isEmpty
            let result: Result<Value, Failure>
            do throws(Failure) { result = .success(try body(state)) } catch { result = .failure(error) }
            return (result, self.afterwards(state, readBefore: full))
        }
        self.perform(after)
        return try result.get()
    }

    private struct Afterwards: Sendable {
        var flush = false
        var lateFlush = false
        var end: (any Channel)?
        var reading: Bool?
        var socket: (any Channel)?
        var sweep = false
    }

    private func afterwards(_ state: ConnectionState, readBefore: Bool) -> Afterwards {
        var after = Afterwards(socket: state.socket)
        if !state.output.isEmpty, !state.flushScheduled, state.socket != nil {
            if state.output.mustGo {
                state.flushScheduled = true
                after.flush = true
            } else if !state.lateFlushScheduled {
                state.lateFlushScheduled = true
                after.lateFlush = true
            }
        }
        if state.mustEndSocket {
            state.mustEndSocket = false
            after.end = state.socket
        }
        if state.fullConsumers.isEmpty != readBefore { after.reading = state.fullConsumers.isEmpty }
        if !state.sweepScheduled, state.hasDeadlines {
            state.sweepScheduled = true
            after.sweep = true
        }
        return after
    }

    private func perform(_ after: Afterwards) {
        if after.flush { self.eventLoop.execute { self.flush() } }
        if after.lateFlush { self.scheduleLateFlush() }
        if let socket = after.end {
            // Behind the flush: the last words go out first.
            self.eventLoop.execute { socket.close(mode: .all, promise: nil) }
        }
        if let reading = after.reading, let socket = after.socket {
            socket.setOption(.autoRead, value: reading).whenComplete { _ in }
        }
        if after.sweep { self.scheduleSweep() }
    }

    private func scheduleLateFlush() {
        self.eventLoop.scheduleTask(in: .milliseconds(1)) { self.flush(late: true) }
    }

    private func flush(late: Bool = false) {
        let (socket, pieces, bytes, epoch) = self.state.withLock { state in
            state.flushScheduled = false
            if late { state.lateFlushScheduled = false }
            state.flushes += 1
            let bytes = state.output.bytes
            state.heartbeat?.sent(now: Int64(NIODeadline.now().uptimeNanoseconds))
            return (state.socket, state.output.take(), bytes, state.epoch)
        }
        guard let socket, let last = pieces.last else { return }
        for piece in pieces.dropLast() { socket.write(piece, promise: nil) }
        socket.writeAndFlush(last).whenComplete { _ in self.wrote(bytes, epoch: epoch) }
    }

    private func wrote(_ bytes: Int, epoch: UInt64) {
        self.with { state in
            guard state.epoch == epoch else { return }
            state.output.inFlight = max(0, state.output.inFlight - bytes)
            state.drainPublishers()
        }
    }

    // MARK: - The socket speaks

    func socketConnected(_ socket: any Channel, epoch: UInt64) -> Bool {
        self.with { state in
            guard state.epoch == epoch else { return false }
            if case .closed = state.phase { return false }
            state.socket = socket
            if state.machine.start() == .sendProtocolHeader { state.output.appendRaw(AMQPFrame.protocolHeader) }
            return true
        }
    }

    /// Takes the frames of one read under one lock. Returns the frame size that was agreed, once it is.
    func received(_ frames: [AMQPFrame], epoch: UInt64) -> UInt32? {
        self.with { state in
            guard state.epoch == epoch else { return nil }
            state.heartbeat?.received(now: Int64(NIODeadline.now().uptimeNanoseconds))
            let wasOpen = state.machine.isOpen
            for frame in frames {
                // Behind the frame that ended the connection nothing counts.
                guard !state.mustEndSocket else { break }
                state.received(frame, on: self)
            }
            if state.expectsAnswers {
                state.expectsAnswers = false
                // Made here, where it wakes nobody: acknowledgements and further publishes will find it.
                if !state.lateFlushScheduled { self.scheduleLateFlush() }
                state.lateFlushScheduled = true
            }
            guard !wasOpen, state.machine.isOpen else { return nil }
            self.startHeartbeat(state, epoch: epoch)
            return state.tuning.frameMax
        }
    }

    func socketFailed(_ error: AMQPError, epoch: UInt64) {
        self.with { state in
            guard state.epoch == epoch else { return }
            if error.code == .protocolViolation {
                state.violation("\(error.cause.map { "\($0)" } ?? error.message)", code: 501)
                // Said with its cause, which tells "another protocol" from "garbage".
                if state.lastError?.code == .protocolViolation { state.lastError = error }
            } else {
                state.fail(error)
            }
        }
    }

    func socketEnded(epoch: UInt64) {
        self.with { state in
            guard state.epoch == epoch else { return }
            state.socketEnded(core: self)
        }
    }

    // MARK: - Timers

    private func startHeartbeat(_ state: ConnectionState, epoch: UInt64) {
        let interval = Int64(state.tuning.heartbeat) * 1_000_000_000
        guard interval > 0 else { return }
        state.heartbeat = HeartbeatMachine(interval: interval, now: Int64(NIODeadline.now().uptimeNanoseconds))
        let half = TimeAmount.nanoseconds(interval / 2)
        // It holds under load because it shares no task with any user code; it ends with its socket.
        self.eventLoop.scheduleRepeatedTask(initialDelay: half, delay: half) { task in
            if !self.heartbeatTick(epoch: epoch) { task.cancel() }
        }
    }

    private func heartbeatTick(epoch: UInt64) -> Bool {
        self.with { state in
            guard state.epoch == epoch, state.heartbeat != nil else { return false }
            let now = Int64(NIODeadline.now().uptimeNanoseconds)
            switch state.heartbeat?.tick(now: now, listening: state.fullConsumers.isEmpty) {
            case .send:
                try? state.output.append(AMQPFrame(channel: 0, payload: .heartbeat))
            case .dead:
                let seconds = 2 * Int(state.tuning.heartbeat)
                state.fail(
                    AMQPError(.heartbeatLost, "nothing came from the broker for \(seconds) s", retry: .mayHaveRun)
                )
                return false
            case .wait, nil: break
            }
            return true
        }
    }

    private func scheduleSweep() {
        self.eventLoop.scheduleTask(in: .milliseconds(100)) {
            self.with { state in
                // What goes on waiting schedules the next sweep on the way out.
                state.sweepScheduled = false
                _ = state.sweep(now: .now())
            }
        }
    }

    func consumerHasRoom(_ id: UInt64) {
        self.with { state in _ = state.fullConsumers.remove(id) }
    }

    func deadline(_ duration: Duration) -> NIODeadline { .now() + .nanoseconds(duration.nanoseconds) }

    func endSocket() {
        self.with { state in state.mustEndSocket = true }
    }
}

extension ConnectionState {
    /// Whether something waits that time could fail.
    var hasDeadlines: Bool {
        !self.readyWaiters.isEmpty || !self.secretReplies.isEmpty
            || self.channels.values.contains {
                !$0.pending.isEmpty || !$0.queued.isEmpty || !$0.resend.isEmpty || !$0.readyWaiters.isEmpty
                    || $0.confirms.unconfirmed > 0
            }
            || self.byNumber.values.contains { !$0.pending.isEmpty }
    }
}

extension Duration {
    /// Saturates: a duration of centuries is a deadline that does not come.
    var nanoseconds: Int64 {
        let (seconds, attoseconds) = self.components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        guard !overflow, product < Int64.max / 4, product > -(Int64.max / 4) else {
            return seconds > 0 ? Int64.max / 4 : 0
        }
        return max(0, product + attoseconds / 1_000_000_000)
    }
}
