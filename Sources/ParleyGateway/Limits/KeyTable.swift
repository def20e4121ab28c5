/// A bounded table of keys in the order of their last use: open addressing over arrays, the order as a list of indices
/// in them. It grows up to its capacity and allocates nothing from then on.
///
/// A slot stays the same for as long as its key is in the table.
struct KeyTable<Value: BitwiseCopyable & Sendable>: Sendable {
    private struct Entry: BitwiseCopyable {
        var low: UInt64
        var high: UInt64
        var value: Value
        /// Towards the entry used last, or ``end``.
        var newer: Int32
        /// Towards the one used longest ago; of a free entry, the next that is free.
        var older: Int32
    }

    private static var end: Int32 { -1 }

    let capacity: Int
    private(set) var count = 0
    private var entries: [Entry] = []
    /// Where a key is looked for: slot + 1, or 0. A power of two long, never more than half full.
    private var index: [UInt32] = Array(repeating: 0, count: 16)
    private var newest = Self.end
    private var oldestEntry = Self.end
    private var firstFree = Self.end

    init(capacity: Int) {
        self.capacity = min(max(capacity, 1), 1 << 28)
    }

    /// The slot used longest ago.
    var oldest: Int? { self.oldestEntry == Self.end ? nil : Int(self.oldestEntry) }

    subscript(slot: Int) -> Value {
        get { self.entries[slot].value }
        set { self.entries[slot].value = newValue }
    }

    func find(_ key: LimitKey) -> Int? {
        let mask = self.index.count &- 1
        var place = Int(truncatingIfNeeded: key.low) & mask
        while true {
            let mark = self.index[place]
            if mark == 0 { return nil }
            let slot = Int(mark) &- 1
            if self.entries[slot].low == key.low, self.entries[slot].high == key.high { return slot }
            place = (place &+ 1) & mask
        }
    }

    /// Adds a key that is not there, as the one used last; `nil` when the table is full.
    mutating func insert(_ key: LimitKey, _ value: Value) -> Int? {
        guard self.count < self.capacity else { return nil }
        if (self.count &+ 1) &* 2 > self.index.count { self.growIndex() }
        let entry = Entry(low: key.low, high: key.high, value: value, newer: Self.end, older: Self.end)
        let slot: Int
        if self.firstFree == Self.end {
            slot = self.entries.count
            self.entries.append(entry)
        } else {
            slot = Int(self.firstFree)
            self.firstFree = self.entries[slot].older
            self.entries[slot] = entry
        }
        self.count &+= 1
        self.mark(slot)
        self.linkNewest(slot)
        return slot
    }

    /// Makes it the one used last.
    mutating func touch(_ slot: Int) {
        guard self.newest != Int32(truncatingIfNeeded: slot) else { return }
        self.unlink(slot)
        self.linkNewest(slot)
    }

    mutating func remove(_ slot: Int) {
        self.unmark(slot)
        self.unlink(slot)
        self.entries[slot].older = self.firstFree
        self.firstFree = Int32(truncatingIfNeeded: slot)
        self.count &-= 1
    }

    // MARK: - The order

    private mutating func linkNewest(_ slot: Int) {
        let slot32 = Int32(truncatingIfNeeded: slot)
        self.entries[slot].newer = Self.end
        self.entries[slot].older = self.newest
        if self.newest == Self.end {
            self.oldestEntry = slot32
        } else {
            self.entries[Int(self.newest)].newer = slot32
        }
        self.newest = slot32
    }

    private mutating func unlink(_ slot: Int) {
        let newer = self.entries[slot].newer
        let older = self.entries[slot].older
        if newer == Self.end { self.newest = older } else { self.entries[Int(newer)].older = older }
        if older == Self.end { self.oldestEntry = newer } else { self.entries[Int(older)].newer = newer }
    }

    // MARK: - The index

    private mutating func mark(_ slot: Int) {
        let mask = self.index.count &- 1
        var place = Int(truncatingIfNeeded: self.entries[slot].low) & mask
        while self.index[place] != 0 { place = (place &+ 1) & mask }
        self.index[place] = UInt32(truncatingIfNeeded: slot &+ 1)
    }

    /// Closes the gap, so that no search ends before an entry that had to go past the one removed.
    private mutating func unmark(_ slot: Int) {
        let mask = self.index.count &- 1
        let wanted = UInt32(truncatingIfNeeded: slot &+ 1)
        var gap = Int(truncatingIfNeeded: self.entries[slot].low) & mask
        while self.index[gap] != wanted {
            if self.index[gap] == 0 { return }
            gap = (gap &+ 1) & mask
        }
        var place = (gap &+ 1) & mask
        while self.index[place] != 0 {
            let home = Int(truncatingIfNeeded: self.entries[Int(self.index[place]) &- 1].low) & mask
            if (place &- home) & mask >= (place &- gap) & mask {
                self.index[gap] = self.index[place]
                gap = place
            }
            place = (place &+ 1) & mask
        }
        self.index[gap] = 0
    }

    private mutating func growIndex() {
        let old = self.index
        self.index = Array(repeating: 0, count: old.count &* 2)
        for mark in old where mark != 0 { self.mark(Int(mark) &- 1) }
    }
}
