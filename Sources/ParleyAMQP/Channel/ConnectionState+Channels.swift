internal import CoreMetrics
internal import DequeModule
internal import NIOCore
internal import ParleyCore

/// What happens on channels.
extension ConnectionState {
    func addChannel(_ settings: AMQPChannelSettings, recovers: Bool) -> ChannelState {
        let channel = ChannelState(
            id: self.makeID(),
            settings: settings,
            recovers: recovers,
            maximumMessageBytes: self.configuration.maximumMessageBytes
        )
        self.channels[channel.id] = channel
        return channel
    }

    /// Gives the channel a number and sends channel.open.
    func open(_ channel: ChannelState, deadline: NIODeadline) throws(AMQPError) -> Completion<Reply> {
        guard self.machine.isOpen else { throw self.lastError?.with(retry: .notSent) ?? .closed("channel.open") }
        guard let number = self.numbers.take() else {
            let most = self.tuning.channelMax
            throw AMQPError(.tooManyChannels, "all \(most) channels are in use: close some", retry: .notSent)
        }
        channel.restart(number: number, maximumMessageBytes: self.configuration.maximumMessageBytes)
        self.byNumber[number] = channel
        return try self.call(.channelOpen, on: channel, deadline: deadline)
    }

    /// Sends a request, whatever the channel's status: recovery uses it before the channel is ready.
    func call(
        _ method: AMQPMethod,
        on channel: ChannelState,
        deadline: NIODeadline
    ) throws(AMQPError)
        -> Completion<Reply>
    {
        let before = channel.machine
        let token = self.makeID()
        guard channel.number != 0, channel.machine.call(method.number, token: token, tag: method.consumerTag) == .send
        else {
            throw AMQPError(.channelClosed, "\(method.name): the channel is not open", retry: .notSent)
        }
        if let error = self.trySend(method, channel: channel.number) {
            channel.machine = before
            throw error
        }
        let completion = Completion<Reply>()
        channel.pending[token] = ChannelState.Pending(method: method, completion: completion, deadline: deadline)
        return completion
    }

    // MARK: - Frames

    func received(_ payload: AMQPFrame.Payload, on channel: ChannelState, core: ConnectionCore) {
        switch payload {
        case .heartbeat: break
        case .header(let classID, let size, let properties):
            let action = channel.assembler.header(classID: classID, bodySize: size, properties: properties)
            self.perform(action, on: channel)
        case .body(let bytes):
            self.perform(channel.assembler.body(bytes), on: channel)
        case .method(let method):
            guard channel.assembler.isIdle || channel.machine.phase == .closing else {
                // A close may cut a message short; anything else inside one is a mistake.
                if case .channelClose = method {
                    return self.closedByPeer(channel, method)
                }
                return self.violation("\(method.name) inside a message", code: 505)
            }
            self.received(method, on: channel)
        }
    }

    private func perform(_ action: ContentAssembler.Action, on channel: ChannelState) {
        switch action {
        case .more: break
        case .whole(let content): self.received(content, on: channel)
        case .violation(let what):
            // While our close is under way, the broker's messages are cut off anywhere.
            if channel.machine.phase != .closing { self.violation(what, code: 505) }
        case .tooLarge(let size):
            let most = self.configuration.maximumMessageBytes
            let error = AMQPError(
                .contentTooLarge,
                "a message of \(size) bytes, the limit here is \(most): raise maximumMessageBytes"
            )
            self.close(channel, code: 311, text: "message too large", error: error)
        }
    }

    private func received(_ method: AMQPMethod, on channel: ChannelState) {
        switch method {
        case .channelClose: return self.closedByPeer(channel, method)
        case .basicDeliver, .basicReturn, .basicAck, .basicNack, .basicCancel, .channelFlow: break
        case .basicGetOk:
            // Completed when its message is whole.
            switch channel.machine.phase {
            case .closing: return self.perform(channel.assembler.begin(method), on: channel)
            default: return self.perform(channel.assembler.begin(method), on: channel)
            }
        default: return self.receivedReply(.method(method), number: method.number, on: channel)
        }
        switch channel.machine.receivedTraffic() {
        case .discard: return
        case .violation: return self.violation("\(method.name) on a channel that is not open", code: 504)
        case .take: break
        }
        switch method {
        case .basicDeliver, .basicReturn: self.perform(channel.assembler.begin(method), on: channel)
        case .basicAck(let ack):
            self.confirmed(channel, ack: true, number: ack.deliveryTag, multiple: ack.multiple)
        case .basicNack(let nack):
            self.confirmed(channel, ack: false, number: nack.deliveryTag, multiple: nack.multiple)
        case .basicCancel(let cancel): self.cancelledByPeer(channel, tag: cancel.consumerTag)
        case .channelFlow(let flow):
            channel.flowing = flow.active
            self.send(.channelFlowOk(.init(active: flow.active)), channel: channel.number)
            self.drainPublishers(of: channel)
        default: break
        }
    }

