/// What the queues of a consumer group are called on the broker: the group's own has its name.
public enum GroupQueues {
    /// All groups of a virtual host are named in this stream.
    static let registry = "parley.groups"

    static func attempts(of group: String) -> String { "\(group).attempts" }
    public static func deadLetters(of group: String) -> String { "\(group).dead-letters" }
    static func delay(_ milliseconds: Int64, of group: String) -> String { "\(group).retry.\(milliseconds)ms" }

    /// What a queue is for, as its name says.
    public enum Role: Sendable, Hashable {
        /// A group's own, or one that has nothing to do with Parley.
        case messages
        case deadLetters(of: String)
        case delay(of: String)
        /// The counts of a group's deliveries, or the names of all groups: streams, whose messages nobody waits for.
        case bookkeeping
    }

    /// - Parameter isQueue: Whether there is a queue of this name: a queue that is only called like a group's dead
    ///   letters has no group beside it.
    public static func role(of queue: String, isQueue: (String) -> Bool) -> Role {
        if queue == Self.registry { return .bookkeeping }
        if let group = Self.base(of: queue, without: ".dead-letters"), isQueue(group) { return .deadLetters(of: group) }
        if let group = Self.base(of: queue, without: ".attempts"), isQueue(group) { return .bookkeeping }
        if let rest = Self.base(of: queue, without: "ms"), let dot = rest.lastIndex(of: "."),
            Int64(rest[rest.index(after: dot)...]) != nil,
            let group = Self.base(of: String(rest[..<dot]), without: ".retry"), isQueue(group)
        {
            return .delay(of: group)
        }
        return .messages
    }

    private static func base(of name: String, without suffix: String) -> String? {
        name.hasSuffix(suffix) ? String(name.dropLast(suffix.count)) : nil
    }
}
