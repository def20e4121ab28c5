internal import NIOCore

/// The connections of HTTP/2 of one event loop to the instances of one upstream.
final class HTTP2Pool {
    private unowned let worker: GatewayWorker
    private let upstream: Upstream

    init(worker: GatewayWorker, upstream: Upstream) {
        self.worker = worker
        self.upstream = upstream
    }

    func close() {}
}

extension Exchange {
    func attemptHTTP2(_ peer: PeerID, _ upstream: Upstream, _ location: CompiledLocation) {
        self.attemptFailed(UpstreamFailure(kind: .connect, detail: "HTTP/2 is not there yet"))
    }
}
