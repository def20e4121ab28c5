internal import ParleyCore

/// A named set of consumers that share the work: each message that a binding takes is handled by one of them.
///
/// This is AMQP's durable queue with its bindings and Redis' consumer group. A group sees what is published after it
/// was declared.
public struct ConsumerGroup: Sendable, Hashable {
    public var name: String
    /// Which topics it takes; a message that several bindings take is delivered once.
    public var bindings: [TopicPattern]
    /// How often a message is handed to a handler before it is dead-lettered; 1 to 1,000.
    ///
    /// It is counted, durably, *before* the handler runs, so a message that kills the process is stopped as well.
    public var maximumDeliveries: Int
    /// How long after a consumer's last sign of life its messages go to another; 0.1 s to 1 h. Signs are sent three
    /// times as often, so a handler may run for longer.
    public var lease: Duration

    /// - Throws: ``MessagingError`` with ``MessagingError/Code/invalidGroup`` or
    ///   ``MessagingError/Code/invalidPattern``.
    public init(
        _ name: String,
        bindings: [String],
        maximumDeliveries: Int = 10,
        lease: Duration = .seconds(4)
    ) throws {
        func refuse(_ reason: String) -> MessagingError {
            MessagingError(.invalidGroup, "consumer group '\(name.prefix(80))': \(reason)", retry: .permanent)
        }
        guard RequestContext.isAcceptableID(name) else {
            throw refuse("its name must be 1 to 128 visible ASCII characters")
        }
        guard (1...100).contains(bindings.count) else { throw refuse("it needs 1 to 100 bindings") }
        guard (1...1_000).contains(maximumDeliveries) else { throw refuse("maximumDeliveries must be 1 to 1,000") }
        guard lease >= .milliseconds(100), lease <= .seconds(3_600) else { throw refuse("lease must be 0.1 s to 1 h") }
        self.name = name
        self.bindings = try bindings.map { try TopicPattern($0) }
        self.maximumDeliveries = maximumDeliveries
        self.lease = lease
    }

    public func takes(topic: String) -> Bool { self.bindings.contains { $0.matches(topic) } }
}
