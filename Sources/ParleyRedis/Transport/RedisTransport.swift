internal import CoreMetrics
public import Logging
public import ParleyCore
public import ParleyMessaging
public import ParleyRESP
public import ServiceLifecycle
internal import Synchronization

/// The bus on a Redis or Valkey stream: one stream for all topics, a consumer group of Redis for each group, and the
/// rules of every ``ParleyMessaging/MessageTransport``.
///
/// `XINFO GROUPS`, `XPENDING`, `XRANGE` show what is going on; other programs add entries with `XADD` and read with
/// groups of their own. A group is shown every entry of the stream and acknowledges at once what its bindings do not
/// take. Dead letters are in `<stream>.dlq`.
///
/// In the pending list, a delivery count is how often a handler was given the message (1 also for what was read and not
/// handed out yet), the idle time is the time since its consumer's last sign of life: other programs that claim by
/// idle time (`XAUTOCLAIM`) find nothing as long as ours lives. What waits for a later try belongs to the consumer
/// `parley.parked`.
///
/// What Redis cannot promise:
/// - What is published is as durable as the server's `appendfsync` says: with `everysec`, a power failure loses up to
///   two seconds of it. A fail-over can lose what the replica had not yet got, ``StreamConfiguration/replication`` or
///   not. A killed server process loses nothing with an append-only file.
/// - Somebody may trim or delete what is not handled yet. It is counted (`redis.stream.lost`) and logged.
/// - The role of handing out is a key that expires. A server that evicts such keys (any `maxmemory-policy` but
///   `noeviction`) or whose clock jumps can have two processes hand out for up to a second, and a key's order suffers.
///
/// A group that is consumed takes one of the client's ``ParleyRESP/RESPConfiguration/maximumDedicated`` connections.
public final class RedisTransport: MessageTransport, Service {
    private let link: StreamLink
    private let letters: StreamDeadLetters
    private let consumers = Consumers()
    private let isEnding = Signal()
    private let hasEnded = Mutex(false)

    /// - Parameter client: Runs beside this transport, and longer: `RedisBackend` sees to it.
    public init(
        _ configuration: StreamConfiguration,
        client: RESPClient,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource(),
        logger: Logger
    ) {
        self.link = StreamLink(configuration, client: client, time: time, random: random, logger: logger)
        self.letters = StreamDeadLetters(link: self.link)
    }

    public var capabilities: TransportCapabilities {
        TransportCapabilities(
            isDurable: true,
            isSharedBetweenProcesses: true,
            maximumMessageBytes: StreamConfiguration.maximumMessageBytes
        )
    }

    public var deadLetters: any DeadLetterStore { self.letters }

    /// What this process is called in `XINFO CONSUMERS`.
    public var consumerName: String { self.link.consumer }

    /// Consumes for the subscriptions and keeps the stream in order, until graceful shutdown or cancellation. At a
    /// graceful shutdown it returns when everything has been given back.
    public func run() async throws {
        await withTaskCancellationHandler {
            await withGracefulShutdownHandler {
                await withDiscardingTaskGroup { group in
                    group.addTask { await self.keepUp() }
                    for await job in self.link.jobs.stream { group.addTask { await job() } }
                }
            } onGracefulShutdown: {
                self.end()
            }
        } onCancel: {
            self.end()
        }
    }

    private func end() {
        self.hasEnded.withLock { $0 = true }
        self.consumers.closeAll()
        self.link.jobs.continuation.finish()
        self.isEnding.ring()
    }

    private func keepUp() async {
        let upkeep = StreamUpkeep(link: self.link)
        while !Task.isCancelled {
            let generation = self.isEnding.generation
            if self.hasEnded.withLock({ $0 }) { return }
            let interval = max(.milliseconds(100), self.link.configuration.upkeepInterval)
            let next = self.link.time.now.advanced(by: interval)
            await self.isEnding.wait(after: generation, until: next, on: self.link.time)
            if self.hasEnded.withLock({ $0 }) { return }
            await upkeep.once()
        }
    }

