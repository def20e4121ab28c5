internal import NIOCore

/// Why a message is malformed (RFC 9113, section 8.1.1): the stream ends, the connection goes on.
enum HTTP2Malformation: String, Sendable, Hashable {
    case fieldName = "a field name is empty, or holds a byte that it must not hold (an upper-case letter, for example)"
    case fieldValue = "a field value holds CR, LF or NUL, or white space at its ends"
    case pseudoFieldLate = "a pseudo-header field comes after a regular field"
    case pseudoFieldTwice = "a pseudo-header field comes twice"
    case pseudoFieldUnknown = "a pseudo-header field that this kind of message does not have"
    case pseudoFieldMissing = "a pseudo-header field is missing"
    case method = "the method is no token in upper case"
    case scheme = "the scheme is empty, or none"
    case path = "the path is empty, does not begin with a slash, or holds a control character or a space"
    case authority = "the authority holds user information, a space or a control character"
    case hostMissing = "neither an authority nor a host is given"
    case hostDiffers = "host is given twice, or differs from the authority"
    case connectionField = "a field that is for one connection of HTTP/1"
    case te = "te says something else than trailers"
    case contentLength = "content-length is no number, comes twice with two values, or does not fit the body"
    case status = "the status is none"
    case trailersTooLarge = "trailers over the limits of a head"
}

/// The fields of one HEADERS frame and its CONTINUATION frames, while the decoder writes them and after.
struct HTTP2FieldSection: ~Copyable, Sendable {
    var block: FieldBlock
    private(set) var method = ByteRange.empty
    private(set) var scheme = ByteRange.empty
    private(set) var path = ByteRange.empty
    private(set) var authority = ByteRange.empty
    private(set) var status = ByteRange.empty
    /// One bit for each ``PseudoField`` that was there.
    private var seen: UInt8 = 0
    /// The first rule that was broken.
    var malformation: HTTP2Malformation?
    /// The fields went over a limit; those from there on were decoded and thrown away.
    private(set) var isTooLarge = false
    private(set) var cookies = 0
    private var isPastPseudoFields = false
    private var size = 0
    private let limits: HTTP2FieldLimits

    init(limits: HTTP2FieldLimits, capacity: Int = 512, fields: Int = 16) {
        self.limits = limits
        var bytes = ByteBuffer()
        bytes.reserveCapacity(capacity)
        self.block = FieldBlock(bytes: bytes)
        self.block.fields.reserveCapacity(fields)
    }

    func has(_ field: PseudoField) -> Bool { self.seen & (1 << field.rawValue) != 0 }

    var hasPseudoFields: Bool { self.seen != 0 }

    /// Whether a field of this size still fits; from the first one on that does not, nothing is kept.
    mutating func admits(name: Int, value: Int) -> Bool {
        self.size &+= name &+ value &+ HPACKDynamicTable.overhead
        if self.size > self.limits.section || name &+ value > self.limits.field { self.isTooLarge = true }
        return !self.isTooLarge
    }

    /// Takes over a field whose bytes are the last of the block, or drops it with them.
    mutating func add(
        nameCount: Int,
        valueCount: Int,
        known: KnownField,
        pseudo: PseudoField,
        name: FieldNameKind,
        isValueMalformed: Bool
    ) {
        let start = self.block.bytes.readableBytes &- nameCount &- valueCount
        let value = ByteRange(start: start &+ nameCount, count: valueCount)
        if name == .forbidden { self.fail(.fieldName) }
        if isValueMalformed { self.fail(.fieldValue) }
        guard pseudo != .none else {
            self.isPastPseudoFields = true
            guard !self.limits.names.drops(name) else { return self.block.bytes.moveWriterIndex(to: start) }
            if known == .cookie { self.cookies &+= 1 }
            self.block.fields.append(
                FieldBlock.Field(name: ByteRange(start: start, count: nameCount), value: value, known: known)
            )
            return
        }
        if self.isPastPseudoFields { self.fail(.pseudoFieldLate) }
        let bit: UInt8 = 1 << pseudo.rawValue
        if self.seen & bit != 0 { self.fail(.pseudoFieldTwice) }
        self.seen |= bit
        switch pseudo {
        case .method: self.method = value
        case .scheme: self.scheme = value
        case .path: self.path = value
        case .authority: self.authority = value
        case .status: self.status = value
        case .unknown, .none: self.fail(.pseudoFieldUnknown)
        }
    }

    mutating func fail(_ malformation: HTTP2Malformation) {
        if self.malformation == nil { self.malformation = malformation }
    }

    /// Joins the crumbs of `cookie` into one field, as HTTP/1 wants it (RFC 9113, section 8.2.3).
    mutating func joinCookies() {
        guard self.cookies > 1 else { return }
        let old = self.block.bytes
        let bytes = old.readableBytesUInt8Span
        let start = self.block.bytes.readableBytes
        var place: Int?
        var kept = 0
        for index in self.block.fields.indices {
            let field = self.block.fields[index]
            if field.known == .cookie {
                if place == nil {
                    place = kept
                } else {
                    self.block.bytes.writeInteger(UInt16(0x3B20))
                    self.block.bytes.writeBytes(bytes.extracting(field.value.lowerBound..<field.value.upperBound).bytes)
                    continue
                }
                self.block.bytes.writeBytes(bytes.extracting(field.value.lowerBound..<field.value.upperBound).bytes)
            }
            self.block.fields[kept] = field
            kept += 1
        }
        self.block.fields.removeLast(self.block.fields.count - kept)
        if let place {
            self.block.fields[place].value = ByteRange(start: start, count: self.block.bytes.readableBytes - start)
        }
    }

    /// What a value may hold (RFC 9113, section 8.2.1).
    static func isValue(_ value: Span<UInt8>) -> Bool {
        guard value.count > 0 else { return true }
        if Self.isBlank(value[0]) || Self.isBlank(value[value.count &- 1]) { return false }
        for index in 0..<value.count {
            let byte = value[index]
            if byte < 0x0E, byte == 0 || byte == 0x0A || byte == 0x0D { return false }
        }
        return true
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
}

/// What is kept of header fields (``HTTP2Configuration``).
struct HTTP2FieldLimits: Sendable, Hashable {
    /// Of one message, counted as SETTINGS_MAX_HEADER_LIST_SIZE does: 32 more for each field.
    var section: Int
    /// Name and value of one field.
    var field: Int
    /// Which fields are dropped.
    var names = FieldNameRule()
}
