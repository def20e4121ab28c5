internal import Foundation
internal import ParleyCore
internal import ParleyRESP
internal import ParleySagas

/// The names of a saga store's keys.
struct SagaKeys {
    let prefix: String

    func saga(_ id: String) -> String { "\(self.prefix):saga:\(id)" }
    func history(_ id: String) -> String { "\(self.prefix):history:\(id)" }
    func owned(_ owner: String) -> String { "\(self.prefix):owned:\(owner)" }
    func type(_ type: String) -> String { "\(self.prefix):type:\(type)" }
    func status(_ status: SagaStatus) -> String { "\(self.prefix):status:\(status.rawValue)" }
    func business(_ key: String) -> String { "\(self.prefix):business:\(key)" }
    /// With the type's length: neither part can run into the other.
    func business(_ key: String, of type: String) -> String {
        "\(self.prefix):key:\(type.utf8.count):\(type):\(key)"
    }
    var all: String { self.prefix + ":all" }
    var definitions: String { self.prefix + ":definitions" }
}

/// How a saga lies in its hash: see ``SagaScripts``.
enum SagaRecord {
    static func fields(_ saga: SagaInstance) throws -> [String: [UInt8]] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var fields: [String: [UInt8]] = [
            "id": Array(saga.id.utf8), "type": Array(saga.type.utf8), "business_key": Array(saga.businessKey.utf8),
            "definition": Array(saga.definition.utf8), "state": Array(saga.state.utf8),
            "status": Array(saga.status.rawValue.utf8), "version": Array("\(saga.version)".utf8),
            "epoch": Array("\(saga.epoch)".utf8), "attempt": Array("\(saga.attempt)".utf8),
            "is_uncertain": Array((saga.isUncertain ? "1" : "0").utf8),
            "entered_at": Array("\(saga.enteredAt.microseconds)".utf8), "input": Array(saga.input.utf8),
            "effects": [UInt8](try encoder.encode(saga.effects)),
            "created_at": Array("\(saga.createdAt.microseconds)".utf8),
            "updated_at": Array("\(saga.updatedAt.microseconds)".utf8),
        ]
        fields["owner"] = saga.owner.map { Array($0.utf8) }
        fields["due_at"] = saga.dueAt.map { Array("\($0.microseconds)".utf8) }
        fields["reason"] = saga.reason.map { Array($0.utf8) }
        return fields
    }

    /// Reads what anybody may have changed.
    ///
    /// - Throws: ``SagaError`` with `corrupt`, naming key and field.
    static func read(_ fields: [String: [UInt8]], key: String) throws -> SagaInstance {
        func corrupt(_ field: String) -> SagaError {
            SagaError(.corrupt, "'\(key)': the field '\(field)' cannot be read; correct it, or delete the saga")
        }
        func text(_ field: String) throws -> String {
            guard let value = try optional(field) else { throw corrupt(field) }
            return value
        }
        func optional(_ field: String) throws -> String? {
            guard let bytes = fields[field] else { return nil }
            guard let value = String(validating: bytes, as: UTF8.self) else { throw corrupt(field) }
            return value
        }
        func integer(_ field: String) throws -> Int64 {
            guard let value = Int64(try text(field)) else { throw corrupt(field) }
            return value
        }
        guard let status = SagaStatus(rawValue: try text("status")) else { throw corrupt("status") }
        guard let json = fields["effects"],
            let effects = try? JSONDecoder().decode([SagaEffect].self, from: Data(json))
        else { throw corrupt("effects") }
        let due = try fields["due_at"] == nil ? nil : Timestamp(microseconds: integer("due_at"))
        return SagaInstance(
            id: try text("id"),
            type: try text("type"),
            businessKey: try text("business_key"),
            definition: try text("definition"),
            state: try text("state"),
            status: status,
            version: try integer("version"),
            epoch: try integer("epoch"),
            owner: try optional("owner"),
            attempt: Int(clamping: try integer("attempt")),
            isUncertain: try integer("is_uncertain") != 0,
            enteredAt: Timestamp(microseconds: try integer("entered_at")),
            dueAt: due,
            input: try text("input"),
            effects: effects,
            reason: try optional("reason"),
            createdAt: Timestamp(microseconds: try integer("created_at")),
            updatedAt: Timestamp(microseconds: try integer("updated_at"))
        )
    }

    /// The fields of a hash as a reply has them; those whose names are not UTF-8 are nobody's.
    static func fields(_ reply: RESPValue) -> [String: [UInt8]] {
        var fields: [String: [UInt8]] = [:]
        for pair in reply.pairs ?? [] {
            if let name = pair.key.string, let value = pair.value.bytes { fields[name] = value }
        }
        return fields
    }

    // MARK: History

    /// What ``TransactionScript`` reads: how many lines, and each with its words.
    static func words(_ events: [SagaEvent]) -> [RESPArgument] {
        var words: [RESPArgument] = [RESPArgument(events.count)]
        for event in events {
            var line: [RESPArgument] = [
                "version", RESPArgument(event.version), "at", RESPArgument(event.at.microseconds),
                "kind", RESPArgument(event.kind.rawValue), "state", RESPArgument(event.state),
                "next_state", RESPArgument(event.nextState), "attempt", RESPArgument(event.attempt),
            ]
            if let action = event.action { line += ["action", RESPArgument(action)] }
            if let detail = event.detail { line += ["detail", RESPArgument(detail)] }
            words.append(RESPArgument(line.count))
            words += line
        }
        return words
    }

    static func event(_ entry: StreamEntry, key: String) throws -> SagaEvent {
        guard let version = entry["version"].flatMap({ Int64($0) }), let at = entry["at"].flatMap({ Int64($0) }),
            let kind = entry["kind"].flatMap({ SagaEvent.Kind(rawValue: $0) }), let state = entry["state"],
            let nextState = entry["next_state"], let attempt = entry["attempt"].flatMap({ Int($0) })
        else { throw SagaError(.corrupt, "'\(key)', entry \(entry.id): it is no line of a saga's history") }
        return SagaEvent(
            version: version,
            at: Timestamp(microseconds: at),
            kind: kind,
            state: state,
            nextState: nextState,
            action: entry["action"],
            attempt: attempt,
            detail: entry["detail"]
        )
    }
}
