extension NginxTable {
    /// `proxy_…` and `grpc_…` are two families with the same members; what follows is written once for both.
    typealias ProxyPath = @Sendable (inout NginxScope, (inout ProxySettings) -> Void) -> Void

    mutating func addProxy() {
        self.addFamily("proxy", isGRPC: false) { scope, change in change(&scope.settings.proxy) }
        self.addFamily("grpc", isGRPC: true) { scope, change in change(&scope.grpc) }
        self.addProxyOnly()
        self.addCookies()
    }

    private mutating func addFamily(_ prefix: String, isGRPC: Bool, _ settings: @escaping ProxyPath) {
        let levels = NginxContexts.everyLevel
        self.add("\(prefix)_pass", .location, 1...1) { (reader, scope, directive) throws(NginxProblem) in
            let target = try reader.target(directive, isGRPC: isGRPC, in: scope.match)
            scope.action = .proxy(target)
        }
        self.milliseconds("\(prefix)_connect_timeout", levels) { scope, time in
            settings(&scope) { $0.connectTimeout = time }
        }
        self.milliseconds("\(prefix)_send_timeout", levels) { scope, time in settings(&scope) { $0.sendTimeout = time }
        }
        self.milliseconds("\(prefix)_read_timeout", levels) { scope, time in settings(&scope) { $0.readTimeout = time }
        }
        self.size("\(prefix)_buffer_size", levels) { scope, size in settings(&scope) { $0.headSize = size } }
        self.flag("\(prefix)_intercept_errors", levels) { scope, isOn in
            settings(&scope) { $0.interceptsErrors = isOn }
        }
        self.list("\(prefix)_set_header", levels, 2...2, reset: { scope in settings(&scope) { $0.setFields = [] } }) {
            (reader, scope, directive) throws(NginxProblem) in
            let field = SetField(name: try directive.fieldName(), value: try reader.template(directive.argument(1)))
            settings(&scope) { $0.setFields.append(field) }
        }
        let hidden = isGRPC ? ProxySettings.grpcHidden : ProxySettings.proxyHidden
        self.list(
            "\(prefix)_hide_header",
            levels,
            1...1,
            reset: { scope in settings(&scope) { $0.hiddenFields = hidden } }
        ) {
            (_, scope, directive) in
            let name = directive.argument(0).text
            settings(&scope) { fields in
                guard !fields.hiddenFields.contains(where: { $0.lowercased() == name.lowercased() }) else { return }
                fields.hiddenFields.append(name)
            }
        }
        self.list("\(prefix)_pass_header", levels, 1...1, reset: { scope in settings(&scope) { $0.passedFields = [] } })
        {
            (_, scope, directive) in
            settings(&scope) { $0.passedFields.append(directive.argument(0).text) }
        }
        let empty: @Sendable (inout NginxScope) -> Void = { scope in settings(&scope) { $0.ignoredFields = [] } }
        self.list("\(prefix)_ignore_headers", levels, 1...Int.max, reset: empty) {
            (_, scope, directive) throws(NginxProblem) in
            let known = ProxySettings.accelerated + ["Expires", "Cache-Control", "Set-Cookie", "Vary"]
            for word in directive.arguments {
                guard let name = known.first(where: { $0.lowercased() == word.text.lowercased() }) else {
                    throw directive.invalid(word)
                }
                settings(&scope) { if !$0.ignoredFields.contains(name) { $0.ignoredFields.append(name) } }
            }
        }
        self.addNextUpstream(prefix, settings)
        self.addUpstreamTLS(prefix, settings)
    }

    private mutating func addNextUpstream(_ prefix: String, _ settings: @escaping ProxyPath) {
        let levels = NginxContexts.everyLevel
        let empty: @Sendable (inout NginxScope) -> Void = { scope in settings(&scope) { $0.nextUpstream.reasons = [] } }
        self.list("\(prefix)_next_upstream", levels, 1...Int.max, reset: empty) {
            (reader, scope, directive) throws(NginxProblem) in
            var reasons: Set<NextUpstream.Reason> = []
            for word in directive.arguments where word.text.lowercased() != "off" {
                guard let reason = NextUpstream.Reason(rawValue: word.text.lowercased()) else {
                    let known = NextUpstream.Reason.allCases.map(\.rawValue) + ["off"]
                    throw NginxProblem(
                        "invalid value \"\(word.text)\"",
                        at: word.place,
                        hint: "one of \(known.joined(separator: ", "))"
                    )
                }
                if !reasons.insert(reason).inserted { reader.warn("duplicate value \"\(word.text)\"", at: word.place) }
            }
            let isOff = directive.arguments.contains { $0.text.lowercased() == "off" }
            settings(&scope) { $0.nextUpstream.reasons = isOff ? [] : $0.nextUpstream.reasons.union(reasons) }
        }
        self.number("\(prefix)_next_upstream_tries", levels) { scope, count in
            settings(&scope) { $0.nextUpstream.tries = count }
        }
        self.milliseconds("\(prefix)_next_upstream_timeout", levels) { scope, time in
            settings(&scope) { $0.nextUpstream.timeout = time }
        }
    }

