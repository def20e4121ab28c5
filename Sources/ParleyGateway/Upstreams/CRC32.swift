/// The CRC of Ethernet and zip, which nginx spreads keys with. Fed piece by piece.
struct CRC32: Sendable {
    private static let table: [UInt32] = (0..<256).map { byte in
        var value = UInt32(byte)
        for _ in 0..<8 { value = value & 1 == 0 ? value &>> 1 : value &>> 1 ^ 0xedb8_8320 }
        return value
    }

    private var register = UInt32.max

    var value: UInt32 { ~self.register }

    mutating func combine(_ byte: UInt8) {
        self.register = Self.table[Int((self.register ^ UInt32(byte)) & 0xff)] ^ self.register &>> 8
    }

    mutating func combine(_ bytes: Span<UInt8>) {
        for index in bytes.indices { self.combine(bytes[index]) }
    }

    mutating func combine(_ bytes: some Sequence<UInt8>) {
        for byte in bytes { self.combine(byte) }
    }

    /// The lowest byte first.
    mutating func combine(word: UInt32) {
        for shift in stride(from: UInt32(0), to: 32, by: 8) { self.combine(UInt8(truncatingIfNeeded: word &>> shift)) }
    }

    /// As text.
    mutating func combine(decimal number: UInt32) {
        var divisor: UInt32 = 1
        while number / divisor >= 10 { divisor &*= 10 }
        while divisor > 0 {
            self.combine(UInt8(truncatingIfNeeded: 48 &+ number / divisor % 10))
            divisor /= 10
        }
    }
}
