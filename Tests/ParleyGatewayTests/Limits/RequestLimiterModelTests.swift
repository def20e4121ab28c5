internal import ParleyCore
internal import ParleyGateway
internal import Testing

/// nginx's rules for one zone, written down without regard to cost: a list, the key used last at its end.
private struct ModelZone {
    struct Node {
        var key: String
        var last: Int64?
        var excess: Int64 = 0
    }

    var rate: Int64
    var capacity: Int
    var nodes: [Node] = []

    private func ms(_ node: Node, _ now: Int64) -> Int64? {
        guard let last = node.last else { return nil }
        let ms = now - last
        return ms < -60_000 ? 1 : ms < 0 ? 0 : ms
    }

    private func excess(_ node: Node, _ now: Int64) -> Int64 {
        // A key not counted yet is as one that has been idle for ever.
        guard let ms = self.ms(node, now) else { return 0 }
        return max(node.excess - self.rate * ms / 1_000 + 1_000, 0)
    }

    /// The excess that this request would make, a new node standing for its key if there was none.
    mutating func lookUp(_ key: String, _ now: Int64) -> Int64 {
        if let place = self.nodes.firstIndex(where: { $0.key == key }) {
            self.nodes.append(self.nodes.remove(at: place))
            return self.excess(self.nodes[self.nodes.count - 1], now)
        }
        self.dropIdle(now)
        if self.nodes.count == self.capacity {
            self.nodes.removeFirst()
            self.dropIdle(now)
        }
        self.nodes.append(Node(key: key, last: nil))
        return 0
    }

    mutating func count(_ key: String, _ now: Int64) -> Int64 {
        guard let place = self.nodes.firstIndex(where: { $0.key == key }) else { return -1 }
        let excess = self.excess(self.nodes[place], now)
        if self.ms(self.nodes[place], now) != 0 { self.nodes[place].last = now }
        self.nodes[place].excess = excess
        return excess
    }

    private mutating func dropIdle(_ now: Int64) {
        for _ in 0..<2 {
            guard let oldest = self.nodes.first else { return }
            if let last = oldest.last {
                let idle = abs(now - last)
                guard idle >= 60_000, oldest.excess - self.rate * idle / 1_000 <= 0 else { return }
            }
            self.nodes.removeFirst()
        }
    }
}

@Suite struct RequestLimiterModelTests {
    @Test(.timeLimit(.minutes(2)), arguments: Array(1...12) as [UInt64])
    func decidesAsTheRulesSay(seed: UInt64) throws {
        let chance = SeededRandomSource(seed: seed)
        func draw(_ bound: Int) -> Int { Int(chance.next() % UInt64(bound)) }

        // 224 keys is the smallest zone; twice as many come, so that keys are given up, idle ones and others.
        let zones = 1 + draw(3)
        let keys = [3, 40, 500][draw(3)]
        var models: [ModelZone] = []
        var limits: [RequestLimiter.Limit] = []
        var bursts: [Int64] = []
        var delays: [Int64] = []
        var real: [RequestZone] = []
        for index in 0..<zones {
            let rate = [16, 3_333, 1_000, 100_000, 7][draw(5)]
            let burst = draw(6)
            let delay: RequestLimitUse.Delay = [.all, .none, .above(1 + draw(4))][draw(3)]
            let zone = try RequestZone(name: "\(index)", bytes: 32_768, rate: rate)
            real.append(zone)
            models.append(ModelZone(rate: Int64(rate), capacity: 224))
            limits.append(.init(zone: zone, burst: burst, delay: delay))
            bursts.append(Int64(burst) * 1_000)
            switch delay {
            case .all: delays.append(0)
            case .above(let requests): delays.append(Int64(requests) * 1_000)
            case .none: delays.append(.max)
            }
        }
        let limiter = try RequestLimiter(limits)

        var now: Int64 = 1_000_000
        var rejections = 0
        for _ in 0..<6_000 {
            switch draw(60) {
            case 0: now -= Int64(draw(90_000))
            case 1: now += Int64(draw(150_000))
            case 2...20: break
            default: now += Int64(draw(400))
            }
            let drawn = (0..<zones).map { _ in draw(12) == 0 ? "" : "key \(draw(keys))" }

            var expected = RequestVerdict.Outcome.passed
            for index in 0..<zones where !drawn[index].isEmpty {
                if models[index].lookUp(drawn[index], now) > bursts[index] {
                    expected = .rejected
                    break
                }
            }
            if expected == .passed {
                var longest: Int64 = 0
                for index in 0..<zones where !drawn[index].isEmpty {
                    let excess = models[index].count(drawn[index], now)
                    if excess > delays[index] {
                        longest = max(longest, (excess - delays[index]) * 1_000 / models[index].rate)
                    }
                }
                if longest > 0 { expected = .delayed(milliseconds: longest) }
            } else {
                rejections += 1
            }
            let outcome = limiter.check(now: now) { drawn[$0].isEmpty ? .none : limitKey(drawn[$0]) }.outcome
            try #require(outcome == expected, "at \(now) for \(drawn)")
        }
        for index in 0..<zones { #expect(real[index].usage.keys == models[index].nodes.count) }
        #expect(rejections > 0)
    }
}
