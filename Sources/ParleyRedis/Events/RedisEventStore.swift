public import ParleyCore
public import ParleyEventStore
public import ParleyRESP

/// Events on Redis or Valkey, from 7.0 on: see `EventStore`, and decision 8 for how they lie.
///
/// Guarantees beside the port's:
/// - One script, which the server runs as one step, looks at the stream and appends: positions have no gaps and follow
///   the order of the appends, however many clients there are.
/// - Everything can be read with the server's own tools: `XRANGE {parley-events}:all - +`.
///
/// ## What it cannot promise
/// - It is as durable as the server: `appendfsync always` keeps every append that has returned; `everysec` may lose the
///   last second or two, when the machine dies and, while the disk is slow, when the server's process does. A fail-over
///   to a replica can lose appends that have returned.
/// - A store lies on one node: in a cluster its prefix must have a hash tag, as the standard one has.
/// - Everything is in memory; nothing is ever removed by the store.
///
/// Errors: ``EventStoreError``; its `cause` is a `RESPError` when the server could not be asked or refused.
public final class RedisEventStore: EventStore {
    public let limits: EventStoreLimits
    private let client: RESPClient
    private let keys: EventKeys
    private let time: any TimeSource

    /// - Parameters:
    ///   - client: Its `run()` must be active. Each task that waits for events takes one of its dedicated connections.
    ///   - prefix: What the names of all keys begin with: one store for each. With a hash tag for a cluster.
    public init(
        client: RESPClient,
        prefix: String = "{parley-events}",
        limits: EventStoreLimits = EventStoreLimits(),
        time: any TimeSource = SystemTimeSource()
    ) {
        self.client = client
        self.keys = EventKeys(prefix: prefix)
        self.limits = limits
        self.time = time
    }

    public func append(
        _ events: [EventData],
        to stream: StreamName,
        expecting expected: ExpectedVersion
    ) async throws -> AppendResult {
        try self.limits.check(events, for: stream)
        var arguments: [RESPArgument] = [
            RESPArgument(expected.description), RESPArgument(stream.description), RESPArgument(events.count),
        ]
        for event in events {
            arguments += [
                RESPArgument(event.id), RESPArgument(event.type), RESPArgument(event.data),
                RESPArgument(event.metadata.count),
            ]
            for (name, value) in event.metadata.sorted(by: { $0.key < $1.key }) {
                arguments += [RESPArgument("m:" + name), RESPArgument(value)]
            }
        }
        let reply = try await self.run(
            EventScripts.append,
            [self.keys.all, self.keys.stream(stream), self.keys.ids(stream)],
            arguments,
            stream
        )
        guard let parts = reply.elements, parts.count >= 2, let outcome = parts[0].string, let number = parts[1].integer
        else { throw self.unexpected(reply, stream) }
        switch outcome {
        case "version": throw EventStoreError.wrongVersion(stream, expected: expected, current: number)
        case "overlap": throw EventStoreError.partialOverlap(stream, current: number)
        case "appended", "repetition":
            let positions = parts.dropFirst(2).compactMap { $0.integer.map(GlobalPosition.init) }
            guard positions.count == events.count else { throw self.unexpected(reply, stream) }
            return AppendResult(firstVersion: number, positions: positions, isRepetition: outcome == "repetition")
        default: throw self.unexpected(reply, stream)
        }
    }

    public func read(_ stream: StreamName, from version: Int64, limit: Int) async throws -> [RecordedEvent] {
        let reply = try await self.run(
            EventScripts.read,
            [self.keys.all, self.keys.stream(stream)],
            [RESPArgument(max(1, version))] + Self.page(limit),
            stream
        )
        return try self.events(reply, stream)
    }

    public func readAll(after position: GlobalPosition, limit: Int) async throws -> [RecordedEvent] {
        let reply = try await self.run(
            EventScripts.readAll,
            [self.keys.all],
            [RESPArgument(max(0, position.number))] + Self.page(limit),
            nil
        )
        return try self.events(reply, nil)
    }

    private static func page(_ limit: Int) -> [RESPArgument] {
        [
            RESPArgument(min(EventStoreLimits.maximumPage, max(1, limit))), RESPArgument(EventStoreLimits.pageBytes),
        ]
    }

    public func version(of stream: StreamName) async throws -> Int64 {
        try await self.last(self.keys.stream(stream), stream)
    }

    public func head() async throws -> GlobalPosition { GlobalPosition(try await self.last(self.keys.all, nil)) }

    private func last(_ key: String, _ stream: StreamName?) async throws -> Int64 {
        let reply = try await self.run(EventScripts.last, [key], [], stream)
        guard let number = reply.integer else { throw self.unexpected(reply, stream) }
        return number
    }

    public func waitForEvents(after position: GlobalPosition, until instant: ContinuousClock.Instant?) async throws {
        let from = "\(max(0, position.number))-0"
        while true {
            try Task.checkCancellation()
            // No longer than a second at a time, so that a client that is shut down is not held up.
            let left = instant.map { self.time.now.duration(to: $0) } ?? .seconds(1)
            let block = max(1, min(1_000, left.inMilliseconds))
            let reply = try await self.translating(nil) {
                try await self.client.send([
                    "XREAD", "COUNT", "1", "BLOCK", RESPArgument(block), "STREAMS", RESPArgument(self.keys.all),
                    RESPArgument(from),
                ])
            }
            if !reply.isNull { return }
            if let instant, self.time.now >= instant { return }
        }
    }

    // MARK: Replies

    private func run(
        _ script: RESPScript,
        _ keys: [String],
        _ arguments: [RESPArgument],
        _ stream: StreamName?
    ) async throws -> RESPValue {
        try await self.translating(stream) {
            try await self.client.eval(script, keys: keys, arguments: arguments)
        }
    }

    private func translating(_ stream: StreamName?, _ body: () async throws -> RESPValue) async throws -> RESPValue {
        do {
            return try await body()
        } catch let error as RESPError {
            switch error.code {
            case .cancelled: throw CancellationError()
            case .closed:
                throw EventStoreError(.closed, stream: stream, "the client is closed", retry: error.retry, cause: error)
            case .wrongType:
                throw EventStoreError(
                    .corrupt,
                    stream: stream,
                    "another program uses a key under '\(self.keys.prefix)': choose another prefix",
                    cause: error
                )
            default:
                throw EventStoreError(
                    .unavailable,
                    stream: stream,
                    "the server did not do it; append the same events again when it is back",
                    retry: error.retry,
                    cause: error
                )
            }
        }
    }

    private func unexpected(_ reply: RESPValue, _ stream: StreamName?) -> EventStoreError {
        EventStoreError(
            .corrupt,
            stream: stream,
            "the server's answer (\(reply.kind)) is not one of this version of Parley",
            retry: .mayHaveRun
        )
    }

    private func events(_ reply: RESPValue, _ stream: StreamName?) throws -> [RecordedEvent] {
        guard let entries = reply.elements else { throw self.unexpected(reply, stream) }
        return try entries.map { entry in
            guard let event = EventKeys.event(entry) else {
                let id = entry.elements?.first?.string ?? "?"
                throw EventStoreError(
                    .corrupt,
                    stream: stream,
                    "entry \(id) of '\(self.keys.all)' is missing or is no event; it was changed by hand or trimmed"
                )
            }
            return event
        }
    }
}
