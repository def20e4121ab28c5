internal import Synchronization

/// A time-ordered identifier (RFC 9562, version 7): 48 bits of milliseconds, then version, counter and chance.
public struct UUIDv7: Sendable, Hashable, CustomStringConvertible {
    public let high: UInt64
    public let low: UInt64

    init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// The canonical lower-case form, 36 characters.
    public var description: String {
        String(unsafeUninitializedCapacity: 36) { buffer in
            var position = 0
            for nibble in 0..<32 {
                if nibble == 8 || nibble == 12 || nibble == 16 || nibble == 20 {
                    buffer[position] = UInt8(ascii: "-")
                    position += 1
                }
                let word = nibble < 16 ? self.high : self.low
                let value = UInt8(truncatingIfNeeded: word >> UInt64(60 - nibble % 16 * 4)) & 0xF
                buffer[position] = value < 10 ? 48 + value : 87 + value
                position += 1
            }
            return position
        }
    }
}

/// Makes ``UUIDv7``s that rise strictly within one generator, also when the calendar jumps back or many are made in one
/// millisecond: the 12 bits behind the version are a counter, and when it runs over, the time field is moved on by one
/// (method 1 of RFC 9562, section 6.2).
public final class UUIDv7Generator: Sendable {
    private struct State {
        var milliseconds: UInt64 = 0
        var counter: UInt64 = 0
    }

    private let state = Mutex(State())
    private let time: any TimeSource
    private let random: any RandomSource

    public init(time: any TimeSource = SystemTimeSource(), random: any RandomSource = SystemRandomSource()) {
        self.time = time
        self.random = random
    }

    /// The process's own generator.
    public static let shared = UUIDv7Generator()

    public func next() -> UUIDv7 {
        let reading = UInt64(max(0, self.time.wallTime.milliseconds))
        let chance = self.random.next()
        let (milliseconds, counter) = self.state.withLock { state in
            if reading > state.milliseconds {
                state.milliseconds = reading
                state.counter = self.random.next() & 0x1FF  // room above the start, so that a burst seldom runs over
            } else {
                state.counter += 1
                if state.counter > 0xFFF {
                    state.milliseconds += 1
                    state.counter = 0
                }
            }
            return (state.milliseconds, state.counter)
        }
        return UUIDv7(high: milliseconds << 16 | 0x7000 | counter, low: chance >> 2 | 0x8000_0000_0000_0000)
    }
}
