/// The methods that draw lots. As with hashes, `nil` after too many misses: then round robin chooses.
extension PeerTable {
    mutating func drawOne(_ tried: inout PeerSet, _ occasion: Occasion, _ chance: UInt64) -> Int? {
        guard self.totalWeight > 0, tried.misses <= PeerSet.maxMisses else { return nil }
        var lots = Lots(chance)
        repeat {
            if let slot = self.drawn(&lots), self.isEligible(slot, tried, occasion) { return slot }
        } while tried.miss()
        return nil
    }

    mutating func drawTwo(_ tried: inout PeerSet, _ occasion: Occasion, _ chance: UInt64) -> Int? {
        guard self.totalWeight > 0, tried.misses <= PeerSet.maxMisses else { return nil }
        var lots = Lots(chance)
        var first: Int?
        repeat {
            guard let slot = self.drawn(&lots), slot != first, self.isEligible(slot, tried, occasion) else { continue }
            guard let other = first else {
                first = slot
                continue
            }
            return self.isBetter(other, than: slot, occasion) ? other : slot
        } while tried.miss()
        return nil
    }

    private func isBetter(_ one: Int, than other: Int, _ occasion: Occasion) -> Bool {
        let left = self.peers[one]
        let right = self.peers[other]
        if self.settings.method == .ewma {
            let leftCost = left.latency.cost(active: left.active, now: occasion.now)
            let rightCost = right.latency.cost(active: right.active, now: occasion.now)
            return leftCost * Double(right.weight) < rightCost * Double(left.weight)
        }
        return left.active &* right.weight < right.active &* left.weight
    }

    private func drawn(_ lots: inout Lots) -> Int? {
        self.primary(at: Int64(truncatingIfNeeded: lots.next() % UInt64(max(self.totalWeight, 1))))
    }
}

/// One number of chance stretched to many, by SplitMix64.
private struct Lots {
    private var state: UInt64

    init(_ seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = self.state
        mixed = (mixed ^ mixed &>> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed &>> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed &>> 31
    }
}
