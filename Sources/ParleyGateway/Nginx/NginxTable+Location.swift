extension NginxTable {
    mutating func addLocation() {
        let levels = NginxContexts.everyLevel
        self.add("internal", .location, 0...0, repeats: true) { (_, scope, _) in scope.isInternal = true }
        self.add("stub_status", [.server, .location], 0...1, repeats: true) {
            (_, scope, directive) throws(NginxProblem) in
            guard scope.context == .location else {
                throw directive.problem("is supported only in a location", hint: "location = /status { stub_status; }")
            }
            scope.action = .stubStatus
        }
        self.add("client_max_body_size", levels, 1...1) { (_, scope, directive) throws(NginxProblem) in
            scope.settings.maxBodySize = Int64(try directive.size(allowsGiga: true))
        }
        self.size("client_body_buffer_size", levels) { $0.settings.bodyBufferSize = $1 }
        self.milliseconds("client_body_timeout", levels) { $0.settings.bodyTimeout = $1 }
        self.milliseconds("send_timeout", levels) { $0.settings.sendTimeout = $1 }
        self.milliseconds("keepalive_time", levels) { $0.settings.keepaliveTime = $1 }
        self.number("keepalive_requests", levels) { $0.settings.keepaliveRequests = $1 }
        self.add("keepalive_timeout", levels, 1...2) { (_, scope, directive) throws(NginxProblem) in
            scope.settings.keepaliveTimeout = try directive.milliseconds()
            // The second is only told to the client, which has no use for it.
            if directive.arguments.count == 2, NginxValue.seconds(directive.argument(1).bytes) == nil {
                throw directive.problem("invalid value")
            }
        }
        self.text("default_type", levels) { $0.settings.defaultType = $1 }
        self.flag("absolute_redirect", levels) { $0.settings.isAbsoluteRedirect = $1 }
        self.flag("port_in_redirect", levels) { $0.settings.isPortInRedirect = $1 }
        self.flag("server_name_in_redirect", levels) { $0.settings.isServerNameInRedirect = $1 }
        self.choice("server_tokens", levels, ["on": true, "off": false, "build": true]) {
            $0.settings.showsVersion = $1
        }
        self.choice("satisfy", levels, ["all": false, "any": true]) { $0.settings.satisfiesAny = $1 }
        self.list("error_page", levels, 2...Int.max, reset: { $0.settings.errorPages = [] }) {
            (reader, scope, directive) throws(NginxProblem) in
            scope.settings.errorPages += try reader.errorPages(directive)
        }
        self.list("add_header", levels, 2...3, reset: { $0.settings.addedFields = [] }) {
            (reader, scope, directive) throws(NginxProblem) in
            var field = AddedField(
                name: try directive.fieldName(),
                value: try reader.template(directive.argument(1))
            )
            if directive.arguments.count == 3 {
                guard directive.argument(2).text == "always" else {
                    throw directive.invalidParameter(directive.argument(2), hint: "only \"always\" can follow")
                }
                field.isAlways = true
            }
            scope.settings.addedFields.append(field)
        }
        self.addAccess()
        self.addCompression()
    }

    private mutating func addAccess() {
        let levels = NginxContexts.everyLevel
        for (name, isAllowed) in [("allow", true), ("deny", false)] {
            self.list(name, levels, 1...1, group: "access", reset: { $0.settings.access = [] }) {
                (reader, scope, directive) throws(NginxProblem) in
                let word = directive.argument(0)
                let block = word.text == "all" ? nil : try reader.block(word, directive)
                scope.settings.access.append(AccessRule(isAllowed: isAllowed, block: block))
            }
        }
        self.add("auth_basic", levels, 1...1) { (reader, scope, directive) throws(NginxProblem) in
            let realm = try reader.template(directive.argument(0))
            scope.auth.realm = directive.argument(0).text == "off" ? nil : realm
        }
        self.path("auth_basic_user_file", levels) { $0.auth.userFile = $1 }
        self.list("set_real_ip_from", levels, 1...1, reset: { $0.realIP.trusted = [] }) {
            (reader, scope, directive) throws(NginxProblem) in
            scope.realIP.trusted.append(try reader.block(directive.argument(0), directive))
        }
        self.add("real_ip_header", levels, 1...1) { (_, scope, directive) throws(NginxProblem) in
            let name = directive.argument(0).text
            scope.realIP.source = name == "proxy_protocol" ? .proxyProtocol : .field(try directive.fieldName())
        }
        self.flag("real_ip_recursive", levels) { $0.realIP.isRecursive = $1 }
    }

    private mutating func addCompression() {
        let levels = NginxContexts.everyLevel
        self.flag("gzip", levels) { $0.compresses = $1 }
        self.number("gzip_comp_level", levels, in: 1...9) { $0.compression.level = $1 }
        self.size("gzip_min_length", levels) { $0.compression.minLength = $1 }
        self.flag("gzip_vary", levels) { $0.compression.addsVary = $1 }
        self.choice("gzip_http_version", levels, ["1.0": false, "1.1": true]) { $0.compression.minVersionIs11 = $1 }
        self.list("gzip_types", levels, 1...Int.max, reset: { $0.compression.types = ["text/html"] }) {
            (_, scope, directive) in
            for word in directive.arguments where !scope.compression.types.contains(word.text.lowercased()) {
                scope.compression.types.append(word.text.lowercased())
            }
        }
        self.list("gzip_proxied", levels, 1...Int.max, reset: { $0.compression.compressesProxied = false }) {
            (_, scope, directive) throws(NginxProblem) in
            let known = [
                "off", "expired", "no-cache", "no-store", "private", "no_last_modified", "no_etag", "auth", "any",
            ]
            for word in directive.arguments {
                guard known.contains(word.text.lowercased()) else { throw directive.invalid(word) }
                guard ["off", "any"].contains(word.text.lowercased()) else {
                    throw NginxProblem(
                        "\"gzip_proxied \(word.text)\" is not supported",
                        at: word.place,
                        hint: "write off or any"
                    )
                }
            }
            scope.compression.compressesProxied = directive.arguments.contains { $0.text.lowercased() == "any" }
        }
    }
}

