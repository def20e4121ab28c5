/// The points of a consistent hash as nginx lays them, which is how Cache::Memcached::Fast does: 160 for each unit of
/// weight, each the CRC of host, port and the point before it. What stands on the ring are names as they were written:
/// the addresses behind one name share its points.
struct HashRing: Sendable {
    private struct Point {
        var hash: UInt32
        var server: UInt32
    }

    static let pointsPerWeight = 160

    private var points: [Point] = []

    init() {}

    /// - Parameter servers: Names and weights; the place in this list is what ``server(at:)`` answers.
    init(_ servers: [(name: String, weight: Int)]) {
        self.points.reserveCapacity(servers.reduce(0) { $0 &+ $1.weight &* Self.pointsPerWeight })
        for (index, server) in servers.enumerated() {
            let start = Self.start(of: server.name)
            var previous: UInt32 = 0
            for _ in 0..<max(server.weight, 0) &* Self.pointsPerWeight {
                var crc = start
                crc.combine(word: previous)
                previous = crc.value
                self.points.append(Point(hash: previous, server: UInt32(truncatingIfNeeded: index)))
            }
        }
        // Of points that meet, the one listed first stays.
        self.points.sort { $0.hash == $1.hash ? $0.server < $1.server : $0.hash < $1.hash }
        var kept = 0
        for index in self.points.indices where index == 0 || self.points[index].hash != self.points[kept &- 1].hash {
            self.points[kept] = self.points[index]
            kept &+= 1
        }
        self.points.removeLast(self.points.count &- kept)
    }

    var isEmpty: Bool { self.points.isEmpty }

    /// The first point at or after a hash; behind the last one when there is none.
    func place(of hash: UInt32) -> UInt32 {
        var low = 0
        var high = self.points.count
        while low < high {
            let middle = (low &+ high) / 2
            if self.points[middle].hash < hash { low = middle &+ 1 } else { high = middle }
        }
        return UInt32(truncatingIfNeeded: low)
    }

    /// The server of a place, going round; `nil` on an empty ring.
    func server(at place: UInt32) -> UInt32? {
        self.points.isEmpty ? nil : self.points[Int(place) % self.points.count].server
    }

    private static func start(of name: String) -> CRC32 {
        var host = Substring(name).utf8
        var port = Substring().utf8
        if name.utf8.count >= 5, name.prefix(5).lowercased() == "unix:" {
            host = name.dropFirst(5).utf8
        } else if let colon = host.lastIndex(of: UInt8(ascii: ":")),
            host[host.index(after: colon)...].allSatisfy({ (48...57).contains($0) })
        {
            port = host[host.index(after: colon)...]
            host = host[..<colon]
        }
        var crc = CRC32()
        crc.combine(host)
        crc.combine(0)
        crc.combine(port)
        return crc
    }
}
