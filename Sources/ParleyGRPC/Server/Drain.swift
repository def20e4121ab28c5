internal import ParleyCore
internal import Synchronization

/// Until when calls under way may go on, once the server shuts down.
final class Drain: Sendable {
    private let limit = Mutex<Deadline?>(nil)
    private let changed = Signal()

    /// `nil` while the server serves.
    var end: Deadline? { self.limit.withLock { $0 } }

    /// The first one counts.
    func begin(until end: Deadline) {
        self.limit.withLock { if $0 == nil { $0 = end } }
        self.changed.ring()
    }

    /// Waits for the beginning.
    func untilBegun(on time: any TimeSource) async throws -> Deadline {
        while true {
            let generation = self.changed.generation
            if let end { return end }
            await self.changed.wait(after: generation, until: nil, on: time)
            try Task.checkCancellation()
        }
    }
}
