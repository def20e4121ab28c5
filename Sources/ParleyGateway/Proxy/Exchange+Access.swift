internal import NIOCore
internal import ParleyCore

extension Exchange {
    /// `allow`, `deny`, and who the client says it is.
    func authorize() {
        self.phase = .routing
        guard let location = self.location else { return }
        if let cors = location.cors {
            switch cors.outcome(for: self.head) {
            case .none: break
            case .actual(let fields): self.corsFields = fields
            case .preflight(let fields):
                // Browsers ask without credentials, so nothing is asked of them.
                self.corsFields = fields
                return self.respond(204, text: ByteBuffer())
            }
        }
        if location.isOpen { return self.serve() }
        let address = location.access.decision(for: self.client.bytes)
        let credentials = location.authenticators.decisions(for: self.head.block)
        let decision = Satisfaction.decide(
            any: location.settings.satisfiesAny,
            address: address,
            credentials: credentials
        )
        switch decision {
        case .allowed(let identity):
            self.identity = identity
            self.serve()
        case .refused(let refusal):
            self.refuse(refusal)
        case .pending:
            self.phase = .authorizing
            let token = self.generation
            let fields = self.head.block
            let any = location.settings.satisfiesAny
            let authenticators = location.authenticators
            let exchange = NIOLoopBound(self, eventLoop: self.loop)
            self.loop.makeFutureWithTask {
                let resolved = await authenticators.resolve(fields)
                return Satisfaction.decide(any: any, address: address, credentials: resolved)
            }.whenSuccess { decision in exchange.value.authorized(decision, token) }
        }
    }

    private func authorized(_ decision: AccessDecision, _ token: Int) {
        guard self.generation == token, self.phase == .authorizing else { return }
        self.phase = .routing
        switch decision {
        case .allowed(let identity):
            self.identity = identity
            self.serve()
        case .refused(let refusal): self.refuse(refusal)
        case .pending: self.fail(503, .unauthorized, "the credentials could not be looked at")
        }
    }

    func refuse(_ refusal: AccessRefusal) {
        let isByAddress = refusal.status == 403 && refusal.challenge == .none
        var realm = ByteBuffer()
        self.location?.settings.basicAuth?.realm.write(into: &realm, scope: self)
        self.challenge = refusal.challenge.value(realm: realm.readableBytesView)
        self.fail(refusal.status, isByAddress ? .addressDenied : .unauthorized, refusal.reason)
    }

    /// The content: what the location is there for.
    func serve() {
        guard let location = self.location else { return }
        if let keeper = location.idempotency, self.keyed == nil, !self.findKey(keeper) { return }
        if let upstream = location.upstream { return self.forward(to: upstream, location.proxyHost, location) }
        switch location.model.action {
        case .notFound:
            self.fail(self.notFoundStatus, .noRoute, "nothing is served here")
        case .proxy(let target): self.forward(to: target, location)
        case .stubStatus: self.respond(200, text: self.worker.stubStatus(), type: "text/plain")
        case .health: self.reportHealth()
        }
    }

    private func reportHealth() {
        guard self.head.method == .get || self.head.method == .head else {
            return self.fail(405, .clientProtocolError, "\(self.head.method) is not for a question of health")
        }
        var question = GatewayHealth.Question.whole
        let path = self.rewriteState.path.readableBytesView
        if path.suffix(5).elementsEqual("/live".utf8) { question = .live }
        if path.suffix(6).elementsEqual("/ready".utf8) { question = .ready }
        self.phase = .authorizing
        let token = self.generation
        let exchange = NIOLoopBound(self, eventLoop: self.loop)
        let health = self.worker.shared.health
        self.loop.makeFutureWithTask { [question] in await health.answer(question) }.whenSuccess { status, body in
            let exchange = exchange.value
            guard exchange.generation == token, exchange.phase == .authorizing else { return }
            exchange.phase = .routing
            exchange.respond(status, text: body, type: "application/json")
        }
    }
}
