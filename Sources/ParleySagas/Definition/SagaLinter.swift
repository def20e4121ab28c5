/// One thing that is wrong, or may be, with a saga definition.
public struct SagaFinding: Sendable, Hashable, CustomStringConvertible {
    public enum Severity: String, Sendable, Hashable {
        case error, warning
    }

    /// Stable, for scripts: `S010`.
    public var rule: String
    public var severity: Severity
    /// The state that it is about, if it is about one.
    public var state: String?
    public var message: String

    public var description: String { "\(self.rule) \(self.state.map { "\($0): " } ?? "")\(self.message)" }
}

/// Looks for ways in which a saga definition can lose effects or never end, before it runs.
///
/// It explores every outcome of every action (done, refused, and for an undo: failed) and keeps the effects that are in
/// the world at each point, so that "ends failed with stock still reserved" is found with the path that leads there.
public struct SagaLinter {
    /// So many (state, effects) points are explored; a definition with more is reported as too large.
    static let maximumPoints = 100_000

    public static func check(_ definition: SagaDefinition) -> [SagaFinding] {
        var linter = SagaLinter(definition: definition)
        linter.checkStructure()
        linter.checkEdges()
        linter.checkEffects()
        return linter.findings.sorted { ($0.rule, $0.state ?? "") < ($1.rule, $1.state ?? "") }
    }

    private struct Point: Hashable {
        var state: String
        var effects: Set<String>
    }

    private let definition: SagaDefinition
    private let ends: Set<String>
    private var findings: [SagaFinding] = []

    private init(definition: SagaDefinition) {
        self.definition = definition
        self.ends = definition.terminals.union(definition.parked)
    }

    private mutating func report(
        _ rule: String,
        _ severity: SagaFinding.Severity,
        _ state: String?,
        _ message: String
    ) {
        self.findings.append(SagaFinding(rule: rule, severity: severity, state: state, message: message))
    }

    // MARK: Structure

    private mutating func checkStructure() {
        let states = self.definition.states
        if states[self.definition.initial] == nil {
            self.report("S001", .error, nil, "the initial state '\(self.definition.initial)' is not defined")
        }
        for (name, state) in states {
            if state.onSuccess == nil { self.report("S002", .error, name, "on_success is missing") }
            if state.onFailure == nil, state.compensates == nil, !state.isPivot {
                self.report("S002", .error, name, "on_failure is missing: where does a refusal lead?")
            }
            for (edge, target) in state.targets where states[target] == nil && !self.ends.contains(target) {
                self.report("S003", .error, name, "\(edge) leads to '\(target)', which is not defined")
            }
        }
        for field in self.definition.unknownFields {
            self.report("S004", .warning, nil, "nobody reads the field '\(field)'")
        }
        let reachable = self.reachable(from: [self.definition.initial])
        for name in states.keys where !reachable.contains(name) {
            self.report("S005", .warning, name, "no path leads here")
        }
        if self.definition.successes.isDisjoint(with: reachable) {
            self.report("S006", .error, nil, "no path leads to a success terminal")
        }
        for name in states.keys where reachable.contains(name) {
            let onward = self.reachable(from: [name])
            if onward.isDisjoint(with: self.ends) {
                self.report("S007", .error, name, "no path leads from here to an end")
            }
            let targets = Set(states[name]?.targets.map(\.state) ?? [])
            if self.reachable(from: targets).contains(name) {
                self.report(
                    "S008",
                    .warning,
                    name,
                    "a path leads back here; make sure that something bounds the circle"
                )
            }
        }
    }

    private func reachable(from starts: Set<String>) -> Set<String> {
        var seen = starts
        var open = Array(starts)
        while let name = open.popLast() {
            for (_, target) in self.definition.states[name]?.targets ?? [] where seen.insert(target).inserted {
                open.append(target)
            }
        }
        return seen
    }

    // MARK: Edges

