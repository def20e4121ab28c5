internal import NIOCore
internal import ParleyAMQP
internal import ParleyCore
internal import ParleyMessaging
internal import Synchronization

/// The dead letters of each group: a queue beside the group's own, with what happened in the headers.
///
/// A queue can only be looked into by taking everything out and giving it back, so the letters of a group are read by
/// one reader at a time, up to ``maximumLetters`` of them, and cost memory while they are.
struct DeadLetterQueue: Sendable {
    private enum Header {
        static let letter = "x-parley-letter"
        static let group = "x-parley-group"
        static let reason = "x-parley-reason"
        static let diedAt = "x-parley-died-at"
        /// A line drawn by a reader: everything before it has been there when it began.
        static let line = "x-parley-line"
    }

    /// How many letters of a group can be read; what comes after them is seen once there are fewer.
    static let maximumLetters = 65_000

    let link: BrokerLink
    let registry: GroupRegistry
    let numbers: LetterNumbers

    func bury(
        _ message: Message,
        of group: String,
        publishedAt: Timestamp,
        reason: String,
        attempts: Int
    ) async throws {
        let now = self.link.time.wallTime
        var letter = MessageCoding.outgoing(
            message,
            exchange: "",
            routingKey: GroupQueues.deadLetters(of: group),
            publishedAt: publishedAt
        )
        letter.mandatory = true
        letter.properties.headers?[Header.letter] = .int64(self.numbers.next(at: now))
        letter.properties.headers?[Header.group] = .string(group)
        letter.properties.headers?[Header.reason] = .string(String(reason.prefix(4_096)))
        letter.properties.headers?[Header.diedAt] = .int64(now.microseconds)
        letter.properties.headers?[MessageCoding.Header.attempts] = .int64(Int64(attempts))
        try await self.link.publish([letter]) { channel in
            try await Self.declare(of: group, on: channel, self.link.configuration)
        }
    }

    static func declare(of group: String, on channel: AMQPChannel, _ configuration: RabbitMQConfiguration) async throws
    {
        let name = GroupQueues.deadLetters(of: group)
        _ = try await channel.declareQueue(name, .init(arguments: configuration.queues.arguments))
    }

    // MARK: Reading

    private struct Read {
        var letter: DeadLetter
        var publishedAt: Timestamp
        var delivery: AMQPDelivery
    }

    /// Takes out all letters of a group, oldest first, lets `body` settle some, and gives the others back.
    private func read<Value: Sendable>(
        _ group: String,
        _ body: ([Read]) async throws -> Value
    ) async throws -> Value {
        let queue = GroupQueues.deadLetters(of: group)
        let end = self.link.time.now.advanced(by: self.link.configuration.broker.operationTimeout)
        var failures = 0
        while true {
            // A consumer that is refused costs its channel, so it is asked first whether there is another one.
            if try await self.link.ask({ try await $0.inspectQueue(queue).consumers }) == 0 {
                do {
                    return try await self.readAlone(queue, group, body)
                } catch is Taken {}
            }
            guard self.link.time.now < end else {
                throw MessagingError(
                    .unavailable,
                    "somebody else reads the queue '\(queue)' all the time; end that consumer, or wait",
                    retry: .notSent
                )
            }
            failures += 1
            try await self.link.pause(afterFailures: failures)
        }
    }

    /// Another reader was faster.
    private struct Taken: Error {}

    private func readAlone<Value: Sendable>(
        _ queue: String,
        _ group: String,
        _ body: ([Read]) async throws -> Value
    ) async throws -> Value {
        try await self.link.reporting {
            try await self.link.consuming.withChannel(.init(confirms: false)) { channel in
                let consumer: AMQPConsumer
                do {
                    consumer = try await channel.consume(queue, prefetch: UInt16.max, exclusive: true)
                } catch let error as AMQPError where error.code == .permissionDenied {
                    throw Taken()
                }
                let line = UUIDv7Generator.shared.next().description
                try await self.draw(line, in: queue)
                var reads: [Read] = []
                var generation: UInt64?
                for try await delivery in consumer {
                    // After a reconnect everything comes again.
                    if delivery.generation != generation { reads = [] }
                    generation = delivery.generation
                    if let drawn = delivery.properties.headers?[Header.line]?.string {
                        // Also one of a reader that died.
                        try? delivery.ack()
                        if drawn == line { break }
                    } else {
                        reads.append(self.decode(delivery, of: group))
                    }
                    // The line lies beyond the prefetch.
                    if reads.count >= Self.maximumLetters { break }
                }
                reads.sort { $0.letter.id < $1.letter.id }
                return try await body(reads)
            }
        }
    }

