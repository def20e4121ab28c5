internal import CoreMetrics
internal import NIOCore
internal import ServiceContextModule
internal import Tracing

/// The metrics of a connection. Their handles are made with the connection, by the factory that counts there and then;
/// a process without one pays for a look at `nil`. All have the dimension `connection` if the connection has a name.
///
/// | Name | Kind | Counts |
/// |---|---|---|
/// | `amqp.published` | counter | messages handed to the socket, those that are sent again included |
/// | `amqp.confirmed` | counter | publishes that the broker has taken responsibility for |
/// | `amqp.nacked` | counter | publishes that the broker has refused |
/// | `amqp.returned` | counter | mandatory messages that had no queue to go to |
/// | `amqp.unknown` | counter | publishes whose confirm a lost connection or channel has taken away |
/// | `amqp.inflight` | meter | publishes that wait for their confirm now |
/// | `amqp.confirm.time` | timer | from a publish to the broker's word on it |
/// | `amqp.delivered` | counter | messages that came to a consumer or were got |
/// | `amqp.acked` | counter | deliveries that were acknowledged |
/// | `amqp.rejected` | counter | deliveries that were given back or rejected |
/// | `amqp.reconnects` | counter | connections that were made again |
/// | `amqp.blocked.time` | timer | how long the broker blocked publishers, recorded when it ends |
struct Telemetry: Sendable {
    final class Handles: Sendable {
        let published, confirmed, nacked, returned, unknown, delivered, acked, rejected, reconnects: Counter
        let inFlight: Meter
        let confirmTime, blockedTime: CoreMetrics.Timer

        init(connection: String?, factory: any MetricsFactory) {
            let dimensions = connection.map { [("connection", $0)] } ?? []
            func counter(_ name: String) -> Counter {
                Counter(label: "amqp.\(name)", dimensions: dimensions, factory: factory)
            }
            self.published = counter("published")
            self.confirmed = counter("confirmed")
            self.nacked = counter("nacked")
            self.returned = counter("returned")
            self.unknown = counter("unknown")
            self.delivered = counter("delivered")
            self.acked = counter("acked")
            self.rejected = counter("rejected")
            self.reconnects = counter("reconnects")
            self.inFlight = Meter(label: "amqp.inflight", dimensions: dimensions, factory: factory)
            self.confirmTime = Timer(label: "amqp.confirm.time", dimensions: dimensions, factory: factory)
            self.blockedTime = Timer(label: "amqp.blocked.time", dimensions: dimensions, factory: factory)
        }
    }

    /// `nil` without a metrics backend.
    let metrics: Handles?
    /// `nil` without a tracer.
    let tracer: (any Tracer)?
    /// What writes the trace into messages; `nil` without one.
    let instrument: (any Instrument)?

    init(connection: String?) {
        let factory = MetricsSystem.factory
        self.metrics = factory is NOOPMetricsHandler ? nil : Handles(connection: connection, factory: factory)
        let tracer = InstrumentationSystem.tracer
        self.tracer = tracer is NoOpTracer ? nil : tracer
        let instrument = InstrumentationSystem.instrument
        self.instrument = instrument is NoOpInstrument ? nil : instrument
    }

    /// Writes the current trace into the message's headers. What is there already stays: a message that was stored
    /// with its trace and is sent later belongs to that one.
    static func inject(_ instrument: any Instrument, into message: inout AMQPMessage) {
        guard let context = ServiceContext.current else { return }
        var headers = message.properties.headers ?? [:]
        instrument.inject(context, into: &headers, using: HeaderAccess())
        if !headers.isEmpty { message.properties.headers = headers }
    }

    /// A producer span around a publish, ended when it is confirmed or has failed.
    static func publishing(
        _ exchange: String,
        count: Int,
        _ tracer: any Tracer,
        _ body: () async throws -> Void
    ) async throws {
        let destination = exchange.isEmpty ? "amq.default" : exchange
        try await tracer.withAnySpan("publish \(destination)", ofKind: .producer) { span in
            span.attributes["messaging.system"] = "rabbitmq"
            span.attributes["messaging.operation.type"] = "publish"
            span.attributes["messaging.destination.name"] = destination
            if count != 1 { span.attributes["messaging.batch.message_count"] = count }
            try await body()
        }
    }
}

struct HeaderAccess: Injector, Extractor {
    func inject(_ value: String, forKey key: String, into headers: inout AMQPTable) {
        if headers[key] == nil { headers[key] = .string(value) }
    }

    func extract(key: String, from headers: AMQPTable) -> String? { headers[key]?.string }
}
