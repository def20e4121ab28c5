public import ParleyCore

/// Compares what happened with what was declared. Pure: the same events and the same time give the same verdict, in
/// whatever order the events came and however often.
public struct ChoreographyMachine: Sendable {
    /// So many events of one instance are kept; what comes after that is only counted, and is a finding.
    public static let maximumEvents = 500
    /// So many interventions are kept, the newest.
    public static let maximumInterventions = 200

    public let choreography: Choreography
    public let fingerprint: String
    /// The choreography as instances are pinned to it; made once, for every event is written with it.
    public let canonicalJSON: String

    public init(_ choreography: Choreography) {
        self.choreography = choreography
        self.fingerprint = choreography.fingerprint
        self.canonicalJSON = choreography.canonicalJSON
    }

    /// An instance of which nothing has been seen.
    public func begin(id: String, businessKey: String, now: Timestamp) -> ChoreographyInstance {
        ChoreographyInstance(
            id: id,
            type: self.choreography.name,
            businessKey: businessKey,
            definition: self.fingerprint,
            createdAt: now,
            updatedAt: now
        )
    }

    /// The instance after one more event; a message that is known counts as a copy.
    public func observing(
        _ event: ObservedEvent,
        in instance: ChoreographyInstance,
        now: Timestamp
    ) -> ChoreographyInstance {
        var next = instance
        if let index = next.events.firstIndex(where: { $0.id == event.id }) {
            next.events[index].copies += 1
        } else if next.events.count < Self.maximumEvents {
            var event = event
            event.arrival = next.events.count + 1
            event.copies = 1
            next.events.append(event)
        } else {
            next.dropped += 1
        }
        return self.judged(next, now: now)
    }

    /// The instance with its status as it is at `now`.
    public func judged(_ instance: ChoreographyInstance, now: Timestamp) -> ChoreographyInstance {
        let verdict = self.verdict(of: instance, at: now)
        var next = instance
        next.status = verdict.status
        next.reason = verdict.reason
        next.dueAt = verdict.nextChange
        next.updatedAt = now
        return next
    }

    /// Everything there is to say about the instance at `now`.
    public func verdict(of instance: ChoreographyInstance, at now: Timestamp) -> ChoreographyVerdict {
        let occurrences = CauseFinder.occurrences(of: instance.events, in: self.choreography)
        var findings: [ChoreographyFinding] = []
        let ends = occurrences.indices.filter { self.end(of: occurrences[$0]) != nil }
            .sorted { (occurrences[$0].time, $0) < (occurrences[$1].time, $1) }
        let end = ends.first.map { occurrences[$0] }
        var awaited = self.awaited(occurrences, &findings)
        self.findUnexpected(occurrences, &findings)
        if let first = ends.first { self.findAfterEnd(occurrences, first, &findings) }
        let effects = self.effects(occurrences, isKept: end.flatMap(self.end(of:)) == .success)
        if let end {
            if self.end(of: end) == .success {
                findings += awaited.map { open in
                    self.finding(.missing, open.oneOf.joined(separator: " or "), nil, "had not come when it ended")
                }
            }
            awaited = []
        } else if awaited.isEmpty {
            awaited = [self.awaitedWithoutACause(instance, occurrences)]
        }
        var standing = self.standing(end, awaited, effects, now: now)
        let other = ends.dropFirst().first { self.end(of: occurrences[$0]) != end.flatMap(self.end(of:)) }
        if let end, let other, standing.reason == nil {
            standing.reason = "it ended with \(end.type), and also with \(occurrences[other].type)"
        }
        for effect in effects where effect.status == .outstanding && end != nil {
            findings.append(self.finding(.outstanding, effect.event, nil, "was not taken back when it ended"))
        }
        for index in awaited.indices { awaited[index].isLate = awaited[index].dueAt.map { $0 < now } ?? false }
        findings += self.overdue(awaited, now: now)
        self.findDeliveries(instance, occurrences, &findings)
        return ChoreographyVerdict(
            status: standing.status,
            reason: standing.reason,
            awaited: awaited.sorted {
                ($0.dueAt ?? .distant, $0.oneOf.first ?? "") < ($1.dueAt ?? .distant, $1.oneOf.first ?? "")
            },
            remaining: end == nil ? self.remaining(awaited) : [],
            effects: effects,
            findings: findings,
            timeline: self.timeline(occurrences),
            nextChange: standing.nextChange
        )
    }

