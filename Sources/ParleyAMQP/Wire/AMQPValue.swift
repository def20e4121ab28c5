/// Names and values: headers of a message, arguments of a declaration.
public typealias AMQPTable = [String: AMQPValue]

/// A value of an ``AMQPTable``, in every type that RabbitMQ speaks.
///
/// An enum because the protocol closes the set: a new type would be a new protocol.
public enum AMQPValue: Sendable, Hashable {
    case bool(Bool)
    case int8(Int8)
    case uint8(UInt8)
    case int16(Int16)
    case uint16(UInt16)
    case int32(Int32)
    case uint32(UInt32)
    case int64(Int64)
    case float(Float)
    case double(Double)
    /// `value × 10^-scale`.
    case decimal(scale: UInt8, value: Int32)
    /// Text. A peer's text that is not UTF-8 arrives as ``bytes(_:)``.
    case string(String)
    case bytes([UInt8])
    /// Whole seconds since 1970.
    case timestamp(UInt64)
    case array([AMQPValue])
    case table(AMQPTable)
    case void
}

extension AMQPValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByFloatLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int64) { self = .int64(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(floatLiteral value: Double) { self = .double(value) }
    public init(arrayLiteral elements: AMQPValue...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, AMQPValue)...) {
        self = .table(AMQPTable(elements, uniquingKeysWith: { _, last in last }))
    }
}

extension AMQPValue {
    /// The text, if it is text.
    public var string: String? {
        if case .string(let value) = self { value } else { nil }
    }

    /// The number, if it is an integer of any width.
    public var integer: Int64? {
        switch self {
        case .int8(let value): Int64(value)
        case .uint8(let value): Int64(value)
        case .int16(let value): Int64(value)
        case .uint16(let value): Int64(value)
        case .int32(let value): Int64(value)
        case .uint32(let value): Int64(value)
        case .int64(let value): value
        default: nil
        }
    }

    public var table: AMQPTable? {
        if case .table(let value) = self { value } else { nil }
    }
}
