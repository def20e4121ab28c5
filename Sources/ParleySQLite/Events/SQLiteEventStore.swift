public import ParleyCore
public import ParleyEventStore

/// The events in the file: see `EventStore`.
///
/// ``append(_:to:expecting:in:)`` takes any ``Transaction`` on this file, so events commit together with business rows.
/// Readers see committed states only, and the file has one writer at a time: that is why positions have no gaps.
///
/// Errors: ``EventStoreError`` for the stream and the events, ``SQLiteError`` for the file.
public final class SQLiteEventStore: EventStore {
    public var limits: EventStoreLimits { EventStoreLimits() }
    private let core: SQLiteCore

    init(core: SQLiteCore) {
        self.core = core
    }

    public func append(
        _ events: [EventData],
        to stream: StreamName,
        expecting expected: ExpectedVersion
    ) async throws -> AppendResult {
        // Before it stands in the queue, too.
        try self.limits.check(events, for: stream)
        return try await self.translating {
            try await self.core.write { try self.append(events, to: stream, expecting: expected, in: $0) }
        }
    }

    /// Appends as part of the caller's transaction: the events are there when it commits, or not at all.
    ///
    /// The positions hold once it has committed. On a connection of the application's own the transaction must be one
    /// that writes from its beginning (`BEGIN IMMEDIATE`, which is what GRDB's `write` does); waiting subscribers are
    /// then woken by their poll, up to a second later, because nobody rings for a foreign commit.
    ///
    /// - Throws: ``EventStoreError``: `wrongVersion`, `partialOverlap`, `invalidEvent`, `tooLarge`; nothing is written
    ///   then, and the transaction can go on. Errors of the transaction.
    public func append(
        _ events: [EventData],
        to stream: StreamName,
        expecting expected: ExpectedVersion,
        in transaction: any Transaction
    ) throws -> AppendResult {
        try self.limits.check(events, for: stream)
        let name = SQLValue.text(stream.description)
        var known: [String: Int64] = [:]
        for event in events {
            let rows = try transaction.query(
                "SELECT version FROM parley_event WHERE stream = ? AND id = ?",
                [name, .text(event.id)]
            )
            if let version = rows.first?.first?.integer { known[event.id] = version }
        }
        let current = try transaction.query("SELECT max(version) FROM parley_event WHERE stream = ?", [name])
        let decision = try AppendDecision.decide(
            events,
            to: stream,
            expecting: expected,
            known: known,
            current: current.first?.first?.integer ?? 0
        )
        switch decision {
        case .repetition(let first):
            let positions = try transaction.query(
                "SELECT position FROM parley_event WHERE stream = ? AND version >= ? ORDER BY version LIMIT ?",
                [name, .integer(first), .integer(events.count)]
            ).compactMap { $0.first?.integer.map(GlobalPosition.init) }
            return AppendResult(firstVersion: first, positions: positions, isRepetition: true)
        case .append(let first):
            let now = SQLValue.integer(self.core.time.wallTime.microseconds)
            for (index, event) in events.enumerated() {
                try transaction.execute(
                    """
                    INSERT INTO parley_event (stream, version, id, type, data, metadata, recorded_at)
                    VALUES (?, ?, ?, ?, ?, ?, ?)
                    """,
                    [
                        name, .integer(first + Int64(index)), .text(event.id), .text(event.type), .blob(event.data),
                        .text(JSONText.text(of: event.metadata)), now,
                    ]
                )
            }
            let positions = try transaction.query(
                "SELECT position FROM parley_event WHERE stream = ? AND version >= ? ORDER BY version",
                [name, .integer(first)]
            ).compactMap { $0.first?.integer.map(GlobalPosition.init) }
            // Whose commit it is decides who can ring; this asks for no capability.
            (transaction as? SQLiteTransaction)?.rings.channels.insert(.events)
            return AppendResult(firstVersion: first, positions: positions, isRepetition: false)
        }
    }

    public func read(_ stream: StreamName, from version: Int64, limit: Int) async throws -> [RecordedEvent] {
        try await self.page(
            "WHERE stream = ? AND version >= ? ORDER BY version",
            [.text(stream.description), .integer(version)],
            limit
        )
    }

    public func readAll(after position: GlobalPosition, limit: Int) async throws -> [RecordedEvent] {
        try await self.page("WHERE position > ? ORDER BY position", [.integer(position.number)], limit)
    }

    private func page(_ condition: String, _ values: [SQLValue], _ limit: Int) async throws -> [RecordedEvent] {
        let limit = min(EventStoreLimits.maximumPage, max(1, limit))
        return try await self.translating {
            try await self.core.read { connection in
                var events: [RecordedEvent] = []
                var bytes = 0
                try connection.forEachRow(
                    """
                    SELECT position, stream, version, id, type, data, metadata, recorded_at FROM parley_event
                    \(condition) LIMIT ?
                    """,
                    values + [.integer(limit)]
                ) { row in
                    // The rest of the statement is stepped over, which costs little beside what a page holds.
                    guard bytes < EventStoreLimits.pageBytes else { return }
                    let event = try Self.read(row, path: connection.path)
                    bytes += event.data.count
                    events.append(event)
                }
                return events
            }
        }
    }

    private static func read(_ row: SQLRow, path: String) throws -> RecordedEvent {
        let position = row.integer(0)
        guard let stream = StreamName(row.text(1)), let metadata = JSONText.dictionary(row.text(6)) else {
            throw EventStoreError(
                .corrupt,
                "\(path): parley_event, row \(position) cannot be read; correct its stream or its metadata"
            )
        }
        return RecordedEvent(
            stream: stream,
            version: row.integer(2),
            position: GlobalPosition(position),
            recordedAt: row.timestamp(7),
            id: row.text(3),
            type: row.text(4),
            data: row.blob(5),
            metadata: metadata
        )
    }

    public func version(of stream: StreamName) async throws -> Int64 {
        let name = SQLValue.text(stream.description)
        return try await self.translating {
            try await self.core.read {
                try $0.first("SELECT max(version) FROM parley_event WHERE stream = ?", [name]) { $0.integer(0) } ?? 0
            }
        }
    }

    public func head() async throws -> GlobalPosition {
        try await self.translating {
            try await self.core.read {
                GlobalPosition(try $0.first("SELECT max(position) FROM parley_event") { $0.integer(0) } ?? 0)
            }
        }
    }

    public func waitForEvents(after position: GlobalPosition, until instant: ContinuousClock.Instant?) async throws {
        while true {
            let generation = self.core.bells.events.generation
            try Task.checkCancellation()
            if try await self.head() > position { return }
            if let instant, self.core.time.now >= instant { return }
            _ = await self.core.bells.wait(
                for: self.core.bells.events,
                after: generation,
                until: instant,
                on: self.core.time
            )
        }
    }

    /// The port knows one error for a store that is gone.
    private func translating<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch let error as SQLiteError where error.code == .closed {
            throw EventStoreError(.closed, "the SQLite backend has been shut down", retry: .notSent, cause: error)
        }
    }
}