    private func received(_ content: ContentAssembler.Content, on channel: ChannelState) {
        guard channel.machine.phase != .closing else { return }
        switch content.method {
        case .basicDeliver(let deliver): self.delivered(deliver, content, on: channel)
        case .basicReturn(let message): self.returned(message, content, on: channel)
        case .basicGetOk: self.receivedReply(.content(content), number: content.method.number, on: channel)
        default: self.violation("\(content.method.name) with a message", code: 505)
        }
    }

    private func receivedReply(_ reply: Reply, number: UInt32, on channel: ChannelState) {
        var tag = ""
        if case .method(let method) = reply { tag = method.consumerTag }
        switch channel.machine.receivedReply(number, tag: tag) {
        case .discard: break
        case .violation: self.violation("a reply that nothing asked for (\(String(number, radix: 16)))", code: 503)
        case .closed(let token, let others):
            self.release(channel)
            channel.pending.removeValue(forKey: token)?.completion.complete(.success(reply))
            for other in others {
                channel.pending.removeValue(forKey: other)?.completion
                    .complete(.failure(AMQPError(.channelClosed, "overtaken by a close", retry: .mayHaveRun)))
            }
        case .complete(let token, _):
            guard let pending = channel.pending.removeValue(forKey: token) else { return }
            self.record(pending.method, reply, on: channel)
            if !pending.completion.complete(.success(reply)) { self.undo(pending.method, reply, on: channel) }
        }
    }

    /// What was declared is kept for recovery as soon as the broker has it, whether or not somebody still waits.
    private func record(_ method: AMQPMethod, _ reply: Reply, on channel: ChannelState) {
        switch method {
        case .basicGet(let get):
            guard case .content(let content) = reply, case .basicGetOk(let got) = content.method else { return }
            self.metrics?.delivered.increment()
            guard !get.noAck else { return }
            if channel.ledger.delivered(got.deliveryTag) == .violation {
                self.violation("a delivery tag that does not rise", code: 505)
            }
        case .confirmSelect: channel.confirms = ConfirmMachine()
        case .txSelect: channel.inTransaction = true
        default:
            guard channel.recovers, channel.settings.recordsTopology else { return }
            self.topology.record(method, reply)
        }
    }

    /// Somebody asked, was cancelled or gave up, and now the answer is there.
    private func undo(_ method: AMQPMethod, _ reply: Reply, on channel: ChannelState) {
        switch (method, reply) {
        case (.channelOpen, _):
            self.close(channel, code: 200, text: "not needed any more", error: .closed("channel"))
        case (.basicConsume(let consume), _):
            channel.consumers.removeValue(forKey: consume.consumerTag)
            let cancel = AMQPMethod.BasicCancel(consumerTag: consume.consumerTag)
            _ = try? self.call(.basicCancel(cancel), on: channel, deadline: .distantFuture)
        case (.basicGet(let get), .content(let content)):
            guard !get.noAck, case .basicGetOk(let got) = content.method else { return }
            self.requeue(got.deliveryTag, on: channel)
        default: break
        }
    }

    func requeue(_ tag: UInt64, on channel: ChannelState) {
        guard channel.machine.isOpen,
            channel.ledger.settle(tag, generation: channel.ledger.generation, multiple: false) == .send
        else { return }
        self.send(.basicNack(.init(deliveryTag: tag, multiple: false, requeue: true)), channel: channel.number)
    }

    // MARK: - Deliveries

