import CoreMetrics
import InMemoryTracing
import MetricsTestKit
import NIOCore
import Synchronization
import Testing
import Tracing

@testable import ParleyAMQP

@Suite struct TelemetryTests {
    @Test(.timeLimit(.minutes(1))) func everyStepIsCounted() async throws {
        let metrics = TestMetrics()
        try await withMetricsFactory(metrics) {
            try await onBroker {
                $0.connectionName = "orders"
            } _: { connection in
                let channel = try await connection.openChannel()
                let full = AMQPQueueOptions(arguments: ["x-max-length": 1, "x-overflow": "reject-publish"])
                try await channel.declareQueue("q")
                try await channel.declareQueue("full", full)
                try await channel.publish((0..<5).map { AMQPMessage(text("\($0)"), routingKey: "q") })
                try await channel.publish(AMQPMessage(text("first"), routingKey: "full"))
                await expect(.nacked) { try await channel.publish(AMQPMessage(text("x"), routingKey: "full")) }
                await expect(.returned) {
                    try await channel.publish(AMQPMessage(text("x"), routingKey: "nowhere", mandatory: true))
                }
                try await channel.get("q")?.reject(requeue: false)
                try await channel.withConsumer("q") { consumer in
                    var deliveries = consumer.makeAsyncIterator()
                    for _ in 0..<3 { _ = try await deliveries.next() }
                    try await deliveries.next()?.ack(multiple: true)
                }
                let events = connection.events()
                let host = connection.core.configuration.virtualHost
                try await Broker.shared.value.control("close_all_connections", "--vhost", host, "test")
                for await event in events where event.kind == .recovered { break }
            }
        }
        let names = ["published", "confirmed", "nacked", "returned", "delivered", "acked", "rejected", "reconnects"]
        let dimensions = [("connection", "orders")]
        let totals = names.map { metrics.counterTotal(label: "amqp.\($0)", dimensions: dimensions) }
        #expect(totals == [8, 6, 1, 1, 5, 4, 1, 1])
        #expect(try metrics.expectMeter("amqp.inflight", dimensions).lastValue == 0)
        #expect(try metrics.expectTimer("amqp.confirm.time", dimensions).values.count == 8)
    }

    @Test(.timeLimit(.minutes(1))) func whatALostConnectionTakesAwayIsCounted() async throws {
        let metrics = TestMetrics()
        let server = FakeServer { method, _ in
            guard case .basicPublish(let publish) = method, publish.routingKey == "alarm" else { return nil }
            let blocked = AMQPMethod.connectionBlocked(.init(reason: "memory"))
            return [AMQPFrame(channel: 0, payload: .method(blocked))]
        }
        try await server.run { configuration in
            var configuration = configuration
            configuration.recovers = false
            _ = await withMetricsFactory(metrics) {
                await expect(.connectionLost) {
                    try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
                        let channel = try await connection.openChannel()
                        for _ in 0..<3 { _ = try await channel.send(AMQPMessage(text(""), routingKey: "q")) }
                        _ = try await channel.send(AMQPMessage(text(""), routingKey: "alarm"))
                        try await eventually("it is blocked") { connection.blockedReason != nil }
                        #expect(try metrics.expectMeter("amqp.inflight").lastValue == 4)
                        try await server.socket.withLock { $0 }?.close()
                        try await eventually("it ends") { !connection.isReady }
                        try await connection.ready()
                    }
                }
            }
        }
        #expect(metrics.counterTotal(label: "amqp.unknown") == 4)
        #expect(try metrics.expectMeter("amqp.inflight").lastValue == 0)
        #expect(try metrics.expectTimer("amqp.blocked.time").values.count == 1)
    }

    @Test(.timeLimit(.minutes(1))) func aTraceGoesAlongWithTheMessage() async throws {
        let tracer = InMemoryTracer()
        try await withTracer(tracer) {
            try await onBroker { connection in
                let channel = try await connection.openChannel()
                try await channel.declareQueue("q")
                try await channel.publish(AMQPMessage(text("a"), routingKey: "q"))
                let key = InMemoryTracer.traceIDKey
                let stored = AMQPProperties(headers: [key: "of-the-sender"])
                try await channel.publish([
                    AMQPMessage(text("b"), routingKey: "q", properties: stored),
                    AMQPMessage(text("c"), routingKey: "q"),
                ])
                await expect(.notFound) {
                    try await channel.publish(AMQPMessage(text("d"), exchange: "missing", routingKey: "q"))
                }
                let reader = try await connection.openChannel()
                let first = try #require(try await reader.get("q"))
                let spans = tracer.finishedSpans
                #expect(
                    spans.map(\.operationName) == ["publish amq.default", "publish amq.default", "publish missing"]
                )
                #expect(spans.allSatisfy { $0.kind == .producer } && spans[2].errors.count == 1)
                #expect(first.serviceContext().inMemorySpanContext?.spanID == spans[0].spanID)
                // A message that was stored with its trace keeps it.
                #expect(try await reader.get("q")?.properties.headers?[key] == "of-the-sender")
                #expect(try await reader.get("q")?.serviceContext().inMemorySpanContext?.spanID == spans[1].spanID)
            }
        }
    }

    @Test func withoutABackendThereIsNothingToPayFor() async throws {
        let telemetry = Telemetry(connection: "c")
        #expect(telemetry.metrics == nil && telemetry.tracer == nil && telemetry.instrument == nil)
    }
}
