extension NginxReader {
    // MARK: proxy_pass, grpc_pass

    mutating func target(
        _ directive: NginxDirective,
        isGRPC: Bool,
        in match: LocationModel.Match?
    ) throws(NginxProblem) -> ProxyTarget {
        let word = directive.argument(0)
        let (scheme, rest) = try Self.scheme(word, isGRPC: isGRPC)
        guard !rest.bytes.contains(0x24) else {
            return try self.variableTarget(scheme, rest, written: word)
        }
        let address = try Self.address(rest, written: word)
        if isGRPC, address.uri != nil {
            throw NginxProblem("invalid host in upstream \"\(rest.text)\"", at: word.place, hint: "without a path")
        }
        let usual = scheme == .https || scheme == .grpcs ? 443 : 80
        let host =
            address.port == nil || address.port == usual
            ? address.writtenHost : "\(address.writtenHost):\(address.port ?? usual)"
        var target = ProxyTarget(
            scheme: scheme,
            destination: .upstream(self.upstreamName(address, usual, word)),
            host: host
        )
        if let uri = address.uri {
            switch match {
            case .regex, .named:
                throw NginxProblem(
                    "\"proxy_pass\" cannot have URI part in location given by regular expression, or inside named "
                        + "location, or inside \"if\" statement, or inside \"limit_except\" block",
                    at: word.place,
                    hint: "leave out \"\(String(decoding: uri, as: UTF8.self))\""
                )
            case .exact, .prefix, .segments, nil: target.uri = Template(parts: [.text(uri)])
            }
        }
        return target
    }

    private static func scheme(
        _ word: NginxWord,
        isGRPC: Bool
    ) throws(NginxProblem) -> (ProxyTarget.Scheme, NginxWord) {
        let schemes: [ProxyTarget.Scheme] = isGRPC ? [.grpcs, .grpc] : [.https, .http]
        for scheme in schemes {
            let prefix = Array("\(scheme.rawValue)://".utf8)
            if word.bytes.prefix(prefix.count).map({ $0 | 0x20 }) == prefix.map({ $0 | 0x20 }) {
                return (scheme, word.dropping(prefix.count))
            }
        }
        if word.bytes.first == 0x24 {
            throw NginxProblem(
                "\"\(word.text)\" begins with a variable, which is not supported",
                at: word.place,
                hint: "write the scheme: \(isGRPC ? "grpc" : "http")://$name"
            )
        }
        // A gRPC service may be written without.
        if isGRPC { return (.grpc, word) }
        throw NginxProblem("invalid URL prefix", at: word.place, hint: "http:// or https://")
    }

    private static func address(_ rest: NginxWord, written word: NginxWord) throws(NginxProblem) -> NginxAddress {
        do {
            return try NginxAddress(rest.bytes, for: .pass)
        } catch {
            throw NginxProblem("\(error.reason) in upstream \"\(rest.text)\"", at: word.place)
        }
    }

    /// The upstream that is meant. A host that no `upstream` names becomes one with a single server, once for each
    /// port.
    private mutating func upstreamName(_ address: NginxAddress, _ usual: Int, _ word: NginxWord) -> String {
        if let name = self.upstreamNames[address.writtenHost.lowercased()] {
            if let port = address.port {
                self.reportLate("upstream \"\(name)\" may not have port \(port)", at: word.place)
            }
            return name
        }
        let port = address.port ?? usual
        let name = "\(address.writtenHost):\(port)".lowercased()
        if self.upstreamNames[name] == nil, self.implicitUpstreams.insert(name).inserted {
            let peer = PeerModel(host: address.host, port: port, name: name)
            self.model.upstreams.append(UpstreamModel(name: name, instances: .fixed([peer])))
        }
        return name
    }

    /// With variables: what is before the path is looked up for each request, and the path is sent as it is.
    private mutating func variableTarget(
        _ scheme: ProxyTarget.Scheme,
        _ rest: NginxWord,
        written word: NginxWord
    ) throws(NginxProblem) -> ProxyTarget {
        var authority = Template("")
        var uri = Template("")
        for part in try self.template(rest).parts {
            guard uri.isEmpty else {
                uri.parts.append(part)
                continue
            }
            switch part {
            case .variable(.requestURI), .variable(.uri), .variable(.documentURI): uri.parts.append(part)
            case .variable: authority.parts.append(part)
            case .text(let bytes):
                let host = bytes.prefix { $0 != 0x2F && $0 != 0x3F }
                if !host.isEmpty { authority.parts.append(.text(Array(host))) }
                if host.count < bytes.count { uri.parts.append(.text(Array(bytes.dropFirst(host.count)))) }
            }
        }
        guard !authority.isEmpty else { throw NginxProblem("no host in upstream \"\(rest.text)\"", at: word.place) }
        let path = uri.isEmpty ? nil : uri
        guard let constant = authority.constant else {
            return ProxyTarget(
                scheme: scheme,
                destination: .template(authority),
                host: Self.authorityText(rest),
                uri: path
            )
        }
        let host = NginxWord(bytes: constant, place: rest.place)
        let address = try Self.address(host, written: word)
        let usual = scheme == .https || scheme == .grpcs ? 443 : 80
        return ProxyTarget(
            scheme: scheme,
            destination: .upstream(self.upstreamName(address, usual, word)),
            host: host.text,
            uri: path
        )
    }

