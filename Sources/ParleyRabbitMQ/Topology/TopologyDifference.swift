/// How a ``TopologyPlan`` comes about; pure.
struct TopologyDifference {
    private let wanted: RabbitMQTopology
    private let actual: TopologySnapshot
    private let options: TopologyPlan.Options
    private let hosts: Set<String>
    /// The queues of consumer groups that the topology does not name, and the exchanges that feed them: the services
    /// that use them have declared them.
    private let groups: Set<TopologyPlan.Resource>
    private let sources: Set<TopologyPlan.Resource>
    /// Exchanges and queues that are deleted and made again: what is bound to them goes.
    private var replaced: Set<TopologyPlan.Resource> = []

    private(set) var steps: [TopologyPlan.Step] = []
    /// In the order of creation; done in the opposite one.
    private(set) var deletions: [TopologyPlan.Step] = []
    private(set) var unmanaged: [TopologyPlan.Resource] = []

    init(_ wanted: RabbitMQTopology, _ actual: TopologySnapshot, _ options: TopologyPlan.Options) {
        self.wanted = wanted
        let actual = Self.withoutUnfinished(actual)
        self.actual = actual
        self.options = options
        self.hosts = Set(wanted.virtualHosts.map(\.name))
        let queues = Set(actual.queues.map { Self.resource($0.queue) })
        var groups = queues.filter { queue in
            queues.contains(.init(.queue, GroupQueues.deadLetters(of: queue.name), in: queue.virtualHost))
        }
        groups.subtract(wanted.queues.map(Self.resource))
        self.groups = groups
        self.sources = Set(
            actual.bindings.filter { groups.contains(Self.destination(of: $0.binding)) }
                .map { .init(.exchange, $0.binding.source, in: $0.binding.virtualHost) }
        )
    }

    /// What was not finished counts as not there.
    private static func withoutUnfinished(_ snapshot: TopologySnapshot) -> TopologySnapshot {
        let hosts = snapshot.unfinishedHosts
        if hosts.isEmpty { return snapshot }
        var rest = snapshot
        rest.virtualHosts.removeAll { hosts.contains($0.name) }
        rest.permissions.removeAll { hosts.contains($0.virtualHost) }
        rest.exchanges.removeAll { hosts.contains($0.virtualHost) }
        return rest
    }

    mutating func compute() {
        self.virtualHosts()
        self.users()
        self.permissions()
        self.exchanges()
        self.queues()
        self.bindings()
        self.policies()
        self.operatorPermissions()
    }

    // MARK: - Outside of virtual hosts

    /// Who makes a virtual host is given all permissions on it, a moment later: who dies in between, or comes to one of
    /// somebody else's, has none, and could declare nothing in it.
    private mutating func operatorPermissions() {
        let kinds: Set<TopologyPlan.Kind> = [.exchange, .queue, .binding]
        let name = self.actual.operatorName
        for host in self.wanted.virtualHosts.map(\.name)
        where self.actual.virtualHosts.contains(where: { $0.name == host }) {
            let permission = RabbitMQTopology.Permission(user: name, virtualHost: host)
            let resource = Self.resource(permission)
            let isNeeded = (self.steps + self.deletions).contains {
                kinds.contains($0.resource.kind) && $0.resource.virtualHost == host
            }
            let isThere = (self.actual.permissions + self.wanted.permissions).contains { Self.resource($0) == resource }
            guard isNeeded, !isThere else { continue }
            let fields: [TopologyPlan.FieldChange] = [
                .init("configure", from: nil, to: ".*"), .init("write", from: nil, to: ".*"),
                .init("read", from: nil, to: ".*"),
            ]
            let step = TopologyPlan.Step(
                action: .create,
                resource: resource,
                fields: fields,
                refusal: nil,
                note: "your own: without it, nothing in this virtual host can be declared",
                operation: .putPermission(permission)
            )
            let after: Set<TopologyPlan.Kind> = [.virtualHost, .user, .permission]
            let index = self.steps.firstIndex { !after.contains($0.resource.kind) } ?? self.steps.endIndex
            self.steps.insert(step, at: index)
        }
    }

