internal import CoreMetrics
internal import DequeModule
internal import NIOCore
internal import ParleyCore

/// Publishing: the window, the order, the confirms.
extension ConnectionState {
    /// The header that a mandatory message of a channel with confirms carries: a return names no number, and the same
    /// message twice could not be told apart without it.
    static let numberHeader = "x-parley-publish"

    func canPublish(on channel: ChannelState) -> Bool {
        guard case .ready = channel.status, channel.machine.isOpen, channel.flowing, self.blockedReason == nil,
            self.output.total < self.configuration.maximumBufferedBytes
        else { return false }
        guard channel.settings.confirms, channel.confirms.span > 0 else { return true }
        return channel.confirms.span < channel.settings.window
            && channel.confirms.unconfirmedBytes < channel.settings.windowBytes
    }

    /// `nil` if the message has to wait for its turn.
    func publishNow(_ message: OutgoingMessage, on id: UInt64, now: NIODeadline) throws(AMQPError) -> PublisherConfirm?
    {
        let channel = try self.publishing(id)
        guard channel.resend.isEmpty, channel.queued.isEmpty, self.canPublish(on: channel) else { return nil }
        return try self.publish(message, on: channel, now: now, patient: true)
    }

    /// As many as there is room for. One that cannot be sent stands for itself: it is left for its own call to refuse.
    func publishNow(
        _ messages: ArraySlice<OutgoingMessage>,
        on id: UInt64,
        now: NIODeadline
    ) throws(AMQPError)
        -> [PublisherConfirm]
    {
        let channel = try self.publishing(id)
        var confirms: [PublisherConfirm] = []
        for message in messages {
            guard channel.resend.isEmpty, channel.queued.isEmpty, self.canPublish(on: channel),
                let confirm = try? self.publish(message, on: channel, now: now, patient: true)
            else { break }
            confirms.append(confirm)
        }
        return confirms
    }

    private func publishing(_ id: UInt64) throws(AMQPError) -> ChannelState {
        if case .closed(let error) = self.phase { throw error.beforeSending }
        if case .draining = self.phase { throw .closed("publish") }
        guard let channel = self.channels[id] else {
            throw AMQPError(.channelClosed, "the channel is closed: open another", retry: .notSent)
        }
        return channel
    }

    private func publish(
        _ message: OutgoingMessage,
        on channel: ChannelState,
        now: NIODeadline,
        patient: Bool = false
    ) throws(AMQPError)
        -> PublisherConfirm
    {
        let most = self.configuration.maximumMessageBytes
        guard message.body.readableBytes <= most else {
            throw AMQPError(
                .contentTooLarge,
                "a message of \(message.body.readableBytes) bytes, the limit here is \(most): send less"
            )
        }
        let deadline = now + .nanoseconds(self.configuration.publishTimeout.nanoseconds)
        let kept = channel.settings.resendsUnconfirmed ? message : nil
        let patient =
            patient && channel.settings.confirms && self.mayGoLater(&channel.sentSince, channel.settings.window)
        let confirm = PublisherConfirm(
            bytes: message.body.readableBytes,
            message: kept,
            deadline: deadline,
            core: patient ? self.core : nil,
            flush: self.flushes
        )
        try self.write(message, confirm, on: channel, patient: patient)
        return confirm
    }

    private func write(
        _ message: OutgoingMessage,
        _ confirm: PublisherConfirm,
        on channel: ChannelState,
        patient: Bool = false
    )
        throws(AMQPError)
    {
        var properties = message.properties
        if message.mandatory && channel.settings.confirms {
            properties.headers = properties.headers ?? [:]
            properties.headers?[Self.numberHeader] = .int64(Int64(clamping: channel.confirms.nextNumber))
        }
        let method = AMQPMethod.BasicPublish(
            exchange: message.exchange,
            routingKey: message.routingKey,
            mandatory: message.mandatory
        )
        do {
            try self.output.append(
                .basicPublish(method),
                properties: properties,
                body: message.body,
                channel: channel.number,
                maximumFrameSize: self.tuning.frameMax,
                patient: patient
            )
        } catch {
            throw AMQPError(error)
        }
        self.metrics?.published.increment()
        if channel.settings.confirms {
            _ = channel.confirms.published(confirm, bytes: confirm.bytes)
            self.metrics?.inFlight.increment()
        } else {
            confirm.completion.complete(.success(()))
        }
    }

    func enqueue(_ publish: ChannelState.QueuedPublish, on id: UInt64) {
        do {
            let channel = try self.publishing(id)
            channel.queued.append(publish)
            self.publishersWaiting.insert(id)
            self.drainPublishers(of: channel)
        } catch {
            publish.continuation.resume(throwing: error)
        }
    }

    func cancelPublish(_ publishID: UInt64, on id: UInt64) {
        guard let channel = self.channels[id],
            let index = channel.queued.firstIndex(where: { $0.id == publishID })
        else { return }
        channel.queued.remove(at: index).continuation.resume(throwing: CancellationError())
    }

    func drainPublishers() {
        for id in self.publishersWaiting {
            if let channel = self.channels[id] { self.drainPublishers(of: channel) }
        }
    }

