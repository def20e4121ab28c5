import NIOCore
import ParleyCore
import Synchronization
import Testing

@testable import ParleyAMQP

/// What became of the publishes of one run.
private final class Tally: Sendable {
    let confirmed = Mutex(Set<Int>())
    let unknown = Mutex(0)
    let goOn = Mutex(true)

    func settle(_ open: [(Int, PublisherConfirm)]) async throws {
        for (number, confirm) in open {
            do {
                try await confirm.wait()
                self.confirmed.withLock { _ = $0.insert(number) }
            } catch let error as AMQPError {
                #expect(error.retry == .mayHaveRun, "\(error)")
                self.unknown.withLock { $0 += 1 }
            }
        }
    }
}

@Suite struct RecoveryTests {
    @Test(.timeLimit(.minutes(2))) func everythingIsBackAfterAForcedClose() async throws {
        try await onBroker { connection in
            let broker = try await Broker.shared.value
            let host = connection.core.configuration.virtualHost
            let events = connection.events()
            let channel = try await connection.openChannel()
            try await channel.declareExchange("e", .init(durable: false, autoDelete: true))
            let queue = try await channel.declareQueue("", .init(durable: false, exclusive: true)).name
            try await channel.bindQueue(queue, to: "e", routingKey: "a.#")
            let consumer = try await channel.consume(queue, prefetch: 5)
            try await channel.publish(AMQPMessage(text("before"), exchange: "e", routingKey: "a.b", mandatory: true))
            var deliveries = consumer.makeAsyncIterator()
            let before = try #require(try await deliveries.next())
            #expect(!before.isStale)
            var generation = before.generation
            for _ in 0..<2 {
                try await broker.control("close_all_connections", "--vhost", host, "test")
                var seen: [AMQPEvent.Kind] = []
                for await event in events {
                    seen.append(event.kind)
                    if event.kind == .recovered && seen.contains(.disconnected) { break }
                }
                #expect(seen.contains(.queueRenamed))
                // Exchange, queue under its new name, binding and consumer: the message goes all the way.
                try await channel.publish(AMQPMessage(text("after"), exchange: "e", routingKey: "a.b", mandatory: true))
                let after = try #require(try await deliveries.next())
                #expect(after.body == text("after"))
                #expect(after.generation != generation && !after.isStale)
                generation = after.generation
                try after.ack()
            }
            // The delivery of the first connection is not settled on the third.
            await expect(.staleDelivery) { try before.ack() }
            #expect(before.isStale)
            #expect(connection.isReady)
            #expect(connection.core.with { $0.channels[channel.id]?.prefetch } == 100)
        }
    }

    /// Publishes through a SIGKILL of the broker and compares what was confirmed with what is there afterwards.
    private func publishThroughAKill(resends: Bool) async throws {
        let broker = try await Broker.start()
        try await AMQPConnection.withConnection(broker.configuration(), logger: quiet) { connection in
            let channel = try await connection.openChannel(.init(window: 200, resendsUnconfirmed: resends))
            try await channel.declareQueue("q", .quorum)
            // A quorum queue that was declared right before a SIGKILL may come back without a leader (RabbitMQ 3.10).
            try await time.sleep(for: .seconds(2))
            let tally = Tally()
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    var number = 0
                    var open: [(Int, PublisherConfirm)] = []
                    while tally.goOn.withLock({ $0 }) {
                        let message = AMQPMessage(text("\(number)"), routingKey: "q")
                        open.append((number, try await channel.send(message)))
                        number += 1
                        if open.count == 150 {
                            try await tally.settle(open)
                            open = []
                        }
                    }
                    try await tally.settle(open)
                }
                group.addTask {
                    try await eventually("some are confirmed") { tally.confirmed.withLock { $0.count } > 1_000 }
                    try await broker.kill()
                    let before = tally.confirmed.withLock { $0.count }
                    try await broker.restart()
                    try await eventually("publishing goes on", limit: .seconds(90)) {
                        tally.confirmed.withLock { $0.count } > before + 1_000
                    }
                    tally.goOn.withLock { $0 = false }
                }
                try await group.waitForAll()
            }
            if resends { #expect(tally.unknown.withLock { $0 } == 0) }
            var missing = tally.confirmed.withLock { $0 }
            let total = missing.count
            try await channel.withConsumer("q", prefetch: 1_000) { consumer in
                for try await delivery in consumer {
                    if let number = Int(String(buffer: delivery.body)) { missing.remove(number) }
                    try delivery.ack()
                    if missing.isEmpty { break }
                }
            }
            #expect(missing.isEmpty && total > 2_000)
        }
        try await broker.stop()
    }

    @Test(.timeLimit(.minutes(4))) func whatWasConfirmedIsThereAfterAKillAndTheRestIsUnknown() async throws {
        try await self.publishThroughAKill(resends: false)
    }

    @Test(.timeLimit(.minutes(4))) func unconfirmedPublishesAreSentAgainByChoice() async throws {
        try await self.publishThroughAKill(resends: true)
    }

    @Test func aQueueThatIsGoneEndsItsConsumerOnRecovery() async throws {
        try await onBroker { connection in
            let broker = try await Broker.shared.value
            let host = connection.core.configuration.virtualHost
            let channel = try await connection.openChannel()
            // Declared by somebody else, so that recovery does not know it.
            try await AMQPConnection.withConnection(connection.core.configuration, logger: quiet) { other in
                try await other.withChannel {
                    try await $0.declareQueue("gone", .init(durable: false, exclusive: false))
                }
            }
            try await channel.declareQueue("kept")
            let lost = try await channel.consume("gone")
            let kept = try await channel.consume("kept")
            let events = connection.events()
            connection.core.with { state in
                // The consumer's queue is another one by the time recovery asks for it.
                state.channels[channel.id]?.consumers[lost.tag]?.request.queue = "never-declared"
            }
            try await broker.control("close_all_connections", "--vhost", host, "test")
            for await event in events where event.kind == .recovered { break }
            await expect(.notFound) { for try await _ in lost {} }
            try await channel.publish(AMQPMessage(text("x"), routingKey: "kept"))
            var deliveries = kept.makeAsyncIterator()
            #expect(try await deliveries.next()?.body == text("x"))
        }
    }
}