    // MARK: Groups

    /// A group that exists already, made by `XGROUP CREATE` say, keeps its place and what it has pending; a new one
    /// begins at the stream's end.
    public func declare(_ group: ConsumerGroup) async throws {
        try await self.link.reporting {
            let client = self.link.client
            do throws(RESPError) {
                try await client.xgroupCreate(self.link.keys.stream, group.name, from: .end)
            } catch {
                guard error.code == .groupExists else { throw error }
            }
            // Another process may declare it at the same time; whoever is later has read what the earlier one wrote.
            while try await !self.write(group) { try Task.checkCancellation() }
        }
    }

    private func write(_ group: ConsumerGroup) async throws -> Bool {
        let client = self.link.client
        let found = try await client.hget(self.link.keys.groups, group.name)
        let stored = found.map { String(decoding: $0, as: UTF8.self) }
        var declaration = GroupDeclaration(group)
        if let stored, let known = try? GroupDeclaration(stored, of: group.name) {
            let info = try await client.xinfoGroups(self.link.keys.stream).first { $0.name == group.name }
            declaration = known.redeclared(
                group,
                last: try await client.xinfoStream(self.link.keys.stream).lastGeneratedID,
                done: try await self.done(by: info)
            )
        }
        let reply = try await client.eval(
            StreamScripts.declare,
            keys: [self.link.keys.groups],
            arguments: [RESPArgument(group.name), RESPArgument(stored ?? ""), RESPArgument(declaration.json)]
        )
        guard reply.integer == 1 else { return false }
        self.consumers.find(group.name)?.redeclare(declaration)
        return true
    }

    /// The last entry before which the group has nothing to do any more.
    private func done(by group: StreamGroupInfo?) async throws -> StreamID {
        guard let group else { return .zero }
        let first = try await self.link.client.xpending(self.link.keys.stream, group.name).first
        return first.map { min($0.predecessor, group.lastDeliveredID) } ?? group.lastDeliveredID
    }

    // MARK: Publishing

    public func publish(_ messages: [Message]) async throws {
        for message in messages { try message.validate(maximumBytes: StreamConfiguration.maximumMessageBytes) }
        guard !messages.isEmpty else { return }
        try await self.link.reporting {
            if let life = self.link.configuration.deduplication {
                try await self.publishOnce(messages, rememberedFor: life)
            } else {
                try await self.add(messages)
            }
        }
        self.link.metrics.handles?.published.increment(by: Int64(messages.count))
    }

    private func add(_ messages: [Message]) async throws(RESPError) {
        var commands = messages.map { RESPClient.xaddCommand(self.link.keys.stream, self.link.coding.fields(of: $0)) }
        commands += self.waitForReplicas
        let replies = try await self.link.client.execute(commands, deadline: nil)
        guard replies.count == commands.count else {
            throw RESPError(.unexpectedReply, "\(replies.count) replies to \(commands.count) commands")
        }
        for (index, reply) in replies.prefix(messages.count).enumerated() {
            guard let refusal = reply.errorMessage else { continue }
            var error = RESPError(refusal: refusal, command: "XADD")
            // Something of the batch is stored.
            let isPart = index > 0 || replies[index..<messages.count].contains { $0.errorMessage == nil }
            if isPart, error.retry == .notSent { error.retry = .mayHaveRun }
            throw error
        }
        try self.checkReplicas(replies.last)
    }

    private func publishOnce(_ messages: [Message], rememberedFor life: Duration) async throws(RESPError) {
        let milliseconds = RESPArgument(min(max(1, life.wholeMilliseconds), 86_400_000))
        // In order, one after the other: the second of a batch must not be there without the first.
        for message in messages {
            let fields = self.link.coding.fields(of: message)
            _ = try await self.link.client.eval(
                StreamScripts.publishOnce,
                keys: [self.link.keys.stream, self.link.keys.published(message.id)],
                arguments: [milliseconds] + fields.flatMap { [RESPArgument($0.name), RESPArgument($0.value)] }
            )
        }
        guard let wait = self.waitForReplicas.first else { return }
        // On another connection `WAIT` asks for what that one has written: a write of its own stands for the others.
        let replies = try await self.link.client.execute(
            [["SET", RESPArgument(self.link.keys.replicated), "1", "PX", "1000"], wait],
            deadline: nil
        )
        try self.checkReplicas(replies.last)
    }

