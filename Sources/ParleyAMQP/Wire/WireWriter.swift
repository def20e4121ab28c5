internal import NIOCore

/// Writes the protocol's types. What the protocol cannot hold (a name of 256 bytes) is an error, never cut off.
struct WireWriter {
    var buffer: ByteBuffer

    init(_ buffer: ByteBuffer = ByteBuffer()) {
        self.buffer = buffer
    }

    mutating func octet(_ value: UInt8) { self.buffer.writeInteger(value) }
    mutating func short(_ value: UInt16) { self.buffer.writeInteger(value) }
    mutating func long(_ value: UInt32) { self.buffer.writeInteger(value) }
    mutating func longlong(_ value: UInt64) { self.buffer.writeInteger(value) }

    mutating func bits(_ bits: Bool...) {
        var octet: UInt8 = 0
        for (index, bit) in bits.enumerated() where bit { octet |= 1 << UInt8(index) }
        self.octet(octet)
    }

    mutating func shortstr(_ text: String) throws(AMQPWireError) {
        guard let length = UInt8(exactly: text.utf8.count) else { throw .shortStringTooLong(text.utf8.count) }
        self.octet(length)
        self.buffer.writeString(text)
    }

    mutating func longstr(_ bytes: [UInt8]) throws(AMQPWireError) {
        guard let length = UInt32(exactly: bytes.count) else { throw .tableTooLarge }
        self.long(length)
        self.buffer.writeBytes(bytes)
    }

    mutating func table(_ table: AMQPTable) throws(AMQPWireError) { try self.table(table, depth: 0) }

    private mutating func table(_ table: AMQPTable, depth: Int) throws(AMQPWireError) {
        guard depth < WireReader.maximumDepth else { throw .tooDeep }
        let start = self.beginPart()
        for (name, value) in table {
            try self.shortstr(name)
            try self.value(value, depth: depth + 1)
        }
        try self.endPart(start)
    }

    private mutating func beginPart() -> Int {
        self.long(0)
        return self.buffer.writerIndex
    }

    private mutating func endPart(_ start: Int) throws(AMQPWireError) {
        guard let length = UInt32(exactly: self.buffer.writerIndex - start) else { throw .tableTooLarge }
        self.buffer.setInteger(length, at: start - 4)
    }

    private mutating func type(_ type: Unicode.Scalar) { self.octet(UInt8(ascii: type)) }

    private mutating func value(_ value: AMQPValue, depth: Int) throws(AMQPWireError) {
        switch value {
        case .bool(let value):
            self.type("t")
            self.octet(value ? 1 : 0)
        case .int8(let value):
            self.type("b")
            self.buffer.writeInteger(value)
        case .uint8(let value):
            self.type("B")
            self.buffer.writeInteger(value)
        case .int16(let value):
            self.type("s")
            self.buffer.writeInteger(value)
        case .uint16(let value):
            self.type("u")
            self.buffer.writeInteger(value)
        case .int32(let value):
            self.type("I")
            self.buffer.writeInteger(value)
        case .uint32(let value):
            self.type("i")
            self.buffer.writeInteger(value)
        case .int64(let value):
            self.type("l")
            self.buffer.writeInteger(value)
        case .float(let value):
            self.type("f")
            self.buffer.writeInteger(value.bitPattern)
        case .double(let value):
            self.type("d")
            self.buffer.writeInteger(value.bitPattern)
        case .decimal(let scale, let value):
            self.type("D")
            self.octet(scale)
            self.buffer.writeInteger(value)
        case .string(let value):
            self.type("S")
            guard let length = UInt32(exactly: value.utf8.count) else { throw .tableTooLarge }
            self.long(length)
            self.buffer.writeString(value)
        case .bytes(let value):
            self.type("x")
            try self.longstr(value)
        case .timestamp(let value):
            self.type("T")
            self.longlong(value)
        case .array(let values):
            self.type("A")
            guard depth < WireReader.maximumDepth else { throw .tooDeep }
            let start = self.beginPart()
            for value in values { try self.value(value, depth: depth + 1) }
            try self.endPart(start)
        case .table(let table):
            self.type("F")
            try self.table(table, depth: depth)
        case .void: self.type("V")
        }
    }
}
