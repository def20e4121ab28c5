/// One message on its way through one consumer group.
public struct Delivery: Sendable, Hashable {
    /// Names this attempt: a settlement with the id of a former attempt is refused.
    public struct ID: Sendable, Hashable {
        public let group: String
        /// The message's place in the group's order.
        public let sequence: Int64
        /// Differs between two attempts at the same message.
        public let token: Int64

        public init(group: String, sequence: Int64, token: Int64) {
            self.group = group
            self.sequence = sequence
            self.token = token
        }
    }

    public let id: ID
    public let message: Message
    /// 1 for the first attempt.
    public let attempt: Int
    /// After this attempt, no further one: ``ConsumerGroup/maximumDeliveries``.
    public let isLastAttempt: Bool

    public init(id: ID, message: Message, attempt: Int, isLastAttempt: Bool) {
        self.id = id
        self.message = message
        self.attempt = attempt
        self.isLastAttempt = isLastAttempt
    }
}

/// What becomes of a delivery.
public enum Settlement: Sendable, Hashable {
    /// Handled; it is gone.
    case ack
    /// Not handled; deliver it again, not before this time has passed. While it waits, its key waits with it. After the
    /// last attempt it is dead-lettered instead.
    case retry(after: Duration)
    /// It can never be handled; keep it for a person.
    case deadLetter(reason: String)
}

/// The deliveries of one subscription; ends when the transport closes.
///
/// At most `prefetch` deliveries are unsettled at any time: `next()` waits for a settlement before it hands out more.
/// It is read by one task. Cancelling a `next()` loses nothing.
public struct DeliverySequence: AsyncSequence, Sendable {
    public typealias Element = Delivery

    private let nextDelivery: @Sendable () async throws -> Delivery?

    public init(next: @escaping @Sendable () async throws -> Delivery?) {
        self.nextDelivery = next
    }

    public struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let nextDelivery: @Sendable () async throws -> Delivery?

        public func next() async throws -> Delivery? { try await self.nextDelivery() }
    }

    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(nextDelivery: self.nextDelivery) }
}
