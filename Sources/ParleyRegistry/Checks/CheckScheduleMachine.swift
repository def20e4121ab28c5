internal import HeapModule
internal import ParleyCore

/// When which check is to be made, which sign of life is overdue, and which service has been critical for too long.
///
/// Probes take slots: no more run at a time than there are, and no more against one host than its share, so that a host
/// that swallows everything delays its own checks and not those of others. Signs of life take none: they expire in time
/// however many probes hang.
struct CheckScheduleMachine: Sendable {
    /// A check to be made now.
    struct Probe: Sendable, Equatable {
        var key: NodeItemKey
        var plan: CheckPlan
        /// Tells the result of this plan from that of one that was replaced meanwhile.
        var generation: UInt64
    }

    /// What has come due.
    struct Due: Sendable, Equatable {
        var probes: [Probe] = []
        /// Signs of life that did not come.
        var expired: [NodeItemKey] = []
    }

    private struct Entry {
        var plan: CheckPlan
        var generation: UInt64
        var dueAt: ContinuousClock.Instant
        /// Whether the queue has an item for it; each entry has at most one, however often its time is moved.
        var isQueued = false
        var isRunning = false
        var thresholds: ThresholdMachine
        var criticalSince: ContinuousClock.Instant?
    }

    private struct Item: Comparable {
        var at: ContinuousClock.Instant
        var order: UInt64
        var key: NodeItemKey
        var generation: UInt64
        /// Whom the probe asks; empty for a sign of life.
        var host: String

        static func < (lhs: Item, rhs: Item) -> Bool { (lhs.at, lhs.order) < (rhs.at, rhs.order) }
    }

    private let maximumRunning: Int
    private let maximumRunningPerHost: Int
    private var entries: [NodeItemKey: Entry] = [:]
    private var probes = Heap<Item>()
    private var signsOfLife = Heap<Item>()
    /// What is due and waits for a slot of its host; each of these hosts has all its slots taken, or an item in
    /// `probes`.
    private var parked: [String: Heap<Item>] = [:]
    private var parkedCount = 0
    /// The hosts of the probes under way, by generation: a check that has gone, or has another plan, keeps the slot of
    /// its old probe until that has ended.
    private var running: [UInt64: String] = [:]
    private var runningOnHost: [String: Int] = [:]
    private var counter: UInt64 = 0

    /// - Parameter maximumRunningPerHost: `nil` lets one host have all slots.
    init(maximumRunning: Int, maximumRunningPerHost: Int? = nil) {
        self.maximumRunning = max(1, maximumRunning)
        self.maximumRunningPerHost = max(1, maximumRunningPerHost ?? self.maximumRunning)
    }

    /// When something comes due; `nil` when nothing will before a probe has ended or a check was begun.
    var nextDue: ContinuousClock.Instant? {
        let probe = self.running.count < self.maximumRunning ? self.probes.min?.at : nil
        guard let sign = self.signsOfLife.min?.at else { return probe }
        return probe.map { min($0, sign) } ?? sign
    }

    /// What waits for its time or a slot, stale items included.
    var queueCount: Int { self.probes.count + self.signsOfLife.count + self.parkedCount }

    /// Probes under way, those of checks that are gone included.
    var runningCount: Int { self.running.count }

    private mutating func count() -> UInt64 {
        self.counter += 1
        return self.counter
    }

    /// Begins a check, or goes on with another plan.
    ///
    /// - Parameter chance: in 0..<1; the first probe comes after this part of the interval, so that a registry that
    ///   starts with 10,000 checks does not make them all at once.
    mutating func plan(
        _ key: NodeItemKey,
        _ plan: CheckPlan,
        status: CheckStatus,
        now: ContinuousClock.Instant,
        chance: Double
    ) {
        let old = self.entries[key]
        let wait = plan.probe == .ttl ? plan.interval : plan.interval * chance
        var entry = Entry(
            plan: plan,
            generation: self.count(),
            dueAt: now.advanced(by: wait),
            thresholds: ThresholdMachine(plan)
        )
        entry.criticalSince = status == .critical ? (old?.criticalSince ?? now) : nil
        self.entries[key] = entry
        if case .alias = plan.probe { return }  // nobody has to look: it follows
        self.enqueue(key)
    }

    mutating func unplan(_ key: NodeItemKey) {
        guard self.entries.removeValue(forKey: key) != nil else { return }
        self.dropStaleItems()
    }

    /// Items of what is gone are dropped when they come up; when they are most of the queue, at once.
    private mutating func dropStaleItems() {
        guard self.queueCount > 64, self.queueCount > 2 * self.entries.count else { return }
        // Who waits for a slot comes up again and waits again.
        let probes = self.probes.unordered + self.parked.values.flatMap(\.unordered)
        self.parked = [:]
        self.parkedCount = 0
        self.probes = Heap(probes.filter(self.isCurrent))
        self.signsOfLife = Heap(self.signsOfLife.unordered.filter(self.isCurrent))
    }

