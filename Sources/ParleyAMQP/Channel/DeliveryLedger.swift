internal import DequeModule

/// Which deliveries of a channel await their settlement, so that a mistake of ours is an error here and not a channel
/// that the broker closes. Pure; tags only ever rise.
struct DeliveryLedger: Sendable {
    private var tags: Deque<UInt64> = []
    private(set) var generation: UInt64

    init(generation: UInt64) {
        self.generation = generation
    }

    var unsettled: Int { self.tags.count }

    enum DeliverAction: Equatable { case noted, violation }

    mutating func delivered(_ tag: UInt64) -> DeliverAction {
        guard tag > self.tags.last ?? 0 else { return .violation }
        self.tags.append(tag)
        return .noted
    }

    enum SettleAction: Equatable { case send, stale, alreadySettled }

    mutating func settle(_ tag: UInt64, generation: UInt64, multiple: Bool) -> SettleAction {
        guard generation == self.generation else { return .stale }
        guard let index = self.position(of: tag) else { return .alreadySettled }
        if multiple {
            self.tags.removeFirst(index + 1)
        } else if index == 0 {
            self.tags.removeFirst()
        } else {
            self.tags.remove(at: index)
        }
        return .send
    }

    private func position(of tag: UInt64) -> Int? {
        // Almost always the first: consumers settle in the order of delivery.
        if self.tags.first == tag { return 0 }
        var low = 0
        var high = self.tags.count
        while low < high {
            let middle = (low + high) / 2
            if self.tags[middle] < tag { low = middle + 1 } else { high = middle }
        }
        return low < self.tags.count && self.tags[low] == tag ? low : nil
    }
}
