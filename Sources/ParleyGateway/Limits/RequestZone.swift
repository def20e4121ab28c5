internal import Synchronization

/// What nginx's `limit_req_zone` declares: for each key, how far its requests are ahead of the rate. Shared by all
/// event loops.
package final class RequestZone: Sendable {
    package let name: String
    private let state: Mutex<RequestZoneState>

    /// - Parameters:
    ///   - bytes: As nginx counts: with keys of up to 48 bytes it keeps one in 128 bytes, so do we with any.
    ///   - rate: Thousandths of a request in a second.
    package init(name: String, bytes: Int, rate: Int) throws(LimitError) {
        guard bytes >= ZoneSize.least else { throw .zoneTooSmall(name, bytes: bytes) }
        self.name = name
        self.state = Mutex(RequestZoneState(capacity: ZoneSize.keys(bytes: bytes, stateSize: 128), rate: Int64(rate)))
    }

    /// The rate of a configuration that replaces the one before, as nginx keeps a zone over a reload.
    package func change(rate: Int) { self.state.withLock { $0.change(rate: Int64(rate)) } }

    package var usage: ZoneUsage { self.state.withLock { $0.usage } }

    func charge(_ key: LimitKey, burst: Int64, now: Int64) -> RequestZoneState.Charge {
        self.state.withLock { $0.charge(key, burst: burst, now: now) }
    }

    func reserve(_ key: LimitKey, burst: Int64, now: Int64) -> RequestZoneState.Reservation {
        self.state.withLock { $0.reserve(key, burst: burst, now: now) }
    }

    func settle(_ slot: Int, now: Int64) -> (excess: Int64, rate: Int64) {
        self.state.withLock { ($0.settle(slot, now: now), $0.rate) }
    }

    func release(_ slot: Int) { self.state.withLock { $0.release(slot) } }
}

/// How full a zone is.
package struct ZoneUsage: Sendable, Hashable {
    package var keys: Int
    package var capacity: Int
    /// States that had to go although they were still needed, because the zone was full.
    package var forced: UInt64
    /// Requests that found no room at all.
    package var overflowed: UInt64
}

/// nginx's `limit_req` for one zone, to the integer: time in milliseconds, requests in thousandths.
struct RequestZoneState: Sendable {
    struct Bucket: BitwiseCopyable, Sendable {
        /// When ``excess`` was right; ``never`` until the first request of the key has been counted.
        var last: Int64
        var excess: Int64
        /// Checks over several zones that have found this key and not decided yet.
        var pins: Int32
    }

    enum Charge: Sendable, Equatable {
        case within(excess: Int64, rate: Int64)
        case exceeded(excess: Int64)
        case noRoom
    }

    enum Reservation: Sendable, Equatable {
        case within(slot: Int)
        case exceeded(excess: Int64)
        case noRoom
    }

    private static let never = Int64.min
    private static let idle: Int64 = 60_000

    private(set) var rate: Int64
    private var table: KeyTable<Bucket>
    private var forced: UInt64 = 0
    private var overflowed: UInt64 = 0

    init(capacity: Int, rate: Int64) {
        self.table = KeyTable(capacity: capacity)
        self.rate = max(rate, 1)
    }

    mutating func change(rate: Int64) { self.rate = max(rate, 1) }

    var usage: ZoneUsage {
        ZoneUsage(
            keys: self.table.count,
            capacity: self.table.capacity,
            forced: self.forced,
            overflowed: self.overflowed
        )
    }

    /// Looks and, when there is room in the burst, counts the request: the whole check of a single limit, and the last
    /// step of one with several. A request that is turned away costs nothing.
    mutating func charge(_ key: LimitKey, burst: Int64, now: Int64) -> Charge {
        guard let slot = self.table.find(key) else {
            guard self.add(key, Bucket(last: now, excess: 0, pins: 0), now: now) != nil else { return .noRoom }
            return .within(excess: 0, rate: self.rate)
        }
        self.table.touch(slot)
        var bucket = self.table[slot]
        let elapsed = Self.elapsed(since: bucket.last, now)
        let excess = self.excess(of: bucket, after: elapsed)
        guard excess <= burst else { return .exceeded(excess: excess) }
        bucket.excess = excess
        // Moving it on by nothing would lose the part of a millisecond's refill that integers cannot hold.
        if elapsed != 0 { bucket.last = now }
        self.table[slot] = bucket
        return .within(excess: excess, rate: self.rate)
    }

