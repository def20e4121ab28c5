import ParleyCore
import ParleySagas

/// The guide's order flow, with the way back that an operator can ask for.
enum OrderChoreography {
    static let json = """
        { "order_choreography": { "starts_with": "order.created", "stuck_after_seconds": 60, "events": {
          "order.created": { "by": "order-service",
            "then": [ { "one_of": ["inventory.reserved", "inventory.failed"], "within_seconds": 5 } ] },
          "inventory.reserved": { "by": "inventory-service",
            "then": [ { "one_of": ["payment.processed", "payment.failed"], "within_seconds": 10 } ] },
          "inventory.failed": { "by": "inventory-service",
            "then": [ { "one_of": ["order.cancelled"], "within_seconds": 5 } ] },
          "payment.processed": { "by": "payment-service",
            "then": [ { "one_of": ["order.confirmed"], "within_seconds": 5 } ] },
          "payment.failed": { "by": "payment-service",
            "then": [ { "one_of": ["inventory.released"], "within_seconds": 5 } ] },
          "inventory.released": { "by": "inventory-service", "compensates": "inventory.reserved",
            "then": [ { "one_of": ["order.cancelled"], "within_seconds": 5 } ] },
          "order.cancelling": { "by": "order-service", "asked_by": "order.cancel",
            "then": [ { "one_of": ["payment.refunded"], "within_seconds": 10 } ] },
          "payment.refunded": { "by": "payment-service", "compensates": "payment.processed",
            "then": [ { "one_of": ["inventory.released"], "within_seconds": 5 } ] },
          "order.confirmed": { "by": "order-service", "ends": "success" },
          "order.cancelled": { "by": "order-service", "ends": "failure" } } } }
        """

    static func load() throws -> Choreography {
        guard let choreography = try Choreography.read(json: Array(self.json.utf8)).first else {
            throw SagaError(.invalidDefinition, "empty")
        }
        return choreography
    }
}

/// Makes events of one instance, a second apart unless said otherwise.
struct Scene {
    let machine: ChoreographyMachine
    let beginning = Timestamp(microseconds: 1_767_225_600_000_000)

    init() throws { self.machine = ChoreographyMachine(try OrderChoreography.load()) }

    func at(_ seconds: Double) -> Timestamp { self.beginning + .milliseconds(Int64(seconds * 1_000)) }

    func event(
        _ type: String,
        after cause: String? = nil,
        at seconds: Double,
        id: String? = nil,
        replayOf: String? = nil
    ) -> ObservedEvent {
        ObservedEvent(
            id: id ?? type,
            type: type,
            source: "test",
            time: self.at(seconds),
            causationID: cause,
            replayOf: replayOf,
            observedAt: self.at(seconds)
        )
    }

    /// The events in the order of the list, each caused by the one before and a second after it.
    func chain(_ types: String...) -> [ObservedEvent] {
        types.enumerated().map { index, type in
            self.event(type, after: index == 0 ? nil : types[index - 1], at: Double(index))
        }
    }

    func instance(_ events: [ObservedEvent]) -> ChoreographyInstance {
        events.reduce(self.machine.begin(id: "i", businessKey: "order-1", now: self.beginning)) {
            self.machine.observing($1, in: $0, now: self.beginning)
        }
    }

    func verdict(_ events: [ObservedEvent], at seconds: Double = 10) -> ChoreographyVerdict {
        self.machine.verdict(of: self.instance(events), at: self.at(seconds))
    }
}
