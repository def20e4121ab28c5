internal import NIOCore
internal import ParleyCore

/// How a channel behaves.
public struct AMQPChannelSettings: Sendable, Hashable {
    /// Whether the broker confirms each publish. Without, a publish counts as done when it is handed to the socket.
    public var confirms = true
    /// How many publishes may be on their way unconfirmed; a further one waits.
    public var window = 1_000
    /// How many bytes of bodies may be; one message may go over it.
    public var windowBytes = 16 * 1_024 * 1_024
    /// What becomes of publishes whose confirm a lost connection has taken away: `false` reports each as unknown
    /// (``RetrySafety/mayHaveRun``), `true` keeps its message and sends it again on the next connection, so that it may
    /// arrive twice. Give messages a ``AMQPProperties/messageID`` and consumers an inbox.
    public var resendsUnconfirmed = false
    /// How many unacknowledged messages a consumer may have, if it says nothing itself; at least 1.
    public var prefetch: UInt16 = 100

    /// What becomes of a consumer that the broker cancels because its queue was deleted or moved: `false` ends it with
    /// ``AMQPError/Code/consumerCancelled``; `true` declares the queue again, if it was declared over this connection,
    /// or else waits for it to be there again, and goes on consuming. The queue is then another one, and may be empty.
    public var resubscribes = false

    /// Whether what is declared over the channel is declared again when the connection is made anew. Not for durable
    /// things that others change as well: what they have removed would come back.
    public var recordsTopology = true

    public init(
        confirms: Bool = true,
        window: Int = 1_000,
        resendsUnconfirmed: Bool = false,
        prefetch: UInt16 = 100,
        resubscribes: Bool = false
    ) {
        self.confirms = confirms
        self.window = max(1, window)
        self.resendsUnconfirmed = resendsUnconfirmed
        self.prefetch = max(1, prefetch)
        self.resubscribes = resubscribes
    }
}

/// A channel of an ``AMQPConnection``: a line of its own for publishing, consuming and declaring.
///
/// It lives through lost connections: calls wait, up to their timeout, until it is there again, with its confirm mode,
/// prefetch and consumers. An error that the broker answers on it (404, 406 …) closes this channel only: the call
/// throws it, later calls throw ``AMQPError/Code/channelClosed``, other channels go on; open another. It is safe to use
/// from many tasks; publishes of one task keep their order.
public final class AMQPChannel: Sendable {
    let core: ConnectionCore
    let id: UInt64

    init(core: ConnectionCore, id: UInt64) {
        self.core = core
        self.id = id
    }

    deinit {
        let (core, id) = (self.core, self.id)
        // Later and elsewhere: the last reference may go while the core's lock is held.
        core.eventLoop.execute {
            core.with { state in
                guard let channel = state.channels[id] else { return }
                state.close(channel, code: 200, text: "not used any more", error: .closed("channel"))
            }
        }
    }

    // MARK: - Publishing

    /// Publishes and returns when the broker has confirmed (on a channel without confirms: when it was handed over).
    ///
    /// Waits while the window is full, the broker blocks publishers, or the connection is away, for at most
    /// ``AMQPConfiguration/publishTimeout``.
    ///
    /// - Throws: with ``RetrySafety/notSent`` if it never left; otherwise as ``PublisherConfirm/wait()``.
    public func publish(_ message: AMQPMessage) async throws {
        guard let tracer = self.core.telemetry.tracer else { return try await self.send(message).wait() }
        try await Telemetry.publishing(message.exchange, count: 1, tracer) { try await self.send(message).wait() }
    }

    /// Publishes all of them in their order, with one wait for all confirms.
    ///
    /// When the connection is lost in the middle, those that had not been sent are not sent: publishing all again keeps
    /// their order.
    ///
    /// - Throws: the first error after all have been waited for: some may have been confirmed.
    public func publish(_ messages: [AMQPMessage]) async throws {
        guard let tracer = self.core.telemetry.tracer else { return try await self.publishAll(messages) }
        let exchange = messages.first?.exchange ?? ""
        try await Telemetry.publishing(exchange, count: messages.count, tracer) {
            try await self.publishAll(messages)
        }
    }

