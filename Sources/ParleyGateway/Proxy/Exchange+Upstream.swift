internal import NIOCore
internal import ParleyCore

extension Exchange {
    /// The content is with an upstream that variables name.
    func forward(to target: ProxyTarget, _ location: CompiledLocation) {
        guard case .template(let template) = target.destination else {
            return self.fail(502, .noneHealthy, "no upstream")
        }
        let name = template.evaluated(in: self)
        guard let upstream = self.worker.upstream(named: String(buffer: name), in: self.plan) else {
            self.proxyHost = name
            return self.fail(502, .noneHealthy, "no upstream \"\(String(buffer: name))\", and it is no address")
        }
        self.forward(to: upstream, name, location)
    }

    /// The content is with this upstream.
    func forward(to upstream: Upstream, _ proxyHost: ByteBuffer, _ location: CompiledLocation) {
        // An error page may go to another upstream, whose peers are others.
        self.giveCircuit()
        self.tried = PeerSet()
        self.askedInstance = nil
        self.hasLookedAgain = false
        self.clearDeadline()
        self.upstream = upstream
        self.proxyHost = proxyHost
        guard self.beginDeadline(location) else { return }
        if let circuit = upstream.group.circuit {
            guard circuit.take(.request) else {
                self.worker.counters(of: upstream).totals.overflows &+= 1
                return self.fail(503, .overflow, "as many requests to \(upstream.model.name) at once as allowed")
            }
            self.holdsCircuit = true
        }
        self.countTries(upstream, location)
        if !location.proxy.passesRequestBody { self.isBodyComplete = true }
        let isStreamed = !self.holdsBody(location) && self.head.version == .http2
        guard !self.isBodyComplete, !isStreamed else { return self.bodyIsReady() }
        self.phase = .collecting
        self.stream?.readBody()
    }

    func countTries(_ upstream: Upstream, _ location: CompiledLocation) {
        let next = location.proxy.nextUpstream
        self.triesLeft = upstream.group.tries
        if next.tries > 0 { self.triesLeft = min(self.triesLeft, next.tries) }
    }

    /// As much of the body is there as an attempt needs.
    func bodyIsReady() {
        if let keyed, case .collecting = keyed.state { return self.claimKey(keyed) }
        self.attempt()
    }

    /// What is under way no more.
    func giveCircuit() {
        self.giveRetry()
        self.givePending()
        guard self.holdsCircuit else { return }
        self.holdsCircuit = false
        self.upstream?.group.circuit?.give(.request)
    }

    /// A place among the requests that wait for a connection; `false` when there is none left.
    func takePending(_ upstream: Upstream) -> Bool {
        guard let circuit = upstream.group.circuit else { return true }
        self.holdsPending = circuit.take(.pendingRequest)
        return self.holdsPending
    }

    func givePending() {
        guard self.holdsPending else { return }
        self.holdsPending = false
        self.upstream?.group.circuit?.give(.pendingRequest)
    }

    private func giveRetry() {
        guard self.holdsRetry else { return }
        self.holdsRetry = false
        self.upstream?.group.circuit?.give(.retry)
    }

    /// Whether the body is read as a whole before an instance is asked. HTTP/1.0 cannot be told that its length is not
    /// known yet; with an idempotency key it decides whether an instance is asked at all.
    func holdsBody(_ location: CompiledLocation) -> Bool {
        location.proxy.isRequestBuffering || self.keyed != nil
            || (self.head.framing == .chunked && location.proxy.version == .http10)
    }

    /// One try at an instance: the balancer's next, over a connection that rests or a new one.
    func attempt() {
        guard let upstream = self.upstream, let location = self.location else { return }
        let key = self.balancingKey(upstream)
        // Of the first attempt they are noted when it fails; most do not.
        let candidates = self.attempts.isEmpty ? [] : self.candidates(of: upstream, picked: nil)
        let now = NIODeadline.now()
        let peer = upstream.group.pick(
            tried: &self.tried,
            key: key.readableBytesUInt8Span,
            now: Int64(clamping: now.uptimeNanoseconds / 1_000_000),
            chance: self.worker.chance()
        )
        guard let peer else {
            if self.looksAgain(upstream) { return }
            self.worker.counters(of: upstream).totals.noneAvailable &+= 1
            let status: UInt16 = self.plan.model.errorFormat == .problem && self.attempts.isEmpty ? 503 : 502
            return self.fail(status, .noneHealthy, "no live instance of \(upstream.model.name)")
        }
        self.peer = peer
        self.attempts.append(AttemptNote(upstream: upstream, peer: peer, began: now, candidates: candidates))
        if location.proxy.version == .http2 { return self.attemptHTTP2(peer, upstream, location) }
        if let idle = self.worker.pool(upstream, location).takeIdle(peer) {
            self.attempts[self.attempts.count - 1].isReused = true
            self.send(on: idle)
        } else {
            self.connect(to: peer, upstream, location)
        }
    }

