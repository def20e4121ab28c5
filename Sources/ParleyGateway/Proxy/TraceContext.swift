internal import NIOCore

/// `traceparent` of W3C's Trace Context, as bytes: the trace of the client's field, or a new one.
struct TraceContext: Sendable, Hashable {
    private var trace: (high: UInt64, low: UInt64)
    private var isSampled: Bool

    static let length = 55

    /// Starts a trace.
    init(_ id: RequestID) {
        // A trace of zeros is none.
        self.trace = (id.high, id.low | 1)
        self.isSampled = true
    }

    /// `nil` when the field is malformed; the standard says to start a new trace then.
    init?(_ field: Span<UInt8>) {
        guard field.count >= Self.length, field[2] == Self.hyphen, field[35] == Self.hyphen, field[52] == Self.hyphen,
            let version = Self.word(field, from: 0, digits: 2), version != 0xff,
            let high = Self.word(field, from: 3, digits: 16), let low = Self.word(field, from: 19, digits: 16),
            let parent = Self.word(field, from: 36, digits: 16), let flags = Self.word(field, from: 53, digits: 2),
            high | low != 0, parent != 0
        else { return nil }
        // Later versions may say more behind a hyphen.
        guard field.count == Self.length || (version > 0 && field[Self.length] == Self.hyphen) else { return nil }
        self.trace = (high, low)
        self.isSampled = flags & 1 == 1
    }

    /// With a span of its own for the next hop.
    func write(span: UInt64, into buffer: inout ByteBuffer) {
        buffer.writeStaticString("00-")
        RequestID(high: self.trace.high, low: self.trace.low).write(into: &buffer)
        buffer.writeInteger(Self.hyphen)
        RequestID.write(span | 1, into: &buffer)
        buffer.writeStaticString(self.isSampled ? "-01" : "-00")
    }

    private static let hyphen = UInt8(ascii: "-")

    private static func word(_ field: Span<UInt8>, from start: Int, digits: Int) -> UInt64? {
        var word: UInt64 = 0
        for index in start..<(start &+ digits) {
            let byte = field[index]
            switch byte {
            case 48...57: word = word &<< 4 | UInt64(byte &- 48)
            // Only lower case, says the standard.
            case 97...102: word = word &<< 4 | UInt64(byte &- 87)
            default: return nil
            }
        }
        return word
    }

    static func == (lhs: Self, rhs: Self) -> Bool { lhs.trace == rhs.trace && lhs.isSampled == rhs.isSampled }

    func hash(into hasher: inout Hasher) {
        hasher.combine(self.trace.high)
        hasher.combine(self.trace.low)
        hasher.combine(self.isSampled)
    }
}
