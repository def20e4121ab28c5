/// The deliveries of one consumer, in order.
///
/// It is back-pressured: the broker sends at most the prefetch ahead of what was acknowledged. It lives through lost
/// connections, after which unacknowledged messages come again, marked as redelivered. It ends when it is cancelled or
/// its channel is closed, and throws ``AMQPError/Code/consumerCancelled`` when the broker takes it away (its queue was
/// deleted) and it does not resubscribe, or the error that closed its channel.
public struct AMQPConsumer: AsyncSequence, Sendable {
    public typealias Element = AMQPDelivery

    public let tag: String
    let buffer: ConsumerBuffer
    let channel: AMQPChannel

    public struct AsyncIterator: AsyncIteratorProtocol {
        let consumer: AMQPConsumer

        public mutating func next() async throws -> AMQPDelivery? {
            let (delivery, becameFree) = try await self.consumer.buffer.next()
            if becameFree { self.consumer.channel.core.consumerHasRoom(self.consumer.buffer.id) }
            return delivery
        }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(consumer: self) }

    /// Takes what has arrived and was not handed out; it stays unacknowledged.
    package func takeArrived() -> [AMQPDelivery] { self.buffer.takeAll() }

    /// Stops the consumer. What it had not handed out goes back to the queue; the sequence ends.
    public func cancel() async throws { try await self.channel.cancelConsumer(self.tag) }
}
