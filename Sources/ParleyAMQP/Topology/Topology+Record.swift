internal import OrderedCollections

extension Topology {
    /// Notes what a request that the broker has granted makes of the topology.
    mutating func record(_ method: AMQPMethod, _ reply: Reply) {
        switch method {
        case .exchangeDeclare(let declare): self.declared(declare)
        case .exchangeDelete(let delete): self.deleted(exchange: delete.exchange)
        case .queueDeclare(let declare):
            guard case .method(.queueDeclareOk(let answer)) = reply else { return }
            self.declared(declare, as: answer.queue)
        case .queueDelete(let delete): self.deleted(queue: delete.queue)
        case .queueBind(let bind):
            self.bound(
                Binding(
                    destination: bind.queue,
                    toQueue: true,
                    source: bind.exchange,
                    routingKey: bind.routingKey,
                    arguments: bind.arguments
                )
            )
        case .queueUnbind(let unbind):
            self.unbound(
                Binding(
                    destination: unbind.queue,
                    toQueue: true,
                    source: unbind.exchange,
                    routingKey: unbind.routingKey,
                    arguments: unbind.arguments
                )
            )
        case .exchangeBind(let bind):
            self.bound(
                Binding(
                    destination: bind.destination,
                    toQueue: false,
                    source: bind.source,
                    routingKey: bind.routingKey,
                    arguments: bind.arguments
                )
            )
        case .exchangeUnbind(let unbind):
            self.unbound(
                Binding(
                    destination: unbind.destination,
                    toQueue: false,
                    source: unbind.source,
                    routingKey: unbind.routingKey,
                    arguments: unbind.arguments
                )
            )
        default: break
        }
    }

    /// The requests that make it all again, in an order in which each finds what it needs.
    func requests() -> [AMQPMethod] {
        self.exchanges.values.map { .exchangeDeclare($0) } + self.queues.values.map { .queueDeclare($0.declaration) }
            + self.bindings.map(Self.request)
    }

    static func request(_ binding: Binding) -> AMQPMethod {
        binding.toQueue
            ? .queueBind(
                .init(
                    queue: binding.destination,
                    exchange: binding.source,
                    routingKey: binding.routingKey,
                    arguments: binding.arguments
                )
            )
            : .exchangeBind(
                .init(
                    destination: binding.destination,
                    source: binding.source,
                    routingKey: binding.routingKey,
                    arguments: binding.arguments
                )
            )
    }
}
