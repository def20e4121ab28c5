internal import ParleyAMQP
internal import ParleyCore
internal import ParleyMessaging

/// Long waits of messages without a key, spent in the broker: one queue a delay, whose messages go back to the group's
/// queue when their time in it is over. One a delay, because a queue lets nothing out before its first message.
struct RetryLadder: Sendable {
    /// The delays. A longer wait takes several of them.
    static let rungs: [Int64] = [5_000, 15_000, 60_000, 300_000, 900_000, 3_600_000, 14_400_000]

    let link: BrokerLink
    let registry: GroupRegistry

    /// The longest delay that does not go beyond `wait`.
    static func rung(for wait: Duration) -> Int64? { Self.rungs.last { $0 <= wait.inMilliseconds } }

    /// Stores a copy that comes back to the group after one delay, with its count and the time before which nobody is
    /// to have it. `false` when the wait is shorter than any delay.
    func store(
        _ message: Message,
        of group: String,
        publishedAt: Timestamp,
        attempts: Int,
        notBefore: Timestamp
    ) async throws -> Bool {
        guard let rung = Self.rung(for: notBefore - self.link.time.wallTime) else { return false }
        if self.registry.find(group)?.rungs.contains(rung) != true { try await self.declare(rung, of: group) }
        var copy = MessageCoding.outgoing(
            message,
            exchange: "",
            routingKey: GroupQueues.delay(rung, of: group),
            publishedAt: publishedAt,
            priorities: self.link.configuration.queues.priorities
        )
        copy.mandatory = true
        copy.properties.headers?[MessageCoding.Header.attempts] = .int64(Int64(attempts))
        copy.properties.headers?[MessageCoding.Header.notBefore] = .int64(notBefore.microseconds)
        copy.properties.headers?[MessageCoding.Header.copy] = .string(UUIDv7Generator.shared.next().description)
        try await self.link.publish([copy]) { try await self.declareQueue(rung, of: group, on: $0) }
        return true
    }

    private func declare(_ rung: Int64, of group: String) async throws {
        try await self.link.ask { try await self.declareQueue(rung, of: group, on: $0) }
        try await self.registry.add(rung: rung, of: group)
    }

    private func declareQueue(_ rung: Int64, of group: String, on channel: AMQPChannel) async throws {
        var arguments = self.link.configuration.queues.arguments
        arguments["x-message-ttl"] = .int64(rung)
        arguments.merge(self.link.configuration.queues.deadLettering(to: group)) { $1 }
        _ = try await channel.declareQueue(GroupQueues.delay(rung, of: group), .init(arguments: arguments))
    }
}

extension RabbitMQConfiguration.Queues {
    /// What such a queue is declared with.
    var arguments: AMQPTable {
        switch self.kind {
        // Deliveries are counted here, and each look at dead letters is one for the broker. The same for all versions:
        // a queue cannot be declared with other arguments after an upgrade.
        case .quorum: ["x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000]
        case .classic(let priorities):
            priorities > 0
                ? ["x-queue-type": "classic", "x-max-priority": .int64(Int64(priorities))]
                : ["x-queue-type": "classic"]
        }
    }

    /// What leaves such a queue by its time or by a rejection goes to `queue`, and from a quorum queue it is surely
    /// there before it is gone here.
    func deadLettering(to queue: String) -> AMQPTable {
        var arguments: AMQPTable = ["x-dead-letter-exchange": "", "x-dead-letter-routing-key": .string(queue)]
        if self.kind == .quorum {
            arguments["x-dead-letter-strategy"] = "at-least-once"
            arguments["x-overflow"] = "reject-publish"
        }
        return arguments
    }

    var priorities: UInt8 {
        if case .classic(let priorities) = self.kind { priorities } else { 0 }
    }
}
