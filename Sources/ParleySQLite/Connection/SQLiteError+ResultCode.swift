internal import GRDB
internal import GRDBSQLite
internal import ParleyCore

extension SQLiteError {
    /// What SQLite's result code means for the caller. `detail` is SQLite's own sentence, `sql` the statement it spoke
    /// of.
    static func from(resultCode: CInt, detail: String, path: String, sql: String? = nil) -> SQLiteError {
        let statement = sql.map { "; statement: \($0.prefix(200))" } ?? ""
        let what = "SQLite \(resultCode): \(detail)\(statement)"
        func error(_ code: Code, _ advice: String, retry: RetrySafety = .permanent) -> SQLiteError {
            SQLiteError(code, path: path, advice.isEmpty ? what : "\(what); \(advice)", retry: retry)
        }
        // The low byte is the primary code; the rest tells the variants of one apart.
        switch resultCode & 0xFF {
        case SQLITE_NOTADB:
            return error(.notADatabase, "choose another path, or move the file away")
        case SQLITE_CORRUPT:
            return error(.corrupt, "restore a backup, or save what is left with 'sqlite3 <file> .recover'")
        case SQLITE_FULL:
            return error(.diskFull, "nothing of this transaction was stored; make room and try again", retry: .notSent)
        case SQLITE_BUSY, SQLITE_LOCKED:
            return error(.busy, "another process holds the write lock; find it, or raise busyLimit", retry: .notSent)
        case SQLITE_READONLY:
            return error(.cannotOpen, "the file, its folder or this connection is read-only")
        case SQLITE_CANTOPEN, SQLITE_PERM, SQLITE_AUTH:
            return error(.cannotOpen, "check the rights of the file and its folder")
        case SQLITE_IOERR:
            return error(.inputOutput, "see the system's log for the disk", retry: .mayHaveRun)
        case SQLITE_NOMEM:
            return error(.inputOutput, "out of memory", retry: .notSent)
        case SQLITE_INTERRUPT, SQLITE_ABORT:
            return error(.statement, "", retry: .notSent)
        case SQLITE_CONSTRAINT:
            return error(.constraint, "")
        default:
            return error(.statement, "")
        }
    }

    /// GRDB's errors become ours; all others, a caller's own among them, pass through.
    static func wrapping(_ error: any Error, path: String) -> any Error {
        guard let error = error as? DatabaseError else { return error }
        return SQLiteError.from(
            resultCode: error.extendedResultCode.rawValue,
            detail: error.message ?? "no message",
            path: path,
            sql: error.sql
        )
    }
}