    private func balancingKey(_ upstream: Upstream) -> ByteBuffer {
        if let key = upstream.hashKey { return key.evaluated(in: self) }
        guard case .ipHash = upstream.model.method else { return ByteBuffer() }
        var buffer = ByteBuffer()
        buffer.writeBytes(self.client.bytes)
        return buffer
    }

    private func connect(to peer: PeerID, _ upstream: Upstream, _ location: CompiledLocation) {
        guard self.takePending(upstream) else { return self.attemptFailed(.tooManyWait) }
        self.phase = .connecting
        let token = self.generation
        let attempt = self.attempts.count
        self.worker.connect(to: peer, of: upstream, location) { result in
            guard self.generation == token, self.phase == .connecting, self.attempts.count == attempt else {
                // The client has left meanwhile: the connection is as good as any other.
                if case .success(let handler) = result { handler.close() }
                return
            }
            switch result {
            case .success(let handler): self.send(on: handler)
            case .failure(let failure): self.attemptFailed(failure)
            }
        }
    }

    private func send(on handler: HTTP1UpstreamHandler) {
        guard let location = self.location else { return }
        handler.begin(self, headSize: location.proxy.headSize)
        self.send(on: handler, version: location.proxy.version == .http10 ? .http10 : .http11)
    }

    func send(on stream: any UpstreamStream, version: HTTPVersion) {
        guard let location = self.location else { return }
        self.givePending()
        self.phase = .waiting
        self.upstreamStream = stream
        self.upstreamHead = nil
        let now = NIODeadline.now()
        self.attempts[self.attempts.count - 1].connected = now
        let head = self.upstreamRequest(version: version, location)
        let isEnd = self.isBodyComplete && self.heldBytes == 0 && self.bodyTrailers == nil
        self.attempts[self.attempts.count - 1].sent = now
        self.attempts[self.attempts.count - 1].bytesSent = self.heldBytes
        let token = self.generation
        stream.write(head, isEnd: isEnd)
        guard self.isAt(stream, token) else { return }
        if !isEnd {
            guard self.sendHeldBody(to: stream, token) else { return }
            if self.isBodyComplete {
                stream.end(trailers: self.bodyTrailers)
            } else {
                self.askClientForBody()
            }
            guard self.isAt(stream, token) else { return }
        }
        // Its answer may have come within a write.
        guard self.phase == .waiting else { return }
        let milliseconds = stream.isWritable ? location.proxy.readTimeout : location.proxy.sendTimeout
        self.timer.set(now + .milliseconds(Int64(milliseconds)))
    }

    /// Whether this is the same request still, with the same stream. A write may find that the connection has broken:
    /// then the request has gone to another instance, or is over and the exchange is at work for the next one.
    private func isAt(_ stream: any UpstreamStream, _ token: Int) -> Bool {
        self.generation == token && self.upstreamStream === stream
    }

    private func sendHeldBody(to stream: any UpstreamStream, _ token: Int) -> Bool {
        // Nothing newer overtakes it when there is room again within a write.
        let hasAsked = self.wantsClientBody
        self.wantsClientBody = true
        for chunk in self.heldBody {
            stream.write(chunk)
            guard self.isAt(stream, token) else {
                if self.generation == token { self.wantsClientBody = hasAsked }
                return false
            }
        }
        self.wantsClientBody = hasAsked
        return true
    }

    private func askClientForBody() {
        // It may have been asked for before there was an upstream.
        guard !self.wantsClientBody, let upstreamStream = self.upstreamStream, upstreamStream.isWritable else { return }
        self.wantsClientBody = true
        self.stream?.readBody()
    }

    // MARK: - When it goes wrong

    func upstreamTimedOut() {
        guard let upstreamStream = self.upstreamStream else { return }
        let kind: UpstreamFailure.Kind = upstreamStream.isWritable ? .readTimeout : .sendTimeout
        self.upstreamStream = nil
        upstreamStream.cancel()
        self.attemptFailed(UpstreamFailure(kind: kind, detail: "silent for too long"), sent: upstreamStream)
    }

    func attemptFailed(_ failure: UpstreamFailure, sent stream: (any UpstreamStream)? = nil) {
        self.timer.clear()
        self.givePending()
        self.attempts[self.attempts.count - 1].failure = failure
        self.attempts[self.attempts.count - 1].ended = .now()
        let hadHead = self.phase == .answering || self.phase == .tunnel
        guard !hadHead else {
            self.settlePeer(.failed)
            self.note(failure)
            self.why = failure.detail
            let client = self.stream
            self.finish()
            client?.abort(failure.kind == .readTimeout ? .timedOut : .answerBroken)
            return
        }
        if failure.kind == .overflow { return self.overflowed(failure) }
        // A connection that had rested may have been closed by the other side as the request went out: that costs no
        // try.
        if failure.kind == .lost, stream?.isReused ?? false || self.isWorthTheSameInstance { self.triesLeft += 1 }
        let (reason, status) = Self.outcome(of: failure.kind)
        self.note(failure)
        self.tryAnother(reason, status: status, hasSent: stream?.hasSent ?? false, why: failure.detail)
    }

