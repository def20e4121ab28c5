import NIOCore
import Testing

@testable import ParleyAMQP

/// The broker takes a consumer away because its queue is deleted.
@Suite struct ConsumerCancelTests {
    /// Somebody else deletes the queue, so that the connection under test does not know of it.
    private func delete(_ queue: String, _ configuration: AMQPConfiguration) async throws {
        try await AMQPConnection.withConnection(configuration, logger: quiet) { other in
            try await other.withChannel { try await $0.deleteQueue(queue) }
        }
    }

    private func wait(_ kind: AMQPEvent.Kind, _ events: AsyncStream<AMQPEvent>) async {
        for await event in events where event.kind == kind { break }
    }

    @Test func itEndsWithAnErrorUnlessAskedForMore() async throws {
        try await onBroker { connection in
            let events = connection.events()
            let channel = try await connection.openChannel()
            try await channel.declareQueue("q")
            let consumer = try await channel.consume("q")
            try await connection.withChannel { try await $0.deleteQueue("q") }
            await expect(.consumerCancelled) { for try await _ in consumer {} }
            await self.wait(.consumerCancelled, events)
            // The channel is as good as before.
            try await channel.declareQueue("q2")
        }
    }

    @Test(.timeLimit(.minutes(1))) func itResubscribesToTheQueueDeclaredAnewWithItsBindings() async throws {
        try await onBroker { connection in
            let configuration = connection.core.configuration
            let channel = try await connection.openChannel(.init(resubscribes: true))
            try await channel.declareExchange("e", .init(durable: false, autoDelete: true))
            try await channel.declareQueue("q")
            try await channel.bindQueue("q", to: "e", routingKey: "a.#")
            let consumer = try await channel.consume("q", prefetch: 3)
            let second = try await channel.consume("q", resubscribes: false)
            try await second.cancel()
            var deliveries = consumer.makeAsyncIterator()
            for round in 0..<3 {
                let events = connection.events()
                try await self.delete("q", configuration)
                await self.wait(.consumerResubscribed, events)
                let message = AMQPMessage(text("\(round)"), exchange: "e", routingKey: "a.b", mandatory: true)
                try await channel.publish(message)
                let delivery = try await deliveries.next()
                #expect(delivery?.body == text("\(round)"))
                try delivery?.ack()
            }
            #expect(try await channel.inspectQueue("q").consumers == 1)
            try await consumer.cancel()
            #expect(try await deliveries.next() == nil)
        }
    }

    @Test(.timeLimit(.minutes(1))) func aQueueOfSomebodyElseIsWaitedFor() async throws {
        try await onBroker { connection in
            let configuration = connection.core.configuration
            try await AMQPConnection.withConnection(configuration, logger: quiet) { other in
                let theirs = try await other.openChannel()
                try await theirs.declareQueue("theirs")
                let channel = try await connection.openChannel()
                let events = connection.events()
                let consumer = try await channel.consume("theirs", resubscribes: true)
                let cancelled = try await channel.consume("theirs", resubscribes: true)
                try await theirs.deleteQueue("theirs")
                await self.wait(.consumerCancelled, events)
                try await eventually("both are lost") {
                    connection.core.with { state in
                        state.channels[channel.id]?.consumers.values.allSatisfy(\.isSuspended) == true
                    }
                }
                // One that is given up while it waits does not come back.
                try await cancelled.cancel()
                // And a lost connection, on which recovery finds no queue either, changes nothing about it. The
                // broker closes one connection after the other: both have to be back.
                let othersEvents = other.events()
                try await Broker.shared.value.control(
                    "close_all_connections",
                    "--vhost",
                    configuration.virtualHost,
                    "test"
                )
                await self.wait(.recovered, events)
                await self.wait(.recovered, othersEvents)
                let again = try await other.openChannel()
                try await again.declareQueue("theirs")
                await self.wait(.consumerResubscribed, events)
                try await again.publish(AMQPMessage(text("x"), routingKey: "theirs"))
                var deliveries = consumer.makeAsyncIterator()
                #expect(try await deliveries.next()?.body == text("x"))
                #expect(try await again.inspectQueue("theirs").consumers == 1)
            }
        }
    }

    @Test(.timeLimit(.minutes(1))) func aQueueThatTheBrokerNamedComesBackUnderAnotherName() async throws {
        try await onBroker { connection in
            let channel = try await connection.openChannel(.init(resubscribes: true))
            let first = try await channel.declareQueue("", .init(durable: false)).name
            try await channel.bindQueue(first, to: "amq.fanout")
            let consumer = try await channel.consume(first)
            let events = connection.events()
            try await self.delete(first, connection.core.configuration)
            await self.wait(.consumerResubscribed, events)
            try await channel.publish(AMQPMessage(text("x"), exchange: "amq.fanout", routingKey: "", mandatory: true))
            var deliveries = consumer.makeAsyncIterator()
            #expect(try await deliveries.next()?.body == text("x"))
        }
    }
}
