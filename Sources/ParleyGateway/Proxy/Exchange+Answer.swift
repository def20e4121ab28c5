internal import NIOCore
internal import ParleyCore

extension Exchange {
    // MARK: - Answers of the gateway's own

    /// The gateway cannot, or will not, do what was asked: an error page, or the page for the status.
    func fail(_ status: UInt16, _ flags: ResponseFlags, _ why: @autoclosure () -> String) {
        self.flags.formUnion(flags)
        if self.why.isEmpty { self.why = why() }
        if self.status == 0 || self.status < 400 { self.status = ErrorBody.visible(status) }
        if !self.isErrorPage, let location,
            let page = location.settings.errorPages.first(where: {
                $0.statuses.contains(Int(status))
            })
        {
            self.isErrorPage = true
            return self.showErrorPage(page, for: status)
        }
        self.answerPage(status)
    }

    private func showErrorPage(_ page: ErrorPage, for status: UInt16) {
        let target = page.target.evaluated(in: self)
        switch page.status {
        case .unchanged: self.errorStatus = ErrorBody.visible(status)
        case .replaced(let other): self.errorStatus = UInt16(clamping: other)
        case .answered: self.errorStatus = 0
        }
        let bytes = target.readableBytesView
        if bytes.first == UInt8(ascii: "/") {
            var path = target
            var args = ByteBuffer()
            if let mark = bytes.firstIndex(of: UInt8(ascii: "?")) {
                path = ByteBuffer(bytes[..<mark])
                args = ByteBuffer(bytes[(mark + 1)...])
            }
            guard self.rewriteState.redirect(path: path, args: args) else { return self.answerPage(500) }
            // The page is asked for with GET, whatever failed (nginx does so, too).
            if self.head.method != .head { self.setMethod("GET", .get) }
            return self.locate()
        }
        if bytes.first == UInt8(ascii: "@"), let server, let index = server.table.named(bytes.dropFirst()) {
            guard self.rewriteState.countChange() else { return self.answerPage(500) }
            self.rewriteState.isInternal = true
            self.rewriteState.isLocationUsable = false
            return self.enter(server.locations[index])
        }
        let isRedirect = [301, 302, 303, 307, 308].contains(self.errorStatus)
        self.redirect(isRedirect ? self.errorStatus : 302, to: target)
    }

    /// Goes into a named location.
    private func enter(_ location: CompiledLocation) {
        self.location = location
        let result = location.rewrites.run(in: self, at: RewriteProgram.Place.location, scratch: self.worker.regexes)
        if result == .relocate { return self.locate() }
        if self.goesOn(result) { self.limitRequests() }
    }

    private func setMethod(_ name: StaticString, _ method: Method) {
        var bytes = self.head.block.bytes
        let start = bytes.readableBytes
        let count = bytes.writeStaticString(name)
        self.head.block.bytes = bytes
        self.head.method = method
        self.head.methodName = ByteRange(start: start, count: count)
    }

    private func answerPage(_ status: UInt16) {
        let visible = ErrorBody.visible(status)
        let closes = [400, 413, 414, 494, 495, 496, 497, 500, 501].contains(status)
        let body: ByteBuffer?
        let type: StaticString
        if self.plan.model.errorFormat == .problem {
            type = "application/problem+json"
            body = status < 400 ? nil : self.problemBody(visible)
        } else {
            type = "text/html"
            body = ErrorBody.html(status, product: GatewayProduct.name(self.location?.settings.showsVersion ?? true))
        }
        self.answer(visible, type: type, body: body ?? ByteBuffer(), closes: closes)
    }

    func redirect(_ status: UInt16, to location: ByteBuffer) {
        guard let connection = self.connection, let settings = self.location?.settings else { return }
        self.redirectLocation = RedirectLocation(
            isAbsolute: settings.isAbsoluteRedirect,
            hasPort: settings.isPortInRedirect,
            serverName: settings.isServerNameInRedirect ? self.server.map { ByteBuffer(bytes: $0.name) } : nil
        ).absolute(
            location,
            isTLS: connection.isTLS,
            host: self.host,
            localAddress: connection.localAddressText,
            port: connection.localPort
        )
        let body = ErrorBody.html(status, product: GatewayProduct.name(settings.showsVersion)) ?? ByteBuffer()
        self.answer(status, type: "text/html", body: body, closes: false)
    }

