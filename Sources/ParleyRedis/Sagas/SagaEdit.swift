public import ParleyCore
public import ParleySagas

/// Somebody else than the store has changed the hash of a saga: with `HSET`, `HDEL` or `DEL`, for example.
///
/// Such a saga is parked: its status is `stuck`, nobody drives it, and whoever is at work on it at this moment can
/// write no more. That happens when a driver or an operator next writes to it or claims it, or when
/// ``RedisSagaStore/edits(limit:)`` looks. It stays so, also when the hash is put back by hand, until the edit is
/// accepted (``RedisSagaStore/accept(_:through:by:because:)``) or rejected
/// (``RedisSagaStore/reject(_:by:because:)``). Both are in the saga's history.
public struct SagaEdit: Sendable, Hashable {
    /// One field that is not as the store wrote it.
    public struct Change: Sendable, Hashable {
        public var field: String
        /// What the store wrote; `nil` when somebody has added the field.
        public var stored: String?
        /// What is there now, bytes that are not UTF-8 replaced; `nil` when somebody has removed it.
        public var edited: String?

        public init(field: String, stored: String?, edited: String?) {
            self.field = field
            self.stored = stored
            self.edited = edited
        }
    }

    /// What is at the key now.
    public struct Content: Sendable, Hashable, CustomStringConvertible {
        enum Kind: Hashable {
            case fields([String: [UInt8]])
            case foreign(String)
        }

        let kind: Kind

        /// `hash`, `nothing` (it was deleted), or what else is there: `list`, `hash of 5000 fields`.
        public var description: String {
            switch self.kind {
            case .fields(let fields): fields.isEmpty ? "nothing" : "hash"
            case .foreign(let type): type
            }
        }
    }

    /// The hash: `saga:order:123`.
    public var key: String
    /// As it is parked; one that had ended is as it ended.
    public var saga: SagaInstance
    /// By field; empty when the hash was put back by hand.
    public var changes: [Change]
    public var content: Content
    /// Who made the last step that the store knows of: a coordinator, or `an operator`; `nil` for one that has made
    /// none. Redis does not know who edited.
    public var storedBy: String?
    /// When that was.
    public var storedAt: Timestamp
    /// When the edit was noticed; it was made between ``storedAt`` and then. `nil` for a saga that had ended.
    public var noticedAt: Timestamp?
    /// How the saga goes on when the edit is rejected.
    package let before: SagaInstance
}

extension SagaEdit {
    /// `nil` when the record says nothing about a hash.
    init?(record: [String: [UInt8]], key recordKey: String, type: String, now: [String: [UInt8]]) throws {
        guard let key = record["mirror"].flatMap({ String(validating: $0, as: UTF8.self) }) else { return nil }
        func text(_ field: String) -> String? { record[field].map { String(decoding: $0, as: UTF8.self) } }
        func time(_ field: String) -> Timestamp? {
            text(field).flatMap { Int64($0) }.map { Timestamp(microseconds: $0) }
        }
        let saga = try SagaRecord.read(record, key: recordKey)
        var before = saga
        if record["edited_at"] != nil {
            before.status = text("before_status").flatMap { SagaStatus(rawValue: $0) } ?? .running
            before.reason = text("before_reason")
            before.dueAt = time("before_due")
        }
        let isReadable = type == "hash" || type == "none"
        let stored = record.filter { $0.key.hasPrefix("m:") }.map { (String($0.key.dropFirst(2)), $0.value) }
        let copy = Dictionary(stored) { first, _ in first }
        let names = isReadable ? Set(copy.keys).union(now.keys) : []
        self.init(
            key: key,
            saga: saga,
            changes: names.sorted().compactMap { name in
                guard copy[name] != now[name] else { return nil }
                return Change(
                    field: name,
                    stored: copy[name].map { String(decoding: $0, as: UTF8.self) },
                    edited: now[name].map { String(decoding: $0, as: UTF8.self) }
                )
            },
            content: Content(kind: isReadable ? .fields(now) : .foreign(type)),
            storedBy: text("written_by"),
            storedAt: time("before_updated_at") ?? saga.updatedAt,
            noticedAt: time("edited_at"),
            before: before
        )
    }
}
