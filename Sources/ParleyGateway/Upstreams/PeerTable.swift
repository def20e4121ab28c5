/// The peers of one upstream and the choice among them, by nginx's rules: what is eligible, how failures count, and
/// each method's arithmetic. Pure: time and chance come with the calls. ``PeerGroup`` shares one among event loops.
///
/// A peer is eligible that this request has not tried, that is not `down`, has not failed `max_fails` times within its
/// fail timeout, is below `max_conns`, and, beyond nginx, is healthy and not ejected.
struct PeerTable: Sendable {
    let settings: PeerGroupSettings
    /// By slot: members, those that have left and still have requests, and free ones.
    var peers: [Peer] = []
    /// By slot, what ``peers`` leaves out.
    private var models: [PeerModel] = []
    private var freeSlots: [UInt32] = []

    /// Slots in the order of the configuration.
    private(set) var primaries: [UInt32] = []
    private(set) var backups: [UInt32] = []
    /// nginx's weights of all that are no backups, also of those that are down.
    private(set) var totalWeight: Int64 = 0
    private(set) var ring = HashRing()
    /// nginx does not count failures of the only peer there is: there would be no other.
    private(set) var isSingle = false
    /// How often a request may be sent when `proxy_next_upstream_tries` does not say.
    private(set) var tries = 0

    init(settings: PeerGroupSettings) { self.settings = settings }

    // MARK: - Choosing

    /// The peer for the next attempt of a request; `nil` when none is eligible. It counts as active until ``finish``.
    mutating func pick(tried: inout PeerSet, key: Span<UInt8>, now: Int64, chance: UInt64) -> PeerID? {
        let occasion = Occasion(now: now, seconds: now / 1_000, ignoresHealth: self.isPanicking(now: now))
        if self.isSingle {
            guard let first = self.primaries.first else { return nil }
            let slot = Int(first)
            let peer = self.peers[slot]
            guard !peer.isDown, !peer.isFull, occasion.ignoresHealth || peer.isSound(now: now) else { return nil }
            return self.take(slot, &tried)
        }
        guard let slot = self.choose(&tried, key, occasion, chance) else { return nil }
        self.peers[slot].noteSelection(seconds: occasion.seconds)
        return self.take(slot, &tried)
    }

    /// When a choice is made, and what it disregards.
    struct Occasion {
        let now: Int64
        let seconds: Int64
        let ignoresHealth: Bool
    }

    private mutating func choose(
        _ tried: inout PeerSet,
        _ key: Span<UInt8>,
        _ occasion: Occasion,
        _ chance: UInt64
    ) -> Int? {
        if !tried.isOnBackups {
            var slot: Int?
            switch self.settings.method {
            case .leastConnections:
                slot = self.leastConnections(self.primaries, tried, occasion)
            case .roundRobin: break
            case .ipHash: slot = self.ipHash(&tried, key, occasion)
            case .hash: slot = self.hash(&tried, key, occasion)
            case .consistentHash: slot = self.consistentHash(&tried, key, occasion)
            case .random: slot = self.drawOne(&tried, occasion, chance)
            case .randomTwo, .ewma: slot = self.drawTwo(&tried, occasion, chance)
            }
            if slot == nil, self.settings.method != .leastConnections {
                slot = self.roundRobin(self.primaries, tried, occasion)
            }
            if let slot { return slot }
            if self.backups.isEmpty { return nil }
            tried.isOnBackups = true
        }
        return self.settings.method == .leastConnections
            ? self.leastConnections(self.backups, tried, occasion) : self.roundRobin(self.backups, tried, occasion)
    }

    private mutating func take(_ slot: Int, _ tried: inout PeerSet) -> PeerID {
        tried.insert(slot: slot)
        self.peers[slot].active &+= 1
        self.peers[slot].selections &+= 1
        return PeerID(slot: UInt32(truncatingIfNeeded: slot), generation: self.peers[slot].generation)
    }

    func isEligible(_ slot: Int, _ tried: PeerSet, _ occasion: Occasion) -> Bool {
        !tried.contains(slot: slot) && self.peers[slot].mayTake(occasion)
    }

    /// So few are sound that the rest would be overrun: better to try all.
    private func isPanicking(now: Int64) -> Bool {
        guard self.settings.panicPercent > 0 else { return false }
        var listed = 0
        var sound = 0
        for slot in self.primaries where !self.peers[Int(slot)].isDown {
            listed &+= 1
            if self.peers[Int(slot)].isSound(now: now) { sound &+= 1 }
        }
        return sound &* 100 < self.settings.panicPercent &* listed
    }

    // MARK: - Learning

