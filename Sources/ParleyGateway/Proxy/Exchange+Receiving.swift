internal import NIOCore
internal import ParleyCore

// MARK: - From the client

extension Exchange: RequestReceiver {
    func received(body: ByteBuffer) {
        self.wantsClientBody = false
        self.bodyBytesReceived += body.readableBytes
        guard let location = self.location else { return }
        if self.phase != .tunnel, location.settings.maxBodySize > 0,
            self.bodyBytesReceived > location.settings.maxBodySize
        {
            return self.bodyGrewTooLarge()
        }
        switch self.phase {
        case .collecting:
            self.heldBody.append(body)
            self.heldBytes += body.readableBytes
            self.worker.heldBytes += body.readableBytes
            if !self.holdsBody(location), self.heldBytes < location.settings.bodyBufferSize {
                // Only what has come along with the head; `clientReadCompleted` goes on.
                self.stream?.readBody()
            } else if !self.holdsBody(location) {
                self.isStreamingBody = true
                self.attempt()
            } else if self.heldBytes > GatewayWorker.maxHeldBody || self.worker.heldBytes > GatewayWorker.maxHeldBodies
            {
                if self.keyed != nil { return self.bodyCannotBeCompared() }
                // More than is held in memory: the rest flows through, and cannot be sent twice.
                self.isStreamingBody = true
                self.attempt()
            } else {
                self.stream?.readBody()
            }
        case .waiting, .answering, .tunnel:
            guard let upstreamStream = self.upstreamStream else { return }
            if self.phase != .tunnel { self.isStreamingBody = true }
            if !self.attempts.isEmpty { self.attempts[self.attempts.count - 1].bytesSent += body.readableBytes }
            let token = self.generation
            upstreamStream.write(body)
            // A write may find that the connection has broken; then this may be another request already.
            guard self.generation == token, self.upstreamStream === upstreamStream else { return }
            if upstreamStream.isWritable {
                self.timer.set(milliseconds: location.proxy.readTimeout)
                self.wantsClientBody = true
                self.stream?.readBody()
            } else {
                self.timer.set(milliseconds: location.proxy.sendTimeout)
            }
        case .connecting, .authorizing:
            // Asked for before, and nothing is asked for now: it is the last one until there is a connection.
            self.heldBody.append(body)
            self.heldBytes += body.readableBytes
            self.worker.heldBytes += body.readableBytes
        case .idle, .routing, .delayed, .done:
            break
        }
    }

    private func bodyCannotBeCompared() {
        guard self.heldBytes > GatewayWorker.maxHeldBody else {
            self.problem = .overloaded
            return self.fail(503, .overflow, "there is no room for another body with an Idempotency-Key")
        }
        self.problem = .idempotencyBodyTooLarge
        self.fail(413, .bodyTooLarge, "the body is too large to be compared under its Idempotency-Key")
    }

    private func bodyGrewTooLarge() {
        let upstreamStream = self.upstreamStream
        self.upstreamStream = nil
        upstreamStream?.cancel()
        self.settlePeer(.notCounted)
        if self.phase == .answering {
            let stream = self.stream
            self.finish()
            stream?.abort(.answerBroken)
        } else {
            self.fail(413, .bodyTooLarge, "the body grew larger than allowed")
        }
    }

    func clientReadCompleted() {
        guard self.phase == .collecting, let location, !self.holdsBody(location) else { return }
        self.isStreamingBody = true
        self.attempt()
    }

    func bodyEnded(trailers: FieldBlock?) {
        self.wantsClientBody = false
        self.isBodyComplete = true
        self.bodyTrailers = trailers
        switch self.phase {
        case .collecting:
            self.bodyIsReady()
        case .waiting, .answering, .tunnel:
            self.upstreamStream?.end(trailers: trailers)
            if self.phase == .waiting, let location { self.timer.set(milliseconds: location.proxy.readTimeout) }
        case .idle, .routing, .delayed, .authorizing, .connecting, .done:
            break
        }
    }

