internal import ParleyCore

/// The library's own tables, and how a file gets from one version of them to the next.
///
/// The version is the file's `user_version`; the file is ours when its `application_id` is
/// ``DatabaseOpening/applicationID``.
enum Schema {
    /// One entry for each version, in order; entries are never changed, only added.
    static let migrations: [[String]] = [
        SchemaVersion1.statements, ChoreographySchema.statements, EventSchema.statements,
    ]

    /// Refuses what is not ours or too new.
    static func check(_ connection: SQLConnection) throws {
        let tables = try connection.first("SELECT count(*) FROM sqlite_master") { $0.integer(0) } ?? 0
        let id = try connection.first("PRAGMA application_id") { $0.integer(0) } ?? 0
        let version = try Self.version(connection)
        if id == DatabaseOpening.applicationID {
            guard version <= Self.migrations.count else {
                throw SQLiteError(
                    .newerSchema,
                    path: connection.path,
                    "the file has schema \(version), this program knows \(Self.migrations.count); run the newer program"
                )
            }
            return
        }
        guard id == 0, tables == 0 else {
            throw SQLiteError(
                .foreignDatabase,
                path: connection.path,
                id == 0
                    ? "the file holds \(tables) tables and indexes of another program; choose another path"
                    : "the file belongs to another program (application_id \(id)); choose another path"
            )
        }
    }

    /// Brings the file to the newest version. Safe when several processes do it at once: the second finds it done.
    static func migrate(_ connection: SQLConnection) throws {
        if try connection.first("PRAGMA application_id", [], { $0.integer(0) }) == DatabaseOpening.applicationID,
            try Self.version(connection) == Self.migrations.count
        {
            return
        }
        try connection.execute("BEGIN IMMEDIATE")
        do {
            try Self.check(connection)
            for statements in try Self.migrations.dropFirst(Self.version(connection)) {
                for statement in statements { try connection.execute(statement) }
            }
            try connection.execute("PRAGMA application_id = \(DatabaseOpening.applicationID)")
            try connection.execute("PRAGMA user_version = \(Self.migrations.count)")
            try connection.execute("COMMIT")
        } catch {
            if !connection.isInAutocommit { _ = try? connection.execute("ROLLBACK") }
            throw error
        }
    }

    private static func version(_ connection: SQLConnection) throws -> Int {
        max(0, try connection.first("PRAGMA user_version") { $0.int(0) } ?? 0)
    }
}
