internal import ParleyCore
internal import ParleyMessaging
internal import ParleySagas

/// How an instance of a choreography lies in its rows. Rows come as any ``Transaction`` gives them: the caller's own
/// one is not known to have checked types.
struct ChoreographyRow {
    let row: [SQLValue]
    let table: String
    let path: String

    static let columns =
        "type, id, business_key, definition, status, reason, due_at, dropped, created_at, updated_at"
    static let eventColumns =
        "id, type, source, time, causation, replay_of, injected_by, observed_at, arrival, copies"
    static let interventionColumns = "kind, at, by, because, events, messages"

    static func values(_ instance: ChoreographyInstance) -> [SQLValue] {
        [
            .text(instance.type), .text(instance.id), .text(instance.businessKey), .text(instance.definition),
            .text(instance.status.rawValue), .optional(instance.reason),
            instance.dueAt.map { .integer($0.microseconds) } ?? .null, .integer(instance.dropped),
            .integer(instance.createdAt.microseconds), .integer(instance.updatedAt.microseconds),
        ]
    }

    func corrupt(_ column: String) -> SagaError {
        let name = self.row.prefix(2).compactMap(\.text).joined(separator: " ")
        return SagaError(
            .corrupt,
            "\(self.path): \(self.table), row '\(name)': '\(column)' cannot be read; correct it or delete the row"
        )
    }

    func text(_ index: Int, _ column: String) throws -> String {
        guard index < self.row.count, let value = self.row[index].text else { throw self.corrupt(column) }
        return value
    }

    func integer(_ index: Int, _ column: String) throws -> Int64 {
        guard index < self.row.count, let value = self.row[index].integer else { throw self.corrupt(column) }
        return value
    }

    func time(_ index: Int, _ column: String) throws -> Timestamp {
        Timestamp(microseconds: try self.integer(index, column))
    }

    func instance() throws -> ChoreographyInstance {
        guard let status = ChoreographyStatus(rawValue: try self.text(4, "status")) else {
            throw self.corrupt("status")
        }
        return ChoreographyInstance(
            id: try self.text(1, "id"),
            type: try self.text(0, "type"),
            businessKey: try self.text(2, "business_key"),
            definition: try self.text(3, "definition"),
            status: status,
            reason: self.row[5].text,
            dueAt: self.row[6].integer.map { Timestamp(microseconds: $0) },
            dropped: Int(clamping: try self.integer(7, "dropped")),
            createdAt: try self.time(8, "created_at"),
            updatedAt: try self.time(9, "updated_at")
        )
    }

    func event() throws -> ObservedEvent {
        ObservedEvent(
            id: try self.text(0, "id"),
            type: try self.text(1, "type"),
            source: try self.text(2, "source"),
            time: try self.time(3, "time"),
            causationID: self.row[4].text,
            replayOf: self.row[5].text,
            injectedBy: self.row[6].text,
            observedAt: try self.time(7, "observed_at"),
            arrival: Int(clamping: try self.integer(8, "arrival")),
            copies: Int(clamping: try self.integer(9, "copies"))
        )
    }

    func intervention() throws -> ChoreographyIntervention {
        guard let kind = ChoreographyIntervention.Kind(rawValue: try self.text(0, "kind")) else {
            throw self.corrupt("kind")
        }
        guard let events = JSONText.strings(try self.text(4, "events")) else { throw self.corrupt("events") }
        guard let messages = JSONText.strings(try self.text(5, "messages")) else { throw self.corrupt("messages") }
        return ChoreographyIntervention(
            kind: kind,
            at: try self.time(1, "at"),
            by: try self.text(2, "by"),
            because: try self.text(3, "because"),
            events: events,
            messageIDs: messages
        )
    }

    /// A row of ``MessageRow/columns``.
    func message() throws -> Message {
        guard self.row.count == 10, let headers = self.row[8].text.flatMap(JSONText.dictionary),
            let data = self.row[9].blob
        else { throw self.corrupt("headers, data") }
        return Message(
            id: try self.text(0, "id"),
            source: try self.text(1, "source"),
            type: try self.text(2, "type"),
            subject: self.row[3].text,
            time: try self.time(4, "time"),
            dataContentType: self.row[5].text,
            data: data,
            topic: try self.text(6, "topic"),
            key: self.row[7].text,
            headers: headers
        )
    }
}
