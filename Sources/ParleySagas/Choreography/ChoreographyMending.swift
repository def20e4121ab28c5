internal import Foundation
internal import ParleyCore
public import ParleyMessaging

/// What an intervention sends, worked out before it is done.
public struct ChoreographyPlan: Sendable, Hashable {
    public var intervention: ChoreographyIntervention.Kind
    /// In this order.
    public var messages: [Message]
    /// What an operator should know before.
    public var warnings: [String]
}

/// Works out interventions: which messages, and whether they are allowed. Pure; ids and time are handed in.
struct ChoreographyMending {
    let machine: ChoreographyMachine
    let instance: ChoreographyInstance
    let person: String
    let reason: String
    let now: Timestamp

    var verdict: ChoreographyVerdict { self.machine.verdict(of: self.instance, at: self.now) }

    // MARK: Inject

    /// What `event` would follow: the cause among the instance's events.
    func cause(of event: String) -> (messageID: String?, isLegal: Bool) {
        let verdict = self.verdict
        let awaited = verdict.awaited.first { $0.oneOf.contains(event) }
        if let awaited, awaited.after != nil { return (awaited.afterMessage, true) }
        let newest = self.instance.events.max { ($0.time, $0.id) < ($1.time, $1.id) }?.id
        // The beginning follows nothing; it is legal when it is what is missing.
        return (newest, awaited != nil && event == self.machine.choreography.start)
    }

    func inject(
        _ event: String,
        data: [UInt8]?,
        after cause: Message?,
        isForced: Bool,
        id: String
    ) throws -> ChoreographyPlan {
        guard let declared = self.machine.choreography.events[event] else {
            let known = self.machine.choreography.topics.joined(separator: ", ")
            throw SagaError(
                .unknownEvent,
                "'\(self.machine.choreography.name)' has no event '\(event)'; it has \(known)"
            )
        }
        let verdict = self.verdict
        let isLegal = self.cause(of: event).isLegal && !verdict.status.isTerminal
        guard isLegal || isForced else {
            let legal = verdict.awaited.flatMap(\.oneOf).joined(separator: ", ")
            let next = legal.isEmpty ? "it has ended (\(verdict.status.rawValue))" : "what can follow now is \(legal)"
            throw SagaError(
                .notAllowed,
                "'\(event)' does not follow in instance '\(self.instance.id)': \(next); or force it"
            )
        }
        guard let data = data ?? cause?.data else {
            throw SagaError(.notAllowed, "there is no event to take the body of '\(event)' from; give it one")
        }
        // Nobody has seen it yet, and saying it again would be another event.
        let seen = Set(self.instance.events.map(\.id))
        let isOnItsWay = self.instance.interventions.contains {
            $0.kind == .injected && $0.events.contains(event) && !seen.isSuperset(of: $0.messageIDs)
        }
        guard !isOnItsWay || isForced else {
            throw SagaError(
                .notAllowed,
                "'\(event)' was injected into instance '\(self.instance.id)' already and is on its way; or force it"
            )
        }
        var warnings = [
            "\(declared.by) is not asked: whatever '\(event)' says it has done, it has not done for this; if what it "
                + "reacts to still waits in its queue, it will do it when it is back"
        ]
        if !isLegal {
            warnings.append("'\(event)' does not follow from what was seen, and will be shown as unexpected")
        }
        var message = self.message(event, id: id, data: data, like: cause)
        // A header of any broker: visible ASCII.
        message.injectedBy = String(self.person.prefix(200).map { $0.isASCII && !$0.isNewline ? $0 : "?" })
        return ChoreographyPlan(intervention: .injected, messages: [message], warnings: warnings)
    }

    // MARK: Compensate