    func bodyBroken() {
        let upstreamStream = self.upstreamStream
        self.upstreamStream = nil
        upstreamStream?.cancel()
        self.settlePeer(.notCounted)
        if self.phase == .answering {
            let stream = self.stream
            self.finish()
            stream?.abort(.answerBroken)
        } else {
            self.fail(400, .clientProtocolError, "the body breaks the rules of its framing")
        }
    }

    func clientGone() {
        self.flags.insert(.clientGone)
        if self.goesOnAlone() { return }
        if self.status == 0 { self.status = 499 }
        if self.why.isEmpty { self.why = "the client went away" }
        let upstreamStream = self.upstreamStream
        self.upstreamStream = nil
        upstreamStream?.cancel()
        self.noteCandidates()
        // nginx counts it as a success: the instance did nothing wrong.
        self.settlePeer(.succeeded)
        self.stream = nil
        self.finish()
    }

    func clientWritabilityChanged(isWritable: Bool) {
        guard isWritable, self.isUpstreamPaused else { return }
        self.isUpstreamPaused = false
        if let location { self.timer.set(milliseconds: location.proxy.readTimeout) }
        self.upstreamStream?.readBody()
    }
}

// MARK: - From the upstream

extension Exchange: ResponseReceiver {
    func received(head: ResponseHead) {
        guard self.phase == .waiting, let location = self.location, !self.attempts.isEmpty else { return }
        if head.status == 101 {
            self.dropKey()
            return self.switchProtocols(head)
        }
        // 100 and 103 are between the gateway and the instance, as in nginx 1.22.
        if head.isInformational { return }
        if self.isForeign(head) { return self.refuseForeign(head) }
        self.noteHead(head.status)
        self.upstreamHead = head
        if let reason = Self.reason(of: head.status), location.proxy.nextUpstream.reasons.contains(reason),
            self.triesLeft > 1, self.mayTryAnother(location)
        {
            let stream = self.upstreamStream
            self.upstreamStream = nil
            stream?.cancel()
            return self.tryAnother(reason, status: head.status, hasSent: true, why: "answered \(head.status)")
        }
        if location.proxy.interceptsErrors, head.status >= 300,
            location.settings.errorPages.contains(where: { $0.statuses.contains(Int(head.status)) })
        {
            let stream = self.upstreamStream
            self.upstreamStream = nil
            stream?.cancel()
            self.settlePeer(.succeeded)
            return self.fail(head.status, [], "answered \(head.status)")
        }
        self.answer(with: head, location)
    }

    private func noteHead(_ status: UInt16) {
        let last = self.attempts.count - 1
        guard last >= 0 else { return }
        self.attempts[last].firstByte = .now()
        self.attempts[last].status = status
    }

    private static func reason(of status: UInt16) -> NextUpstream.Reason? {
        switch status {
        case 500: .http500
        case 502: .http502
        case 503: .http503
        case 504: .http504
        case 403: .http403
        case 404: .http404
        case 429: .http429
        default: nil
        }
    }

    private func mayTryAnother(_ location: CompiledLocation) -> Bool {
        let next = location.proxy.nextUpstream
        if self.head.method.isNonIdempotent, !next.reasons.contains(.nonIdempotent) { return false }
        if self.isStreamingBody { return false }
        return next.timeout == 0 || NIODeadline.now() - self.started < .milliseconds(Int64(next.timeout))
    }

    private func answer(with upstreamHead: ResponseHead, _ location: CompiledLocation) {
        guard let stream = self.stream else { return }
        self.keepHead(upstreamHead, location)
        var head = self.clientHead(upstreamHead, location)
        if self.errorStatus > 0 {
            head.status = self.errorStatus
            head.reason = .empty
        }
        if !self.corsFields.isEmpty { CORSPolicy.apply(self.corsFields, to: &head) }
        if self.location?.compression != nil { _ = self.prepareCompression(&head) }
        self.status = head.status
        self.isOwnAnswer = false
        self.phase = .answering
        self.sentFields = head.block
        let isEnd = self.head.method == .head || upstreamHead.framing == .none
        if isEnd {
            // Not before the upstream has ended: the client's connection would go on to its next request.
            self.upstreamHead = head
        } else {
            stream.write(head, isEnd: false)
        }
        self.upstreamStream?.readBody()
    }

