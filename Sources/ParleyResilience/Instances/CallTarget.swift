public import ParleyCore

/// One instance of a service, as a caller sees it.
public struct CallTarget: Sendable, Hashable, Identifiable {
    /// Unique among the instances of the service.
    public var id: String
    public var endpoint: Endpoint
    /// The id that the instance knows itself by and can be asked for; `nil` where the id was made up by somebody else.
    public var identity: String?
    /// How much of the traffic it should get, compared with the others. Brought into 1…65,535.
    public var weight: Int

    public init(id: String, endpoint: Endpoint, identity: String? = nil, weight: Int = 1) {
        self.id = id
        self.endpoint = endpoint
        self.identity = identity
        self.weight = weight
    }

    /// Whether what is known about `other` also holds for this: the same instance at the same place.
    func isSameInstance(as other: CallTarget) -> Bool {
        self.id == other.id && self.endpoint == other.endpoint && self.identity == other.identity
    }
}
