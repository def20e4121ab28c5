/// What the limits of one location say about a request.
package struct RequestVerdict: Sendable, Hashable {
    package enum Outcome: Sendable, Hashable {
        case passed
        /// It goes on after this time.
        case delayed(milliseconds: Int64)
        case rejected
    }

    package var outcome: Outcome
    /// The limit that decided, as it was given; `nil` when no limit had a key for the request.
    package var limit: Int?
    /// How far the key is ahead of its rate there, in thousandths of a request.
    package var excess: Int64
    /// The outcome is only for the log: the request goes on.
    package var isDryRun: Bool
}

/// nginx's `limit_req`: the limits of one location. A request passes only if it passes all, and then counts in all.
package struct RequestLimiter: Sendable {
    package struct Limit: Sendable {
        package let zone: RequestZone
        let burst: Int64
        let delay: Int64

        /// - Parameter burst: In requests.
        package init(zone: RequestZone, burst: Int = 0, delay: RequestLimitUse.Delay = .all) {
            self.zone = zone
            self.burst = Self.thousandths(burst)
            switch delay {
            case .all: self.delay = 0
            case .above(let requests): self.delay = Self.thousandths(requests)
            case .none: self.delay = .max
            }
        }

        /// Up to 10^12 requests, so that a thousand times the result still fits.
        private static func thousandths(_ requests: Int) -> Int64 {
            min(max(Int64(requests), 0), 1_000_000_000_000) * 1_000
        }

        func wait(excess: Int64, rate: Int64) -> Int64 {
            excess <= self.delay ? 0 : (excess &- self.delay) &* 1_000 / rate
        }
    }

    package static let maxLimits = 8
    /// nginx logs such a key and lets the request pass.
    package static let maxKeyBytes = 65_535

    private let limits: [Limit]
    private let isDryRun: Bool

    package init(_ limits: [Limit], isDryRun: Bool = false) throws(LimitError) {
        guard limits.count <= Self.maxLimits else {
            throw .tooMany("limit_req", count: limits.count, most: Self.maxLimits)
        }
        self.limits = limits
        self.isDryRun = isDryRun
    }

    /// Milliseconds that a request waits at this limit.
    func wait(at index: Int, excess: Int64, rate: Int64) -> Int64 {
        self.limits[index].wait(excess: excess, rate: rate)
    }

    package var isEmpty: Bool { self.limits.isEmpty }

    /// Once for a request, before it is forwarded.
    ///
    /// - Parameters:
    ///   - now: Milliseconds of a clock that all callers share.
    ///   - key: The key of the limit with this index; ``LimitKey/none`` where it is empty.
    package func check(now: Int64, key: (Int) -> LimitKey) -> RequestVerdict {
        var verdict = RequestVerdict(outcome: .passed, limit: nil, excess: 0, isDryRun: self.isDryRun)
        var reserved = SIMD8<Int32>(repeating: -1)
        var longest: Int64 = 0
        let last = self.limits.count &- 1

        for index in self.limits.indices {
            let key = key(index)
            if key.byteCount == 0 || key.byteCount > Self.maxKeyBytes { continue }
            let limit = self.limits[index]
            verdict.limit = index
            if index < last {
                switch limit.zone.reserve(key, burst: limit.burst, now: now) {
                case .within(let slot):
                    reserved[index] = Int32(truncatingIfNeeded: slot)
                    continue
                case .exceeded(let excess): verdict.excess = excess
                case .noRoom: verdict.excess = 0
                }
            } else {
                switch limit.zone.charge(key, burst: limit.burst, now: now) {
                case .within(let excess, let rate):
                    verdict.excess = excess
                    longest = limit.wait(excess: excess, rate: rate)
                    continue
                case .exceeded(let excess): verdict.excess = excess
                case .noRoom: verdict.excess = 0
                }
            }
            for index in self.limits.indices where reserved[index] >= 0 {
                self.limits[index].zone.release(Int(reserved[index]))
            }
            verdict.outcome = .rejected
            return verdict
        }

        for index in self.limits.indices.reversed() where reserved[index] >= 0 {
            let limit = self.limits[index]
            let (excess, rate) = limit.zone.settle(Int(reserved[index]), now: now)
            let wait = limit.wait(excess: excess, rate: rate)
            if wait > longest {
                longest = wait
                verdict.limit = index
                verdict.excess = excess
            }
        }
        if longest > 0 { verdict.outcome = .delayed(milliseconds: longest) }
        return verdict
    }
}
