public import ParleyCore

/// A saga as a state machine: being in a state means that its action is to be done; its outcome leads to the next
/// state.
///
/// The JSON form is the guide's, with optional fields of our own; a file written for the guide loads as it is:
/// ```json
/// { "order_saga": { "initial": "ORDER_CREATED", "states": {
///     "ORDER_CREATED": { "action": "reserve_inventory", "on_success": "…", "on_failure": "…" } } } }
/// ```
public struct SagaDefinition: Sendable, Hashable {
    public var name: String
    public var initial: String
    public var states: [String: State]
    /// States without an action, in which a saga ends. When the file names none, every target that is not defined and
    /// begins with `SAGA_` is one.
    public var terminals: Set<String>
    /// The terminals that mean success. When the file names none: those that end in `COMPLETED` or `SUCCEEDED`.
    public var successes: Set<String>
    /// Where a saga waits for a person. When the file names none: `SAGA_STUCK`, if it is a target.
    public var parked: Set<String>
    /// Fields of the file that nobody reads, as paths; the linter reports them.
    public var unknownFields: [String]

    public struct State: Sendable, Hashable {
        public var action: String
        public var onSuccess: String?
        /// Where a *definite* refusal leads: the action has had no effect.
        public var onFailure: String?
        /// Where to go when the outcome stays unknown until the budget is spent: to a state that undoes this one.
        /// Without it the saga is stuck then, and keeps asking.
        public var onUnknown: String?
        /// The action that this one takes back. When the file does not say: found by the pairs of verbs in use
        /// (`release_x` for `reserve_x`, `refund_x` for `process_x` or `charge_x`, …).
        public var compensates: String?
        /// After this action there is no way back.
        public var isPivot: Bool
        public var retry: Retry

        public init(
            action: String,
            onSuccess: String? = nil,
            onFailure: String? = nil,
            onUnknown: String? = nil,
            compensates: String? = nil,
            isPivot: Bool = false,
            retry: Retry? = nil
        ) {
            self.action = action
            self.onSuccess = onSuccess
            self.onFailure = onFailure
            self.onUnknown = onUnknown
            self.compensates = compensates
            self.isPivot = isPivot
            self.retry = retry ?? (compensates == nil ? .action : .undo)
        }
    }

    /// How long a state is tried before its outcome counts as unknown; an undo is stuck then, and visible.
    public struct Retry: Sendable, Hashable {
        public var maximumAttempts: Int
        public var timeout: Duration
        public var backoff: Backoff

        public init(maximumAttempts: Int, timeout: Duration, backoff: Backoff) {
            self.maximumAttempts = max(1, maximumAttempts)
            self.timeout = timeout
            self.backoff = backoff
        }

        /// Forward: somebody waits, so give up after 30 s.
        public static let action = Retry(
            maximumAttempts: 20,
            timeout: .seconds(30),
            backoff: Backoff(initial: .milliseconds(100), cap: .seconds(5), jitter: 0.5)
        )
        /// Back: nobody waits, and it must happen; a person is told after 15 minutes.
        public static let undo = Retry(
            maximumAttempts: 1_000,
            timeout: .seconds(900),
            backoff: Backoff(initial: .milliseconds(200), cap: .seconds(30), jitter: 0.5)
        )
    }

    public init(
        name: String,
        initial: String,
        states: [String: State],
        terminals: Set<String> = [],
        successes: Set<String> = [],
        parked: Set<String> = [],
        unknownFields: [String] = []
    ) {
        self.name = name
        self.initial = initial
        self.states = states
        let targets = Set(states.values.flatMap(\.targets).map(\.state)).subtracting(states.keys)
        self.parked = parked.isEmpty ? targets.intersection(["SAGA_STUCK"]) : parked
        let ends = terminals.isEmpty ? targets.filter { $0.hasPrefix("SAGA_") } : terminals
        self.terminals = ends.union(successes).subtracting(self.parked)
        self.successes =
            successes.isEmpty
            ? self.terminals.filter { $0.hasSuffix("COMPLETED") || $0.hasSuffix("SUCCEEDED") } : successes
        self.unknownFields = unknownFields
        self.inferCompensations()
    }

    /// The actions whose effect some state of this definition can take back.
    public var compensatedActions: Set<String> { Set(self.states.values.compactMap(\.compensates)) }

    /// Undo verbs, each with the verbs that it takes back.
    private static let undoVerbs: [String: [String]] = [
        "release": ["reserve", "allocate", "acquire", "lock", "hold"],
        "refund": ["charge", "process", "capture", "pay", "debit"],
        "cancel": ["confirm", "create", "book", "schedule", "place"],
        "void": ["authorize"], "unlock": ["lock"], "credit": ["debit"], "delete": ["create"], "remove": ["add"],
        "revoke": ["grant"], "unreserve": ["reserve"], "undo": ["do"],
    ]

    private mutating func inferCompensations() {
        let actions = Set(self.states.values.map(\.action))
        for (name, state) in self.states where state.compensates == nil {
            let words = state.action.split(separator: "_", maxSplits: 1)
            guard words.count == 2, let forward = Self.undoVerbs[String(words[0])] else { continue }
            guard let undone = forward.map({ "\($0)_\(words[1])" }).first(where: actions.contains) else { continue }
            self.states[name]?.compensates = undone
            if state.retry == .action { self.states[name]?.retry = .undo }
        }
    }
}

extension SagaDefinition.State {
    /// Every edge out of this state.
    var targets: [(edge: String, state: String)] {
        [("on_success", self.onSuccess), ("on_failure", self.onFailure), ("on_unknown", self.onUnknown)]
            .compactMap { edge, state in state.map { (edge, $0) } }
    }
}
