internal import ParleyCore
internal import ParleyGateway
internal import Testing

/// nginx's round robin, least_conn, `max_fails` and `max_conns`, written down without regard to cost.
private struct Model {
    struct Server {
        var peer: PeerModel
        var current = 0
        var effective: Int
        var conns = 0
        var fails = 0
        var accessed = -1_000_000_000
        var checked = -1_000_000_000

        init(_ peer: PeerModel) {
            self.peer = peer
            self.effective = peer.weight
        }
    }

    struct Request {
        var tried: Set<Int> = []
        var usesBackups = false
    }

    var servers: [Server]
    var isLeastConnections: Bool

    mutating func pick(_ request: inout Request, second: Int) -> Int? {
        if !request.usesBackups, let place = self.choose(request, backup: false, second) {
            request.tried.insert(place)
            return place
        }
        guard self.servers.contains(where: \.peer.isBackup) else { return nil }
        request.usesBackups = true
        guard let place = self.choose(request, backup: true, second) else { return nil }
        request.tried.insert(place)
        return place
    }

    private mutating func choose(_ request: Request, backup: Bool, _ second: Int) -> Int? {
        var candidates = self.servers.indices.filter { place in
            let server = self.servers[place]
            let hasFailed = server.peer.maxFails != 0 && server.fails >= server.peer.maxFails
            return server.peer.isBackup == backup && !request.tried.contains(place) && !server.peer.isDown
                && !(hasFailed && second - server.checked <= server.peer.failTimeout)
                && (server.peer.maxConnections == 0 || server.conns < server.peer.maxConnections)
        }
        var best: Int?
        if self.isLeastConnections {
            func load(_ place: Int) -> Double {
                Double(self.servers[place].conns) / Double(self.servers[place].peer.weight)
            }
            let least = candidates.map(load).min()
            candidates = candidates.filter { load($0) == least }
            if candidates.count == 1 { best = candidates[0] }
        }
        if best == nil, !candidates.isEmpty {
            let total = candidates.reduce(0) { $0 + self.servers[$1].effective }
            for place in candidates {
                self.servers[place].current += self.servers[place].effective
                self.servers[place].effective = min(self.servers[place].effective + 1, self.servers[place].peer.weight)
            }
            let most = candidates.map { self.servers[$0].current }.max()
            best = candidates.first { self.servers[$0].current == most }
            if let best { self.servers[best].current -= total }
        }
        guard let best else { return nil }
        if second - self.servers[best].checked > self.servers[best].peer.failTimeout {
            self.servers[best].checked = second
        }
        self.servers[best].conns += 1
        return best
    }

    mutating func finish(_ place: Int, hasFailed: Bool, second: Int) {
        self.servers[place].conns -= 1
        if hasFailed {
            self.servers[place].fails += 1
            self.servers[place].accessed = second
            self.servers[place].checked = second
            let peer = self.servers[place].peer
            if peer.maxFails != 0 {
                self.servers[place].effective = max(0, self.servers[place].effective - peer.weight / peer.maxFails)
            }
        } else if self.servers[place].accessed < self.servers[place].checked {
            self.servers[place].fails = 0
        }
    }
}

@Suite struct RoundRobinModelTests {
    @Test(.timeLimit(.minutes(2)), arguments: Array(1...24) as [UInt64])
    func choosesAsTheRulesSay(seed: UInt64) throws {
        let chance = SeededRandomSource(seed: seed)
        func draw(_ bound: Int) -> Int { Int(chance.next() % UInt64(bound)) }
        let method = seed % 2 == 0 ? BalancingMethod.leastConnections : .roundRobin
        let peers = (0..<(2 + draw(7))).map { port in
            peer(port, weight: [1, 1, 2, 3, 5, 10][draw(6)]) {
                $0.maxFails = draw(4)
                $0.failTimeout = draw(6)
                $0.maxConnections = draw(3) == 0 ? 1 + draw(6) : 0
                $0.isDown = draw(8) == 0
                $0.isBackup = port > 0 && draw(5) == 0
            }
        }
        let group = try peerGroup(peers, method)
        // A group of one, or of one and backups, has rules of its own for which other tests stand.
        var model = Model(servers: peers.map { Model.Server($0) }, isLeastConnections: method == .leastConnections)
        var underWay: [(id: PeerID, place: Int, tried: PeerSet, request: Model.Request)] = []
        var now: Int64 = 100_000
        var failures = 0
        for _ in 0..<5_000 {
            now += Int64(draw(3) == 0 ? draw(2_500) : draw(20))
            let second = Int(now / 1_000)
            var tried = PeerSet()
            var request = Model.Request()
            if draw(2) == 0, !underWay.isEmpty {
                let ended = underWay.remove(at: draw(underWay.count))
                let hasFailed = draw(3) == 0
                group.finish(ended.id, hasFailed ? .failed : .succeeded, now: now)
                model.finish(ended.place, hasFailed: hasFailed, second: second)
                guard hasFailed else { continue }
                failures += 1
                tried = ended.tried
                request = ended.request
            }
            let id = group.pick(&tried, now: now)
            let place = model.pick(&request, second: second)
            try #require(group.port(id) == place, "at \(now)")
            if let id, let place { underWay.append((id, place, tried, request)) }
        }
        let order = peers.indices.filter { !peers[$0].isBackup } + peers.indices.filter { peers[$0].isBackup }
        for (state, place) in zip(group.states(now: now), order) {
            let server = model.servers[place]
            #expect(state.active == server.conns)
            #expect(state.effectiveWeight == server.effective)
            #expect(state.fails == server.fails)
        }
        #expect(failures > 0 || peers.allSatisfy(\.isDown))
    }
}
