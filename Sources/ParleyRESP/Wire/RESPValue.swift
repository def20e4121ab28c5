/// One reply, or one part of a reply, as the server sent it.
///
/// The cases are the types of RESP3; the enum is closed because the protocol is. A server that speaks RESP2 uses a
/// part of them: its two nulls are both ``null``, its maps are flat arrays. The accessors bridge that difference, and
/// none of them traps: what a value is not is `nil`.
public enum RESPValue: Sendable, Hashable {
    /// A short status such as `OK`. What is not UTF-8 is shown as U+FFFD.
    case simpleString(String)
    /// A refusal. The first word is its code.
    case simpleError(String)
    case number(Int64)
    case bulkString([UInt8])
    case null
    case double(Double)
    case boolean(Bool)
    /// Decimal digits with an optional sign, as sent: no type of the standard library holds every one.
    case bigNumber(String)
    /// A refusal that may hold more than one line.
    case bulkError(String)
    /// Text with its format, three letters such as `txt` or `mkd`.
    case verbatimString(format: String, [UInt8])
    case array([RESPValue])
    case set([RESPValue])
    /// In the order of the server; a key that comes twice is kept twice.
    case map([RESPPair])
    /// Out of band: belongs to no command. Only at the top level.
    case push([RESPValue])
    /// A value with what the server says about it.
    indirect case attributed([RESPPair], RESPValue)
}

/// A key and its value, in a map or an attribute.
public struct RESPPair: Sendable, Hashable {
    public var key: RESPValue
    public var value: RESPValue

    public init(key: RESPValue, value: RESPValue) {
        self.key = key
        self.value = value
    }
}

extension RESPValue {
    /// The value without what is said about it.
    public var bare: RESPValue {
        var value = self
        while case .attributed(_, let inner) = value { value = inner }
        return value
    }

    public var isNull: Bool { self.bare == .null }

    /// The text of a refusal.
    public var errorMessage: String? {
        switch self.bare {
        case .simpleError(let message), .bulkError(let message): message
        default: nil
        }
    }

    /// The bytes of any kind of string.
    public var bytes: [UInt8]? {
        switch self.bare {
        case .bulkString(let bytes), .verbatimString(_, let bytes): bytes
        case .simpleString(let text), .bigNumber(let text): Array(text.utf8)
        default: nil
        }
    }

    /// Any kind of string; `nil` when its bytes are not UTF-8.
    public var string: String? {
        switch self.bare {
        case .simpleString(let text), .bigNumber(let text): text
        case .bulkString(let bytes), .verbatimString(_, let bytes): String(validating: bytes, as: UTF8.self)
        default: nil
        }
    }

    /// A number, or a string that is one.
    public var integer: Int64? {
        switch self.bare {
        case .number(let number): number
        case .boolean(let value): value ? 1 : 0
        default: self.string.flatMap { Int64($0) }
        }
    }

    /// A double, a number, or a string that is one: RESP2 sends scores as strings.
    public var real: Double? {
        switch self.bare {
        case .double(let value): value
        case .number(let number): Double(number)
        default: self.string.flatMap { Double($0) }
        }
    }

    /// A boolean, or the 0 and 1 that RESP2 sends instead.
    public var bool: Bool? {
        switch self.bare {
        case .boolean(let value): value
        case .number(0): false
        case .number(1): true
        default: nil
        }
    }

    /// The elements of an array, a set or a push; of a map, keys and values in turn, as RESP2 sends it.
    public var elements: [RESPValue]? {
        switch self.bare {
        case .array(let values), .set(let values), .push(let values): values
        case .map(let pairs): pairs.flatMap { [$0.key, $0.value] }
        default: nil
        }
    }

    /// The pairs of a map, or of the flat array or the array of pairs that RESP2 sends instead; `nil` for an odd count.
    public var pairs: [RESPPair]? {
        switch self.bare {
        case .map(let pairs): return pairs
        case .array(let values):
            guard values.count.isMultiple(of: 2) else { return nil }
            return stride(from: 0, to: values.count, by: 2).map { RESPPair(key: values[$0], value: values[$0 + 1]) }
        default: return nil
        }
    }

    /// The value under `key` in a map, or in the flat array that stands for one.
    public subscript(key: String) -> RESPValue? {
        self.pairs?.first { $0.key.string == key }?.value
    }

    /// The kind, for messages: never the content, which may be a secret.
    package var kind: String {
        switch self {
        case .simpleString: "simple string"
        case .simpleError: "error"
        case .number: "number"
        case .bulkString: "bulk string"
        case .null: "null"
        case .double: "double"
        case .boolean: "boolean"
        case .bigNumber: "big number"
        case .bulkError: "bulk error"
        case .verbatimString: "verbatim string"
        case .array(let values): "array of \(values.count)"
        case .set(let values): "set of \(values.count)"
        case .map(let pairs): "map of \(pairs.count)"
        case .push(let values): "push of \(values.count)"
        case .attributed(_, let value): value.kind
        }
    }
}
