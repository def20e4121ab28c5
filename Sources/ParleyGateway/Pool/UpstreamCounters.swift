/// What one event loop counts for an upstream.
///
/// It belongs to the upstream's name: connections that were opened before a reload are counted on, whatever has become
/// of the upstream. Bound to its loop.
final class UpstreamCounters {
    var totals = MetricsShard.Upstream()

    func opened() { self.totals.connectionsCreated &+= 1 }
    func closed() { self.totals.connectionsClosed &+= 1 }
    func reused() { self.totals.requestsReused &+= 1 }
    func restingChanged(by difference: Int) { self.totals.connectionsIdle &+= Int64(difference) }

    /// - Parameter resting: Connections of HTTP/2 without a stream; nobody counts those as they come and go.
    func snapshot(resting: Int) -> MetricsShard.Upstream {
        var totals = self.totals
        totals.connectionsIdle &+= Int64(resting)
        let open = Int64(clamping: totals.connectionsCreated &- totals.connectionsClosed)
        totals.connectionsActive = max(0, open &- totals.connectionsIdle)
        return totals
    }
}