    private func draw(_ line: String, in queue: String) async throws {
        let properties = AMQPProperties(headers: [Header.line: .string(line)], persistent: true)
        try await self.link.publish([
            AMQPMessage(.init(), routingKey: queue, properties: properties, mandatory: true)
        ])
    }

    private func decode(_ delivery: AMQPDelivery, of group: String) -> Read {
        let now = self.link.time.wallTime
        let headers = delivery.properties.headers ?? [:]
        var incoming = MessageCoding.incoming(delivery, now: now) { "unnamed" }
        // A letter that the broker wrote, because of a limit or a length, tells its story its own way.
        let death: AMQPTable? =
            if case .array(let deaths) = headers["x-death"] { deaths.first?.table } else { nil }
        if headers[MessageCoding.Header.topic] == nil, let death, case .array(let keys) = death["routing-keys"],
            let topic = keys.first?.string
        {
            incoming.message.topic = topic
        }
        let seconds: Int64 = if case .timestamp(let time) = death?["time"] { Int64(clamping: time) } else { 0 }
        let diedAt =
            headers[Header.diedAt]?.integer.map { Timestamp(microseconds: $0) }
            ?? Timestamp(microseconds: seconds &* 1_000_000)
        let byBroker = death?["reason"]?.string.map { "RabbitMQ dead-lettered it: \($0)" }
        let letter = DeadLetter(
            id: Self.id(headers[Header.letter]?.integer, diedAt, incoming.message),
            group: headers[Header.group]?.string ?? group,
            message: incoming.message,
            reason: headers[Header.reason]?.string ?? byBroker ?? "put into the queue by another program",
            attempts: incoming.attempts,
            diedAt: diedAt
        )
        return Read(letter: letter, publishedAt: incoming.publishedAt, delivery: delivery)
    }

    /// Positive, whatever another program wrote into the headers.
    private static func id(_ given: Int64?, _ diedAt: Timestamp, _ message: Message) -> Int64 {
        if let given, given > 0 { return given }
        return min(max(0, diedAt.microseconds), 9_000_000_000_000_000) + Self.number(of: message) + 1
    }

    /// Below a second's worth of microseconds, and the same each time the letter is read (FNV-1a).
    private static func number(of message: Message) -> Int64 {
        var hash: UInt64 = 14_695_981_039_346_656_037
        for byte in Array(message.id.utf8) + message.data { hash = (hash ^ UInt64(byte)) &* 1_099_511_628_211 }
        return Int64(hash % 1_000_000)
    }
}

extension DeadLetterQueue: DeadLetterStore {
    private func groups(_ group: String?) async throws -> [String] {
        try await self.registry.journal.syncOnce()
        if let group { return self.registry.find(group) == nil ? [] : [group] }
        return self.registry.all().map(\.group.name)
    }

    func list(group: String?, after: Int64, limit: Int) async throws -> [DeadLetter] {
        var letters: [DeadLetter] = []
        for name in try await self.groups(group) {
            letters += try await self.read(name) { reads in reads.map(\.letter).filter { $0.id > after } }
        }
        letters.sort { $0.id < $1.id }
        return Array(letters.prefix(min(1_000, max(1, limit))))
    }

    func replay(_ ids: [Int64]) async throws -> Int {
        try await self.take(ids) { read, name in
            var message = MessageCoding.outgoing(
                read.letter.message,
                exchange: "",
                // Where it lay, whatever its headers say.
                routingKey: name,
                publishedAt: read.publishedAt,
                priorities: self.link.configuration.queues.priorities
            )
            message.mandatory = true
            message.properties.headers?[MessageCoding.Header.copy] = .string(
                UUIDv7Generator.shared.next().description
            )
            try await self.link.publish([message])
        }
    }

    func discard(_ ids: [Int64]) async throws -> Int { try await self.take(ids) { _, _ in } }

    /// Removes letters after `body` has done with each what there is to do; a crash in between does that again.
    private func take(_ ids: [Int64], _ body: (Read, _ group: String) async throws -> Void) async throws -> Int {
        let wanted = Set(ids)
        guard !wanted.isEmpty else { return 0 }
        var count = 0
        for name in try await self.groups(nil) {
            count += try await self.read(name) { reads in
                var taken = 0
                for read in reads where wanted.contains(read.letter.id) {
                    try await body(read, name)
                    try read.delivery.ack()
                    taken += 1
                }
                return taken
            }
        }
        return count
    }
}

/// Numbers for letters: the time in microseconds, or one more than the last.
final class LetterNumbers: Sendable {
    private let last = Mutex<Int64>(0)

    func next(at now: Timestamp) -> Int64 {
        self.last.withLock { last in
            last = max(last + 1, now.microseconds)
            return last
        }
    }
}
