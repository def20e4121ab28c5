internal import DequeModule

/// Which channel numbers are free. A number comes back only when the broker has said that it is done with it, and the
/// one that has rested longest is given next.
struct ChannelNumbers {
    private let maximum: UInt16
    private var fresh: UInt16 = 1
    private var freed: Deque<UInt16> = []
    private var used: Set<UInt16> = []

    /// - Parameter maximum: the largest number that was agreed; zero is no limit.
    init(maximum: UInt16) {
        self.maximum = maximum == 0 ? .max : maximum
    }

    var inUse: Int { self.used.count }

    mutating func take() -> UInt16? {
        let number: UInt16
        if let first = self.freed.popFirst() {
            number = first
        } else if self.fresh <= self.maximum, self.fresh != 0 {
            number = self.fresh
            self.fresh = self.fresh &+ 1
        } else {
            return nil
        }
        self.used.insert(number)
        return number
    }

    mutating func giveBack(_ number: UInt16) {
        guard self.used.remove(number) != nil else { return }
        self.freed.append(number)
    }
}
