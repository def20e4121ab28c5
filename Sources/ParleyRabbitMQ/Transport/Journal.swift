internal import Foundation
internal import Logging
internal import NIOCore
internal import ParleyAMQP
internal import ParleyCore
internal import ParleyMessaging
internal import Synchronization

/// A small log that all processes on the broker share: a stream that each of them reads from its beginning and follows.
///
/// ``append(_:)`` returns when the broker has stored the entries. ``sync()`` returns when every entry that was stored
/// before it was called, by whomever, has been handed to `onEntry`: it writes a mark and waits until it comes by.
final class Journal<Entry: Codable & Sendable>: Sendable {
    private struct State {
        var marks: [String: Bool] = [:]
        var isDeclared = false
        /// Everything that was there when this process first looked has been read.
        var isCaughtUp = false
        var isFollowed = false
    }

    private struct Line: Codable {
        var entry: Entry?
        var mark: String?
    }

    let name: String
    private let link: BrokerLink
    /// The oldest segments go beyond this; `nil` keeps everything.
    private let retainedBytes: Int64?
    /// Called before a read from the beginning: what was learnt is about to come again.
    private let onBeginning: @Sendable () -> Void
    private let onEntry: @Sendable (Entry) -> Void
    private let state = Mutex(State())
    private let signal = Signal()

    init(
        _ name: String,
        link: BrokerLink,
        retainedBytes: Int64?,
        onBeginning: @escaping @Sendable () -> Void,
        onEntry: @escaping @Sendable (Entry) -> Void
    ) {
        self.name = name
        self.link = link
        self.retainedBytes = retainedBytes
        self.onBeginning = onBeginning
        self.onEntry = onEntry
    }

    func append(_ entries: [Entry]) async throws {
        guard !entries.isEmpty else { return }
        try await self.write(entries.map { Line(entry: $0, mark: nil) })
    }

    func sync() async throws {
        // Before it is read: a stream that is read while it is being made is an internal error of the broker's, which
        // costs the whole connection.
        try await self.declareOnce()
        let isFirst = self.state.withLock { state in
            defer { state.isFollowed = true }
            return !state.isFollowed
        }
        if isFirst { self.link.start { await self.follow() } }
        let mark = UUIDv7Generator.shared.next().description
        self.state.withLock { $0.marks[mark] = false }
        defer { self.state.withLock { $0.marks[mark] = nil } }
        try await self.write([Line(entry: nil, mark: mark)])
        let limit = self.link.configuration.broker.operationTimeout
        let end = self.link.time.now.advanced(by: limit)
        while true {
            let generation = self.signal.generation
            let hasComeBy = self.state.withLock { state in
                guard state.marks[mark] == true else { return false }
                state.isCaughtUp = true
                return true
            }
            if hasComeBy { return }
            try Task.checkCancellation()
            guard self.link.time.now < end else {
                throw MessagingError(
                    .unavailable,
                    "the stream '\(self.name)' could not be read to its end within \(limit); is the transport running?",
                    retry: .notSent
                )
            }
            await self.signal.wait(after: generation, until: end, on: self.link.time)
        }
    }

    /// As ``sync()``, the first time; later what others write comes by itself, a moment after they wrote it.
    ///
    /// Each ``sync()`` writes a line that every later reader has to read.
    func syncOnce() async throws {
        if !self.state.withLock({ $0.isCaughtUp }) { try await self.sync() }
    }

    private func write(_ lines: [Line]) async throws {
        let encoder = JSONEncoder()
        let messages = try lines.map { line in
            AMQPMessage(
                ByteBuffer(bytes: try encoder.encode(line)),
                routingKey: self.name,
                properties: AMQPProperties(contentType: "application/json", persistent: true),
                mandatory: true
            )
        }
        var failures = 0
        while true {
            do {
                try await self.declareOnce()
                return try await self.link.publish(messages)
            } catch let error as MessagingError {
                let code = (error.cause as? AMQPError)?.code
                // Somebody has deleted it; or it is so new that not all of the broker knows of it yet.
                guard code == .returned || code == .resourceError || code == .notFound, failures < 8 else {
                    throw error
                }
                self.state.withLock { $0.isDeclared = false }
                failures += 1
                try await self.link.pause(afterFailures: failures)
            }
        }
    }

    private func declareOnce() async throws {
        var failures = 0
        while !self.state.withLock({ $0.isDeclared }) {
            do {
                try await self.declare()
            } catch let error as MessagingError where (error.cause as? AMQPError)?.code == .resourceError {
                // Another process makes it at this moment.
                guard failures < 8 else { throw error }
                failures += 1
                try await self.link.pause(afterFailures: failures)
            }
        }
    }

    private func declare() async throws {
        try await self.link.reporting { try await self.link.consuming.ready() }
        // An older broker would take the declaration for one of a classic queue.
        if let version = self.link.features.version, !self.link.features.hasStreams {
            throw MessagingError(
                .unsupported,
                "this is RabbitMQ \(version), and the bus needs the streams of 3.9; upgrade the broker",
                retry: .permanent
            )
        }
        var arguments: AMQPTable = ["x-queue-type": "stream"]
        if let retainedBytes {
            arguments["x-max-length-bytes"] = .int64(retainedBytes)
            // Only whole segments go, so they must be small.
            arguments["x-stream-max-segment-size-bytes"] = .int64(max(1_000_000, retainedBytes / 8))
        }
        try await self.link.ask { [name, arguments] channel in
            _ = try await channel.declareQueue(name, .init(arguments: arguments))
        }
        self.state.withLock { $0.isDeclared = true }
    }

    /// Reads from the beginning and goes on until the task is cancelled or the connection closed.
    private func follow() async {
        var failures = 0
        while !Task.isCancelled {
            do {
                if failures > 0 { try await self.declare() }
                try await self.link.consuming.withChannel(BrokerLink.unrecorded) { channel in
                    let arguments: AMQPTable = ["x-stream-offset": "first"]
                    let consumer = try await channel.consume(self.name, prefetch: 1_000, arguments: arguments)
                    var generation: UInt64?
                    for try await delivery in consumer {
                        if delivery.generation != generation {
                            // The connection was made anew, and with it the consumer, which reads from the beginning.
                            generation = delivery.generation
                            self.state.withLock { $0.isCaughtUp = false }
                            self.onBeginning()
                        }
                        failures = 0
                        self.take(delivery)
                    }
                }
                if self.link.consuming.isClosed { return }
            } catch {
                guard !Task.isCancelled, (error as? AMQPError)?.code != .closed else { return }
                failures += 1
                self.link.logger.warning(
                    "A stream of the bus could not be read, trying again",
                    metadata: ["rabbitmq.queue": "\(self.name)", "error": "\(error)"]
                )
            }
            do { try await self.link.pause(afterFailures: failures) } catch { return }
        }
    }

    private func take(_ delivery: AMQPDelivery) {
        // Gives the broker leave to send further ones. A stream forgets nothing because of it.
        try? delivery.ack()
        guard let line = try? JSONDecoder().decode(Line.self, from: Data(delivery.body.readableBytesView)) else {
            self.link.logger.warning("A stream has a line that is none", metadata: ["rabbitmq.queue": "\(self.name)"])
            return
        }
        if let entry = line.entry { self.onEntry(entry) }
        if let mark = line.mark {
            let isOurs = self.state.withLock { state in
                guard state.marks[mark] != nil else { return false }
                state.marks[mark] = true
                return true
            }
            if isOurs { self.signal.ring() }
        }
    }
}
