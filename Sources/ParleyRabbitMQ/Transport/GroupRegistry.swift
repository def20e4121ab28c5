internal import ParleyCore
internal import ParleyMessaging
internal import Synchronization

/// Which consumer groups there are on the broker, and how they were last declared: a journal, because a broker cannot
/// be asked in AMQP for the bindings and limits of a group.
struct GroupRegistry: Sendable {
    struct Entry: Codable, Sendable {
        var group: String
        /// What it is bound to.
        var exchange: String?
        var bindings: [String]?
        var maximumDeliveries: Int?
        var leaseMilliseconds: Int64?
        /// The delay, in milliseconds, of a delay queue that the group has from now on.
        var rung: Int64?
    }

    private let known: KnownGroups
    let journal: Journal<Entry>

    /// - Parameter onChange: Hears of each declaration, by whichever process.
    init(link: BrokerLink, onChange: @escaping @Sendable (ConsumerGroup) -> Void) {
        let known = KnownGroups()
        self.known = known
        self.journal = Journal(
            GroupQueues.registry,
            link: link,
            retainedBytes: nil,
            onBeginning: {},
            onEntry: { if let group = known.learn($0) { onChange(group) } }
        )
    }

    /// What is known now; call ``Journal/sync()`` first for what others have declared.
    func find(_ name: String) -> KnownGroups.Group? { self.known.groups.withLock { $0[name] } }

    func all() -> [KnownGroups.Group] {
        self.known.groups.withLock { $0.values.sorted { $0.group.name < $1.group.name } }
    }

    func add(_ group: ConsumerGroup, boundTo exchange: String) async throws {
        try await self.journal.append([
            Entry(
                group: group.name,
                exchange: exchange,
                bindings: group.bindings.map(\.description),
                maximumDeliveries: group.maximumDeliveries,
                leaseMilliseconds: group.lease.inMilliseconds
            )
        ])
        try await self.journal.sync()
    }

    func add(rung milliseconds: Int64, of group: String) async throws {
        let entry = Entry(group: group, rung: milliseconds)
        try await self.journal.append([entry])
        _ = self.known.learn(entry)
    }
}

final class KnownGroups: Sendable {
    struct Group: Sendable {
        var group: ConsumerGroup
        var exchange: String
        /// The delays of its delay queues, in milliseconds.
        var rungs: Set<Int64> = []
    }

    let groups = Mutex<[String: Group]>([:])

    /// The group as it is now, if that is what the entry says.
    func learn(_ entry: GroupRegistry.Entry) -> ConsumerGroup? {
        self.groups.withLock { groups in
            if let rung = entry.rung {
                groups[entry.group]?.rungs.insert(rung)
                return nil
            }
            guard
                let group = try? ConsumerGroup(
                    entry.group,
                    bindings: entry.bindings ?? [],
                    maximumDeliveries: entry.maximumDeliveries ?? 10,
                    lease: .milliseconds(entry.leaseMilliseconds ?? 4_000)
                )
            else { return nil }
            let rungs = groups[entry.group]?.rungs ?? []
            groups[entry.group] = Group(group: group, exchange: entry.exchange ?? "", rungs: rungs)
            return group
        }
    }
}
