internal import Logging
internal import NIOCore
internal import NIOPosix
internal import ParleyCore
internal import ParleyHTTPClient
internal import Synchronization

/// The active checks of one upstream: each instance at its own time, a few at once.
struct HealthChecker: Sendable {
    /// How many instances of an upstream are asked at the same time.
    static let concurrency = 16

    let upstream: Upstream
    let rules: HealthCheckRules
    let probe: HealthProbe
    let shared: GatewayShared

    func run() async {
        var schedule = CheckSchedule(rules: self.rules)
        while !Task.isCancelled {
            let now = MonotonicTime.milliseconds
            let states = self.upstream.group.states(now: now)
            let due = schedule.due(
                states.filter { $0.standing != .down }.map(\.id),
                now: now,
                limit: Self.concurrency
            ) { self.shared.random.next() }
            await withTaskGroup(of: Void.self) { group in
                for state in states where due.contains(state.id) {
                    group.addTask { await self.check(state) }
                }
            }
            let wait = schedule.wait(now: MonotonicTime.milliseconds)
            guard (try? await self.shared.time.sleep(for: .milliseconds(wait))) != nil else { return }
        }
    }

    private func check(_ state: PeerState) async {
        let hasPassed = await self.probe.hasPassed(state.peer)
        guard !Task.isCancelled else { return }
        let change = self.upstream.group.recordCheck(
            of: state.id,
            hasPassed: hasPassed,
            now: MonotonicTime.milliseconds
        )
        guard let change else { return }
        self.shared.countHealthChange()
        let metadata: Logger.Metadata = [
            "upstream": "\(self.upstream.model.name)", "instance": "\(state.peer.name)",
        ]
        switch change {
        case .becameHealthy: self.shared.logger.notice("an instance is well again", metadata: metadata)
        case .becameUnhealthy:
            self.shared.logger.warning("an instance fails its checks and gets no requests", metadata: metadata)
        }
    }
}

/// When which instance is asked next. Pure.
struct CheckSchedule: Sendable {
    private let rules: HealthCheckRules
    private var next: [PeerID: Int64] = [:]

    /// How often it is looked whether there are other instances.
    static let longestWait: Int64 = 1_000

    init(rules: HealthCheckRules) {
        self.rules = rules
    }

    /// Those whose time has come, at most `limit`, and sets their next time. New ones begin somewhere within the
    /// interval, so that they are not asked all at once.
    mutating func due(_ members: [PeerID], now: Int64, limit: Int, chance: () -> UInt64) -> Set<PeerID> {
        var kept: [PeerID: Int64] = [:]
        var due = Set<PeerID>()
        // Those that have waited longest are first.
        for member in members { kept[member] = self.next[member] ?? now &+ self.rules.firstDelay(chance: chance()) }
        let order = members.sorted { (kept[$0] ?? 0) < (kept[$1] ?? 0) }
        for member in order where due.count < limit && (kept[member] ?? .max) <= now {
            due.insert(member)
            kept[member] = now &+ self.rules.delay(chance: chance())
        }
        self.next = kept
        return due
    }

    /// Milliseconds until somebody is due.
    func wait(now: Int64) -> Int64 {
        let soonest = self.next.values.min() ?? .max
        guard soonest != .max else { return Self.longestWait }
        return min(max(soonest &- now, 1), Self.longestWait)
    }
}
