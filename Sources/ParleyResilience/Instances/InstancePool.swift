package import ParleyCore

/// The instances of one service, with all that a client knows about each: breaker, ejection, quarantine, load. Pure.
///
/// **Who may be called.** Never an instance that is isolated, quarantined, or whose breaker refuses. Of the others, in
/// this order: one that is neither ejected nor tried by this call already; one that was tried, the last one last; an
/// ejected one.
///
/// **Panic.** When fewer than `panicPercent` of the instances would be called by that rule, breakers and ejections are
/// taken for a mistake of ours and all instances are called (Envoy's panic mode), except isolated and quarantined ones.
package struct InstancePool: Sendable {
    /// How long the list of considered instances in an explanation is at most.
    package static let maxConsidered = 16

    /// A try that is under way.
    package struct Ticket: Sendable {
        package let target: CallTarget
        /// The endpoint as a text, which is made once and not for each call.
        package let place: String
        package let breaker: BreakerState
        /// Names the instance for as long as it is known, also after the list has changed.
        package let serial: UInt64
        fileprivate let hint: Int
        fileprivate let permit: CircuitBreaker.Permit
        fileprivate let began: Moment
    }

    package enum Pick: Sendable {
        case picked(Ticket)
        /// There is no instance at all.
        case nobody
        /// There are some, and none may be called.
        ///
        /// - Parameter until: when the first of them may be, if time alone decides.
        case unavailable(until: Moment?)
    }

    struct Member: Sendable {
        var target: CallTarget
        var place: String
        var serial: UInt64
        var breaker: CircuitBreaker
        var quarantine = Quarantine()
    }

    private let policy: ResiliencePolicy
    private(set) var targets: [CallTarget] = []
    private(set) var members: [Member] = []
    private var places: [UInt64: Int] = [:]
    private(set) var balancer: LoadBalancer
    private(set) var detector: OutlierDetector?
    private var lastSerial: UInt64 = 0
    /// Whether every instance may be called, so that a pick needs to look at none. Kept true only by looking; whatever
    /// may end it sets `lookedAt` to `nil`.
    private var isCalm = false
    private var lookedAt: Moment?
    /// Kept by id and not with the member: an instance that comes back is still isolated.
    private(set) var isolated: Set<String> = []

    /// How many instances can be isolated by hand.
    package static let maxIsolated = 4_096

    package init(_ policy: ResiliencePolicy) {
        self.policy = policy
        self.balancer = LoadBalancer(policy.balancing)
        self.detector = policy.outliers.map { OutlierDetector($0) }
    }

    /// What the resolver knows now. What is known about an instance stays as long as it keeps its id, its address and
    /// its identity; everything else is forgotten.
    package mutating func update(_ targets: [CallTarget]) {
        // The same array most of the time, which is compared by its address.
        guard targets != self.targets else { return }
        self.targets = targets
        var before: [String: Int] = [:]
        for (place, member) in self.members.enumerated() { before[member.target.id] = place }
        var seen: Set<String> = []
        var members: [Member] = []
        var origins: [Int?] = []
        for target in targets where seen.insert(target.id).inserted {
            if let place = before[target.id], self.members[place].target.isSameInstance(as: target) {
                var member = self.members[place]
                member.target = target
                members.append(member)
                origins.append(place)
            } else {
                self.lastSerial += 1
                var breaker = CircuitBreaker(self.policy.breaker ?? .never)
                if self.isolated.contains(target.id) { breaker.isolate() }
                members.append(
                    Member(
                        target: target,
                        place: target.endpoint.description,
                        serial: self.lastSerial,
                        breaker: breaker
                    )
                )
                origins.append(nil)
            }
        }
        self.members = members
        self.places = Dictionary(members.enumerated().map { ($1.serial, $0) }, uniquingKeysWith: { first, _ in first })
        self.lookedAt = nil
        self.balancer.rearrange(members.map { ($0.target.id, $0.target.weight) }, from: origins)
        self.detector?.rearrange(origins)
    }

    package var count: Int { self.members.count }

    private func place(of serial: UInt64, hint: Int) -> Int? {
        if hint < self.members.count, self.members[hint].serial == serial { return hint }
        return self.places[serial]
    }

    /// Chooses the instance of a try, and counts the try as under way.
    ///
    /// - Parameters:
    ///   - tried: serials of the instances that this call has failed at.
    ///   - chance: 64 uniform bits.
    package mutating func pick(
        avoiding tried: [UInt64],
        key: UInt64?,
        at now: Moment,
        chance: UInt64
    ) -> Pick {
        guard !self.members.isEmpty else { return .nobody }
        self.look(at: now)
        let choice: Int?
        if self.isCalm, tried.isEmpty {
            choice = self.balancer.pick(at: now, chance: chance, key: key, accepts: { _ in true })
        } else {
            let isPanic = self.isPanic(at: now)
            choice = Self.choose(
                &self.balancer,
                from: self.members,
                detector: isPanic ? nil : self.detector,
                ignoringBreakers: isPanic,
                avoiding: tried,
                key: key,
                at: now,
                chance: chance
            )
        }
        guard let place = choice else { return .unavailable(until: self.firstReturn(after: now)) }
        let state = self.members[place].breaker.state(at: now)
        var permit = CircuitBreaker.Permit.unasked
        if case .admitted(let given) = self.members[place].breaker.admit(at: now) { permit = given }
        self.balancer.begin(place)
        return .picked(
            Ticket(
                target: self.members[place].target,
                place: self.members[place].place,
                breaker: state,
                serial: self.members[place].serial,
                hint: place,
                permit: permit,
                began: now
            )
        )
    }

    /// Looks at all instances after a change; and, as long as one is in trouble, once a second, for times run out.
    private mutating func look(at now: Moment) {
        if let lookedAt, self.isCalm || lookedAt.duration(to: now) < .seconds(1) { return }
        self.lookedAt = now
        self.isCalm = self.members.indices.allSatisfy {
            self.members[$0].breaker.isClosed && self.standing(of: $0, at: now) == .available
        }
    }

    /// Static, so that the balancer is changed while the members are read, and neither is copied.
    private static func choose(
        _ balancer: inout LoadBalancer,
        from members: [Member],
        detector: OutlierDetector?,
        ignoringBreakers: Bool,
        avoiding tried: [UInt64],
        key: UInt64?,
        at now: Moment,
        chance: UInt64
    ) -> Int? {
        func may(_ place: Int) -> Bool {
            guard members[place].quarantine.isOver(at: now) else { return false }
            if ignoringBreakers { return members[place].breaker.state(at: now) != .isolated }
            return members[place].breaker.allows(at: now)
        }
        func isIn(_ place: Int) -> Bool { detector.map { !$0.isEjected(place, at: now) } ?? true }
        if let place = balancer.pick(
            at: now,
            chance: chance,
            key: key,
            accepts: { may($0) && isIn($0) && (tried.isEmpty || !tried.contains(members[$0].serial)) }
        ) {
            return place
        }
        // Not the one that has just failed, if another one failed earlier.
        if let last = tried.last,
            let place = balancer.pick(
                at: now,
                chance: chance,
                key: key,
                accepts: { may($0) && isIn($0) && members[$0].serial != last }
            )
        {
            return place
        }
        return balancer.pick(at: now, chance: chance, key: key, accepts: { may($0) && isIn($0) })
            ?? balancer.pick(at: now, chance: chance, key: key, accepts: may)
    }

    private func isPanic(at now: Moment) -> Bool {
        let percent = min(max(0, self.policy.panicPercent), 100)
        guard percent > 0 else { return false }
        let good = self.members.indices.count { self.standing(of: $0, at: now) == .available }
        return good * 100 < percent * self.members.count
    }

    private func firstReturn(after now: Moment) -> Moment? {
        self.members.compactMap { member in
            if member.breaker.isIsolated { return nil }
            // The later of both; what is over, and a probe that is under way, say nothing.
            return [member.quarantine.until, member.breaker.opensUntil].compactMap(\.self).filter { $0 > now }.max()
        }.min()
    }

    /// The outcome of a try; each ticket is brought back once.
    ///
    /// - Parameter chance: uniform in 0..<1.
    package mutating func end(
        _ ticket: Ticket,
        _ health: InstanceHealth,
        at now: Moment,
        chance: Double
    ) -> [PoolChange] {
        // Gone while it was asked: what it did says nothing about anybody who is there now.
        guard let place = self.place(of: ticket.serial, hint: ticket.hint) else { return [] }
        self.balancer.end(place, took: ticket.began.duration(to: now), health: health, at: now)
        var changes: [PoolChange] = []
        if health == .foreign {
            if self.members[place].quarantine.begin(self.policy.identity, at: now, chance: chance) {
                changes.append(.init(instance: ticket.target.id, now: .quarantined))
            }
        } else if health == .well {
            self.members[place].quarantine.end()
        }
        if let state = self.members[place].breaker.record(health, ticket.permit, at: now, chance: chance) {
            changes.append(.init(instance: ticket.target.id, now: state == .open ? .open : .available))
        }
        for ejected in self.detector?.record(health, of: place, at: now) ?? [] {
            changes.append(.init(instance: self.members[ejected].target.id, now: .ejected))
        }
        if !changes.isEmpty { self.lookedAt = nil }
        return changes
    }
}

