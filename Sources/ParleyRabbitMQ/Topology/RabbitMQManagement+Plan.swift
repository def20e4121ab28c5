public import ParleyCore

extension RabbitMQManagement {
    /// Reads what the broker has, as far as `topology` may touch it. The user must be an administrator.
    public func snapshot(for topology: RabbitMQTopology) async throws -> TopologySnapshot {
        var snapshot = TopologySnapshot(operatorName: try await self.whoami().name)
        snapshot.virtualHosts = try await self.virtualHosts()
        snapshot.users = try await self.users()
        let names = Set(topology.virtualHosts.map(\.name))
        snapshot.permissions = try await self.permissions().filter { names.contains($0.virtualHost) }
        for host in snapshot.virtualHosts where names.contains(host.name) {
            snapshot.exchanges += try await self.exchanges(in: host.name)
            snapshot.queues += try await self.queues(in: host.name).map(\.snapshot)
            snapshot.bindings += try await self.bindings(in: host.name)
            snapshot.policies += try await self.policies(in: host.name)
        }
        let running = try await self.runningVirtualHosts()
        for host in snapshot.virtualHosts.map(\.name) where names.contains(host) {
            let exchanges = snapshot.exchanges.filter { $0.virtualHost == host }.map(\.name)
            let isFinished = running.contains(host) && Self.ownExchanges.isSubset(of: exchanges)
            let known = Self.ownExchanges.union(topology.exchanges.filter { $0.virtualHost == host }.map(\.name))
            let isEmpty =
                known.isSuperset(of: exchanges.filter { !$0.hasPrefix("amq.") })
                && !snapshot.queues.contains { $0.queue.virtualHost == host }
                && !snapshot.bindings.contains { $0.binding.virtualHost == host }
                && !snapshot.policies.contains { $0.virtualHost == host }
            if !isFinished, isEmpty { snapshot.unfinishedHosts.insert(host) }
        }
        return snapshot
    }

    /// What every virtual host has from the beginning.
    private static let ownExchanges: Set = ["", "amq.direct", "amq.fanout", "amq.headers", "amq.match", "amq.topic"]

    /// What has to be done so that the broker has `topology`.
    public func plan(
        for topology: RabbitMQTopology,
        options: TopologyPlan.Options = .init()
    ) async throws -> TopologyPlan {
        TopologyPlan(for: topology, on: try await self.snapshot(for: topology), options: options)
    }

    /// Does the steps in order and tells of each after it is done. The first that fails ends it: what was done stays,
    /// and the next plan has the rest.
    ///
    /// A queue that is deleted or replaced is looked at again first, unless `options` discard messages: statistics lag,
    /// and a queue that has got a message meanwhile is kept. A classic queue is deleted by the broker only if it is
    /// empty; with the other types a message that comes in the instant between the look and the deletion is lost.
    ///
    /// - Throws: ``RabbitMQManagementError``; nothing is done when the plan has refused steps.
    public func apply(
        _ plan: TopologyPlan,
        options: TopologyPlan.Options = .init(),
        random: any RandomSource = SystemRandomSource(),
        onStep: (TopologyPlan.Step) -> Void = { _ in }
    ) async throws {
        if let step = plan.refused.first {
            throw RabbitMQManagementError(
                .refused,
                "nothing was done, for the plan has steps that are not allowed: \(step.resource): "
                    + (step.refusal ?? ""),
                retry: .permanent
            )
        }
        for step in plan.steps {
            try await self.perform(step.operation, options, random)
            onStep(step)
        }
    }

    private func perform(
        _ operation: TopologyOperation,
        _ options: TopologyPlan.Options,
        _ random: any RandomSource
    ) async throws {
        switch operation {
        case .putVirtualHost(let host): try await self.put(host)
        case .remakeVirtualHost(let host):
            // Somebody else may have gone on meanwhile.
            if let queue = try await self.queues(in: host.name).first {
                throw Self.notEmpty(queue.name, host.name)
            }
            try await self.deleteVirtualHost(host.name)
            try await self.put(host)
        case .putUser(let user, let kept):
            let hash =
                kept ?? user.password.map { RabbitMQPasswordHash(of: $0, random: random) }
                ?? RabbitMQPasswordHash(value: "")
            try await self.put(TopologySnapshot.User(user.name, hash: hash, tags: user.tags ?? []))
        case .putPermission(let permission): try await self.put(permission)
        case .putExchange(let exchange): try await self.put(exchange)
        case .replaceExchange(let exchange):
            try await self.deleteExchange(exchange.name, in: exchange.virtualHost)
            try await self.put(exchange)
        case .putQueue(let queue): try await self.put(queue)
        case .replaceQueue(let queue, let type):
            try await self.deleteQueue(queue.name, in: queue.virtualHost, type: type, options)
            try await self.put(queue)
        case .putBinding(let binding): try await self.put(binding)
        case .putPolicy(let policy): try await self.put(policy)
        case .deletePermission(let user, let host): try await self.deletePermission(of: user, in: host)
        case .deleteExchange(let name, let host): try await self.deleteExchange(name, in: host)
        case .deleteQueue(let name, let host, let type):
            try await self.deleteQueue(name, in: host, type: type, options)
        case .deleteBinding(let binding): try await self.delete(binding)
        case .deletePolicy(let name, let host): try await self.deletePolicy(name, in: host)
        }
    }

    private func deleteQueue(
        _ name: String,
        in virtualHost: String,
        type: String,
        _ options: TopologyPlan.Options
    ) async throws {
        if options.discardsMessages { return try await self.deleteQueue(name, in: virtualHost) }
        do {
            // Among the statistics are those that a consumer holds, which no look into the queue shows.
            var isEmpty = try await self.queue(name, in: virtualHost).messages ?? 0 == 0
            // A stream cannot be looked into: reading does not take.
            if isEmpty, type != "stream" { isEmpty = try await !self.holdsMessage(name, in: virtualHost) }
            guard isEmpty else { throw Self.notEmpty(name, virtualHost) }
        } catch let error as RabbitMQManagementError where error.code == .notFound {
            return
        }
        do {
            try await self.deleteQueue(name, in: virtualHost, ifEmpty: type == "classic")
        } catch let error as RabbitMQManagementError where error.reason?.contains("not empty") == true {
            throw Self.notEmpty(name, virtualHost)
        }
    }

    private static func notEmpty(_ name: String, _ virtualHost: String) -> RabbitMQManagementError {
        RabbitMQManagementError(
            .notEmpty,
            "the queue '\(name)' in '\(virtualHost)' holds messages and is kept: consume them first, or lose them with "
                + "--discard-messages",
            retry: .permanent
        )
    }
}
