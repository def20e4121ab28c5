internal import ParleyCore
public import ParleyMessaging

/// The lists of a bus for people.
public enum BusText {
    private typealias Cell = TextTable.Cell

    public static func queues(_ queues: [BusQueue], _ style: Style) -> String {
        guard !queues.isEmpty else { return "no queues: nobody has declared one" }
        var table = TextTable(
            columns: [
                .init(title: "QUEUE"), .init(title: "MESSAGES", isNumber: true), .init(title: "READY", isNumber: true),
                .init(title: "UNACKED", isNumber: true), .init(title: "DELAYED", isNumber: true),
                .init(title: "DEAD", isNumber: true), .init(title: "CONSUMERS", isNumber: true),
                .init(title: "IN/S", isNumber: true), .init(title: "OUT/S", isNumber: true),
                .init(title: "OLDEST", isNumber: true),
            ]
        )
        table.rows = queues.map { queue in
            // The guide's first trouble: messages, and nobody who takes them.
            let isAbandoned = (queue.ready ?? 0) > 0 && queue.consumers == 0
            return [
                Cell(queue.queue, .bold), Cell(queue.messages), Cell(queue.ready), Cell(queue.unacknowledged),
                Cell(queue.delayed), Cell(queue.dead, (queue.dead ?? 0) > 0 ? .red : .plain),
                Cell(queue.consumers, isAbandoned ? .red : .plain), Cell(Self.rate(queue.inRate)),
                Cell(Self.rate(queue.outRate)), Cell(queue.oldestAgeSeconds.map(Self.age) ?? "-"),
            ]
        }
        return table.text(style)
    }

    public static func consumers(_ consumers: [BusConsumer], _ style: Style) -> String {
        guard !consumers.isEmpty else { return "no consumers" }
        var table = TextTable(
            columns: [
                .init(title: "QUEUE"), .init(title: "CONSUMER"), .init(title: "PEER"), .init(title: "USER"),
                .init(title: "PREFETCH", isNumber: true), .init(title: "UNACKED", isNumber: true),
                .init(title: "ACTIVE"), .init(title: "LEASE UNTIL"),
            ]
        )
        table.rows = consumers.map { consumer in
            [
                Cell(consumer.queue, .bold), Cell(consumer.consumer), Cell(consumer.peer ?? "-"),
                Cell(consumer.user ?? "-"), Cell(consumer.prefetch), Cell(consumer.unacknowledged),
                Cell(consumer.isActive ? "yes" : "no", consumer.isActive ? .plain : .yellow),
                Cell(consumer.leaseUntil?.description ?? "-"),
            ]
        }
        return table.text(style)
    }

    public static func streams(_ streams: [BusStream], _ style: Style) -> String {
        guard !streams.isEmpty else { return "no streams" }
        var table = TextTable(
            columns: [
                .init(title: "STREAM"), .init(title: "LENGTH", isNumber: true), .init(title: "GROUP"),
                .init(title: "CONSUMERS", isNumber: true), .init(title: "PENDING", isNumber: true),
                .init(title: "LAG", isNumber: true), .init(title: "OLDEST IDLE", isNumber: true),
                .init(title: "DELIVERED"), .init(title: "LAST"),
            ]
        )
        table.rows = streams.map { stream in
            let isAbandoned = stream.consumers == 0 && (stream.lag ?? 0) > 0
            return [
                Cell(stream.stream, .bold), Cell(stream.length), Cell(stream.group ?? "-"),
                Cell(stream.consumers, isAbandoned ? .red : .plain), Cell(stream.pending), Cell(stream.lag),
                Cell(stream.oldestIdleSeconds.map(Self.age) ?? "-"), Cell(stream.delivered ?? "-"),
                Cell(stream.last ?? "-"),
            ]
        }
        return table.text(style)
    }

    public static func pending(_ entries: [BusPending], _ style: Style) -> String {
        guard !entries.isEmpty else { return "nothing is pending" }
        var table = TextTable(
            columns: [
                .init(title: "ENTRY"), .init(title: "MESSAGE"), .init(title: "CONSUMER"),
                .init(title: "IDLE", isNumber: true), .init(title: "DELIVERIES", isNumber: true),
                .init(title: "DUE"),
            ]
        )
        table.rows = entries.map { entry in
            [
                Cell(entry.entry, .bold),
                entry.isInStream ? Cell(entry.message ?? "-") : Cell("lost: not in the stream", .red),
                Cell(entry.consumer), Cell(entry.idleSeconds.map(Self.age) ?? "-"), Cell(entry.deliveries),
                Cell(entry.dueAt?.description ?? "-"),
            ]
        }
        return table.text(style)
    }

    public static func deadLetters(_ letters: [DeadLetter], _ style: Style) -> String {
        guard !letters.isEmpty else { return "no dead letters" }
        var table = TextTable(
            columns: [
                .init(title: "ID", isNumber: true), .init(title: "DIED"), .init(title: "GROUP"), .init(title: "TYPE"),
                .init(title: "ATTEMPTS", isNumber: true), .init(title: "REASON"),
            ]
        )
        table.rows = letters.map { letter in
            [
                Cell("\(letter.id)", .bold), Cell(letter.diedAt.description), Cell(letter.group),
                Cell(letter.message.type), Cell(letter.attempts), Cell(Self.oneLine(letter.reason), .red),
            ]
        }
        return table.text(style)
    }

    public static func deadLetter(_ letter: DeadLetter, _ style: Style) -> String {
        let message = letter.message
        var lines = [
            ("id", "\(letter.id)"), ("group", letter.group), ("reason", letter.reason),
            ("attempts", "\(letter.attempts)"), ("died", letter.diedAt.description), ("message", message.id),
            ("type", message.type), ("topic", message.topic), ("source", message.source),
        ]
        if let subject = message.subject { lines.append(("subject", subject)) }
        if let key = message.key { lines.append(("key", key)) }
        lines.append(("time", message.time.description))
        lines += message.headers.sorted { $0.key < $1.key }.map { ("header", "\($0.key): \($0.value)") }
        let head = lines.map { style.paint($0.0.padded(to: 9), .dim) + $0.1 }
        let body = String(validating: message.data, as: UTF8.self) ?? "(\(message.data.count) bytes that are no text)"
        return (head + ["", body]).joined(separator: "\n")
    }

    static func rate(_ value: Double?) -> String {
        guard let value, value.isFinite else { return "-" }
        let tenths = (max(0, value) * 10).rounded()
        guard tenths < 1e15 else { return "-" }
        return "\(Int64(tenths) / 10).\(Int64(tenths) % 10)"
    }

    /// `45s`, `12m`, `3h`, `2d`.
    static func age(_ seconds: Double) -> String {
        guard seconds.isFinite, seconds < 1e15 else { return "-" }
        let whole = Int64(max(0, seconds))
        switch whole {
        case ..<60: return "\(whole)s"
        case ..<3_600: return "\(whole / 60)m"
        case ..<172_800: return "\(whole / 3_600)h"
        default: return "\(whole / 86_400)d"
        }
    }

    private static func oneLine(_ text: String) -> String {
        let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
        return line.count > 100 ? line.prefix(99) + "…" : line
    }
}

extension String {
    func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - self.count)) }
}
