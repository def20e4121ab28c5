/// The counters of all event loops together, for people and programs.
package enum GatewayMetrics {
    package struct Snapshot: Sendable, Hashable, Codable {
        package var routes: [Route] = []
        package var upstreams: [Upstream] = []
        package var zones: [Zone] = []
        package var connections = Connections()
        package var accessLog = AccessLogWriter.Statistics()
        package var recordsMade: UInt64 = 0

        package init() {}
    }

    package struct Route: Sendable, Hashable, Codable {
        package var server: String
        package var route: String
        /// By class: `2xx`; `none` was closed without a status.
        package var requests: [String: UInt64]
        package var bytesIn: UInt64
        package var bytesOut: UInt64
        package var duration: Durations
    }

    package struct Durations: Sendable, Hashable, Codable {
        package var count: UInt64
        package var sumMicroseconds: UInt64
        package var p50Microseconds: Int64?
        package var p90Microseconds: Int64?
        package var p99Microseconds: Int64?
        /// At each of ``PrometheusText/bounds``, how many were not longer.
        package var cumulative: [UInt64]

        init(_ histogram: DurationHistogram) {
            self.count = histogram.count
            self.sumMicroseconds = histogram.sum
            self.p50Microseconds = histogram.quantile(0.5)
            self.p90Microseconds = histogram.quantile(0.9)
            self.p99Microseconds = histogram.quantile(0.99)
            var sums: [UInt64] = []
            var seen: UInt64 = 0
            var next = 0
            for bound in PrometheusText.bounds {
                while next < histogram.buckets.count, DurationBuckets.upperBound(next) <= bound {
                    seen &+= histogram.buckets[next]
                    next += 1
                }
                sums.append(seen)
            }
            self.cumulative = sums
        }
    }

    package struct Instance: Sendable, Hashable, Codable {
        package var name: String
        package var attempts: UInt64 = 0
        package var failures: UInt64 = 0
        package var retries: UInt64 = 0
        /// Set by whoever knows the balancer; `nil` when nobody did.
        package var isAvailable: Bool?
        package var activeRequests: Int?
    }

    package struct Upstream: Sendable, Hashable, Codable {
        package var name: String
        package var instances: [Instance] = []
        package var connectionsCreated: UInt64 = 0
        package var connectionsClosed: UInt64 = 0
        package var connectionsActive: Int64 = 0
        package var connectionsIdle: Int64 = 0
        package var requestsReused: UInt64 = 0
        package var overflows: UInt64 = 0
        package var ejections: UInt64 = 0
        package var noneAvailable: UInt64 = 0
        /// Of its circuit breaker, when it has one: what is under way now.
        package var circuitRequests: Int?
        package var circuitRetries: Int?
    }

    package struct Zone: Sendable, Hashable, Codable {
        package var name: String
        package var passed: UInt64
        package var delayed: UInt64
        package var rejected: UInt64
    }

    package struct Connections: Sendable, Hashable, Codable {
        package var accepted: UInt64 = 0
        package var active: Int64 = 0
        package var refused: UInt64 = 0
        package var handshakesFailed: UInt64 = 0
        package var streamsReset: UInt64 = 0
        package var violations: UInt64 = 0
    }

    /// Adds up copies of all shards. While a reload is under way their shapes may differ: what has one name is one.
    package static func merge(_ shards: [MetricsShard]) -> Snapshot {
        var snapshot = Snapshot()
        snapshot.routes = Self.routes(shards)
        snapshot.upstreams = Self.upstreams(shards)
        snapshot.zones = Self.zones(shards)
        for shard in shards {
            snapshot.connections.accepted &+= shard.connections.accepted
            snapshot.connections.active &+= shard.connections.active
            snapshot.connections.refused &+= shard.connections.refused
            snapshot.connections.handshakesFailed &+= shard.connections.handshakesFailed
            snapshot.connections.streamsReset &+= shard.connections.streamsReset
            snapshot.connections.violations &+= shard.connections.violations
        }
        return snapshot
    }

    private static func routes(_ shards: [MetricsShard]) -> [Route] {
        var table = NamedTable<MetricsShape.Route, (counters: MetricsShard.Route, durations: DurationHistogram)>()
        for shard in shards {
            for (index, name) in shard.shape.routes.enumerated() {
                let new = shard.routes[index]
                table.update(name, orElse: (MetricsShard.Route(), DurationHistogram())) { sum in
                    sum.counters.status0 &+= new.status0
                    sum.counters.status1 &+= new.status1
                    sum.counters.status2 &+= new.status2
                    sum.counters.status3 &+= new.status3
                    sum.counters.status4 &+= new.status4
                    sum.counters.status5 &+= new.status5
                    sum.counters.bytesIn &+= new.bytesIn
                    sum.counters.bytesOut &+= new.bytesOut
                    sum.durations.add(shard.durations[index])
                }
            }
        }
        return table.map { name, sum in
            Route(
                server: name.server,
                route: name.route,
                requests: [
                    "none": sum.counters.status0, "1xx": sum.counters.status1, "2xx": sum.counters.status2,
                    "3xx": sum.counters.status3, "4xx": sum.counters.status4, "5xx": sum.counters.status5,
                ],
                bytesIn: sum.counters.bytesIn,
                bytesOut: sum.counters.bytesOut,
                duration: Durations(sum.durations)
            )
        }
    }

    private static func upstreams(_ shards: [MetricsShard]) -> [Upstream] {
        var table = NamedTable<String, (upstream: Upstream, instances: NamedTable<String, Instance>)>()
        for shard in shards {
            for (index, name) in shard.shape.upstreams.enumerated() {
                let new = shard.upstreams[index]
                table.update(name, orElse: (Upstream(name: name), NamedTable())) { sum in
                    sum.upstream.connectionsCreated &+= new.connectionsCreated
                    sum.upstream.connectionsClosed &+= new.connectionsClosed
                    sum.upstream.connectionsActive &+= new.connectionsActive
                    sum.upstream.connectionsIdle &+= new.connectionsIdle
                    sum.upstream.requestsReused &+= new.requestsReused
                    sum.upstream.overflows &+= new.overflows
                    sum.upstream.ejections &+= new.ejections
                    sum.upstream.noneAvailable &+= new.noneAvailable
                    for (number, instance) in shard.instanceNames[index].enumerated() {
                        let counters = shard.instances[index][number]
                        sum.instances.update(instance, orElse: Instance(name: instance)) {
                            $0.attempts &+= counters.attempts
                            $0.failures &+= counters.failures
                            $0.retries &+= counters.retries
                        }
                    }
                }
            }
        }
        return table.map { _, sum in
            var upstream = sum.upstream
            upstream.instances = sum.instances.map { $1 }
            return upstream
        }
    }

    private static func zones(_ shards: [MetricsShard]) -> [Zone] {
        var table = NamedTable<String, Zone>()
        for shard in shards {
            for (index, name) in shard.shape.zones.enumerated() {
                let new = shard.zones[index]
                table.update(name, orElse: Zone(name: name, passed: 0, delayed: 0, rejected: 0)) {
                    $0.passed &+= new.passed
                    $0.delayed &+= new.delayed
                    $0.rejected &+= new.rejected
                }
            }
        }
        return table.map { $1 }
    }
}

/// Values by name, in the order in which the names came.
private struct NamedTable<Name: Hashable, Value> {
    private var numbers: [Name: Int] = [:]
    private var entries: [(name: Name, value: Value)] = []

    mutating func update(_ name: Name, orElse new: @autoclosure () -> Value, _ change: (inout Value) -> Void) {
        let number = self.numbers[name] ?? self.entries.count
        if number == self.entries.count {
            self.numbers[name] = number
            self.entries.append((name, new()))
        }
        change(&self.entries[number].value)
    }

    func map<Result>(_ body: (Name, Value) -> Result) -> [Result] { self.entries.map { body($0.name, $0.value) } }
}
