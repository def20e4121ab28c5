internal import CoreMetrics
internal import DequeModule
internal import NIOCore
internal import ParleyCore

/// Everything a connection knows, behind the one lock of ``ConnectionCore``: the machines of the connection and of its
/// channels, what waits, what goes out. No method here waits or calls back into the core.
final class ConnectionState {
    enum Phase {
        case idle, connecting, recovering, ready, draining
        case closed(AMQPError)
    }

    struct Waiter {
        var completion: Completion<Void>
        var deadline: NIODeadline
    }

    let configuration: AMQPConfiguration
    let metrics: Telemetry.Handles?
    var phase: Phase = .idle
    /// Counts the sockets: what an older one still says is ignored.
    var epoch: UInt64 = 0
    var socket: (any Channel)?
    var machine: ConnectionMachine
    var tuning: ConnectionMachine.Tuning
    var heartbeat: HeartbeatMachine?
    var output = OutputQueue()
    var opened: Completion<ConnectionMachine.Tuning>?
    var ended: Completion<Void>?
    /// Why this connection ended, or could not be made.
    var lastError: AMQPError?
    /// The same of the one before, for whoever waits while the next is being made.
    var formerError: AMQPError?
    var serverProperties: AMQPTable = [:]
    var blockedReason: String?
    private var blockedSince: NIODeadline?
    private var wasOpen = false
    /// Answered in order; one that gave up keeps its place.
    var secretReplies: Deque<Waiter> = []
    /// What this connection logs in with; nothing with a client certificate.
    var secret: AMQPConfiguration.Credentials.Secret?

    var channels: [UInt64: ChannelState] = [:]
    var byNumber: [UInt16: ChannelState] = [:]
    var numbers = ChannelNumbers(maximum: 1)
    var topology = Topology()
    var publishersWaiting: Set<UInt64> = []
    var readyWaiters: [Waiter] = []
    var fullConsumers: Set<UInt64> = []
    /// Consumers to start again; at most one entry for each that is there.
    var lostConsumers: [LostConsumer] = []
    let consumerLost = Signal()
    var nextID: UInt64 = 0
    var observers: [UInt64: AsyncStream<AMQPEvent>.Continuation] = [:]
    var sweepScheduled = false
    var flushScheduled = false
    /// What the shell has to do after the lock is released.
    var mustEndSocket = false

    init(configuration: AMQPConfiguration, metrics: Telemetry.Handles? = nil) {
        self.configuration = configuration
        self.metrics = metrics
        self.tuning = ConnectionMachine.Tuning(channelMax: 1, frameMax: 4_096, heartbeat: 0)
        self.machine = Self.machine(configuration)
    }

    static func machine(_ configuration: AMQPConfiguration) -> ConnectionMachine {
        let mechanism =
            switch configuration.credentials.kind {
            case .plain, .provider: "PLAIN"
            case .external: "EXTERNAL"
            }
        let wanted = ConnectionMachine.Tuning(
            channelMax: configuration.maximumChannels,
            frameMax: max(4_096, configuration.maximumFrameSize),
            heartbeat: UInt16(clamping: configuration.heartbeat.components.seconds)
        )
        return ConnectionMachine(wanted: wanted, mechanism: mechanism)
    }

    func makeID() -> UInt64 {
        self.nextID += 1
        return self.nextID
    }

    func emit(_ event: AMQPEvent) {
        for observer in self.observers.values { observer.yield(event) }
    }

    // MARK: - The socket

    /// `nil` if there is to be no connection any more.
    func begin(
        _ secret: AMQPConfiguration.Credentials.Secret?
    )
        -> (epoch: UInt64, opened: Completion<ConnectionMachine.Tuning>, ended: Completion<Void>)?
    {
        switch self.phase {
        case .draining, .closed: return nil
        case .idle, .connecting, .recovering, .ready: break
        }
        self.secret = secret
        let opened = Completion<ConnectionMachine.Tuning>()
        let ended = Completion<Void>()
        self.epoch += 1
        self.machine = Self.machine(self.configuration)
        self.output = OutputQueue()
        self.heartbeat = nil
        self.blockedReason = nil
        self.opened = opened
        self.ended = ended
        self.formerError = self.lastError ?? self.formerError
        self.lastError = nil
        self.phase = .connecting
        return (self.epoch, opened, ended)
    }

    func send(_ method: AMQPMethod, channel: UInt16) {
        // Only our own methods with checked arguments get here; one that cannot be written is dropped by `trySend`.
        _ = self.trySend(method, channel: channel)
    }

    func trySend(_ method: AMQPMethod, channel: UInt16) -> AMQPError? {
        do {
            try self.output.append(AMQPFrame(channel: channel, payload: .method(method)))
            return nil
        } catch {
            return AMQPError(error)
        }
    }

    // MARK: - Frames

