internal import NIOCore
internal import ParleyCore

/// The fields that travel with a request between services of our own: who asks, under which id, in which trace, and
/// for how long. What a client says about them is checked, or not passed on (decisions/0010).
enum ContextFields {
    /// Said by the gateway itself, so never the client's.
    static let written = [
        RequestContextFields.http.requestID, RequestContextFields.http.caller, RequestContextFields.http.trace,
        RequestContextFields.http.timeout, RequestContextFields.instance,
    ]

    static func isWritten(_ name: String) -> Bool {
        Self.written.contains { $0.lowercased() == name.lowercased() }
    }

    private static let timeoutName = Array(RequestContextFields.http.timeout.lowercased().utf8)
    /// A day: what is longer is cut.
    private static let longestTimeout: Int64 = 86_400_000

    /// As ``ParleyCore/RequestContext/isAcceptableID(_:)`` has it.
    static func isAcceptableID(_ id: Span<UInt8>) -> Bool {
        guard (1...128).contains(id.count) else { return false }
        for index in 0..<id.count where id[index] < 33 || id[index] > 126 { return false }
        return true
    }

    /// Milliseconds that the client gives the request; `nil` when it does not say.
    static func timeout(in block: FieldBlock) -> Int64? {
        let bytes = block.bytes.readableBytesUInt8Span
        fields: for field in block.fields where field.known == .other && Int(field.name.count) == Self.timeoutName.count
        {
            for offset in 0..<Self.timeoutName.count
            where bytes[field.name.lowerBound + offset] | 0x20 != Self.timeoutName[offset] | 0x20 {
                continue fields
            }
            guard !field.value.isEmpty else { return nil }
            var value: Int64 = 0
            for index in field.value.lowerBound..<field.value.upperBound {
                guard case 48...57 = bytes[index] else { return nil }
                value = min(value &* 10 &+ Int64(bytes[index] &- 48), Self.longestTimeout)
            }
            return value
        }
        return nil
    }
}

extension Exchange {
    /// The id that the client has given its request, if it can be passed on.
    var clientRequestID: ByteRange? {
        guard let field = self.head.block.first(.xRequestID) else { return nil }
        let block = self.head.block
        let bytes = block.bytes.readableBytesUInt8Span
        let id = bytes.extracting(field.value.lowerBound..<field.value.upperBound)
        return ContextFields.isAcceptableID(id) ? field.value : nil
    }

    /// The client's id, or one of our own.
    func appendRequestID(to block: inout FieldBlock) {
        if let id = self.clientRequestID {
            block.append(name: "X-Request-ID".utf8, value: self.head.block.view(id), known: .xRequestID)
        } else {
            block.append("X-Request-ID", self.ensureRequestID().text, .xRequestID)
        }
    }

    /// Id, caller, trace, deadline and the instance that is meant, for services of our own.
    func appendContext(to block: inout FieldBlock) {
        self.appendRequestID(to: &block)
        block.append("X-Service", self.plan.model.name, .other)
        self.appendTrace(to: &block)
        if let deadline {
            let left = (deadline - NIODeadline.now()).nanoseconds / 1_000_000
            block.append("X-Request-Timeout-Ms", "\(max(1, left))", .other)
        }
        self.askedInstance = self.peer.flatMap { self.upstream?.group.model(of: $0)?.instanceID }
        if let askedInstance { block.append("X-Parley-Instance", askedInstance, .xParleyInstance) }
    }

    private func appendTrace(to block: inout FieldBlock) {
        var sent: TraceContext?
        if let field = self.head.block.first(.traceparent) {
            let client = self.head.block
            let bytes = client.bytes.readableBytesUInt8Span
            sent = TraceContext(bytes.extracting(field.value.lowerBound..<field.value.upperBound))
        }
        let trace = sent ?? TraceContext(self.worker.nextRequestID())
        let start = block.bytes.readableBytes
        let count = block.bytes.writeStaticString("traceparent")
        trace.write(span: self.worker.chance(), into: &block.bytes)
        block.fields.append(
            FieldBlock.Field(
                name: ByteRange(start: start, count: count),
                value: ByteRange(start: start + count, count: TraceContext.length),
                known: .traceparent
            )
        )
    }

    // MARK: - Who answers

    /// Whether an answer names another instance than the one that was asked.
    func isForeign(_ head: ResponseHead) -> Bool {
        guard let askedInstance, let named = head.block.first(.xParleyInstance) else { return false }
        return !head.block.view(named.value).elementsEqual(askedInstance.utf8)
    }

