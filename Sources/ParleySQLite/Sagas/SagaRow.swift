internal import ParleyCore
internal import ParleySagas

/// How a saga lies in its row.
enum SagaRow {
    static let columns = """
        id, type, business_key, definition, state, status, version, epoch, owner, attempt, is_uncertain, entered_at, \
        due_at, input, effects, reason, created_at, updated_at
        """

    static func values(_ saga: SagaInstance) -> [SQLValue] {
        [
            .text(saga.id), .text(saga.type), .text(saga.businessKey), .text(saga.definition), .text(saga.state),
            .text(saga.status.rawValue), .integer(saga.version), .integer(saga.epoch), .optional(saga.owner),
            .integer(saga.attempt), .integer(saga.isUncertain ? 1 : 0), .integer(saga.enteredAt.microseconds),
            saga.dueAt.map { .integer($0.microseconds) } ?? .null, .text(saga.input),
            .text(Self.text(of: saga.effects)), .optional(saga.reason), .integer(saga.createdAt.microseconds),
            .integer(saga.updatedAt.microseconds),
        ]
    }

    /// A row as any ``Transaction`` gives it: the caller's own one is not known to have checked types.
    static func read(_ row: [SQLValue], path: String) throws -> SagaInstance {
        let id = row.first?.text ?? "?"
        func corrupt(_ column: String) -> SagaError {
            SagaError(
                .corrupt,
                "\(path): parley_saga, row '\(id)': '\(column)' cannot be read; correct it or delete the row"
            )
        }
        guard row.count == 18 else { throw corrupt("*") }
        func text(_ index: Int, _ column: String) throws -> String {
            guard let value = row[index].text else { throw corrupt(column) }
            return value
        }
        func integer(_ index: Int, _ column: String) throws -> Int64 {
            guard let value = row[index].integer else { throw corrupt(column) }
            return value
        }
        func time(_ index: Int, _ column: String) throws -> Timestamp {
            Timestamp(microseconds: try integer(index, column))
        }
        guard let status = SagaStatus(rawValue: try text(5, "status")) else { throw corrupt("status") }
        guard let effects = Self.effects(try text(14, "effects")) else { throw corrupt("effects") }
        return SagaInstance(
            id: id,
            type: try text(1, "type"),
            businessKey: try text(2, "business_key"),
            definition: try text(3, "definition"),
            state: try text(4, "state"),
            status: status,
            version: try integer(6, "version"),
            epoch: try integer(7, "epoch"),
            owner: row[8].text,
            attempt: Int(clamping: try integer(9, "attempt")),
            isUncertain: try integer(10, "is_uncertain") != 0,
            enteredAt: try time(11, "entered_at"),
            dueAt: row[12].integer.map { Timestamp(microseconds: $0) },
            input: try text(13, "input"),
            effects: effects,
            reason: row[15].text,
            createdAt: try time(16, "created_at"),
            updatedAt: try time(17, "updated_at")
        )
    }

    static func text(of effects: [SagaEffect]) -> String {
        if effects.isEmpty { return "[]" }
        var output: [UInt8] = [UInt8(ascii: "[")]
        output.reserveCapacity(effects.count * 128)
        for effect in effects {
            if output.count > 1 { output.append(UInt8(ascii: ",")) }
            output.append(contentsOf: #"{"step":"#.utf8)
            JSONText.write(string: effect.step, to: &output)
            output.append(contentsOf: #","action":"#.utf8)
            JSONText.write(string: effect.action, to: &output)
            output.append(contentsOf: #","status":"#.utf8)
            JSONText.write(string: effect.status.rawValue, to: &output)
            if let result = effect.output {
                output.append(contentsOf: #","output":"#.utf8)
                JSONText.write(string: result, to: &output)
            }
            output.append(UInt8(ascii: "}"))
        }
        output.append(UInt8(ascii: "]"))
        return String(decoding: output, as: UTF8.self)
    }

    static func effects(_ text: String) -> [SagaEffect]? {
        if text == "[]" { return [] }
        guard case .array(let elements)? = JSONText.parse(text) else { return nil }
        var effects: [SagaEffect] = []
        for element in elements {
            guard case .object(let members) = element else { return nil }
            var effect = SagaEffect(step: "", action: "", status: .maybe)
            var status: SagaEffect.Status?
            for member in members {
                switch member.name {
                case "step": effect.step = member.value.string ?? ""
                case "action": effect.action = member.value.string ?? ""
                case "status": status = member.value.string.flatMap(SagaEffect.Status.init)
                case "output": effect.output = member.value.string
                default: break
                }
            }
            // An effect that cannot be read must not be taken for none: it may have to be undone.
            guard let status, !effect.step.isEmpty, !effect.action.isEmpty else { return nil }
            effect.status = status
            effects.append(effect)
        }
        return effects
    }

    // MARK: History

    static let insertEvent = """
        INSERT INTO parley_saga_event (saga, version, at, kind, state, next_state, action, attempt, detail)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        """

    static func values(_ event: SagaEvent, of saga: String) -> [SQLValue] {
        [
            .text(saga), .integer(event.version), .integer(event.at.microseconds), .text(event.kind.rawValue),
            .text(event.state), .text(event.nextState), .optional(event.action), .integer(event.attempt),
            .optional(event.detail),
        ]
    }

    /// Reads `seq` and the columns of ``insertEvent`` without the saga.
    static func event(_ row: SQLRow, path: String) throws -> SagaEvent {
        guard let kind = SagaEvent.Kind(rawValue: row.text(3)) else {
            throw SagaError(
                .corrupt,
                "\(path): parley_saga_event, row \(row.integer(0)): '\(row.text(3).prefix(40))' is no kind of event"
            )
        }
        return SagaEvent(
            version: row.integer(1),
            at: row.timestamp(2),
            kind: kind,
            state: row.text(4),
            nextState: row.text(5),
            action: row.optionalText(6),
            attempt: row.int(7),
            detail: row.optionalText(8)
        )
    }
}
