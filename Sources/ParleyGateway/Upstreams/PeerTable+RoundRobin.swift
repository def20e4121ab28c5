extension PeerTable {
    /// Smooth weighted round robin: each eligible peer's account grows by its weight, the richest is chosen and pays
    /// for all. Of equals, the first of the configuration.
    mutating func roundRobin(_ slots: [UInt32], _ tried: PeerSet, _ occasion: Occasion) -> Int? {
        var best: Int?
        var total: Int64 = 0
        for slot in slots {
            let slot = Int(slot)
            guard self.isEligible(slot, tried, occasion) else { continue }
            total &+= self.peers[slot].advance(now: occasion.now)
            if let leader = best, self.peers[slot].currentWeight <= self.peers[leader].currentWeight { continue }
            best = slot
        }
        if let best { self.peers[best].currentWeight &-= total }
        return best
    }

    /// The fewest requests under way for the weight. Round robin decides among equals, and only among them.
    mutating func leastConnections(_ slots: [UInt32], _ tried: PeerSet, _ occasion: Occasion) -> Int? {
        var best: Int?
        var isTied = false
        for slot in slots {
            let slot = Int(slot)
            guard self.isEligible(slot, tried, occasion) else { continue }
            guard let leader = best else {
                best = slot
                continue
            }
            let difference = self.loadDifference(slot, leader, occasion)
            if difference < 0 {
                best = slot
                isTied = false
            } else if difference == 0 {
                isTied = true
            }
        }
        guard let first = best, isTied else { return best }
        var total: Int64 = 0
        var chosen = first
        for slot in slots {
            let slot = Int(slot)
            guard self.isEligible(slot, tried, occasion), self.loadDifference(slot, first, occasion) == 0 else {
                continue
            }
            total &+= self.peers[slot].advance(now: occasion.now)
            if self.peers[slot].currentWeight > self.peers[chosen].currentWeight { chosen = slot }
        }
        self.peers[chosen].currentWeight &-= total
        return chosen
    }

    /// Below 0 if one has less to do for its weight than another: fractions compared without dividing.
    private func loadDifference(_ one: Int, _ other: Int, _ occasion: Occasion) -> Int64 {
        let left = self.peers[other].shares(of: self.peers[other].weight, now: occasion.now)
        let right = self.peers[one].shares(of: self.peers[one].weight, now: occasion.now)
        return self.peers[one].active &* left &- self.peers[other].active &* right
    }
}