    /// The answer is thrown away. 421 says that nothing was done, so another instance may be asked whatever the request
    /// is; what another program did with a request that it took is not known.
    func refuseForeign(_ head: ResponseHead) {
        let stream = self.upstreamStream
        self.upstreamStream = nil
        stream?.cancel()
        self.flags.insert(.misdirected)
        let detail = "another instance answered at its address"
        let last = self.attempts.count - 1
        self.attempts[last].firstByte = .now()
        self.attempts[last].ended = .now()
        self.attempts[last].failure = UpstreamFailure(kind: .misdirected, detail: detail)
        self.settlePeer(.failed)
        self.triesLeft -= 1
        guard head.status == 421, !self.isStreamingBody, self.triesLeft > 0 else { return self.fail(502, [], detail) }
        self.attempts[last].retry = .retried
        self.attempt()
    }

    // MARK: - Whether to ask again

    /// To services of our own only what changes nothing is sent twice, and only when its connection broke: after a
    /// silence, the work may still be under way.
    func isHarmlessTwice(_ reason: NextUpstream.Reason, _ location: CompiledLocation) -> Bool {
        guard location.proxy.carriesContext else { return true }
        return self.head.method.isSafe && self.head.framing == .none && reason != .timeout
    }

    /// A service with one instance that stops loses the requests in its connections; it may be back at once.
    var isWorthTheSameInstance: Bool {
        guard let location, location.proxy.carriesContext, let upstream, upstream.group.tries == 1 else { return false }
        return self.attempts.count < location.proxy.nextUpstream.tries
    }

    // MARK: - Whom to ask

    /// No instance was known when the request came, but one may have registered since the last look: a service that
    /// has just said that it is there is found. Once for a request.
    func looksAgain(_ upstream: Upstream) -> Bool {
        guard upstream.group.tries == 0, !self.hasLookedAgain, upstream.isFollowed else { return false }
        self.hasLookedAgain = true
        self.phase = .authorizing
        let token = self.generation
        let exchange = NIOLoopBound(self, eventLoop: self.loop)
        let time = self.worker.shared.time
        self.loop.makeFutureWithTask { await upstream.lookAgain(on: time) }.whenComplete { _ in
            let exchange = exchange.value
            guard exchange.generation == token, exchange.phase == .authorizing else { return }
            exchange.phase = .connecting
            if let location = exchange.location { exchange.countTries(upstream, location) }
            exchange.attempt()
        }
        return true
    }

    // MARK: - How long it may take

    /// Sets the time for all tries together, the location's and the client's; `false` when none is left, and that has
    /// been answered.
    func beginDeadline(_ location: CompiledLocation) -> Bool {
        var limit = location.proxy.totalTimeout > 0 ? Int64(location.proxy.totalTimeout) : nil
        if location.proxy.carriesContext, let asked = ContextFields.timeout(in: self.head.block) {
            limit = min(limit ?? asked, asked)
        }
        guard let limit else { return true }
        let deadline = self.started + .milliseconds(limit)
        guard deadline > .now() else {
            self.fail(504, .totalTimeout, "no time was left for it")
            return false
        }
        self.setDeadline(deadline)
        return true
    }

    func setDeadline(_ deadline: NIODeadline) {
        self.deadline = deadline
        self.deadlineTimer.set(deadline)
    }

    func deadlineReached() {
        self.giveUp(504, .totalTimeout, "not done in the time that it had")
    }

    /// The gateway ends: what is still under way is answered, and closed.
    func shutDown() {
        self.problem = .shuttingDown
        self.giveUp(503, [], "the gateway is shutting down")
    }

    func giveUp(_ status: UInt16, _ flags: ResponseFlags, _ why: String) {
        let upstreamStream = self.upstreamStream
        self.upstreamStream = nil
        upstreamStream?.cancel()
        switch self.phase {
        case .idle, .done: return
        case .answering, .tunnel:
            self.flags.formUnion(flags)
            self.why = why
            self.settlePeer(.notCounted)
            let stream = self.stream
            self.finish()
            stream?.abort(.timedOut)
        case .routing, .delayed, .authorizing, .collecting, .connecting, .waiting:
            self.settlePeer(flags.contains(.totalTimeout) ? .failed : .notCounted)
            self.fail(status, flags, why)
        }
    }
}
