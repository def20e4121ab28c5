internal import NIOCore

/// Writes field sections (RFC 7541).
///
/// What is worth a place in the table is found out by seeing it twice: a field goes in when it (or its name, if that
/// stands in no table yet) has lately been sent before. So what repeats costs one byte from its third time on, and what
/// is different each time (an id, a trace) pushes nothing out. Credentials and cookies never go in: who can guess at
/// them by the size of what is sent must not be helped (section 7.1).
struct HPACKEncoder: ~Copyable, Sendable {
    /// Larger tables of a peer are not made use of: it is memory for each connection.
    static let largestTable = 4096

    private var table: HPACKDynamicTable
    /// What to say about the table's size at the beginning of the next section: first the smallest size meanwhile.
    private var smallestSize: Int?
    private var sizeToTell: Int?
    /// By the lower bits of a hash: the number (plus one) of the entry that was last added with it.
    private var byField = [UInt32](repeating: 0, count: Self.buckets)
    private var byName = [UInt32](repeating: 0, count: Self.buckets)
    /// Hashes of what was lately sent without being added.
    private var seen = [UInt32](repeating: 0, count: Self.buckets)
    private let statics = HPACKStaticTable.shared
    private let huffman = HuffmanCode.shared

    private static let buckets = 256
    private static let mask: UInt32 = 255

    init(tableSize: Int = Self.largestTable) {
        self.table = HPACKDynamicTable(maximumSize: min(tableSize, Self.largestTable))
    }

    var tableSize: Int { self.table.size }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE has come.
    mutating func peerAllows(tableSize: Int) {
        let size = min(tableSize, Self.largestTable)
        guard size != self.table.maximumSize || self.sizeToTell != nil else { return }
        self.smallestSize = min(self.smallestSize ?? size, size)
        self.sizeToTell = size
        self.table.resize(to: size)
    }

    /// To be called before the first field of a section.
    mutating func begin(into output: inout ByteBuffer) {
        guard let size = self.sizeToTell else { return }
        if let smallest = self.smallestSize, smallest < size {
            Self.write(smallest, prefix: 5, flags: 0x20, into: &output)
        }
        Self.write(size, prefix: 5, flags: 0x20, into: &output)
        self.smallestSize = nil
        self.sizeToTell = nil
    }

    /// A field that stands in the static table as it is.
    func writeStatic(_ index: Int, into output: inout ByteBuffer) {
        output.writeInteger(0x80 | UInt8(truncatingIfNeeded: index))
    }

    /// A field with a name of the static table. `value` is a range of `bytes`, from its reader index on.
    mutating func write(nameIndex: Int, value: ByteRange, of bytes: ByteBuffer, into output: inout ByteBuffer) {
        let seed = UInt64(truncatingIfNeeded: nameIndex)
        self.write(nameIndex: nameIndex, nameHash: seed, name: .empty, value: value, of: bytes, into: &output)
    }

    mutating func write(_ field: FieldBlock.Field, of bytes: ByteBuffer, into output: inout ByteBuffer) {
        guard field.known != .other else {
            let hash = Self.hash(bytes, field.name, seed: 0x1_0000, fold: 0x2020_2020_2020_2020)
            self.write(nameIndex: 0, nameHash: hash, name: field.name, value: field.value, of: bytes, into: &output)
            return
        }
        let index = Int(self.statics.nameIndexes[Int(field.known.rawValue)])
        switch field.known {
        case .authorization, .cookie, .setCookie, .proxyAuthorization:
            Self.write(index, prefix: 4, flags: 0x10, into: &output)
            self.writeString(bytes, field.value, into: &output)
        default:
            let seed = 0x100 | UInt64(field.known.rawValue)
            self.write(nameIndex: index, nameHash: seed, name: field.name, value: field.value, of: bytes, into: &output)
        }
    }

