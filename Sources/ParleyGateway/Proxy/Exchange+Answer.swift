internal import NIOCore
internal import ParleyCore

extension Exchange {
    // MARK: - Answers of the gateway's own

    /// The gateway cannot, or will not, do what was asked: an error page, or the page for the status.
    func fail(_ status: UInt16, _ flags: ResponseFlags, _ why: @autoclosure () -> String) {
        self.flags.formUnion(flags)
        if self.why.isEmpty { self.why = why() }
        self.dropKey()
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
        self.status = 0
        let isRedirect = [301, 302, 303, 307, 308].contains(self.errorStatus)
        let redirectStatus = isRedirect ? self.errorStatus : 302
        self.errorStatus = 0
        self.redirect(redirectStatus, to: target)
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
        if status >= 400, self.isCall { return self.failCall(self.errorStatus > 0 ? self.errorStatus : visible) }
        let closes = self.closesAfter || [400, 413, 414, 494, 495, 496, 497, 500, 501].contains(status)
        let body: ByteBuffer?
        let type: StaticString
        if self.plan.model.errorFormat == .problem {
            type = "application/problem+json"
            body = status < 400 ? nil : self.problemBody(visible)
        } else {
            type = "text/html"
            body = ErrorBody.html(status, product: GatewayProduct.name(self.location?.settings.showsVersion ?? true))
        }
        self.answer(visible, type: body == nil ? "" : type, body: body ?? ByteBuffer(), closes: closes)
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
        let body =
            RedirectLocation.page(status: Int(status), server: "\(GatewayProduct.name(settings.showsVersion))")
            ?? ByteBuffer()
        self.answer(status, type: "text/html", body: body, closes: false)
    }

    /// A text of the configuration.
    func respond(_ status: UInt16, text: ByteBuffer, type: StaticString? = nil) {
        self.answer(status, type: type, body: text, closes: false)
    }

    private func answer(_ status: UInt16, type: StaticString?, body: ByteBuffer, closes: Bool) {
        let status = self.errorStatus > 0 ? self.errorStatus : status
        self.status = status
        self.isOwnAnswer = true
        var head = ResponseHead(status: status, keepsAlive: !closes)
        head.block.bytes.reserveCapacity(256)
        self.appendStandardFields(to: &head.block)
        let hasBody = status != 204 && status != 304
        if status != 204 {
            head.block.bytes.reserveCapacity(minimumWritableBytes: 64)
            if let type {
                if type.utf8CodeUnitCount > 0 { head.block.append("Content-Type", type, .contentType) }
            } else {
                head.block.append("Content-Type", self.typeOfPath, .contentType)
            }
            head.block.append("Content-Length", Int64(body.readableBytes), .contentLength)
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
        self.sentFields = head.block
        self.appendAddedFields(to: &head.block, status: status)
        self.deliver(head, hasBody ? body : ByteBuffer())
    }

    /// An answer that is there as a whole.
    func deliver(_ head: ResponseHead, _ body: ByteBuffer) {
        guard let stream = self.stream else { return }
        var head = head
        if !self.corsFields.isEmpty { CORSPolicy.apply(self.corsFields, to: &head) }
        let body = self.compressed(body, &head)
        self.sentFields = head.block
        let isEnd = self.head.method == .head || body.readableBytes == 0
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

    /// By the ending of the path (`types`), else `default_type`.
    private var typeOfPath: String {
        guard let settings = self.location?.settings else { return "text/plain" }
        let path = self.rewriteState.path.readableBytesView
        // Endings are short; a long one is part of a name.
        guard let dot = path.suffix(32).lastIndex(of: UInt8(ascii: ".")),
            !path[dot...].contains(UInt8(ascii: "/"))
        else { return settings.defaultType }
        let ending = String(decoding: path[(dot + 1)...], as: UTF8.self).lowercased()
        return settings.types[ending] ?? settings.defaultType
    }

    /// The whole body of an answer of the gateway's own.
    private func compressed(_ body: ByteBuffer, _ head: inout ResponseHead) -> ByteBuffer {
        guard self.prepareCompression(&head), let encoder = self.encoder else { return body }
        self.encoder = nil
        do throws(GzipError) {
            var output = try encoder.write(body) ?? ByteBuffer()
            let rest = try encoder.finish()
            output.writeImmutableBuffer(rest)
            return output
        } catch {
            // Out of memory: the head already says that it is compressed.
            return ByteBuffer()
        }
    }

    /// Whether the body goes through ``encoder`` from now on; the head says so.
    func prepareCompression(_ head: inout ResponseHead) -> Bool {
        guard let policy = self.location?.compression else { return false }
        let outcome = policy.outcome(request: self.head, response: head)
        guard outcome == .compressed, self.head.method != .head else {
            policy.apply(outcome, to: &head, clientVersion: self.head.version)
            return false
        }
        var length: Int64?
        if case .length(let known) = head.framing { length = known }
        guard let encoder = try? GzipEncoder(level: policy.level, length: length) else { return false }
        policy.apply(outcome, to: &head, clientVersion: self.head.version)
        self.encoder = encoder
        return true
    }

    // MARK: - Fields

    /// - Parameter hidden: Of an answer that is passed on: what is taken out of it, and said by the gateway instead.
    func appendStandardFields(to block: inout FieldBlock, hidden: FieldNameSet? = nil) {
        if hidden?.contains(.server) ?? true {
            block.append("Server", GatewayProduct.name(self.location?.settings.showsVersion ?? true), .server)
        }
        if hidden?.contains(.date) ?? true { block.append(name: "Date".utf8, value: self.worker.date, known: .date) }
        if self.location?.proxy.carriesContext ?? false {
            self.appendRequestID(to: &block)
        }
    }

    func appendAddedFields(to block: inout FieldBlock, status: UInt16) {
        guard let location, !location.addedFields.isEmpty else { return }
        let isUsual = [200, 201, 204, 206, 301, 302, 303, 304, 307, 308].contains(status)
        for added in location.addedFields where isUsual || added.isAlways {
            let value = added.field.value.evaluated(in: self)
            if added.field.known == .etag || added.field.known == .lastModified {
                // Of these there is one.
                block.fields.removeAll { $0.known == added.field.known }
            }
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

    mutating func append(_ name: StaticString, _ value: Int64, _ known: KnownField) {
        let start = self.bytes.readableBytes
        let nameCount = self.bytes.writeStaticString(name)
        let valueCount = self.bytes.writeDecimal(value)
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
