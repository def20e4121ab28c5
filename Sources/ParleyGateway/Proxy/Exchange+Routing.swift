internal import NIOCore
internal import ParleyCore

extension Exchange: RewriteScope {
    private func target() -> ByteBuffer {
        let bytes = self.head.block.bytes
        let start = bytes.readerIndex + self.head.target.lowerBound
        return bytes.getSlice(at: start, length: Int(self.head.target.count)) ?? ByteBuffer()
    }

    var rawTarget: ByteBuffer { self.target() }

    /// Finds the server and the location, and goes on from there.
    func route() {
        guard let connection = self.connection else { return }
        let socket = connection.socket
        let fallback = socket.fallback
        self.server = fallback
        self.location = fallback.outside
        let authority = self.head.block.bytes.getSlice(
            at: self.head.block.bytes.readerIndex + self.head.authority.lowerBound,
            length: Int(self.head.authority.count)
        )
        if let authority, authority.readableBytes > 0 {
            do {
                self.host = try RequestHost(authority.readableBytesUInt8Span).text(of: authority)
            } catch {
                return self.fail(400, .clientProtocolError, "the host is not valid")
            }
        }
        let found = socket.table.find(self.host, scratch: self.worker.regexes, variables: &self.rewriteState.variables)
        let server = socket.servers[found]
        self.server = server
        self.location = server.outside
        self.stream?.apply(server.outside.timing, now: self.started)
        let target = self.target()
        do {
            let uri = try RequestURI(
                target.readableBytesUInt8Span,
                mergesSlashes: server.model.connection.mergesSlashes
            )
            var state = RewriteState(uri, target: target)
            swap(&state.variables, &self.rewriteState.variables)
            self.rewriteState = state
            if server.model.connection.refusesMisleadingPaths, !uri.isWholePath(of: target),
                RequestPath(String(buffer: target)) == nil
            {
                self.problem = .badPath
                return self.fail(400, .clientProtocolError, "the path could mean something else to a service")
            }
        } catch {
            self.problem = .badPath
            return self.fail(400, .clientProtocolError, "\(error)")
        }
        if let rules = server.outside.settings.realIP { self.findRealAddress(rules) }
        if self.head.method == .trace || self.head.method == .connect {
            self.closesAfter = true
            return self.fail(405, .clientProtocolError, "\(self.head.method) is not forwarded")
        }
        if !server.rewrites.isEmpty,
            self.goesOn(server.rewrites.run(in: self, at: RewriteProgram.Place.server, scratch: self.worker.regexes))
                == false
        {
            return
        }
        self.locate()
    }

    func findRealAddress(_ rules: RealIP) {
        guard let connection = self.connection, let peer = IPAddress(bytes: connection.client.bytes).ifWhole else {
            return
        }
        var values: [String] = []
        switch rules.source {
        case .proxyProtocol:
            values = [connection.proxied?.address].compactMap { $0 }
        case .field(let name):
            let wanted = Array(name.lowercased().utf8)
            for field in self.head.block.fields where Int(field.name.count) == wanted.count {
                let isSame = zip(self.head.block.view(field.name), wanted).allSatisfy {
                    AccessText.lowercased($0) == $1
                }
                if isSame { values.append(self.head.block.text(field.value)) }
            }
        }
        guard let client = RealAddress.client(values, peer: peer, rules: rules) else { return }
        self.client = ClientAddress(client.address, port: client.port ?? 0)
    }

    /// Looks for the location of the path, again after each change of it.
    func locate() {
        guard let server = self.server else { return }
        while true {
            guard
                let found = server.table.find(
                    self.rewriteState.path,
                    head: self.head,
                    scratch: self.worker.regexes,
                    variables: &self.rewriteState.variables
                )
            else {
                self.location = server.outside
                return self.fail(self.notFoundStatus, .noRoute, "no location for this path")
            }
            let location = server.locations[found.index]
            self.location = location
            if location.model.isInternal, !self.rewriteState.isInternal {
                return self.fail(404, .noRoute, "the location is internal")
            }
            if found.lacksSlash {
                let path = server.table.slashRedirect(to: found.index, args: self.rewriteState.args)
                return self.redirect(301, to: path)
            }
            self.stream?.apply(location.timing, now: self.started)
            if self.isBodyTooLarge(location) { return self.fail(413, .bodyTooLarge, "the body is larger than allowed") }
            if location.rewrites.isEmpty { return self.limitRequests() }
            let result = location.rewrites.run(
                in: self,
                at: RewriteProgram.Place.location,
                scratch: self.worker.regexes
            )
            if result == .relocate { continue }
            if self.goesOn(result) { self.limitRequests() }
            return
        }
    }

    /// As nginx's files: there is nothing to read, and nothing may be written.
    var notFoundStatus: UInt16 { self.head.method.isReadOfFile ? 404 : 405 }

    private func isBodyTooLarge(_ location: CompiledLocation) -> Bool {
        let limit = location.settings.maxBodySize
        guard limit > 0, case .length(let length) = self.head.framing else { return false }
        return length > limit
    }

    func willRespond(_ status: Int) { self.status = UInt16(clamping: status) }

    /// Carries out what rewrite rules have decided; `true` when nothing has been.
    func goesOn(_ result: RewriteResult) -> Bool {
        switch result {
        case .next, .relocate:
            return true
        case .respond(let status, let text):
            if text == nil, status == 408 || status == 499 {
                // nginx ends the connection for these, whoever says them.
                return self.goesOn(.close)
            } else if let text {
                self.respond(UInt16(clamping: status), text: text)
            } else {
                self.fail(UInt16(clamping: status), [], "return \(status)")
            }
        case .redirect(let status, let location):
            self.redirect(UInt16(clamping: status), to: location)
        case .failed(let failure):
            self.fail(500, .internalError, failure.description)
        case .close:
            self.status = 444
            self.why = "return 444"
            let stream = self.stream
            self.finish()
            stream?.abort(.unanswered)
        }
        return false
    }
}
