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
        let caller = KeyedRequest.caller(self.identity, credentials: credentials)
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
        upstream.framing = .length(Int64(answer.body.count))
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
        for field in head.block.fields where !location.hiddenFields.contains(field, in: bytes) {
            guard let name = HTTPField.Name(head.block.text(field.name)) else { continue }
            fields.append(HTTPField(name: name, value: head.block.text(field.value)))
        }
        let answer = StoredAnswer(status: Int(head.status), headerFields: fields, body: [])
        self.keyed?.state = .answering(token: token, answer)
    }

    func keepBody(_ body: ByteBuffer) {
        guard case .answering(let token, var answer) = self.keyed?.state else { return }
        guard answer.body.count + body.readableBytes <= AnswerKeeper.maxAnswerBytes else { return self.dropKey() }
        // Else it would be held twice, and copied.
        self.keyed?.state = .begun(token: token)
        answer.body += body.readableBytesView
        self.keyed?.state = .answering(token: token, answer)
    }

    /// The answer is complete.
    func keepAnswer() {
        guard let keyed, case .answering(let token, let answer) = keyed.state else { return }
        guard AnswerKeeper.isKept(UInt16(clamping: answer.status)) else { return self.dropKey() }
        self.keyed = nil
        keyed.keeper.finish(keyed.key, token: token, answer: answer)
    }

    /// Nothing is kept: the next try runs.
    func dropKey() {
        guard let keyed else { return }
        self.keyed = nil
        switch keyed.state {
        case .collecting: break
        case .begun(let token), .answering(let token, _): keyed.keeper.release(keyed.key, token: token)
        }
    }

    /// Whether the work goes on although nobody waits for it any more: the client will ask again, with its key.
    func goesOnAlone() -> Bool {
        switch self.keyed?.state {
        case nil, .collecting: return false
        case .begun, .answering:
            self.stream = DiscardingStream(self.loop)
            // Whoever reads the rest reads at once.
            self.clientWritabilityChanged(isWritable: true)
            return true
        }
    }
}
