public import ParleyCore
internal import ParleyRESP
internal import ParleySagas

/// A transaction on Redis or Valkey: reads now, writes when the scope ends, all of them or none.
///
/// ``RedisTransactionRunner`` hands it out. Reads see what this transaction has written before. Beside the stores that
/// take part in it (`RedisSagaStore`), it has strings and hashes for rows of the application's own:
///
/// ```swift
/// try await redis.withTransaction { tx in
///     guard let tx = tx as? RedisTransaction else { return }
///     try tx.setFields(["total": Array("1299".utf8)], in: "order:123")
/// }
/// ```
/// It is used within the scope that handed it out; afterwards every call throws ``RedisTransactionError`` with `over`.
/// It has no SQL: `execute` and `query` throw `noSQL`.
public final class RedisTransaction: Transaction {
    /// What a transaction may look at.
    enum Read: Hashable {
        case string(String)
        case hash(String)
    }

    enum Found: Hashable {
        case string([UInt8]?)
        case hash([String: [UInt8]])
    }

    /// What becomes of a key.
    private enum Change {
        case string([UInt8])
        case deleted
        /// Changed fields, `nil` for a removed one; `isNew` when there is nothing of the old hash below them.
        case fields([String: [UInt8]?], isNew: Bool)
    }

    /// The body ends here, and runs again when the server has been asked.
    private struct NotYetRead: Error {}

    /// The most reads and writes of one transaction: one script does them all, and nobody else is served meanwhile.
    static let maximumSteps = 10_000
    /// The most words, keys and field names and values together, that it hands to its script.
    static let maximumWords = 500_000

    private let found: [Read: Found]
    private var isOver = false
    private var changes: [String: Change] = [:]
    private var writes = ScriptArguments()
    private var writeCount = 0
    private var afterCommit: [@Sendable () -> Void] = []
    /// What this run wanted to know and nobody has read yet.
    private(set) var missing: Set<Read> = []
    /// What this run has relied on: unchanged at the end, or it runs again.
    private(set) var used: Set<Read> = []
    /// The sagas that it has created, by the key of their business key.
    var created: [String: SagaInstance] = [:]

    init(found: [Read: Found]) { self.found = found }

    func end() { self.isOver = true }

    // MARK: Reading

    /// The string at `key`, `nil` when there is none.
    public func string(_ key: String) throws -> [UInt8]? {
        try self.begin()
        switch self.changes[key] {
        case .string(let value): return value
        case .deleted: return nil
        case .fields: throw Self.wrongType(key, "a hash")
        case nil: break
        }
        guard case .string(let value) = try self.look(.string(key)) else { return nil }
        return value
    }

    /// The fields of the hash at `key`, none when there is no such key.
    public func hash(_ key: String) throws -> [String: [UInt8]] {
        try self.begin()
        var fields: [String: [UInt8]] = [:]
        var changed: [String: [UInt8]?] = [:]
        switch self.changes[key] {
        case .string: throw Self.wrongType(key, "a string")
        case .deleted: return [:]
        case .fields(let changes, true): return changes.compactMapValues { $0 }
        case .fields(let changes, false): changed = changes
        case nil: break
        }
        if case .hash(let stored) = try self.look(.hash(key)) { fields = stored }
        for (name, value) in changed { fields[name] = value }
        return fields
    }

    private func look(_ read: Read) throws -> Found {
        guard let found = self.found[read] else {
            self.missing.insert(read)
            throw NotYetRead()
        }
        self.used.insert(read)
        return found
    }

    // MARK: Writing

    /// Sets the string at `key`, whatever was there before.
    public func set(_ key: String, _ value: [UInt8]) throws {
        try self.write { $0.add("set", RESPArgument(key), RESPArgument(value)) }
        self.changes[key] = .string(value)
    }

    /// Sets fields of the hash at `key`; the others stay. The transaction fails when the key holds another type.
    public func setFields(_ fields: [String: [UInt8]], in key: String) throws {
        guard !fields.isEmpty else { return }
        try self.write { $0.add("fields", RESPArgument(key), fields: fields) }
        self.change(key, fields.mapValues { .some($0) })
    }

