internal import HTTPTypes
internal import NIOCore
internal import ParleyCore
internal import ParleyHTTPServer

extension Exchange {
    // MARK: - Before an instance is asked

    /// Looks for the key of a request that may not happen twice; `false` when that has been answered.
    func findKey(_ keeper: AnswerKeeper) -> Bool {
        guard self.head.method == .post || self.head.method == .patch else { return true }
        guard let field = self.head.block.first(.idempotencyKey) else {
            guard keeper.rules.isRequired else { return true }
            self.problem = .idempotencyKeyMissing
            self.fail(400, .clientProtocolError, "an Idempotency-Key is required")
            return false
        }
        let block = self.head.block
        let bytes = block.bytes.readableBytesUInt8Span
        guard ContextFields.isAcceptableID(bytes.extracting(field.value.lowerBound..<field.value.upperBound)) else {
            self.problem = .idempotencyKeyMalformed
            self.fail(400, .clientProtocolError, "the Idempotency-Key is not valid")
            return false
        }
        let credentials = block.first(.authorization).map { Array(block.view($0.value)) } ?? []
        let caller = KeyedRequest.caller(self.identity, credentials: credentials, address: self.client.bytes)
        let key = IdempotencyKey(caller: caller, key: block.text(field.value))
        self.keyed = KeyedRequest(keeper: keeper, key: key)
        return true
    }

    /// The whole body is there: asks whether this has been done before.
    func claimKey(_ keyed: KeyedRequest) {
        let fingerprint = KeyedRequest.fingerprint(
            method: self.head.block.text(self.head.methodName),
            host: self.host,
            target: self.rawTarget,
            body: self.heldBody
        )
        let claim: IdempotencyClaim
        do {
            claim = try keyed.keeper.begin(keyed.key, fingerprint: fingerprint)
        } catch {
            self.problem = .overloaded
            return self.fail(503, .overflow, "as many requests with an Idempotency-Key are under way as may be")
        }
        switch claim {
        case .begun(let token):
            self.keyed?.state = .begun(token: token)
            self.attempt()
        case .running(let known, _) where known == fingerprint:
            self.problem = .idempotencyKeyInUse
            self.fail(409, [], "the first request with its Idempotency-Key is under way")
        case .answered(let known, let answer) where known == fingerprint:
            self.replay(answer)
        case .running, .answered:
            self.problem = .idempotencyKeyReused
            self.fail(422, [], "another request was made with its Idempotency-Key")
        }
    }

    private func replay(_ answer: StoredAnswer) {
        guard let location = self.location else { return }
        var upstream = ResponseHead(status: UInt16(clamping: answer.status), keepsAlive: true)
        for field in answer.headerFields {
            let name = field.name.rawName.utf8
            upstream.block.append(name: name, value: field.value.utf8, known: KnownField(Array(name).span))
        }
        let hasBody = answer.status != 204 && answer.status != 304
        upstream.framing = hasBody ? .length(Int64(answer.body.count)) : .none
        var head = self.clientHead(upstream, location)
        head.block.append("Idempotency-Replayed", "true" as StaticString, .other)
        self.why = "the answer of the first request with its Idempotency-Key"
        self.status = head.status
        self.deliver(head, ByteBuffer(bytes: answer.body))
    }

    // MARK: - While it is answered

    /// The final head has come.
    func keepHead(_ head: ResponseHead, _ location: CompiledLocation) {
        guard let keyed, case .begun(let token) = keyed.state else { return }
        var fields = HTTPFields()
        let bytes = head.block.bytes.readableBytesUInt8Span
        let named = head.block.first(.connection)
        for field in head.block.fields where !location.hiddenFields.contains(field, in: bytes) {
            if let named, Self.isNamed(field, by: named, bytes) { continue }
            guard let name = HTTPField.Name(head.block.text(field.name)) else { continue }
            fields.append(HTTPField(name: name, value: head.block.text(field.value)))
        }
        let answer = StoredAnswer(status: Int(head.status), headerFields: fields, body: [])
        self.keyed?.state = .answering(token: token, answer)
    }

    func keepBody(_ body: ByteBuffer) {
        guard case .answering(let token, var answer) = self.keyed?.state else { return }
        guard answer.body.count + body.readableBytes <= AnswerKeeper.maxAnswerBytes else {
            let wasAlone = self.isAlone
            self.releaseKey()
            if wasAlone { self.giveUp(502, [], "its answer is too large to be kept, and its client has gone") }
            return
        }
        // Else it would be held twice, and copied.
        self.keyed?.state = .begun(token: token)
        answer.body += body.readableBytesView
        self.keyed?.state = .answering(token: token, answer)
    }

    /// The answer is complete.
    func keepAnswer() {
        guard let keyed, case .answering(let token, let answer) = keyed.state else { return }
        guard AnswerKeeper.isKept(UInt16(clamping: answer.status)) else { return self.releaseKey() }
        self.keyed = nil
        self.leaveAlone()
        keyed.keeper.finish(keyed.key, token: token, answer: answer)
    }

    /// Nothing is kept, and the next try runs.
    private func releaseKey() { self.endKey(free: nil) }

    /// There is no answer to keep. The next try runs at once when nothing can have been done; where an instance may
    /// still be at work, or its answer was lost, the key stays taken for a while.
    func dropKey() {
        guard self.keyed != nil else { return }
        self.endKey(free: self.uncertainty)
    }

    private func endKey(free lease: Duration?) {
        guard let keyed else { return }
        self.keyed = nil
        self.leaveAlone()
        switch keyed.state {
        case .collecting: break
        case .begun(let token), .answering(let token, _):
            if let lease {
                keyed.keeper.keepTaken(keyed.key, token: token, for: lease)
            } else {
                keyed.keeper.release(keyed.key, token: token)
            }
        }
    }

    /// How long the last instance that was sent the request may still be at work; `nil` when it is certainly not.
    private var uncertainty: Duration? {
        guard let last = self.attempts.last, last.sent != nil else { return nil }
        let long = Duration.milliseconds(Int64(self.location?.proxy.readTimeout ?? 60_000))
        switch last.failure?.kind {
        // What the instance has answered with is no result; or there is no answer, or not all of it.
        case nil: return last.status > 0 && !AnswerKeeper.isKept(last.status) ? nil : long
        case .connect, .tls, .connectTimeout, .refused, .overflow: return nil
        case .readTimeout, .sendTimeout: return long
        // Most likely it has ended.
        case .lost, .truncated, .garbage, .headTooLarge, .misdirected: return .seconds(10)
        }
    }

    // MARK: - Without the client

    private static let longestAlone: TimeAmount = .seconds(60)

    /// Whether the work goes on although nobody waits for it any more: the client will ask again, with its key. For a
    /// minute, and for as many as the worker allows.
    func goesOnAlone() -> Bool {
        switch self.keyed?.state {
        case nil, .collecting: return false
        case .begun, .answering: break
        }
        guard !self.isAlone, self.worker.takeAlone() else { return false }
        self.isAlone = true
        self.stream = DiscardingStream(self.loop)
        let latest = NIODeadline.now() + Self.longestAlone
        self.setDeadline(min(self.deadline ?? latest, latest))
        // Whoever reads the rest reads at once.
        self.clientWritabilityChanged(isWritable: true)
        return true
    }

    func leaveAlone() {
        guard self.isAlone else { return }
        self.isAlone = false
        self.worker.giveAlone()
    }
}
