internal import ParleyCore
public import ParleyMessaging
internal import ParleyRESP
public import ParleyRedis

/// A bus on Redis or Valkey, seen beside the processes that use it.
public struct RedisBusInspector: BusInspector {
    private let backend: RedisBackend
    private let stream: String
    /// Who was not heard of for longer counts as gone: a consumer that lives asks once a second.
    private static let patience: Duration = .seconds(10)
    /// So many streams of a server are looked at.
    private static let maximumStreams = 1_000

    /// - Parameter stream: The one that the backend's bus is on.
    public init(_ backend: RedisBackend, stream: String) {
        self.backend = backend
        self.stream = stream
    }

    private var client: RESPClient { self.backend.client }

    public func queues() async throws -> [BusQueue] {
        let now = SystemTimeSource().wallTime
        var queues: [BusQueue] = []
        for group in try await self.backend.transport.statistics() {
            queues.append(
                BusQueue(
                    queue: group.group,
                    messages: group.ready + group.delayed + group.unacknowledged,
                    ready: group.ready,
                    unacknowledged: group.unacknowledged,
                    delayed: group.delayed,
                    dead: group.deadLettered,
                    consumers: try await self.consumers(of: group.group).count { $0.idle <= Self.patience },
                    oldestAgeSeconds: group.oldest.map { max(0, (now - $0).inSeconds) }
                )
            )
        }
        return queues
    }

    public func consumers() async throws -> [BusConsumer] {
        var consumers: [BusConsumer] = []
        for group in try await self.groups(of: self.stream) {
            for consumer in try await self.consumers(of: group.name) {
                consumers.append(
                    BusConsumer(
                        queue: group.name,
                        consumer: consumer.name,
                        unacknowledged: consumer.pending,
                        isActive: consumer.idle <= Self.patience
                    )
                )
            }
        }
        return consumers.sorted { ($0.queue, $0.consumer) < ($1.queue, $1.consumer) }
    }

    /// Processes, without the names under which entries are laid aside.
    private func consumers(of group: String) async throws -> [StreamConsumerInfo] {
        do throws(RESPError) {
            return try await self.client.xinfoConsumers(self.stream, group)
                .filter { $0.name != StreamKeys.parking && $0.name != StreamKeys.released }
        } catch {
            guard error.isMissingKey else { throw error }
            return []
        }
    }

    private func groups(of stream: String) async throws -> [StreamGroupInfo] {
        do throws(RESPError) {
            return try await self.client.xinfoGroups(stream).sorted { $0.name < $1.name }
        } catch {
            guard error.isMissingKey else { throw error }
            return []
        }
    }

    public func streams() async throws -> [BusStream] {
        var rows: [BusStream] = []
        for name in try await Self.keys(on: self.client, "*", type: "stream").sorted().prefix(Self.maximumStreams) {
            let info = try await self.client.xinfoStream(name)
            let last = info.entriesAdded == 0 ? nil : "\(info.lastGeneratedID)"
            let groups = try await self.groups(of: name)
            if groups.isEmpty { rows.append(BusStream(stream: name, length: info.length, last: last)) }
            for group in groups {
                let oldest = try await self.client.xpending(name, group.name, count: 1).first
                rows.append(
                    BusStream(
                        stream: name,
                        length: info.length,
                        last: last,
                        group: group.name,
                        consumers: group.consumers,
                        pending: group.pending,
                        lag: group.lag,
                        delivered: "\(group.lastDeliveredID)",
                        oldestIdleSeconds: oldest.map { $0.idle.inSeconds }
                    )
                )
            }
        }
        return rows
    }

    public func pending(stream: String, group: String, limit: Int) async throws -> [BusPending] {
        guard try await self.groups(of: stream).contains(where: { $0.name == group }) else {
            throw BusAddressError("there is no stream '\(stream)' with a group '\(group)'; see: parley streams")
        }
        let keys = StreamKeys(stream: stream)
        let entries = try await self.client.xpending(stream, group, count: min(10_000, max(1, limit)))
        guard !entries.isEmpty else { return [] }
        let commands = entries.flatMap { entry -> [RESPCommand] in
            let id = RESPArgument("\(entry.id)")
            return [
                ["XRANGE", RESPArgument(stream), id, id],
                entry.consumer == StreamKeys.parking
                    ? ["ZSCORE", RESPArgument(keys.parked(group)), id]
                    : ["HGET", RESPArgument(keys.waits(group)), id],
            ]
        }
        let replies = try await self.client.execute(commands, deadline: nil)
        guard replies.count == commands.count else { return [] }
        return try entries.enumerated().map { index, entry in
            let found = try replies[index * 2].streamEntries("XRANGE").first
            let due = replies[index * 2 + 1].real.map { Timestamp(microseconds: Int64($0) * 1_000) }
            return BusPending(
                entry: "\(entry.id)",
                message: found?["ce_id"],
                consumer: entry.consumer,
                idleSeconds: entry.idle.inSeconds,
                deliveries: entry.deliveries,
                dueAt: due,
                isInStream: found != nil
            )
        }
    }

    public func withDeadLetters<Value: Sendable>(
        _ body: @Sendable (any DeadLetterStore) async throws -> Value
    ) async throws -> Value {
        try await body(self.backend.transport.deadLetters)
    }

    /// The streams on which somebody has declared a group.
    static func buses(on client: RESPClient) async throws -> [String] {
        try await self.keys(on: client, "*:groups", type: "hash").map { String($0.dropLast(":groups".count)) }.sorted()
    }

    private static func keys(on client: RESPClient, _ pattern: String, type: String) async throws -> [String] {
        var cursor = "0"
        var names: Set<String> = []
        repeat {
            let reply = try await client.send([
                "SCAN", RESPArgument(cursor), "MATCH", RESPArgument(pattern), "COUNT", "1000", "TYPE",
                RESPArgument(type),
            ])
            guard let parts = reply.elements, parts.count == 2, let next = parts[0].string,
                let found = parts[1].elements
            else { throw reply.unexpected("SCAN") }
            names.formUnion(found.compactMap(\.string))
            cursor = next
        } while cursor != "0"
        return Array(names)
    }
}
