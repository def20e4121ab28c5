internal import Logging
internal import ParleyCore
internal import ParleyMessaging
internal import ParleyRESP

/// The stream, as everybody in this process uses it.
final class StreamLink: Sendable {
    let configuration: StreamConfiguration
    let client: RESPClient
    let keys: StreamKeys
    let coding: StreamMessageCoding
    /// What this process is called in `XINFO CONSUMERS` and `XPENDING`: nobody else is ever called so.
    let consumer: String
    let time: any TimeSource
    let random: any RandomSource
    let logger: Logger
    let metrics: StreamMetrics
    /// What ``RedisTransport/run()`` has to run: one job for each group that is consumed.
    let jobs = AsyncStream.makeStream(of: (@Sendable () async -> Void).self, bufferingPolicy: .unbounded)

    init(
        _ configuration: StreamConfiguration,
        client: RESPClient,
        time: any TimeSource,
        random: any RandomSource,
        logger: Logger
    ) {
        self.configuration = configuration
        self.client = client
        self.keys = StreamKeys(stream: configuration.stream)
        self.coding = StreamMessageCoding(configuration)
        self.consumer = StreamKeys.consumerPrefix + ConsumerName.ofThisProcess(random: random)
        self.time = time
        self.random = random
        self.logger = logger
        self.metrics = StreamMetrics(stream: configuration.stream)
    }

    /// Has `job` run as long as the transport does.
    func start(_ job: @escaping @Sendable () async -> Void) { self.jobs.continuation.yield(job) }

    /// Waits before something that must succeed in the end is tried again.
    func pause(afterFailures failures: Int) async throws {
        let backoff = Backoff(initial: .milliseconds(50), cap: .seconds(2), jitter: 0.5)
        try await self.time.sleep(for: backoff.delay(afterFailures: failures, random: self.random))
    }

    /// Says what Redis's errors mean for a bus.
    func reporting<Value>(_ body: () async throws -> sending Value) async throws -> sending Value {
        do {
            return try await body()
        } catch let error as RESPError {
            throw Self.messagingError(error)
        }
    }

    static func messagingError(_ error: RESPError) -> MessagingError {
        switch error.code {
        case .cancelled:
            MessagingError(.unavailable, "cancelled while Redis was asked", retry: error.retry, cause: error)
        case .closed, .notRunning:
            MessagingError(.closed, "the connection to Redis is closed", retry: error.retry, cause: error)
        default:
            MessagingError(.unavailable, error.message, retry: error.retry, cause: error)
        }
    }
}

// MARK: - What the scripts are called with

extension StreamLink {
    /// What became of an entry that a consumer believed to hold.
    enum Holding: Equatable {
        case held
        /// Another consumer has it.
        case taken
        /// Nobody has it: it is acknowledged, or gone from the stream.
        case gone

        init(_ reply: RESPValue) throws(RESPError) {
            switch reply.integer {
            case 1: self = .held
            case 0: self = .taken
            case 2: self = .gone
            default: throw reply.unexpected("EVALSHA")
            }
        }
    }

    struct Beat {
        var isActive: Bool
        /// Another consumer has them.
        var lost: [StreamID]
        /// Nobody has them, or the stream has not.
        var gone: [StreamID]
        var declaration: String?
    }

    /// An entry that came from another consumer, or from where it was laid aside.
    struct Claimed {
        var entry: StreamEntry
        var deliveries: Int
        /// How much longer it waits.
        var wait: Duration?
    }

    struct Claim {
        /// `nil` when the whole list was seen.
        var cursor: StreamID?
        var claimed: [Claimed]
        var gone: [StreamID]
    }

    /// - Parameter entries: What is held, and how often each was handed out.
    func beat(
        _ group: ConsumerGroup,
        holding entries: [(id: StreamID, count: Int)]
    ) async throws(RESPError) -> Beat {
        let wantsRole: RESPArgument = self.configuration.sharing == .oneProcess ? "1" : "0"
        let reply = try await self.client.eval(
            StreamScripts.beat,
            keys: [self.keys.stream, self.keys.active(group.name), self.keys.groups],
            arguments: [
                RESPArgument(group.name), RESPArgument(self.consumer), RESPArgument(group.lease.wholeMilliseconds),
                wantsRole, RESPArgument(StreamKeys.released), RESPArgument(Self.idleOfReleased),
            ] + entries.flatMap { [RESPArgument("\($0.id)"), RESPArgument($0.count)] },
            deadline: self.deadline(of: group)
        )
        guard let parts = reply.elements, parts.count >= 3, let active = parts[0].integer,
            let lost = parts[1].elements, let gone = parts[2].elements
        else { throw reply.unexpected("EVALSHA") }
        return Beat(
            isActive: active == 1,
            lost: lost.compactMap { $0.string.flatMap { StreamID($0) } },
            gone: gone.compactMap { $0.string.flatMap { StreamID($0) } },
            declaration: parts.count > 3 ? parts[3].string : nil
        )
    }

    /// Longer than any lease, in milliseconds: whoever looks next may have it.
    static let idleOfReleased: Int64 = 7_200_000

    /// A server that does not answer must not cost the lease: another connection may be better.
    func deadline(of group: ConsumerGroup, blocking: Duration = .zero) -> Deadline {
        let patience = min(max(group.lease / 3, .milliseconds(500)), .seconds(10))
        return Deadline(self.time.now.advanced(by: blocking + patience))
    }