    /// Looks and keeps the key from being evicted; ``settle(_:now:)`` or ``release(_:)`` follows.
    mutating func reserve(_ key: LimitKey, burst: Int64, now: Int64) -> Reservation {
        guard let slot = self.table.find(key) else {
            guard let slot = self.add(key, Bucket(last: Self.never, excess: 0, pins: 1), now: now) else {
                return .noRoom
            }
            return .within(slot: slot)
        }
        self.table.touch(slot)
        let bucket = self.table[slot]
        let excess = self.excess(of: bucket, after: Self.elapsed(since: bucket.last, now))
        guard excess <= burst else { return .exceeded(excess: excess) }
        self.table[slot].pins &+= 1
        return .within(slot: slot)
    }

    /// All zones have let the request pass: it counts.
    mutating func settle(_ slot: Int, now: Int64) -> Int64 {
        var bucket = self.table[slot]
        let elapsed = Self.elapsed(since: bucket.last, now)
        bucket.excess = self.excess(of: bucket, after: elapsed)
        if elapsed != 0 { bucket.last = now }
        bucket.pins &-= 1
        self.table[slot] = bucket
        return bucket.excess
    }

    /// Another zone has turned the request away.
    mutating func release(_ slot: Int) { self.table[slot].pins &-= 1 }

    // MARK: - Integers

    /// A clock that is set back counts as no time, far back as one millisecond: then the state follows the clock.
    private static func elapsed(since last: Int64, _ now: Int64) -> Int64 {
        if last == Self.never { return Int64.max }
        let (elapsed, overflow) = now.subtractingReportingOverflow(last)
        if overflow { return now > last ? Int64.max : 1 }
        if elapsed < -Self.idle { return 1 }
        return max(elapsed, 0)
    }

    private func excess(of bucket: Bucket, after elapsed: Int64) -> Int64 {
        max(self.drained(bucket.excess, by: elapsed, adding: 1_000), 0)
    }

    private func drained(_ excess: Int64, by elapsed: Int64, adding cost: Int64) -> Int64 {
        let (refill, overflow) = self.rate.multipliedReportingOverflow(by: elapsed)
        // The excess is never above a burst, and no burst is as large as this.
        return overflow ? -1 : excess &- refill / 1_000 &+ cost
    }

    // MARK: - Room

    private mutating func add(_ key: LimitKey, _ bucket: Bucket, now: Int64) -> Int? {
        self.evictIdle(now: now)
        if let slot = self.table.insert(key, bucket) { return slot }
        if let oldest = self.table.oldest, self.table[oldest].pins == 0 {
            self.table.remove(oldest)
            self.forced &+= 1
            self.evictIdle(now: now)
        }
        if let slot = self.table.insert(key, bucket) { return slot }
        self.overflowed &+= 1
        return nil
    }

    /// At most two, so that a new key costs about the same whenever it comes.
    private mutating func evictIdle(now: Int64) {
        for _ in 0..<2 {
            // One that is pinned was looked at just now: so were all that are newer.
            guard let oldest = self.table.oldest, self.table[oldest].pins == 0 else { return }
            let bucket = self.table[oldest]
            if bucket.last != Self.never {
                let (difference, overflow) = now.subtractingReportingOverflow(bucket.last)
                let idle = overflow ? Int64.max : Int64(clamping: difference.magnitude)
                guard idle >= Self.idle, self.drained(bucket.excess, by: idle, adding: 0) <= 0 else { return }
            }
            self.table.remove(oldest)
        }
    }
}
