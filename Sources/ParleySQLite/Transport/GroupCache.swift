internal import ParleyCore
internal import ParleyMessaging
internal import Synchronization

/// The declared groups, kept in memory and read again when any process has declared one.
///
/// The version is read inside the same write transaction that uses the groups, so a message can never miss a group that
/// was declared before it.
final class GroupCache: Sendable {
    struct Entry: Sendable {
        let id: Int64
        let group: ConsumerGroup
    }

    private struct State {
        var version: Int64 = 0
        var entries: [Entry] = []
        /// Groups by topic: matching patterns costs more than the rows.
        var idsByTopic: [String: [Int64]] = [:]
    }

    private let state = Mutex(State())
    private static let maximumTopics = 1_024

    func ids(taking topics: [String], _ connection: SQLConnection) throws -> [[Int64]] {
        let version = try Self.version(connection)
        return try self.state.withLock { state in
            if state.version != version {
                state.entries = try Self.load(connection)
                state.idsByTopic = [:]
                state.version = version
            }
            return topics.map { topic in
                if let ids = state.idsByTopic[topic] { return ids }
                let ids = state.entries.filter { $0.group.takes(topic: topic) }.map(\.id)
                if state.idsByTopic.count >= Self.maximumTopics { state.idsByTopic.removeAll() }
                state.idsByTopic[topic] = ids
                return ids
            }
        }
    }

    static func version(_ connection: SQLConnection) throws -> Int64 {
        try connection.first("SELECT version FROM parley_groups_version WHERE id = 1") { $0.integer(0) } ?? 0
    }

    static func load(_ connection: SQLConnection) throws -> [Entry] {
        try connection.rows(
            "SELECT id, name, bindings, maximum_deliveries, lease_us FROM parley_group ORDER BY name"
        ) { try Self.entry($0, connection.path) }
    }

    static func find(_ name: String, _ connection: SQLConnection) throws -> Entry? {
        try connection.first(
            "SELECT id, name, bindings, maximum_deliveries, lease_us FROM parley_group WHERE name = ?",
            [.text(name)]
        ) { try Self.entry($0, connection.path) }
    }

    private static func entry(_ row: SQLRow, _ path: String) throws -> Entry {
        do {
            guard let bindings = JSONText.strings(row.text(2)) else {
                throw SQLiteError(.corruptRow, path: path, "'bindings' is no JSON array of strings")
            }
            let group = try ConsumerGroup(
                row.text(1),
                bindings: bindings,
                maximumDeliveries: row.int(3),
                lease: .microseconds(row.integer(4))
            )
            return Entry(id: row.integer(0), group: group)
        } catch {
            throw SQLiteError(
                .corruptRow,
                path: path,
                "parley_group, row \(row.integer(0)) cannot be read; declare the group again",
                cause: error
            )
        }
    }
}
