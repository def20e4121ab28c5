internal import ParleyCore
package import ParleyGateway

/// Which recorded requests a configuration answers differently.
package struct ReplayReport: Sendable, Encodable {
    /// Differences that are kept; all are counted.
    package static let maxDifferences = 1_000

    package struct Difference: Sendable, Hashable, Encodable {
        package var line: Int
        package var method: String
        package var host: String
        package var target: String
        package var before: String
        package var after: String
    }

    package var requests = 0
    package var unreadableLines = 0
    package var differences = 0
    package var first: [Difference] = []
}

/// Decides recorded requests again, one after the other.
package struct Replay {
    private let plan: (ReplayRequest) -> ReplayOutcome
    private let before: ((ReplayRequest) -> ReplayOutcome)?
    private var limits = ReplayLimits()
    private var limitsBefore = ReplayLimits()
    private var line = 0
    package private(set) var report = ReplayReport()

    /// - Parameters:
    ///   - plan: of the new configuration.
    ///   - before: of the old one; without it, the log says what was answered.
    package init(
        plan: @escaping (ReplayRequest) -> ReplayOutcome,
        before: ((ReplayRequest) -> ReplayOutcome)? = nil
    ) {
        self.plan = plan
        self.before = before
    }

    package mutating func add(_ line: String) {
        self.line += 1
        guard !line.isEmpty else { return }
        guard let entry = ReplayLog.entry(line) else {
            self.report.unreadableLines += 1
            return
        }
        self.report.requests += 1
        let request = entry.request
        let new = Self.limited(self.plan(request), request, &self.limits)
        let before: String
        let after: String
        if let plan = self.before {
            before = Self.text(Self.limited(plan(request), request, &self.limitsBefore))
            after = Self.text(new)
        } else if let status = new.status {
            // Only what the gateway itself answers can be compared with a status.
            before = "\(entry.status)"
            after = status == entry.status ? before : Self.text(new)
        } else if let route = entry.route, let other = new.route, route != other {
            before = "location \(route)"
            after = "location \(other)"
        } else {
            return
        }
        guard before != after else { return }
        self.report.differences += 1
        guard self.report.first.count < ReplayReport.maxDifferences else { return }
        self.report.first.append(
            ReplayReport.Difference(
                line: self.line,
                method: request.method,
                host: request.host,
                target: request.target,
                before: before,
                after: after
            )
        )
    }

    /// The same, with the status of the limit when the request is above one.
    private static func limited(
        _ outcome: ReplayOutcome,
        _ request: ReplayRequest,
        _ limits: inout ReplayLimits
    ) -> ReplayOutcome {
        guard let time = request.time, let status = limits.refusal(of: outcome.limits, at: time.milliseconds) else {
            return outcome
        }
        var outcome = outcome
        outcome.status = status
        outcome.location = nil
        outcome.upstream = nil
        outcome.uri = nil
        return outcome
    }

    private static func text(_ outcome: ReplayOutcome) -> String {
        var parts: [String] = []
        if !outcome.server.isEmpty { parts.append("server \(outcome.server)") }
        parts.append(outcome.route.map { "location \($0)" } ?? "no location")
        if let status = outcome.status { parts.append("status \(status)") }
        if let location = outcome.location { parts.append("to \(location)") }
        if let upstream = outcome.upstream { parts.append("upstream \(upstream)") }
        if let uri = outcome.uri { parts.append("as \(uri)") }
        return parts.joined(separator: ", ")
    }
}

/// `limit_req` over the times of a log.
struct ReplayLimits {
    private struct Key: Hashable {
        var zone: String
        var key: [UInt8]
    }

    private struct State {
        var last: Int64
        var excess: Int64
    }

    /// More keys than this are not followed: their requests pass.
    private static let maxKeys = 1_000_000
    private var states: [Key: State] = [:]

    /// The status of the first limit that refuses; the state changes only when all let it pass.
    mutating func refusal(of limits: [ReplayOutcome.Limit], at now: Int64) -> Int? {
        var new: [(Key, State)] = []
        for limit in limits where !limit.key.isEmpty {
            let key = Key(zone: limit.zone, key: limit.key)
            guard let state = self.states[key] else {
                if self.states.count < Self.maxKeys { new.append((key, State(last: now, excess: 0))) }
                continue
            }
            // A log is not quite in order: the time that has passed is never less than nothing, nor more than a day.
            let passed = min(max(0, now - state.last), 86_400_000)
            // Whatever a file says, the products fit: a rate of a million a second, a burst of a billion.
            let drained = Int64(min(max(0, limit.rate), 1_000_000_000)) * passed / 1_000
            let excess = max(0, state.excess - drained + 1_000)
            if excess > Int64(min(max(0, limit.burst), 1_000_000_000)) * 1_000 { return limit.status }
            new.append((key, State(last: max(now, state.last), excess: excess)))
        }
        for (key, state) in new { self.states[key] = state }
        return nil
    }
}
