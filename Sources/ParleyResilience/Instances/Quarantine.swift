public import ParleyCore

/// What is done about an address at which somebody else answers.
public struct IdentityPolicy: Sendable, Hashable {
    /// Whether every answer must say whose it is. `false` also accepts instances that cannot be asked for their id
    /// (made-up ones, and programs of others), and failures (5xx) that do not say it. An answer that names somebody
    /// else, and one without a name from an instance that knows its id, is refused in any case.
    public var isRequired: Bool
    /// How long an instance is left alone after somebody else answered at its address: the first time, the second, and
    /// so on. It ends early when the resolver has a new address for it.
    public var quarantine: Backoff

    public init(
        isRequired: Bool = false,
        quarantine: Backoff = Backoff(initial: .seconds(10), cap: .seconds(300), jitter: 0.2)
    ) {
        self.isRequired = isRequired
        self.quarantine = quarantine
    }
}

/// Leaves an instance alone at whose address somebody else answers.
struct Quarantine: Equatable, Sendable {
    private(set) var count = 0
    private(set) var until: Moment?

    func isOver(at now: Moment) -> Bool { self.until.map { now >= $0 } ?? true }

    /// - Parameter chance: uniform in 0..<1.
    /// - Returns: whether it has just begun.
    mutating func begin(_ policy: IdentityPolicy, at now: Moment, chance: Double) -> Bool {
        // Calls that were under way together find out together.
        guard self.isOver(at: now) else { return false }
        self.count = min(self.count + 1, 1_000)
        let time = policy.quarantine.delay(afterFailures: self.count, chance: chance).between(.zero, .seconds(86_400))
        self.until = now.advanced(by: time)
        return true
    }

    /// It has answered under its own name.
    mutating func end() {
        guard self.count > 0 else { return }
        self = Quarantine()
    }
}