    private func publishAll(_ messages: [AMQPMessage]) async throws {
        var confirms: [PublisherConfirm] = []
        confirms.reserveCapacity(messages.count)
        var failure: (any Error)?
        let messages = self.traced(messages)
        do {
            while confirms.count < messages.count {
                try Task.checkCancellation()
                // What the window has room for goes under one lock and out with one write; then one waits for its turn.
                confirms += try self.core.with { state throws(AMQPError) in
                    try state.publishNow(messages[confirms.count...], on: self.id, now: .now())
                }
                guard confirms.count < messages.count else { break }
                // Not when the one before it was lost: what is sent again would come behind it.
                confirms.append(try await self.sendAsItIs(messages[confirms.count], after: confirms.last))
            }
        } catch {
            failure = error
        }
        for confirm in confirms {
            do { try await confirm.wait() } catch { failure = failure ?? error }
        }
        if let failure { throw failure }
    }

    private func traced(_ messages: [AMQPMessage]) -> [AMQPMessage] {
        guard let instrument = self.core.telemetry.instrument else { return messages }
        var messages = messages
        for index in messages.indices { Telemetry.inject(instrument, into: &messages[index]) }
        return messages
    }

    /// Publishes and returns as soon as the message has its place in the window; the confirm comes later.
    ///
    /// It leaves together with those that are sent right after it: within a millisecond, or when one of them is waited
    /// for. Whoever sends many and then waits pays for few writes.
    ///
    /// The message carries the current trace; a span around the wait is only made by ``publish(_:)-(AMQPMessage)``.
    ///
    /// - Throws: with ``RetrySafety/notSent``: the message has not left. `CancellationError` likewise.
    public func send(_ message: AMQPMessage) async throws -> PublisherConfirm {
        try Task.checkCancellation()
        guard let instrument = self.core.telemetry.instrument else { return try await self.sendAsItIs(message) }
        var traced = message
        Telemetry.inject(instrument, into: &traced)
        return try await self.sendAsItIs(traced)
    }

