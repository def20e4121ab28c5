internal import NIOCore

/// Ids of requests: 32 hexadecimal digits that nobody can foretell from others, made without a system call.
///
/// As nginx makes them: a keyed hash (SipHash-2-4, twice) of a counter. The key is drawn once for each event loop.
struct RequestIDs {
    private let keys: (UInt64, UInt64, UInt64, UInt64)
    private var counter: UInt64 = 0

    init(random: () -> UInt64) {
        self.keys = (random(), random(), random(), random())
    }

    mutating func next() -> RequestID {
        self.counter &+= 1
        return RequestID(
            high: Self.siphash(self.counter, self.keys.0, self.keys.1),
            low: Self.siphash(self.counter, self.keys.2, self.keys.3)
        )
    }

    private static func siphash(_ message: UInt64, _ key0: UInt64, _ key1: UInt64) -> UInt64 {
        var v0 = key0 ^ 0x736f_6d65_7073_6575
        var v1 = key1 ^ 0x646f_7261_6e64_6f6d
        var v2 = key0 ^ 0x6c79_6765_6e65_7261
        var v3 = key1 ^ 0x7465_6462_7974_6573
        func round() {
            v0 &+= v1
            v1 = v1 &<< 13 | v1 &>> 51
            v1 ^= v0
            v0 = v0 &<< 32 | v0 &>> 32
            v2 &+= v3
            v3 = v3 &<< 16 | v3 &>> 48
            v3 ^= v2
            v0 &+= v3
            v3 = v3 &<< 21 | v3 &>> 43
            v3 ^= v0
            v2 &+= v1
            v1 = v1 &<< 17 | v1 &>> 47
            v1 ^= v2
            v2 = v2 &<< 32 | v2 &>> 32
        }
        func take(_ word: UInt64) {
            v3 ^= word
            round()
            round()
            v0 ^= word
        }
        take(message)
        // The length of the message, in its last byte.
        take(8 &<< 56)
        v2 ^= 0xff
        for _ in 0..<4 { round() }
        return v0 ^ v1 ^ v2 ^ v3
    }
}

struct RequestID: Sendable, Hashable {
    var high: UInt64
    var low: UInt64

    func write(into buffer: inout ByteBuffer) {
        Self.write(self.high, into: &buffer)
        Self.write(self.low, into: &buffer)
    }

    static func write(_ word: UInt64, into buffer: inout ByteBuffer) {
        buffer.writeInteger(Self.digits(UInt32(truncatingIfNeeded: word &>> 32)))
        buffer.writeInteger(Self.digits(UInt32(truncatingIfNeeded: word)))
    }

    /// Eight digits at once, the first in the highest byte.
    private static func digits(_ word: UInt32) -> UInt64 {
        // A nibble to each byte.
        var nibbles = UInt64(word)
        nibbles = (nibbles | nibbles &<< 16) & 0x0000_FFFF_0000_FFFF
        nibbles = (nibbles | nibbles &<< 8) & 0x00FF_00FF_00FF_00FF
        nibbles = (nibbles | nibbles &<< 4) & 0x0F0F_0F0F_0F0F_0F0F
        // 1 in each byte that becomes a letter.
        let letters = (nibbles &+ 0x0606_0606_0606_0606) &>> 4 & 0x0101_0101_0101_0101
        return nibbles &+ 0x3030_3030_3030_3030 &+ letters &* 39
    }

    var text: String {
        var buffer = ByteBuffer()
        self.write(into: &buffer)
        return String(buffer: buffer)
    }
}
