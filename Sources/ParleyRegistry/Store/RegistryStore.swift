internal import Logging
internal import ParleyCore
internal import ParleySQLite

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// The registry's rows in a SQLite file.
///
/// **Indexes never go back**, although the index moves without a write for each change: the file holds a ceiling that
/// no index has passed. It is raised when half of its room is used; a registry that starts begins at it.
struct RegistryStore: Sendable {
    /// So many changes may pass while the disk refuses; beyond, a crash could take the index back.
    static let ceilingStep: UInt64 = 100_000

    private enum Kind: Int64 {
        case ceiling = 0
        case node = 1
        case service = 2
        case check = 3
        case entry = 4
    }

    let backend: SQLiteBackend

    static func open(path: String, time: any TimeSource, logger: Logger) async throws -> RegistryStore {
        let backend = try await SQLiteBackend(path: path, time: time, logger: logger)
        do {
            try await backend.migrate(
                "parley_registry-1",
                [
                    """
                    CREATE TABLE parley_registry (
                        kind INTEGER NOT NULL, node TEXT NOT NULL, id TEXT NOT NULL, record TEXT NOT NULL, value BLOB,
                        PRIMARY KEY (kind, node, id)
                    ) WITHOUT ROWID
                    """
                ]
            )
        } catch {
            await backend.close()
            throw error
        }
        return RegistryStore(backend: backend)
    }

    /// The row that says which indexes were seen says none that could have been.
    struct DamagedCeiling: Error, CustomStringConvertible {
        var text: String
        var description: String { "the ceiling of the indexes is \"\(self.text.prefix(64))\"" }
    }

    /// Far beyond what changes can reach, and far from where adding to it would overflow.
    private static let maximumCeiling: UInt64 = 1 << 62

    private static func ceiling(_ text: String) throws(DamagedCeiling) -> UInt64 {
        // To begin at 0 instead would take every index back.
        guard let ceiling = UInt64(text), ceiling <= self.maximumCeiling else { throw DamagedCeiling(text: text) }
        return ceiling
    }

    /// Reads everything, and raises the ceiling above all indexes that were seen before.
    func load() async throws -> (saved: RegistryStateMachine.Saved, floor: UInt64) {
        try await self.backend.withTransaction { transaction in
            var saved = RegistryStateMachine.Saved()
            var floor: UInt64 = 0
            let decoder = JSONDecoder()
            for row in try transaction.query("SELECT kind, record, value FROM parley_registry", []) {
                guard let kind = row[0].integer.flatMap(Kind.init(rawValue:)), let text = row[1].text else { continue }
                let data = Data(text.utf8)
                switch kind {
                case .ceiling: floor = max(floor, try Self.ceiling(text))
                case .node: saved.nodes.append(try decoder.decode(NodeRecord.self, from: data))
                case .service: saved.services.append(try decoder.decode(ServiceRecord.self, from: data))
                case .check: saved.checks.append(try decoder.decode(CheckRecord.self, from: data))
                case .entry:
                    var entry = try decoder.decode(KVRecord.self, from: data)
                    entry.value = row[2].blob ?? []
                    saved.entries.append(entry)
                }
            }
            try Self.put(.ceiling, "", "", "\(floor + Self.ceilingStep)", in: transaction)
            return (saved, floor)
        }
    }

    typealias Rows = [(key: RegistryStateMachine.RecordKey, record: RegistryStateMachine.SavedRecord?)]

    /// Writes what is there, removes what is not, and the ceiling, in one commit.
    func write(_ rows: Rows, ceiling: UInt64) async throws {
        try await self.backend.withTransaction { transaction in
            let encoder = JSONEncoder()
            for row in rows { try Self.write(row.key, row.record, encoder, in: transaction) }
            try Self.put(.ceiling, "", "", "\(ceiling)", in: transaction)
        }
    }

    private static func write(
        _ key: RegistryStateMachine.RecordKey,
        _ record: RegistryStateMachine.SavedRecord?,
        _ encoder: JSONEncoder,
        in transaction: any Transaction
    ) throws {
        func text(_ value: some Encodable) throws -> String {
            String(decoding: try encoder.encode(value), as: UTF8.self)
        }
        guard let (kind, node, id) = self.place(key) else { return }
        switch record {
        case .node(let record): try self.put(kind, node, id, text(record), in: transaction)
        case .service(let record): try self.put(kind, node, id, text(record), in: transaction)
        case .check(let record): try self.put(kind, node, id, text(record), in: transaction)
        case .entry(let record): try self.put(kind, node, id, text(record), record.value, in: transaction)
        case nil:
            try transaction.execute(
                "DELETE FROM parley_registry WHERE kind = ? AND node = ? AND id = ?",
                [.integer(kind.rawValue), .text(node), .text(id)]
            )
        }
    }

    private static func place(_ key: RegistryStateMachine.RecordKey) -> (Kind, node: String, id: String)? {
        switch key {
        case .node(let name): (.node, name, "")
        case .service(let key): (.service, key.node, key.id)
        case .check(let key): (.check, key.node, key.id)
        case .kv(let key): (.entry, "", key)
        case .indexes: nil
        }
    }

    private static func put(
        _ kind: Kind,
        _ node: String,
        _ id: String,
        _ record: String,
        _ value: [UInt8]? = nil,
        in transaction: any Transaction
    ) throws {
        try transaction.execute(
            "INSERT OR REPLACE INTO parley_registry (kind, node, id, record, value) VALUES (?, ?, ?, ?, ?)",
            [.integer(kind.rawValue), .text(node), .text(id), .text(record), value.map(SQLValue.blob) ?? .null]
        )
    }
}
