/// Log-linear buckets for microseconds: four in each power of two, so a value is known to a quarter of its size.
///
/// Bucket `i` holds the values above the bound of `i - 1` up to its own: `(lower, upper]`, as Prometheus counts.
package enum DurationBuckets {
    /// Up to 2^32 µs, more than an hour; longer ones are in the last.
    package static let count = 4 + 4 * 30

    package static func index(_ microseconds: Int64) -> Int {
        guard microseconds > 4 else { return Int(max(1, microseconds) - 1) }
        let value = UInt64(bitPattern: microseconds) - 1
        let power = 63 - value.leadingZeroBitCount
        let quarter = Int(value >> UInt64(power - 2)) & 3
        return min(4 + (power - 2) * 4 + quarter, Self.count - 1)
    }

    /// The largest value of the bucket.
    package static func upperBound(_ index: Int) -> Int64 {
        guard index >= 4 else { return Int64(max(0, index) + 1) }
        let (power, quarter) = ((index - 4) / 4, (index - 4) % 4)
        return Int64(5 + quarter) << Int64(power)
    }
}

/// Durations, counted.
package struct DurationHistogram: Sendable, Hashable {
    package var buckets: [UInt64]
    package var sum: UInt64 = 0
    package var count: UInt64 = 0

    package init() {
        self.buckets = Array(repeating: 0, count: DurationBuckets.count)
    }

    package mutating func record(_ microseconds: Int64) {
        self.buckets[DurationBuckets.index(microseconds)] &+= 1
        self.sum &+= UInt64(max(0, microseconds))
        self.count &+= 1
    }

    package mutating func add(_ other: DurationHistogram) {
        for index in self.buckets.indices { self.buckets[index] &+= other.buckets[index] }
        self.sum &+= other.sum
        self.count &+= other.count
    }

    /// Microseconds that a share of the values does not exceed, at most a quarter too large; `nil` without values.
    package func quantile(_ share: Double) -> Int64? {
        guard self.count > 0 else { return nil }
        let rank = max(1, (Double(self.count) * min(1, max(0, share))).rounded(.up))
        var seen: UInt64 = 0
        for (index, count) in self.buckets.enumerated() {
            seen &+= count
            if Double(seen) >= rank { return DurationBuckets.upperBound(index) }
        }
        return DurationBuckets.upperBound(self.buckets.count - 1)
    }
}
