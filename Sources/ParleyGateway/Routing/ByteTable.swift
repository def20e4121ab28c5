/// Numbers by short texts, without regard to case: an open hash table in arrays.
///
/// Its keys are the configuration's, so nobody can fill it with keys that collide.
struct ByteTable: Sendable {
    private struct Entry: Sendable {
        var key: Range<Int>
        var value: Int
    }

    private var bytes: [UInt8] = []
    private var entries: [Entry] = []
    /// Places among the entries, or -1; a power of two of them, at most half of them taken.
    private var slots: [Int32] = [-1, -1]

    var isEmpty: Bool { self.entries.isEmpty }

    /// Of keys that are the same, the first stands.
    init(_ pairs: [(key: [UInt8], value: Int)]) {
        var size = 2
        while size < pairs.count * 2 { size *= 2 }
        self.slots = Array(repeating: -1, count: size)
        for (key, value) in pairs {
            let key = key.map(\.lowercased)
            let slot = self.slot(of: key.span)
            guard self.slots[slot] < 0 else { continue }
            self.slots[slot] = Int32(truncatingIfNeeded: self.entries.count)
            let start = self.bytes.count
            self.bytes += key
            self.entries.append(Entry(key: start..<self.bytes.count, value: value))
        }
    }

    func find(_ key: Span<UInt8>) -> Int? {
        guard !self.entries.isEmpty else { return nil }
        let place = self.slots[self.slot(of: key)]
        return place < 0 ? nil : self.entries[Int(place)].value
    }

    /// Where the key is, or where it would be.
    private func slot(of key: Span<UInt8>) -> Int {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for index in 0..<key.count { hash = (hash ^ UInt64(key[index].lowercased)) &* 0x100_0000_01B3 }
        let mask = self.slots.count - 1
        var slot = Int(truncatingIfNeeded: hash ^ hash >> 32) & mask
        while true {
            let place = self.slots[slot]
            if place < 0 || self.isSame(self.entries[Int(place)].key, key) { return slot }
            slot = (slot + 1) & mask
        }
    }

    private func isSame(_ range: Range<Int>, _ key: Span<UInt8>) -> Bool {
        guard range.count == key.count else { return false }
        for index in 0..<key.count where self.bytes[range.lowerBound + index] != key[index].lowercased { return false }
        return true
    }
}

/// Host names with a star at one end. The longest that fits is taken; the star at the beginning comes before the other.
struct HostWildcards: Sendable {
    /// `.example.com` for `*.example.com`.
    private var suffixes: ByteTable
    /// `www.` for `www.*`.
    private var prefixes: ByteTable

    init(suffixes: [(key: [UInt8], value: Int)], prefixes: [(key: [UInt8], value: Int)]) {
        self.suffixes = ByteTable(suffixes)
        self.prefixes = ByteTable(prefixes)
    }

    func find(_ host: Span<UInt8>) -> Int? {
        let count = host.count
        if !self.suffixes.isEmpty {
            for start in 0..<count where host[start] == 0x2E {
                if let value = self.suffixes.find(host.extracting(start..<count)) { return value }
            }
        }
        if !self.prefixes.isEmpty {
            var end = count
            while end > 0 {
                if host[end - 1] == 0x2E, end < count, let value = self.prefixes.find(host.extracting(0..<end)) {
                    return value
                }
                end -= 1
            }
        }
        return nil
    }
}
