/// What a byte may be in a head.
struct ByteKind: OptionSet, Sendable {
    let rawValue: UInt8

    /// Letters, digits and `-`: what nginx takes as a valid name without a second thought.
    static let plainName = ByteKind(rawValue: 1)
    /// Letters of a method: `A`–`Z`, `_` and `-`.
    static let method = ByteKind(rawValue: 2)
    /// 0x00–0x1F and 0x7F.
    static let control = ByteKind(rawValue: 4)
    static let hex = ByteKind(rawValue: 16)
    static let digit = ByteKind(rawValue: 32)

    /// Bits instead of a table: a table is a lazy global, and each look at one asks whether it has been made. What
    /// the caller does not ask about is not computed.
    @inline(__always)
    static func of(_ byte: UInt8) -> ByteKind {
        ByteKind(
            rawValue: Self.bit(byte, 0x03FF_2000_0000_0000, 0x07FF_FFFE_07FF_FFFE)
                | Self.bit(byte, 0x0000_2000_0000_0000, 0x0000_0000_87FF_FFFE) &<< 1
                | Self.bit(byte, 0x0000_0000_FFFF_FFFF, 0x8000_0000_0000_0000) &<< 2
                | Self.bit(byte, 0x03FF_0000_0000_0000, 0x0000_007E_0000_007E) &<< 4
                | Self.bit(byte, 0x03FF_0000_0000_0000, 0x0000_0000_0000_0000) &<< 5
        )
    }

    /// - Parameters:
    ///   - low: A bit for each of the bytes 0 to 63.
    ///   - high: Of 64 to 127; above there is none.
    @inline(__always)
    private static func bit(_ byte: UInt8, _ low: UInt64, _ high: UInt64) -> UInt8 {
        let word = byte < 64 ? low : byte < 128 ? high : 0
        return UInt8(truncatingIfNeeded: word &>> UInt64(byte & 63)) & 1
    }

    @inline(__always)
    static func hexValue(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 48...57: byte &- 48
        case 65...70: byte &- 55
        case 97...102: byte &- 87
        default: nil
        }
    }
}
