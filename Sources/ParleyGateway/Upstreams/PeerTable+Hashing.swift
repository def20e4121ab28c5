/// The methods that go by a key. Each answers `nil` when it has met too many peers that cannot be taken, or has no key:
/// then round robin chooses.
extension PeerTable {
    mutating func ipHash(_ tried: inout PeerSet, _ address: Span<UInt8>, _ occasion: Occasion) -> Int? {
        guard self.totalWeight > 0, tried.misses <= PeerSet.maxMisses else { return nil }
        // Neighbours in a network of 256 go to the same peer. What has no address counts as three zeros.
        let count = address.count == 16 ? 16 : 3
        let isZero = address.count != 16 && address.count != 4
        var hash = tried.rounds == 0 ? 89 : tried.hash
        repeat {
            for index in 0..<count { hash = (hash &* 113 &+ (isZero ? 0 : UInt32(address[index]))) % 6_271 }
            if let slot = self.primary(at: Int64(hash)), self.isEligible(slot, tried, occasion) {
                tried.hash = hash
                tried.rounds = 1
                return slot
            }
        } while tried.miss()
        return nil
    }

    /// Cache::Memcached's way: the CRC of the key, at further looks with their number before it, summed up.
    mutating func hash(_ tried: inout PeerSet, _ key: Span<UInt8>, _ occasion: Occasion) -> Int? {
        guard self.totalWeight > 0, tried.misses <= PeerSet.maxMisses, !key.isEmpty else { return nil }
        repeat {
            var crc = CRC32()
            if tried.rounds > 0 { crc.combine(decimal: tried.rounds) }
            crc.combine(key)
            tried.hash &+= crc.value &>> 16 & 0x7fff
            tried.rounds &+= 1
            if let slot = self.primary(at: Int64(tried.hash)), self.isEligible(slot, tried, occasion) { return slot }
        } while tried.miss()
        return nil
    }

    mutating func consistentHash(_ tried: inout PeerSet, _ key: Span<UInt8>, _ occasion: Occasion) -> Int? {
        guard tried.misses <= PeerSet.maxMisses, !key.isEmpty else { return nil }
        if tried.rounds == 0 {
            var crc = CRC32()
            crc.combine(key)
            tried.hash = self.ring.place(of: crc.value)
            tried.rounds = 1
        }
        repeat {
            guard let server = self.ring.server(at: tried.hash) else { return nil }
            if let slot = self.roundRobin(of: server, tried, occasion) { return slot }
            tried.hash &+= 1
        } while tried.miss()
        return nil
    }

    /// The primary peer at a point of the line on which each takes as much as its weight.
    func primary(at point: Int64) -> Int? {
        var rest = point % max(self.totalWeight, 1)
        for slot in self.primaries {
            let weight = self.peers[Int(slot)].weight
            if rest < weight { return Int(slot) }
            rest &-= weight
        }
        return nil
    }

    /// Among the addresses of one name.
    private mutating func roundRobin(of server: UInt32, _ tried: PeerSet, _ occasion: Occasion) -> Int? {
        var best: Int?
        var total: Int64 = 0
        for slot in self.primaries {
            let slot = Int(slot)
            guard self.peers[slot].server == server, self.isEligible(slot, tried, occasion) else { continue }
            total &+= self.peers[slot].advance(now: occasion.now)
            if let leader = best, self.peers[slot].currentWeight <= self.peers[leader].currentWeight { continue }
            best = slot
        }
        if let best { self.peers[best].currentWeight &-= total }
        return best
    }
}
