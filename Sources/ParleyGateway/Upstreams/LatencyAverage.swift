/// A moving average of latency that follows a rise at once and a fall slowly, so that a peer that has just become slow
/// is not sent more while the average still remembers its good days.
struct LatencyAverage: Sendable, BitwiseCopyable {
    /// Milliseconds in which an observation loses half of its weight.
    static let halfLife = 10_000.0
    /// Of what is observed, in microseconds: 12 days.
    private static let longest: Int64 = 1 << 40

    /// Microseconds; negative before the first observation.
    private var average = -1.0
    private var updated: Int64 = 0

    var isKnown: Bool { self.average >= 0 }

    mutating func observe(microseconds: Int64, now: Int64) {
        let sample = Double(min(max(microseconds, 0), Self.longest))
        if sample >= self.average {
            self.average = sample
        } else {
            let kept = self.kept(now)
            self.average = self.average * kept + sample * (1 - kept)
        }
        self.updated = now
    }

    /// What it has faded to, so that a slow peer that is left alone gets another chance.
    func value(_ now: Int64) -> Double { self.average * self.kept(now) }

    /// The wait that a further request would have. A peer never heard of is tried, but with one request at a time.
    func cost(active: Int64, now: Int64) -> Double {
        guard self.isKnown else { return active == 0 ? 0 : 1e12 * Double(active) }
        return self.value(now) * Double(active &+ 1)
    }

    private func kept(_ now: Int64) -> Double {
        Self.halfLife / (Self.halfLife + max(Double(now) - Double(self.updated), 0))
    }
}
