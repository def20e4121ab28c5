package import ParleyCore

/// How the instance of a try is chosen. A closed set: each has its own state, kept by the balancer.
public enum LoadBalancing: Sendable, Hashable {
    /// In turn, by weight, evenly mixed (nginx's smooth weighted round robin).
    case roundRobin
    /// The one with the fewest calls under way for its weight; among equals, in turn.
    case leastConnections
    /// Of two drawn by lot, the one with the lower latency times calls under way. The latency is a moving average that
    /// follows a rise at once and a fall slowly, over about `decay` (brought into 1 ms…1 h).
    case peakEWMA(decay: Duration = .seconds(10))
    /// The one that the call's key falls to, as long as it has no more than `boundPercent` of an even share of what is
    /// under way; then the next one on the ring. A call without a key goes anywhere. Brought into 100…1,000.
    case consistentHash(boundPercent: Int = 125)
}

/// Chooses instances. They are named by their place in the list that was last given to ``rearrange(_:from:)``.
///
/// Round robin and least connections look at all instances for each pick, as nginx does; above about a thousand
/// instances `peakEWMA` is the better choice.
package struct LoadBalancer: Equatable, Sendable {
    private struct Slot: Equatable {
        var weight: Int
        /// Smooth weighted round robin.
        var credit = 0
        var inFlight = 0
        /// In microseconds; 0 as long as nothing has been measured.
        var latency = 0.0
        var measuredAt: Moment?
    }

    package let kind: LoadBalancing
    private let decay: Double
    private let bound: Int
    private var slots: [Slot] = []
    private var ring: HashRing?
    private var inFlight = 0
    private var weights = 0

    package init(_ kind: LoadBalancing) {
        self.kind = kind
        if case .peakEWMA(let decay) = kind {
            self.decay = Double(decay.between(.milliseconds(1), .seconds(3_600)).inMicroseconds)
        } else {
            self.decay = 1
        }
        if case .consistentHash(let percent) = kind {
            self.bound = min(max(100, percent), 1_000)
        } else {
            self.bound = 0
        }
    }

    /// The instances are others now.
    ///
    /// - Parameter origins: for each place, where that instance was before; `nil` for a new one.
    package mutating func rearrange(_ members: [(id: String, weight: Int)], from origins: [Int?]) {
        let old = self.slots
        let members = members.map { (id: $0.id, weight: min(max(1, $0.weight), 65_535)) }
        self.slots = zip(members, origins).map { member, origin in
            var slot = origin.flatMap { old.indices.contains($0) ? old[$0] : nil } ?? Slot(weight: member.weight)
            slot.weight = member.weight
            return slot
        }
        self.inFlight = self.slots.reduce(0) { $0 + $1.inFlight }
        self.weights = self.slots.reduce(0) { $0 + $1.weight }
        if self.bound > 0 { self.ring = HashRing(members) }
    }

    package func inFlight(at place: Int) -> Int { self.slots[place].inFlight }

    /// In microseconds; 0 as long as nothing has been measured.
    package func latency(at place: Int) -> Double { self.slots[place].latency }

    /// Chooses among the places that `accepts` takes; `nil` when it takes none.
    ///
    /// - Parameters:
    ///   - chance: 64 uniform bits.
    ///   - key: for `consistentHash`, the hash of what belongs together.
    package mutating func pick(
        at now: Moment,
        chance: UInt64,
        key: UInt64?,
        accepts: (Int) -> Bool
    ) -> Int? {
        switch self.kind {
        case .roundRobin: self.takeTurn(accepts)
        case .leastConnections: self.leastLoaded(accepts)
        case .peakEWMA: self.fasterOfTwo(at: now, chance: chance, accepts)
        case .consistentHash: self.onRing(key ?? chance, accepts)
        }
    }

    package mutating func begin(_ place: Int) {
        self.slots[place].inFlight += 1
        self.inFlight += 1
    }

    /// - Parameter health: what is not `well` does not make an instance look faster, because failing is quick.
    package mutating func end(
        _ place: Int,
        took: Duration,
        health: InstanceHealth,
        at now: Moment
    ) {
        self.slots[place].inFlight = max(0, self.slots[place].inFlight - 1)
        self.inFlight = max(0, self.inFlight - 1)
        guard case .peakEWMA = self.kind else { return }
        let sample = Double(max(0, took.inMicroseconds))
        let known = self.slots[place].latency
        if sample >= known || self.slots[place].measuredAt == nil {
            self.slots[place].latency = sample
        } else if health == .well {
            let kept = self.share(of: self.slots[place], at: now)
            self.slots[place].latency = known * kept + sample * (1 - kept)
        }
        self.slots[place].measuredAt = now
    }

    /// How much of what was measured still counts: 1 at once, a half after `decay`. A hyperbola instead of an
    /// exponential, which would need the system's mathematics and decide no pick differently that matters.
    private func share(of slot: Slot, at now: Moment) -> Double {
        guard let measuredAt = slot.measuredAt else { return 1 }
        let elapsed = Double(max(0, measuredAt.duration(to: now).inMicroseconds))
        return self.decay / (self.decay + elapsed)
    }

    /// Idle instances look better the longer nobody has asked them, so that one slow answer does not exclude for ever.
    private func cost(_ slot: Slot, at now: Moment) -> Double {
        (slot.latency * self.share(of: slot, at: now) + 1) * Double(slot.inFlight + 1) / Double(slot.weight)
    }

    private mutating func takeTurn(_ accepts: (Int) -> Bool) -> Int? {
        var best: Int?
        var total = 0
        for place in self.slots.indices where accepts(place) {
            self.slots[place].credit += self.slots[place].weight
            total += self.slots[place].weight
            if let known = best, self.slots[known].credit >= self.slots[place].credit { continue }
            best = place
        }
        if let best { self.slots[best].credit -= total }
        return best
    }

    private mutating func leastLoaded(_ accepts: (Int) -> Bool) -> Int? {
        var best: Slot?
        for place in self.slots.indices where accepts(place) {
            let slot = self.slots[place]
            // a/b < c/d as a·d < c·b.
            if let known = best, slot.inFlight * known.weight >= known.inFlight * slot.weight { continue }
            best = slot
        }
        guard let best else { return nil }
        var chosen: Int?
        var total = 0
        for place in self.slots.indices
        where self.slots[place].inFlight * best.weight == best.inFlight * self.slots[place].weight && accepts(place) {
            self.slots[place].credit += self.slots[place].weight
            total += self.slots[place].weight
            if let known = chosen, self.slots[known].credit >= self.slots[place].credit { continue }
            chosen = place
        }
        if let chosen { self.slots[chosen].credit -= total }
        return chosen
    }

    private func fasterOfTwo(at now: Moment, chance: UInt64, _ accepts: (Int) -> Bool) -> Int? {
        let (first, second) = self.two(chance, accepts)
        guard let first else { return nil }
        guard let second else { return first }
        return self.cost(self.slots[second], at: now) < self.cost(self.slots[first], at: now) ? second : first
    }

    /// Two different places by lot. Where most are not acceptable, lots are drawn only a few times; then the next
    /// acceptable ones after the lot are taken.
    private func two(_ chance: UInt64, _ accepts: (Int) -> Bool) -> (Int?, Int?) {
        let count = UInt64(self.slots.count)
        guard count > 0 else { return (nil, nil) }
        var lot = chance
        var first: Int?
        for _ in 0..<8 {
            lot = StableHash.mixed(lot &+ 0x9E37_79B9_7F4A_7C15)
            let place = Int(lot.multipliedFullWidth(by: count).high)
            guard place != first, accepts(place) else { continue }
            guard first != nil else {
                first = place
                continue
            }
            return (first, place)
        }
        let start = Int(lot.multipliedFullWidth(by: count).high)
        for step in self.slots.indices {
            let place = start + step < self.slots.count ? start + step : start + step - self.slots.count
            guard place != first, accepts(place) else { continue }
            guard first != nil else {
                first = place
                continue
            }
            return (first, place)
        }
        return (first, nil)
    }

    private func onRing(_ key: UInt64, _ accepts: (Int) -> Bool) -> Int? {
        guard let ring = self.ring else { return nil }
        let (calls, weights, bound) = (self.inFlight + 1, self.weights, self.bound)
        let free = ring.first(from: key) { place in
            // At most bound % of (calls · weight / weights), rounded up: with the others full, one is always free.
            let slot = self.slots[place]
            return (slot.inFlight) * weights * 100 < calls * slot.weight * bound && accepts(place)
        }
        // Those with room are not acceptable: any acceptable one, in the order of the ring.
        return free ?? ring.first(from: key, where: accepts)
    }
}