    // MARK: What must follow

    private func end(of occurrence: Occurrence) -> Choreography.End? { self.choreography.events[occurrence.type]?.end }

    private func finding(
        _ kind: ChoreographyFinding.Kind,
        _ event: String,
        _ id: String?,
        _ message: String
    ) -> ChoreographyFinding {
        ChoreographyFinding(kind: kind, event: event, messageID: id, message: "\(event) \(message)")
    }

    private func awaited(
        _ occurrences: [Occurrence],
        _ findings: inout [ChoreographyFinding]
    ) -> [ChoreographyVerdict.Awaited] {
        var children: [Int: [Occurrence]] = [:]
        for occurrence in occurrences {
            if let parent = occurrence.parent { children[parent, default: []].append(occurrence) }
        }
        // Once an operator's request was answered, what the way forth still owed is not awaited any more: saying it
        // again would do what is being undone.
        let wayBack = self.belowRequests(occurrences)
        var open: [ChoreographyVerdict.Awaited] = []
        for (index, occurrence) in occurrences.enumerated() where wayBack?.contains(index) ?? true {
            for expectation in self.choreography.events[occurrence.type]?.then ?? [] {
                let answers = (children[index] ?? []).filter { expectation.oneOf.contains($0.type) }
                    .sorted { ($0.time, $0.id ?? "") < ($1.time, $1.id ?? "") }
                guard let answer = answers.first else {
                    // By the clock of the monitor alone: one that differs raises no alarm, and neither does a backlog.
                    let due = expectation.within.map { occurrence.observedAt + $0 }
                    open.append(self.awaited(expectation, after: occurrence, dueAt: due))
                    continue
                }
                if let due = expectation.within.map({ occurrence.time + $0 }), answer.time > due {
                    let late = (answer.time - due).inSeconds
                    findings.append(
                        self.finding(.late, answer.type, answer.id, "came \(late) s after its time (\(due))")
                    )
                }
                for other in answers.dropFirst() {
                    findings.append(
                        self.finding(
                            .contradiction,
                            other.type,
                            other.id,
                            "follows \(occurrence.type), which \(answer.type) had answered"
                        )
                    )
                }
            }
        }
        return open
    }

    /// The events that answer requests and all that follows from them; `nil` when nothing was requested.
    private func belowRequests(_ occurrences: [Occurrence]) -> Set<Int>? {
        var below = Set(occurrences.indices.filter { self.choreography.events[occurrences[$0].type]?.askedBy != nil })
        guard !below.isEmpty else { return nil }
        var isGrowing = true
        while isGrowing {
            let more = occurrences.indices.filter { index in
                !below.contains(index) && occurrences[index].parent.map { below.contains($0) } == true
            }
            below.formUnion(more)
            isGrowing = !more.isEmpty
        }
        return below
    }

    private func awaited(
        _ expectation: Choreography.Expectation,
        after occurrence: Occurrence,
        dueAt: Timestamp?
    ) -> ChoreographyVerdict.Awaited {
        ChoreographyVerdict.Awaited(
            oneOf: expectation.oneOf,
            from: Set(expectation.oneOf.compactMap { self.choreography.events[$0]?.by }).sorted(),
            after: occurrence.type,
            afterMessage: occurrence.id,
            since: occurrence.time,
            dueAt: dueAt,
            isLate: false
        )
    }

    /// Events were seen, nothing is open, and there is no end: the beginning is still to come, or something that came
    /// leads nowhere.
    private func awaitedWithoutACause(
        _ instance: ChoreographyInstance,
        _ occurrences: [Occurrence]
    ) -> ChoreographyVerdict.Awaited {
        let since = occurrences.map(\.observedAt).min() ?? instance.createdAt
        let hasBegun = occurrences.contains { $0.type == self.choreography.start }
        let next =
            hasBegun
            ? self.choreography.topics.filter { self.choreography.events[$0]?.end != nil }
            : [self.choreography.start]
        return ChoreographyVerdict.Awaited(
            oneOf: next,
            from: Set(next.compactMap { self.choreography.events[$0]?.by }).sorted(),
            after: nil,
            afterMessage: nil,
            since: since,
            dueAt: since + self.choreography.stuckAfter,
            isLate: false
        )
    }

