internal import ParleyCore

/// Counts over a sliding window, in ten buckets: what is older than the window is forgotten a tenth at a time.
///
/// A clock that goes back counts into the newest bucket; one that jumps ahead empties the window.
struct CountWindow: Equatable, Sendable {
    struct Counts: Equatable, Sendable {
        var total = 0
        var bad = 0
    }

    static let bucketCount = 10

    private var buckets = [Counts](repeating: Counts(), count: Self.bucketCount)
    private(set) var sum = Counts()
    private let bucketLength: Int64
    private var origin: Moment?
    /// The number of the newest bucket since `origin`.
    private var newest: Int64 = 0
    /// When that bucket is over, so that a call within it divides nothing.
    private var newestEnd: Moment?

    /// - Parameter length: of the whole window; at least 10 µs.
    init(length: Duration) {
        self.bucketLength = max(1, length.inMicroseconds / Int64(Self.bucketCount))
    }

    mutating func advance(to now: Moment) {
        if let newestEnd, now < newestEnd { return }
        guard let origin else {
            self.origin = now
            self.newestEnd = now.advanced(by: .microseconds(self.bucketLength))
            return
        }
        let bucket = origin.duration(to: now).inMicroseconds / self.bucketLength
        guard bucket > self.newest else { return }
        for step in 1...min(bucket - self.newest, Int64(Self.bucketCount)) {
            // The last ones to be emptied are the ones right behind the new one, whatever the distance.
            let index = Int((bucket - step + 1) % Int64(Self.bucketCount))
            self.sum.total -= self.buckets[index].total
            self.sum.bad -= self.buckets[index].bad
            self.buckets[index] = Counts()
        }
        self.newest = bucket
        // In 128 bits: a clock that jumps to the end of time does not overflow it.
        self.newestEnd = origin.advanced(
            by: .microseconds(self.bucketLength) * bucket + .microseconds(self.bucketLength)
        )
    }

    /// Counts into the newest bucket; ``advance(to:)`` comes first.
    mutating func add(total: Int = 0, bad: Int = 0) {
        let index = Int(self.newest % Int64(Self.bucketCount))
        self.buckets[index].total += total
        self.buckets[index].bad += bad
        self.sum.total += total
        self.sum.bad += bad
    }

    mutating func clear() {
        guard self.sum != Counts() else { return }
        for index in self.buckets.indices { self.buckets[index] = Counts() }
        self.sum = Counts()
    }
}

extension Duration {
    /// This duration brought between two others: nothing that a configuration says can overflow what is computed
    /// from it.
    func between(_ shortest: Duration, _ longest: Duration) -> Duration { min(max(self, shortest), longest) }
}
