internal import ParleyCore

/// Looks for ways in which a declared choreography can lose effects, never end, or never be noticed when it stops.
///
/// Every order of every declared event is explored together with the effects that are in the world, so that "ends
/// failed with stock still reserved" is found with the events that lead there. What services really do, it cannot see;
/// that is the monitor's.
public struct ChoreographyLinter {
    /// So many (what is open, effects) points are explored; a choreography with more is reported as too large.
    static let maximumPoints = 50_000

    /// Findings in the order of their rules; ``SagaFinding/state`` is the event that each is about.
    public static func check(_ choreography: Choreography) -> [SagaFinding] {
        var linter = ChoreographyLinter(choreography: choreography)
        linter.checkNames()
        linter.checkPaths()
        linter.checkUndoing()
        if linter.findings.allSatisfy({ $0.severity != .error }) { linter.checkEffects() }
        return linter.findings.sorted { ($0.rule, $0.state ?? "", $0.message) < ($1.rule, $1.state ?? "", $1.message) }
    }

    private let choreography: Choreography
    private var findings: [SagaFinding] = []

    private init(choreography: Choreography) {
        self.choreography = choreography
    }

    private mutating func report(
        _ rule: String,
        _ severity: SagaFinding.Severity,
        _ event: String?,
        _ message: String
    ) {
        self.findings.append(SagaFinding(rule: rule, severity: severity, state: event, message: message))
    }

    // MARK: Names

    private mutating func checkNames() {
        let events = self.choreography.events
        if events[self.choreography.start] == nil {
            self.report("C001", .error, nil, "'starts_with' names '\(self.choreography.start)', which is not declared")
        }
        for field in self.choreography.unknownFields {
            self.report("C003", .error, nil, "nobody reads the field '\(field)'")
        }
        for (name, event) in events {
            if event.by.isEmpty { self.report("C014", .error, name, "'by' is empty: which service says it?") }
            var seen: Set<String> = []
            for expectation in event.then {
                if expectation.oneOf.isEmpty { self.report("C002", .error, name, "'one_of' is empty") }
                for next in expectation.oneOf {
                    if events[next] == nil {
                        self.report("C002", .error, name, "'\(next)' is to follow, but is not declared")
                    }
                    if !seen.insert(next).inserted {
                        self.report("C015", .error, name, "'\(next)' would answer two expectations at once")
                    }
                }
                if (expectation.within ?? .zero) <= .zero {
                    let next = expectation.oneOf.joined(separator: " or ")
                    self.report("C009", .warning, name, "without 'within_seconds', \(next) is never late")
                }
            }
            if let undone = event.compensates, events[undone] == nil || undone == name {
                self.report("C012", .error, name, "'compensates' names '\(undone)', which is no other declared event")
            }
            if let ask = event.askedBy, events[ask] != nil {
                self.report("C016", .error, name, "'asked_by' names the event '\(ask)'; a request is no event")
            }
        }
    }

    // MARK: Paths

    private mutating func checkPaths() {
        let events = self.choreography.events
        // Somebody may ask for these at any time.
        let roots = Set(events.filter { $0.value.askedBy != nil }.keys).union([self.choreography.start])
        let reachable = self.choreography.reachable(from: roots).union(roots)
        let ends = Set(events.filter { $0.value.end != nil }.keys)
        for name in events.keys where !reachable.contains(name) {
            self.report("C004", .warning, name, "nothing leads to it")
        }
        if !reachable.contains(where: { events[$0]?.end == .success }) {
            self.report("C005", .error, nil, "nothing leads to an event with \"ends\": \"success\"")
        }
        for (name, event) in events {
            if event.end != nil {
                if !event.then.isEmpty { self.report("C008", .error, name, "it ends the instance, yet more follows") }
                continue
            }
            let onward = self.choreography.reachable(from: [name])
            if onward.isDisjoint(with: ends) {
                self.report("C006", .error, name, "no end is reached from here")
            }
        }
        self.checkCircles()
    }

    /// A circle is bounded when each way round it passes an event that says how often it may happen. An event may
    /// happen once unless it says so, so it is the *declared* circle without a word about it that is most likely a
    /// mistake.
    private mutating func checkCircles() {
        let unbounded = self.choreography.events.filter { $0.value.atMost == 1 }
        var rest = self.choreography
        rest.events = unbounded
        for name in unbounded.keys.sorted() where rest.reachable(from: [name]).contains(name) {
            self.report("C007", .error, name, "events lead back here without a bound; say 'at_most' on one of them")
        }
    }

