internal import DequeModule

/// Which publishes of a channel the broker has taken responsibility for. Pure; one for each generation of a channel,
/// because the broker counts from 1 again on each.
///
/// Confirms may come out of order and for many at once. A mandatory message that has no route is first returned and
/// then acknowledged; the acknowledgement ends it as returned.
struct ConfirmMachine<Token: Sendable & Equatable>: Sendable {
    enum Outcome: Equatable {
        case acked, nacked
        case returned(AMQPReturnedMessage)
    }

    struct Settled: Equatable {
        var token: Token
        var bytes: Int
        var outcome: Outcome
    }

    private struct Entry {
        var token: Token
        var bytes: Int
        var settled = false
        var returned: AMQPReturnedMessage?
    }

    /// The entry at index i has the number `first + i`; settled ones in the middle stay until those before them go.
    private var entries: Deque<Entry> = []
    private var first: UInt64 = 1
    private(set) var unconfirmed = 0
    private(set) var unconfirmedBytes = 0

    /// How many numbers are held: what a window must bound, because one confirm that never comes holds those after it.
    var span: Int { self.entries.count }
    var nextNumber: UInt64 { self.first + UInt64(self.entries.count) }

    /// The next publish goes out; its number.
    mutating func published(_ token: Token, bytes: Int) -> UInt64 {
        let number = self.nextNumber
        self.entries.append(Entry(token: token, bytes: bytes))
        self.unconfirmed += 1
        self.unconfirmedBytes += bytes
        return number
    }

    enum ReturnAction: Equatable { case noted, unknown }

    mutating func received(_ message: AMQPReturnedMessage, for number: UInt64) -> ReturnAction {
        guard let index = self.index(of: number), !self.entries[index].settled else { return .unknown }
        self.entries[index].returned = message
        return .noted
    }

    enum ConfirmAction: Equatable {
        case settle([Settled])
        /// A number that was never used, or was confirmed before: the broker has lost count.
        case violation
    }

    /// `number` zero with `multiple` is "all so far".
    mutating func received(ack: Bool, number: UInt64, multiple: Bool) -> ConfirmAction {
        var settled: [Settled] = []
        if multiple {
            guard number < self.nextNumber else { return .violation }
            let last = number == 0 ? self.nextNumber - 1 : number
            // RabbitMQ may cover a range whose upper part was confirmed alone; that is not an error.
            while self.first <= last, let entry = self.entries.popFirst() {
                self.first += 1
                if !entry.settled { settled.append(self.settle(entry, ack: ack)) }
            }
        } else {
            guard let index = self.index(of: number), !self.entries[index].settled else { return .violation }
            settled.append(self.settle(self.entries[index], ack: ack))
            self.entries[index].settled = true
        }
        while let entry = self.entries.first, entry.settled {
            self.entries.removeFirst()
            self.first += 1
        }
        return .settle(settled)
    }

    /// Everything that is open, oldest first; after it the machine is empty and counts from 1.
    mutating func reset() -> [Token] {
        let open = self.entries.filter { !$0.settled }.map(\.token)
        self = ConfirmMachine()
        return open
    }

    /// Visits what is open, oldest first, until `body` says no. Returns whether anything is open.
    func forEachOpen(_ body: (Token) -> Bool) -> Bool {
        for entry in self.entries where !entry.settled {
            if !body(entry.token) { return true }
        }
        return self.unconfirmed > 0
    }

    private func index(of number: UInt64) -> Int? {
        guard number >= self.first, number < self.nextNumber else { return nil }
        return Int(number - self.first)
    }

    private mutating func settle(_ entry: Entry, ack: Bool) -> Settled {
        self.unconfirmed -= 1
        self.unconfirmedBytes -= entry.bytes
        let outcome: Outcome =
            if let message = entry.returned { .returned(message) } else { ack ? .acked : .nacked }
        return Settled(token: entry.token, bytes: entry.bytes, outcome: outcome)
    }
}