    private mutating func write(
        nameIndex: Int,
        nameHash: UInt64,
        name: ByteRange,
        value: ByteRange,
        of bytes: ByteBuffer,
        into output: inout ByteBuffer
    ) {
        let nameMark = Self.mark(nameHash)
        let mark = Self.mark(Self.hash(bytes, value, seed: nameHash, fold: 0))
        if let index = self.find(self.byField[Int(mark & Self.mask)], nameIndex, name, value, of: bytes) {
            Self.write(index &+ HPACKStaticTable.count &+ 1, prefix: 7, flags: 0x80, into: &output)
            return
        }
        var index = nameIndex
        if index == 0, let found = self.find(self.byName[Int(nameMark & Self.mask)], 0, name, nil, of: bytes) {
            index = found &+ HPACKStaticTable.count &+ 1
        }
        let repeats = self.see(mark)
        let isIndexed = index == 0 ? self.see(nameMark) || repeats : repeats
        if isIndexed {
            Self.write(index, prefix: 6, flags: 0x40, into: &output)
        } else {
            Self.write(index, prefix: 4, flags: 0, into: &output)
        }
        if index == 0 { self.writeName(bytes, name, into: &output) }
        self.writeString(bytes, value, into: &output)
        if isIndexed { self.insert(nameIndex, nameMark, name, mark, value, of: bytes) }
    }

    /// Whether this was lately sent; it counts as sent from now on.
    private mutating func see(_ mark: UInt32) -> Bool {
        let slot = Int(mark >> 8 & Self.mask)
        if self.seen[slot] == mark { return true }
        self.seen[slot] = mark
        return false
    }

    /// The index of the entry with this number if its name (and value) are these; 0 is the newest.
    private func find(
        _ number: UInt32,
        _ nameIndex: Int,
        _ name: ByteRange,
        _ value: ByteRange?,
        of bytes: ByteBuffer
    ) -> Int? {
        guard number != 0, let index = self.table.index(ofNumber: Int(number) &- 1),
            let entry = self.table.entry(index)
        else { return nil }
        let start = self.table.offset(of: entry)
        if let value {
            guard entry.valueCount == Int(value.count) else { return nil }
            let same = Self.isEqual(self.table.bytes, start &+ entry.nameCount, bytes, value.lowerBound, value)
            guard same else { return nil }
        }
        if nameIndex != 0 {
            let known = self.statics.entries[nameIndex &- 1]
            return known.known == entry.known && known.pseudo == entry.pseudo
                && known.nameCount == entry.nameCount
                && (known.known != .other || known.pseudo != .none)
                ? index : nil
        }
        guard entry.nameCount == Int(name.count) else { return nil }
        let ours = self.table.bytes.readableBytesUInt8Span.extracting(start..<start &+ entry.nameCount)
        let theirs = bytes.readableBytesUInt8Span.extracting(name.lowerBound..<name.upperBound)
        for position in 0..<ours.count where ours[position] != theirs[position].asLowercase { return nil }
        return index
    }

    private mutating func insert(
        _ nameIndex: Int,
        _ nameMark: UInt32,
        _ name: ByteRange,
        _ mark: UInt32,
        _ value: ByteRange,
        of bytes: ByteBuffer
    ) {
        var field = ByteBuffer()
        var known = KnownField.other
        var pseudo = PseudoField.none
        if nameIndex != 0 {
            let entry = self.statics.entries[nameIndex &- 1]
            known = entry.known
            pseudo = entry.pseudo
            let names = self.statics.bytes
            field.writeBytes(names.readableBytesSpan.extracting(entry.start..<entry.start &+ entry.nameCount))
        } else {
            let written = bytes.readableBytesUInt8Span.extracting(name.lowerBound..<name.upperBound)
            for index in 0..<written.count { field.writeInteger(written[index].asLowercase) }
            known = KnownField(field.readableBytesUInt8Span)
        }
        let nameCount = field.readableBytes
        field.writeBytes(bytes.readableBytesSpan.extracting(value.lowerBound..<value.upperBound))
        let before = self.table.inserted
        self.table.insert(
            field.readableBytesUInt8Span,
            nameCount: nameCount,
            known: known,
            pseudo: pseudo,
            name: .plain,
            isValueMalformed: false
        )
        guard self.table.inserted != before else { return }
        let number = UInt32(truncatingIfNeeded: self.table.inserted)
        self.byField[Int(mark & Self.mask)] = number
        if nameIndex == 0 { self.byName[Int(nameMark & Self.mask)] = number }
    }