    private func sendAsItIs(
        _ message: AMQPMessage,
        after former: PublisherConfirm? = nil
    ) async throws -> PublisherConfirm {
        if let confirm = try self.core.with({ state throws(AMQPError) in
            try state.publishNow(message, on: self.id, now: .now())
        }) {
            return confirm
        }
        let publishID = self.core.with { $0.makeID() }
        let deadline = self.core.deadline(self.core.configuration.publishTimeout)
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                self.core.with { state in
                    guard !Task.isCancelled else { return continuation.resume(throwing: CancellationError()) }
                    state.enqueue(
                        .init(
                            id: publishID,
                            message: message,
                            former: former,
                            continuation: continuation,
                            deadline: deadline
                        ),
                        on: self.id
                    )
                }
            }
        } onCancel: {
            self.core.with { $0.cancelPublish(publishID, on: self.id) }
        }
    }

    // MARK: - Consuming

    /// Starts a consumer; see ``AMQPConsumer``.
    ///
    /// - Parameters:
    ///   - tag: unique on the connection; made if left out.
    ///   - prefetch: unacknowledged messages at most; the channel's setting if left out.
    ///   - automaticAcknowledgement: the broker forgets a message as it sends it. What is in memory is lost when the
    ///     process dies; while more than 1,000 wait here, reading stops for the whole connection.
    ///   - resubscribes: see ``AMQPChannelSettings/resubscribes``, whose value counts if it is left out. It is tried
    ///     with ``AMQPConfiguration/backoff`` until it succeeds; ``AMQPEvent/Kind/consumerCancelled`` and
    ///     ``AMQPEvent/Kind/consumerResubscribed`` tell of it.
    public func consume(
        _ queue: String,
        tag: String? = nil,
        prefetch: UInt16? = nil,
        automaticAcknowledgement: Bool = false,
        exclusive: Bool = false,
        resubscribes: Bool? = nil,
        arguments: AMQPTable = [:]
    ) async throws -> AMQPConsumer {
        guard !queue.isEmpty else {
            throw AMQPError(.invalidArgument, "consume needs the queue's name: use the one declareQueue returned")
        }
        let number = self.core.with { $0.makeID() }
        let request = AMQPMethod.BasicConsume(
            queue: queue,
            consumerTag: tag ?? "parley-\(number)",
            noAck: automaticAcknowledgement,
            exclusive: exclusive,
            arguments: arguments
        )
        let buffer = ConsumerBuffer(id: number, limit: automaticAcknowledgement ? 1_000 : Int(UInt16.max))
        try await self.ready()
        let (qos, consume) = try self.core.with { state throws(AMQPError) in
            let channel = try state.usable(self.id)
            guard !state.channels.values.contains(where: { $0.consumers[request.consumerTag] != nil }) else {
                throw AMQPError(.invalidArgument, "the consumer tag \(request.consumerTag) is in use: take another")
            }
            let count = max(1, prefetch ?? channel.prefetch)
            // The limit holds for the consumers that start after it, so each consumer brings its own.
            let deadline = self.core.deadline(self.core.configuration.operationTimeout)
            let qos = try state.call(.basicQos(.init(prefetchCount: count)), on: channel, deadline: deadline)
            let consume = try state.call(.basicConsume(request), on: channel, deadline: deadline)
            channel.consumers[request.consumerTag] = ConsumerState(
                queue: queue,
                request: request,
                prefetch: count,
                buffer: buffer,
                resubscribes: resubscribes ?? channel.settings.resubscribes
            )
            return (qos, consume)
        }
        do {
            _ = try await qos.value()
            _ = try await consume.value()
        } catch {
            // If its connection went away the consumer would otherwise be started by recovery, with nobody to read it.
            self.core.with { state in
                guard let channel = state.channels[self.id] else { return }
                state.removeConsumer(request.consumerTag, of: channel)
                if !(error is AMQPError), consume.isDone, channel.machine.isOpen {
                    let cancel = AMQPMethod.BasicCancel(consumerTag: request.consumerTag)
                    _ = try? state.call(.basicCancel(cancel), on: channel, deadline: .distantFuture)
                }
            }
            _ = consume.complete(.failure(error))
            throw error
        }
        return AMQPConsumer(tag: request.consumerTag, buffer: buffer, channel: self)
    }

    /// A consumer for the time of `body`; afterwards it is cancelled, and what was not handed out goes back.
    @discardableResult
    public func withConsumer<Value>(
        _ queue: String,
        prefetch: UInt16? = nil,
        arguments: AMQPTable = [:],
        _ body: (AMQPConsumer) async throws -> sending Value
    ) async throws -> sending Value {
        let consumer = try await self.consume(queue, prefetch: prefetch, arguments: arguments)
        let value: Value
        do {
            value = try await body(consumer)
        } catch {
            self.dropConsumer(consumer.tag)
            throw error
        }
        self.dropConsumer(consumer.tag)
        return value
    }

    /// Cancels without waiting for the answer: what comes in between goes back by itself.
    private func dropConsumer(_ tag: String) {
        self.core.with { state in
            guard let channel = state.channels[self.id] else { return }
            state.removeConsumer(tag, of: channel)
            let cancel = AMQPMethod.BasicCancel(consumerTag: tag)
            _ = try? state.call(.basicCancel(cancel), on: channel, deadline: .distantFuture)
        }
    }

    func cancelConsumer(_ tag: String) async throws {
        let reply: Completion<Reply>? = try self.core.with { state throws(AMQPError) in
            guard let channel = state.channels[self.id], channel.consumers[tag] != nil else { return nil }
            let deadline = self.core.deadline(self.core.configuration.operationTimeout)
            defer { state.removeConsumer(tag, of: channel) }
            // Without a connection there is nothing to tell the broker: recovery does not start it again.
            guard channel.machine.isOpen else { return nil }
            return try state.call(.basicCancel(.init(consumerTag: tag)), on: channel, deadline: deadline)
        }
        _ = try await reply?.value()
    }

    /// Takes one message, or `nil` if the queue is empty. A consumer is many times cheaper for more than a few.
    public func get(_ queue: String, automaticAcknowledgement: Bool = false) async throws -> AMQPDelivery? {
        let request = AMQPMethod.BasicGet(queue: queue, noAck: automaticAcknowledgement)
        let generation: @Sendable (ConnectionState) -> UInt64 = { $0.channels[self.id]?.ledger.generation ?? 0 }
        let before = try await self.ready { generation($0) }
        guard case .content(let content) = try await self.call(.basicGet(request)),
            case .basicGetOk(let got) = content.method
        else { return nil }
        // The reply came over the channel as it was when the call went out; if that is gone, so is the delivery.
        let after = self.core.with { generation($0) }
        return AMQPDelivery(
            body: content.body,
            properties: content.properties,
            exchange: got.exchange,
            routingKey: got.routingKey,
            isRedelivered: got.redelivered,
            consumerTag: "",
            remaining: Int(got.messageCount),
            tag: .init(
                value: got.deliveryTag,
                generation: before == after ? before : 0,
                automatic: automaticAcknowledgement
            ),
            channel: self
        )
    }

    /// The prefetch of consumers that are started from now on; at least 1, because 0 would be without limit.
    public func setPrefetch(_ count: UInt16) {
        self.core.with { $0.channels[self.id]?.prefetch = max(1, count) }
    }

    func settle(_ method: AMQPMethod, _ tag: AMQPDelivery.Tag, multiple: Bool) throws(AMQPError) {
        try self.core.with { state throws(AMQPError) in
            try state.settle(method, tag: tag, multiple: multiple, on: self.id)
        }
    }

    // MARK: - Transactions

    /// Makes the channel transactional. Only on a channel without confirms (the broker answers 406 otherwise); a
    /// transaction does not live through a lost connection.
    public func selectTransactions() async throws { try await self.call(.txSelect) }
    public func commit() async throws { try await self.call(.txCommit) }
    public func rollback() async throws { try await self.call(.txRollback) }

    // MARK: - Ending

    /// Closes the channel. Unconfirmed publishes get an unknown outcome, unacknowledged messages go back.
    public func close() async {
        let reply: Completion<Reply>? = self.core.with { state in
            guard let channel = state.channels[self.id] else { return nil }
            defer { state.finish(channel, error: .closed("channel")) }
            guard channel.machine.isOpen else { return nil }
            let close = AMQPMethod.ChannelClose(replyCode: 200, replyText: "done")
            return try? state.call(
                .channelClose(close),
                on: channel,
                deadline: self.core.deadline(self.core.configuration.operationTimeout)
            )
        }
        _ = try? await reply?.value()
    }

    // MARK: - Requests

    /// Waits until the channel is there.
    func ready<Value: Sendable>(_ body: (ConnectionState) -> Value = { _ in () }) async throws -> Value {
        while true {
            let waiter: Completion<Void>? = try self.core.with { state throws(AMQPError) in
                try state.waiter(for: self.id, deadline: self.core.deadline(self.core.configuration.operationTimeout))
            }
            guard let waiter else { return self.core.with { body($0) } }
            try await waiter.value()
        }
    }

    @discardableResult
    func call(_ method: AMQPMethod) async throws -> Reply {
        try await self.ready()
        let completion = try self.core.with { state throws(AMQPError) in
            try state.call(
                method,
                on: try state.usable(self.id),
                deadline: self.core.deadline(self.core.configuration.operationTimeout)
            )
        }
        return try await completion.value()
    }
}

extension ConnectionState {
    func usable(_ id: UInt64) throws(AMQPError) -> ChannelState {
        guard let channel = self.channels[id] else {
            throw AMQPError(.channelClosed, "the channel is closed: open another", retry: .notSent)
        }
        return channel
    }

    /// What to wait for before the channel can be used; `nil` if it can be now.
    func waiter(for id: UInt64, deadline: NIODeadline) throws(AMQPError) -> Completion<Void>? {
        let channel = try self.usable(id)
        if case .ready = channel.status { return nil }
        let waiter = Waiter(completion: Completion(), deadline: deadline)
        channel.readyWaiters.append(waiter)
        return waiter.completion
    }
}