    /// - Parameter fromAll: takes what other Parley processes hold whatever its idle time: their role has ended.
    func claim(
        _ group: ConsumerGroup,
        after cursor: StreamID?,
        limit: Int,
        fromAll: Bool
    ) async throws(RESPError) -> Claim {
        let page = 500
        let reply = try await self.client.eval(
            StreamScripts.claim,
            keys: [
                self.keys.stream, self.keys.waits(group.name), self.keys.parked(group.name),
                self.keys.active(group.name),
            ],
            arguments: [
                RESPArgument(group.name), RESPArgument(self.consumer), RESPArgument(group.lease.wholeMilliseconds),
                cursor.map { RESPArgument("\($0)") } ?? "-", RESPArgument(page), RESPArgument(limit),
                fromAll ? "1" : "0", RESPArgument(StreamKeys.parking), RESPArgument(StreamKeys.consumerPrefix),
                RESPArgument(Self.bytesOfAReply),
            ],
            deadline: self.deadline(of: group)
        )
        guard let parts = reply.elements, parts.count == 3, let next = parts[0].string, let taken = parts[1].elements,
            let gone = parts[2].elements
        else { throw reply.unexpected("EVALSHA") }
        return Claim(
            cursor: StreamID(next),
            claimed: try taken.map { value throws(RESPError) in try Self.claimed(value) },
            gone: gone.compactMap { $0.string.flatMap { StreamID($0) } }
        )
    }

    /// About so many bytes come with one answer, or one message that is longer.
    static let bytesOfAReply = 16 * 1_024 * 1_024

    func unpark(
        _ group: ConsumerGroup,
        limit: Int
    ) async throws(RESPError) -> (claimed: [Claimed], gone: [StreamID], next: Duration?) {
        let reply = try await self.client.eval(
            StreamScripts.unpark,
            keys: [self.keys.stream, self.keys.parked(group.name)],
            arguments: [
                RESPArgument(group.name), RESPArgument(self.consumer), RESPArgument(StreamKeys.parking),
                RESPArgument(limit),
            ],
            deadline: self.deadline(of: group)
        )
        guard let parts = reply.elements, parts.count == 3, let taken = parts[0].elements,
            let gone = parts[1].elements, let next = parts[2].integer
        else { throw reply.unexpected("EVALSHA") }
        return (
            try taken.map { value throws(RESPError) in try Self.claimed(value) },
            gone.compactMap { $0.string.flatMap { StreamID($0) } }, next < 0 ? nil : .milliseconds(next)
        )
    }

    private static func claimed(_ value: RESPValue) throws(RESPError) -> Claimed {
        guard let parts = value.elements, parts.count >= 3, let id = parts[0].string.flatMap({ StreamID($0) }),
            let deliveries = parts[1].integer, let words = parts[2].elements
        else { throw value.unexpected("EVALSHA") }
        var fields: [StreamField] = []
        var index = 0
        while index + 1 < words.count {
            guard let name = words[index].bytes, let content = words[index + 1].bytes else {
                throw value.unexpected("EVALSHA")
            }
            fields.append(StreamField(name: name, value: content))
            index += 2
        }
        return Claimed(
            entry: StreamEntry(id: id, fields: fields),
            deliveries: Int(clamping: deliveries),
            wait: parts.count > 3 ? parts[3].integer.map { .milliseconds($0) } : nil
        )
    }

    /// Runs one of the scripts that are about one entry and what it is to become.
    func change(
        _ script: RESPScript,
        _ keys: [String],
        _ group: String,
        _ id: StreamID,
        _ arguments: [RESPArgument] = []
    ) async throws(RESPError) -> Holding {
        let words = [RESPArgument(group), RESPArgument(self.consumer), RESPArgument("\(id)")]
        return try Holding(try await self.client.eval(script, keys: keys, arguments: words + arguments))
    }

    /// Sets what entries of this consumer count as, and keeps them.
    func recount(_ entries: [(id: StreamID, count: Int)], of group: String) async throws(RESPError) {
        try await self.hand(entries, of: group, to: self.consumer, idle: 0, by: self.client)
    }

    /// Gives entries to another consumer, with these counts.
    func hand(
        _ entries: [(id: StreamID, count: Int)],
        of group: String,
        to consumer: String,
        idle: Int64,
        by executor: some RESPExecutor
    ) async throws(RESPError) {
        guard !entries.isEmpty else { return }
        _ = try await executor.eval(
            StreamScripts.release,
            keys: [self.keys.stream],
            arguments: [
                RESPArgument(group), RESPArgument(self.consumer), RESPArgument(consumer), RESPArgument(idle),
            ] + entries.flatMap { [RESPArgument("\($0.id)"), RESPArgument($0.count)] }
        )
    }

    /// - Returns: The group's declaration of now, when it is another one and nothing was acknowledged.
    func skip(
        _ ids: [StreamID],
        of group: String,
        judgedBy declaration: String
    ) async throws(RESPError) -> String? {
        let reply = try await self.client.eval(
            StreamScripts.skip,
            keys: [self.keys.stream, self.keys.groups],
            arguments: [RESPArgument(group), RESPArgument(self.consumer), RESPArgument(declaration)]
                + ids.map { RESPArgument("\($0)") }
        )
        return reply.integer == 1 ? nil : reply.string
    }

    func dismiss(in group: ConsumerGroup) async throws(RESPError) -> Int {
        let idle = max(60_000, group.lease.wholeMilliseconds * 10)
        let reply = try await self.client.eval(
            StreamScripts.dismiss,
            keys: [self.keys.stream],
            arguments: [
                RESPArgument(group.name), RESPArgument(self.consumer), RESPArgument(idle),
                RESPArgument(StreamKeys.consumerPrefix), RESPArgument(StreamKeys.parking),
            ]
        )
        return Int(clamping: reply.integer ?? 0)
    }
}

extension Duration {
    /// Not below zero, saturating.
    var wholeMilliseconds: Int64 { Int64(clamping: self.nanosecondsClamped / 1_000_000) }
}
