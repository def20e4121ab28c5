public import ParleyCore
internal import Synchronization

/// An ``EventStore`` in memory, for tests and for programs that may lose everything when they end.
public final class InMemoryEventStore: EventStore {
    private struct Stream {
        /// Where the stream's events are in the log, by version.
        var places: [Int] = []
        var versions: [String: Int64] = [:]
    }

    private struct State {
        /// By position, the first at index 0.
        var log: [RecordedEvent] = []
        var streams: [StreamName: Stream] = [:]
    }

    public let limits: EventStoreLimits
    private let state = Mutex(State())
    private let appended = Signal()
    private let time: any TimeSource

    public init(limits: EventStoreLimits = EventStoreLimits(), time: any TimeSource = SystemTimeSource()) {
        self.limits = limits
        self.time = time
    }

    public func append(
        _ events: [EventData],
        to stream: StreamName,
        expecting expected: ExpectedVersion
    ) async throws -> AppendResult {
        try self.limits.check(events, for: stream)
        let now = self.time.wallTime
        let result = try self.state.withLock { state in
            var held = state.streams[stream] ?? Stream()
            let known = events.reduce(into: [String: Int64]()) { $0[$1.id] = held.versions[$1.id] }
            let decision = try AppendDecision.decide(
                events,
                to: stream,
                expecting: expected,
                known: known,
                current: Int64(held.places.count)
            )
            switch decision {
            case .repetition(let first):
                let places = held.places[Int(first - 1)..<Int(first - 1) + events.count]
                let positions = places.map { state.log[$0].position }
                return AppendResult(firstVersion: first, positions: positions, isRepetition: true)
            case .append(let first):
                var positions: [GlobalPosition] = []
                for (index, event) in events.enumerated() {
                    let recorded = RecordedEvent(
                        stream: stream,
                        version: first + Int64(index),
                        position: GlobalPosition(Int64(state.log.count) + 1),
                        recordedAt: now,
                        id: event.id,
                        type: event.type,
                        data: event.data,
                        metadata: event.metadata
                    )
                    held.places.append(state.log.count)
                    held.versions[event.id] = recorded.version
                    state.log.append(recorded)
                    positions.append(recorded.position)
                }
                state.streams[stream] = held
                return AppendResult(firstVersion: first, positions: positions, isRepetition: false)
            }
        }
        if !result.isRepetition { self.appended.ring() }
        return result
    }

    public func read(_ stream: StreamName, from version: Int64, limit: Int) async throws -> [RecordedEvent] {
        self.state.withLock { state in
            guard let places = state.streams[stream]?.places else { return [] }
            return Self.page(places.count, after: max(1, version) - 1, limit).map { state.log[places[$0]] }
        }
    }

    public func readAll(after position: GlobalPosition, limit: Int) async throws -> [RecordedEvent] {
        self.state.withLock { state in
            Self.page(state.log.count, after: max(0, position.number), limit).map { state.log[$0] }
        }
    }

    /// The indexes of a page, of `count` elements whose first is at index 0.
    private static func page(_ count: Int, after skipped: Int64, _ limit: Int) -> Range<Int> {
        let start = min(count, Int(clamping: skipped))
        return start..<min(count, start + min(EventStoreLimits.maximumPage, max(1, limit)))
    }

    public func version(of stream: StreamName) async throws -> Int64 {
        self.state.withLock { Int64($0.streams[stream]?.places.count ?? 0) }
    }

    public func head() async throws -> GlobalPosition { GlobalPosition(self.state.withLock { Int64($0.log.count) }) }

    public func waitForEvents(after position: GlobalPosition, until instant: ContinuousClock.Instant?) async throws {
        while true {
            let generation = self.appended.generation
            try Task.checkCancellation()
            if try await self.head() > position { return }
            if let instant, self.time.now >= instant { return }
            await self.appended.wait(after: generation, until: instant, on: self.time)
        }
    }
}
