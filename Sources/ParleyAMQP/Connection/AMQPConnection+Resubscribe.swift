internal import Logging
internal import OrderedCollections
internal import ParleyCore

/// Consumers that the broker has cancelled and that are to go on.
extension AMQPConnection {
    /// Starts lost consumers again, each in a task of its own, until cancelled: recovery then takes over.
    func keepSubscribed() async {
        await withDiscardingTaskGroup { group in
            let bell = self.core.with { $0.consumerLost }
            while !Task.isCancelled {
                let rung = bell.generation
                for lost in self.core.with({ $0.takeLostConsumers() }) {
                    group.addTask { await self.resubscribe(lost) }
                }
                await bell.wait(after: rung, until: nil, on: self.time)
            }
        }
    }

    private func resubscribe(_ lost: ConnectionState.LostConsumer) async {
        var failures = 0
        while let queue = self.core.with({ $0.suspendedConsumer(lost)?.queue }) {
            failures += 1
            let delay = self.core.configuration.backoff.delay(afterFailures: failures, random: self.random)
            do {
                try await self.time.sleep(for: delay)
                try await self.restore(queue)
                guard try await self.consumeAgain(lost) else { return }
                self.core.with { $0.emit(AMQPEvent(kind: .consumerResubscribed, detail: lost.tag)) }
                return
            } catch is CancellationError {
                return
            } catch {
                self.logger.debug(
                    "amqp.resubscribe.failed",
                    metadata: ["amqp.queue": "\(queue)", "error": "\(error)", "failures": "\(failures)"]
                )
            }
        }
    }

    /// Declares the queue as it is recorded, and asks for it on a channel that may break: a consumer's own channel is
    /// closed by the broker if its queue is not there.
    private func restore(_ queue: String) async throws {
        let part = try self.core.with { state throws(AMQPError) in
            guard !state.isDeleting(queue: queue) else {
                throw AMQPError(.notFound, "\(queue) is being deleted", retry: .notSent)
            }
            return state.topology.part(ofQueue: queue)
        }
        if part.queues.isEmpty { try await self.inspect(queue) }
        try await self.recoverTopology(part)
        // Under the name it has now, if the broker names it.
        if !part.queues.values.contains(where: \.namedByBroker) { try await self.inspect(queue) }
    }

    private func inspect(_ queue: String) async throws {
        let id = self.core.with { $0.addChannel(.init(confirms: false), recovers: false).id }
        defer { self.dropChannel(id) }
        guard try await self.open(id) else { return }
        _ = try await self.request(.queueDeclare(.init(queue: queue, passive: true)), on: id)
    }

    /// Returns false if the consumer or its channel has gone meanwhile.
    private func consumeAgain(_ lost: ConnectionState.LostConsumer) async throws -> Bool {
        let deadline = self.core.deadline(self.core.configuration.operationTimeout)
        let calls: (Completion<Reply>, Completion<Reply>)? = try self.core.with { state throws(AMQPError) in
            guard let consumer = state.suspendedConsumer(lost) else { return nil }
            let channel = try state.usable(lost.channel)
            let qos = try state.call(
                .basicQos(.init(prefetchCount: consumer.prefetch)),
                on: channel,
                deadline: deadline
            )
            let consume = try state.call(.basicConsume(consumer.request), on: channel, deadline: deadline)
            channel.consumers[lost.tag]?.isSuspended = false
            return (qos, consume)
        }
        guard let (qos, consume) = calls else { return false }
        _ = try await qos.value()
        // An answer that nobody waits for would be taken back: this one is wanted even if it comes late.
        _ = try await consume.value()
        return true
    }
}

extension ConnectionState {
    /// A consumer that the broker has taken away, by what stays the same about it.
    struct LostConsumer: Sendable {
        var channel: UInt64
        var tag: String
        var buffer: UInt64
    }

    func takeLostConsumers() -> [LostConsumer] {
        defer { self.lostConsumers = [] }
        return self.lostConsumers
    }

    /// Nothing if it was cancelled, its channel closed, or recovery has started it.
    func suspendedConsumer(_ lost: LostConsumer) -> ConsumerState? {
        guard let consumer = self.channels[lost.channel]?.consumers[lost.tag], consumer.isSuspended,
            consumer.buffer.id == lost.buffer
        else { return nil }
        return consumer
    }

    /// The broker has ended a consumer: it waits to be started again if it is to, or ends with `error`.
    func lose(_ tag: String, of channel: ChannelState, error: AMQPError, discarding: Bool) {
        guard let consumer = channel.consumers[tag], !consumer.isSuspended else { return }
        self.emit(AMQPEvent(kind: .consumerCancelled, detail: tag, error: error))
        if consumer.resubscribes {
            channel.consumers[tag]?.isSuspended = true
            self.lostConsumers.append(LostConsumer(channel: channel.id, tag: tag, buffer: consumer.buffer.id))
            self.consumerLost.ring()
        } else {
            channel.consumers.removeValue(forKey: tag)
            self.fullConsumers.remove(consumer.buffer.id)
            consumer.buffer.finish(error, discarding: discarding)
        }
    }

    /// Whether somebody on this connection has asked to delete it and has no answer yet.
    func isDeleting(queue name: String) -> Bool {
        self.channels.values.contains { channel in
            channel.pending.values.contains { pending in
                if case .queueDelete(let delete) = pending.method { delete.queue == name } else { false }
            }
        }
    }
}
