internal import ParleyCore
internal import ParleyMessaging

/// How a message lies in a row: the same ten columns in `parley_message` and `parley_outbox`, in this order.
enum MessageRow {
    static let columns = "id, source, type, subject, time, content_type, topic, key, headers, data"
    /// The place of the key among ``columns``.
    static let keyIndex = 7

    /// The values for ``columns``. Made before the writer is asked, so that no text is built on its thread.
    static func values(_ message: Message) -> [SQLValue] {
        [
            .text(message.id), .text(message.source), .text(message.type), .optional(message.subject),
            .integer(message.time.microseconds), .optional(message.dataContentType), .text(message.topic),
            .optional(message.key), .text(JSONText.text(of: message.headers)), .blob(message.data),
        ]
    }

    /// Reads ``columns`` from `first` on; without headers when theirs are no JSON object of strings.
    static func read(_ row: SQLRow, from first: CInt) -> (message: Message, isReadable: Bool) {
        let headers = JSONText.dictionary(row.text(first + 8))
        let message = Message(
            id: row.text(first),
            source: row.text(first + 1),
            type: row.text(first + 2),
            subject: row.optionalText(first + 3),
            time: row.timestamp(first + 4),
            dataContentType: row.optionalText(first + 5),
            data: row.blob(first + 9),
            topic: row.text(first + 6),
            key: row.optionalText(first + 7),
            headers: headers ?? [:]
        )
        return (message, headers != nil)
    }

    static func corrupt(path: String, table: String, row: Int64) -> SQLiteError {
        SQLiteError(
            .corruptRow,
            path: path,
            "\(table), row \(row): 'headers' is no JSON object of strings; correct or delete it"
        )
    }
}
