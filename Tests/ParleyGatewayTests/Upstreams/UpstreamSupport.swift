internal import ParleyCore
internal import ParleyGateway

/// A peer of 127.0.0.1 with this port, changed as needed.
func peer(_ port: Int, weight: Int = 1, _ change: (inout PeerModel) -> Void = { _ in }) -> PeerModel {
    var model = PeerModel(host: "127.0.0.1", port: port)
    model.weight = weight
    change(&model)
    return model
}

func peerGroup(
    _ peers: [PeerModel],
    _ method: BalancingMethod = .roundRobin,
    _ change: (inout PeerGroupSettings) -> Void = { _ in }
) throws -> PeerGroup {
    var settings = PeerGroupSettings()
    settings.method = method
    change(&settings)
    return try PeerGroup(name: "test", peers: peers, settings: settings)
}

extension PeerGroup {
    func pick(
        _ tried: inout PeerSet,
        key: [UInt8] = [],
        now: Int64 = 0,
        chance: UInt64 = 0
    ) -> PeerID? {
        self.pick(tried: &tried, key: key.span, now: now, chance: chance)
    }

    /// The first choice for a new request; it stays active.
    func pickOnce(key: [UInt8] = [], now: Int64 = 0, chance: UInt64 = 0) -> PeerID? {
        var tried = PeerSet()
        return self.pick(&tried, key: key, now: now, chance: chance)
    }

    func port(_ peer: PeerID?) -> Int? { peer.flatMap { self.model(of: $0)?.port } }

    /// The ports that one request is sent to, one after the other, until one answers or the tries are used up.
    func ports(
        key: [UInt8] = [],
        now: Int64 = 0,
        chance: UInt64 = 0,
        isDead: (Int) -> Bool = { _ in false }
    ) -> [Int] {
        var tried = PeerSet()
        var ports: [Int] = []
        for _ in 0..<self.tries {
            guard let peer = self.pick(&tried, key: key, now: now, chance: chance), let port = self.port(peer) else {
                break
            }
            ports.append(port)
            self.finish(peer, isDead(port) ? .failed : .succeeded, now: now)
            if !isDead(port) { break }
        }
        return ports
    }

    func state(_ port: Int, now: Int64 = 0) -> PeerState? { self.states(now: now).first { $0.peer.port == port } }
}
