internal import Foundation
internal import ParleyCore
internal import ParleySagas

/// A saga as people read it with `HGETALL`: which key its hash has, and what its fields show.
///
/// ```
/// > HGETALL saga:order:123
/// state INVENTORY_RESERVED  order_id 123  inventory_reservation res_456  started_at 2026-11-23T09:15:00.250Z
/// ```
/// The hash is written in the same script as the saga, so it is never stale. It always has the field `state`.
public struct SagaHash: Sendable, Hashable {
    /// Where a field's value comes from.
    public struct Source: Sendable, Hashable {
        fileprivate enum Kind: Hashable {
            case businessKey, id, status, startedAt, updatedAt, reason
            case input(String)
            case output(String, String?)
        }

        fileprivate let kind: Kind

        public static let businessKey = Source(kind: .businessKey)
        public static let id = Source(kind: .id)
        /// `running`, `stuck`, `completed` or `failed`.
        public static let status = Source(kind: .status)
        /// RFC 3339, as all times here.
        public static let startedAt = Source(kind: .startedAt)
        public static let updatedAt = Source(kind: .updatedAt)
        /// Why it turned back or is stuck.
        public static let reason = Source(kind: .reason)

        /// A member of the input, which must be a JSON object.
        public static func input(_ member: String) -> Source { Source(kind: .input(member)) }

        /// What the newest visit of `action` whose effect holds has returned, or a member of it.
        public static func output(of action: String, _ member: String? = nil) -> Source {
            Source(kind: .output(action, member))
        }
    }

    public struct Field: Sendable, Hashable {
        public var name: String
        public var source: Source

        public init(_ name: String, _ source: Source) {
            self.name = name
            self.source = source
        }
    }

    /// The definition's name.
    public var type: String
    /// `order` in `saga:order:123`.
    public var name: String
    /// A field without a value is left out; one that is called `state` is passed over.
    public var fields: [Field]

    public init(type: String, name: String, fields: [Field]) {
        self.type = type
        self.name = name
        self.fields = fields
    }

    /// What a type has that nobody has said anything about: `order_saga` is called `order`, with the fields `state`,
    /// `order_id` (the business key) and `started_at`.
    public static func standard(for type: String) -> SagaHash {
        let name = type.hasSuffix("_saga") && type.count > 5 ? String(type.dropLast(5)) : type
        return SagaHash(
            type: type,
            name: name,
            fields: [Field("\(name)_id", .businessKey), Field("started_at", .startedAt)]
        )
    }

    /// Longer values are cut at a character: the hash is for people.
    static let maximumValueBytes = 4_096
    /// Further fields are left out.
    static let maximumFields = 100

    func key(of saga: SagaInstance, prefix: String) -> String { "\(prefix)\(self.name):\(saga.businessKey)" }

    func values(of saga: SagaInstance) -> [String: [UInt8]] {
        var values = ["state": Array(saga.state.utf8)]
        for field in self.fields.prefix(Self.maximumFields) where field.name != "state" {
            guard let value = Self.value(field.source, of: saga) else { continue }
            values[field.name] = Array(Self.cut(value).utf8)
        }
        return values
    }

    private static func cut(_ value: String) -> String {
        guard value.utf8.count > self.maximumValueBytes else { return value }
        var count = 0
        return String(
            value.prefix { character in
                count += character.utf8.count
                return count <= self.maximumValueBytes
            }
        )
    }

    private static func value(_ source: Source, of saga: SagaInstance) -> String? {
        switch source.kind {
        case .businessKey: saga.businessKey
        case .id: saga.id
        case .status: saga.status.rawValue
        case .startedAt: saga.createdAt.description
        case .updatedAt: saga.updatedAt.description
        case .reason: saga.reason
        case .input(let member): JSONMember.read(saga.input, member)
        case .output(let action, let member): saga.output(of: action).flatMap { JSONMember.read($0, member) }
        }
    }
}

/// Which sagas have a hash for people.
public struct SagaHashes: Sendable, Hashable {
    /// What every key begins with.
    public var prefix: String
    /// By type; of two for one type the last counts.
    public var listed: [SagaHash]
    /// Whether a type that is not listed has ``SagaHash/standard(for:)``.
    public var includesOthers: Bool
    private(set) var isStored = false