    private mutating func virtualHosts() {
        for host in self.wanted.virtualHosts {
            let resource = TopologyPlan.Resource(.virtualHost, host.name)
            guard let old = self.actual.virtualHosts.first(where: { $0.name == host.name }) else {
                var fields: [TopologyPlan.FieldChange] = []
                if let description = host.description {
                    fields.append(.init("description", from: nil, to: description))
                }
                if let tags = host.tags { fields.append(.init("tags", from: nil, to: Self.list(tags))) }
                if self.actual.unfinishedHosts.contains(host.name) {
                    let note = "it was begun and not finished, and is empty: it is made anew"
                    self.step(.create, resource, fields, .remakeVirtualHost(host), note: note)
                } else {
                    self.step(.create, resource, fields, .putVirtualHost(host))
                }
                continue
            }
            // Writing one of the two resets the other.
            var full = old
            full.description = host.description ?? old.description
            full.tags = host.tags ?? old.tags
            let fields = Self.changes([
                ("description", old.description ?? "", full.description ?? ""),
                ("tags", Self.list(old.tags ?? []), Self.list(full.tags ?? [])),
            ])
            if !fields.isEmpty { self.step(.change, resource, fields, .putVirtualHost(full)) }
        }
    }

    private mutating func users() {
        for user in self.wanted.users {
            let resource = TopologyPlan.Resource(.user, user.name)
            guard let old = self.actual.users.first(where: { $0.name == user.name }) else {
                let password = user.password == nil ? "none: it cannot log in with one" : "as the file says"
                let fields: [TopologyPlan.FieldChange] = [
                    .init("password", from: nil, to: password),
                    .init("tags", from: nil, to: Self.list(user.tags ?? [])),
                ]
                self.step(.create, resource, fields, .putUser(user, kept: nil))
                continue
            }
            // Both are written together, so what the topology does not say is written as it was.
            var full = user
            full.tags = user.tags ?? old.tags
            var fields = Self.changes([("tags", Self.list(old.tags), Self.list(full.tags ?? []))])
            let isRight = user.password.map { old.hash.matches($0) ?? false } ?? true
            if !isRight { fields.append(.init("password", from: "another", to: "as the file says")) }
            if !fields.isEmpty { self.step(.change, resource, fields, .putUser(full, kept: isRight ? old.hash : nil)) }
        }
    }

    private mutating func permissions() {
        let there = Self.byName(self.actual.permissions, Self.resource)
        for permission in self.wanted.permissions {
            let resource = Self.resource(permission)
            let old = there[resource]
            let fields = Self.changes([
                ("configure", old?.configure, permission.configure), ("write", old?.write, permission.write),
                ("read", old?.read, permission.read),
            ])
            if old != nil, fields.isEmpty { continue }
            self.step(old == nil ? .create : .change, resource, fields, .putPermission(permission))
        }
        let names = Set(self.wanted.permissions.map(Self.resource))
        for permission in self.actual.permissions
        where self.hosts.contains(permission.virtualHost) && permission.user != self.actual.operatorName {
            let resource = Self.resource(permission)
            if names.contains(resource) { continue }
            self.surplus(
                resource,
                .deletePermission(user: permission.user, virtualHost: permission.virtualHost)
            )
        }
    }

    // MARK: - What cannot be changed, only replaced

    private mutating func exchanges() {
        let there = Self.byName(self.actual.exchanges, Self.resource)
        for exchange in self.wanted.exchanges {
            let resource = Self.resource(exchange)
            let old = there[resource]
            var fields = Self.changes([
                ("type", old?.type, exchange.type), ("durable", old.map { "\($0.durable)" }, "\(exchange.durable)"),
                ("auto_delete", old.map { "\($0.autoDelete)" }, "\(exchange.autoDelete)"),
                ("internal", old.map { "\($0.isInternal)" }, "\(exchange.isInternal)"),
            ])
            fields += Self.changes("arguments", old?.arguments ?? [:], exchange.arguments)
            guard old != nil else {
                // What is as everybody expects it need not be said of something new.
                fields.removeAll { ["auto_delete", "internal"].contains($0.field) && $0.after == "false" }
                self.step(.create, resource, fields, .putExchange(exchange))
                continue
            }
            if fields.isEmpty { continue }
            if self.options.replaces { self.replaced.insert(resource) }
            self.step(
                .replace,
                resource,
                fields,
                .replaceExchange(exchange),
                refusal: self.options.replaces
                    ? nil
                    : "an exchange's settings cannot be changed, only replaced with it: allow that with --replace",
                note: "while it is gone, publishing to it fails; its bindings are made again"
            )
        }
        let names = Set(self.wanted.exchanges.map(Self.resource))
        for exchange in self.actual.exchanges where self.hosts.contains(exchange.virtualHost) {
            let resource = Self.resource(exchange)
            if names.contains(resource) || exchange.name.isEmpty || exchange.name.hasPrefix("amq.") { continue }
            if self.sources.contains(resource) { continue }
            self.surplus(resource, .deleteExchange(name: exchange.name, virtualHost: exchange.virtualHost))
        }
    }