/// An instance stands otherwise than before.
package struct PoolChange: Equatable, Sendable {
    package var instance: String
    package var now: InstanceStanding
}

/// Whether an instance gets calls, and why not.
public enum InstanceStanding: String, Sendable, Hashable, Codable, CaseIterable {
    /// It gets calls.
    case available
    /// It is being tried after an opening; other calls wait for what comes of it.
    case probed
    /// Its breaker is open.
    case open
    /// It does worse than the others; it gets calls when nobody else is left.
    case ejected
    /// Somebody else answers at its address.
    case quarantined
    /// A person took it out.
    case isolated
}

// MARK: - By hand, and to look at

extension InstancePool {
    /// Takes an instance out until ``release(_:)``, also if it is not known yet.
    ///
    /// - Returns: `false` when ``maxIsolated`` are taken out already.
    package mutating func isolate(_ id: String) -> Bool {
        guard self.isolated.count < Self.maxIsolated || self.isolated.contains(id) else { return false }
        self.isolated.insert(id)
        self.lookedAt = nil
        for place in self.members.indices where self.members[place].target.id == id {
            self.members[place].breaker.isolate()
        }
        return true
    }

    /// - Returns: whether it was isolated.
    package mutating func release(_ id: String) -> Bool {
        self.lookedAt = nil
        for place in self.members.indices where self.members[place].target.id == id {
            self.members[place].breaker.release()
        }
        return self.isolated.remove(id) != nil
    }

