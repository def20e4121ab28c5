extension NginxReader {
    mutating func server(_ directive: NginxDirective, _ outer: NginxScope) {
        var scope = outer.inner(.server)
        scope.server.http2 = outer.server.http2
        let locations = self.level(directive.block ?? [], &scope)
        if scope.server.listens.isEmpty {
            let model = ListenModel(port: 80, isTLS: scope.tls.isOn)
            scope.server.listens = [.init(model: model, place: directive.name.place, hasOptions: false)]
        }
        for index in scope.server.listens.indices {
            if scope.tls.isOn { scope.server.listens[index].model.isTLS = true }
            if let http2 = scope.server.http2 { scope.server.listens[index].model.hasHTTP2 = http2 }
        }
        var server = ServerModel(
            listens: scope.server.listens.map(\.model),
            names: scope.server.names.isEmpty ? [.exact("")] : scope.server.names
        )
        server.connection = scope.connection
        server.tls = self.tls(scope, directive)
        server.rewrites = scope.rewrites
        server.locations = locations
        server.settings = scope.finished()
        self.checkBuffers(scope, directive)
        self.model.servers.append(server)
        self.sockets.append((directive.name, scope.server.listens, scope.tls.certificate != nil))
    }

    private mutating func tls(_ scope: NginxScope, _ directive: NginxDirective) -> ServerTLS? {
        guard let certificate = scope.tls.certificate else { return nil }
        guard let key = scope.tls.key else {
            self.reportLate(
                "no \"ssl_certificate_key\" is defined for certificate \"\(certificate.path)\"",
                at: certificate.place
            )
            return nil
        }
        if scope.tls.clientCertificate == .on || scope.tls.clientCertificate == .optional,
            scope.tls.clientAuthorities == nil
        {
            self.reportLate("no ssl_client_certificate for ssl_verify_client", at: directive.name.place)
        }
        var tls = ServerTLS(certificate: certificate.path, key: key)
        tls.versions = scope.tls.versions
        tls.ciphers = scope.tls.ciphers
        tls.clientCertificate = scope.tls.clientCertificate
        tls.clientAuthorities = scope.tls.clientAuthorities
        // nginx has no time of its own for the handshake.
        tls.handshakeTimeout = scope.connection.clientHeaderTimeout
        return tls
    }

    /// As `nginx -t` does: otherwise answers would be larger than what may be under way to the client.
    mutating func checkBuffers(_ scope: NginxScope, _ directive: NginxDirective) {
        let buffers = scope.proxyBuffers
        let largest = max(scope.settings.proxy.headSize, buffers.size)
        let place = directive.end ?? directive.name.place
        guard buffers.count >= 2 else {
            self.reportLate("there must be at least 2 \"proxy_buffers\"", at: place)
            return
        }
        let busy = buffers.busy ?? largest.multipliedReportingOverflow(by: 2).partialValue
        if busy < largest {
            self.reportLate(
                "\"proxy_busy_buffers_size\" must be equal to or greater than the maximum of the value of "
                    + "\"proxy_buffer_size\" and one of the \"proxy_buffers\"",
                at: place
            )
        }
        if busy > (buffers.count - 1) * buffers.size {
            self.reportLate(
                "\"proxy_busy_buffers_size\" must be less than the size of all \"proxy_buffers\" minus one buffer",
                at: place,
                hint: "it is twice the larger of proxy_buffer_size and a buffer when it is not written"
            )
        }
    }

    // MARK: server_name

    func serverName(_ directive: NginxDirective, _ scope: inout NginxScope) throws(NginxProblem) {
        for word in directive.arguments {
            scope.server.names.append(try self.serverName(word))
        }
    }

    private func serverName(_ word: NginxWord) throws(NginxProblem) -> ServerName {
        let name = word.text.lowercased()
        let invalid = NginxProblem("server name \"\(word.text)\" is invalid", at: word.place)
        if word.bytes.first == 0x7E {
            let pattern = word.dropping(1)
            guard !pattern.bytes.isEmpty else {
                throw NginxProblem("empty regex in server name \"~\"", at: word.place)
            }
            // Names are compared in lower case, so a pattern with capitals could never match otherwise.
            return .regex(self.regex(pattern, ignoresCase: pattern.bytes.contains { (0x41...0x5A).contains($0) }))
        }
        if name.hasPrefix("*") {
            guard name.utf8.count >= 3, name.hasPrefix("*.") else { throw invalid }
        }
        if name.hasPrefix("."), name.utf8.count < 2 { throw invalid }
        guard name != "$hostname" else {
            throw NginxProblem("\"$hostname\" is not supported in server_name", at: word.place, hint: "write the name")
        }
        let wildcard = NginxWildcard(name)
        switch wildcard {
        case .none: return .exact(name)
        case .suffix: return .suffix(String(name.dropFirst()))
        case .nameAndSuffix: return .nameAndSuffix(name)
        case .prefix: return .prefix(String(name.dropLast()))
        case .invalid:
            throw NginxProblem(
                "invalid server name or wildcard \"\(word.text)\"",
                at: word.place,
                hint: "a \"*\" stands for whole labels at the beginning or the end: *.example.com, www.example.*",
                isLate: true
            )
        }
    }

    // MARK: resolver

    mutating func resolver(_ directive: NginxDirective) throws(NginxProblem) {
        var resolver = ResolverModel(servers: [])
        for word in directive.arguments {
            if let value = word.value(of: "valid=") {
                guard let seconds = NginxValue.seconds(value.bytes), seconds < Int.max / 1_000 else {
                    throw NginxProblem("invalid parameter: \(word.text)", at: word.place)
                }
                resolver.validMilliseconds = min(seconds * 1_000, NginxValue.longestTime)
            } else if word.value(of: "ipv6=") != nil || word.value(of: "ipv4=") != nil {
                guard word.text.hasSuffix("=on") || word.text == "ipv6=off" else {
                    throw NginxProblem("invalid parameter: \(word.text)", at: word.place)
                }
            } else {
                guard (try? NginxAddress(word.bytes, for: .server)) != nil else {
                    throw NginxProblem("invalid resolver \"\(word.text)\"", at: word.place)
                }
                resolver.servers.append(word.text)
            }
        }
        guard !resolver.servers.isEmpty else { throw directive.problem("names no server") }
        if let other = self.model.resolver, other != resolver {
            throw NginxProblem(
                "another \"resolver\" is in force already",
                at: directive.name.place,
                hint: "the gateway has one for all servers: write it in http"
            )
        }
        self.model.resolver = resolver
    }
}

/// Which part of a host name a `*` or a leading dot stands for.
enum NginxWildcard {
    case none, suffix, nameAndSuffix, prefix, invalid

    init(_ name: String) {
        let bytes = Array(name.utf8)
        let stars = bytes.count { $0 == 0x2A }
        let hasEmptyLabel = zip(bytes, bytes.dropFirst()).contains { $0 == 0x2E && $1 == 0x2E }
        if stars > 1 || hasEmptyLabel || bytes.contains(0) {
            self = .invalid
        } else if bytes.count > 1, bytes.first == 0x2E {
            self = stars == 0 ? .nameAndSuffix : .invalid
        } else if stars == 0 {
            self = .none
        } else if bytes.count > 2, bytes.starts(with: "*.".utf8) {
            self = .suffix
        } else if bytes.count > 2, bytes.suffix(2).elementsEqual(".*".utf8) {
            self = .prefix
        } else {
            self = .invalid
        }
    }
}
