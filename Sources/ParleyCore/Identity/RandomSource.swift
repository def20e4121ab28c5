internal import Synchronization

/// Where a shell's chance comes from, so that a test can repeat it.
public protocol RandomSource: Sendable {
    /// 64 uniformly distributed bits.
    func next() -> UInt64
}

extension RandomSource {
    /// Uniform in `0..<1`.
    public func unitInterval() -> Double { Double(self.next() >> 11) * 0x1p-53 }
}

/// The operating system's generator.
public struct SystemRandomSource: RandomSource {
    public init() {}

    public func next() -> UInt64 {
        var generator = SystemRandomNumberGenerator()
        return generator.next()
    }
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
