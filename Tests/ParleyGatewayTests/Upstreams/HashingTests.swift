internal import ParleyGateway
internal import Testing

/// Where nginx 1.22.1 sent requests with these keys: an entry is the key and the instances that were asked, one after the
/// other. Instances from 91 on refused the connection; the next was asked then.
@Suite struct HashingTests {
    private static let living = [
        peer(18_101), peer(18_102, weight: 2), peer(18_103, weight: 3), peer(18_104),
    ]
    private static let dying = [
        peer(18_101), peer(18_191, weight: 2) { $0.maxFails = 0 }, peer(18_103, weight: 3),
        peer(18_192) { $0.maxFails = 0 }, peer(18_105),
    ]

    private func check(_ group: PeerGroup, _ table: String, separator: Character, key: (String) -> [UInt8]?) throws {
        for entry in table.split(whereSeparator: \.isWhitespace) {
            let cut = try #require(entry.lastIndex(of: separator))
            let ports = entry[entry.index(after: cut)...].split(separator: ",").compactMap { Int($0) }
            let bytes = try #require(key(String(entry[..<cut])))
            #expect(group.ports(key: bytes) { $0 >= 18_191 } == ports.map { $0 + 18_100 }, "\(entry)")
        }
    }

    @Test func hash() throws {
        try self.check(try peerGroup(Self.living, .hash), Self.hashTable, separator: ":") { Array($0.utf8) }
    }

    @Test func hashGoesOnToTheNext() throws {
        try self.check(try peerGroup(Self.dying, .hash), Self.hashRetries, separator: ":") { Array($0.utf8) }
    }

    /// Of the two addresses of localhost, both have its points on the ring.
    @Test func consistentHash() throws {
        let peers = [
            peer(18_101), peer(18_102, weight: 2), peer(18_103, weight: 3),
            PeerModel(host: "127.0.0.1", port: 18_104, name: "localhost:18104"),
            PeerModel(host: "::1", port: 18_104, name: "localhost:18104"), peer(18_105),
        ]
        let group = try peerGroup(peers, .consistentHash)
        try self.check(group, Self.ringTable, separator: ":") { Array($0.utf8) }
        // Both were asked in turn.
        #expect(group.states(now: 0).filter { $0.peer.port == 18_104 }.allSatisfy { $0.selections == 1 })
    }

    @Test func consistentHashGoesOnToTheNext() throws {
        try self.check(try peerGroup(Self.dying, .consistentHash), Self.ringRetries, separator: ":") { Array($0.utf8) }
    }

    @Test func ipHash() throws {
        var peers = Self.living + [peer(18_105)]
        peers[3].isDown = true
        try self.check(try peerGroup(peers, .ipHash), Self.addressTable, separator: ">") { self.address($0) }
    }

    @Test func ipHashGoesOnToTheNext() throws {
        try self.check(try peerGroup(Self.dying, .ipHash), Self.addressRetries, separator: ">") { self.address($0) }
    }

    @Test func withoutAKeyInTurn() throws {
        for method in [BalancingMethod.hash, .consistentHash] {
            let group = try peerGroup([peer(1), peer(2), peer(3)], method)
            #expect((0..<6).flatMap { _ in group.ports() } == [1, 2, 3, 1, 2, 3])
        }
        // What has no address, all go to one.
        let group = try peerGroup([peer(1), peer(2), peer(3)], .ipHash)
        #expect(Set((0..<6).flatMap { _ in group.ports() }).count == 1)
        #expect(group.ports() == group.ports(key: [0, 0, 0, 9]))
    }

    @Test func aNewPeerTakesOnlyItsPart() throws {
        let peers = (1...9).map { peer($0) }
        let group = try peerGroup(peers, .consistentHash)
        let keys = (0..<1_000).map { Array("key \($0)".utf8) }
        let before = keys.map { group.ports(key: $0) }
        try group.replace(peers: peers + [peer(10)], now: 0)
        var moved = 0
        for (key, ports) in zip(keys, before) {
            let now = group.ports(key: key)
            if now != ports {
                #expect(now == [10])
                moved += 1
            }
        }
        #expect((50...150).contains(moved))
        try group.replace(peers: peers.reversed(), now: 0)
        #expect(keys.map { group.ports(key: $0) } == before)
    }