    /// A limit of the circuit breaker: no instance is to blame, and another try would meet the same.
    private func overflowed(_ failure: UpstreamFailure) {
        if let upstream { self.worker.counters(of: upstream).totals.overflows &+= 1 }
        self.settlePeer(.notCounted)
        self.fail(503, .overflow, failure.detail)
    }

    private func note(_ failure: UpstreamFailure) {
        switch failure.kind {
        case .connect, .tls, .connectTimeout: self.flags.insert(.connectFailed)
        case .sendTimeout, .readTimeout: self.flags.insert(.upstreamTimeout)
        case .lost, .truncated: self.flags.insert(.connectionEnded)
        case .garbage, .headTooLarge: self.flags.insert(.upstreamProtocolError)
        case .misdirected: self.flags.insert(.misdirected)
        case .refused: self.flags.insert(.upstreamReset)
        case .overflow: self.flags.insert(.overflow)
        }
    }

    private static func outcome(of kind: UpstreamFailure.Kind) -> (NextUpstream.Reason, UInt16) {
        switch kind {
        case .connectTimeout, .sendTimeout, .readTimeout: (.timeout, 504)
        case .garbage, .headTooLarge, .misdirected: (.invalidHeader, 502)
        case .overflow: (.error, 503)
        case .connect, .tls, .lost, .truncated, .refused: (.error, 502)
        }
    }

    /// Another instance, if the rules allow one; else the answer for what happened.
    func tryAnother(_ reason: NextUpstream.Reason, status: UInt16, hasSent: Bool, why: String) {
        guard let location = self.location else { return }
        let isHarmless = reason == .http403 || reason == .http404
        self.noteCandidates()
        self.settlePeer(isHarmless ? .succeeded : .failed)
        self.triesLeft -= 1
        self.upstreamStream = nil
        let decision = self.retryDecision(reason, hasSent: hasSent, location)
        self.attempts[self.attempts.count - 1].retry = decision
        guard decision == .retried else {
            if self.attempts.count > 1 { self.flags.insert(.retriesExhausted) }
            return self.fail(status, [], why)
        }
        self.attempt()
    }

    private func retryDecision(
        _ reason: NextUpstream.Reason,
        hasSent: Bool,
        _ location: CompiledLocation
    ) -> ExchangeRecord.RetryDecision {
        let next = location.proxy.nextUpstream
        guard next.reasons.contains(reason) else { return .notListed }
        if hasSent, !self.isHarmlessTwice(reason, location) { return .nonIdempotent }
        if hasSent, self.head.method.isNonIdempotent, !next.reasons.contains(.nonIdempotent) { return .nonIdempotent }
        if hasSent, self.isStreamingBody { return .bodySent }
        guard self.triesLeft > 0 else { return .triesExhausted }
        if next.timeout > 0, NIODeadline.now() - self.started >= .milliseconds(Int64(next.timeout)) {
            return .timeExhausted
        }
        if let circuit = self.upstream?.group.circuit {
            guard circuit.take(.retry) else {
                if let upstream { self.worker.counters(of: upstream).totals.overflows &+= 1 }
                return .budget
            }
            self.holdsRetry = true
        }
        return .retried
    }

    /// Tells the balancer how the attempt ended, once.
    func settlePeer(_ outcome: PeerOutcome) {
        self.giveRetry()
        let last = self.attempts.count - 1
        guard let peer = self.peer, let upstream = self.upstream, last >= 0 else { return }
        if outcome != .succeeded { self.noteCandidates() }
        self.peer = nil
        let began = self.attempts[last].began
        let latency = self.attempts[last].firstByte.map { ($0 - began).nanoseconds / 1_000 }
        let now = self.attempts[last].ended ?? .now()
        let answer: AnswerClass
        switch self.attempts[last].status {
        case 502...504: answer = .gatewayFailure
        case 500...: answer = .serverError
        case 0: answer = outcome == .failed ? .gatewayFailure : .good
        default: answer = .good
        }
        let isEjected = upstream.group.finish(
            peer,
            outcome,
            answer: answer,
            latency: latency,
            now: Int64(clamping: now.uptimeNanoseconds / 1_000_000)
        )
        if isEjected { self.worker.counters(of: upstream).totals.ejections &+= 1 }
    }
}
