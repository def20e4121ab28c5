internal import ParleyCore
internal import ParleyRESP

/// Where a dead letter comes from, beside the fields of the message itself.
enum DeadLetterFields {
    static let prefix = "dlq_"
    static let stream = "dlq_stream"
    static let id = "dlq_id"
    static let group = "dlq_group"
    static let deliveries = "dlq_deliveries"
    static let reason = "dlq_reason"
    static let consumer = "dlq_consumer"
    static let time = "dlq_time"

    static func make(
        stream: String,
        id: StreamID,
        group: String,
        deliveries: Int,
        reason: String,
        consumer: String,
        at time: Timestamp
    ) -> [StreamField] {
        [
            StreamField(Self.stream, stream), StreamField(Self.id, "\(id)"), StreamField(Self.group, group),
            StreamField(Self.deliveries, "\(deliveries)"), StreamField(Self.reason, reason),
            StreamField(Self.consumer, consumer), StreamField(Self.time, "\(time)"),
        ]
    }

    /// The message's own fields.
    static func removed(from fields: [StreamField]) -> [StreamField] {
        let prefix = Array(Self.prefix.utf8)
        return fields.filter { !$0.name.starts(with: prefix) }
    }
}