extension NginxDirective {
    /// A name of a header field. What is no token would break the head, so it is refused here and not there.
    func fieldName() throws(NginxProblem) -> String {
        let word = self.argument(0)
        guard !word.bytes.isEmpty, word.bytes.allSatisfy(Self.isTokenByte) else {
            throw NginxProblem("invalid header name \"\(word.text)\"", at: word.place, hint: "letters, digits, - and _")
        }
        return word.text
    }

    private static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        case 0x21, 0x23, 0x24, 0x25, 0x26, 0x27, 0x2A, 0x2B, 0x2D, 0x2E, 0x5E, 0x5F, 0x60, 0x7C, 0x7E: true
        default: false
        }
    }
}

extension NginxReader {
    /// An address or a block of them.
    mutating func block(_ word: NginxWord, _ directive: NginxDirective) throws(NginxProblem) -> CIDR {
        if word.text == "unix:" {
            throw NginxProblem("unix domain sockets are not supported", at: word.place)
        }
        guard let block = CIDR(word.text) else {
            throw directive.invalidParameter(word, hint: "an address or a block: 10.0.0.0/8, 2001:db8::/32")
        }
        if Self.hasHostBits(word) { self.warn("low address bits of \(word.text) are meaningless", at: word.place) }
        return block
    }

    private static func hasHostBits(_ word: NginxWord) -> Bool {
        let parts = word.text.split(separator: "/")
        guard parts.count == 2, let address = parts.first.flatMap({ IPAddress(String($0)) }), var length = Int(parts[1])
        else { return false }
        if address.wasMapped { length -= 96 }
        for byte in address.bytes {
            let kept = max(0, min(8, length))
            if kept < 8, byte & (0xFF >> UInt8(kept)) != 0 { return true }
            length -= 8
        }
        return false
    }

    mutating func errorPages(_ directive: NginxDirective) throws(NginxProblem) -> [ErrorPage] {
        var words = directive.arguments
        guard let last = words.popLast() else { return [] }
        var status = ErrorPage.Status.unchanged
        if let word = words.last, word.bytes.first == 0x3D {
            words.removeLast()
            guard !words.isEmpty else { throw directive.invalid(word) }
            if word.bytes.count == 1 {
                status = .answered
            } else {
                guard let number = NginxValue.number(word.bytes.dropFirst()), number <= 999 else {
                    throw directive.invalid(word)
                }
                status = .replaced(number)
            }
        }
        let target = try self.template(last)
        var statuses: [Int] = []
        // These never leave nginx under their own number.
        var internalStatuses: [Int] = []
        for word in words {
            guard let number = NginxValue.number(word.bytes), number != 499 else { throw directive.invalid(word) }
            guard (300...599).contains(number) else {
                throw NginxProblem("value \"\(word.text)\" must be between 300 and 599", at: word.place)
            }
            if status == .unchanged, (494...497).contains(number) {
                internalStatuses.append(number)
            } else {
                statuses.append(number)
            }
        }
        var pages: [ErrorPage] = []
        if !statuses.isEmpty { pages.append(ErrorPage(statuses: statuses, status: status, target: target)) }
        if !internalStatuses.isEmpty {
            pages.append(ErrorPage(statuses: internalStatuses, status: .replaced(400), target: target))
        }
        return pages
    }
}
