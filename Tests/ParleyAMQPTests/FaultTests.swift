import Foundation
import NIOCore
import ParleyCore
import Synchronization
import Testing

@testable import ParleyAMQP

/// A broker that is hurt: killed, out of memory, fed with what is too large. One after the other, on one of their own.
@Suite(.serialized) struct FaultTests {
    private static let broker = Task { try await Broker.start() }

    private func onBroker<Value: Sendable>(
        _ change: (inout AMQPConfiguration) -> Void = { _ in },
        _ body: @Sendable (AMQPConnection) async throws -> Value
    ) async throws -> Value {
        var configuration = try await Self.broker.value.freshHost()
        change(&configuration)
        return try await AMQPConnection.withConnection(configuration, logger: quiet, body)
    }

    // MARK: The broker is killed

    /// What became of numbered messages.
    private final class Tally: Sendable {
        let confirmed = Mutex(Set<Int>())
        let received = Mutex(Set<Int>())
        let unknown = Mutex(0)
        var confirmedCount: Int { self.confirmed.withLock { $0.count } }
    }

    /// Publishes the numbers and consumes them at the same time; what has an unknown outcome is published again, as an
    /// outbox does it.
    private func publish(
        _ numbers: Range<Int>,
        _ settings: AMQPChannelSettings,
        _ connection: AMQPConnection,
        _ tally: Tally
    ) async throws {
        let channel = try await connection.openChannel(settings)
        var open: [(Int, PublisherConfirm)] = []
        func settle() async throws -> [Int] {
            var again: [Int] = []
            for (number, confirm) in open {
                do {
                    try await confirm.wait()
                    tally.confirmed.withLock { _ = $0.insert(number) }
                } catch let error as AMQPError {
                    #expect(error.retry == .mayHaveRun, "\(error)")
                    tally.unknown.withLock { $0 += 1 }
                    again.append(number)
                }
            }
            open = []
            return again
        }
        var left = Array(numbers.reversed())
        while !left.isEmpty {
            while open.count < 400, let number = left.popLast() {
                let message = AMQPMessage(text("\(number)"), routingKey: "q", properties: .init(persistent: true))
                open.append((number, try await channel.send(message)))
            }
            left += try await settle()
        }
    }

