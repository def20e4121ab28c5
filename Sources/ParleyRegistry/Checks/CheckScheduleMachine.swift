internal import HeapModule
internal import ParleyCore

/// When which check is to be made, which sign of life is overdue, and which service has been critical for too long.
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

        static func < (lhs: Item, rhs: Item) -> Bool { (lhs.at, lhs.order) < (rhs.at, rhs.order) }
    }

    private let maximumRunning: Int
    private var entries: [NodeItemKey: Entry] = [:]
    private var queue = Heap<Item>()
    private var running = 0
    private var counter: UInt64 = 0

    init(maximumRunning: Int) {
        self.maximumRunning = max(1, maximumRunning)
    }

    /// When something comes due; `nil` when nothing will, or as many run as may.
    var nextDue: ContinuousClock.Instant? { self.running < self.maximumRunning ? self.queue.min?.at : nil }

    /// What waits for its time, stale items included.
    var queueCount: Int { self.queue.count }

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
        if old?.isRunning == true { self.running -= 1 }
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
        guard let entry = self.entries.removeValue(forKey: key) else { return }
        if entry.isRunning { self.running -= 1 }
        self.dropStaleItems()
    }

    /// Items of what is gone are dropped when they come up; when they are most of the queue, at once.
    private mutating func dropStaleItems() {
        guard self.queue.count > 64, self.queue.count > 2 * self.entries.count else { return }
        self.queue = Heap(
            self.queue.unordered.filter { self.entries[$0.key]?.generation == $0.generation }
        )
    }

    private mutating func enqueue(_ key: NodeItemKey) {
        guard var entry = self.entries[key], !entry.isQueued else { return }
        entry.isQueued = true
        self.entries[key] = entry
        self.queue.insert(Item(at: entry.dueAt, order: self.count(), key: key, generation: entry.generation))
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
        var due = Due()
        while self.running < self.maximumRunning, let item = self.queue.min, item.at <= now {
            self.queue.removeMin()
            guard var entry = self.entries[item.key], entry.generation == item.generation else { continue }
            entry.isQueued = false
            if entry.dueAt > now {
                // Its time was moved while it waited here.
                self.entries[item.key] = entry
                self.enqueue(item.key)
            } else if entry.plan.probe == .ttl {
                self.entries[item.key] = entry
                due.expired.append(item.key)
            } else {
                entry.isRunning = true
                self.entries[item.key] = entry
                self.running += 1
                due.probes.append(Probe(key: item.key, plan: entry.plan, generation: entry.generation))
            }
        }
        return due
    }

    /// A probe has ended; the next one comes an interval later.
    ///
    /// - Returns: The status to note; `nil` when it stays, or the check is another by now.
    mutating func finished(_ probe: Probe, _ status: CheckStatus, now: ContinuousClock.Instant) -> CheckStatus? {
        guard var entry = self.entries[probe.key], entry.generation == probe.generation, entry.isRunning else {
            return nil
        }
        self.running -= 1
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