    func received(_ frame: AMQPFrame, on core: ConnectionCore) {
        switch frame.payload {
        case .heartbeat:
            if frame.channel != 0 { self.violation("a heartbeat on channel \(frame.channel)", code: 503) }
        case .method(let method) where frame.channel == 0:
            self.receivedOnConnection(method)
        default:
            switch self.machine.receivedTraffic() {
            case .discard: return
            case .fail(let refusal): return self.refuse(refusal)
            case .take: break
            }
            guard frame.channel != 0 else { return self.violation("content on channel 0", code: 503) }
            guard let channel = self.byNumber[frame.channel] else {
                return self.violation("a frame of the unopened channel \(frame.channel)", code: 504)
            }
            self.received(frame.payload, on: channel, core: core)
        }
    }

    private func receivedOnConnection(_ method: AMQPMethod) {
        switch method {
        case .connectionStart(let start): self.receivedStart(start)
        case .connectionTune(let tune):
            let offer = ConnectionMachine.Tuning(
                channelMax: tune.channelMax,
                frameMax: tune.frameMax,
                heartbeat: tune.heartbeat
            )
            switch self.machine.receivedTune(offer) {
            case .sendTuneOKAndOpen(let tuning):
                let answer = AMQPMethod.ConnectionTuneOk(
                    channelMax: tuning.channelMax,
                    frameMax: tuning.frameMax,
                    heartbeat: tuning.heartbeat
                )
                self.send(.connectionTuneOk(answer), channel: 0)
                let open = AMQPMethod.ConnectionOpen(virtualHost: self.configuration.virtualHost)
                if let error = self.trySend(.connectionOpen(open), channel: 0) { self.fail(error) }
            case .fail(let refusal): self.refuse(refusal)
            }
        case .connectionOpenOk:
            switch self.machine.receivedOpenOK() {
            case .opened(let tuning): self.becameOpen(tuning)
            case .fail(let refusal): self.refuse(refusal)
            }
        case .connectionClose(let close):
            switch self.machine.receivedClose() {
            case .sendCloseOKAndEnd(let opening):
                self.send(.connectionCloseOk, channel: 0)
                let place: AMQPError.Place = opening ? .opening : .connection
                self.fail(AMQPError(replyCode: close.replyCode, text: close.replyText, place: place))
            case .ignore: break
            }
        case .connectionCloseOk:
            switch self.machine.receivedCloseOK() {
            case .endSocket: self.mustEndSocket = true
            case .fail(let refusal): self.refuse(refusal)
            }
        case .connectionBlocked(let blocked):
            self.blockedReason = blocked.reason
            self.blockedSince = self.blockedSince ?? .now()
            self.emit(AMQPEvent(kind: .blocked, detail: blocked.reason))
        case .connectionUnblocked:
            self.unblocked()
            self.emit(AMQPEvent(kind: .unblocked))
            self.drainPublishers()
        case .connectionUpdateSecretOk:
            guard let reply = self.secretReplies.popFirst() else {
                return self.violation("connection.update-secret-ok out of turn", code: 503)
            }
            reply.completion.complete(.success(()))
        default:
            self.violation("\(method.name) on channel 0", code: 503)
        }
    }

    private func receivedStart(_ start: AMQPMethod.ConnectionStart) {
        let mechanisms = String(decoding: start.mechanisms, as: UTF8.self)
        let action = self.machine.receivedStart(
            major: start.versionMajor,
            minor: start.versionMinor,
            mechanisms: mechanisms
        )
        switch action {
        case .fail(let refusal): self.refuse(refusal)
        case .sendStartOK:
            self.serverProperties = start.serverProperties
            // Announced, or the broker answers a wrong password with a bare reset, and never says that it blocks.
            var properties: AMQPTable = [
                "product": "Parley", "platform": "Swift",
                "capabilities": [
                    "authentication_failure_close": true, "basic.nack": true, "connection.blocked": true,
                    "consumer_cancel_notify": true, "publisher_confirms": true, "exchange_exchange_bindings": true,
                ],
            ]
            if let name = self.configuration.connectionName { properties["connection_name"] = .string(name) }
            var answer = AMQPMethod.ConnectionStartOk(clientProperties: properties, locale: "en_US")
            if let secret = self.secret {
                answer.mechanism = "PLAIN"
                answer.response = [0] + Array(secret.user.utf8) + [0] + Array(secret.secret.utf8)
            } else {
                answer.mechanism = "EXTERNAL"
            }
            if let error = self.trySend(.connectionStartOk(answer), channel: 0) { self.fail(error) }
        }
    }

    private func becameOpen(_ tuning: ConnectionMachine.Tuning) {
        self.formerError = nil
        self.tuning = tuning
        if self.tuning.frameMax == 0 { self.tuning.frameMax = max(4_096, self.configuration.maximumFrameSize) }
        self.numbers = ChannelNumbers(maximum: tuning.channelMax)
        self.phase = .recovering
        if self.wasOpen { self.metrics?.reconnects.increment() }
        self.wasOpen = true
        self.opened?.complete(.success(tuning))
        self.emit(AMQPEvent(kind: .connected))
    }

