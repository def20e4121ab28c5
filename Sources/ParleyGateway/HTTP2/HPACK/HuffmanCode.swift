internal import NIOCore

/// The Huffman code of HPACK (RFC 7541, appendix B).
///
/// The code is canonical: codes of one length are consecutive numbers in the order of their symbols, and follow those
/// of the length before. So the lengths alone say it all, and a code that is longer than the table's step is found by
/// comparing with the first code of each length.
final class HuffmanCode: Sendable {
    /// Bits of a code in the upper half, its length in the lower byte.
    private let codes: [UInt64]
    /// By the next nine bits: symbol in the upper byte, length in the lower one; 0 when the code is longer.
    private let byPrefix: [UInt16]
    /// Per length: the first code of it, how many there are, and where their symbols begin.
    private let first: [UInt32]
    private let counts: [UInt32]
    private let offsets: [Int]
    /// The symbols in the order of their codes; 256 is the end-of-string symbol.
    private let symbols: [UInt16]

    static let shared = HuffmanCode()
    private static let step: UInt64 = 9
    private static let longest = 30

    private init() {
        let order = (0..<Self.lengths.count).sorted {
            (Self.lengths[$0], $0) < (Self.lengths[$1], $1)
        }
        var codes = [UInt64](repeating: 0, count: 257)
        var byPrefix = [UInt16](repeating: 0, count: 1 << Int(Self.step))
        var first = [UInt32](repeating: 0, count: Self.longest + 1)
        var counts = first
        var offsets = [Int](repeating: 0, count: Self.longest + 1)
        var code: UInt32 = 0
        var previous: UInt8 = 0
        for (rank, symbol) in order.enumerated() {
            let length = Self.lengths[symbol]
            if previous != 0 { code = (code &+ 1) << UInt32(length - previous) }
            if length != previous {
                first[Int(length)] = code
                offsets[Int(length)] = rank
            }
            counts[Int(length)] += 1
            previous = length
            codes[symbol] = UInt64(code) << 32 | UInt64(length)
            if UInt64(length) <= Self.step, symbol < 256 {
                let free = Self.step - UInt64(length)
                let start = Int(code) << Int(free)
                for index in start..<(start + 1 << Int(free)) {
                    byPrefix[index] = UInt16(symbol) << 8 | UInt16(length)
                }
            }
        }
        self.codes = codes
        self.byPrefix = byPrefix
        self.first = first
        self.counts = counts
        self.offsets = offsets
        self.symbols = order.map { UInt16($0) }
    }

    /// How many bytes this text takes in Huffman code.
    func encodedCount(_ text: Span<UInt8>, lowercased: Bool) -> Int {
        var bits = 0
        for index in 0..<text.count {
            let byte = lowercased ? text[index].asLowercase : text[index]
            bits &+= Int(truncatingIfNeeded: self.codes[Int(byte)] & 0xFF)
        }
        return (bits &+ 7) / 8
    }

    func encode(_ text: Span<UInt8>, lowercased: Bool, into output: inout ByteBuffer) {
        var pending: UInt64 = 0
        var count: UInt64 = 0
        for index in 0..<text.count {
            let byte = lowercased ? text[index].asLowercase : text[index]
            let code = self.codes[Int(byte)]
            let length = code & 0xFF
            pending = pending << length | code >> 32
            count &+= length
            if count >= 32 {
                count &-= 32
                output.writeInteger(UInt32(truncatingIfNeeded: pending >> count))
            }
        }
        // The rest is filled up with ones: the beginning of the end-of-string symbol.
        let fill = (8 &- count & 7) & 7
        pending = pending << fill | (1 << fill &- 1)
        count &+= fill
        while count >= 8 {
            count &-= 8
            output.writeInteger(UInt8(truncatingIfNeeded: pending >> count))
        }
    }

    func decode(_ text: Span<UInt8>, into output: inout ByteBuffer) throws(HTTP2Error) {
        // The shortest code has five bits.
        let longest = text.count &* 8 / 5 &+ 1
        try output.writeWithOutputRawSpan(minimumWritableBytes: longest) {
            (output: inout OutputRawSpan) throws(HTTP2Error) in
            var pending: UInt64 = 0
            var count: UInt64 = 0
            var next = 0
            while true {
                while count <= 56, next < text.count {
                    pending = pending << 8 | UInt64(text[next])
                    count &+= 8
                    next &+= 1
                }
                guard count > 0 else { return }
                let window =
                    count >= Self.step
                    ? pending >> (count &- Self.step)
                    : pending << (Self.step &- count) | (1 << (Self.step &- count) &- 1)
                let entry = self.byPrefix[Int(window & (1 << Self.step &- 1))]
                let length = UInt64(entry & 0xFF)
                if length != 0, length <= count {
                    output.append(UInt8(truncatingIfNeeded: entry >> 8))
                    count &-= length
                    continue
                }
                if count < 8, pending & (1 << count &- 1) == 1 << count &- 1, next == text.count { return }
                let (symbol, used) = try self.longCode(pending, count)
                output.append(symbol)
                count &-= used
            }
        }
    }

    /// The code at the front of the bits when it is longer than a step of the table.
    private func longCode(_ pending: UInt64, _ count: UInt64) throws(HTTP2Error) -> (symbol: UInt8, length: UInt64) {
        var length = Int(Self.step) + 1
        while length <= Self.longest, UInt64(length) <= count {
            let code = UInt32(truncatingIfNeeded: pending >> (count &- UInt64(length)) & (1 << UInt64(length) &- 1))
            let first = self.first[length]
            if code >= first, code &- first < self.counts[length] {
                let symbol = self.symbols[self.offsets[length] + Int(code &- first)]
                guard symbol < 256 else {
                    throw HTTP2Error(.compressionError, "a Huffman code holds the end-of-string symbol")
                }
                return (UInt8(symbol), UInt64(length))
            }
            length += 1
        }
        throw HTTP2Error(.compressionError, "a Huffman code ends in the middle of a symbol, or its padding is wrong")
    }

    /// The lengths of the codes by symbol; the last is the end-of-string symbol.
    private static let lengths: [UInt8] = [
        13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
        28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
        6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
        5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
        13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
        7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
        15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
        6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
        20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
        24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
        22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
        21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
        26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
        19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
        20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
        26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
        30,
    ]
}

extension UInt8 {
    /// Of `A` to `Z` the small letter, any other byte as it is.
    var asLowercase: UInt8 { self &- 0x41 < 26 ? self | 0x20 : self }
}
