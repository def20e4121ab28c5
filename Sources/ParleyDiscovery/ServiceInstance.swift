public import ParleyCore

/// One running copy of a service: what a registrar is told and a resolver answers.
public struct ServiceInstance: Sendable, Hashable, Identifiable {
    /// Unique among all instances of all services: `user-service-1`.
    public var id: String
    public var service: ServiceName
    /// Where it accepts connections.
    public var endpoint: Endpoint
    /// Words to choose by: `v1`, `production`.
    public var tags: [String]
    /// Further facts, as texts.
    public var metadata: [String: String]
    /// Whether the instance itself knows ``id``, because it has registered under it. Then a caller can ask for it by
    /// that id and is not answered by somebody else who has come to its address; an id that was made up elsewhere, for
    /// a fixed address say, cannot be asked for.
    public var knowsItsID: Bool

    public init(
        id: String,
        service: ServiceName,
        endpoint: Endpoint,
        tags: [String] = [],
        metadata: [String: String] = [:],
        knowsItsID: Bool = false
    ) {
        self.id = id
        self.service = service
        self.endpoint = endpoint
        self.tags = tags
        self.metadata = metadata
        self.knowsItsID = knowsItsID
    }
}

/// How a service, an instance or one of its checks is doing, in Consul's words.
public enum HealthStatus: String, Sendable, Hashable, Codable, Comparable, CaseIterable {
    /// It does its work.
    case passing
    /// It does its work, and somebody should look at it; it still gets requests.
    case warning
    /// It does not do its work; it gets no requests.
    case critical

    /// The better status is the smaller one, so the status of a whole is the `max()` of its parts.
    public static func < (lhs: HealthStatus, rhs: HealthStatus) -> Bool { lhs.rank < rhs.rank }

    private var rank: Int {
        switch self {
        case .passing: 0
        case .warning: 1
        case .critical: 2
        }
    }
}
