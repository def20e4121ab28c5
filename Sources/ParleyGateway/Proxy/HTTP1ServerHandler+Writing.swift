internal import NIOCore

extension HTTP1ServerHandler {
    var isWritable: Bool { self.context?.channel.isWritable ?? false }

    func apply(_ timing: ClientTiming, now: NIODeadline) {
        self.timing = timing
        if timing.keepalive == 0 || self.requests >= timing.keepaliveRequests { self.keepsAlive = false }
        if now - self.opened > .milliseconds(Int64(timing.keepaliveTime)) { self.keepsAlive = false }
    }

    func writeInformational(_ head: ResponseHead) {
        guard self.phase == .exchange, self.version == .http11 else { return }
        HTTP1Writer.writeStatusLine(head, into: &self.out.bytes)
        HTTP1Writer.write(head.block, into: &self.out.bytes)
        self.out.bytes.writeStaticString("\r\n")
        self.owesContinue = self.owesContinue && head.status != 100
        if head.status == 101 {
            self.phase = .tunnel
            self.isBodyDone = true
            self.framing = .connection
        }
        self.flush()
    }

    func write(_ head: ResponseHead, isEnd: Bool) {
        guard self.phase == .exchange else { return }
        if !head.keepsAlive { self.keepsAlive = false }
        // Whoever waits for it sends its body now, and the connection goes on behind that.
        if self.owesContinue, self.keepsAlive { self.writeContinue() }
        HTTP1Writer.writeStatusLine(head, into: &self.out.bytes)
        HTTP1Writer.write(head.block, into: &self.out.bytes)
        self.framing = .none
        if !isEnd {
            switch head.framing {
            case .none: break
            case .length: self.framing = .counted
            case .chunked, .untilEnd:
                if self.version == .http11 {
                    self.framing = .chunked
                    self.out.bytes.writeStaticString("Transfer-Encoding: chunked\r\n")
                } else {
                    self.framing = .connection
                    self.keepsAlive = false
                }
            }
        }
        self.out.bytes.writeStaticString(
            self.keepsAlive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n"
        )
        if isEnd { self.finish() }
    }

    func write(_ body: ByteBuffer) {
        guard self.phase == .exchange || self.phase == .tunnel else { return }
        let count = body.readableBytes
        guard count > 0, self.framing != .none else { return }
        if self.framing == .chunked { HTTP1Writer.writeChunkSize(count, into: &self.out.bytes) }
        if count <= Self.copyLimit, self.out.bytes.readableBytes <= Self.readAhead {
            self.out.bytes.writeImmutableBuffer(body)
        } else {
            self.sendOut()
            self.context?.write(self.wrapOutboundOut(body), promise: nil)
            self.hasUnflushed = true
        }
        if self.framing == .chunked { self.out.bytes.writeStaticString("\r\n") }
        // The channel only knows how much waits once it has been given it.
        if self.out.bytes.readableBytes > Self.copyLimit || self.hasUnflushed { self.flush() }
    }

    func end(trailers: FieldBlock?) {
        guard self.phase == .exchange || self.phase == .tunnel else { return }
        if self.framing == .chunked {
            self.out.bytes.writeStaticString("0\r\n")
            if let trailers { HTTP1Writer.write(trailers, into: &self.out.bytes) }
            self.out.bytes.writeStaticString("\r\n")
        }
        self.finish()
    }

    func abort(_ reason: AbortReason) {
        // The end of the connection says that something is missing; a chunked body has no last chunk. What has not
        // left yet is not sent any more, as in nginx: it may be the whole of a head.
        self.receiver = nil
        self.out.bytes.clear()
        self.close()
    }

    func writeContinue() {
        self.owesContinue = false
        self.out.bytes.writeStaticString("HTTP/1.1 100 Continue\r\n\r\n")
    }

    func flush() {
        guard let context = self.context else { return }
        if self.out.bytes.readableBytes > 0 {
            self.hasUnflushed = false
            context.writeAndFlush(self.wrapOutboundOut(self.out.handOver()), promise: nil)
        } else if self.hasUnflushed {
            self.hasUnflushed = false
            context.flush()
        } else {
            return
        }
        self.out.reuse()
        if !context.channel.isWritable { self.timer.set(milliseconds: self.timing.send) }
    }

    private func sendOut() {
        guard self.out.bytes.readableBytes > 0, let context = self.context else { return }
        self.hasUnflushed = true
        context.write(self.wrapOutboundOut(self.out.handOver()), promise: nil)
    }
}
