internal import OrderedCollections

/// What was declared over a connection, so that it can be declared again on the next one. Pure.
///
/// What the broker removes by itself is forgotten here, too: an auto-delete queue with its last consumer, an
/// auto-delete exchange with its last binding. A queue that the broker named keeps its place under the name it has now.
struct Topology: Sendable {
    struct Binding: Sendable, Hashable {
        var destination: String
        var toQueue: Bool
        var source: String
        var routingKey: String
        var arguments: AMQPTable
    }

    struct Queue: Sendable, Equatable {
        var declaration: AMQPMethod.QueueDeclare
        var namedByBroker: Bool
    }

    private(set) var exchanges: OrderedDictionary<String, AMQPMethod.ExchangeDeclare> = [:]
    private(set) var queues: OrderedDictionary<String, Queue> = [:]
    private(set) var bindings: OrderedSet<Binding> = []

    var isEmpty: Bool { self.exchanges.isEmpty && self.queues.isEmpty && self.bindings.isEmpty }

    mutating func declared(_ exchange: AMQPMethod.ExchangeDeclare) {
        // A passive declaration asks only, and "amq." names are the broker's own.
        guard !exchange.passive, !exchange.exchange.hasPrefix("amq."), !exchange.exchange.isEmpty else { return }
        self.exchanges[exchange.exchange] = exchange
    }

    mutating func declared(_ queue: AMQPMethod.QueueDeclare, as name: String) {
        guard !queue.passive else { return }
        self.queues[name] = Queue(declaration: queue, namedByBroker: queue.queue.isEmpty)
    }

    mutating func bound(_ binding: Binding) { self.bindings.append(binding) }

    mutating func unbound(_ binding: Binding) {
        self.bindings.remove(binding)
        self.forgetUnused(exchange: binding.source)
    }

    mutating func deleted(queue name: String) {
        self.queues.removeValue(forKey: name)
        self.removeBindings { $0.toQueue && $0.destination == name }
    }

    mutating func deleted(exchange name: String) {
        self.exchanges.removeValue(forKey: name)
        self.removeBindings { $0.source == name || (!$0.toQueue && $0.destination == name) }
    }

    /// The queue's last consumer of this connection has gone.
    mutating func lastConsumerGone(queue name: String) {
        if self.queues[name]?.declaration.autoDelete == true { self.deleted(queue: name) }
    }

    /// The broker gave the queue another name on its new declaration; its bindings follow.
    mutating func renamed(queue old: String, to new: String) {
        guard old != new, let index = self.queues.index(forKey: old) else { return }
        let queue = self.queues.remove(at: index).value
        self.queues.updateValue(queue, forKey: new, insertingAt: min(index, self.queues.count))
        self.bindings = OrderedSet(
            self.bindings.map { binding in
                var binding = binding
                if binding.toQueue && binding.destination == old { binding.destination = new }
                return binding
            }
        )
    }

    /// What `queue` needs to be as it was: itself, its bindings, and the exchanges and bindings that lead to them.
    func part(ofQueue name: String) -> Topology {
        var part = Topology()
        if let queue = self.queues[name] { part.queues[name] = queue }
        part.bindings = self.bindings.filter { $0.toQueue && $0.destination == name }
        var sources = part.bindings.map(\.source)
        while let source = sources.popLast() {
            guard part.exchanges[source] == nil, let exchange = self.exchanges[source] else { continue }
            part.exchanges[source] = exchange
            for binding in self.bindings where !binding.toQueue && binding.destination == source {
                part.bindings.append(binding)
                sources.append(binding.source)
            }
        }
        return part
    }

    private mutating func removeBindings(where matches: (Binding) -> Bool) {
        let gone = self.bindings.filter(matches)
        for binding in gone { self.bindings.remove(binding) }
        for binding in gone { self.forgetUnused(exchange: binding.source) }
    }

    private mutating func forgetUnused(exchange name: String) {
        guard self.exchanges[name]?.autoDelete == true, !self.bindings.contains(where: { $0.source == name })
        else { return }
        self.deleted(exchange: name)
    }
}
