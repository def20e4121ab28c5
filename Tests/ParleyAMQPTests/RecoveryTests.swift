import NIOCore
import Testing

@testable import ParleyAMQP

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

/// A connection that is told to end while something else happens to it.
@Suite(.timeLimit(.minutes(1))) struct EndingTests {
    @Test func aCancelledRunEndsWheneverTheCancellationComes() async throws {
        let configuration = try await Broker.shared.value.freshHost()
        for round in 0..<40 {
            let connection = AMQPConnection(configuration, logger: quiet)
            await withTaskGroup(of: Void.self) { group in
                group.addTask { try? await connection.run() }
                // Before it is there, in the midst of its opening, and when it is at rest.
                if round % 4 > 0 { try? await connection.ready() }
                for _ in 0..<(round % 13) { await Task.yield() }
                group.cancelAll()
            }
            #expect(connection.isClosed)
        }
    }
}
