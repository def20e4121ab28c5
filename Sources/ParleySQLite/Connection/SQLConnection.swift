internal import GRDB
internal import GRDBSQLite
internal import ParleyCore

/// One connection, with its prepared statements, used on the one thread that GRDB allows for it.
///
/// GRDB opens, guards and closes the connection and prepares the statements. They are bound and stepped through
/// SQLite's own functions: the writer runs tens of thousands a second, and GRDB's rows and arguments would be copies in
/// between.
final class SQLConnection {
    let database: Database
    let path: String
    private let handle: OpaquePointer
    private var statements: [String: PreparedStatement] = [:]

    /// Programs that write values into their SQL text would make the cache grow for ever.
    private static let maximumStatements = 256

    /// Whether statements outlive this object, in GRDB's own cache: for the library's fixed texts on a pooled reader.
    private let isPooled: Bool

    init(_ database: Database, path: String, isPooled: Bool = false) throws {
        self.isPooled = isPooled
        guard let handle = database.sqliteConnection else {
            throw SQLiteError(.closed, path: path, "the connection is closed")
        }
        self.database = database
        self.path = path
        self.handle = handle
    }

    /// The file of a connection that somebody else has opened.
    static func path(of database: Database) -> String {
        guard let handle = database.sqliteConnection, let name = sqlite3_db_filename(handle, "main") else { return "" }
        return String(cString: name)
    }

    /// No transaction is open: none was begun, or SQLite has rolled it back by itself (disk full, I/O error).
    var isInAutocommit: Bool { sqlite3_get_autocommit(self.handle) != 0 }

    var lastInsertedRow: Int64 { sqlite3_last_insert_rowid(self.handle) }

    /// To be called before the connection is closed.
    func finalizeStatements() { self.statements.removeAll() }

    @discardableResult
    func execute(_ sql: String, _ arguments: [SQLValue] = []) throws -> Int {
        let statement = try self.prepare(sql)
        defer { statement.reset() }
        try self.bind(arguments, to: statement, sql)
        let changesBefore = sqlite3_total_changes(self.handle)
        while try self.step(statement, sql) {}
        // `sqlite3_changes` keeps its value over statements that change nothing, so the total tells those apart.
        return sqlite3_total_changes(self.handle) == changesBefore ? 0 : Int(sqlite3_changes(self.handle))
    }

    /// Calls `body` for each row; `body` must not use the same statement again.
    func forEachRow(_ sql: String, _ arguments: [SQLValue] = [], _ body: (SQLRow) throws -> Void) throws {
        let statement = try self.prepare(sql)
        defer { statement.reset() }
        try self.bind(arguments, to: statement, sql)
        while try self.step(statement, sql) { try body(SQLRow(statement: statement.handle)) }
    }

    func first<Value>(
        _ sql: String,
        _ arguments: [SQLValue] = [],
        _ body: (SQLRow) throws -> Value
    ) throws -> Value? {
        let statement = try self.prepare(sql)
        defer { statement.reset() }
        try self.bind(arguments, to: statement, sql)
        return try self.step(statement, sql) ? body(SQLRow(statement: statement.handle)) : nil
    }

    func rows<Value>(
        _ sql: String,
        _ arguments: [SQLValue] = [],
        _ body: (SQLRow) throws -> Value
    ) throws -> [Value] {
        var values: [Value] = []
        try self.forEachRow(sql, arguments) { values.append(try body($0)) }
        return values
    }

    func error(_ resultCode: CInt, sql: String? = nil) -> SQLiteError {
        let detail = sqlite3_errmsg(self.handle).map { String(cString: $0) } ?? "no message"
        return .from(resultCode: resultCode, detail: detail, path: self.path, sql: sql)
    }

    private func prepare(_ sql: String) throws -> PreparedStatement {
        if let statement = self.statements[sql] { return statement }
        if self.statements.count >= Self.maximumStatements { self.statements.removeAll() }
        do {
            let statement = PreparedStatement(
                try self.isPooled ? self.database.cachedStatement(sql: sql) : self.database.makeStatement(sql: sql)
            )
            self.statements[sql] = statement
            return statement
        } catch {
            throw SQLiteError.wrapping(error, path: self.path)
        }
    }

    private func step(_ statement: PreparedStatement, _ sql: String) throws -> Bool {
        switch sqlite3_step(statement.handle) {
        case SQLITE_ROW: return true
        case SQLITE_DONE: return false
        case let code: throw self.error(code, sql: sql)
        }
    }

