/// A reading of a ``TimeSource`` whose size the compiler knows.
///
/// `ContinuousClock.Instant` belongs to a library that keeps the right to change it, so whatever holds one is laid out
/// when the program runs, and a copy, a comparison, or a step of an async function that has one costs look-ups. Where
/// thousands of calls a second are decided, times are moments; where tasks sleep and where users look, they are
/// instants. Both say the same: a moment is how long after ``origin`` its instant is.
package struct Moment: Sendable, Hashable {
    private let offset: Duration

    /// Not inlined, so that the instant stays out of the frame of an async caller.
    @inline(never)
    package init(_ instant: ContinuousClock.Instant) {
        self.offset = Self.origin.duration(to: instant)
    }

    private init(offset: Duration) {
        self.offset = offset
    }

    package var instant: ContinuousClock.Instant { Self.origin.advanced(by: self.offset) }

    package func duration(to other: Moment) -> Duration { other.offset - self.offset }

    package func advanced(by duration: Duration) -> Moment { Moment(offset: self.offset + duration) }
}

extension Moment: Comparable {
    package static func < (lhs: Moment, rhs: Moment) -> Bool { lhs.offset.attoseconds < rhs.offset.attoseconds }

    package static func == (lhs: Moment, rhs: Moment) -> Bool { lhs.offset.attoseconds == rhs.offset.attoseconds }
}

extension TimeSource {
    /// ``now``, as a number.
    @inline(never)
    package var moment: Moment { Moment(self.now) }
}
