internal import ParleyCore

/// The application's own tables in the same file.
enum UserMigrations {
    /// Applies the statements once; `false` when they were applied before.
    static func apply(
        _ name: String,
        _ statements: [String],
        at now: Timestamp,
        _ transaction: SQLiteTransaction
    ) throws -> Bool {
        let connection = try transaction.connection
        let text = statements.joined(separator: ";\n")
        let applied = try connection.first(
            "SELECT sql FROM parley_migration WHERE name = ?",
            [.text(name)],
            { $0.text(0) }
        )
        if let applied {
            guard applied == text else {
                throw SQLiteError(
                    .changedMigration,
                    path: connection.path,
                    "the migration '\(name)' was applied with another text; add a new migration instead of changing it"
                )
            }
            return false
        }
        for statement in statements { try transaction.execute(statement) }
        try connection.execute(
            "INSERT INTO parley_migration (name, sql, applied_at) VALUES (?, ?, ?)",
            [.text(name), .text(text), .integer(now.microseconds)]
        )
        return true
    }
}
