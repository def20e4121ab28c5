/// A value that goes into or comes out of a database column.
public enum SQLValue: Sendable, Hashable {
    case null
    case integer(Int64)
    case real(Double)
    case text(String)
    case blob([UInt8])

    public var integer: Int64? { if case .integer(let value) = self { value } else { nil } }
    public var text: String? { if case .text(let value) = self { value } else { nil } }
    public var blob: [UInt8]? { if case .blob(let value) = self { value } else { nil } }
}

extension SQLValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByNilLiteral {
    public init(stringLiteral value: String) { self = .text(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(nilLiteral: ()) { self = .null }

    /// `nil` becomes ``null``.
    public static func optional(_ text: String?) -> SQLValue { text.map(SQLValue.text) ?? .null }
    public static func integer(_ value: Int) -> SQLValue { .integer(Int64(value)) }
}

/// One open database transaction: the two methods that business code, outbox, inbox, barrier and saga steps need so
/// that their rows commit together or not at all.
///
/// It is deliberately this small: an application that owns its database connection conforms a type of its own and keeps
/// its outbox in its own transaction. A transaction is used from one thread, inside the scope that handed it out.
public protocol Transaction: AnyObject {
    /// Runs one statement and says how many rows it changed.
    @discardableResult
    func execute(_ sql: String, _ arguments: [SQLValue]) throws -> Int
    /// Runs one query and returns its rows, columns in the order of the query.
    func query(_ sql: String, _ arguments: [SQLValue]) throws -> [[SQLValue]]
}

extension Transaction {
    @discardableResult
    public func execute(_ sql: String) throws -> Int { try self.execute(sql, []) }
    public func query(_ sql: String) throws -> [[SQLValue]] { try self.query(sql, []) }
}

/// Opens transactions.
public protocol TransactionRunner: Sendable {
    /// Runs `body` in a transaction; commits when it returns, rolls back when it throws.
    ///
    /// When this returns, the commit is as durable as the backend's settings promise. `body` is synchronous on purpose:
    /// a transaction that waits for the network holds everybody else's writes. It may run again when the backend
    /// reports a conflict, so it has no effects but on the transaction.
    func withTransaction<Value: Sendable>(
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value
}
