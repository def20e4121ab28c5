internal import ParleyCore
internal import ParleyGateway
internal import Testing

@Suite struct ConnectionLimiterTests {
    private func zone(_ name: String = "zone") throws -> ConnectionZone {
        try ConnectionZone(name: name, bytes: 32_768)
    }

    @Test func countsWhatIsUnderWay() throws {
        let zone = try self.zone()
        let limiter = try ConnectionLimiter([.init(zone: zone, connections: 2)])
        var leases = [ConnectionLease(), ConnectionLease(), ConnectionLease()]
        #expect(limiter.take(&leases[0]) { _ in limitKey("a") } == .passed)
        #expect(limiter.take(&leases[1]) { _ in limitKey("a") } == .passed)
        #expect(limiter.take(&leases[2]) { _ in limitKey("a") } == .rejected(limit: 0, isDryRun: false))
        limiter.give(&leases[2])
        #expect(limiter.take(&leases[2]) { _ in limitKey("a") } == .rejected(limit: 0, isDryRun: false))
        limiter.give(&leases[0])
        limiter.give(&leases[0])
        #expect(limiter.take(&leases[2]) { _ in limitKey("a") } == .passed)
        #expect(limiter.take(&leases[0]) { _ in limitKey("a") } == .rejected(limit: 0, isDryRun: false))
        #expect(limiter.take(&leases[0]) { _ in limitKey("b") } == .passed)
        for index in leases.indices { limiter.give(&leases[index]) }
        #expect(zone.usage.keys == 0)
    }

    @Test func aRefusalHoldsNothing() throws {
        let first = try self.zone("first")
        let second = try self.zone("second")
        let limits: [ConnectionLimiter.Limit] = [
            .init(zone: first, connections: 10), .init(zone: second, connections: 1),
        ]
        let limiter = try ConnectionLimiter(limits, isDryRun: true)
        var held = ConnectionLease()
        var refused = ConnectionLease()
        #expect(limiter.take(&held) { limitKey("\($0)") } == .passed)
        #expect(
            limiter.take(&refused) { $0 == 0 ? limitKey("x") : limitKey("1") } == .rejected(limit: 1, isDryRun: true)
        )
        #expect(first.usage.keys == 1)
        limiter.give(&held)
        #expect(first.usage.keys == 0)
        #expect(second.usage.keys == 0)
    }

    @Test func keysThatAreEmptyOrTooLongAreNotLimited() throws {
        let limiter = try ConnectionLimiter([.init(zone: try self.zone(), connections: 1)])
        var lease = ConnectionLease()
        let long = limitKey(Array(repeating: 1, count: 256))
        #expect(limiter.take(&lease) { _ in .none } == .unlimited)
        #expect(limiter.take(&lease) { _ in long } == .unlimited)
        #expect(limiter.take(&lease) { _ in limitKey(Array(repeating: 1, count: 255)) } == .passed)
    }

    @Test func aFullZoneRefuses() throws {
        let zone = try self.zone()
        let limiter = try ConnectionLimiter([.init(zone: zone, connections: 5)])
        var leases: [ConnectionLease] = []
        for number in 0..<zone.usage.capacity {
            var lease = ConnectionLease()
            #expect(limiter.take(&lease) { _ in limitKey("\(number)") } == .passed)
            leases.append(lease)
        }
        var lease = ConnectionLease()
        #expect(limiter.take(&lease) { _ in limitKey("one more") } == .rejected(limit: 0, isDryRun: false))
        #expect(zone.usage.overflowed == 1)
        limiter.give(&leases[17])
        #expect(limiter.take(&lease) { _ in limitKey("one more") } == .passed)
    }

    @Test func aLimitOnTheLimits() throws {
        #expect(throws: LimitError.self) { try ConnectionZone(name: "small", bytes: 32_767) }
        let nine = try (0..<9).map { _ in ConnectionLimiter.Limit(zone: try self.zone(), connections: 1) }
        #expect(throws: LimitError.self) { try ConnectionLimiter(nine) }
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func countsAsADictionaryWould(seed: UInt64) throws {
        let chance = SeededRandomSource(seed: seed)
        func draw(_ bound: Int) -> Int { Int(chance.next() % UInt64(bound)) }
        let zones = [try self.zone("0"), try self.zone("1")]
        let most = [3, 5]
        let limiter = try ConnectionLimiter(zones.indices.map { .init(zone: zones[$0], connections: most[$0]) })
        var counts: [[Int: Int]] = [[:], [:]]
        var held: [(lease: ConnectionLease, keys: [Int])] = []
        for _ in 0..<10_000 {
            if draw(5) < 2, !held.isEmpty {
                var (lease, keys) = held.remove(at: draw(held.count))
                limiter.give(&lease)
                for (zone, key) in keys.enumerated() { counts[zone][key, default: 0] -= 1 }
                continue
            }
            let keys = [draw(40), draw(10)]
            let full = keys.indices.first { counts[$0][keys[$0], default: 0] >= most[$0] }
            var lease = ConnectionLease()
            let verdict = limiter.take(&lease) { limitKey("\(keys[$0])") }
            if let full {
                try #require(verdict == .rejected(limit: full, isDryRun: false))
            } else {
                try #require(verdict == .passed)
                for (zone, key) in keys.enumerated() { counts[zone][key, default: 0] += 1 }
                held.append((lease, keys))
            }
            for (zone, count) in zones.enumerated() {
                #expect(count.usage.keys == counts[zone].values.count { $0 > 0 })
            }
        }
    }
}
