internal import NIOCore
internal import ParleyCore

/// Stands where a client would be, and writes down what becomes of its request. Bound to its event loop.
final class RouteProbe: ClientStream {
    private(set) var outcome = ReplayOutcome(server: "")
    let eventLoop: any EventLoop

    init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
    }

    /// The request is over: where it has come to.
    func note(_ exchange: Exchange) {
        self.outcome.server = exchange.server.map { String(decoding: $0.name, as: UTF8.self) } ?? ""
        if let location = exchange.location, location !== exchange.server?.outside {
            self.outcome.route = location.model.name
        }
    }

    func note(_ limits: [ReplayOutcome.Limit]) { self.outcome.limits = limits }

    func forwarded(to upstream: String, uri: ByteBuffer) {
        self.outcome.upstream = upstream
        self.outcome.uri = String(buffer: uri)
    }

    var isWritable: Bool { true }

    func write(_ head: ResponseHead, isEnd: Bool) {
        self.outcome.status = Int(head.status)
        self.outcome.location = head.block.first(.location).map { head.block.text($0.value) }
    }

    func abort(_ reason: AbortReason) { self.outcome.status = 444 }

    func writeInformational(_ head: ResponseHead) {}
    func write(_ body: ByteBuffer) {}
    func end(trailers: FieldBlock?) {}
    func readBody() {}
}

extension Exchange {
    /// The location is known. Limits are told and not counted, credentials are taken for right, nothing is sent.
    func conclude(_ probe: RouteProbe) {
        guard let location = self.location else { return }
        if !self.isLimited {
            self.isLimited = true
            probe.note(self.limits(of: location))
        }
        let decision = Satisfaction.decide(
            any: location.settings.satisfiesAny,
            address: location.access.decision(for: self.client.bytes),
            credentials: location.authenticators.all.map { _ in .allowed(identity: nil) }
        )
        if case .refused(let refusal) = decision { return self.refuse(refusal) }
        switch location.model.action {
        case .proxy(let target):
            var name = location.upstream?.model.name ?? target.host
            if case .template(let template) = target.destination { name = String(buffer: template.evaluated(in: self)) }
            self.proxyHost = ByteBuffer(string: location.upstream == nil ? name : target.host)
            var uri = ByteBuffer()
            location.upstreamURI?.write(into: &uri, state: self.rewriteState, rawTarget: self.rawTarget, scope: self)
            probe.forwarded(to: name, uri: uri)
            self.finish()
        case .health: self.respond(200, text: ByteBuffer())
        case .notFound, .stubStatus: self.serve()
        }
    }

    private func limits(of location: CompiledLocation) -> [ReplayOutcome.Limit] {
        guard !location.settings.isRequestLimitDry else { return [] }
        return zip(location.settings.requestLimits, location.requestKeys).compactMap { use, template in
            guard let zone = self.plan.model.requestZones.first(where: { $0.name == use.zone }) else { return nil }
            let key = Array(template.evaluated(in: self).readableBytesView)
            // As nginx has it, what has no key is not limited.
            guard !key.isEmpty else { return nil }
            return ReplayOutcome.Limit(
                zone: use.zone,
                key: key,
                rate: zone.rate,
                burst: use.burst,
                status: location.settings.requestLimitStatus
            )
        }
    }
}