    private var waitForReplicas: [RESPCommand] {
        guard let replication = self.link.configuration.replication, replication.replicas > 0 else { return [] }
        return [
            ["WAIT", RESPArgument(replication.replicas), RESPArgument(max(1, replication.timeout.wholeMilliseconds))]
        ]
    }

    private func checkReplicas(_ reply: RESPValue?) throws(RESPError) {
        guard let replication = self.link.configuration.replication, replication.replicas > 0 else { return }
        guard let count = reply?.integer else { throw (reply ?? .null).unexpected("WAIT") }
        guard count >= replication.replicas else {
            throw RESPError(
                .noReplicas,
                "\(count) of \(replication.replicas) replicas have the message after \(replication.timeout); "
                    + "it is on the master: publish again with the same id, or look at INFO replication",
                retry: .mayHaveRun
            )
        }
    }

    // MARK: Consuming

    public func withSubscription<Value>(
        to group: String,
        prefetch: Int,
        _ body: (DeliverySequence) async throws -> Value
    ) async throws -> Value {
        let consumer = try await self.consumer(of: group)
        let holder = try await consumer.join()
        let prefetch = min(1_000, max(1, prefetch))
        let value: Value
        do {
            value = try await body(
                DeliverySequence { try await consumer.next(holder: holder, prefetch: prefetch) }
            )
        } catch {
            await consumer.leave(holder)
            throw error
        }
        await consumer.leave(holder)
        return value
    }

    private func consumer(of group: String) async throws -> GroupConsumer {
        if let known = self.consumers.find(group) { return known }
        let found = try await self.link.reporting { try await self.link.client.hget(self.link.keys.groups, group) }
        guard let declaration = found.map({ String(decoding: $0, as: UTF8.self) }) else {
            throw MessagingError(
                .unknownGroup,
                "no consumer group '\(group)' is declared on the stream '\(self.link.keys.stream)'; declare it before "
                    + "subscribing",
                retry: .permanent
            )
        }
        let known = try GroupDeclaration(declaration, of: group)
        return self.consumers.find(group) { GroupConsumer(known, link: self.link) }
    }

    public func settle(_ delivery: Delivery.ID, _ settlement: Settlement) async throws {
        guard let consumer = self.consumers.find(delivery.group) else {
            throw MessagingError(
                .leaseLost,
                "delivery \(delivery.sequence) of group '\(delivery.group)' is no longer this consumer's",
                retry: .permanent
            )
        }
        try await consumer.settle(delivery, settlement)
    }

    // MARK: Looking

    public func statistics() async throws -> [GroupStatistics] {
        try await self.link.reporting {
            try await StreamStatistics(link: self.link).ofGroups(dead: try await self.letters.counts()) {
                self.consumers.find($0)?.statistics
            }
        }
    }
}

/// The groups that this process has subscribed to.
private final class Consumers: Sendable {
    private let consumers = Mutex<[String: GroupConsumer]>([:])
    private let isClosed = Mutex(false)

    func find(_ name: String) -> GroupConsumer? { self.consumers.withLock { $0[name] } }

    func find(_ name: String, orMake make: () -> GroupConsumer) -> GroupConsumer {
        self.consumers.withLock { consumers in
            if let consumer = consumers[name] { return consumer }
            let consumer = make()
            consumers[name] = consumer
            if self.isClosed.withLock({ $0 }) { consumer.close() }
            return consumer
        }
    }

    func closeAll() {
        self.isClosed.withLock { $0 = true }
        for consumer in self.consumers.withLock({ Array($0.values) }) { consumer.close() }
    }
}
