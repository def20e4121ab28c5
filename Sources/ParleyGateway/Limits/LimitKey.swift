/// What a limit counts by, for example the address of a client: 128 bits that stand for the bytes of the key.
///
/// The bytes themselves are not kept. The hash is keyed with a secret of the process, so nobody outside can search for
/// two keys that meet, and by chance two of a million keys meet once in 10^26 zones. A state therefore has one size,
/// and comparing keys is comparing two numbers.
package struct LimitKey: Sendable, Hashable {
    package let low: UInt64
    package let high: UInt64
    /// Of the bytes that went in. Empty keys are not limited.
    package let byteCount: Int

    /// No key: not limited.
    package static let none = LimitKey(low: 0, high: 0, byteCount: 0)

    package init(low: UInt64, high: UInt64, byteCount: Int) {
        self.low = low
        self.high = high
        self.byteCount = byteCount
    }

    package init(_ bytes: Span<UInt8>, seed: LimitKeySeed) {
        var hasher = LimitKeyHasher(seed: seed)
        hasher.combine(bytes)
        self = hasher.finish()
    }
}

/// The secret of the process that keys are hashed with. Drawn once; a zone only knows keys of one seed.
package struct LimitKeySeed: Sendable {
    package let first: UInt64
    package let second: UInt64

    package init(first: UInt64, second: UInt64) {
        self.first = first
        self.second = second
    }
}

/// SipHash-2-4 with 128 bits of result. A key of several parts is fed part by part and need not be put together first.
package struct LimitKeyHasher: Sendable {
    private var v0: UInt64
    private var v1: UInt64
    private var v2: UInt64
    private var v3: UInt64
    /// Bytes that do not fill a word yet, the first in the lowest place.
    private var tail: UInt64 = 0
    private var byteCount = 0

    package init(seed: LimitKeySeed) {
        self.v0 = seed.first ^ 0x736f_6d65_7073_6575
        self.v1 = seed.second ^ 0x646f_7261_6e64_6f6d ^ 0xee
        self.v2 = seed.first ^ 0x6c79_6765_6e65_7261
        self.v3 = seed.second ^ 0x7465_6462_7974_6573
    }

    package mutating func combine(_ byte: UInt8) {
        self.tail |= UInt64(byte) &<< UInt64((self.byteCount & 7) &* 8)
        self.byteCount &+= 1
        if self.byteCount & 7 == 0 {
            self.compress(self.tail)
            self.tail = 0
        }
    }

    package mutating func combine(_ bytes: Span<UInt8>) {
        for index in bytes.indices { self.combine(bytes[index]) }
    }

    package func finish() -> LimitKey {
        var end = self
        end.compress(self.tail | UInt64(truncatingIfNeeded: self.byteCount) &<< 56)
        end.v2 ^= 0xee
        end.rounds(4)
        let low = end.v0 ^ end.v1 ^ end.v2 ^ end.v3
        end.v1 ^= 0xdd
        end.rounds(4)
        let high = end.v0 ^ end.v1 ^ end.v2 ^ end.v3
        return LimitKey(low: low, high: high, byteCount: self.byteCount)
    }

    private mutating func compress(_ word: UInt64) {
        self.v3 ^= word
        self.rounds(2)
        self.v0 ^= word
    }

    private mutating func rounds(_ count: Int) {
        for _ in 0..<count {
            self.v0 &+= self.v1
            self.v1 = Self.rotate(self.v1, 13) ^ self.v0
            self.v0 = Self.rotate(self.v0, 32)
            self.v2 &+= self.v3
            self.v3 = Self.rotate(self.v3, 16) ^ self.v2
            self.v0 &+= self.v3
            self.v3 = Self.rotate(self.v3, 21) ^ self.v0
            self.v2 &+= self.v1
            self.v1 = Self.rotate(self.v1, 17) ^ self.v2
            self.v2 = Self.rotate(self.v2, 32)
        }
    }

    private static func rotate(_ word: UInt64, _ bits: UInt64) -> UInt64 { word &<< bits | word &>> (64 &- bits) }
}
