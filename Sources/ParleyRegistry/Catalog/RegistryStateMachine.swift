internal import ParleyCore

/// Everything that the registry knows, and what follows from each change: who is woken, what goes to disk, which checks
/// begin and end. Without I/O, clock or chance.
///
/// **Index.** Each change that somebody could see takes the next ``index``. What can be asked for has an index of its
/// own, that of the last change which touched it (``index(of:)``), so that a change wakes those whom it concerns. An
/// index never goes back: a service that is gone answers with the index of the last one that went (``extinction``), and
/// after a restart nothing answers with less than ``floor``.
struct RegistryStateMachine: Sendable {
    /// What one question is about; a change touches some of them.
    enum Topic: Hashable, Sendable {
        /// Which services there are, and their tags.
        case services
        case nodes
        case checks
        /// Instances, and the state, of the service with this name, in lower case.
        case service(String)
        case node(String)
        case kv(String)
        case kvPrefix(String)
        /// What never changes.
        case nothing
    }

    typealias WatcherID = UInt64

    /// What the shell must do after a change.
    struct Effects: Sendable, Equatable {
        var woken: [WatcherID] = []
        /// What differs from the disk.
        var dirty: Set<RecordKey> = []
        /// Checks whose plan is new or another.
        var planned: Set<NodeItemKey> = []
        var unplanned: Set<NodeItemKey> = []

        mutating func merge(_ other: Effects) {
            self.woken += other.woken
            self.dirty.formUnion(other.dirty)
            for key in other.planned { self.unplanned.remove(key) }
            for key in other.unplanned { self.planned.remove(key) }
            self.planned.formUnion(other.planned)
            self.unplanned.formUnion(other.unplanned)
        }
    }

    /// One row on disk, byte for byte: SQLite takes two spellings of `é` for two texts, Swift for one. What is known is
    /// found by either; each row is found by its own only.
    enum RecordKey: Hashable, Sendable {
        case node(String)
        case service(NodeItemKey)
        case check(NodeItemKey)
        case kv(String)
        case indexes

        private var parts: (kind: Int, node: String, id: String) {
            switch self {
            case .node(let name): (0, name, "")
            case .service(let key): (1, key.node, key.id)
            case .check(let key): (2, key.node, key.id)
            case .kv(let key): (3, "", key)
            case .indexes: (4, "", "")
            }
        }

        static func == (lhs: RecordKey, rhs: RecordKey) -> Bool {
            let (lhs, rhs) = (lhs.parts, rhs.parts)
            return lhs.kind == rhs.kind && lhs.id.utf8.elementsEqual(rhs.id.utf8)
                && lhs.node.utf8.elementsEqual(rhs.node.utf8)
        }

        func hash(into hasher: inout Hasher) {
            var (kind, node, id) = self.parts
            hasher.combine(kind)
            node.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
            hasher.combine(0xFF as UInt8)
            id.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
        }
    }

    /// One change while it is being made.
    struct Change {
        let index: UInt64
        var topics: Set<Topic> = []
        /// Services whose checks are others now; a node is one with an empty id.
        var judged: Set<NodeItemKey> = []
        var effects = Effects()
    }

    struct NameGroup: Sendable {
        var members: Set<NodeItemKey> = []
        var index: UInt64 = 0
    }

    let limits: RegistryLimits
    /// The node that this registry is the agent of.
    let localNode: String

    private(set) var index: UInt64
    /// After a restart, what was known before may have had any index up to here.
    let floor: UInt64
    /// Moves with everything that an answer could show, also with what wakes nobody.
    private(set) var version: UInt64 = 0

    var nodes: [String: NodeRecord] = [:]
    var services: [NodeItemKey: ServiceRecord] = [:]
    var checks: [NodeItemKey: CheckRecord] = [:]
    var names: [String: NameGroup] = [:]
    var servicesOfNode: [String: Set<String>] = [:]
    /// By the services' own addresses and the nodes', and by the nodes' names in lower case: for those who ask often,
    /// from anywhere.
    var servicesAt: [String: Set<NodeItemKey>] = [:]
    var nodesAt: [String: Set<String>] = [:]
    var nodesNamed: [String: Set<String>] = [:]
    /// By service; those of a node are under the empty id.
    var checksOfService: [NodeItemKey: Set<String>] = [:]
    /// Checks that follow another service, by that service.
    var followers: [NodeItemKey: Set<NodeItemKey>] = [:]
    var kv: [String: KVRecord] = [:]
    /// Of all keys and values.
    var kvBytes = 0