    private static func authorityText(_ word: NginxWord) -> String {
        String(decoding: word.bytes.prefix { $0 != 0x2F && $0 != 0x3F }, as: UTF8.self)
    }

    // MARK: proxy_redirect, proxy_cookie_domain, proxy_cookie_path

    mutating func redirect(_ directive: NginxDirective, _ scope: inout NginxScope) throws(NginxProblem) {
        guard case .rules(var rules) = scope.settings.proxy.redirects else { throw directive.problem("is duplicate") }
        let word = directive.argument(0)
        if directive.arguments.count == 1 {
            switch word.text {
            case "off":
                guard rules.isEmpty else { throw directive.problem("is duplicate") }
                scope.settings.proxy.redirects = .off
                return
            case "default":
                guard case .proxy(let target)? = scope.action, scope.seen.contains("proxy_pass") else {
                    throw NginxProblem(
                        "\"proxy_redirect default\" should be placed after the \"proxy_pass\" directive",
                        at: word.place
                    )
                }
                if target.wasWrittenWithVariables {
                    throw NginxProblem(
                        "\"proxy_redirect default\" cannot be used with \"proxy_pass\" directive with variables",
                        at: word.place
                    )
                }
                rules.append(Redirects.Rule(pattern: .standard, replacement: Template("")))
            default: throw directive.invalidParameter(word, hint: "off, default, or what becomes what")
            }
        } else {
            let pattern: Redirects.Rule.Pattern
            if let regex = self.tildeRegex(word) {
                pattern = .regex(regex)
            } else {
                pattern = .prefix(try self.template(word))
            }
            rules.append(Redirects.Rule(pattern: pattern, replacement: try self.template(directive.argument(1))))
        }
        scope.settings.proxy.redirects = .rules(rules)
    }

    /// `nil` for `off`.
    mutating func replacement(
        _ directive: NginxDirective,
        ignoresCase: Bool
    ) throws(NginxProblem) -> Replacement? {
        let word = directive.argument(0)
        guard directive.arguments.count == 2 else {
            guard word.text == "off" else { throw directive.invalidParameter(word) }
            return nil
        }
        let value = try self.template(directive.argument(1))
        if let regex = self.tildeRegex(word) {
            let pattern = RegexModel(pattern: regex.pattern, ignoresCase: regex.ignoresCase || ignoresCase)
            return Replacement(pattern: .regex(pattern), replacement: value)
        }
        guard !word.bytes.contains(0x24) else {
            throw NginxProblem("a variable in what is replaced is not supported", at: word.place)
        }
        return Replacement(pattern: .text(word.text), replacement: value)
    }

    // MARK: the end

    /// What shows only when everything is read.
    mutating func finish(isWhole: Bool, cores: Int) {
        for use in self.zoneUses {
            guard let kind = self.zones[use.name.text] else {
                let near = NginxUnsupported.nearest(to: use.name.text, among: Array(self.zones.keys))
                self.reportLate(
                    "zero size shared memory zone \"\(use.name.text)\"",
                    at: use.name.place,
                    hint: near.map { "did you mean \"\($0)\"?" }
                        ?? "declare it: \(use.kind == .requests ? "limit_req_zone" : "limit_conn_zone")"
                )
                continue
            }
            if kind != use.kind {
                self.report(
                    NginxProblem(
                        "the shared memory zone \"\(use.name.text)\" is already declared for a different use",
                        at: use.name.place
                    )
                )
            }
        }
        self.finishListeners()
        if isWhole {
            let workers = self.model.workers ?? cores
            let (all, isTooMany) = (self.workerConnections ?? 512).multipliedReportingOverflow(by: workers)
            self.model.maxConnections = isTooMany ? Int(Int32.max) : max(1, min(all, Int(Int32.max)))
        }
    }
}
