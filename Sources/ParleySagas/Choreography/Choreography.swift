/// A saga without a coordinator, declared: which event follows which, from whom, within what time, and which one takes
/// back which.
///
/// Nobody runs it. The services react to each other's events; the declaration is what a ``ChoreographyMonitor``
/// compares with what happens, so that an instance that is late, stuck or wrong is seen, and can be mended.
///
/// In JSON, each event with the service that says it and what must follow:
/// ```json
/// { "order_choreography": {
///     "starts_with": "order.created", "stuck_after_seconds": 60,
///     "events": {
///       "order.created": { "by": "order-service",
///         "then": [ { "one_of": ["inventory.reserved", "inventory.failed"], "within_seconds": 5 } ] },
///       "inventory.released": { "by": "inventory-service", "compensates": "inventory.reserved",
///         "then": [ { "one_of": ["order.cancelled"], "within_seconds": 5 } ] },
///       "order.cancelled": { "by": "order-service", "ends": "failure" } } } }
/// ```
/// An event belongs to the instance that its correlation id names; its business key is the message's subject.
public struct Choreography: Sendable, Hashable {
    public var name: String
    /// The event with which an instance begins.
    public var start: String
    public var events: [String: Event]
    /// For how long something may be late before a person is called.
    public var stuckAfter: Duration
    /// Fields of the file that nobody reads, as paths; the linter reports them.
    public var unknownFields: [String]

    /// How an instance is over.
    public enum End: String, Sendable, Hashable, Codable {
        case success, failure
    }

    public struct Event: Sendable, Hashable {
        /// The service that says it.
        public var by: String
        /// What must follow: of each entry, one event. Several entries go on side by side.
        public var then: [Expectation]
        /// The event whose effect this one takes back.
        public var compensates: String?
        /// The type of the message that asks its service to make it happen, for operators who turn an instance back.
        public var askedBy: String?
        /// Set when the instance is over with it.
        public var end: End?
        /// How often it may happen in one instance; what bounds a circle.
        public var atMost: Int

        public init(
            by service: String,
            then: [Expectation] = [],
            compensates: String? = nil,
            askedBy: String? = nil,
            end: End? = nil,
            atMost: Int = 1
        ) {
            self.by = service
            self.then = then
            self.compensates = compensates
            self.askedBy = askedBy
            self.end = end
            self.atMost = max(1, atMost)
        }
    }

    public struct Expectation: Sendable, Hashable {
        /// One of these, and only one.
        public var oneOf: [String]
        /// Counted from the event before; without it nothing is ever late.
        public var within: Duration?

        public init(oneOf events: [String], within: Duration?) {
            self.oneOf = events
            self.within = within
        }

        /// One of `events`, within `duration`.
        public static func one(of events: String..., within duration: Duration) -> Expectation {
            Expectation(oneOf: events, within: duration)
        }
    }

    public init(
        name: String,
        start: String,
        events: [String: Event],
        stuckAfter: Duration = .seconds(60),
        unknownFields: [String] = []
    ) {
        self.name = name
        self.start = start
        self.events = events
        self.stuckAfter = max(.zero, stuckAfter)
        self.unknownFields = unknownFields
    }

    /// The events that some other event can take back: those that leave something in the world.
    public var effects: Set<String> { Set(self.events.values.compactMap(\.compensates)) }

    /// The topics that show everything that happens in an instance.
    public var topics: [String] { self.events.keys.sorted() }

    /// The events that can come after `starts`, those among them only when something leads back to them.
    func reachable(from starts: Set<String>) -> Set<String> {
        var seen: Set<String> = []
        var open = Array(starts)
        while let name = open.popLast() {
            for next in self.events[name]?.then.flatMap(\.oneOf) ?? [] where seen.insert(next).inserted {
                open.append(next)
            }
        }
        return seen
    }
}