    private func unblocked() {
        self.blockedReason = nil
        guard let since = self.blockedSince else { return }
        self.blockedSince = nil
        self.metrics?.blockedTime.recordNanoseconds((NIODeadline.now() - since).nanoseconds)
    }

    // MARK: - Endings

    func refuse(_ refusal: ConnectionMachine.Refusal) {
        switch refusal {
        case .violation(let what): self.violation(what, code: 503)
        case .mechanismNotOffered(let offered):
            self.fail(
                AMQPError(
                    .accessRefused,
                    "the broker offers only \(offered): use other credentials, or enable the plugin"
                )
            )
        }
    }

    /// The peer broke the protocol: nothing it says from here on can be trusted.
    func violation(_ what: String, code: UInt16) {
        let close = AMQPMethod.ConnectionClose(replyCode: code, replyText: "protocol violation")
        if self.machine.isOpen { self.send(.connectionClose(close), channel: 0) }
        self.fail(AMQPError(.protocolViolation, "the broker broke the protocol: \(what)", retry: .mayHaveRun))
    }

    /// Ends the socket; the first reason is kept as the reason.
    func fail(_ error: AMQPError) {
        if self.lastError == nil { self.lastError = error }
        self.mustEndSocket = true
    }

    /// The socket is gone: whatever waited for it is told, whatever recovers stays.
    func socketEnded(core: ConnectionCore) {
        let ending = self.machine.socketEnded()
        let error = self.lastError ?? self.error(for: ending)
        self.lastError = error
        self.socket = nil
        self.heartbeat = nil
        self.output = OutputQueue()
        self.fullConsumers = []
        self.lostConsumers = []
        self.unblocked()
        self.opened?.complete(.failure(error))
        for reply in self.secretReplies { reply.completion.complete(.failure(error.with(retry: .mayHaveRun))) }
        self.secretReplies = []
        let closing = self.closingChannels
        self.byNumber = [:]
        for channel in closing { self.connectionLost(channel, error: error, keeps: false) }
        // A farewell of ours is the end; one of the broker's (an operator, a shutdown) is a loss like any other.
        let wanted = ending == .expected && error.code == .closed
        let keeps = self.configuration.recovers && !wanted
        for channel in self.channels.values {
            self.connectionLost(channel, error: error, keeps: keeps && channel.recovers)
        }
        if !wanted {
            self.emit(AMQPEvent(kind: .disconnected, error: error))
        }
        switch self.phase {
        case .closed, .draining: break  // it was to end
        case .idle, .connecting, .recovering, .ready: self.phase = .connecting
        }
        self.ended?.complete(.success(()))
    }

    private func error(for ending: ConnectionMachine.Ending) -> AMQPError {
        // Such a broker answers bad credentials in words: if it hangs up without any, it was not about them.
        let capabilities = self.serverProperties["capabilities"]?.table
        let speaks = capabilities?["authentication_failure_close"] == true
        return switch ending {
        case .duringAuthentication where !speaks:
            AMQPError(.accessRefused, "the broker hung up on our credentials: check user, password and mechanism")
        case .duringAuthentication, .duringOpening:
            AMQPError(.cannotConnect, "the peer hung up during the handshake: check host and port", retry: .notSent)
        case .lost: AMQPError(.connectionLost, "the connection ended without a farewell", retry: .mayHaveRun)
        case .expected: AMQPError(.closed, "the connection was closed on this side", retry: .notSent)
        }
    }

    /// No connection will come any more.
    func shutDown(_ error: AMQPError) {
        if case .closed = self.phase { return }
        self.phase = .closed(error)
        for waiter in self.readyWaiters { waiter.completion.complete(.failure(error.beforeSending)) }
        self.readyWaiters = []
        for channel in self.channels.values { self.finish(channel, error: error) }
        self.channels = [:]
        for observer in self.observers.values { observer.finish() }
        self.observers = [:]
    }

    /// Channels that are over for their user, and wait for the broker's close-ok with whoever still waits on them.
    private var closingChannels: [ChannelState] {
        self.byNumber.values.filter { self.channels[$0.id] == nil }
    }

    // MARK: - Time

    /// Fails what has waited too long. Returns whether something goes on waiting.
    func sweep(now: NIODeadline) -> Bool {
        let late = AMQPError(
            .timedOut,
            "no connection within the operation timeout: is the broker there, and is run() active?",
            retry: .notSent,
            cause: self.lastError ?? self.formerError
        )
        self.readyWaiters.removeAll { waiter in
            if waiter.deadline <= now { waiter.completion.complete(.failure(late)) }
            return waiter.completion.isDone
        }
        let silent = AMQPError(.timedOut, "no answer to the new secret in time", retry: .mayHaveRun)
        for reply in self.secretReplies where reply.deadline <= now { reply.completion.complete(.failure(silent)) }
        var waiting = !self.readyWaiters.isEmpty || !self.secretReplies.isEmpty
        for channel in self.channels.values where self.sweep(channel, now: now) { waiting = true }
        for channel in self.closingChannels where self.sweep(channel, now: now) { waiting = true }
        return waiting
    }
}