    private func remaining(_ awaited: [ChoreographyVerdict.Awaited]) -> [String] {
        var steps: [String] = []
        var level = awaited.flatMap(\.oneOf)
        while !level.isEmpty {
            let new = level.filter { !steps.contains($0) }
            var seen: Set<String> = []
            steps += new.filter { seen.insert($0).inserted }
            level = seen.sorted().flatMap { self.choreography.events[$0]?.then.flatMap(\.oneOf) ?? [] }
        }
        return steps
    }

    // MARK: How it stands

    private func standing(
        _ end: Occurrence?,
        _ awaited: [ChoreographyVerdict.Awaited],
        _ effects: [ChoreographyVerdict.Effect],
        now: Timestamp
    ) -> (status: ChoreographyStatus, reason: String?, nextChange: Timestamp?) {
        if let end {
            if self.end(of: end) == .success { return (.completed, nil, nil) }
            let left = effects.filter { $0.status == .outstanding }.map(\.event)
            if left.isEmpty { return (.failed, nil, nil) }
            // Events of different services may arrive in another order than they happened; that is no alarm yet.
            let limit = end.observedAt + self.choreography.stuckAfter
            let reason = "it ended with \(end.type), and \(left.joined(separator: ", ")) was not taken back"
            return now > limit ? (.stuck, reason, nil) : (.running, reason, limit + .microseconds(1))
        }
        var status = ChoreographyStatus.running
        var reason: String?
        var changes: [Timestamp] = []
        for open in awaited.sorted(by: { ($0.dueAt ?? .distant) < ($1.dueAt ?? .distant) }) {
            guard let due = open.dueAt else { continue }
            let limit = due + self.choreography.stuckAfter
            if now > due, reason == nil {
                let what = open.oneOf.joined(separator: " or ")
                reason = "waits for \(what) from \(open.from.joined(separator: " or ")), due since \(due)"
            }
            if now > limit {
                status = .stuck
            } else {
                if now > due, status == .running { status = .late }
                changes.append((now > due ? limit : due) + .microseconds(1))
            }
        }
        return (status, reason, changes.min())
    }

    private func overdue(_ awaited: [ChoreographyVerdict.Awaited], now: Timestamp) -> [ChoreographyFinding] {
        awaited.compactMap { open in
            guard let due = open.dueAt, now > due else { return nil }
            let isMissing = now > due + self.choreography.stuckAfter
            return self.finding(
                isMissing ? .missing : .late,
                open.oneOf.joined(separator: " or "),
                nil,
                "has not come from \(open.from.joined(separator: " or ")); it was due at \(due)"
            )
        }
    }

    private func effects(_ occurrences: [Occurrence], isKept: Bool) -> [ChoreographyVerdict.Effect] {
        var undone: [String: Int] = [:]
        for occurrence in occurrences {
            if let event = self.choreography.events[occurrence.type]?.compensates { undone[event, default: 0] += 1 }
        }
        let lasting = self.choreography.effects
        return occurrences.filter { lasting.contains($0.type) }.sorted {
            ($0.time, $0.id ?? "") < ($1.time, $1.id ?? "")
        }
        .map { occurrence in
            let isUndone = undone[occurrence.type, default: 0] > 0
            undone[occurrence.type, default: 0] -= 1
            return .init(event: occurrence.type, status: isUndone ? .undone : isKept ? .kept : .outstanding)
        }
    }

    // MARK: What is not as declared

