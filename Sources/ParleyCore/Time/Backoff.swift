/// How long to wait before the next try: `initial × factor^(n-1)`, at most `cap`, then jitter.
///
/// Jitter only shortens or keeps the wait ("full jitter" draws from zero to the wait), so `cap` is a true upper bound,
/// and a crowd of clients that failed together does not come back together.
public struct Backoff: Sendable, Hashable, Codable {
    /// The wait before the second try.
    public var initial: Duration
    /// What each further wait is multiplied by; at least 1.
    public var factor: Double
    /// The longest wait.
    public var cap: Duration
    /// The share of the wait that is drawn at random: 0 is exact, 1 is full jitter.
    public var jitter: Double

    public init(initial: Duration, factor: Double = 2, cap: Duration, jitter: Double = 1) {
        self.initial = max(.zero, initial)
        self.factor = max(1, factor.isFinite ? factor : 1)
        self.cap = max(.zero, cap)
        self.jitter = min(1, max(0, jitter.isFinite ? jitter : 1))
    }

    /// The wait after `failures` failed tries (1 for the first).
    public func delay(afterFailures failures: Int, random: any RandomSource) -> Duration {
        self.delay(afterFailures: failures, chance: random.unitInterval())
    }

    /// The same for a state machine, which is handed its chance: uniform in 0..<1.
    public func delay(afterFailures failures: Int, chance: Double) -> Duration {
        // In seconds as a floating-point number, so that a large exponent saturates instead of trapping.
        var power = 1.0
        for _ in 1..<min(max(1, failures), 1_024) {
            power *= self.factor
            if power > 1e15 { break }
        }
        let full = min(self.cap.inSeconds, self.initial.inSeconds * power)
        let kept = full * (1 - self.jitter * chance)
        // A little below Int64.max, which a Double cannot hold.
        return min(self.cap, .microseconds(Int64(min(kept * 1_000_000, 9e18))))
    }
}

extension Backoff {
    private enum CodingKeys: String, CodingKey {
        case initial, factor, cap, jitter
    }

    /// Brings what it reads into range, as the other initializer does.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            initial: try container.decode(Duration.self, forKey: .initial),
            factor: try container.decode(Double.self, forKey: .factor),
            cap: try container.decode(Duration.self, forKey: .cap),
            jitter: try container.decode(Double.self, forKey: .jitter)
        )
    }
}
