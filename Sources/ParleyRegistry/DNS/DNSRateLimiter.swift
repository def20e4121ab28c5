/// How many queries each address may send: so many a second, and as many at once. A value without a clock.
struct DNSRateLimiter {
    /// How many addresses are remembered. When there are more, all begin anew, rather than that one whose senders are
    /// forged fills the memory.
    static let maximumSources = 4_096

    private struct Bucket {
        var tokens: Double
        var filledAt: UInt64
    }

    private let perSecond: Double
    private var buckets: [String: Bucket] = [:]

    init(perSecond: Int) {
        self.perSecond = Double(max(1, perSecond))
    }

    /// - Parameter now: In nanoseconds; must not go back.
    mutating func admits(_ source: String, now: UInt64) -> Bool {
        if self.buckets.count >= Self.maximumSources, self.buckets[source] == nil { self.buckets.removeAll() }
        var bucket = self.buckets[source] ?? Bucket(tokens: self.perSecond, filledAt: now)
        let passed = Double(now - min(now, bucket.filledAt)) / 1_000_000_000
        bucket.tokens = min(self.perSecond, bucket.tokens + passed * self.perSecond)
        bucket.filledAt = max(now, bucket.filledAt)
        let isAdmitted = bucket.tokens >= 1
        if isAdmitted { bucket.tokens -= 1 }
        self.buckets[source] = bucket
        return isAdmitted
    }
}