    private mutating func queues() {
        let there = Self.byName(self.actual.queues) { Self.resource($0.queue) }
        for queue in self.wanted.queues {
            let resource = Self.resource(queue)
            let old = there[resource]
            var fields = Self.changes([
                ("durable", old.map { "\($0.queue.durable)" }, "\(queue.durable)"),
                ("auto_delete", old.map { "\($0.queue.autoDelete)" }, "\(queue.autoDelete)"),
            ])
            fields += Self.changes("arguments", Self.arguments(of: old, comparedTo: queue), queue.arguments)
            guard let old else {
                fields.removeAll { $0.field == "auto_delete" && $0.after == "false" }
                self.step(.create, resource, fields, .putQueue(queue))
                continue
            }
            if fields.isEmpty { continue }
            var refusal = self.refusalToDelete(old)
            if !self.options.replaces {
                refusal = "a queue's settings cannot be changed, only replaced with it: allow that with --replace"
            }
            if refusal == nil { self.replaced.insert(resource) }
            self.step(
                .replace,
                resource,
                fields,
                .replaceQueue(queue, type: old.type),
                refusal: refusal,
                note: "while it is gone, messages to it are lost; its bindings are made again"
            )
        }
        let names = Set(self.wanted.queues.map(Self.resource))
        for queue in self.actual.queues where self.hosts.contains(queue.queue.virtualHost) {
            let resource = Self.resource(queue.queue)
            if names.contains(resource) || queue.isExclusive || queue.queue.name.hasPrefix("amq.") { continue }
            let host = queue.queue.virtualHost
            let role = GroupQueues.role(of: queue.queue.name) { there[.init(.queue, $0, in: host)] != nil }
            if self.groups.contains(resource) || role != .messages { continue }
            let users = queue.consumers ?? 0
            self.surplus(
                resource,
                .deleteQueue(name: queue.queue.name, virtualHost: host, type: queue.type),
                refusal: users > 0
                    ? "it has \(users) consumer\(users == 1 ? "" : "s"): stop \(users == 1 ? "it" : "them") first"
                    : self.refusalToDelete(queue)
            )
        }
    }

    private func refusalToDelete(_ queue: TopologySnapshot.Queue) -> String? {
        guard let messages = queue.messages, messages > 0, !self.options.discardsMessages else { return nil }
        return "it holds \(messages) message\(messages == 1 ? "" : "s"): consume them first, "
            + "or lose them with --discard-messages"
    }

    /// The arguments to compare with. A broker may add the type, and calls one without it `classic`: that is the same,
    /// and a queue that names no type may have any.
    private static func arguments(
        of old: TopologySnapshot.Queue?,
        comparedTo queue: RabbitMQTopology.Queue
    ) -> [String: RabbitMQValue] {
        guard let old else { return [:] }
        var arguments = old.queue.arguments
        arguments["x-queue-type"] = queue.arguments["x-queue-type"] == nil ? nil : .string(old.type)
        return arguments
    }

    // MARK: - Bindings and policies

    private mutating func bindings() {
        let there = self.actual.bindings.filter { !self.isLost($0.binding) }
        let known = Set(there.map(\.binding))
        for binding in self.wanted.bindings where !known.contains(binding) {
            self.step(.create, Self.resource(binding), Self.describe(binding), .putBinding(binding))
        }
        let names = Set(self.wanted.bindings)
        let exclusive = Set(self.actual.queues.filter(\.isExclusive).map { Self.resource($0.queue) })
        for entry in self.actual.bindings where self.hosts.contains(entry.binding.virtualHost) {
            let binding = entry.binding
            let destination = Self.destination(of: binding)
            if names.contains(binding) || exclusive.contains(destination) { continue }
            guard self.isLost(binding) else {
                if self.groups.contains(destination) { continue }
                self.surplus(Self.resource(binding), .deleteBinding(entry))
                continue
            }
            if self.options.prunes, !self.groups.contains(destination) { continue }
            // Goes with what is replaced, and is not ours to take away.
            self.step(
                .create,
                Self.resource(binding),
                Self.describe(binding),
                .putBinding(binding),
                note: "not in the file; it goes with what is replaced and is made again"
            )
        }
    }

    private func isLost(_ binding: RabbitMQTopology.Binding) -> Bool {
        self.replaced.contains(.init(.exchange, binding.source, in: binding.virtualHost))
            || self.replaced.contains(Self.destination(of: binding))
    }

