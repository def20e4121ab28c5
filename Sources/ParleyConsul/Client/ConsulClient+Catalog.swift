internal import ParleyCore
public import ParleyDiscovery

// What the whole datacenter knows.
extension ConsulClient {
    // MARK: Health

    /// The instances of a service, with their checks.
    public func instances(
        of service: String,
        _ query: Consul.Query = Consul.Query()
    ) async throws -> Consul.Answer<[Consul.Instance]> {
        try await self.ask(.instances(of: service, query))
    }

    /// All checks of all instances of a service.
    public func checks(
        ofService service: String,
        _ query: Consul.Query = Consul.Query()
    ) async throws -> Consul.Answer<[Consul.Check]> {
        try await self.ask(.checks(ofService: service, query))
    }

    /// All checks with this status; `nil` for all there are.
    public func checks(
        in status: HealthStatus?,
        _ query: Consul.Query = Consul.Query()
    ) async throws -> Consul.Answer<[Consul.Check]> {
        try await self.ask(.checks(in: status, query))
    }

    // MARK: Catalog

    /// The names of all services, each with the tags of all its instances.
    public func services(_ query: Consul.Query = Consul.Query()) async throws -> Consul.Answer<[String: [String]]> {
        try await self.ask(.services(query))
    }

    /// The instances of a service, healthy or not, without their checks.
    public func registered(
        _ service: String,
        _ query: Consul.Query = Consul.Query()
    ) async throws -> Consul.Answer<[Consul.Instance]> {
        try await self.ask(.registered(service, query))
    }

    /// All nodes.
    public func nodes(_ query: Consul.Query = Consul.Query()) async throws -> Consul.Answer<[Consul.Node]> {
        try await self.ask(.nodes(query))
    }

    /// All datacenters, the nearest first.
    public func datacenters() async throws -> [String] {
        try await self.get(ConsulPath("catalog/datacenters"), as: [String].self)
    }

    // MARK: Questions

    /// Asks once, without waiting for a change.
    public func ask<Value: Sendable>(_ question: ConsulQuestion<Value>) async throws -> Consul.Answer<Value> {
        try await self.ask(question, index: 0, wait: .zero)
    }

    /// - Parameters:
    ///   - index: The index of the answer that is known; 0 is answered at once.
    ///   - consistency: Instead of the question's own.
    func ask<Value: Sendable>(
        _ question: ConsulQuestion<Value>,
        index: UInt64,
        wait: Duration,
        consistency: Consul.Consistency? = nil
    ) async throws -> Consul.Answer<Value> {
        var path = question.path
        let query = question.query
        if let datacenter = query.datacenter ?? self.configuration.datacenter { path.add("dc", datacenter) }
        switch consistency ?? query.consistency {
        case .leader: break
        case .stale: path.add("stale")
        case .consistent: path.add("consistent")
        }
        for tag in query.tags { path.add("tag", tag) }
        if query.isPassingOnly { path.add("passing", "true") }
        if let filter = query.filter { path.add("filter", filter) }
        if let near = query.near { path.add("near", near) }
        if index > 0 {
            path.add("index", "\(index)")
            path.add("wait", GoDuration.text(wait))
        }
        let reply = try await self.send("GET", path, wait: index > 0 ? wait : .zero)
        return Consul.Answer(
            value: try question.read(self, reply),
            index: reply.index ?? 0,
            hasLeader: reply.hasLeader,
            lastContact: reply.lastContact
        )
    }
}

/// Something that can be asked once (``ConsulClient/ask(_:)``) or watched (``ConsulClient/watch(_:_:)``).
public struct ConsulQuestion<Value: Sendable>: Sendable {
    let path: ConsulPath
    let query: Consul.Query
    let read: @Sendable (ConsulClient, ConsulClient.Reply) throws -> Value

    /// Reads `Wire` and makes a `Value` of it.
    init<Wire: Decodable & SendableMetatype>(
        _ path: ConsulPath,
        _ query: Consul.Query,
        _ wire: Wire.Type,
        _ value: @escaping @Sendable (Wire) -> Value
    ) {
        self.path = path
        self.query = query
        self.read = { client, reply in value(try client.decode(reply, path)) }
    }
}

extension ConsulQuestion where Value == [Consul.Instance] {
    /// The instances of a service, with their checks.
    public static func instances(of service: String, _ query: Consul.Query = Consul.Query()) -> Self {
        Self(ConsulPath("health/service", service), query, [ConsulHealthEntry].self) {
            $0.map { Consul.Instance($0) }
        }
    }

    /// The instances of a service, healthy or not, without their checks.
    public static func registered(_ service: String, _ query: Consul.Query = Consul.Query()) -> Self {
        Self(ConsulPath("catalog/service", service), query, [ConsulCatalogEntry].self) {
            $0.map { Consul.Instance($0) }
        }
    }
}

extension ConsulQuestion where Value == [Consul.Check] {
    /// All checks of all instances of a service.
    public static func checks(ofService service: String, _ query: Consul.Query = Consul.Query()) -> Self {
        Self(ConsulPath("health/checks", service), query, [ConsulCheck].self) { $0.map { Consul.Check($0) } }
    }

    /// All checks with this status; `nil` for all there are.
    public static func checks(in status: HealthStatus?, _ query: Consul.Query = Consul.Query()) -> Self {
        Self(ConsulPath("health/state", status?.rawValue ?? "any"), query, [ConsulCheck].self) {
            $0.map { Consul.Check($0) }
        }
    }
}

extension ConsulQuestion where Value == [String: [String]] {
    /// The names of all services, each with the tags of all its instances.
    public static func services(_ query: Consul.Query = Consul.Query()) -> Self {
        Self(ConsulPath("catalog/services"), query, [String: [String]].self) { $0 }
    }
}

extension ConsulQuestion where Value == [Consul.Node] {
    /// All nodes.
    public static func nodes(_ query: Consul.Query = Consul.Query()) -> Self {
        Self(ConsulPath("catalog/nodes"), query, [ConsulNode].self) { $0.map { Consul.Node($0) } }
    }
}
