public import ParleyCore
internal import Synchronization

/// A ``ParleyCore/TimeSource`` that stands still until a test moves it.
///
/// Both readings move together with ``advance(by:)``; ``jumpWall(by:)`` moves the calendar alone, as an operator who
/// sets the clock does. Sleepers wake in the order of their instants.
///
/// ```swift
/// let clock = ManualClock()
/// async let done: Void = clock.sleep(for: .seconds(60))
/// await clock.waitForSleepers(1)      // it sleeps now: no need to guess for how long to wait
/// clock.advance(by: .seconds(60))
/// ```
public final class ManualClock: TimeSource {
    private struct Sleeper {
        let id: UInt64
        let instant: ContinuousClock.Instant
        let continuation: CheckedContinuation<Void, any Error>
    }

    private struct Watcher {
        let id: UInt64
        let count: Int
        let continuation: CheckedContinuation<Void, Never>
    }

    private struct State {
        var now: ContinuousClock.Instant
        var wallTime: Timestamp
        var nextID: UInt64 = 0
        var sleepers: [Sleeper] = []
        var watchers: [Watcher] = []

        mutating func makeID() -> UInt64 {
            self.nextID += 1
            return self.nextID
        }

        mutating func takeSatisfiedWatchers() -> [Watcher] {
            let satisfied = self.watchers.filter { $0.count <= self.sleepers.count }
            self.watchers.removeAll { $0.count <= self.sleepers.count }
            return satisfied
        }
    }

    private let state: Mutex<State>

    /// - Parameter wallTime: What the calendar reads at first: 2026-01-01T00:00:00Z unless said otherwise.
    public init(wallTime: Timestamp = Timestamp(microseconds: 1_767_225_600_000_000)) {
        self.state = Mutex(State(now: SystemTimeSource().now, wallTime: wallTime))
    }

    public var now: ContinuousClock.Instant { self.state.withLock { $0.now } }

    public var wallTime: Timestamp { self.state.withLock { $0.wallTime } }

    /// How many tasks sleep on this clock.
    public var sleepers: Int { self.state.withLock { $0.sleepers.count } }

    /// When the first of the sleepers wakes.
    public var nextWake: ContinuousClock.Instant? { self.state.withLock { $0.sleepers.map(\.instant).min() } }

    /// Moves both readings on and wakes whoever is due; a negative duration does nothing.
    public func advance(by duration: Duration) {
        let duration = max(.zero, duration)
        let due = self.state.withLock { state in
            state.now = state.now.advanced(by: duration)
            state.wallTime = state.wallTime + duration
            let now = state.now
            let due = state.sleepers.filter { $0.instant <= now }
            state.sleepers.removeAll { $0.instant <= now }
            return due.sorted { ($0.instant, $0.id) < ($1.instant, $1.id) }
        }
        for sleeper in due { sleeper.continuation.resume() }
    }

    /// Moves on to where the calendar reads `timestamp`; does nothing when that has passed.
    public func advance(to timestamp: Timestamp) { self.advance(by: timestamp - self.wallTime) }

    /// Sets the calendar forward or back; the monotonic reading and the sleepers stay as they are.
    public func jumpWall(by duration: Duration) {
        self.state.withLock { $0.wallTime = $0.wallTime + duration }
    }

    public func sleep(until instant: ContinuousClock.Instant) async throws {
        try Task.checkCancellation()
        let id = self.state.withLock { $0.makeID() }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                // Under the lock: a cancellation either sees the sleeper, or is seen here.
                let (outcome, watchers): (Result<Void, any Error>?, [Watcher]) = self.state.withLock { state in
                    if Task.isCancelled { return (.failure(CancellationError()), []) }
                    if instant <= state.now { return (.success(()), []) }
                    state.sleepers.append(Sleeper(id: id, instant: instant, continuation: continuation))
                    return (nil, state.takeSatisfiedWatchers())
                }
                if let outcome { continuation.resume(with: outcome) }
                for watcher in watchers { watcher.continuation.resume() }
            }
        } onCancel: {
            let sleeper = self.state.withLock { state in
                state.sleepers.firstIndex { $0.id == id }.map { state.sleepers.remove(at: $0) }
            }
            sleeper?.continuation.resume(throwing: CancellationError())
        }
    }

    /// Returns as soon as at least `count` tasks sleep on this clock, or the task is cancelled.
    public func waitForSleepers(_ count: Int) async {
        let id = self.state.withLock { $0.makeID() }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isSatisfied = self.state.withLock { state in
                    if Task.isCancelled || state.sleepers.count >= count { return true }
                    state.watchers.append(Watcher(id: id, count: count, continuation: continuation))
                    return false
                }
                if isSatisfied { continuation.resume() }
            }
        } onCancel: {
            let watcher = self.state.withLock { state in
                state.watchers.firstIndex { $0.id == id }.map { state.watchers.remove(at: $0) }
            }
            watcher?.continuation.resume()
        }
    }
}
