/// Reads the pieces of a message. Every read is checked; nothing is allocated for what a count promises.
struct DNSReader {
    /// More than 126 labels no name has, and each pointer that means something has one before it. The limit keeps a
    /// message from making work by names that are chains of pointers.
    static let maximumPointers = 127

    private let bytes: [UInt8]
    private(set) var position = 0
    /// Where the readable part ends: the message, or the data of one record.
    private var end: Int

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        self.end = bytes.count
    }

    var remaining: Int { self.end - self.position }

    func failure(_ reason: DNSFormatError.Reason) -> DNSFormatError { DNSFormatError(reason, at: self.position) }

    mutating func uint8() throws(DNSFormatError) -> UInt8 {
        guard self.remaining >= 1 else { throw self.failure(.endsEarly) }
        defer { self.position += 1 }
        return self.bytes[self.position]
    }

    mutating func uint16() throws(DNSFormatError) -> UInt16 {
        UInt16(try self.uint8()) << 8 | UInt16(try self.uint8())
    }

    mutating func uint32() throws(DNSFormatError) -> UInt32 {
        UInt32(try self.uint16()) << 16 | UInt32(try self.uint16())
    }

    mutating func bytes(_ count: Int) throws(DNSFormatError) -> ArraySlice<UInt8> {
        guard count >= 0, self.remaining >= count else { throw self.failure(.endsEarly) }
        defer { self.position += count }
        return self.bytes[self.position..<(self.position + count)]
    }

    /// Runs `body` on the next `length` bytes, all of which it must use.
    mutating func within<Value>(
        _ length: Int,
        _ body: (inout DNSReader) throws(DNSFormatError) -> Value
    ) throws(DNSFormatError) -> Value {
        guard self.remaining >= length else { throw self.failure(.endsEarly) }
        let outer = self.end
        self.end = self.position + length
        defer { self.end = outer }
        let value: Value
        do throws(DNSFormatError) {
            value = try body(&self)
        } catch {
            // Inside a record it is the record's fault.
            throw error.reason == .endsEarly ? DNSFormatError(.badRecordData, at: error.offset) : error
        }
        guard self.position == self.end else { throw self.failure(.badRecordData) }
        return value
    }

    /// A name, compressed or not.
    ///
    /// A pointer must lead before the piece of the name that it ends, and that piece is where the next one must end:
    /// so it goes back and only back, and no name can contain itself.
    mutating func name() throws(DNSFormatError) -> DNSName {
        var wire: [UInt8] = []
        var cursor = self.position
        var pieceStart = cursor
        var limit = self.end
        var pointers = 0
        while true {
            guard cursor < limit else { throw DNSFormatError(.endsEarly, at: cursor) }
            let first = self.bytes[cursor]
            switch first >> 6 {
            case 0:
                let next = cursor + 1 + Int(first)
                guard next <= limit else { throw DNSFormatError(.endsEarly, at: cursor) }
                wire.append(contentsOf: self.bytes[cursor..<next])
                cursor = next
                // What is not its end has at least the end's zero behind it.
                guard wire.count + (first == 0 ? 0 : 1) <= DNSName.maximumLength else {
                    throw DNSFormatError(.nameTooLong, at: cursor)
                }
                if first == 0 {
                    if pointers == 0 { self.position = cursor }
                    return DNSName(wire: wire)
                }
            case 3:
                guard cursor + 1 < limit else { throw DNSFormatError(.endsEarly, at: cursor) }
                let target = Int(first & 0x3F) << 8 | Int(self.bytes[cursor + 1])
                guard target >= DNSMessage.headerLength, target < pieceStart else {
                    throw DNSFormatError(.badPointer, at: cursor)
                }
                if pointers == 0 { self.position = cursor + 2 }
                pointers += 1
                guard pointers <= Self.maximumPointers else { throw DNSFormatError(.tooManyPointers, at: cursor) }
                limit = pieceStart
                pieceStart = target
                cursor = target
            default: throw DNSFormatError(.unknownLabelKind, at: cursor)
            }
        }
    }
}
