internal import DequeModule
internal import NIOCore

/// The fields that one direction of a connection has carried lately, newest first (RFC 7541, section 2.3.2).
///
/// The bytes stand one behind the other in a buffer that is moved to its front when its end is reached: at most once
/// for as many bytes as the table holds, and a field is always one stretch.
struct HPACKDynamicTable: ~Copyable, Sendable {
    static let overhead = 32

    private(set) var bytes = ByteBuffer()
    /// How many bytes have left the buffer: an entry's `start` counts from the first byte ever written.
    private var base = 0
    private var entries = Deque<HPACKEntry>()
    private(set) var size = 0
    private(set) var maximumSize: Int
    /// How many entries were ever added. An entry's number is this count before it came.
    private(set) var inserted = 0

    init(maximumSize: Int) { self.maximumSize = maximumSize }

    var count: Int { self.entries.count }

    /// The entry of this index, 0 being the newest.
    func entry(_ index: Int) -> HPACKEntry? {
        guard index >= 0, index < self.entries.count else { return nil }
        return self.entries[self.entries.count &- 1 &- index]
    }

    /// The index of the entry with this number, if it is still there.
    func index(ofNumber number: Int) -> Int? {
        let index = self.inserted &- 1 &- number
        return index >= 0 && index < self.entries.count ? index : nil
    }

    /// Where the entry's name begins in ``bytes``, counted from the reader index; its value follows.
    func offset(of entry: HPACKEntry) -> Int { entry.start &- self.base }

    mutating func resize(to maximum: Int) {
        self.maximumSize = maximum
        self.evict(until: maximum)
    }

    /// Adds a field whose name and value stand one behind the other. Nothing is added when it is larger than the table,
    /// which is then empty.
    mutating func insert(
        _ field: Span<UInt8>,
        nameCount: Int,
        known: KnownField,
        pseudo: PseudoField,
        name: FieldNameKind,
        isValueMalformed: Bool
    ) {
        let size = field.count &+ Self.overhead
        guard size <= self.maximumSize else {
            self.evict(until: 0)
            return
        }
        self.evict(until: self.maximumSize &- size)
        if self.bytes.writableBytes < field.count { self.makeRoom(field.count) }
        self.entries.append(
            HPACKEntry(
                start: self.base &+ self.bytes.readableBytes,
                nameCount: nameCount,
                valueCount: field.count &- nameCount,
                known: known,
                pseudo: pseudo,
                name: name,
                isValueMalformed: isValueMalformed
            )
        )
        self.bytes.writeBytes(field.bytes)
        self.size &+= size
        self.inserted &+= 1
    }

    private mutating func evict(until limit: Int) {
        while self.size > limit, let oldest = self.entries.popFirst() {
            self.size &-= oldest.size
            let count = oldest.nameCount &+ oldest.valueCount
            self.bytes.moveReaderIndex(forwardBy: count)
            self.base &+= count
        }
    }

    /// Grows the buffer up to twice what the table may hold; from then on the live bytes are moved to the front.
    private mutating func makeRoom(_ count: Int) {
        if self.bytes.capacity < 2 &* self.maximumSize {
            let wanted = min(2 &* self.maximumSize, max(512, 2 &* (self.bytes.readableBytes &+ count)))
            var larger = ByteBuffer()
            larger.reserveCapacity(wanted)
            larger.writeBytes(self.bytes.readableBytesSpan)
            self.bytes = larger
        } else {
            self.bytes.discardReadBytes()
        }
    }
}