    // MARK: Undoing

    /// Words of undoing, each with the words that it takes back.
    private static let undoWords: [String: [String]] = [
        "released": ["reserved", "allocated", "acquired", "locked", "held"],
        "refunded": ["processed", "charged", "captured", "paid", "debited"],
        "cancelled": ["confirmed", "created", "booked", "scheduled", "placed"],
        "canceled": ["confirmed", "created", "booked", "scheduled", "placed"],
        "voided": ["authorized"], "unlocked": ["locked"], "credited": ["debited"], "deleted": ["created"],
        "removed": ["added"], "revoked": ["granted"], "unreserved": ["reserved"], "undone": ["done"],
    ]

    private mutating func checkUndoing() {
        let events = self.choreography.events
        for (name, event) in events where event.compensates == nil && event.end == nil {
            guard let dot = name.lastIndex(of: ".") else { continue }
            let (noun, word) = (name[..<dot], String(name[name.index(after: dot)...]))
            let undone = Self.undoWords[word]?.map { "\(noun).\($0)" }.first { events[$0] != nil }
            if let undone {
                self.report("C011", .error, name, "it seems to take back '\(undone)'; say so with 'compensates'")
            }
        }
        let asked = Set(events.filter { $0.value.askedBy != nil }.keys)
        let canBeAsked = self.choreography.reachable(from: asked).union(asked)
        for (name, event) in events where event.compensates != nil && !canBeAsked.contains(name) {
            self.report(
                "C013",
                .warning,
                name,
                "nobody can ask for it, so a stuck instance cannot be turned back; "
                    + "give it, or what leads to it, 'asked_by'"
            )
        }
    }

    // MARK: Effects

    private struct Point: Hashable {
        /// What must still follow: an event and which of its expectations.
        var open: Set<Open>
        var effects: Set<String>
    }

    private struct Open: Hashable {
        var event: String
        var index: Int
    }

    /// Breadth first, so that the path in a finding is a shortest one. An end closes what is open beside it.
    private mutating func checkEffects() {
        let start = self.after(self.choreography.start, at: Point(open: [], effects: []))
        var cameFrom: [Point: (point: Point, event: String)] = [:]
        var seen: Set<Point> = [start]
        var queue = [start]
        var next = 0
        var reported: Set<String> = []
        while next < queue.count {
            let point = queue[next]
            next += 1
            for open in point.open.sorted(by: { ($0.event, $0.index) < ($1.event, $1.index) }) {
                for name in self.choreography.events[open.event]?.then[open.index].oneOf.sorted() ?? [] {
                    var before = point
                    before.open.remove(open)
                    let reached = self.after(name, at: before)
                    if self.choreography.events[name]?.end == .failure, !reached.effects.isEmpty,
                        reported.insert(name + reached.effects.sorted().joined()).inserted
                    {
                        let path = self.path(to: point, cameFrom) + [name]
                        let left = reached.effects.sorted().joined(separator: ", ")
                        self.report(
                            "C010",
                            .error,
                            name,
                            "the instance can end with \(left) not undone: \(path.joined(separator: ", "))"
                        )
                    }
                    if self.choreography.events[name]?.end != nil { continue }
                    guard queue.count < Self.maximumPoints, seen.insert(reached).inserted else { continue }
                    cameFrom[reached] = (point, name)
                    queue.append(reached)
                }
            }
        }
        if queue.count >= Self.maximumPoints {
            self.report("C017", .warning, nil, "too large to be explored: its effects were not checked to the end")
        }
    }

    private func after(_ name: String, at point: Point) -> Point {
        var reached = point
        guard let event = self.choreography.events[name] else { return reached }
        if self.choreography.effects.contains(name) { reached.effects.insert(name) }
        if let undone = event.compensates { reached.effects.remove(undone) }
        for index in event.then.indices { reached.open.insert(Open(event: name, index: index)) }
        return reached
    }

    private func path(to point: Point, _ cameFrom: [Point: (point: Point, event: String)]) -> [String] {
        var events: [String] = []
        var current = point
        while let (previous, event) = cameFrom[current] {
            events.append(event)
            current = previous
        }
        return [self.choreography.start] + events.reversed()
    }
}
