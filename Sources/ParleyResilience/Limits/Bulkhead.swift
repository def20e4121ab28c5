internal import DequeModule
package import ParleyCore

/// How many calls to one service are under way at once.
public struct BulkheadPolicy: Sendable, Hashable {
    /// Brought into 1…1,000,000.
    public var maxConcurrent: Int
    /// How many calls wait for one of those to end; the next is refused. Brought into 0…1,000,000.
    public var maxWaiting: Int
    /// How long a call waits. Brought into 0…1 h; the deadline of the call counts too.
    public var longestWait: Duration

    public init(maxConcurrent: Int = 1_024, maxWaiting: Int = 1_024, longestWait: Duration = .seconds(1)) {
        self.maxConcurrent = maxConcurrent
        self.maxWaiting = maxWaiting
        self.longestWait = longestWait
    }
}

/// Lets so many calls run, so many wait in the order in which they came, and refuses the rest. Pure: who waits is an
/// id, the shell has what it stands for.
package struct Bulkhead: Equatable, Sendable {
    package enum Entry: Equatable, Sendable {
        case run
        /// Until ``leave()`` names it, but not beyond this instant; then ``giveUp(_:)``.
        case wait(until: Moment)
        case refuse
    }

    private let maxConcurrent: Int
    private let maxWaiting: Int
    private let longestWait: Duration
    package private(set) var running = 0
    /// Those who gave up stay here until they come to the front, or are more than those who wait.
    private var queue = Deque<UInt64>()
    private var waiters: Set<UInt64> = []

    package init(_ policy: BulkheadPolicy) {
        self.maxConcurrent = min(max(1, policy.maxConcurrent), 1_000_000)
        self.maxWaiting = min(max(0, policy.maxWaiting), 1_000_000)
        self.longestWait = policy.longestWait.between(.zero, .seconds(3_600))
    }

    package var waiting: Int { self.waiters.count }

    /// - Parameter id: of this call, never used before.
    package mutating func enter(_ id: UInt64, at now: Moment) -> Entry {
        // Whoever waits goes first, also when there is room for a moment.
        if self.running < self.maxConcurrent, self.waiters.isEmpty {
            self.running += 1
            return .run
        }
        guard self.waiters.count < self.maxWaiting, self.longestWait > .zero else { return .refuse }
        self.queue.append(id)
        self.waiters.insert(id)
        return .wait(until: now.advanced(by: self.longestWait))
    }

    /// A call has ended.
    ///
    /// - Returns: the one that takes its place.
    package mutating func leave() -> UInt64? {
        while let next = self.queue.popFirst() {
            guard self.waiters.remove(next) != nil else { continue }
            return next
        }
        self.running = max(0, self.running - 1)
        return nil
    }

    /// Stops waiting.
    ///
    /// - Returns: `false` when it has been let in already, and runs.
    package mutating func giveUp(_ id: UInt64) -> Bool {
        guard self.waiters.remove(id) != nil else { return false }
        if self.queue.count > 2 * self.waiters.count + 16 {
            self.queue.removeAll { !self.waiters.contains($0) }
        }
        return true
    }
}
