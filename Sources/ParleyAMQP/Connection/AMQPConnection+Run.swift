internal import Logging
internal import NIOCore
internal import OrderedCollections
internal import ParleyCore
internal import ServiceLifecycle

/// The life of the service, and recovery.
extension AMQPConnection {
    /// Connects, keeps the connection up, and returns after a graceful shutdown or cancellation.
    ///
    /// Graceful: no new publishes are taken, open confirms are waited for up to
    /// ``AMQPConfiguration/drainTimeout``, then the broker is told good-bye.
    ///
    /// - Throws: what trying again cannot change about the first connection; any failure if
    ///   ``AMQPConfiguration/recovers`` is off. `CancellationError` never: cancelled is ended.
    public func run() async throws {
        let failure: AMQPError? = await withGracefulShutdownHandler {
            await withTaskCancellationHandler {
                await self.keepUp()
            } onCancel: {
                self.shutDownGracefully()
            }
        } onGracefulShutdown: {
            self.shutDownGracefully()
        }
        self.core.with { $0.shutDown(failure ?? .closed("run() has ended")) }
        if let failure { throw failure }
    }

    func shutDownGracefully() {
        self.core.with { state in
            switch state.phase {
            case .idle, .connecting, .recovering:
                state.shutDown(.closed("shut down"))
                if state.machine.close() != .ignore { state.mustEndSocket = true }
            case .ready: state.phase = .draining
            case .draining, .closed: break
            }
        }
        self.wakeUp.ring()
    }

    private var isEnding: Bool {
        self.core.with { state in
            switch state.phase {
            case .draining, .closed: true
            case .idle, .connecting, .recovering, .ready: false
            }
        }
    }

    private func keepUp() async -> AMQPError? {
        var failures = 0
        var turn = 0
        var wasUp = false
        let configuration = self.core.configuration
        while !self.isEnding {
            let rung = self.wakeUp.generation
            let endpoint =
                configuration.endpoints.isEmpty
                ? AMQPConfiguration.Endpoint(host: "127.0.0.1")
                : configuration.endpoints[turn % configuration.endpoints.count]
            do {
                try await self.connect(to: endpoint)
                wasUp = true
                failures = 0
                self.logger.info("amqp.connection.lost")
                // A broker that closes each connection at once must not be hammered.
                failures = 1
            } catch {
                let error = (error as? AMQPError) ?? AMQPError(.connectionLost, "it broke", cause: error)
                if self.isEnding { break }
                self.logger.debug("amqp.connect.failed", metadata: ["error": "\(error)"])
                if !wasUp, error.retry == .permanent { return error }
                failures += 1
                turn += 1
            }
            if self.isEnding { break }
            if !configuration.recovers {
                return self.core.with { $0.lastError } ?? AMQPError(.connectionLost, "the connection ended")
            }
            let delay = configuration.backoff.delay(afterFailures: failures, random: self.random)
            await self.wakeUp.wait(after: rung, until: self.time.now.advanced(by: delay), on: self.time)
        }
        return nil
    }