    private func isCurrent(_ item: Item) -> Bool { self.entries[item.key]?.generation == item.generation }

    private mutating func enqueue(_ key: NodeItemKey) {
        guard var entry = self.entries[key], !entry.isQueued else { return }
        entry.isQueued = true
        self.entries[key] = entry
        let item = Item(
            at: entry.dueAt,
            order: self.count(),
            key: key,
            generation: entry.generation,
            host: entry.plan.probe.host
        )
        if entry.plan.probe == .ttl { self.signsOfLife.insert(item) } else { self.probes.insert(item) }
        self.dropStaleItems()
    }

    /// A sign of life: its time begins anew.
    ///
    /// - Returns: Whether there is such a check.
    mutating func signOfLife(_ key: NodeItemKey, now: ContinuousClock.Instant) -> Bool {
        guard let entry = self.entries[key], entry.plan.probe == .ttl else { return false }
        self.entries[key]?.dueAt = now.advanced(by: entry.plan.interval)
        self.enqueue(key)
        return true
    }

    /// Takes what is due, no more probes than there is room for.
    mutating func takeDue(now: ContinuousClock.Instant) -> Due {
        Due(probes: self.takeProbes(now: now), expired: self.takeExpired(now: now))
    }

    private mutating func takeExpired(now: ContinuousClock.Instant) -> [NodeItemKey] {
        var expired: [NodeItemKey] = []
        while let item = self.signsOfLife.min, item.at <= now {
            self.signsOfLife.removeMin()
            guard self.isCurrent(item), var entry = self.entries[item.key] else { continue }
            entry.isQueued = false
            self.entries[item.key] = entry
            if entry.dueAt > now {
                // Its time was moved while it waited here.
                self.enqueue(item.key)
            } else {
                expired.append(item.key)
            }
        }
        return expired
    }

    private mutating func takeProbes(now: ContinuousClock.Instant) -> [Probe] {
        var probes: [Probe] = []
        while self.running.count < self.maximumRunning, let item = self.probes.min, item.at <= now {
            self.probes.removeMin()
            guard self.isCurrent(item), var entry = self.entries[item.key] else {
                // It may have been the one that others of its host were waiting behind.
                self.unpark(item.host)
                continue
            }
            guard self.runningOnHost[item.host, default: 0] < self.maximumRunningPerHost else {
                self.parked[item.host, default: Heap()].insert(item)
                self.parkedCount += 1
                continue
            }
            entry.isQueued = false
            entry.isRunning = true
            self.entries[item.key] = entry
            self.running[entry.generation] = item.host
            self.runningOnHost[item.host, default: 0] += 1
            probes.append(Probe(key: item.key, plan: entry.plan, generation: entry.generation))
        }
        return probes
    }

    /// A slot of the host is free: the one that has waited longest is due again.
    private mutating func unpark(_ host: String) {
        while let item = self.parked[host]?.popMin() {
            self.parkedCount -= 1
            guard self.isCurrent(item) else { continue }
            self.probes.insert(item)
            break
        }
        if self.parked[host]?.isEmpty == true { self.parked[host] = nil }
    }

    /// A probe has ended; the next one comes an interval later.
    ///
    /// - Returns: The status to note; `nil` when it stays, or the check is another by now.
    mutating func finished(_ probe: Probe, _ status: CheckStatus, now: ContinuousClock.Instant) -> CheckStatus? {
        guard let host = self.running.removeValue(forKey: probe.generation) else { return nil }
        let left = self.runningOnHost[host, default: 1] - 1
        self.runningOnHost[host] = left > 0 ? left : nil
        self.unpark(host)
        guard var entry = self.entries[probe.key], entry.generation == probe.generation, entry.isRunning else {
            return nil
        }
        entry.isRunning = false
        entry.dueAt = now.advanced(by: entry.plan.interval)
        let noted = entry.thresholds.result(status)
        self.entries[probe.key] = entry
        self.enqueue(probe.key)
        return noted
    }

    /// The check's status is this now.
    mutating func noted(_ key: NodeItemKey, _ status: CheckStatus, now: ContinuousClock.Instant) {
        guard let since = self.entries[key]?.criticalSince else {
            if status == .critical { self.entries[key]?.criticalSince = now }
            return
        }
        self.entries[key]?.criticalSince = status == .critical ? since : nil
    }

    /// The checks that have been critical for longer than their service may be.
    ///
    /// - Parameter minimum: A shorter time counts as this.
    func overdue(now: ContinuousClock.Instant, minimum: Duration) -> [NodeItemKey] {
        self.entries.compactMap { key, entry in
            guard let limit = entry.plan.deregisterAfter, let since = entry.criticalSince,
                since.duration(to: now) > max(limit, minimum)
            else { return nil }
            return key
        }.sorted()
    }
}