    /// A text of the configuration.
    func respond(_ status: UInt16, text: ByteBuffer, type: StaticString? = nil) {
        self.answer(status, type: type, body: text, closes: false)
    }

    private func answer(_ status: UInt16, type: StaticString?, body: ByteBuffer, closes: Bool) {
        guard let stream = self.stream else { return }
        let status = self.errorStatus > 0 ? self.errorStatus : status
        self.status = status
        self.isOwnAnswer = true
        var head = ResponseHead(status: status, keepsAlive: !closes)
        head.block.bytes.reserveCapacity(256)
        self.appendStandardFields(to: &head.block)
        let hasBody = status != 204 && status != 304
        if hasBody {
            head.block.bytes.reserveCapacity(minimumWritableBytes: 64)
            if let type {
                head.block.append("Content-Type", type, .contentType)
            } else {
                head.block.append("Content-Type", self.location?.settings.defaultType ?? "text/plain", .contentType)
            }
            head.block.append("Content-Length", "\(body.readableBytes)", .contentLength)
            head.framing = .length(Int64(body.readableBytes))
        }
        if let location = self.redirectLocation {
            head.block.append(
                name: "Location".utf8,
                value: location.readableBytesView,
                known: .location
            )
        }
        if let challenge = self.challenge, status == 401 {
            head.block.append(name: "WWW-Authenticate".utf8, value: challenge, known: .wwwAuthenticate)
        }
        self.appendProblemFields(to: &head.block)
        self.appendAddedFields(to: &head.block, status: status)
        self.sentFields = head.block
        let isEnd = self.head.method == .head || !hasBody || body.readableBytes == 0
        if !isEnd { self.bodyBytesSent = body.readableBytes }
        self.phase = .answering
        // The connection may begin its next request within the last call.
        self.finish()
        stream.write(head, isEnd: isEnd)
        if !isEnd {
            stream.write(body)
            stream.end(trailers: nil)
        }
    }

    // MARK: - Fields

    func appendStandardFields(to block: inout FieldBlock) {
        let settings = self.location?.settings
        block.append("Server", GatewayProduct.name(settings?.showsVersion ?? true), .server)
        block.append(name: "Date".utf8, value: self.worker.date, known: .date)
        if self.location?.proxy.carriesContext ?? false {
            self.appendRequestID(to: &block)
        }
    }

    func appendAddedFields(to block: inout FieldBlock, status: UInt16) {
        guard let location, !location.addedFields.isEmpty else { return }
        let isUsual = [200, 201, 204, 206, 301, 302, 303, 304, 307, 308].contains(status)
        for added in location.addedFields where isUsual || added.isAlways {
            let value = added.field.value.evaluated(in: self)
            guard value.readableBytes > 0 else { continue }
            block.append(name: added.field.name, value: value.readableBytesView, known: added.field.known)
        }
    }

    func ensureRequestID() -> RequestID {
        if let requestID { return requestID }
        let id = self.worker.nextRequestID()
        self.requestID = id
        return id
    }
}

extension FieldBlock {
    mutating func append(_ name: StaticString, _ value: StaticString, _ known: KnownField) {
        let start = self.bytes.readableBytes
        let nameCount = self.bytes.writeStaticString(name)
        let valueCount = self.bytes.writeStaticString(value)
        self.fields.append(
            Field(
                name: ByteRange(start: start, count: nameCount),
                value: ByteRange(start: start + nameCount, count: valueCount),
                known: known
            )
        )
    }

    mutating func append(_ name: StaticString, _ value: String, _ known: KnownField) {
        let start = self.bytes.readableBytes
        let nameCount = self.bytes.writeStaticString(name)
        let valueCount = self.bytes.writeString(value)
        self.fields.append(
            Field(
                name: ByteRange(start: start, count: nameCount),
                value: ByteRange(start: start + nameCount, count: valueCount),
                known: known
            )
        )
    }
}

/// Under which name the gateway answers.
enum GatewayProduct {
    static func name(_ showsVersion: Bool) -> StaticString { showsVersion ? "parley/0.1.0" : "parley" }
}
