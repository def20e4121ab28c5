package import Logging
internal import NIOCore
package import ParleyCore
internal import Synchronization

extension GatewayRuntime {
    /// Says what is wrong with a configuration, as `nginx -t` does: expressions are compiled, certificates read, hosts
    /// of upstreams resolved, access logs opened for a moment. Nothing listens.
    ///
    /// - Throws: ``GatewayError`` with the place of what is wrong.
    package static func check(
        _ model: GatewayModel,
        options: Options = Options(),
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) async throws {
        let log = AccessLogWriter(logger: logger, time: time)
        defer { log.closeAll() }
        let compiler = PlanCompiler(
            time: time,
            random: random,
            logger: logger,
            log: log,
            accessLog: options.accessLog,
            upstreamCertificates: UpstreamCertificates(time: time),
            questions: OwnQuestions(time: time)
        )
        _ = try await compiler.compile(model, after: nil)
    }

    /// All counters and gauges, as they are now.
    package func metrics() async -> GatewayMetrics.Snapshot {
        let (plan, workers) = self.state.withLock { ($0.plan, $0.workers) }
        var shards: [MetricsShard] = []
        for worker in workers {
            // A loop that has ended counts nothing any more.
            let shard = try? await worker.eventLoop.submit { worker.worker?.snapshot() }.get()
            if let shard = shard.flatMap({ $0 }) { shards.append(shard) }
        }
        var snapshot = GatewayMetrics.merge(shards)
        let connections = self.shared.connectionCounts
        snapshot.connections.accepted = connections.accepted
        snapshot.connections.active = Int64(connections.open)
        snapshot.connections.refused = connections.refused
        snapshot.accessLog = self.shared.log.statistics
        snapshot.recordsMade = self.records.added
        for index in snapshot.upstreams.indices {
            guard let upstream = plan?.upstreams[snapshot.upstreams[index].name] else { continue }
            self.describe(upstream, in: &snapshot.upstreams[index])
        }
        return snapshot
    }

    private func describe(_ upstream: Upstream, in metrics: inout GatewayMetrics.Upstream) {
        metrics.ejections &+= self.shared.ejections(of: upstream.model.name)
        if let counts = upstream.group.circuit?.counts {
            metrics.circuitRequests = counts.requests
            metrics.circuitRetries = counts.retries
        }
        var places: [String: Int] = [:]
        for (place, instance) in metrics.instances.enumerated() { places[instance.name] = place }
        for state in upstream.group.states(now: MonotonicTime.milliseconds) {
            let place = places[state.peer.name] ?? metrics.instances.count
            if place == metrics.instances.count {
                places[state.peer.name] = place
                metrics.instances.append(GatewayMetrics.Instance(name: state.peer.name))
            }
            // One name may stand for several: the name can be picked when one of them can.
            let wasAvailable = metrics.instances[place].isAvailable ?? false
            metrics.instances[place].isAvailable = wasAvailable || state.standing == .available
            metrics.instances[place].activeRequests = (metrics.instances[place].activeRequests ?? 0) + state.active
        }
    }

    package func status() async -> GatewayStatus {
        let metrics = await self.metrics()
        let (plan, addresses, since, isDraining) = self.state.withLock { state in
            (state.plan, state.addresses, state.since, state.isDraining)
        }
        return GatewayStatus(
            generation: plan?.generation ?? 0,
            since: since,
            isDraining: isDraining,
            connections: self.shared.openConnections,
            listeners: plan?.sockets.map { socket in
                let others = socket.servers.filter { $0 !== socket.fallback }
                return GatewayStatus.Listener(
                    address: addresses[socket.address] ?? socket.address,
                    servers: ([socket.fallback] + others).flatMap { $0.model.names.map(\.text) }
                )
            } ?? [],
            upstreams: plan.map { self.upstreams($0, metrics) } ?? [],
            zones: plan.map(Self.zones) ?? []
        )
    }

    private func upstreams(_ plan: GatewayPlan, _ metrics: GatewayMetrics.Snapshot) -> [GatewayStatus.Upstream] {
        let (now, wall) = (MonotonicTime.milliseconds, self.time.wallTime)
        return plan.model.upstreams.compactMap { model in
            guard let upstream = plan.upstreams[model.name] else { return nil }
            let counters = metrics.upstreams.first { $0.name == model.name }
            return GatewayStatus.Upstream(
                name: model.name,
                method: model.method.directive,
                peers: upstream.group.states(now: now).map { state in
                    GatewayStatus.Peer(ExchangeRecord.Candidate(state, now: now, wall: wall))
                },
                idleConnections: Int(counters?.connectionsIdle ?? 0),
                activeConnections: Int(counters?.connectionsActive ?? 0)
            )
        }
    }

    private static func zones(_ plan: GatewayPlan) -> [GatewayStatus.Zone] {
        let requests = plan.model.requestZones.compactMap { model in
            plan.requestZones[model.name].map { Self.zone(model.name, .requests, $0.usage, model.bytes) }
        }
        let connections = plan.model.connectionZones.compactMap { model in
            plan.connectionZones[model.name].map { Self.zone(model.name, .connections, $0.usage, model.bytes) }
        }
        return requests + connections
    }

    private static func zone(
        _ name: String,
        _ kind: GatewayStatus.Zone.Kind,
        _ usage: ZoneUsage,
        _ bytes: Int
    ) -> GatewayStatus.Zone {
        let used = usage.capacity > 0 ? Int(Double(bytes) * Double(usage.keys) / Double(usage.capacity)) : 0
        return GatewayStatus.Zone(
            name: name,
            kind: kind,
            keys: usage.keys,
            usedBytes: min(used, bytes),
            maxBytes: bytes
        )
    }
}
