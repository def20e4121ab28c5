import ParleyGateway

/// Models of every shape, the same for the same seed.
struct RandomModel {
    private var state: UInt64
    private let upstreams = ["users", "orders", "a b", "$x"]
    private let zones = ["z1", "z2"]
    private let connectionZones = ["c1", "c2"]
    private let formats = ["main", "short"]
    private let variables = ["backend", "tenant", "v_1"]

    init(seed: UInt64) {
        self.state = seed
    }

    private mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }

    private mutating func number(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + Int(self.next() % UInt64(range.count))
    }

    private mutating func flag() -> Bool { self.next() & 1 == 0 }
    private mutating func one<Value>(of values: [Value]) -> Value { values[self.number(0...(values.count - 1))] }

    private mutating func some<Value>(_ most: Int, _ make: (inout RandomModel) -> Value) -> [Value] {
        (0..<self.number(0...most)).map { _ in make(&self) }
    }

    private mutating func maybe<Value>(_ make: (inout RandomModel) -> Value) -> Value? {
        self.flag() ? make(&self) : nil
    }

    /// Texts that YAML, or our own writing, could take for something else.
    private mutating func text() -> String {
        let words = [
            "plain", "with space", "", "~", "null", "off", "true", "12", "0x1F", "1e3", "- list", "key: value", "#no",
            "a\"b'c\\d", "tab\there", "two\nlines", " leading", "trailing ", "${HOME}", "$${x", "é→😀", "[a]", "{a}",
            "*alias", "&anchor", "!tag", "%x", "@at", "`tick", "a,b", "2026-11-23", "?", ":", "|", ">", "=", "<<",
        ]
        return self.one(of: words)
    }

    private mutating func name() -> String { self.one(of: ["alpha", "beta", "gamma-1", "delta.x", "X-Name", "off"]) }

    private mutating func template() -> Template {
        var parts: [Template.Part] = []
        for _ in 0..<self.number(0...4) {
            if self.flag() {
                let text = Array(self.one(of: ["a", "/x/", "$", "${", "1", "_b", "}", " ", "é", "~", ":"]).utf8)
                // Two texts beside each other are one.
                if case .text(let last) = parts.last {
                    parts[parts.count - 1] = .text(last + text)
                } else {
                    parts.append(.text(text))
                }
            } else {
                parts.append(.variable(self.variable()))
            }
        }
        return Template(parts: parts)
    }

    private mutating func variable() -> Variable {
        switch self.number(0...9) {
        case 0: .argument("q1")
        case 1: .cookie("sid")
        case 2: .requestField("x_name")
        case 3: .responseField("etag")
        case 4: .upstreamField("server")
        case 5: .capture(self.number(1...9))
        case 6: .named(self.one(of: self.variables))
        case 7: .traceparent
        default: self.one(of: [.host, .uri, .requestID, .args, .remoteAddress, .status, .upstreamAddress, .scheme])
        }
    }

    private mutating func regex() -> RegexModel {
        RegexModel(
            pattern: self.one(of: ["^/a(.*)$", "\\.php$", "*x", "~", " b", "(?<id>[0-9]+)", "${x}", "a|b"]),
            ignoresCase: self.flag()
        )
    }

    private mutating func milliseconds() -> Int {
        self.one(of: [0, 1, 250, 1_000, 1_500, 60_000, 61_000, 3_600_000, 90_061_001])
    }

    private mutating func size() -> Int { self.one(of: [0, 1, 1_023, 1_024, 4_096, 10 << 20, 1 << 30, 1_025]) }

    private mutating func block() -> CIDR? {
        CIDR(self.one(of: ["10.0.0.0/8", "127.0.0.1", "0.0.0.0/0", "fd00::/8", "2001:db8::1", "10.1.2.3/9"]))
    }

    // MARK: - Parts

    mutating func model() -> GatewayModel {
        var model = GatewayModel()
        model.workers = self.maybe { $0.number(1...64) }
        model.maxConnections = self.number(1...100_000)
        model.errorFormat = self.one(of: [.html, .problem])
        model.resolver = self.maybe {
            ResolverModel(servers: $0.some(3) { $0.text() }, validMilliseconds: $0.maybe { $0.milliseconds() })
        }
        model.requestZones = self.zones.map { name in
            var zone = RequestZoneModel(name: name, key: self.template(), bytes: self.size(), rate: 0)
            zone.rate = self.one(of: [16, 3_333, 1_000, 10_000, 1, 999, 3_334, 33, 50])
            zone.shared = self.maybe { random in
                var shared = SharedCounter(url: random.text(), onFailure: random.one(of: [.local, .open, .closed]))
                shared.timeoutMilliseconds = random.milliseconds()
                return shared
            }
            return zone
        }
        model.connectionZones = self.connectionZones.map {
            ConnectionZoneModel(name: $0, key: self.template(), bytes: self.size())
        }
        model.maps = self.variables.map { name in
            MapModel(
                source: self.template(),
                variable: name,
                entries: self.some(3) { random in
                    let key: MapModel.Key =
                        switch random.number(0...2) {
                        case 0: .exact(random.text())
                        case 1: .wildcard("*.example.com")
                        default: .regex(random.regex())
                        }
                    return MapModel.Entry(key: key, value: random.template())
                },
                fallback: self.template(),
                matchesHosts: self.flag()
            )
        }
        model.logFormats = self.formats.map {
            LogFormatModel(name: $0, escape: self.one(of: [.standard, .json, .none]), line: self.template())
        }
        model.upstreams = self.upstreams.map { self.upstream($0) }
        model.servers = (0..<self.number(1...2)).map { _ in self.server() }
        return model
    }

    private mutating func upstream(_ name: String) -> UpstreamModel {
        let instances: UpstreamModel.Instances =
            switch self.number(0...3) {
            case 0: .service(self.name())
            case 1: .dns(name: "svc.internal", port: self.number(1...65_535))
            default: .fixed(self.some(3) { $0.peer() })
            }
        var upstream = UpstreamModel(name: name, instances: instances)
        let key = self.template()
        upstream.method = self.one(of: [
            .roundRobin, .leastConnections, .ipHash, .hash(key, isConsistent: self.flag()), .random(isTwo: self.flag()),
            .ewma,
        ])
        upstream.keepalive.connections = self.one(of: [0, 16, 32])
        if self.flag() { upstream.keepalive.requests = self.number(0...2_000) }
        if self.flag() { upstream.keepalive.time = self.milliseconds() }
        if self.flag() { upstream.keepalive.timeout = self.milliseconds() }
        upstream.outliers = self.maybe { random in
            var rules = OutlierRules()
            rules.consecutive5xx = random.number(0...9)
            rules.consecutiveGatewayFailures = random.number(0...9)
            rules.baseEjection = random.milliseconds()
            rules.maxEjection = random.milliseconds()
            rules.maxEjectedPercent = random.number(0...100)
            return rules
        }
        upstream.limits = self.maybe { random in
            var rules = CircuitRules()
            rules.maxConnections = random.number(0...9)
            rules.maxPending = random.number(0...9)
            rules.maxRequests = random.number(0...9)
            rules.maxRetries = random.number(0...9)
            return rules
        }
        upstream.healthCheck = self.maybe { random in
            let kind: HealthCheckRules.Kind =
                switch random.number(0...2) {
                case 0: .tcp
                case 1:
                    .http(
                        path: random.text(),
                        host: random.maybe { $0.text() },
                        statuses: 200...random.number(200...299)
                    )
                default: .grpc(service: random.text())
                }
            var rules = HealthCheckRules(kind: kind)
            rules.interval = random.milliseconds()
            rules.timeout = random.milliseconds()
            rules.healthyThreshold = random.number(1...9)
            rules.unhealthyThreshold = random.number(1...9)
            return rules
        }
        upstream.retryBudget = self.maybe { random in
            var rules = RetryBudgetRules()
            rules.percent = random.number(0...100)
            rules.minimum = random.number(0...9)
            return rules
        }
        return upstream
    }

    private mutating func peer() -> PeerModel {
        var peer = PeerModel(
            host: self.one(of: ["127.0.0.1", "::1", "user-service-1"]),
            port: self.number(1...65_535)
        )
        if self.flag() { return peer }
        if self.flag() { peer.name = self.text() }
        peer.weight = self.number(1...5)
        peer.maxConnections = self.number(0...9)
        peer.maxFails = self.number(0...3)
        peer.failTimeout = self.number(0...90)
        peer.slowStart = self.number(0...90)
        peer.isBackup = self.flag()
        peer.isDown = self.flag()
        return peer
    }

    private mutating func server() -> ServerModel {
        let listens = (0..<self.number(1...3)).map { _ in
            ListenModel(
                host: self.one(of: ["0.0.0.0", "127.0.0.1", "::"]),
                port: self.number(0...65_535),
                isDefault: self.flag(),
                isTLS: self.flag(),
                hasHTTP2: self.flag(),
                hasProxyProtocol: self.flag(),
                backlog: self.one(of: [511, 128])
            )
        }
        var server = ServerModel(listens: listens)
        server.names = self.some(3) { random in
            switch random.number(0...4) {
            case 0: .exact(random.one(of: ["example.com", ""]))
            case 1: .suffix(".example.com")
            case 2: .nameAndSuffix(".example.org")
            case 3: .prefix("www.example.")
            default: .regex(random.regex())
            }
        }
        server.tls = self.maybe { random in
            var tls = ServerTLS(certificate: random.text(), key: random.text())
            tls.versions = random.one(of: [[.v12], [.v13], [.v12, .v13]])
            tls.ciphers = random.maybe { $0.text() }
            tls.clientCertificate = random.one(of: [.off, .on, .optional, .optionalNoCA])
            tls.clientAuthorities = random.maybe { $0.text() }
            tls.handshakeTimeout = random.milliseconds()
            return tls
        }
        server.connection.clientHeaderTimeout = self.milliseconds()
        server.connection.clientHeaderBufferSize = self.size()
        server.connection.largeHeaderBuffers = self.number(1...9)
        server.connection.largeHeaderBufferSize = self.size()
        server.connection.mergesSlashes = self.flag()
        server.connection.allowsUnderscores = self.flag()
        server.connection.ignoresInvalidHeaders = self.flag()
        server.connection.maxConcurrentStreams = self.number(1...256)
        server.settings = self.settings()
        server.rewrites = self.some(2) { $0.step(depth: 0) }
        server.locations = self.some(3) { $0.location(depth: 0) }
        return server
    }

    private mutating func location(depth: Int) -> LocationModel {
        let match: LocationModel.Match =
            switch self.number(0...5) {
            case 0: .exact(self.text())
            case 1: .prefix(self.text(), isFinal: self.flag())
            case 2: .regex(self.regex())
            case 3: .named(self.text())
            default: .segments(self.text())
            }
        var location = LocationModel(match: match, name: self.maybe { $0.text() })
        location.conditions = self.some(2) { random in
            switch random.number(0...2) {
            case 0: .methods(random.some(2) { $0.one(of: ["GET", "POST"]) })
            case 1: .header(name: random.name(), value: random.maybe { $0.text() })
            default: .headerRegex(name: random.name(), regex: random.regex())
            }
        }
        location.isInternal = self.flag()
        location.rewrites = self.some(2) { $0.step(depth: 0) }
        // Some differ from what is around them, some do not.
        location.settings = self.settings()
        location.action = self.action()
        if depth < 2 { location.locations = self.some(2) { $0.location(depth: depth + 1) } }
        return location
    }

    private mutating func action() -> LocationModel.Action {
        switch self.number(0...6) {
        case 0: return .notFound
        case 1: return .stubStatus
        case 2: return .health
        case 3:
            let name = self.one(of: self.upstreams)
            return .proxy(ProxyTarget(scheme: .http, destination: .upstream(name), host: name))
        default:
            let destination: ProxyTarget.Destination =
                self.flag() ? .upstream(self.one(of: self.upstreams)) : .template(self.template())
            return .proxy(
                ProxyTarget(
                    scheme: self.one(of: [.http, .https, .grpc, .grpcs]),
                    destination: destination,
                    host: self.text(),
                    uri: self.maybe { $0.template() }
                )
            )
        }
    }

    private mutating func step(depth: Int) -> RewriteStep {
        switch self.number(0...(depth < 3 ? 4 : 3)) {
        case 0: return .set(variable: self.one(of: self.variables), value: self.template())
        case 1:
            return .rewrite(
                self.regex(),
                replacement: self.template(),
                flag: self.one(of: [.none, .last, .break, .redirect, .permanent])
            )
        case 2: return .respond(FixedResponse(status: self.number(200...599), text: self.maybe { $0.template() }))
        case 3: return .stop
        default:
            let condition: RewriteCondition =
                switch self.number(0...4) {
                case 0: .isTrue(self.template())
                case 1: .equals(self.template(), self.template())
                case 2: .differs(self.template(), self.template())
                case 3: .matches(self.template(), self.regex())
                default: .matchesNot(self.template(), self.regex())
                }
            return .when(condition, self.some(2) { $0.step(depth: depth + 1) })
        }
    }

    private mutating func settings() -> LocationSettings {
        var settings = LocationSettings()
        if self.flag() { self.fillAccess(&settings) }
        if self.flag() { self.fillLimits(&settings) }
        if self.flag() { self.fillAnswers(&settings) }
        if self.flag() { self.fillProxy(&settings.proxy) }
        return settings
    }

    private mutating func fillAccess(_ settings: inout LocationSettings) {
        settings.access = self.some(3) { random in
            AccessRule(isAllowed: random.flag(), block: random.flag() ? nil : random.block())
        }
        settings.satisfiesAny = self.flag()
        settings.basicAuth = self.maybe { BasicAuth(realm: $0.template(), userFile: $0.text()) }
        settings.apiKeys = self.maybe { APIKeys(field: $0.name(), keyFile: $0.text()) }
        settings.jwt = self.maybe { random in
            let keys: JWTRules.Keys =
                random.flag()
                ? .file(random.text()) : .url(random.text(), refreshMilliseconds: random.milliseconds())
            var rules = JWTRules(
                keys: keys,
                issuer: random.maybe { $0.text() },
                audiences: random.some(2) { $0.text() }
            )
            rules.leeway = random.milliseconds()
            if random.flag() { rules.forwardedClaims = ["sub": random.text(), "email": "X-Email"] }
            return rules
        }
        settings.cors = self.maybe { random in
            var rules = CORSRules(origins: random.some(2) { $0.text() })
            rules.methods = random.some(2) { $0.text() }
            rules.headers = random.some(2) { $0.text() }
            rules.exposedHeaders = random.some(2) { $0.text() }
            rules.allowsCredentials = random.flag()
            rules.maxAgeSeconds = random.maybe { $0.number(0...9_000) }
            return rules
        }
        settings.idempotency = self.maybe { random in
            var rules = IdempotencyRules()
            rules.isRequired = random.flag()
            rules.keepMilliseconds = random.milliseconds()
            rules.maxStoredBytes = random.size()
            return rules
        }
        settings.realIP = self.maybe { random in
            RealIP(
                trusted: random.some(2) { $0.block() }.compactMap { $0 },
                source: random.flag() ? .proxyProtocol : .field(random.text()),
                isRecursive: random.flag()
            )
        }
    }

    private mutating func fillLimits(_ settings: inout LocationSettings) {
        settings.requestLimits = self.some(2) { random in
            RequestLimitUse(
                zone: random.one(of: random.zones),
                burst: random.one(of: [0, 50]),
                delay: random.one(of: [.all, .none, .above(5)])
            )
        }
        settings.requestLimitStatus = self.one(of: [503, 429])
        settings.isRequestLimitDry = self.flag()
        settings.connectionLimits = self.some(2) {
            ConnectionLimitUse(zone: $0.one(of: $0.connectionZones), limit: $0.number(1...9))
        }
        settings.connectionLimitStatus = self.one(of: [503, 429])
        settings.isConnectionLimitDry = self.flag()
        settings.maxBodySize = Int64(self.size())
        settings.bodyBufferSize = self.size()
        settings.bodyTimeout = self.milliseconds()
        settings.sendTimeout = self.milliseconds()
        settings.keepaliveTimeout = self.milliseconds()
        settings.keepaliveRequests = self.number(0...9)
        settings.keepaliveTime = self.milliseconds()
    }

    private mutating func fillAnswers(_ settings: inout LocationSettings) {
        settings.addedFields = self.some(2) {
            AddedField(name: $0.name(), value: $0.template(), isAlways: $0.flag())
        }
        settings.defaultType = self.text()
        if self.flag() { settings.types = ["html": self.text(), "json": "application/json"] }
        settings.errorPages = self.some(2) { random in
            ErrorPage(
                statuses: random.some(2) { $0.number(300...599) },
                status: random.one(of: [.unchanged, .answered, .replaced(200)]),
                target: random.template()
            )
        }
        settings.isLogged = self.flag()
        settings.accessLogs = self.some(2) { random in
            AccessLogUse(
                path: random.text(),
                format: random.maybe { $0.one(of: $0.formats + ["combined"]) },
                condition: random.maybe { $0.template() }
            )
        }
        settings.compression = self.maybe { random in
            var compression = Compression()
            compression.types = random.some(3) { $0.text() }
            compression.minLength = random.size()
            compression.level = random.number(1...9)
            compression.minVersionIs11 = random.flag()
            compression.addsVary = random.flag()
            compression.compressesProxied = random.flag()
            return compression
        }
        settings.showsVersion = self.flag()
        settings.isAbsoluteRedirect = self.flag()
        settings.isPortInRedirect = self.flag()
        settings.isServerNameInRedirect = self.flag()
    }

    private mutating func fillProxy(_ proxy: inout ProxySettings) {
        proxy.version = self.one(of: [.http10, .http11, .http2])
        proxy.setFields = self.some(4) { SetField(name: $0.name(), value: $0.template()) }
        proxy.passesRequestFields = self.flag()
        proxy.passesRequestBody = self.flag()
        proxy.method = self.maybe { $0.template() }
        proxy.hiddenFields = self.some(2) { $0.text() }
        proxy.passedFields = self.some(2) { $0.text() }
        proxy.ignoredFields = self.some(2) { $0.text() }
        proxy.connectTimeout = self.milliseconds()
        proxy.sendTimeout = self.milliseconds()
        proxy.readTimeout = self.milliseconds()
        proxy.totalTimeout = self.milliseconds()
        proxy.headSize = self.size()
        proxy.isBuffering = self.flag()
        proxy.bufferedBytes = self.size()
        proxy.isRequestBuffering = self.flag()
        proxy.nextUpstream.reasons = Set(self.some(4) { $0.one(of: NextUpstream.Reason.allCases) })
        proxy.nextUpstream.tries = self.number(0...4)
        proxy.nextUpstream.timeout = self.milliseconds()
        let rules = self.some(2) { random -> Redirects.Rule in
            let pattern: Redirects.Rule.Pattern =
                switch random.number(0...2) {
                case 0: .standard
                case 1: .prefix(random.template())
                default: .regex(random.regex())
                }
            return Redirects.Rule(pattern: pattern, replacement: random.template())
        }
        proxy.redirects = self.one(of: [.off, .standard, .rules(rules)])
        proxy.cookieDomains = self.some(2) { $0.replacement() }
        proxy.cookiePaths = self.some(2) { $0.replacement() }
        proxy.interceptsErrors = self.flag()
        proxy.ignoresClientAbort = self.flag()
        proxy.carriesContext = self.flag()
        proxy.tls.verifies = self.flag()
        proxy.tls.name = self.maybe { $0.text() }
        proxy.tls.sendsServerName = self.flag()
        proxy.tls.authorities = self.maybe { $0.text() }
        proxy.tls.certificate = self.maybe { $0.text() }
        proxy.tls.key = self.maybe { $0.text() }
    }

    private mutating func replacement() -> Replacement {
        Replacement(
            pattern: self.flag() ? .text(self.text()) : .regex(self.regex()),
            replacement: self.template()
        )
    }
}