    private func delivered(
        _ deliver: AMQPMethod.BasicDeliver,
        _ content: ContentAssembler.Content,
        on channel: ChannelState
    ) {
        let consumer = channel.consumers[deliver.consumerTag]
        if consumer?.automatic != true, channel.ledger.delivered(deliver.deliveryTag) == .violation {
            return self.violation("a delivery tag that does not rise", code: 505)
        }
        // A consumer that was just cancelled: back into the queue with it.
        guard let consumer, let handle = channel.handle else {
            return self.requeue(deliver.deliveryTag, on: channel)
        }
        self.metrics?.delivered.increment()
        let delivery = AMQPDelivery(
            body: content.body,
            properties: content.properties,
            exchange: deliver.exchange,
            routingKey: deliver.routingKey,
            isRedelivered: deliver.redelivered,
            consumerTag: deliver.consumerTag,
            remaining: nil,
            tag: .init(
                value: deliver.deliveryTag,
                generation: channel.ledger.generation,
                automatic: consumer.automatic
            ),
            channel: handle
        )
        if channel.smallestPrefetch > 4 { self.expectsAnswers = true }
        switch consumer.buffer.push(delivery) {
        case .taken: break
        case .full: self.fullConsumers.insert(consumer.buffer.id)
        case .finished: self.requeue(deliver.deliveryTag, on: channel)
        }
    }

    func settle(_ method: AMQPMethod, tag: AMQPDelivery.Tag, multiple: Bool, on id: UInt64) throws(AMQPError) {
        let stale = AMQPError(
            .staleDelivery,
            "the delivery's connection or channel is gone: the broker delivers it again, nothing was sent"
        )
        guard let channel = self.channels[id] else { throw stale }
        if tag.automatic {
            throw AMQPError(.alreadySettled, "the consumer acknowledges automatically: there is nothing to settle")
        }
        guard channel.machine.isOpen else { throw stale }
        let before = channel.ledger.unsettled
        switch channel.ledger.settle(tag.value, generation: tag.generation, multiple: multiple) {
        case .send:
            let frame = AMQPFrame(channel: channel.number, payload: .method(method))
            try? self.output.append(frame, patient: self.mayGoLater(&channel.settledSince, channel.smallestPrefetch))
            if let metrics {
                let count = before - channel.ledger.unsettled
                if case .basicAck = method {
                    metrics.acked.increment(by: count)
                } else {
                    metrics.rejected.increment(by: count)
                }
            }
        case .stale: throw stale
        case .alreadySettled:
            throw AMQPError(.alreadySettled, "the delivery was settled before: settle each one once")
        }
    }

    /// Whether the broker can do without this one for a moment: what has not gone out yet is less than a quarter of the
    /// window, so that nobody has to stop for it.
    func mayGoLater(_ since: inout (flush: UInt64, count: Int), _ window: Int) -> Bool {
        if since.flush != self.flushes { since = (self.flushes, 0) }
        since.count += 1
        return since.count * 4 < window
    }

    private func cancelledByPeer(_ channel: ChannelState, tag: String) {
        guard let consumer = channel.consumers[tag] else { return }
        let error = AMQPError(
            .consumerCancelled,
            "the broker cancelled the consumer of \(consumer.queue): declare the queue and consume again"
        )
        self.lose(tag, of: channel, error: error, discarding: false)
    }

    /// The consumer was cancelled on this side: what it had not taken goes back.
    func removeConsumer(_ tag: String, of channel: ChannelState) {
        guard let consumer = channel.consumers.removeValue(forKey: tag) else { return }
        self.fullConsumers.remove(consumer.buffer.id)
        for delivery in consumer.buffer.finish(nil, discarding: true) where !consumer.automatic {
            guard delivery.tag.generation == channel.ledger.generation else { continue }
            self.requeue(delivery.tag.value, on: channel)
        }
        let queue = consumer.queue
        let others = self.channels.values.contains { $0.consumers.values.contains { $0.queue == queue } }
        if !others { self.topology.lastConsumerGone(queue: queue) }
    }

    // MARK: - Endings

