internal import CoreMetrics

/// The metrics of a stream and its groups. Handles are made once, by the swift-metrics backend of that moment; a
/// process without one pays for a look at `nil`.
///
/// | Name | Kind | Dimensions | Says |
/// |---|---|---|---|
/// | `redis.stream.published` | counter | stream | messages that were added |
/// | `redis.stream.delivered` | counter | stream, group | messages handed to a handler |
/// | `redis.stream.settled` | counter | stream, group | deliveries that were acked, retried or buried |
/// | `redis.stream.claimed` | counter | stream, group | messages taken over from consumers without a sign of life |
/// | `redis.stream.dead` | counter | stream, group | messages that became dead letters |
/// | `redis.stream.lost` | counter | stream, group | pending entries that somebody had trimmed or deleted |
/// | `redis.stream.length` | gauge | stream | entries in the stream |
/// | `redis.stream.pending` | gauge | stream, group | entries delivered and not acknowledged |
/// | `redis.stream.lag` | gauge | stream, group | entries not delivered yet; not recorded while not known |
/// | `redis.stream.oldest.idle` | gauge | stream, group | seconds since the oldest pending entry was last touched |
struct StreamMetrics: Sendable {
    final class Handles: Sendable {
        let published: Counter
        let length: Gauge

        init(stream: String, factory: any MetricsFactory) {
            let dimensions = [("stream", stream)]
            self.published = Counter(label: "redis.stream.published", dimensions: dimensions, factory: factory)
            self.length = Gauge(label: "redis.stream.length", dimensions: dimensions, factory: factory)
        }
    }

    final class Group: Sendable {
        let delivered, settled, claimed, dead, lost: Counter
        let pending, lag, oldestIdle: Gauge

        init(stream: String, group: String, factory: any MetricsFactory) {
            let dimensions = [("stream", stream), ("group", group)]
            func counter(_ name: String) -> Counter {
                Counter(label: "redis.stream.\(name)", dimensions: dimensions, factory: factory)
            }
            func gauge(_ name: String) -> Gauge {
                Gauge(label: "redis.stream.\(name)", dimensions: dimensions, factory: factory)
            }
            self.delivered = counter("delivered")
            self.settled = counter("settled")
            self.claimed = counter("claimed")
            self.dead = counter("dead")
            self.lost = counter("lost")
            self.pending = gauge("pending")
            self.lag = gauge("lag")
            self.oldestIdle = gauge("oldest.idle")
        }
    }

    private let stream: String
    private let factory: (any MetricsFactory)?
    /// `nil` without a metrics backend.
    let handles: Handles?

    init(stream: String) {
        let factory = MetricsSystem.factory
        self.stream = stream
        self.factory = factory is NOOPMetricsHandler ? nil : factory
        self.handles = self.factory.map { Handles(stream: stream, factory: $0) }
    }

    func group(_ name: String) -> Group? {
        self.factory.map { Group(stream: self.stream, group: name, factory: $0) }
    }
}