    private func findUnexpected(_ occurrences: [Occurrence], _ findings: inout [ChoreographyFinding]) {
        var counts: [String: Int] = [:]
        for occurrence in occurrences {
            counts[occurrence.type, default: 0] += 1
            guard let event = self.choreography.events[occurrence.type] else {
                findings.append(self.finding(.unexpected, occurrence.type, occurrence.id, "is not declared"))
                continue
            }
            if counts[occurrence.type] == event.atMost + 1 {
                findings.append(
                    self.finding(
                        .tooOften,
                        occurrence.type,
                        occurrence.id,
                        "is declared to happen \(event.atMost) times"
                    )
                )
            }
            let repetitions = occurrence.events.dropFirst().filter { !occurrence.replays.contains($0.id) }
            for repetition in repetitions {
                findings.append(
                    self.finding(.repeated, occurrence.type, repetition.id, "was said again as another message")
                )
            }
            if let parent = occurrence.parent {
                let before = occurrences[parent].type
                let isDeclared = self.choreography.events[before]?.then.contains {
                    $0.oneOf.contains(occurrence.type)
                }
                if isDeclared != true, event.askedBy == nil {
                    findings.append(
                        self.finding(.unexpected, occurrence.type, occurrence.id, "does not follow \(before)")
                    )
                }
            } else if occurrence.type != self.choreography.start, event.askedBy == nil {
                findings.append(
                    self.finding(
                        .unexpected,
                        occurrence.type,
                        occurrence.id,
                        "came, and nothing that leads to it was seen"
                    )
                )
            }
        }
    }

    private func findAfterEnd(_ occurrences: [Occurrence], _ end: Int, _ findings: inout [ChoreographyFinding]) {
        let last = occurrences[end]
        var ancestors: Set<Int> = []
        var current = last.parent
        while let index = current, ancestors.insert(index).inserted { current = occurrences[index].parent }
        for (index, occurrence) in occurrences.enumerated() where index != end && !ancestors.contains(index) {
            if let other = self.end(of: occurrence), other != self.end(of: last) {
                findings.append(
                    self.finding(.contradiction, occurrence.type, occurrence.id, "says the opposite of \(last.type)")
                )
            }
            guard occurrence.time > last.time else { continue }
            findings.append(
                self.finding(.afterEnd, occurrence.type, occurrence.id, "happened after \(last.type)")
            )
        }
    }

    private func findDeliveries(
        _ instance: ChoreographyInstance,
        _ occurrences: [Occurrence],
        _ findings: inout [ChoreographyFinding]
    ) {
        for event in instance.events where event.copies > 1 {
            findings.append(self.finding(.duplicate, event.type, event.id, "was delivered \(event.copies) times"))
        }
        for occurrence in occurrences {
            guard let parent = occurrence.parent, let first = occurrence.events.map(\.arrival).min(),
                let cause = occurrences[parent].events.map(\.arrival).min(), first < cause
            else { continue }
            findings.append(
                self.finding(.outOfOrder, occurrence.type, occurrence.id, "was seen before \(occurrences[parent].type)")
            )
        }
        if instance.dropped > 0 {
            findings.append(
                self.finding(.dropped, "\(instance.dropped) events", nil, "were not kept: there were too many")
            )
        }
    }

    /// Depth first; causes before what they caused, brothers by time.
    private func timeline(_ occurrences: [Occurrence]) -> [ChoreographyVerdict.TimelineEntry] {
        var children: [Int: [Int]] = [:]
        var stack: [(index: Int, depth: Int, cause: Int?)] = []
        let byTime = occurrences.indices.sorted { (occurrences[$0].time, $0) > (occurrences[$1].time, $1) }
        for index in byTime {
            if let parent = occurrences[index].parent {
                children[parent, default: []].append(index)
            } else {
                stack.append((index, 0, nil))
            }
        }
        var entries: [ChoreographyVerdict.TimelineEntry] = []
        while let (index, depth, cause) = stack.popLast() {
            let occurrence = occurrences[index]
            for child in children[index] ?? [] { stack.append((child, depth + 1, entries.count)) }
            entries.append(
                ChoreographyVerdict.TimelineEntry(
                    event: occurrence.type,
                    messageIDs: occurrence.events.map(\.id),
                    source: occurrence.events.first?.source ?? "",
                    at: occurrence.time,
                    cause: cause,
                    depth: depth,
                    injectedBy: occurrence.events.first?.injectedBy,
                    isCauseInferred: occurrence.isCauseInferred
                )
            )
        }
        return entries
    }
}

extension Timestamp {
    /// After everything that has a time.
    fileprivate static let distant = Timestamp(microseconds: .max)
}