    private mutating func addUpstreamTLS(_ prefix: String, _ settings: @escaping ProxyPath) {
        let levels = NginxContexts.everyLevel
        self.flag("\(prefix)_ssl_verify", levels) { scope, isOn in settings(&scope) { $0.tls.verifies = isOn } }
        self.flag("\(prefix)_ssl_server_name", levels) { scope, isOn in
            settings(&scope) { $0.tls.sendsServerName = isOn }
        }
        self.add("\(prefix)_ssl_name", levels, 1...1) { (_, scope, directive) throws(NginxProblem) in
            let word = directive.argument(0)
            if word.text == "$proxy_host" {
                settings(&scope) { $0.tls.name = nil }
                return
            }
            guard !word.bytes.contains(0x24) else {
                throw NginxProblem(
                    "variables in the name of a certificate are not supported",
                    at: word.place,
                    hint: "write the name, or $proxy_host"
                )
            }
            settings(&scope) { $0.tls.name = word.text }
        }
        self.path("\(prefix)_ssl_trusted_certificate", levels) { scope, path in
            settings(&scope) { $0.tls.authorities = path }
        }
        self.add("\(prefix)_ssl_certificate", levels, 1...1) { (reader, scope, directive) throws(NginxProblem) in
            let path = directive.argument(0).bytes.isEmpty ? nil : try reader.path(directive.argument(0))
            settings(&scope) { $0.tls.certificate = path }
        }
        self.add("\(prefix)_ssl_certificate_key", levels, 1...1) { (reader, scope, directive) throws(NginxProblem) in
            let path = directive.argument(0).bytes.isEmpty ? nil : try reader.path(directive.argument(0))
            settings(&scope) { $0.tls.key = path }
        }
    }

    private mutating func addProxyOnly() {
        let levels = NginxContexts.everyLevel
        self.choice(
            "proxy_http_version",
            levels,
            ["1.0": ProxySettings.WireVersion.http10, "1.1": .http11, "2": .http2]
        ) { $0.settings.proxy.version = $1 }
        self.flag("proxy_pass_request_headers", levels) { $0.settings.proxy.passesRequestFields = $1 }
        self.flag("proxy_pass_request_body", levels) { $0.settings.proxy.passesRequestBody = $1 }
        self.flag("proxy_buffering", levels) { $0.settings.proxy.isBuffering = $1 }
        self.flag("proxy_request_buffering", levels) { $0.settings.proxy.isRequestBuffering = $1 }
        self.flag("proxy_ignore_client_abort", levels) { $0.settings.proxy.ignoresClientAbort = $1 }
        self.add("proxy_method", levels, 1...1) { (reader, scope, directive) throws(NginxProblem) in
            scope.settings.proxy.method = try reader.template(directive.argument(0))
        }
        self.add("proxy_buffers", levels, 2...2) { (_, scope, directive) throws(NginxProblem) in
            let (count, size) = try directive.buffers()
            scope.proxyBuffers.count = count
            scope.proxyBuffers.size = size
            scope.settings.proxy.bufferedBytes = count * size
        }
        self.size("proxy_busy_buffers_size", levels) { $0.proxyBuffers.busy = $1 }
    }

    private mutating func addCookies() {
        let levels = NginxContexts.everyLevel
        self.list("proxy_redirect", levels, 1...2, reset: { $0.settings.proxy.redirects = .rules([]) }) {
            (reader, scope, directive) throws(NginxProblem) in
            try reader.redirect(directive, &scope)
        }
        self.list("proxy_cookie_domain", levels, 1...2, reset: { $0.settings.proxy.cookieDomains = [] }) {
            (reader, scope, directive) throws(NginxProblem) in
            guard let replacement = try reader.replacement(directive, ignoresCase: true) else { return }
            scope.settings.proxy.cookieDomains.append(replacement)
        }
        self.list("proxy_cookie_path", levels, 1...2, reset: { $0.settings.proxy.cookiePaths = [] }) {
            (reader, scope, directive) throws(NginxProblem) in
            guard let replacement = try reader.replacement(directive, ignoresCase: false) else { return }
            scope.settings.proxy.cookiePaths.append(replacement)
        }
    }
}
