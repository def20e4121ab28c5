public import NIOCore

/// A message to publish.
public struct AMQPMessage: Sendable {
    public var body: ByteBuffer
    /// The empty name is the default exchange, which delivers to the queue that the routing key names.
    public var exchange: String
    public var routingKey: String
    public var properties: AMQPProperties
    /// Ask the broker to send the message back if no queue takes it; see ``AMQPError/Code/returned``.
    ///
    /// On a channel with confirms such a message carries the header `x-parley-publish`: it tells which one came back.
    public var mandatory: Bool

    public init(
        _ body: ByteBuffer,
        exchange: String = "",
        routingKey: String,
        properties: AMQPProperties = AMQPProperties(),
        mandatory: Bool = false
    ) {
        self.body = body
        self.exchange = exchange
        self.routingKey = routingKey
        self.properties = properties
        self.mandatory = mandatory
    }
}

typealias OutgoingMessage = AMQPMessage

/// A message that was delivered or got.
public struct AMQPDelivery: Sendable {
    /// A delivery tag with the connection it is good for.
    struct Tag: Sendable, Hashable {
        var value: UInt64
        var generation: UInt64
        var automatic: Bool
    }

    public var body: ByteBuffer
    public var properties: AMQPProperties
    public var exchange: String
    public var routingKey: String
    /// The broker has delivered it before, here or elsewhere.
    public var isRedelivered: Bool
    /// Empty for a message that was got.
    public var consumerTag: String
    /// How many messages the queue still had, for a message that was got.
    public var remaining: Int?
    let tag: Tag
    let channel: AMQPChannel

    /// Differs after the channel was opened anew: tags of another generation are void.
    public var generation: UInt64 { self.tag.generation }

    /// Whether the delivery can no longer be settled, because its channel has been opened anew since, or is gone; the
    /// broker delivers the message again. It never turns back to `false`; it says nothing about a settled delivery.
    public var isStale: Bool {
        self.channel.core.with { state in
            guard let channel = state.channels[self.channel.id] else { return true }
            return !channel.machine.isOpen || channel.ledger.generation != self.tag.generation
        }
    }

    /// Tells the broker that the message is done with; with `multiple`, all of its channel up to this one.
    ///
    /// - Throws: ``AMQPError/Code/staleDelivery`` if its connection or channel is gone (the message will be delivered
    ///   again), ``AMQPError/Code/alreadySettled``. In both cases nothing was sent.
    public func ack(multiple: Bool = false) throws(AMQPError) {
        try self.channel.settle(
            .basicAck(.init(deliveryTag: self.tag.value, multiple: multiple)),
            self.tag,
            multiple: multiple
        )
    }

    /// Gives the message back: to its queue, or with `requeue` false to the queue's dead letters.
    ///
    /// - Throws: as ``ack(multiple:)``.
    public func nack(requeue: Bool, multiple: Bool = false) throws(AMQPError) {
        try self.channel.settle(
            .basicNack(.init(deliveryTag: self.tag.value, multiple: multiple, requeue: requeue)),
            self.tag,
            multiple: multiple
        )
    }

    /// As ``nack(requeue:multiple:)`` for one message. Newer brokers count a rejection against the delivery limit.
    ///
    /// - Throws: as ``ack(multiple:)``.
    public func reject(requeue: Bool) throws(AMQPError) {
        try self.channel.settle(
            .basicReject(.init(deliveryTag: self.tag.value, requeue: requeue)),
            self.tag,
            multiple: false
        )
    }
}