    func drainPublishers(of channel: ChannelState) {
        while self.canPublish(on: channel), let confirm = channel.resend.popFirst() {
            guard let message = confirm.message, !confirm.completion.isDone else { continue }
            do {
                try self.write(message, confirm, on: channel)
            } catch {
                confirm.completion.complete(.failure(error))
            }
        }
        while channel.resend.isEmpty, self.canPublish(on: channel), let next = channel.queued.popFirst() {
            if next.former?.completion.hasFailed == true {
                let error = AMQPError(.connectionLost, "the message before it in its batch was lost", retry: .notSent)
                next.continuation.resume(throwing: error)
                continue
            }
            do {
                next.continuation.resume(returning: try self.publish(next.message, on: channel, now: .now()))
            } catch {
                next.continuation.resume(throwing: error)
            }
        }
        if channel.queued.isEmpty && channel.resend.isEmpty { self.publishersWaiting.remove(channel.id) }
    }

    // MARK: - What the broker says

    func confirmed(_ channel: ChannelState, ack: Bool, number: UInt64, multiple: Bool) {
        switch channel.confirms.received(ack: ack, number: number, multiple: multiple) {
        case .violation: self.violation("a confirm of a publish that never was", code: 503)
        case .settle(let all):
            if let metrics { self.measure(all, metrics) }
            for settled in all { Self.complete(settled) }
            if channel.confirms.unconfirmed > 0 { self.expectsAnswers = true }
            self.drainPublishers(of: channel)
        }
    }

    private func measure(_ all: [ConfirmMachine<PublisherConfirm>.Settled], _ metrics: Telemetry.Handles) {
        metrics.inFlight.decrement(by: Double(all.count))
        let now = NIODeadline.now()
        for settled in all {
            switch settled.outcome {
            case .acked: metrics.confirmed.increment()
            case .nacked: metrics.nacked.increment()
            case .returned: metrics.returned.increment()
            }
            let sent = settled.token.deadline - .nanoseconds(self.configuration.publishTimeout.nanoseconds)
            metrics.confirmTime.recordNanoseconds((now - sent).nanoseconds)
        }
    }

    private static func complete(_ settled: ConfirmMachine<PublisherConfirm>.Settled) {
        switch settled.outcome {
        case .acked: settled.token.completion.complete(.success(()))
        case .nacked:
            let advice = "the broker refused the message: the queue is full, or its node is in trouble; try later"
            settled.token.completion.complete(.failure(AMQPError(.nacked, advice, retry: .mayHaveRun)))
        case .returned(let message):
            let error = AMQPError(
                .returned,
                "no queue takes \(message.routingKey) at \(message.exchange): bind one, or publish without mandatory",
                retry: .notSent,
                replyCode: message.replyCode,
                returned: message
            )
            settled.token.completion.complete(.failure(error))
        }
    }

    func returned(
        _ method: AMQPMethod.BasicReturn,
        _ content: ContentAssembler.Content,
        on channel: ChannelState
    ) {
        let message = AMQPReturnedMessage(
            replyCode: method.replyCode,
            replyText: method.replyText,
            exchange: method.exchange,
            routingKey: method.routingKey
        )
        let number = content.properties.headers?[Self.numberHeader]?.integer
        if channel.settings.confirms, let number, number > 0,
            channel.confirms.received(message, for: UInt64(number)) == .noted
        {
            return
        }
        self.metrics?.returned.increment()
        self.emit(AMQPEvent(kind: .returned, detail: "\(method.exchange) \(method.routingKey): \(method.replyText)"))
    }

    // MARK: - Endings

    /// What is open has an unknown outcome: it may be in its queue, or it may not.
    func failPublishes(of channel: ChannelState, error: AMQPError) {
        var unknown = error.with(retry: .mayHaveRun)
        if error.code == .closed {
            unknown = AMQPError(.channelClosed, "closed before the confirm: the outcome is unknown", retry: .mayHaveRun)
        }
        let open = self.loseConfirms(of: channel)
        self.metrics?.unknown.increment(by: open.count + channel.resend.count)
        for confirm in open { confirm.completion.complete(.failure(unknown)) }
        for confirm in channel.resend { confirm.completion.complete(.failure(unknown)) }
        channel.resend = []
    }

    /// What no confirm will come for any more.
    func loseConfirms(of channel: ChannelState) -> [PublisherConfirm] {
        let open = channel.confirms.reset()
        self.metrics?.inFlight.decrement(by: Double(open.count))
        return open
    }

    func sweepPublishes(of channel: ChannelState, now: NIODeadline) -> Bool {
        while let first = channel.queued.first, first.deadline <= now {
            channel.queued.removeFirst()
            first.continuation.resume(throwing: self.cannotPublish(on: channel))
        }
        let late = AMQPError(.timedOut, "no confirm in time: the outcome is unknown", retry: .mayHaveRun)
        let waiting = channel.confirms.forEachOpen { confirm in
            // In order of publishing, so behind the first that has time all have.
            guard confirm.deadline <= now else { return false }
            confirm.completion.complete(.failure(late))
            return true
        }
        for confirm in channel.resend where confirm.deadline <= now { confirm.completion.complete(.failure(late)) }
        channel.resend.removeAll { $0.completion.isDone }
        return waiting || !channel.queued.isEmpty || !channel.resend.isEmpty
    }

    private func cannotPublish(on channel: ChannelState) -> AMQPError {
        if let reason = self.blockedReason {
            return AMQPError(
                .blocked,
                "the broker blocks publishers: \(reason): free its memory or disk",
                retry: .notSent
            )
        }
        return AMQPError(
            .timedOut,
            "the message could not be sent in time (no connection, or the window stayed full)",
            retry: .notSent,
            cause: self.lastError ?? self.formerError
        )
    }
}
