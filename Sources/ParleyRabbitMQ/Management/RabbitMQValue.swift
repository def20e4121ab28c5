/// A value of an `arguments` table or a policy's definition, as JSON has them.
public enum RabbitMQValue: Sendable, Hashable {
    case null
    case bool(Bool)
    case integer(Int64)
    case double(Double)
    case string(String)
    case list([RabbitMQValue])
    case table([String: RabbitMQValue])
}

extension RabbitMQValue: Codable {
    /// Deeper nesting is refused: neither the broker nor people write it.
    private static let maximumDepth = 32

    public init(from decoder: any Decoder) throws {
        guard decoder.codingPath.count <= Self.maximumDepth else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "nested deeper than \(Self.maximumDepth)")
            )
        }
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .integer(value)
        } else if let value = try? container.decode(Double.self) {
            self = .double(value)
        } else if let value = try? container.decode(String.self) {
            self = .string(value)
        } else if let value = try? container.decode([RabbitMQValue].self) {
            self = .list(value)
        } else {
            self = .table(try container.decode([String: RabbitMQValue].self))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .null: try container.encodeNil()
        case .bool(let value): try container.encode(value)
        case .integer(let value): try container.encode(value)
        case .double(let value): try container.encode(value)
        case .string(let value): try container.encode(value)
        case .list(let value): try container.encode(value)
        case .table(let value): try container.encode(value)
        }
    }
}

extension RabbitMQValue: CustomStringConvertible {
    /// As JSON, keys in order.
    public var description: String {
        switch self {
        case .null: return "null"
        case .bool(let value): return "\(value)"
        case .integer(let value): return "\(value)"
        case .double(let value): return "\(value)"
        case .string(let value): return Self.quoted(value)
        case .list(let values): return "[" + values.map(\.description).joined(separator: ", ") + "]"
        case .table(let values):
            let members = values.sorted { $0.key < $1.key }.map { "\(Self.quoted($0.key)): \($0.value)" }
            return "{" + members.joined(separator: ", ") + "}"
        }
    }

    private static func quoted(_ text: String) -> String {
        let escaped = text.unicodeScalars.map { scalar in
            switch scalar {
            case "\"": "\\\""
            case "\\": "\\\\"
            case "\n": "\\n"
            case "\t": "\\t"
            default: scalar.value < 32 ? "\\u{\(scalar.value)}" : String(scalar)
            }
        }
        return "\"" + escaped.joined() + "\""
    }
}

extension RabbitMQValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral {
    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
}

// MARK: - Reading answers, where anything may be missing

extension RabbitMQValue {
    subscript(_ key: String) -> RabbitMQValue { self.members[key] ?? .null }

    var members: [String: RabbitMQValue] { if case .table(let members) = self { members } else { [:] } }
    var items: [RabbitMQValue] { if case .list(let items) = self { items } else { [] } }
    var text: String? { if case .string(let text) = self { text } else { nil } }
    var bool: Bool? { if case .bool(let bool) = self { bool } else { nil } }
    var int: Int? { if case .integer(let value) = self { Int(exactly: value) } else { nil } }

    var number: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .double(let value): value
        default: nil
        }
    }
}
