/// How a call went: which instances were asked, what came of it, and why it ended there.
///
/// Comes with every result and every error. ``description`` tells it as a story; as JSON it is for programs.
public struct CallExplanation: Sendable, Hashable, Codable {
    /// One try.
    public struct Attempt: Sendable, Hashable, Codable {
        /// Counted from 1.
        public var number: Int
        /// `nil` when there was nobody to ask.
        public var instance: String?
        public var endpoint: String?
        /// When it began, in microseconds since the call did.
        public var begunAfterMicroseconds: Int64
        public var tookMicroseconds: Int64
        public var outcome: Outcome
        public var health: InstanceHealth
        /// How the instance's breaker stood when it began.
        public var breaker: BreakerState
        /// Whether it began while an earlier one was under way.
        public var isHedge: Bool
        /// What came back: a status, or a kind of error.
        public var note: String
    }

    /// An instance that could have been asked.
    public struct Considered: Sendable, Hashable, Codable {
        public var instance: String
        public var endpoint: String
        public var standing: InstanceStanding
    }

    public var service: String
    /// At most 100.
    public var attempts: [Attempt]
    /// How the instances stood at the end, if the call failed: the first 16.
    public var considered: [Considered]
    /// How many instances there were.
    public var instances: Int
    /// How many retries all hops together had left; `nil` where no edge has set a number.
    public var hopBudgetLeft: Int?
    /// How many retries this client had left for the service; `nil` without a budget.
    public var clientBudgetLeft: Int?
    /// How long it waited for its turn (bulkhead, rate limit).
    public var waitedMicroseconds: Int64
    public var tookMicroseconds: Int64
    public var stop: StopReason

    public init(service: String, stop: StopReason = .answered) {
        self.service = service
        self.attempts = []
        self.considered = []
        self.instances = 0
        self.hopBudgetLeft = nil
        self.clientBudgetLeft = nil
        self.waitedMicroseconds = 0
        self.tookMicroseconds = 0
        self.stop = stop
    }
}

extension CallExplanation: CustomStringConvertible {
    public var description: String {
        var lines = ["Call to \(self.service), \(Self.milliseconds(self.tookMicroseconds)): \(self.stop)."]
        if self.waitedMicroseconds > 0 {
            lines.append("  It waited \(Self.milliseconds(self.waitedMicroseconds)) for its turn.")
        }
        for attempt in self.attempts { lines.append(Self.line(attempt)) }
        if !self.considered.isEmpty {
            let list = self.considered.map { "\($0.instance) (\($0.endpoint)) \($0.standing.rawValue)" }
            let more = self.instances > list.count ? ", and \(self.instances - list.count) more" : ""
            lines.append("  Instances: \(list.joined(separator: ", "))\(more).")
        } else if self.instances == 0 {
            lines.append("  No instance is known.")
        }
        let budgets = [
            self.clientBudgetLeft.map { "\($0) of this client" }, self.hopBudgetLeft.map { "\($0) of all hops" },
        ].compactMap(\.self)
        if !budgets.isEmpty { lines.append("  Retries left: \(budgets.joined(separator: ", ")).") }
        return lines.joined(separator: "\n")
    }

    private static func line(_ attempt: Attempt) -> String {
        let start = "  \(attempt.number). after \(Self.milliseconds(attempt.begunAfterMicroseconds))"
        guard let instance = attempt.instance else { return "\(start): \(attempt.note)" }
        let breaker = attempt.breaker == .closed ? "" : ", its breaker \(attempt.breaker.rawValue)"
        let hedge = attempt.isHedge ? ", beside an earlier one" : ""
        let took = Self.milliseconds(attempt.tookMicroseconds)
        return "\(start): \(instance) at \(attempt.endpoint ?? "?")\(breaker)\(hedge): \(attempt.note) in \(took)"
    }

    private static func milliseconds(_ microseconds: Int64) -> String {
        "\(microseconds / 1_000).\(microseconds / 100 % 10) ms"
    }
}
