/// A hash that is the same in every process and every run, unlike `Hasher`.
package enum StableHash {
    /// FNV-1a, mixed at the end, because short texts that differ in their last letter come out close to each other.
    package static func of(_ text: String) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return Self.mixed(hash)
    }

    /// SplitMix64's last step.
    package static func mixed(_ value: UInt64) -> UInt64 {
        var value = value
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

/// Places on a circle of hashes.
///
/// A ring and not a Maglev table, because the bound on the load needs "and the next one after it", which is the next
/// point of a ring; a table has no such order, and a second choice by another hash would move far more keys.
struct HashRing: Equatable, Sendable {
    /// How many points there are at most: 16 MB.
    static let maxPoints = 1_048_576
    private static let pointsPerWeight = 100

    private struct Point: Equatable {
        var hash: UInt64
        var place: Int32
    }

    private var points: [Point] = []

    /// - Parameter members: by place. Many instances get fewer points each, at least one.
    init(_ members: [(id: String, weight: Int)]) {
        let weights = members.reduce(0) { $0 + $1.weight }
        let each = min(Self.pointsPerWeight, max(1, Self.maxPoints / max(1, weights)))
        let most = max(1, Self.maxPoints / max(1, members.count))
        for (place, member) in members.enumerated() {
            let base = StableHash.of(member.id)
            for copy in 0..<min(member.weight * each, most) {
                let hash = StableHash.mixed(base &+ UInt64(copy) &* 0x9E37_79B9_7F4A_7C15)
                self.points.append(Point(hash: hash, place: Int32(clamping: place)))
            }
        }
        self.points.sort { ($0.hash, $0.place) < ($1.hash, $1.place) }
    }

    /// The first place at or after `hash` that `accepts` takes.
    func first(from hash: UInt64, where accepts: (Int) -> Bool) -> Int? {
        var (low, high) = (0, self.points.count)
        while low < high {
            let middle = (low + high) / 2
            if self.points[middle].hash < hash { low = middle + 1 } else { high = middle }
        }
        for step in 0..<self.points.count {
            let index = low + step
            let place = Int(self.points[index < self.points.count ? index : index - self.points.count].place)
            if accepts(place) { return place }
        }
        return nil
    }
}