    /// Makes one connection, recovers what was on it, and returns when it has ended.
    private func connect(to endpoint: AMQPConfiguration.Endpoint) async throws {
        let secret: AMQPConfiguration.Credentials.Secret?
        do {
            secret = try await self.secret()
        } catch {
            self.core.with { state in
                state.lastError = error
                state.emit(AMQPEvent(kind: .disconnected, error: error))
            }
            throw error
        }
        guard let (epoch, opened, ended) = self.core.with({ $0.begin(secret) }) else { return }
        do {
            try await SocketHandler.connect(self.core, to: endpoint, epoch: epoch)
        } catch {
            let error = (error as? AMQPError) ?? AMQPError(.cannotConnect, "it failed", cause: error)
            self.core.with { state in
                state.lastError = error
                state.emit(AMQPEvent(kind: .disconnected, error: error))
            }
            throw error
        }
        let late = self.core.eventLoop.scheduleTask(
            in: .nanoseconds(self.core.configuration.connectTimeout.nanoseconds)
        ) {
            let error = AMQPError(.timedOut, "the handshake took too long: is it an AMQP port?", retry: .notSent)
            self.core.socketFailed(error, epoch: epoch)
        }
        do {
            _ = try await opened.value()
        } catch {
            late.cancel()
            self.core.endSocket()
            await Self.uncancelled(ended)
            throw self.core.with { $0.lastError } ?? error
        }
        late.cancel()
        do {
            try await self.recover()
        } catch {
            self.core.endSocket()
            await Self.uncancelled(ended)
            throw error
        }
        self.logger.info("amqp.connection.ready")
        let generation = self.wakeUp.generation
        await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                await Self.uncancelled(ended)
                return true
            }
            group.addTask {
                await self.keepSubscribed()
                return false
            }
            group.addTask {
                await self.keepSecretFresh(secret)
                return false
            }
            group.addTask {
                if !self.isEnding { await self.wakeUp.wait(after: generation, until: nil, on: self.time) }
                // Cancelled from outside, this task may hear of it before the handler that asks for the end.
                if Task.isCancelled, !ended.isDone { self.shutDownGracefully() }
                guard self.isEnding else { return true }
                await self.sayGoodBye(epoch: epoch)
                return true
            }
            while let ends = await group.next(), !ends {}
            group.cancelAll()
            self.wakeUp.ring()
        }
        await Self.uncancelled(ended)
    }

    /// Waits for the end of a socket, also in a cancelled task: the end is sure to come, because somebody asked for it.
    private static func uncancelled(_ ended: Completion<Void>) async {
        await withCheckedContinuation { continuation in ended.whenDone { continuation.resume() } }
    }

    private func sayGoodBye(epoch: UInt64) async {
        let configuration = self.core.configuration
        let drained = self.core.eventLoop.makePromise(of: Void.self)
        let until = self.core.deadline(configuration.drainTimeout)
        // A poll on the event loop: it must not be cut short by the cancellation that may have brought us here.
        self.core.eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: .milliseconds(10)) { task in
            let open = self.core.with { state in
                state.epoch == epoch && state.machine.isOpen
                    && state.channels.values.contains { $0.confirms.unconfirmed > 0 || !$0.queued.isEmpty }
            }
            guard !open || NIODeadline.now() >= until else { return }
            task.cancel()
            drained.succeed()
        }
        try? await drained.futureResult.get()
        self.core.with { state in
            guard state.epoch == epoch else { return }
            switch state.machine.close() {
            case .sendClose:
                state.send(.connectionClose(.init(replyCode: 200, replyText: "good bye")), channel: 0)
            case .endSocket: state.mustEndSocket = true
            case .ignore: break
            }
        }
        self.core.eventLoop.scheduleTask(in: .seconds(2)) {
            self.core.socketFailed(AMQPError(.timedOut, "no close-ok in time"), epoch: epoch)
        }
    }

    // MARK: - Recovery

    private func recover() async throws {
        try await self.recoverTopology(self.core.with { $0.topology })
        // In the order in which they were opened. A channel that is opened meanwhile waits for the end of recovery.
        for id in self.core.with({ $0.channels.values.filter(\.recovers).map(\.id).sorted() }) {
            try await self.start(id)
        }
        self.core.with { state in
            guard case .recovering = state.phase else { return }
            state.phase = .ready
            for waiter in state.readyWaiters { waiter.completion.complete(.success(())) }
            state.readyWaiters = []
            state.emit(AMQPEvent(kind: .recovered))
        }
    }

    func request(_ method: AMQPMethod, on id: UInt64) async throws -> Reply {
        let completion = try self.core.with { state throws(AMQPError) in
            try state.call(
                method,
                on: try state.usable(id),
                deadline: self.core.deadline(self.core.configuration.operationTimeout)
            )
        }
        return try await completion.value()
    }

    /// Gives a channel a number on this connection and makes it as it was: confirm mode, prefetch, consumers.
    ///
    /// A consumer that the broker refuses now ends with the broker's words; the others go on.
    func start(_ id: UInt64) async throws {
        while true {
            guard try await self.open(id) else { return }
            let (settings, consumers) = self.core.with { state in
                (state.channels[id]?.settings ?? .init(), state.channels[id]?.consumers ?? [:])
            }
            if settings.confirms { _ = try await self.request(.confirmSelect(.init()), on: id) }
            var refused: (tag: String, error: AMQPError)?
            for (tag, consumer) in consumers.sorted(by: { $0.key < $1.key }) where !consumer.isSuspended {
                do {
                    _ = try await self.request(.basicQos(.init(prefetchCount: consumer.prefetch)), on: id)
                    _ = try await self.request(.basicConsume(consumer.request), on: id)
                } catch let error as AMQPError where error.retry == .permanent && error.code != .invalidArgument {
                    refused = (tag, error)
                    break
                }
            }
            guard let refused else { break }
            self.core.with { state in
                guard let channel = state.channels[id] else { return }
                state.lose(refused.tag, of: channel, error: refused.error, discarding: true)
            }
        }
        self.core.with { state in
            guard let channel = state.channels[id], channel.machine.isOpen else { return }
            channel.status = .ready
            for waiter in channel.readyWaiters { waiter.completion.complete(.success(())) }
            channel.readyWaiters = []
            if !channel.resend.isEmpty || !channel.queued.isEmpty { state.publishersWaiting.insert(id) }
            state.drainPublishers(of: channel)
        }
    }

    func open(_ id: UInt64) async throws -> Bool {
        let completion: Completion<Reply>? = try self.core.with { state throws(AMQPError) in
            guard let channel = state.channels[id] else { return nil }
            return try state.open(
                channel,
                deadline: self.core.deadline(self.core.configuration.operationTimeout)
            )
        }
        guard let completion else { return false }
        _ = try await completion.value()
        return true
    }

    func recoverTopology(_ topology: Topology) async throws {
        let requests = topology.requests()
        let names = Array(topology.queues.keys)
        guard !requests.isEmpty else { return }
        var id: UInt64?
        func channel() async throws -> UInt64 {
            if let id, self.core.with({ $0.channels[id]?.machine.isOpen == true }) { return id }
            self.dropChannel(id)
            let fresh = self.core.with { $0.addChannel(.init(confirms: false), recovers: false).id }
            id = fresh
            _ = try await self.open(fresh)
            return fresh
        }
        defer { self.dropChannel(id) }
        var renamed: [String: String] = [:]
        var queueIndex = 0
        for request in requests {
            var request = request
            if case .queueBind(var bind) = request, let name = renamed[bind.queue] {
                bind.queue = name
                request = .queueBind(bind)
            }
            var old: String?
            if case .queueDeclare = request {
                old = queueIndex < names.count ? names[queueIndex] : nil
                queueIndex += 1
            }
            guard let reply = try await self.redeclare(request, on: channel) else { continue }
            if case .queueDeclare = request, let old, case .method(.queueDeclareOk(let answer)) = reply,
                answer.queue != old
            {
                renamed[old] = answer.queue
                self.core.with { $0.renamed(queue: old, to: answer.queue) }
            }
        }
    }

    /// One declaration; `nil` if the broker refuses it for good, which is told and skipped.
    private func redeclare(_ request: AMQPMethod, on channel: () async throws -> UInt64) async throws -> Reply? {
        var tries = 0
        while true {
            do {
                return try await self.request(request, on: try await channel())
            } catch let error as AMQPError where error.replyCode != nil && error.retry == .permanent {
                // 405: our former connection is not yet dead for the broker. It will be.
                tries += 1
                if error.code == .resourceLocked, tries < 20, !self.isEnding {
                    try await self.time.sleep(for: .milliseconds(100 * tries))
                    continue
                }
                self.core.with { state in
                    state.emit(AMQPEvent(kind: .topologyFailed, detail: request.name, error: error))
                }
                return nil
            }
        }
    }

    func dropChannel(_ id: UInt64?) {
        guard let id else { return }
        self.core.with { state in
            guard let channel = state.channels[id] else { return }
            state.close(channel, code: 200, text: "recovered", error: .closed("channel"))
        }
    }
}

extension ConnectionState {
    func renamed(queue old: String, to new: String) {
        self.topology.renamed(queue: old, to: new)
        for channel in self.channels.values {
            for (tag, consumer) in channel.consumers where consumer.queue == old {
                channel.consumers[tag]?.queue = new
                channel.consumers[tag]?.request.queue = new
            }
        }
        self.emit(AMQPEvent(kind: .queueRenamed, detail: "\(old) → \(new)"))
    }
}
