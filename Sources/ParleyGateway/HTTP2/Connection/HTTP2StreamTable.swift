/// Finds the slot of a stream by its identifier: open addressing with linear probing, at most half full.
struct HTTP2StreamTable: Sendable {
    // 0 is no identifier of a stream: the place is free.
    private var identifiers = [UInt32](repeating: 0, count: 16)
    private var slots = [Int32](repeating: 0, count: 16)
    private(set) var count = 0

    private var mask: Int { self.identifiers.count &- 1 }

    private func home(_ identifier: UInt32) -> Int {
        Int((identifier &* 0x9E37_79B1) >> 12) & self.mask
    }

    func slot(of identifier: UInt32) -> Int? {
        guard identifier != 0 else { return nil }
        var place = self.home(identifier)
        while self.identifiers[place] != 0 {
            if self.identifiers[place] == identifier { return Int(self.slots[place]) }
            place = (place &+ 1) & self.mask
        }
        return nil
    }

    mutating func insert(_ identifier: UInt32, slot: Int) {
        if (self.count &+ 1) &* 2 > self.identifiers.count { self.grow() }
        self.place(identifier, Int32(truncatingIfNeeded: slot))
        self.count &+= 1
    }

    mutating func remove(_ identifier: UInt32) {
        guard identifier != 0 else { return }
        var hole = self.home(identifier)
        while self.identifiers[hole] != identifier {
            guard self.identifiers[hole] != 0 else { return }
            hole = (hole &+ 1) & self.mask
        }
        self.count &-= 1
        // Whoever comes behind and would not be found across the hole moves into it.
        var next = (hole &+ 1) & self.mask
        while self.identifiers[next] != 0 {
            let home = self.home(self.identifiers[next])
            if (next &- home) & self.mask >= (next &- hole) & self.mask {
                self.identifiers[hole] = self.identifiers[next]
                self.slots[hole] = self.slots[next]
                hole = next
            }
            next = (next &+ 1) & self.mask
        }
        self.identifiers[hole] = 0
    }

    private mutating func place(_ identifier: UInt32, _ slot: Int32) {
        var place = self.home(identifier)
        while self.identifiers[place] != 0 { place = (place &+ 1) & self.mask }
        self.identifiers[place] = identifier
        self.slots[place] = slot
    }

    private mutating func grow() {
        let old = (self.identifiers, self.slots)
        self.identifiers = [UInt32](repeating: 0, count: old.0.count * 2)
        self.slots = [Int32](repeating: 0, count: old.0.count * 2)
        for index in old.0.indices where old.0[index] != 0 { self.place(old.0[index], old.1[index]) }
    }
}