    /// A request that ``pick(tried:key:now:chance:)`` sent has ended.
    ///
    /// - Parameter latency: Microseconds to the head of the answer; only the EWMA asks.
    /// - Returns: Whether the peer was ejected for it.
    mutating func finish(
        _ peer: PeerID,
        _ outcome: PeerOutcome,
        answer: AnswerClass,
        latency: Int64?,
        now: Int64
    ) -> Bool {
        guard let slot = self.slot(of: peer) else { return false }
        self.peers[slot].active = max(self.peers[slot].active &- 1, 0)
        guard self.peers[slot].isMember else {
            if self.peers[slot].active == 0 { self.free(slot) }
            return false
        }
        guard outcome != .notCounted else { return false }
        if self.isSingle {
            self.peers[slot].fails = 0
        } else if outcome == .failed {
            self.peers[slot].noteFailure(seconds: now / 1_000)
        } else {
            self.peers[slot].noteSuccess(now: now)
        }
        if let latency, self.settings.method == .ewma {
            self.peers[slot].latency.observe(microseconds: latency, now: now)
        }
        // What was under way when it was ejected is not held against it a second time.
        guard let rules = self.settings.outliers, self.peers[slot].outlier.ejectedUntil <= now,
            self.peers[slot].outlier.record(answer, rules)
        else { return false }
        return self.eject(slot, rules, now: now)
    }

    /// An answer of a peer's active check.
    mutating func recordCheck(of peer: PeerID, hasPassed: Bool, now: Int64) -> HealthChange? {
        guard let rules = self.settings.healthCheck, let slot = self.slot(of: peer), self.peers[slot].isMember else {
            return nil
        }
        if hasPassed, self.peers[slot].outlier.ejectedUntil > now {
            self.peers[slot].outlier.readmit()
            self.peers[slot].recovered = now
        }
        guard self.peers[slot].health.record(hasPassed: hasPassed, rules) else { return nil }
        if hasPassed { self.peers[slot].recovered = now }
        return hasPassed ? .becameHealthy : .becameUnhealthy
    }

    /// An interval of outlier detection has ended.
    ///
    /// - Returns: The peers ejected for their success rate.
    mutating func endOutlierInterval(now: Int64) -> [PeerID] {
        var ejected: [PeerID] = []
        if let rules = self.settings.outliers, let success = self.settings.successRate {
            let members = self.primaries + self.backups
            let rates = members.compactMap { slot in
                self.peers[Int(slot)].outlier.successRate(success).map { (slot: Int(slot), rate: $0) }
            }
            if !rates.isEmpty, rates.count >= success.minHosts {
                let mean = rates.reduce(0) { $0 + $1.rate } / Double(rates.count)
                let variance = rates.reduce(0) { $0 + ($1.rate - mean) * ($1.rate - mean) } / Double(rates.count)
                let threshold = mean - variance.squareRoot() * Double(success.deviations) / 1_000
                for (slot, rate) in rates where rate < threshold && self.eject(slot, rules, now: now) {
                    ejected.append(self.id(slot))
                }
            }
        }
        for slot in self.peers.indices { self.peers[slot].outlier.endInterval(now: now) }
        return ejected
    }

    /// One may always be ejected, more only up to the share that the rules allow.
    private mutating func eject(_ slot: Int, _ rules: OutlierRules, now: Int64) -> Bool {
        guard self.peers[slot].outlier.ejectedUntil <= now else { return false }
        let members = self.primaries.count &+ self.backups.count
        var ejected = 0
        for peer in self.peers where peer.isMember && peer.outlier.ejectedUntil > now { ejected &+= 1 }
        guard ejected == 0 || (ejected &+ 1) &* 100 <= max(rules.maxEjectedPercent, 0) &* members else { return false }
        self.peers[slot].outlier.eject(rules, now: now)
        self.peers[slot].recovered = self.peers[slot].outlier.ejectedUntil
        return true
    }

    // MARK: - Members

    /// Puts other peers in the place of those that are there. One that stays, by name and address, keeps all that is
    /// known of it; one that leaves is not chosen any more, and its requests end as they would have.
    mutating func replace(_ members: PeerGroupMembers, now: Int64) {
        let isStart = self.peers.isEmpty
        var known: [PeerIdentity: [UInt32]] = [:]
        // The last first, so that of several that are alike the first is taken by the first.
        for slot in (self.primaries + self.backups).reversed() {
            known[PeerIdentity(self.models[Int(slot)]), default: []].append(slot)
        }
        self.primaries = []
        self.backups = []
        for (index, model) in members.peers.enumerated() {
            let slot = known[PeerIdentity(model)]?.popLast() ?? self.newSlot(isStart: isStart, now: now)
            self.models[Int(slot)] = model
            self.peers[Int(slot)].configure(model)
            self.peers[Int(slot)].server = members.servers[index]
            if model.isBackup { self.backups.append(slot) } else { self.primaries.append(slot) }
        }
        for slot in known.values.joined() {
            self.peers[Int(slot)].isMember = false
            if self.peers[Int(slot)].active == 0 { self.free(Int(slot)) }
        }
        self.ring = members.ring
        self.totalWeight = self.primaries.reduce(0) { $0 &+ self.peers[Int($1)].weight }
        self.isSingle = self.primaries.count == 1 && self.backups.isEmpty
        self.tries = self.isSingle ? 1 : members.peers.reduce(0) { $0 &+ ($1.isDown ? 0 : 1) }
    }