    /// - Parameter prefix: `saga:` is the guide's. In a cluster it needs the hash tag of the store's own prefix.
    public init(_ listed: [SagaHash] = [], includesOthers: Bool = true, prefix: String = "saga:") {
        self.prefix = prefix
        self.listed = listed
        self.includesOthers = includesOthers
    }

    /// No hashes, and so no edits.
    public static let none = SagaHashes(includesOthers: false)

    /// What a saga's hash shows is as its last writer had it: for tools that mend the sagas of applications that they
    /// do not know. A store with these starts no sagas.
    public static let stored: SagaHashes = {
        var hashes = SagaHashes()
        hashes.isStored = true
        return hashes
    }()

    /// `nil` when sagas of this type have none.
    func hash(of type: String) -> SagaHash? {
        self.listed.last { $0.type == type } ?? (self.includesOthers ? .standard(for: type) : nil)
    }

    static func taken(_ key: String) -> SagaError {
        SagaError(
            .conflict,
            "the key '\(key)', which is to show the saga, is there already and belongs to no saga or another one; "
                + "rename or delete it, or give the type another name, then start the saga again",
            retry: .permanent
        )
    }

    static func exists(_ id: String) -> SagaError {
        SagaError(.conflict, "there is a saga with the id '\(id)' already; give each one an id of its own")
    }
}

/// How a saga's record says what its hash shows: each field as a list of words, its name first, in JSON.
extension SagaHash {
    /// `nil` for ``standard(for:)``, which needs no words.
    var shown: String? {
        guard self.fields != Self.standard(for: self.type).fields else { return nil }
        let encoder = JSONEncoder()
        encoder.outputFormatting = .withoutEscapingSlashes
        let lines = self.fields.prefix(Self.maximumFields).map { [$0.name] + $0.source.words }
        return (try? encoder.encode(lines)).map { String(decoding: $0, as: UTF8.self) }
    }

    /// - Parameter shown: What ``shown`` has given.
    /// - Returns: `nil` for what is nothing of this version's.
    init?(type: String, shown: String?) {
        self = .standard(for: type)
        guard let shown else { return }
        guard let lines = try? JSONDecoder().decode([[String]].self, from: Data(shown.utf8)) else { return nil }
        var fields: [Field] = []
        for line in lines.prefix(Self.maximumFields) {
            guard let name = line.first, let source = Source(words: line.dropFirst()) else { return nil }
            fields.append(Field(name, source))
        }
        self.fields = fields
    }
}

extension SagaHash.Source {
    private static let plain: [String: SagaHash.Source] = [
        "business_key": .businessKey, "id": .id, "status": .status, "started_at": .startedAt,
        "updated_at": .updatedAt, "reason": .reason,
    ]

    fileprivate var words: [String] {
        switch self.kind {
        case .input(let member): ["input", member]
        case .output(let action, let member): ["output", action] + (member.map { [$0] } ?? [])
        default: Self.plain.first { $0.value == self }.map { [$0.key] } ?? []
        }
    }

    fileprivate init?(words: ArraySlice<String>) {
        let words = Array(words)
        switch (words.first, words.count) {
        case ("input", 2): self = .input(words[1])
        case ("output", 2): self = .output(of: words[1])
        case ("output", 3): self = .output(of: words[1], words[2])
        case (let word?, 1):
            guard let source = Self.plain[word] else { return nil }
            self = source
        default: return nil
        }
    }
}

/// Single values out of JSON text that others have written.
private enum JSONMember: Decodable {
    case text(String)
    case other

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let text = try? container.decode(String.self) {
            self = .text(text)
        } else if let flag = try? container.decode(Bool.self) {
            self = .text(flag ? "true" : "false")
        } else if let number = try? container.decode(Int64.self) {
            self = .text("\(number)")
        } else if let number = try? container.decode(Double.self) {
            self = .text("\(number)")
        } else {
            self = .other
        }
    }

    /// `nil` for what is not there, not JSON, or no single value.
    static func read(_ json: String, _ member: String?) -> String? {
        let decoder = JSONDecoder()
        let value: JSONMember?
        if let member {
            value = (try? decoder.decode([String: JSONMember].self, from: Data(json.utf8)))?[member]
        } else {
            value = try? decoder.decode(JSONMember.self, from: Data(json.utf8))
        }
        if case .text(let text)? = value { return text }
        return nil
    }
}