    private func bind(_ arguments: [SQLValue], to statement: PreparedStatement, _ sql: String) throws {
        guard statement.parameterCount == arguments.count else {
            throw SQLiteError(
                .statement,
                path: self.path,
                "the statement has \(statement.parameterCount) parameters, \(arguments.count) values were given: "
                    + sql.prefix(200)
            )
        }
        for (index, argument) in zip(CInt(1)..., arguments) {
            let code = Self.bind(argument, to: statement.handle, at: index)
            if code != SQLITE_OK { throw self.error(code, sql: sql) }
        }
    }

    private static func bind(_ value: SQLValue, to statement: OpaquePointer, at index: CInt) -> CInt {
        switch value {
        case .null: return sqlite3_bind_null(statement, index)
        case .integer(let number): return sqlite3_bind_int64(statement, index, number)
        case .real(let number): return sqlite3_bind_double(statement, index, number)
        case .text(var text):
            return text.withUTF8 { bytes in
                bytes.withMemoryRebound(to: CChar.self) {
                    // An empty string has no address, and a null address would bind NULL.
                    guard let address = $0.baseAddress else {
                        return sqlite3_bind_text(statement, index, "", 0, copying)
                    }
                    return sqlite3_bind_text64(
                        statement,
                        index,
                        address,
                        UInt64($0.count),
                        copying,
                        UInt8(SQLITE_UTF8)
                    )
                }
            }
        case .blob(let bytes):
            if bytes.isEmpty { return sqlite3_bind_zeroblob(statement, index, 0) }
            return bytes.withUnsafeBytes {
                sqlite3_bind_blob64(statement, index, $0.baseAddress, UInt64($0.count), copying)
            }
        }
    }
}

/// `SQLITE_TRANSIENT`: SQLite copies the bytes before the call returns. A cast in C, so it does not come through.
private var copying: sqlite3_destructor_type { unsafeBitCast(-1, to: sqlite3_destructor_type.self) }

private final class PreparedStatement {
    private let statement: Statement
    let handle: OpaquePointer
    let parameterCount: Int

    init(_ statement: Statement) {
        self.statement = statement
        self.handle = statement.sqliteStatement
        self.parameterCount = Int(sqlite3_bind_parameter_count(statement.sqliteStatement))
    }

    func reset() {
        sqlite3_reset(self.handle)
        // Bound bodies of several megabytes must not stay in memory until the statement is used again.
        sqlite3_clear_bindings(self.handle)
    }
}

/// The row that a statement stands on. Columns are read as what the schema says they are; the tables are STRICT.
struct SQLRow {
    fileprivate let statement: OpaquePointer

    func integer(_ column: CInt) -> Int64 { sqlite3_column_int64(self.statement, column) }

    func int(_ column: CInt) -> Int { Int(clamping: self.integer(column)) }

    func isNull(_ column: CInt) -> Bool { sqlite3_column_type(self.statement, column) == SQLITE_NULL }

    func text(_ column: CInt) -> String {
        guard let address = sqlite3_column_text(self.statement, column) else { return "" }
        let count = Int(sqlite3_column_bytes(self.statement, column))
        return String(decoding: UnsafeBufferPointer(start: address, count: count), as: UTF8.self)
    }

    func optionalText(_ column: CInt) -> String? { self.isNull(column) ? nil : self.text(column) }

    func optionalInteger(_ column: CInt) -> Int64? { self.isNull(column) ? nil : self.integer(column) }

    func blob(_ column: CInt) -> [UInt8] {
        guard let address = sqlite3_column_blob(self.statement, column) else { return [] }
        return [UInt8](UnsafeRawBufferPointer(start: address, count: Int(sqlite3_column_bytes(self.statement, column))))
    }

    func timestamp(_ column: CInt) -> Timestamp { Timestamp(microseconds: self.integer(column)) }

    var values: [SQLValue] {
        (0..<sqlite3_column_count(self.statement)).map { column in
            switch sqlite3_column_type(self.statement, column) {
            case SQLITE_INTEGER: .integer(self.integer(column))
            case SQLITE_FLOAT: .real(sqlite3_column_double(self.statement, column))
            case SQLITE_TEXT: .text(self.text(column))
            case SQLITE_BLOB: .blob(self.blob(column))
            default: .null
            }
        }
    }
}
