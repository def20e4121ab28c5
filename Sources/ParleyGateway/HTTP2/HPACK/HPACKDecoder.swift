internal import NIOCore

/// Reads field sections (RFC 7541). Each error of it ends the connection: the tables of the two sides may differ from
/// there on, and with them every later field.
struct HPACKDecoder: ~Copyable, Sendable {
    private var table: HPACKDynamicTable
    /// What our SETTINGS_HEADER_TABLE_SIZE says: the peer may use as much or less.
    private let limit: Int
    private let statics = HPACKStaticTable.shared
    private let huffman = HuffmanCode.shared

    init(tableSize: Int) {
        self.limit = tableSize
        self.table = HPACKDynamicTable(maximumSize: tableSize)
    }

    var tableSize: Int { self.table.size }

    /// Decodes a whole section. What goes over the limits of `section` is decoded too, so that the tables stay in step,
    /// but not kept.
    mutating func decode(_ input: Span<UInt8>, into section: inout HTTP2FieldSection) throws(HTTP2Error) {
        var position = 0
        var mayResize = true
        while position < input.count {
            let first = input[position]
            if first & 0x80 != 0 {
                let index = try Self.integer(input, &position, prefix: 7)
                try self.indexed(index, into: &section)
            } else if first & 0x40 != 0 {
                try self.literal(input, &position, prefix: 6, isIndexed: true, into: &section)
            } else if first & 0x20 != 0 {
                guard mayResize else {
                    throw HTTP2Error(.compressionError, "a table size update follows a field")
                }
                let size = try Self.integer(input, &position, prefix: 5)
                guard size <= self.limit else {
                    throw HTTP2Error(.compressionError, "a table size update to \(size), \(self.limit) is allowed")
                }
                self.table.resize(to: size)
                continue
            } else {
                try self.literal(input, &position, prefix: 4, isIndexed: false, into: &section)
            }
            mayResize = false
        }
    }

    private func indexed(_ index: Int, into section: inout HTTP2FieldSection) throws(HTTP2Error) {
        let isStatic = index <= HPACKStaticTable.count
        guard let entry = self.entry(index) else { throw Self.noEntry(index) }
        guard section.admits(name: entry.nameCount, value: entry.valueCount) else { return }
        if isStatic {
            let count = entry.nameCount &+ entry.valueCount
            Self.copy(self.statics.bytes, entry.start, count, to: &section.block.bytes)
        } else {
            let count = entry.nameCount &+ entry.valueCount
            Self.copy(self.table.bytes, self.table.offset(of: entry), count, to: &section.block.bytes)
        }
        section.add(
            nameCount: entry.nameCount,
            valueCount: entry.valueCount,
            known: entry.known,
            pseudo: entry.pseudo,
            name: entry.name,
            isValueMalformed: entry.isValueMalformed
        )
    }

    private mutating func literal(
        _ input: Span<UInt8>,
        _ position: inout Int,
        prefix: UInt8,
        isIndexed: Bool,
        into section: inout HTTP2FieldSection
    ) throws(HTTP2Error) {
        let start = section.block.bytes.writerIndex
        let index = try Self.integer(input, &position, prefix: prefix)
        var known = KnownField.other
        var pseudo = PseudoField.none
        var nameKind = FieldNameKind.plain
        if index == 0 {
            try self.string(input, &position, into: &section.block.bytes)
            let name = section.block.bytes.readableBytesUInt8Span.extracting(start...)
            known = KnownField(name)
            pseudo = PseudoField(name)
            nameKind = FieldNameKind(http2: name, isPseudo: pseudo != .none)
        } else {
            guard let entry = self.entry(index) else { throw Self.noEntry(index) }
            if index <= HPACKStaticTable.count {
                Self.copy(self.statics.bytes, entry.start, entry.nameCount, to: &section.block.bytes)
            } else {
                let offset = self.table.offset(of: entry)
                Self.copy(self.table.bytes, offset, entry.nameCount, to: &section.block.bytes)
            }
            nameKind = entry.name
            known = entry.known
            pseudo = entry.pseudo
        }
        let nameCount = section.block.bytes.writerIndex &- start
        try self.string(input, &position, into: &section.block.bytes)
        let valueCount = section.block.bytes.writerIndex &- start &- nameCount
        let isValueMalformed: Bool
        do {
            let field = section.block.bytes.readableBytesUInt8Span.extracting(start...)
            isValueMalformed = !HTTP2FieldSection.isValue(field.extracting(nameCount...))
            if isIndexed {
                self.table.insert(
                    field,
                    nameCount: nameCount,
                    known: known,
                    pseudo: pseudo,
                    name: nameKind,
                    isValueMalformed: isValueMalformed
                )
            }
        }
        guard section.admits(name: nameCount, value: valueCount) else {
            section.block.bytes.moveWriterIndex(to: start)
            return
        }
        section.add(
            nameCount: nameCount,
            valueCount: valueCount,
            known: known,
            pseudo: pseudo,
            name: nameKind,
            isValueMalformed: isValueMalformed
        )
    }

    private func entry(_ index: Int) -> HPACKEntry? {
        guard index > 0 else { return nil }
        guard index > HPACKStaticTable.count else { return self.statics.entries[index &- 1] }
        return self.table.entry(index &- HPACKStaticTable.count &- 1)
    }

    private func string(
        _ input: Span<UInt8>,
        _ position: inout Int,
        into output: inout ByteBuffer
    ) throws(HTTP2Error) {
        guard position < input.count else { throw Self.cut }
        let isHuffman = input[position] & 0x80 != 0
        let count = try Self.integer(input, &position, prefix: 7)
        guard count <= input.count &- position else { throw Self.cut }
        let text = input.extracting(position..<position &+ count)
        position &+= count
        if isHuffman {
            try self.huffman.decode(text, into: &output)
        } else {
            output.writeBytes(text.bytes)
        }
    }

    private static func copy(_ bytes: ByteBuffer, _ start: Int, _ count: Int, to output: inout ByteBuffer) {
        output.writeBytes(bytes.readableBytesSpan.extracting(start..<start &+ count))
    }

    /// An integer of section 5.1. Nothing in a head is larger than 2^28.
    private static func integer(
        _ input: Span<UInt8>,
        _ position: inout Int,
        prefix: UInt8
    ) throws(HTTP2Error) -> Int {
        guard position < input.count else { throw Self.cut }
        let mask: UInt8 = (1 << prefix) &- 1
        var value = Int(input[position] & mask)
        position &+= 1
        guard value == Int(mask) else { return value }
        var shift = 0
        while true {
            guard position < input.count else { throw Self.cut }
            guard shift <= 21 else {
                throw HTTP2Error(.compressionError, "an integer of a header block is larger than any length")
            }
            let byte = input[position]
            position &+= 1
            value &+= Int(byte & 0x7F) << shift
            guard byte & 0x80 != 0 else { return value }
            shift &+= 7
        }
    }

    private static var cut: HTTP2Error { HTTP2Error(.compressionError, "a header block ends in the middle of a field") }

    private static func noEntry(_ index: Int) -> HTTP2Error {
        HTTP2Error(.compressionError, "a header block names the table entry \(index), which does not exist")
    }
}