    /// Removes fields of the hash at `key`.
    public func removeFields(_ names: [String], in key: String) throws {
        guard !names.isEmpty else { return }
        try self.write {
            $0.add("remove", RESPArgument(key))
            $0.add(list: names.map { RESPArgument($0) })
        }
        self.change(key, Dictionary(names.map { ($0, nil) }) { first, _ in first })
    }

    /// Removes the key, whatever it holds.
    public func delete(_ key: String) throws {
        try self.write { $0.add("delete", RESPArgument(key)) }
        self.changes[key] = .deleted
    }

    private func change(_ key: String, _ fields: [String: [UInt8]?]) {
        switch self.changes[key] {
        case .fields(let before, let isNew):
            self.changes[key] = .fields(before.merging(fields) { $1 }, isNew: isNew)
        case .deleted: self.changes[key] = .fields(fields, isNew: true)
        case .string, nil: self.changes[key] = .fields(fields, isNew: false)
        }
    }

    func write(_ body: (inout ScriptArguments) -> Void) throws {
        try self.begin()
        self.writeCount += 1
        guard self.writeCount <= Self.maximumSteps else {
            throw RedisTransactionError(
                .tooLarge,
                "more than \(Self.maximumSteps) writes in one transaction; divide it"
            )
        }
        body(&self.writes)
        guard self.writes.words.count <= Self.maximumWords else {
            throw RedisTransactionError(.tooLarge, "more than \(Self.maximumWords) words in one transaction; divide it")
        }
    }

    func onCommit(_ step: @escaping @Sendable () -> Void) { self.afterCommit.append(step) }

    func didCommit() { for step in self.afterCommit { step() } }

    /// What the script has to do: first `leading`, then what must be unchanged, then the writes.
    func plan(leading: ScriptArguments, writes: Bool) -> ScriptArguments {
        var plan = leading
        for read in self.used {
            switch (read, self.found[read]) {
            case (.string(let key), .string(let value)?):
                plan.add("string?", RESPArgument(key), value == nil ? "0" : "1", RESPArgument(value ?? []))
            case (.hash(let key), .hash(let fields)?):
                plan.add("hash?", RESPArgument(key), fields: fields)
            default: break
            }
        }
        if writes { plan.add(self.writes) }
        return plan
    }

    // MARK: SQL

    public func execute(_ sql: String, _ arguments: [SQLValue]) throws -> Int { throw Self.noSQL }
    public func query(_ sql: String, _ arguments: [SQLValue]) throws -> [[SQLValue]] { throw Self.noSQL }

    private static let noSQL = RedisTransactionError(
        .noSQL,
        "a transaction on Redis has no SQL; use strings and hashes of RedisTransaction, or a database backend"
    )

    private static func wrongType(_ key: String, _ type: String) -> RedisTransactionError {
        RedisTransactionError(.wrongType, "this transaction has made '\(key)' \(type)")
    }

    private func begin() throws {
        guard !self.isOver else {
            throw RedisTransactionError(
                .over,
                "the transaction was used after its scope; do all its work inside the closure"
            )
        }
    }

    /// The transaction that a store was given.
    static func require(_ transaction: any Transaction) throws -> RedisTransaction {
        guard let own = transaction as? RedisTransaction else {
            throw RedisTransactionError(
                .foreignTransaction,
                "a store on Redis takes part only in transactions of RedisTransactionRunner"
            )
        }
        return own
    }
}

// It belongs to the run of its body.
@available(*, unavailable)
extension RedisTransaction: Sendable {}

/// The flat list of words that ``TransactionScript`` reads.
struct ScriptArguments: Sendable {
    private(set) var words: [RESPArgument] = []

    var isEmpty: Bool { self.words.isEmpty }

    mutating func add(_ words: RESPArgument...) { self.words += words }

    mutating func add(_ other: ScriptArguments) { self.words += other.words }

    mutating func add(words: [RESPArgument]) { self.words += words }

    /// The number of words, and they.
    mutating func add(list: [RESPArgument]) {
        self.words.append(RESPArgument(list.count))
        self.words += list
    }

    mutating func add(_ words: RESPArgument..., fields: [String: [UInt8]]) {
        self.words += words
        self.add(list: fields.sorted { $0.key < $1.key }.flatMap { [RESPArgument($0.key), RESPArgument($0.value)] })
    }
}
