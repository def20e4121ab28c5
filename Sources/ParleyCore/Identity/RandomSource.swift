internal import Synchronization

#if canImport(Darwin)
internal import Darwin
#elseif canImport(Glibc)
internal import Glibc
#endif

/// Where a shell's chance comes from, so that a test can repeat it.
public protocol RandomSource: Sendable {
    /// 64 uniformly distributed bits.
    func next() -> UInt64
}

extension RandomSource {
    /// Uniform in `0..<1`.
    public func unitInterval() -> Double { Double(self.next() >> 11) * 0x1p-53 }
}

/// The operating system's generator, asked for 32 numbers at a time: it is a system call, and every request id, span id
/// and jitter takes one. A number is given out once and not kept.
public struct SystemRandomSource: RandomSource {
    /// What has been drawn and not given out. Not for a process that forks without `exec`: both would go on with it.
    private struct Stock {
        /// 256 bytes is the most that `getentropy` gives at once.
        static let size = 32

        var numbers: [UInt64] = []

        mutating func next() -> UInt64 {
            if self.numbers.isEmpty { self.fill() }
            return self.numbers.removeLast()
        }

        private mutating func fill() {
            let drawn = [UInt64](unsafeUninitializedCapacity: Self.size) { buffer, count in
                if getentropy(buffer.baseAddress, Self.size * MemoryLayout<UInt64>.stride) == 0 { count = Self.size }
            }
            if !drawn.isEmpty {
                self.numbers = drawn
                return
            }
            // A kernel without the call; the standard library knows other ways.
            var generator = SystemRandomNumberGenerator()
            self.numbers = [generator.next()]
        }
    }

    private static let stock = Mutex(Stock())

    public init() {}

    public func next() -> UInt64 { Self.stock.withLock { $0.next() } }
}

/// SplitMix64: the same numbers for the same seed. For tests and simulations, never for secrets.
public final class SeededRandomSource: RandomSource {
    private let state: Mutex<UInt64>

    public init(seed: UInt64) {
        self.state = Mutex(seed)
    }

    public func next() -> UInt64 {
        self.state.withLock { state in
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
    }
}
