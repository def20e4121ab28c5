public import ParleyCore

/// How often, and after which waits, a call is tried again.
public struct RetryPolicy: Sendable, Hashable {
    /// How many tries a call has at most; 1 is none but the first. Brought into 1…100.
    public var maxAttempts: Int
    /// The waits between tries, with full jitter unless it says otherwise.
    public var backoff: Backoff
    /// The longest `Retry-After` that is waited for. A service that asks for more gets no further try: coming back
    /// earlier than it asks would be worse than giving its answer to the caller.
    public var longestRetryAfter: Duration

    public init(
        maxAttempts: Int = 3,
        backoff: Backoff = Backoff(initial: .milliseconds(50), cap: .seconds(2)),
        longestRetryAfter: Duration = .seconds(60)
    ) {
        self.maxAttempts = maxAttempts
        self.backoff = backoff
        self.longestRetryAfter = longestRetryAfter
    }

    /// One try.
    public static let never = RetryPolicy(maxAttempts: 1)
}

/// Reads `Retry-After`.
package enum RetryAfter {
    /// The wait that the header asks for: seconds, or a date; at most a day. `nil` when it is neither.
    package static func parse(_ value: String?, wallTime: Timestamp) -> Duration? {
        guard let value else { return nil }
        let longest: Duration = .seconds(86_400)
        if let seconds = Int64(value) { return seconds >= 0 ? min(.seconds(min(seconds, 86_400)), longest) : nil }
        return HTTPDate.parse(value).map { min(max(.zero, $0 - wallTime), longest) }
    }
}