    private func writeName(_ bytes: ByteBuffer, _ name: ByteRange, into output: inout ByteBuffer) {
        let text = bytes.readableBytesUInt8Span.extracting(name.lowerBound..<name.upperBound)
        let count = self.huffman.encodedCount(text, lowercased: true)
        if count < text.count {
            Self.write(count, prefix: 7, flags: 0x80, into: &output)
            self.huffman.encode(text, lowercased: true, into: &output)
        } else {
            Self.write(text.count, prefix: 7, flags: 0, into: &output)
            for index in 0..<text.count { output.writeInteger(text[index].asLowercase) }
        }
    }

    private func writeString(_ bytes: ByteBuffer, _ value: ByteRange, into output: inout ByteBuffer) {
        let text = bytes.readableBytesUInt8Span.extracting(value.lowerBound..<value.upperBound)
        let count = self.huffman.encodedCount(text, lowercased: false)
        if count < text.count {
            Self.write(count, prefix: 7, flags: 0x80, into: &output)
            self.huffman.encode(text, lowercased: false, into: &output)
        } else {
            Self.write(text.count, prefix: 7, flags: 0, into: &output)
            output.writeBytes(text.bytes)
        }
    }

    static func write(_ value: Int, prefix: UInt8, flags: UInt8, into output: inout ByteBuffer) {
        let mask = (1 << Int(prefix)) &- 1
        guard value >= mask else {
            output.writeInteger(flags | UInt8(truncatingIfNeeded: value))
            return
        }
        output.writeInteger(flags | UInt8(truncatingIfNeeded: mask))
        var rest = value &- mask
        while rest >= 0x80 {
            output.writeInteger(0x80 | UInt8(truncatingIfNeeded: rest & 0x7F))
            rest >>= 7
        }
        output.writeInteger(UInt8(truncatingIfNeeded: rest))
    }

    /// Looks at the ends only: that two texts meet in one bucket costs a few bytes on the wire, no more. What is found
    /// is compared byte by byte.
    private static func hash(_ bytes: ByteBuffer, _ range: ByteRange, seed: UInt64, fold: UInt64) -> UInt64 {
        let start = bytes.readerIndex &+ range.lowerBound
        let count = Int(range.count)
        var head: UInt64 = 0
        var tail: UInt64 = 0
        if count >= 8 {
            head = bytes.getInteger(at: start, endianness: .host) ?? 0
            tail = bytes.getInteger(at: start &+ count &- 8, endianness: .host) ?? 0
        } else {
            for index in 0..<count {
                head = head << 8 | UInt64(bytes.getInteger(at: start &+ index, as: UInt8.self) ?? 0)
            }
        }
        var hash = (head | fold) &* 0x9E37_79B9_7F4A_7C15 ^ seed
        hash = (hash ^ hash >> 29 ^ (tail | fold)) &* 0xBF58_476D_1CE4_E5B9
        return (hash ^ hash >> 32 ^ UInt64(range.count)) &* 0x94D0_49BB_1331_11EB
    }

    /// Never 0, which means empty.
    private static func mark(_ hash: UInt64) -> UInt32 {
        UInt32(truncatingIfNeeded: ((hash ^ 0x5555) &* 0xD6E8_FEB8_6659_FD93) >> 32) | 1 << 31
    }

    private static func isEqual(
        _ left: ByteBuffer,
        _ leftStart: Int,
        _ right: ByteBuffer,
        _ rightStart: Int,
        _ range: ByteRange
    ) -> Bool {
        let left = left.readableBytesUInt8Span.extracting(leftStart..<leftStart &+ Int(range.count))
        let right = right.readableBytesUInt8Span.extracting(rightStart..<rightStart &+ Int(range.count))
        for index in 0..<left.count where left[index] != right[index] { return false }
        return true
    }
}
