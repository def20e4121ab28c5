internal import ParleyDiscovery

/// What a filter may ask about, so that a misspelt selector is refused and does not find nothing.
indirect enum FilterFields: Sendable {
    /// A text, a number, a yes or no, or a list of texts.
    case value
    /// Keys that nobody knows before.
    case map(FilterFields)
    /// An object, or a list of them.
    case object([String: FilterFields])
    /// Whatever is in there: what this registry never has, and Consul's clients may still ask about.
    case anything

    func has(_ path: ArraySlice<String>) -> Bool {
        switch self {
        case .value: path.isEmpty
        case .map(let value): path.isEmpty || value.has(path.dropFirst())
        case .object(let members): path.first.flatMap { members[$0] }?.has(path.dropFirst()) ?? false
        case .anything: true
        }
    }

    private static func object(_ values: [String], _ others: [String: FilterFields]) -> FilterFields {
        .object(others.merging(values.map { ($0, .value) }) { first, _ in first })
    }

    private static let addresses = map(object(["Address", "Port"], [:]))
    private static let weights = object(["Passing", "Warning"], [:])
    // Of Consul's paid edition and its mesh.
    private static let scope = ["Namespace", "Partition", "PeerName"]

    static let node = object(
        ["ID", "Node", "Address", "Datacenter"] + scope,
        ["TaggedAddresses": .map(.value), "Meta": .map(.value)]
    )

    static let service = object(
        ["ID", "Service", "Kind", "Tags", "Address", "Port", "SocketPath", "EnableTagOverride", "Datacenter"] + scope,
        [
            "TaggedAddresses": addresses, "Meta": .map(.value), "Weights": weights, "Proxy": .anything,
            "Connect": .anything,
        ]
    )

    static let check = object(
        [
            "Node", "CheckID", "Name", "Status", "Notes", "Output", "ServiceID", "ServiceName", "ServiceTags", "Type",
            "Interval", "Timeout", "ExposedPort",
        ] + scope,
        ["Definition": .anything]
    )

    static let healthEntry = FilterFields.object(["Node": node, "Service": service, "Checks": check])

    /// A service with its node, side by side.
    static let catalogEntry = object(
        [
            "ID", "Node", "Address", "Datacenter", "ServiceID", "ServiceName", "ServiceKind", "ServiceTags",
            "ServiceAddress", "ServicePort", "ServiceSocketPath", "ServiceEnableTagOverride",
        ] + scope,
        [
            "TaggedAddresses": .map(.value), "NodeMeta": .map(.value), "ServiceMeta": .map(.value),
            "ServiceTaggedAddresses": addresses, "ServiceWeights": weights, "ServiceProxy": .anything,
            "ServiceConnect": .anything,
        ]
    )
}

/// Which part of an answer a filter works on.
enum FilterTarget: Sendable {
    /// None: the answer is one thing, and is there or not.
    case nothing
    /// The elements of a list, or the members of an object.
    case elements(FilterFields)
    /// The same of one member of the answer.
    case member(String, FilterFields)

    /// - Throws: When it asks about what is not there.
    func check(_ filter: BooleanExpression) throws(BooleanExpression.Fault) {
        switch self {
        case .nothing: break
        case .elements(let fields), .member(_, let fields): try filter.check(fields)
        }
    }

    /// - Parameter maximumSteps: See ``RegistryLimits/maximumFilterSteps``.
    func filtered(
        _ value: JSONValue,
        by filter: BooleanExpression,
        maximumSteps: Int
    ) throws(BooleanExpression.Fault) -> JSONValue {
        var work = FilterWork(left: maximumSteps)
        switch self {
        case .nothing: return value
        case .elements: return try filter.filtered(value, &work)
        case .member(let name, _):
            guard case .object(var members) = value else { return value }
            for index in members.indices where members[index].key == name {
                members[index].value = try filter.filtered(members[index].value, &work)
            }
            return .object(members)
        }
    }
}

/// How much one filter may still do. Entries, texts and patterns multiply: each alone has its bound, and all together
/// would hold a thread for hours.
struct FilterWork {
    private(set) var left: Int

    init(left: Int) { self.left = left }

    mutating func take(_ steps: Int) throws(BooleanExpression.Fault) {
        self.left -= min(steps, self.left)
        guard self.left > 0 else {
            throw BooleanExpression.Fault(
                message: "The filter takes more steps than it may; ask for less at a time, or with a simpler one"
            )
        }
    }
}
