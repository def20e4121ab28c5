public import GRDB
public import ParleyCore

/// A ``Transaction`` on a SQLite connection.
///
/// ``SQLiteBackend/withTransaction(_:)`` hands them out. An application that has its own GRDB connection to the same
/// file makes one inside its own `write`, and its outbox rows commit with its own:
///
/// ```swift
/// try dbPool.write { db in
///     try order.insert(db)
///     try backend.outbox.append([created], in: SQLiteTransaction(db))
/// }
/// ```
/// The other side is then woken by its poll, up to a second later, because nobody rings for a foreign commit.
///
/// It is used on the thread and within the scope that handed it out; afterwards every call throws ``SQLiteError`` with
/// ``SQLiteError/Code/transactionOver``. Statements that begin or end transactions are refused.
public final class SQLiteTransaction: Transaction {
    private var connectionOrNil: SQLConnection?
    private let path: String
    /// Who is to be woken once this has committed.
    var rings = Rings()
    /// The error with which SQLite took the whole transaction back.
    private(set) var lossReason: (any Error)?

    /// A transaction that the application has begun and will end itself.
    public init(_ database: Database) throws {
        let path = SQLConnection.path(of: database)
        self.path = path
        self.connectionOrNil = try SQLConnection(database, path: path)
    }

    init(_ connection: SQLConnection) {
        self.path = connection.path
        self.connectionOrNil = connection
    }

    /// The connection, for the library's own statements.
    var connection: SQLConnection {
        get throws {
            guard let connection = self.connectionOrNil else {
                throw SQLiteError(
                    .transactionOver,
                    path: self.path,
                    "the transaction was used after its scope; do all its work inside the closure"
                )
            }
            return connection
        }
    }

    func end() { self.connectionOrNil = nil }

    @discardableResult
    public func execute(_ sql: String, _ arguments: [SQLValue]) throws -> Int {
        try self.refuseTransactionControl(sql)
        return try self.noticingLoss { try $0.execute(sql, arguments) }
    }

    public func query(_ sql: String, _ arguments: [SQLValue]) throws -> [[SQLValue]] {
        try self.refuseTransactionControl(sql)
        return try self.noticingLoss { try $0.rows(sql, arguments) { $0.values } }
    }

    /// Some errors, a full disk among them, make SQLite roll the whole transaction back. A caller that ignores the
    /// error must not go on outside of any transaction.
    private func noticingLoss<Value>(_ body: (SQLConnection) throws -> Value) throws -> Value {
        let connection = try self.connection
        do {
            return try body(connection)
        } catch {
            if connection.isInAutocommit {
                self.lossReason = error
                self.end()
            }
            throw error
        }
    }

    private static let controlWords: [String] = ["begin", "commit", "end", "rollback", "savepoint", "release"]

    /// Several callers share one commit: a COMMIT in the midst of one would make the others' halves permanent.
    private func refuseTransactionControl(_ sql: String) throws {
        let word = sql.utf8.drop { $0 <= 32 }.prefix(10).prefix { ($0 | 0x20) >= 97 && ($0 | 0x20) <= 122 }
        for control in Self.controlWords where word.count == control.utf8.count {
            guard zip(word, control.utf8).allSatisfy({ $0 | 0x20 == $1 }) else { continue }
            throw SQLiteError(
                .statement,
                path: self.path,
                "'\(control)' is not allowed here: return to commit, throw to roll back"
            )
        }
    }
}

// A transaction belongs to its connection's thread.
@available(*, unavailable)
extension SQLiteTransaction: Sendable {}