    var servicesIndex: UInt64 = 0
    var nodesIndex: UInt64 = 0
    var checksIndex: UInt64 = 0
    var kvIndex: UInt64 = 0
    var kvDeletionIndex: UInt64 = 0
    var nodeIndexes: [String: UInt64] = [:]
    var extinction: UInt64 = 0

    private var nextWatcher: WatcherID = 0
    private var watchers: [WatcherID: Topic] = [:]
    private var waiting: [Topic: Set<WatcherID>] = [:]
    /// Few: one for each prefix that somebody watches.
    private var watchedPrefixes: Set<String> = []

    /// - Parameter floor: All indexes that were ever seen are at most this.
    init(localNode: String, limits: RegistryLimits, floor: UInt64 = 0) {
        self.localNode = localNode
        self.limits = limits
        self.floor = floor
        self.index = floor
    }

    // MARK: Indexes

    /// The index that an answer about `topic` carries; at least 1, because 0 means "do not wait".
    func index(of topic: Topic) -> UInt64 {
        let index =
            switch topic {
            case .services: self.servicesIndex
            case .nodes: self.nodesIndex
            case .checks: self.checksIndex
            case .service(let name): self.names[name]?.index ?? self.extinction
            case .node(let name): self.nodeIndexes[name] ?? self.nodesIndex
            case .kv(let key): self.kv[key]?.modifyIndex ?? self.kvIndex
            case .kvPrefix(let prefix): self.kvIndex(ofPrefix: prefix)
            case .nothing: UInt64(0)
            }
        return max(index, self.floor, 1)
    }

    // MARK: Watching

    var watcherCount: Int { self.watchers.count }

    /// - Returns: `nil` when ``RegistryLimits/maximumWatchers`` wait already.
    mutating func watch(_ topic: Topic) -> WatcherID? {
        guard self.watchers.count < self.limits.maximumWatchers else { return nil }
        self.nextWatcher += 1
        self.watchers[self.nextWatcher] = topic
        self.waiting[topic, default: []].insert(self.nextWatcher)
        if case .kvPrefix(let prefix) = topic { self.watchedPrefixes.insert(prefix) }
        return self.nextWatcher
    }

    mutating func unwatch(_ id: WatcherID) {
        guard let topic = self.watchers.removeValue(forKey: id) else { return }
        self.waiting[topic]?.remove(id)
        if self.waiting[topic]?.isEmpty == true { self.forget(topic) }
    }

    private mutating func forget(_ topic: Topic) {
        self.waiting[topic] = nil
        if case .kvPrefix(let prefix) = topic { self.watchedPrefixes.remove(prefix) }
    }

    // MARK: Changing

    func beginChange() -> Change { Change(index: self.index + 1) }

    /// Ends a change. One that touched nothing takes no index and wakes nobody.
    mutating func commit(_ change: Change) -> Effects {
        var change = change
        self.refreshAliases(&change)
        if !change.effects.dirty.isEmpty { self.version += 1 }
        guard !change.topics.isEmpty else { return change.effects }
        self.index = change.index
        change.effects.dirty.insert(.indexes)
        for topic in change.topics { self.touch(topic, change.index) }
        for topic in change.topics {
            self.wake(topic, &change.effects)
            if case .kv(let key) = topic {
                for prefix in self.watchedPrefixes where key.hasPrefix(prefix) {
                    self.wake(.kvPrefix(prefix), &change.effects)
                }
            }
        }
        change.effects.woken.sort()
        return change.effects
    }

    private mutating func touch(_ topic: Topic, _ index: UInt64) {
        switch topic {
        case .services: self.servicesIndex = index
        case .nodes: self.nodesIndex = index
        case .checks: self.checksIndex = index
        case .service(let name): self.names[name]?.index = index
        case .node(let name): if self.nodes[name] != nil { self.nodeIndexes[name] = index }
        case .kv, .kvPrefix: self.kvIndex = index
        case .nothing: break
        }
    }

    private mutating func wake(_ topic: Topic, _ effects: inout Effects) {
        guard let ids = self.waiting[topic] else { return }
        self.forget(topic)
        for id in ids { self.watchers[id] = nil }
        effects.woken += ids
    }
}