    private mutating func policies() {
        let there = Self.byName(self.actual.policies, Self.resource)
        for policy in self.wanted.policies {
            let resource = Self.resource(policy)
            let old = there[resource]
            var fields = Self.changes([
                ("pattern", old?.pattern, policy.pattern), ("apply-to", old?.applyTo, policy.applyTo),
                ("priority", old.map { "\($0.priority)" }, "\(policy.priority)"),
            ])
            fields += Self.changes("definition", old?.definition ?? [:], policy.definition)
            if old != nil, fields.isEmpty { continue }
            self.step(old == nil ? .create : .change, resource, fields, .putPolicy(policy))
        }
        let names = Set(self.wanted.policies.map(Self.resource))
        for policy in self.actual.policies where self.hosts.contains(policy.virtualHost) {
            let resource = Self.resource(policy)
            if names.contains(resource) { continue }
            self.surplus(resource, .deletePolicy(name: policy.name, virtualHost: policy.virtualHost))
        }
    }

    // MARK: - Steps

    private mutating func step(
        _ action: TopologyPlan.Action,
        _ resource: TopologyPlan.Resource,
        _ fields: [TopologyPlan.FieldChange],
        _ operation: TopologyOperation,
        refusal: String? = nil,
        note: String? = nil
    ) {
        self.steps.append(
            .init(
                action: action,
                resource: resource,
                fields: fields,
                refusal: refusal,
                note: note,
                operation: operation
            )
        )
    }

    /// There, and not named.
    private mutating func surplus(
        _ resource: TopologyPlan.Resource,
        _ operation: TopologyOperation,
        refusal: String? = nil
    ) {
        guard self.options.prunes else {
            self.unmanaged.append(resource)
            return
        }
        self.deletions.append(
            .init(action: .delete, resource: resource, fields: [], refusal: refusal, note: nil, operation: operation)
        )
    }

    // MARK: - Names and fields

    /// There may be a hundred thousand of each. A listing in pages may have one twice.
    private static func byName<Thing>(
        _ things: [Thing],
        _ name: (Thing) -> TopologyPlan.Resource
    ) -> [TopologyPlan.Resource: Thing] {
        Dictionary(things.map { (name($0), $0) }) { first, _ in first }
    }

    private static func resource(_ permission: RabbitMQTopology.Permission) -> TopologyPlan.Resource {
        .init(.permission, permission.user, in: permission.virtualHost)
    }

    private static func resource(_ exchange: RabbitMQTopology.Exchange) -> TopologyPlan.Resource {
        .init(.exchange, exchange.name, in: exchange.virtualHost)
    }

    private static func resource(_ queue: RabbitMQTopology.Queue) -> TopologyPlan.Resource {
        .init(.queue, queue.name, in: queue.virtualHost)
    }

    private static func resource(_ policy: RabbitMQTopology.Policy) -> TopologyPlan.Resource {
        .init(.policy, policy.name, in: policy.virtualHost)
    }

    private static func resource(_ binding: RabbitMQTopology.Binding) -> TopologyPlan.Resource {
        let key = binding.routingKey.isEmpty ? "" : " (\(binding.routingKey))"
        return .init(.binding, "\(binding.source) → \(binding.destination)\(key)", in: binding.virtualHost)
    }

    private static func destination(of binding: RabbitMQTopology.Binding) -> TopologyPlan.Resource {
        let kind: TopologyPlan.Kind = binding.destinationType == .queue ? .queue : .exchange
        return .init(kind, binding.destination, in: binding.virtualHost)
    }

    private static func describe(_ binding: RabbitMQTopology.Binding) -> [TopologyPlan.FieldChange] {
        var fields: [TopologyPlan.FieldChange] = []
        if binding.destinationType == .exchange { fields.append(.init("destination_type", from: nil, to: "exchange")) }
        return fields + Self.changes("arguments", [:], binding.arguments)
    }

    private static func list(_ words: [String]) -> String {
        words.isEmpty ? "none" : words.sorted().joined(separator: ", ")
    }

    private static func changes(_ fields: [(String, String?, String)]) -> [TopologyPlan.FieldChange] {
        fields.filter { $0.1 != $0.2 }.map { TopologyPlan.FieldChange($0.0, from: $0.1, to: $0.2) }
    }

    /// One entry for each member that differs.
    private static func changes(
        _ table: String,
        _ before: [String: RabbitMQValue],
        _ after: [String: RabbitMQValue]
    ) -> [TopologyPlan.FieldChange] {
        Set(before.keys).union(after.keys).sorted().filter { before[$0] != after[$0] }
            .map { .init("\(table).\($0)", from: before[$0]?.description, to: after[$0]?.description) }
    }
}