    /// After too many peers that cannot be taken, it goes on in turn.
    @Test func hashesGiveUpInTime() throws {
        for method in [BalancingMethod.hash, .consistentHash, .ipHash, .random, .randomTwo] {
            let peers = [peer(1, weight: 1_000) { $0.isDown = true }, peer(2), peer(3)]
            let group = try peerGroup(peers, method)
            for key in 0..<100 {
                #expect(group.ports(key: [UInt8(key), 3, 4, 5], chance: UInt64(key)) != [1])
                #expect(group.ports(key: [UInt8(key), 3, 4, 5], chance: UInt64(key)).count == 1)
            }
        }
    }

    private func address(_ text: String) -> [UInt8]? {
        if !text.contains(":") {
            let bytes = text.split(separator: ".").compactMap { UInt8($0) }
            return bytes.count == 4 ? bytes : nil
        }
        // Enough for the table: groups, and one double colon that stands for zeros.
        func bytes(_ text: Substring) -> [UInt8] {
            text.split(separator: ":").flatMap { group in
                let number = UInt16(group, radix: 16) ?? 0
                return [UInt8(number >> 8), UInt8(number & 0xff)]
            }
        }
        guard let gap = text.firstRange(of: "::") else { return nil }
        let head = bytes(text[..<gap.lowerBound])
        let tail = bytes(text[gap.upperBound...])
        return head + Array(repeating: 0, count: 16 - head.count - tail.count) + tail
    }

    private static let hashTable = """
        a:3 b:3 c:4 user-1:3 user-2:3 user-3:4 session=9f8e7d:3 %2Forders%2F42:3 10.1.2.3:2 0:3 alpha:3 beta:2 gamma:3
        delta:2 epsilon:2 zeta:3 eta:2 theta:3 iota:3 kappa:2 lambda:4 mu:3 nu:3 xi:4
        """
    private static let hashRetries = """
        a:5 b:92,3 c:91,1 user-1:92,91,3 user-2:5 user-3:1 session=9f8e7d:3 %2Forders%2F42:3 10.1.2.3:3 0:3 alpha:1
        beta:91,5 gamma:3 delta:3 epsilon:92,3 zeta:3 eta:3 theta:1 iota:5 kappa:91,1 lambda:3 mu:3 nu:1 xi:91,5
        """
    private static let ringTable = """
        a:2 b:3 c:1 user-1:2 user-2:5 user-3:4 session=9f8e7d:2 %2Forders%2F42:5 10.1.2.3:2 0:2 alpha:2 beta:4 gamma:3
        delta:5 epsilon:5 zeta:3 eta:2 theta:1 iota:1 kappa:2 lambda:2 mu:3 nu:2 xi:2
        """
    private static let ringRetries = """
        a:91,5 b:3 c:1 user-1:92,91,3 user-2:5 user-3:5 session=9f8e7d:3 %2Forders%2F42:5 10.1.2.3:3 0:92,1 alpha:91,5
        beta:5 gamma:91,3 delta:5 epsilon:5 zeta:92,3 eta:91,3 theta:1 iota:1 kappa:92,91,5 lambda:3 mu:3 nu:1 xi:1
        """
    private static let addressTable = """
        10.0.0.1>3 10.0.0.200>3 10.0.1.1>2 10.1.2.3>1 172.16.5.9>1 192.168.1.1>2 192.168.2.1>3 192.168.77.3>3
        8.8.8.8>5 1.2.3.4>5 203.0.113.7>1 198.51.100.1>1 2001:db8::1>1 2001:db8::2>2 ::1>2 fe80::1234:5678>5
        100.64.0.1>5 127.0.0.1>1 66.249.66.1>3
        """
    private static let addressRetries = """
        10.0.0.1>3 10.0.0.200>3 10.0.1.1>92,91,1 10.1.2.3>1 172.16.5.9>92,1 192.168.1.1>91,92,3 192.168.2.1>3
        192.168.77.3>92,3 8.8.8.8>5 1.2.3.4>5 203.0.113.7>1 198.51.100.1>1 2001:db8::1>1 2001:db8::2>91,1 ::1>91,3
        fe80::1234:5678>5 100.64.0.1>5 127.0.0.1>1 66.249.66.1>92,3
        """
}