    private func switchProtocols(_ head: ResponseHead) {
        guard let stream = self.stream, let location = self.location else { return }
        self.status = 101
        self.isOwnAnswer = false
        self.noteHead(101)
        self.phase = .tunnel
        stream.writeInformational(self.tunnelHead(head, location))
        self.timer.set(milliseconds: location.proxy.readTimeout)
        self.isBodyComplete = false
        self.wantsClientBody = true
        stream.readBody()
        self.upstreamStream?.readBody()
    }

    func received(answer body: ByteBuffer) {
        guard self.phase == .answering || self.phase == .tunnel, let stream = self.stream, let location = self.location
        else { return }
        self.attempts[self.attempts.count - 1].bytesReceived += body.readableBytes
        self.keepBody(body)
        var body = body
        if let encoder {
            do throws(GzipError) {
                body = try encoder.write(body, flushes: !location.proxy.isBuffering) ?? ByteBuffer()
            } catch {
                return self.breakAnswer("\(error)")
            }
        }
        self.bodyBytesSent += body.readableBytes
        let token = self.generation
        if body.readableBytes > 0 { stream.write(body) }
        // Written to a connection that has just broken, it may be over, or go on without its client.
        guard self.generation == token, let stream = self.stream else { return }
        if stream.isWritable {
            self.timer.set(milliseconds: location.proxy.readTimeout)
            self.upstreamStream?.readBody()
        } else {
            self.isUpstreamPaused = true
            self.timer.clear()
        }
    }

    func answerEnded(trailers: FieldBlock?) {
        guard self.phase == .answering || self.phase == .tunnel, let stream = self.stream else { return }
        self.upstreamStream = nil
        let now = NIODeadline.now()
        self.attempts[self.attempts.count - 1].ended = now
        self.ended = now
        self.settlePeer(.succeeded)
        self.keepAnswer()
        if let encoder, self.head.method != .head {
            do throws(GzipError) {
                let rest = try encoder.finish()
                self.bodyBytesSent += rest.readableBytes
                stream.write(rest)
            } catch {
                return self.breakAnswer("\(error)")
            }
        }
        let head = self.upstreamHead
        // Who has not said so may not know what to do with them (RFC 9110, section 6.5.1).
        let takesTrailers = trailers != nil && self.head.block.first(.te) != nil
        let isEnd = self.head.method == .head || head?.framing == BodyFraming.none
        self.finish()
        if isEnd, let head {
            stream.write(head, isEnd: true)
        } else {
            stream.end(trailers: takesTrailers ? trailers : nil)
        }
    }

    /// The head is with the client, and the body cannot be completed.
    private func breakAnswer(_ why: String) {
        self.flags.insert(.internalError)
        self.why = why
        let upstreamStream = self.upstreamStream
        self.upstreamStream = nil
        upstreamStream?.cancel()
        self.settlePeer(.notCounted)
        let stream = self.stream
        self.finish()
        stream?.abort(.answerBroken)
    }

    func failed(_ failure: UpstreamFailure) {
        let stream = self.upstreamStream
        self.upstreamStream = nil
        self.attemptFailed(failure, sent: stream)
    }

    func upstreamWritabilityChanged(isWritable: Bool) {
        guard isWritable, !self.isBodyComplete, let location = self.location else { return }
        self.timer.set(milliseconds: location.proxy.readTimeout)
        guard !self.wantsClientBody else { return }
        self.wantsClientBody = true
        self.stream?.readBody()
    }

    func upstreamReadCompleted() { self.stream?.flush() }
}