    /// Asks for whatever takes back the effects that are there, and those that may still come: a service that was asked
    /// for something and has not answered may be doing it now.
    ///
    /// Of the requests that can be made, only those are that no other one leads to: the services themselves see to the
    /// declared order of undoing.
    func compensate(like template: Message?, ids: () -> String) throws -> ChoreographyPlan {
        let verdict = self.verdict
        guard verdict.status != .completed, verdict.status != .failed else {
            throw SagaError(
                .notAllowed,
                "instance '\(self.instance.id)' has ended (\(verdict.status.rawValue)); there is nothing to take back"
            )
        }
        let events = self.machine.choreography.events
        let there = Set(verdict.effects.filter { $0.status == .outstanding }.map(\.event))
        let possible = self.machine.choreography.effects.intersection(verdict.remaining)
        let wanted = Set(events.filter { there.union(possible).contains($0.value.compensates ?? "") }.keys)
        guard !wanted.isEmpty else {
            throw SagaError(.notAllowed, "instance '\(self.instance.id)' has no effect that could be taken back")
        }
        func covers(_ event: String) -> Set<String> {
            self.machine.choreography.reachable(from: [event]).union([event])
        }
        let askable = events.filter { $0.value.askedBy != nil && !covers($0.key).isDisjoint(with: wanted) }.keys
            .sorted()
        let first = askable.filter { event in
            !askable.contains { other in
                other != event && covers(other).contains(event) && !covers(event).contains(other)
            }
        }
        let covered = first.reduce(into: Set<String>()) { $0.formUnion(covers($1)) }
        let uncovered = wanted.subtracting(covered).sorted()
        guard uncovered.isEmpty else {
            throw SagaError(
                .notAllowed,
                "nobody can be asked for \(uncovered.joined(separator: ", ")): no 'asked_by' leads there; "
                    + "do it by hand, then inject the event"
            )
        }
        let body = CompensationRequest(
            instance: self.instance.id,
            businessKey: self.instance.businessKey,
            reason: self.reason,
            by: self.person,
            effects: there.sorted()
        )
        let data = try body.encoded()
        let messages = first.compactMap { events[$0]?.askedBy }.map {
            self.message($0, id: ids(), data: data, like: template)
        }
        var warnings: [String] = []
        if there.isEmpty { warnings.append("no effect is known yet; what is under way will be taken back") }
        return ChoreographyPlan(intervention: .compensated, messages: messages, warnings: warnings)
    }

    // MARK: Replay

    /// The message to say once more: the newest happening of an event, or the one that a message belongs to.
    func original(of from: String) throws -> String {
        let timeline = self.verdict.timeline
        let entry = timeline.filter { $0.event == from || $0.messageIDs.contains(from) }.max {
            ($0.at, $0.depth) < ($1.at, $1.depth)
        }
        guard let id = entry?.messageIDs.first else {
            let known = timeline.map(\.event).joined(separator: ", ")
            throw SagaError(
                .unknownEvent,
                "instance '\(self.instance.id)' has no event '\(from)'; it has \(known.isEmpty ? "none" : known)"
            )
        }
        return id
    }

    /// Says an event once more under a new id, so that those who hear it act again.
    ///
    /// Under the old id their inboxes would drop it, and a replay would only help where the message was lost. Under a
    /// new one they run again, and their barriers give the recorded answer: what was done is not done twice, but its
    /// answer is announced again, and so on down to where the instance stopped.
    func replay(_ original: Message, id: String) -> ChoreographyPlan {
        var message = original
        message.id = id
        message.time = self.now
        message.replayOf = original.id
        message.expiresAt = nil
        var warnings: [String] = []
        if self.machine.choreography.events[original.type]?.end != nil {
            warnings.append("'\(original.type)' is an end: whoever tells customers about it will tell them again")
        }
        if self.verdict.status.isTerminal { warnings.append("the instance has ended; its services answer as before") }
        return ChoreographyPlan(intervention: .replayed, messages: [message], warnings: warnings)
    }

    private func message(_ type: String, id: String, data: [UInt8], like template: Message?) -> Message {
        let fields = RequestContextFields.message
        var message = Message(
            id: id,
            source: "operator",
            type: type,
            subject: self.instance.businessKey,
            time: self.now,
            dataContentType: template?.dataContentType ?? "application/json",
            data: data,
            key: template?.key,
            headers: [fields.requestID: id, fields.correlationID: self.instance.id]
        )
        message.headers[fields.causationID] = template?.id
        message.choreography = self.machine.choreography.name
        return message
    }
}

/// The body of a request to turn an instance back, as JSON.
public struct CompensationRequest: Sendable, Hashable, Codable {
    /// The correlation id.
    public var instance: String
    public var businessKey: String
    public var reason: String
    /// The operator.
    public var by: String
    /// The events whose effects are known to be there.
    public var effects: [String]

    public init(instance: String, businessKey: String, reason: String, by person: String, effects: [String]) {
        self.instance = instance
        self.businessKey = businessKey
        self.reason = reason
        self.by = person
        self.effects = effects
    }

    /// - Throws: `DecodingError`.
    public init(json: [UInt8]) throws {
        self = try JSONDecoder().decode(CompensationRequest.self, from: Data(json))
    }

    func encoded() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(self))
    }
}
