internal import ParleyCore
internal import Synchronization

/// What the doorbell between processes tells apart.
struct Channels: OptionSet, Sendable {
    let rawValue: UInt8

    static let messages = Channels(rawValue: 1)
    static let outbox = Channels(rawValue: 2)
    static let sagas = Channels(rawValue: 4)
    static let events = Channels(rawValue: 8)
    static let all: Channels = [.messages, .outbox, .sagas, .events]
}

/// Who is to be woken once a transaction has committed.
struct Rings {
    var channels: Channels = []
    /// The consumer groups of this process for which there may be something to do.
    var groups: Set<Int64> = []

    mutating func formUnion(_ other: Rings) {
        self.channels.formUnion(other.channels)
        if !other.groups.isEmpty { self.groups.formUnion(other.groups) }
    }

    /// A message has become deliverable.
    mutating func ring(group: Int64) {
        self.channels.insert(.messages)
        self.groups.insert(group)
    }
}

/// The signals that the waiters of this process sleep on.
final class Bells: Sendable {
    let outbox = Signal()
    let sagas = Signal()
    let events = Signal()
    private let groups = Mutex<[Int64: [UInt64: Signal]]>([:])
    private let nextRegistration = Atomic<UInt64>(0)

    /// No wait is longer: a ring from another process can get lost, and a foreign connection does not ring at all.
    static let poll: Duration = .seconds(1)

    /// Rings `signal` whenever `group` has something new; until ``unregister(_:group:)``.
    func register(_ signal: Signal, group: Int64) -> UInt64 {
        let registration = self.nextRegistration.add(1, ordering: .relaxed).newValue
        self.groups.withLock { $0[group, default: [:]][registration] = signal }
        return registration
    }

    func unregister(_ registration: UInt64, group: Int64) {
        self.groups.withLock { groups in
            groups[group]?.removeValue(forKey: registration)
            if groups[group]?.isEmpty == true { groups.removeValue(forKey: group) }
        }
    }

    /// Wakes waiters in this process.
    func ring(_ rings: Rings) {
        if rings.channels.contains(.outbox) { self.outbox.ring() }
        if rings.channels.contains(.sagas) { self.sagas.ring() }
        if rings.channels.contains(.events) { self.events.ring() }
        guard !rings.groups.isEmpty else { return }
        let signals = self.groups.withLock { groups in
            rings.groups.flatMap { groups[$0].map { Array($0.values) } ?? [] }
        }
        for signal in signals { signal.ring() }
    }

    /// Another process has rung; it does not say for which groups.
    func ringFromOutside(_ channels: Channels) {
        var rings = Rings(channels: channels)
        if channels.contains(.messages) { rings.groups = self.groups.withLock { Set($0.keys) } }
        self.ring(rings)
    }

    /// Waits for a ring since `generation`, but no longer than until `instant` or for ``poll``.
    func wait(
        for signal: Signal,
        after generation: UInt64,
        until instant: ContinuousClock.Instant?,
        on time: any TimeSource
    ) async -> UInt64 {
        let latest = time.now.advanced(by: Self.poll)
        await signal.wait(after: generation, until: instant.map { min($0, latest) } ?? latest, on: time)
        return signal.generation
    }
}
