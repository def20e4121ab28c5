internal import NIOCore

/// Reads the protocol's types. It never trusts a length: what is not there is an error, and nothing is allocated before
/// the bytes for it are known to be there.
struct WireReader {
    static let maximumDepth = 32

    private(set) var buffer: ByteBuffer
    private var bitOctet: UInt8 = 0
    private var bitMask: UInt8 = 0

    init(_ buffer: ByteBuffer) {
        self.buffer = buffer
    }

    var isAtEnd: Bool { self.buffer.readableBytes == 0 }

    private mutating func integer<T: FixedWidthInteger>() throws(AMQPWireError) -> T {
        guard let value = self.buffer.readInteger(as: T.self) else { throw .truncated }
        return value
    }

    mutating func octet() throws(AMQPWireError) -> UInt8 { try self.integer() }
    mutating func short() throws(AMQPWireError) -> UInt16 { try self.integer() }
    mutating func long() throws(AMQPWireError) -> UInt32 { try self.integer() }
    mutating func longlong() throws(AMQPWireError) -> UInt64 { try self.integer() }

    /// The first of a row of bits that share an octet.
    mutating func bit() throws(AMQPWireError) -> Bool {
        self.bitOctet = try self.octet()
        self.bitMask = 1
        return self.bitOctet & 1 != 0
    }

    /// A further one of the row.
    mutating func nextBit() throws(AMQPWireError) -> Bool {
        guard self.bitMask < 0x80 else { return try self.bit() }
        self.bitMask <<= 1
        return self.bitOctet & self.bitMask != 0
    }

    mutating func shortstr() throws(AMQPWireError) -> String {
        let length = Int(try self.octet())
        guard let text = self.buffer.readString(length: length) else { throw .truncated }
        return text
    }

    mutating func longstr() throws(AMQPWireError) -> [UInt8] {
        let length: UInt32 = try self.integer()
        guard let bytes = self.buffer.readBytes(length: Int(length)) else { throw .truncated }
        return bytes
    }

    mutating func table() throws(AMQPWireError) -> AMQPTable { try self.table(depth: 0) }

    private mutating func part() throws(AMQPWireError) -> WireReader {
        let length: UInt32 = try self.integer()
        guard let slice = self.buffer.readSlice(length: Int(length)) else { throw .truncated }
        return WireReader(slice)
    }

    private mutating func table(depth: Int) throws(AMQPWireError) -> AMQPTable {
        guard depth < Self.maximumDepth else { throw .tooDeep }
        var part = try self.part()
        var table: AMQPTable = [:]
        while !part.isAtEnd {
            let name = try part.shortstr()
            table[name] = try part.value(depth: depth + 1)
        }
        return table
    }

    private mutating func array(depth: Int) throws(AMQPWireError) -> [AMQPValue] {
        guard depth < Self.maximumDepth else { throw .tooDeep }
        var part = try self.part()
        var array: [AMQPValue] = []
        while !part.isAtEnd { array.append(try part.value(depth: depth + 1)) }
        return array
    }

    private mutating func value(depth: Int) throws(AMQPWireError) -> AMQPValue {
        let type = try self.octet()
        switch type {
        case UInt8(ascii: "t"): return .bool(try self.octet() != 0)
        case UInt8(ascii: "b"): return .int8(try self.integer())
        case UInt8(ascii: "B"): return .uint8(try self.integer())
        case UInt8(ascii: "s"): return .int16(try self.integer())
        case UInt8(ascii: "u"): return .uint16(try self.integer())
        case UInt8(ascii: "I"): return .int32(try self.integer())
        case UInt8(ascii: "i"): return .uint32(try self.integer())
        // RabbitMQ writes `l` where the paper says `L`; both are 64 bits with a sign.
        case UInt8(ascii: "l"), UInt8(ascii: "L"): return .int64(try self.integer())
        case UInt8(ascii: "f"): return .float(Float(bitPattern: try self.integer()))
        case UInt8(ascii: "d"): return .double(Double(bitPattern: try self.integer()))
        case UInt8(ascii: "D"):
            let scale = try self.octet()
            return .decimal(scale: scale, value: try self.integer())
        case UInt8(ascii: "S"):
            let bytes = try self.longstr()
            return String(validating: bytes, as: UTF8.self).map { .string($0) } ?? .bytes(bytes)
        case UInt8(ascii: "x"): return .bytes(try self.longstr())
        case UInt8(ascii: "T"): return .timestamp(try self.integer())
        case UInt8(ascii: "A"): return .array(try self.array(depth: depth))
        case UInt8(ascii: "F"): return .table(try self.table(depth: depth))
        case UInt8(ascii: "V"): return .void
        default: throw .unknownValueType(type)
        }
    }
}
