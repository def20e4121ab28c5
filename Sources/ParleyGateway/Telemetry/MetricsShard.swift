/// What is counted: the numbers that the data plane uses on its path, and the names that they stand for.
package struct MetricsShape: Sendable, Hashable {
    package struct Route: Sendable, Hashable, Codable {
        package var server: String
        package var route: String

        package init(server: String, route: String) {
            self.server = server
            self.route = route
        }
    }

    package var routes: [Route]
    package var upstreams: [String]
    /// Of `limit_req` and `limit_conn`.
    package var zones: [String]

    package init(routes: [Route], upstreams: [String], zones: [String]) {
        self.routes = routes
        self.upstreams = upstreams
        self.zones = zones
    }
}

/// The counters of one event loop: plain integers that only the loop changes, so nothing is locked.
///
/// A number that the shape does not have is not counted. To read, take a copy on the loop and ``GatewayMetrics/merge``
/// it; to change the configuration, make a new one with ``init(_:continuing:)``: counters never go back.
package struct MetricsShard: Sendable {
    package struct Route: Sendable, Hashable {
        /// 1xx to 5xx, and at 0 what was closed without a status.
        package var status0: UInt64 = 0
        package var status1: UInt64 = 0
        package var status2: UInt64 = 0
        package var status3: UInt64 = 0
        package var status4: UInt64 = 0
        package var status5: UInt64 = 0
        package var bytesIn: UInt64 = 0
        package var bytesOut: UInt64 = 0
    }

    package struct Instance: Sendable, Hashable {
        package var attempts: UInt64 = 0
        package var failures: UInt64 = 0
        package var retries: UInt64 = 0
    }

    package struct Upstream: Sendable, Hashable {
        package var connectionsCreated: UInt64 = 0
        package var connectionsClosed: UInt64 = 0
        package var requestsReused: UInt64 = 0
        package var connectionsActive: Int64 = 0
        package var connectionsIdle: Int64 = 0
        package var overflows: UInt64 = 0
        package var ejections: UInt64 = 0
        package var noneAvailable: UInt64 = 0
    }

    package struct Zone: Sendable, Hashable {
        package var passed: UInt64 = 0
        package var delayed: UInt64 = 0
        package var rejected: UInt64 = 0
    }

    package struct Connections: Sendable, Hashable {
        package var accepted: UInt64 = 0
        package var active: Int64 = 0
        /// Closed at once: there were as many as there may be.
        package var refused: UInt64 = 0
        package var handshakesFailed: UInt64 = 0
        /// Streams of HTTP/2 that clients reset.
        package var streamsReset: UInt64 = 0
        /// Connections of HTTP/2 that were ended because they broke a rule or a limit.
        package var violations: UInt64 = 0
    }

    /// Instances of one upstream beyond this are counted together, as ``restName``.
    package static let maxInstances = 1_024
    package static let restName = "(others)"

    package let shape: MetricsShape
    package internal(set) var routes: [Route]
    package internal(set) var durations: [DurationHistogram]
    package var upstreams: [Upstream]
    package internal(set) var instances: [[Instance]]
    package internal(set) var instanceNames: [[String]]
    package var zones: [Zone]
    package var connections = Connections()

    package init(_ shape: MetricsShape) {
        self.shape = shape
        self.routes = Array(repeating: Route(), count: shape.routes.count)
        self.durations = Array(repeating: DurationHistogram(), count: shape.routes.count)
        self.upstreams = Array(repeating: Upstream(), count: shape.upstreams.count)
        self.instances = Array(repeating: [], count: shape.upstreams.count)
        self.instanceNames = Array(repeating: [], count: shape.upstreams.count)
        self.zones = Array(repeating: Zone(), count: shape.zones.count)
    }

    /// After a reload: what has the same name goes on counting from where it is. What is gone is forgotten.
    package init(_ shape: MetricsShape, continuing old: MetricsShard) {
        self.init(shape)
        self.connections = old.connections
        let routes = Self.numbers(old.shape.routes)
        for (index, name) in shape.routes.enumerated() {
            guard let number = routes[name] else { continue }
            self.routes[index] = old.routes[number]
            self.durations[index] = old.durations[number]
        }
        let upstreams = Self.numbers(old.shape.upstreams)
        for (index, name) in shape.upstreams.enumerated() {
            guard let number = upstreams[name] else { continue }
            self.upstreams[index] = old.upstreams[number]
            self.instances[index] = old.instances[number]
            self.instanceNames[index] = old.instanceNames[number]
        }
        let zones = Self.numbers(old.shape.zones)
        for (index, name) in shape.zones.enumerated() {
            if let number = zones[name] { self.zones[index] = old.zones[number] }
        }
    }

    private static func numbers<Name: Hashable>(_ names: [Name]) -> [Name: Int] {
        Dictionary(names.enumerated().map { ($0.element, $0.offset) }) { first, _ in first }
    }

    /// The number of an instance, for ``attemptEnded(upstream:instance:hasFailed:isRetry:)``; asked for when the
    /// instance is seen for the first time, not for each request.
    package mutating func instance(_ name: String, of upstream: Int) -> Int {
        guard upstream >= 0, upstream < self.instances.count else { return -1 }
        if let number = self.instanceNames[upstream].firstIndex(of: name) { return number }
        let count = self.instanceNames[upstream].count
        guard count <= Self.maxInstances else { return Self.maxInstances }
        self.instanceNames[upstream].append(count == Self.maxInstances ? Self.restName : name)
        self.instances[upstream].append(Instance())
        return count
    }

    package mutating func requestEnded(
        route: Int,
        status: Int,
        microseconds: Int64,
        bytesIn: Int64,
        bytesOut: Int64
    ) {
        guard route >= 0, route < self.routes.count else { return }
        switch status {
        case 100..<200: self.routes[route].status1 &+= 1
        case 200..<300: self.routes[route].status2 &+= 1
        case 300..<400: self.routes[route].status3 &+= 1
        case 400..<500: self.routes[route].status4 &+= 1
        case 500..<600: self.routes[route].status5 &+= 1
        default: self.routes[route].status0 &+= 1
        }
        self.routes[route].bytesIn &+= UInt64(clamping: bytesIn)
        self.routes[route].bytesOut &+= UInt64(clamping: bytesOut)
        self.durations[route].record(microseconds)
    }

    package mutating func attemptEnded(upstream: Int, instance: Int, hasFailed: Bool, isRetry: Bool) {
        guard upstream >= 0, upstream < self.instances.count, instance >= 0,
            instance < self.instances[upstream].count
        else { return }
        self.instances[upstream][instance].attempts &+= 1
        if hasFailed { self.instances[upstream][instance].failures &+= 1 }
        if isRetry { self.instances[upstream][instance].retries &+= 1 }
    }
}
