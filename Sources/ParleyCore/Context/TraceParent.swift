/// The W3C Trace Context header `traceparent`, version 00: `00-<32 hex trace id>-<16 hex span id>-<2 hex flags>`.
///
/// Rules of https://www.w3.org/TR/trace-context/: lower-case hexadecimal, neither id all zeros, version `ff` refused,
/// a higher version is read by its first four fields.
public struct TraceParent: Sendable, Hashable, CustomStringConvertible {
    public var traceID: String
    public var spanID: String
    public var isSampled: Bool

    /// Starts a new trace.
    public init(random: any RandomSource, isSampled: Bool = true) {
        // Zero ids are invalid; setting one bit keeps them away without a loop.
        self.traceID = Self.hex(random.next(), random.next() | 1)
        self.spanID = Self.hex(random.next() | 1)
        self.isSampled = isSampled
    }

    /// Reads the header; `nil` when it is malformed, in which case the standard says to start a new trace.
    public init?(_ text: String) {
        let fields = text.utf8.split(separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        guard fields.count >= 4, fields[0].count == 2, fields[1].count == 32, fields[2].count == 16,
            fields[3].count == 2, fields[0..<4].allSatisfy({ $0.allSatisfy(Self.isLowerHex) }),
            let version = String(fields[0]), version != "ff", version != "00" || fields.count == 4,
            let trace = String(fields[1]), let span = String(fields[2]),
            trace.contains(where: { $0 != "0" }), span.contains(where: { $0 != "0" }),
            let flags = UInt8(String(decoding: fields[3], as: UTF8.self), radix: 16)
        else { return nil }
        self.traceID = trace
        self.spanID = span
        self.isSampled = flags & 1 == 1
    }

    /// The same trace with a span id of its own: what the next hop is sent.
    public func child(random: any RandomSource) -> TraceParent {
        var child = self
        child.spanID = Self.hex(random.next() | 1)
        return child
    }

    public var description: String { "00-\(self.traceID)-\(self.spanID)-\(self.isSampled ? "01" : "00")" }

    private static func isLowerHex(_ byte: UInt8) -> Bool { (48...57).contains(byte) || (97...102).contains(byte) }

    /// Sixteen digits a word, written in place: every try of every call takes one or two of these.
    private static func hex(_ words: UInt64...) -> String {
        String(unsafeUninitializedCapacity: words.count * 16) { buffer in
            for (index, word) in words.enumerated() {
                for digit in 0..<16 {
                    let value = UInt8(truncatingIfNeeded: word >> UInt64(60 - digit * 4)) & 0xF
                    buffer[index * 16 + digit] = value < 10 ? 48 + value : 87 + value
                }
            }
            return words.count * 16
        }
    }
}
