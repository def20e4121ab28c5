public import ParleyCore

/// What a try of a call came to, for everybody who decides about the next one.
public enum Outcome: String, Sendable, Hashable, Codable, CaseIterable {
    /// It was answered as it should be; a 404 is an answer, too.
    case success
    /// It says nothing: the caller went away, or stopped waiting.
    case ignorable
    /// It failed in a way that may be gone the next time.
    case retryableFailure
    /// It failed, and the same request would fail again.
    case permanentFailure
}

/// What a try says about the instance that it went to: another question than what it says about the call. A 429 is
/// worth a second try and is no sign of illness; a 500 is not tried again and is one.
public enum InstanceHealth: String, Sendable, Hashable, Codable {
    /// It did its work.
    case well
    /// It failed: breakers and detectors count this.
    case ill
    /// Nothing can be said.
    case unknown
    /// Somebody else answered at its address.
    case foreign
}

/// The judgement of one try.
public struct Verdict: Sendable, Hashable {
    public var outcome: Outcome
    /// Whether the request may have been carried out; it decides about calls that must not happen twice.
    public var safety: RetrySafety
    public var health: InstanceHealth
    /// How long the other side asks to be left alone.
    public var retryAfter: Duration?

    public init(_ outcome: Outcome, safety: RetrySafety, health: InstanceHealth, retryAfter: Duration? = nil) {
        self.outcome = outcome
        self.safety = safety
        self.health = health
        self.retryAfter = retryAfter
    }

    /// An answer like any other.
    public static let success = Verdict(.success, safety: .mayHaveRun, health: .well)
    /// The caller is gone.
    public static let cancelled = Verdict(.ignorable, safety: .mayHaveRun, health: .unknown)
    /// Nobody was asked.
    public static let nobody = Verdict(.retryableFailure, safety: .notSent, health: .unknown)
}

/// Why a call made no further try.
public struct StopReason: Sendable, Hashable, Codable, CustomStringConvertible {
    private let value: String

    private init(_ value: String) { self.value = value }

    /// An answer came that is worth returning.
    public static let answered = StopReason("answered")
    /// The same request would fail again.
    public static let permanent = StopReason("permanent failure")
    /// It may have been carried out, and doing it twice is not harmless.
    public static let notRepeatable = StopReason("it may have been carried out and must not be repeated")
    /// `maxAttempts` tries were made.
    public static let attemptsSpent = StopReason("all tries were made")
    /// The retries that all hops together may make (`X-Retry-Budget`) are spent.
    public static let hopBudgetSpent = StopReason("the retry budget of all hops is spent")
    /// This client repeats too large a share of its calls already.
    public static let clientBudgetSpent = StopReason("the retry budget of this client is spent")
    /// The next try could only begin after the deadline.
    public static let deadline = StopReason("no time is left")
    /// The service asks for more patience than the policy has.
    public static let retryAfterTooLong = StopReason("the service asks for a longer wait than the policy allows")
    /// Every instance is open, isolated or quarantined.
    public static let nobodyAvailable = StopReason("no instance may be called now")
    /// Too many calls are under way or wait.
    public static let tooManyCalls = StopReason("too many calls are under way")
    /// The rate of calls is above its limit.
    public static let rateLimited = StopReason("the rate limit is reached")
    /// The caller's task was cancelled.
    public static let cancelled = StopReason("the caller went away")

    public init(from decoder: any Decoder) throws {
        self.value = try decoder.singleValueContainer().decode(String.self)
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(self.value)
    }

    public var description: String { self.value }
}