    func model(of peer: PeerID) -> PeerModel? { self.slot(of: peer).map { self.models[$0] } }

    func states(now: Int64) -> [PeerState] {
        (self.primaries + self.backups).map { slot in
            let peer = self.peers[Int(slot)]
            return PeerState(
                id: self.id(Int(slot)),
                peer: self.models[Int(slot)],
                standing: peer.standing(now: now, isSingle: self.isSingle),
                effectiveWeight: Int(peer.effectiveWeight),
                active: Int(peer.active),
                fails: Int(peer.fails),
                selections: peer.selections,
                isHealthy: peer.health.isHealthy,
                ejectedUntil: peer.outlier.ejectedUntil > now ? peer.outlier.ejectedUntil : nil,
                failedUntil: !self.isSingle && peer.isFailed(seconds: now / 1_000)
                    ? (peer.checked &+ peer.failTimeout &+ 1) &* 1_000 : nil,
                ejections: Int(peer.outlier.ejections),
                isStarting: peer.slowStart > 0 && now &- peer.recovered < peer.slowStart,
                latency: peer.latency.isKnown ? Int64(peer.latency.value(now)) : nil
            )
        }
    }

    private func slot(of peer: PeerID) -> Int? {
        let slot = Int(peer.slot)
        return slot < self.peers.count && self.peers[slot].generation == peer.generation ? slot : nil
    }

    private func id(_ slot: Int) -> PeerID {
        PeerID(slot: UInt32(truncatingIfNeeded: slot), generation: self.peers[slot].generation)
    }

    private mutating func newSlot(isStart: Bool, now: Int64) -> UInt32 {
        var peer = Peer()
        peer.health = HealthState(isHealthy: self.settings.healthCheck == nil || self.settings.startsHealthy)
        // Who joins a group at work starts slowly; at its start there is nobody else to carry the load.
        if !isStart { peer.recovered = now }
        if let slot = self.freeSlots.popLast() {
            peer.generation = self.peers[Int(slot)].generation
            self.peers[Int(slot)] = peer
            return slot
        }
        self.peers.append(peer)
        self.models.append(PeerModel(host: "", port: 0))
        return UInt32(truncatingIfNeeded: self.peers.count &- 1)
    }

    private mutating func free(_ slot: Int) {
        self.peers[slot].generation &+= 1
        self.freeSlots.append(UInt32(truncatingIfNeeded: slot))
    }
}

extension Peer {
    func mayTake(_ occasion: PeerTable.Occasion) -> Bool {
        !self.isDown && !self.isFailed(seconds: occasion.seconds) && !self.isFull
            && (occasion.ignoresHealth || self.isSound(now: occasion.now))
    }

    func standing(now: Int64, isSingle: Bool) -> PeerState.Standing {
        if self.isDown { return .down }
        if !isSingle, self.isFailed(seconds: now / 1_000) { return .failed }
        if !self.health.isHealthy { return .unhealthy }
        if self.outlier.ejectedUntil > now { return .ejected }
        return self.isFull ? .full : .available
    }
}

/// What makes a peer the same after a change of the group.
struct PeerIdentity: Hashable {
    let name: String
    let host: String
    let port: Int
    /// At a reused address, another program.
    let instanceID: String?

    init(_ model: PeerModel) {
        self.name = model.name
        self.instanceID = model.instanceID
        self.host = model.host
        self.port = model.port
    }
}

/// The peers of a group, checked, and what can be computed of them before the group is locked.
struct PeerGroupMembers: Sendable {
    let peers: [PeerModel]
    /// For each peer, the place of its name among the names.
    let servers: [UInt32]
    let ring: HashRing

    init(_ peers: [PeerModel], of group: String, method: BalancingMethod) throws(PeerGroupError) {
        try PeerGroupError.check(peers, of: group, method: method)
        var places: [String: UInt32] = [:]
        var names: [(name: String, weight: Int)] = []
        var servers: [UInt32] = []
        for peer in peers {
            let place = places[peer.name] ?? UInt32(names.count)
            servers.append(place)
            let weight = peer.isBackup ? 0 : peer.weight
            if place == names.count {
                places[peer.name] = place
                names.append((peer.name, weight))
            } else {
                // Points of one name fall on each other: the heaviest of its addresses says how many there are.
                names[Int(place)].weight = max(names[Int(place)].weight, weight)
            }
        }
        self.peers = peers
        self.servers = servers
        self.ring = method == .consistentHash ? HashRing(names) : HashRing()
    }
}
