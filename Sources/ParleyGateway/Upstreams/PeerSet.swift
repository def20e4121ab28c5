/// Names one peer of a group for as long as anybody may still speak of it: a slot is used again only after the peer has
/// left the group and its last request has ended, and then with another generation.
package struct PeerID: Sendable, Hashable {
    package let slot: UInt32
    package let generation: UInt32

    package init(slot: UInt32, generation: UInt32) {
        self.slot = slot
        self.generation = generation
    }
}

/// What one request has to remember between its attempts: the peers it has tried, and how far the methods that go by a
/// hash or by chance have come. Allocates nothing for groups of up to 64 peers.
package struct PeerSet: Sendable {
    private var first: UInt64 = 0
    private var others: [UInt64] = []
    /// The other peers had none to offer; a request stays with the backups then.
    var isOnBackups = false
    /// Peers that a hash or chance named and that could not be taken. Above ``maxMisses`` it goes on by round robin.
    var misses = 0
    /// The value of the hash at the last attempt; for a consistent hash, the place on the ring.
    var hash: UInt32 = 0
    var rounds: UInt32 = 0

    static let maxMisses = 20

    package init() {}

    func contains(slot: Int) -> Bool {
        if slot < 64 { return self.first & (1 &<< UInt64(slot)) != 0 }
        let word = slot / 64 &- 1
        return word < self.others.count && self.others[word] & (1 &<< UInt64(slot & 63)) != 0
    }

    mutating func insert(slot: Int) {
        if slot < 64 {
            self.first |= 1 &<< UInt64(slot)
            return
        }
        let word = slot / 64 &- 1
        while self.others.count <= word { self.others.append(0) }
        self.others[word] |= 1 &<< UInt64(slot & 63)
    }

    /// Counts a peer that could not be taken; whether there may be another.
    mutating func miss() -> Bool {
        self.misses &+= 1
        return self.misses <= Self.maxMisses
    }
}