    @Test(.timeLimit(.minutes(3)), arguments: [false, true])
    func everyConfirmedMessageIsReceivedThroughAKill(resends: Bool) async throws {
        let broker = try await Self.broker.value
        let configuration = try await broker.freshHost()
        let tally = Tally()
        let all = 0..<50_000
        try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
            try await connection.withChannel { try await $0.declareQueue("q", .quorum) }
            let declared = time.now
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    let settings = AMQPChannelSettings(window: 400, resendsUnconfirmed: resends)
                    try await self.publish(all, settings, connection, tally)
                }
                group.addTask {
                    try await AMQPConnection.withConnection(configuration, logger: quiet) { reader in
                        let channel = try await reader.openChannel()
                        for try await delivery in try await channel.consume("q", prefetch: 200) {
                            let number = Int(String(buffer: delivery.body)) ?? -1
                            let count = tally.received.withLock { received in
                                received.insert(number)
                                return received.count
                            }
                            do throws(AMQPError) {
                                try delivery.ack()
                            } catch {
                                #expect(error.code == .staleDelivery)
                            }
                            if count == all.count { break }
                        }
                    }
                }
                group.addTask {
                    // A quorum queue that is killed right after its declaration comes back without a leader (3.10).
                    try await eventually("a third is confirmed, and the queue has settled") {
                        tally.confirmedCount > all.count / 3 && time.now > declared.advanced(by: .seconds(2))
                    }
                    #expect(tally.confirmedCount < all.count)
                    try await broker.kill()
                    try await broker.restart()
                }
                try await group.waitForAll()
            }
        }
        #expect(tally.confirmedCount == all.count)
        #expect(tally.received.withLock { $0 } == Set(all))
        if resends { #expect(tally.unknown.withLock { $0 } == 0) }
    }

    // MARK: The broker has no memory left

    private final class Flow: Sendable {
        let published = Mutex(0)
        let stopped = Mutex(false)
        var count: Int { self.published.withLock { $0 } }
        var isStopped: Bool { self.stopped.withLock { $0 } }
    }

    @Test(.timeLimit(.minutes(2))) func publishersWaitThroughAMemoryAlarmAndNothingIsLost() async throws {
        let broker = try await Self.broker.value
        try await self.onBroker { connection in
            let events = connection.events()
            let channel = try await connection.openChannel(.init(window: 50))
            try await channel.declareQueue("q")
            let flow = Flow()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        while !flow.isStopped {
                            try await channel.publish(AMQPMessage(text("x"), routingKey: "q"))
                            flow.published.withLock { $0 += 1 }
                        }
                    }
                }
                group.addTask {
                    try await eventually("it flows") { flow.count > 200 }
                    try await broker.control("set_vm_memory_high_watermark", "absolute", "1")
                    // The broker says so after the next publish.
                    for await event in events where event.kind == .blocked { break }
                    #expect(connection.blockedReason == "low on memory")
                    // Some for a confirm that the broker does not give now, and who comes later for its turn.
                    async let late: Void = channel.publish(AMQPMessage(text("late"), routingKey: "q"))
                    try await eventually("all of them wait") {
                        connection.core.with { state in
                            guard let channel = state.channels[channel.id] else { return false }
                            return !channel.queued.isEmpty && channel.queued.count + channel.confirms.unconfirmed == 9
                        }
                    }
                    let stood = flow.count
                    // Whoever has not published on its connection is served.
                    try await AMQPConnection.withConnection(connection.core.configuration, logger: quiet) { other in
                        let info = try await other.withChannel { try await $0.inspectQueue("q") }
                        #expect(info.messages > 0)
                    }
                    #expect(flow.count == stood)
                    try await broker.control("set_vm_memory_high_watermark", "absolute", "1GB")
                    for await event in events where event.kind == .unblocked { break }
                    try await late
                    try await eventually("it flows again") { flow.count > stood + 200 }
                    flow.stopped.withLock { $0 = true }
                }
                try await group.waitForAll()
            }
            #expect(try await channel.inspectQueue("q").messages == flow.count + 1)
        }
    }

    @Test(.timeLimit(.minutes(1))) func aPublishWaitsForAnAlarmNoLongerThanItMay() async throws {
        let broker = try await Self.broker.value
        try await self.onBroker {
            $0.publishTimeout = .milliseconds(500)
        } _: { connection in
            let events = connection.events()
            let channel = try await connection.openChannel()
            try await channel.declareQueue("q")
            try await broker.control("set_vm_memory_high_watermark", "absolute", "1")
            _ = try await channel.send(AMQPMessage(text("1"), routingKey: "q"))
            for await event in events where event.kind == .blocked { break }
            let error = await expect(.blocked) { try await channel.publish(AMQPMessage(text("2"), routingKey: "q")) }
            #expect(error?.retry == .notSent)
            try await broker.control("set_vm_memory_high_watermark", "absolute", "1GB")
            for await event in events where event.kind == .unblocked { break }
        }
    }

    // MARK: Messages that are too large

    /// A line of the process's status, in bytes.
    private func memory(_ line: String) throws -> Int {
        let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
        let found = status.split(separator: "\n").first { $0.hasPrefix(line) }
        let kilobytes = found?.split(separator: " ").dropFirst().first.flatMap { Int($0) }
        return try #require(kilobytes) * 1_024
    }

    /// How much the process grew at most while `body` ran. Other tests run at the same time, so it is an upper bound.
    private func growth(_ body: () async throws -> Void) async throws -> Int {
        try Data("5".utf8).write(to: URL(fileURLWithPath: "/proc/self/clear_refs"))
        let before = try self.memory("VmRSS:")
        try await body()
        return try self.memory("VmHWM:") - before
    }

    @Test(.timeLimit(.minutes(2))) func aMessageOf120MegabytesGoesThroughInBoundedMemory() async throws {
        let size = 120 * 1_024 * 1_024
        try await self.onBroker { connection in
            let channel = try await connection.openChannel()
            try await channel.declareQueue("q", .init(durable: false, exclusive: true))
            let body = ByteBuffer(repeating: 7, count: size)
            let grown = try await self.growth {
                try await channel.publish(AMQPMessage(body, routingKey: "q"))
                #expect(try await channel.get("q")?.body == body)
            }
            // The body comes back into one buffer, which has doubled into place; sending takes no copy of it.
            #expect(grown < 4 * size, "grew by \(grown) bytes")
        }
    }

    @Test(.timeLimit(.minutes(2))) func whatTheBrokerFindsTooLargeEndsItsChannelOnly() async throws {
        try await self.onBroker {
            $0.maximumMessageBytes = 256 * 1_024 * 1_024
        } _: { connection in
            let channel = try await connection.openChannel()
            let queue = try await channel.declareQueue("q").name
            let body = ByteBuffer(repeating: 7, count: 128 * 1_024 * 1_024 + 1)
            let error = await expect(.contentTooLarge) {
                try await channel.publish(AMQPMessage(body, routingKey: queue))
            }
            #expect(error?.replyCode == 406)
            try await connection.ready()
            try await connection.withChannel { other in
                try await other.publish(AMQPMessage(text("small"), routingKey: queue))
                #expect(try await other.inspectQueue(queue).messages == 1)
            }
            #expect(connection.core.with { $0.epoch } == 1)
        }
    }

    @Test(.timeLimit(.minutes(1))) func whatIsTooLargeHereIsNotEvenSent() async throws {
        try await self.onBroker { connection in
            let channel = try await connection.openChannel()
            let queue = try await channel.declareQueue("q").name
            let body = ByteBuffer(repeating: 7, count: 256 * 1_024 * 1_024)
            let grown = try await self.growth {
                let error = await expect(.contentTooLarge) {
                    try await channel.publish(AMQPMessage(body, routingKey: queue))
                }
                #expect(error?.retry == .permanent && error?.replyCode == nil)
                try await channel.publish(AMQPMessage(text("small"), routingKey: queue))
            }
            #expect(grown < 128 * 1_024 * 1_024, "grew by \(grown) bytes")
            #expect(try await channel.inspectQueue(queue).messages == 1)
        }
    }
}
