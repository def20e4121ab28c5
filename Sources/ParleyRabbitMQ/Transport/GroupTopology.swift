internal import ParleyAMQP
internal import ParleyMessaging

/// The queues of one consumer group.
struct GroupTopology {
    let group: ConsumerGroup
    let exchange: String
    let configuration: RabbitMQConfiguration

    /// The dead letters first: what the broker cannot put there it drops.
    func declareQueues(on channel: AMQPChannel) async throws {
        try await DeadLetterQueue.declare(of: self.group.name, on: channel, self.configuration)
        let letters = GroupQueues.deadLetters(of: self.group.name)
        var arguments = self.configuration.queues.arguments
        arguments.merge(self.configuration.queues.deadLettering(to: letters)) { $1 }
        if self.configuration.sharing == .oneProcess { arguments["x-single-active-consumer"] = true }
        _ = try await channel.declareQueue(self.group.name, .init(arguments: arguments))
    }

    func bind(on channel: AMQPChannel, insteadOf former: KnownGroups.Group?) async throws {
        for binding in self.group.bindings {
            try await channel.bindQueue(self.group.name, to: self.exchange, routingKey: binding.description)
        }
        guard let former else { return }
        let kept = former.exchange == self.exchange ? Set(self.group.bindings) : []
        for binding in Set(former.group.bindings).subtracting(kept) {
            try await channel.unbindQueue(self.group.name, from: former.exchange, routingKey: binding.description)
        }
    }
}
