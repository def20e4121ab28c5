internal import NIOCore

extension HTTP1ServerHandler {
    /// Goes as far as the bytes that have come allow. Not entered twice: what is called from here may ask for more.
    func work() {
        guard !self.isWorking else { return }
        self.isWorking = true
        defer { self.isWorking = false }
        while self.step() {}
    }

    /// `false` when something has to happen first.
    private func step() -> Bool {
        switch self.phase {
        case .head: self.readHead()
        case .exchange: self.readPart()
        case .discarding: self.discard()
        case .tunnel: self.readTunnel()
        case .lingering, .closed: false
        }
    }

    private func readHead() -> Bool {
        guard self.inbound.readableBytes > 0 else { return false }
        let isFirstRead = !self.scanner.hasBegun
        switch self.scanner.scan(self.inbound) {
        case .incomplete:
            if isFirstRead, self.requests > 0 { self.timer.set(milliseconds: self.settings.clientHeaderTimeout) }
            return false
        case .refused(let refusal):
            self.timer.clear()
            self.keepsAlive = false
            let known = self.scanner.known
            self.begin(RequestHead(method: known.method, version: known.version, keepsAlive: false))
            self.acceptor.refuse(refusal, method: known.method, stream: self)
            return true
        case .head(let head, let consumed):
            self.timer.clear()
            self.inbound.moveReaderIndex(forwardBy: consumed)
            self.scanner.reset()
            self.begin(head)
            let receiver = self.acceptor.accept(head, stream: self)
            // It may have been answered within the call.
            if self.phase == .exchange || self.phase == .tunnel { self.receiver = receiver }
            return true
        }
    }

    private func begin(_ head: RequestHead) {
        self.phase = .exchange
        self.requests += 1
        self.version = head.version
        self.isHeadRequest = head.method == .head
        self.keepsAlive = head.keepsAlive && !self.isDraining
        self.owesContinue = head.expectsContinue
        self.decoder = BodyDecoder(head.framing)
        self.isBodyDone = head.framing == .none
        self.wantsBody = false
        self.framing = .none
    }

    func readBody() {
        self.wantsBody = true
        if self.owesContinue, !self.isBodyDone {
            self.writeContinue()
            self.flush()
        }
        self.work()
        if self.wantsBody, self.phase == .exchange, !self.isBodyDone { self.timer.set(milliseconds: self.timing.body) }
        self.holdOrRead()
    }

    /// Whether bytes of the request's body have yet to arrive.
    var isBodyComing: Bool {
        guard !self.isBodyDone else { return false }
        var decoder = self.decoder
        var rest = self.inbound
        while true {
            switch decoder.next(&rest) {
            case .data: continue
            case .more: return true
            case .end, .broken: return false
            }
        }
    }

    private func readPart() -> Bool {
        guard self.wantsBody, let receiver = self.receiver else { return false }
        if self.isBodyDone {
            self.wantsBody = false
            receiver.bodyEnded(trailers: nil)
            return true
        }
        switch self.decoder.next(&self.inbound) {
        case .more:
            return false
        case .data(let data):
            self.wantsBody = false
            self.timer.clear()
            receiver.received(body: data)
            return true
        case .end(let trailers):
            self.wantsBody = false
            self.isBodyDone = true
            self.timer.clear()
            receiver.bodyEnded(trailers: trailers)
            return true
        case .broken:
            self.wantsBody = false
            self.isBodyDone = true
            self.keepsAlive = false
            self.timer.clear()
            receiver.bodyBroken()
            return true
        }
    }

    /// Throws away what the answered request still has to say.
    private func discard() -> Bool {
        switch self.decoder.next(&self.inbound) {
        case .more:
            self.timer.set(milliseconds: self.settings.lingerTimeout)
            return false
        case .data:
            return true
        case .end:
            self.next()
            return true
        case .broken:
            self.close()
            return false
        }
    }

    private func readTunnel() -> Bool {
        guard self.wantsBody, self.inbound.readableBytes > 0, let receiver = self.receiver else { return false }
        self.wantsBody = false
        let data = self.inbound
        self.inbound = ByteBuffer()
        receiver.received(body: data)
        return true
    }

    /// The answer is complete.
    func finish() {
        guard self.phase == .exchange || self.phase == .tunnel else { return }
        let wasTunnel = self.phase == .tunnel
        self.receiver = nil
        self.flush()
        guard self.phase != .closed else { return }
        if !self.isBodyDone, !wasTunnel {
            if self.keepsAlive {
                self.phase = .discarding
            } else {
                self.linger()
            }
        } else if self.keepsAlive, !wasTunnel {
            self.next()
        } else {
            self.close()
        }
        self.work()
        self.holdOrRead()
    }

    private func next() {
        self.phase = .head
        // Held any longer, its storage could not be used for the next read; TLS would copy all of it.
        if self.inbound.readableBytes == 0 { self.inbound = ByteBuffer() }
        if self.isDraining || self.isInputClosed, self.inbound.readableBytes == 0 {
            self.close()
        } else if self.timing.keepalive == 0 {
            self.close()
        } else {
            self.timer.set(milliseconds: self.timing.keepalive)
        }
    }

    /// Closing at once would reset the connection under the answer, if the client is still sending.
    func linger() {
        guard let context = self.context else { return }
        self.phase = .lingering
        self.inbound = ByteBuffer()
        self.timer.set(milliseconds: self.settings.lingerTimeout)
        context.close(mode: .output).assumeIsolated().whenFailure { [self] _ in self.close() }
    }
}
