internal import ParleyCore

/// One thing that happened, however often it was said: the messages of one type with the same cause.
struct Occurrence: Equatable {
    var type: String
    /// The occurrence that caused it.
    var parent: Int?
    /// By time; the first is the original.
    var events: [ObservedEvent]
    /// The messages among ``events`` that exist because an operator replayed something.
    var replays: Set<String> = []
    var isCauseInferred: Bool

    var time: Timestamp { self.events.first?.time ?? Timestamp(microseconds: 0) }
    /// By the monitor's own clock.
    var observedAt: Timestamp { self.events.map(\.observedAt).min() ?? self.time }
    var id: String? { self.events.first?.id }
}

/// Finds out what caused what.
///
/// A message names its cause. When it names none, or one that was not seen, the newest event before it that the
/// declaration lets it follow counts as the cause. Everything is decided on the set of events, sorted by time and id:
/// the order of arrival plays no part.
struct CauseFinder {
    private struct Key: Hashable {
        var type: String
        var parent: Int?
    }

    private let choreography: Choreography
    private let sorted: [ObservedEvent]
    private let byID: [String: ObservedEvent]
    private var occurrences: [Occurrence] = []
    private var indices: [Key: Int] = [:]
    /// Where each message has gone, and whether it exists because of a replay.
    private var placed: [String: (index: Int, isReplay: Bool)] = [:]

    static func occurrences(of events: [ObservedEvent], in choreography: Choreography) -> [Occurrence] {
        var finder = CauseFinder(choreography: choreography, events: events)
        for event in finder.sorted { finder.place(event) }
        return finder.occurrences
    }

    private init(choreography: Choreography, events: [ObservedEvent]) {
        self.choreography = choreography
        self.sorted = events.sorted { ($0.time, $0.id) < ($1.time, $1.id) }
        self.byID = Dictionary(events.map { ($0.id, $0) }) { first, _ in first }
    }

    /// Places an event after those that it depends on. A loop instead of recursion: a chain may be as long as the
    /// instance has events, and a hostile one may be a circle.
    private mutating func place(_ event: ObservedEvent) {
        var chain: [ObservedEvent] = []
        var visited: Set<String> = []
        var current: ObservedEvent? = event
        while let step = current, self.placed[step.id] == nil, visited.insert(step.id).inserted {
            chain.append(step)
            current = self.original(of: step) ?? self.cause(of: step).event
        }
        for step in chain.reversed() { self.add(step) }
    }

    private mutating func add(_ event: ObservedEvent) {
        if let original = self.original(of: event), let place = self.placed[original.id] {
            return self.join(event, place.index, isReplay: true)
        }
        let cause = self.cause(of: event)
        // A cause that has no place yet is one of a circle: the circle is cut here.
        let parent = cause.event.flatMap { self.placed[$0.id] }
        let isReplay = event.replayOf != nil || parent?.isReplay == true
        let key = Key(type: event.type, parent: parent?.index)
        if let index = self.indices[key] { return self.join(event, index, isReplay: isReplay) }
        let index = self.occurrences.count
        self.indices[key] = index
        self.occurrences.append(
            Occurrence(
                type: event.type,
                parent: parent?.index,
                events: [],
                isCauseInferred: parent != nil && cause.isInferred
            )
        )
        self.join(event, index, isReplay: isReplay)
    }

    private mutating func join(_ event: ObservedEvent, _ index: Int, isReplay: Bool) {
        var events = self.occurrences[index].events
        let position = events.firstIndex { ($0.time, $0.id) > (event.time, event.id) } ?? events.endIndex
        events.insert(event, at: position)
        self.occurrences[index].events = events
        if isReplay { self.occurrences[index].replays.insert(event.id) }
        self.placed[event.id] = (index, isReplay)
    }

    private func original(of event: ObservedEvent) -> ObservedEvent? {
        guard let id = event.replayOf, id != event.id, let original = self.byID[id], original.type == event.type
        else { return nil }
        return original
    }

    private func cause(of event: ObservedEvent) -> (event: ObservedEvent?, isInferred: Bool) {
        if event.type == self.choreography.start { return (nil, false) }
        if let id = event.causationID, id != event.id, let cause = self.byID[id] { return (cause, false) }
        let possible = self.sorted.filter { candidate in
            candidate.id != event.id
                && self.choreography.events[candidate.type]?.then.contains { $0.oneOf.contains(event.type) } == true
        }
        let before = possible.last { ($0.time, $0.id) < (event.time, event.id) }
        // Clocks differ: what must have come before may bear a later time.
        return (before ?? possible.first, true)
    }
}