    private mutating func checkEdges() {
        let compensated = self.definition.compensatedActions
        let failures = self.definition.terminals.subtracting(self.definition.successes)
        for (name, state) in self.definition.states {
            if let undone = state.compensates {
                if let target = state.onFailure, self.definition.terminals.contains(target) {
                    self.report(
                        "S012",
                        .error,
                        name,
                        "when undoing '\(undone)' fails, the saga ends in '\(target)' as if nothing were left; "
                            + "leave on_failure out: it is then retried, and visible as stuck"
                    )
                }
                if let target = state.onFailure, target == state.onSuccess {
                    self.report("S013", .warning, name, "an undo that failed looks like one that succeeded")
                }
                continue
            }
            if compensated.contains(state.action), state.onUnknown == nil {
                self.report(
                    "S011",
                    .warning,
                    name,
                    "when the outcome of '\(state.action)' stays unknown, the saga is stuck; "
                        + "point on_unknown at the state that undoes it"
                )
            }
            let after = self.reachable(from: Set([state.onSuccess].compactMap(\.self)))
            // An edge to nowhere is a failure, too: it is most often an undo that somebody forgot to write.
            let isDeadEnd = after.contains { self.definition.states[$0] == nil && !self.ends.contains($0) }
            let canStillFail =
                (isDeadEnd || !after.isDisjoint(with: failures)) && !after.isDisjoint(with: self.definition.successes)
            if !compensated.contains(state.action), !state.isPivot, canStillFail {
                self.report(
                    "S014",
                    .warning,
                    name,
                    "nothing undoes '\(state.action)', and the saga can still fail after it"
                )
            }
            if state.isPivot {
                for later in after {
                    guard let action = self.definition.states[later]?.action, compensated.contains(action) else {
                        continue
                    }
                    self.report(
                        "P001",
                        .error,
                        later,
                        "'\(action)' can be undone but comes after the point of no return"
                    )
                }
            }
        }
    }

    // MARK: Effects

    /// Breadth first, so that the path in a finding is a shortest one.
    private mutating func checkEffects() {
        let compensated = self.definition.compensatedActions
        let failures = self.definition.terminals.subtracting(self.definition.successes)
        let start = Point(state: self.definition.initial, effects: [])
        var cameFrom: [Point: (point: Point, step: String)] = [:]
        var seen: Set<Point> = [start]
        var open = [start]
        var next = 0
        var reported: Set<Point> = []
        while next < open.count {
            let point = open[next]
            next += 1
            if failures.contains(point.state), !point.effects.isEmpty, reported.insert(point).inserted {
                let left = point.effects.sorted().joined(separator: ", ")
                self.report(
                    "S010",
                    .error,
                    nil,
                    "'\(point.state)' can be reached with \(left) not undone: " + Self.path(to: point, cameFrom)
                )
            }
            guard let state = self.definition.states[point.state], open.count < Self.maximumPoints else { continue }
            for (target, effects, step) in Self.moves(from: state, effects: point.effects, compensated: compensated) {
                let reached = Point(state: target, effects: effects)
                guard seen.insert(reached).inserted else { continue }
                cameFrom[reached] = (point, step)
                open.append(reached)
            }
        }
        if open.count >= Self.maximumPoints {
            self.report(
                "S009",
                .warning,
                nil,
                "too large to be explored: its effects were not checked to the end"
            )
        }
    }

    private static func moves(
        from state: SagaDefinition.State,
        effects: Set<String>,
        compensated: Set<String>
    ) -> [(target: String, effects: Set<String>, step: String)] {
        var moves: [(String, Set<String>, String)] = []
        var done = effects
        if let undone = state.compensates {
            done.remove(undone)
        } else if compensated.contains(state.action) {
            done.insert(state.action)
        }
        if let target = state.onSuccess { moves.append((target, done, "\(state.action) done")) }
        if let target = state.onFailure { moves.append((target, effects, "\(state.action) refused")) }
        if let target = state.onUnknown {
            moves.append((target, compensated.contains(state.action) ? done : effects, "\(state.action) unknown"))
        }
        return moves
    }

    private static func path(to point: Point, _ cameFrom: [Point: (point: Point, step: String)]) -> String {
        var steps: [String] = []
        var current = point
        while let (previous, step) = cameFrom[current] {
            steps.append(step)
            current = previous
        }
        return steps.reversed().joined(separator: ", ")
    }
}