    func standing(of place: Int, at now: Moment) -> InstanceStanding {
        let member = self.members[place]
        if member.breaker.isIsolated { return .isolated }
        if !member.quarantine.isOver(at: now) { return .quarantined }
        if !member.breaker.allows(at: now) { return member.breaker.opensUntil == nil ? .probed : .open }
        return self.detector?.isEjected(place, at: now) == true ? .ejected : .available
    }

    /// The first few instances and how they stand.
    package func considered(at now: Moment) -> [CallExplanation.Considered] {
        self.members.indices.prefix(Self.maxConsidered).map { place in
            let target = self.members[place].target
            return CallExplanation.Considered(
                instance: target.id,
                endpoint: target.endpoint.description,
                standing: self.standing(of: place, at: now)
            )
        }
    }

    package func snapshot(at now: Moment) -> [ResilienceSnapshot.Instance] {
        self.members.indices.map { place in
            let member = self.members[place]
            let standing = self.standing(of: place, at: now)
            let until: Moment? =
                switch standing {
                case .open: member.breaker.opensUntil
                case .ejected: self.detector?.ejectedUntil(place)
                case .quarantined: member.quarantine.until
                case .available, .probed, .isolated: nil
                }
            return ResilienceSnapshot.Instance(
                id: member.target.id,
                endpoint: member.target.endpoint.description,
                standing: standing,
                breaker: member.breaker.state(at: now),
                millisecondsLeft: until.map { max(0, now.duration(to: $0).inMilliseconds) },
                openings: member.breaker.openings,
                ejections: self.detector?.ejections(of: place) ?? 0,
                inFlight: self.balancer.inFlight(at: place)
            )
        }
    }
}
