/// What a byte may be in a head, looked up instead of compared.
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

    private static let table: [UInt8] = (0...255).map { (byte: Int) -> UInt8 in
        var kind: ByteKind = []
        let scalar = UInt8(byte)
        let isUpper = (65...90).contains(scalar)
        let isLower = (97...122).contains(scalar)
        let isDigit = (48...57).contains(scalar)
        if isUpper || isLower || isDigit || scalar == UInt8(ascii: "-") { kind.insert(.plainName) }
        if isUpper || scalar == UInt8(ascii: "_") || scalar == UInt8(ascii: "-") { kind.insert(.method) }
        if scalar < 0x20 || scalar == 0x7F { kind.insert(.control) }
        if isDigit || (65...70).contains(scalar) || (97...102).contains(scalar) { kind.insert(.hex) }
        if isDigit { kind.insert(.digit) }
        return kind.rawValue
    }

    @inline(__always)
    static func of(_ byte: UInt8) -> ByteKind { ByteKind(rawValue: Self.table[Int(byte)]) }

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