    private func closedByPeer(_ channel: ChannelState, _ method: AMQPMethod) {
        guard case .channelClose(let close) = method else { return }
        switch channel.machine.closedByPeer() {
        case .violation: self.violation("channel.close on a channel that is not open", code: 504)
        case .sendCloseOKAndWait: self.send(.channelCloseOk, channel: channel.number)
        case .sendCloseOK(let failed):
            self.send(.channelCloseOk, channel: channel.number)
            self.release(channel)
            let error = AMQPError(replyCode: close.replyCode, text: close.replyText, place: .channel)
            for (index, token) in failed.enumerated() {
                // The first is the one that was answered; those behind it were never looked at.
                let own = index == 0 ? error : error.with(retry: .notSent)
                channel.pending.removeValue(forKey: token)?.completion.complete(.failure(own))
            }
            if case .recovering = channel.status { return }  // recovery has the failed request and decides
            self.finish(channel, error: error)
            self.emit(AMQPEvent(kind: .channelClosed, error: error))
        }
    }

    /// Closes the channel from this side; what waits on it gets `error`.
    func close(_ channel: ChannelState, code: UInt16, text: String, error: AMQPError) {
        if channel.machine.isOpen {
            let close = AMQPMethod.ChannelClose(replyCode: code, replyText: text)
            _ = try? self.call(.channelClose(close), on: channel, deadline: .distantFuture)
        }
        self.finish(channel, error: error)
    }

    /// The user's channel is over. Its number may live on until the broker has said close-ok.
    func finish(_ channel: ChannelState, error: AMQPError) {
        if case .closed = channel.status { return }
        channel.status = .closed(error)
        self.channels.removeValue(forKey: channel.id)
        self.publishersWaiting.remove(channel.id)
        let closed = AMQPError(.channelClosed, "the channel is closed: open another", retry: .notSent, cause: error)
        for waiter in channel.readyWaiters { waiter.completion.complete(.failure(closed)) }
        channel.readyWaiters = []
        for publish in channel.queued { publish.continuation.resume(throwing: closed) }
        channel.queued = []
        self.failPublishes(of: channel, error: error)
        let deliberate = error.code == .closed
        for consumer in channel.consumers.values {
            self.fullConsumers.remove(consumer.buffer.id)
            consumer.buffer.finish(deliberate ? nil : error, discarding: true)
        }
        channel.consumers = [:]
    }

    private func release(_ channel: ChannelState) {
        guard channel.number != 0 else { return }
        self.byNumber.removeValue(forKey: channel.number)
        self.numbers.giveBack(channel.number)
        channel.number = 0
    }

    func connectionLost(_ channel: ChannelState, error: AMQPError, keeps: Bool) {
        channel.number = 0
        let lost = error.with(retry: .mayHaveRun)
        for token in channel.machine.connectionLost() {
            channel.pending.removeValue(forKey: token)?.completion.complete(.failure(lost))
        }
        guard keeps else { return self.finish(channel, error: lost) }
        channel.status = .recovering
        channel.ledger = DeliveryLedger(generation: channel.ledger.generation + 1)
        // What was not taken will be delivered again, under a tag that can be settled.
        for consumer in channel.consumers.values { consumer.buffer.clear() }
        for tag in channel.consumers.keys { channel.consumers[tag]?.isSuspended = false }
        if channel.settings.resendsUnconfirmed {
            let open = self.loseConfirms(of: channel)
            channel.resend.insert(contentsOf: open.filter { !$0.completion.isDone }, at: 0)
        } else {
            self.failPublishes(of: channel, error: lost)
        }
    }

    func sweep(_ channel: ChannelState, now: NIODeadline) -> Bool {
        let name = "no reply within the operation timeout"
        for (_, pending) in channel.pending where pending.deadline <= now {
            pending.completion.complete(.failure(AMQPError(.timedOut, name, retry: .mayHaveRun)))
        }
        let late = AMQPError(
            .timedOut,
            "the channel did not recover in time",
            retry: .notSent,
            cause: self.lastError ?? self.formerError
        )
        channel.readyWaiters.removeAll { waiter in
            if waiter.deadline <= now { waiter.completion.complete(.failure(late)) }
            return waiter.completion.isDone
        }
        let publishing = self.sweepPublishes(of: channel, now: now)
        return publishing || !channel.readyWaiters.isEmpty || channel.pending.contains { !$0.value.completion.isDone }
    }
}

extension AMQPMethod {
    /// What tells two requests of one kind, or their replies, apart.
    fileprivate var consumerTag: String {
        switch self {
        case .basicConsume(let method): method.consumerTag
        case .basicConsumeOk(let method): method.consumerTag
        case .basicCancel(let method): method.consumerTag
        case .basicCancelOk(let method): method.consumerTag
        default: ""
        }
    }
}
