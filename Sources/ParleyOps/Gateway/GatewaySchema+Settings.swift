internal import ParleyGateway
internal import Yams

extension GatewaySchema {
    /// What may stand at the gateway, a server or a route; an inner one begins from what the outer one says.
    static var settings: [GatewayField<LocationSettings>] {
        self.access + self.limits + self.bodies + self.answers + [.init("proxy", in: \.proxy, self.proxy)]
    }

    private static var access: [GatewayField<LocationSettings>] {
        [
            .init("access", \.access, .list(self.accessRule)),
            .init("satisfy", \.satisfiesAny, .either("any", "all")),
            .init(
                "basic_auth",
                \.basicAuth,
                .optional(
                    .section(
                        BasicAuth(realm: Template("Restricted"), userFile: ""),
                        [
                            .init("realm", \.realm, .template),
                            .init("user_file", \.userFile, .text, isRequired: true),
                        ]
                    )
                )
            ),
            .init(
                "api_keys",
                \.apiKeys,
                .optional(
                    .section(
                        APIKeys(field: "X-API-Key", keyFile: ""),
                        [
                            .init("header", \.field, .text),
                            .init("key_file", \.keyFile, .text, isRequired: true),
                        ]
                    )
                )
            ),
            .init("jwt", \.jwt, .optional(self.jwt)),
            .init("cors", \.cors, .optional(self.cors)),
            .init(
                "idempotency",
                \.idempotency,
                .optional(
                    .section(
                        IdempotencyRules(),
                        [
                            .init("required", \.isRequired, .flag),
                            .init("keep", \.keepMilliseconds, .duration),
                            .init("max_stored", \.maxStoredBytes, .size),
                        ]
                    )
                )
            ),
            .init("real_ip", \.realIP, .optional(self.realIP)),
        ]
    }

    private static var limits: [GatewayField<LocationSettings>] {
        [
            .init("request_limits", \.requestLimits, .list(self.requestLimit)),
            .init("request_limit_status", \.requestLimitStatus, .number(400...599)),
            .init("request_limit_dry_run", \.isRequestLimitDry, .flag),
            .init(
                "connection_limits",
                \.connectionLimits,
                .list(
                    .section(
                        ConnectionLimitUse(zone: "", limit: 0),
                        [
                            .init("zone", \.zone, .reference(.connectionZone), isRequired: true),
                            .init("limit", \.limit, .number(1...65_535), isRequired: true),
                        ]
                    )
                )
            ),
            .init("connection_limit_status", \.connectionLimitStatus, .number(400...599)),
            .init("connection_limit_dry_run", \.isConnectionLimitDry, .flag),
        ]
    }

    private static var bodies: [GatewayField<LocationSettings>] {
        [
            .init("max_body_size", \.maxBodySize, .size),
            .init("body_buffer_size", \.bodyBufferSize, .size),
            .init("body_timeout", \.bodyTimeout, .duration),
            .init("send_timeout", \.sendTimeout, .duration),
            .init("keepalive_timeout", \.keepaliveTimeout, .duration),
            .init("keepalive_requests", \.keepaliveRequests, .number()),
            .init("keepalive_time", \.keepaliveTime, .duration),
        ]
    }

    private static var answers: [GatewayField<LocationSettings>] {
        [
            .init("add_headers", \.addedFields, .list(self.addedField)),
            .init("default_type", \.defaultType, .text),
            .init("types", \.types, self.textTable),
            .init("error_pages", \.errorPages, .list(self.errorPage)),
            .init("log", \.isLogged, .flag),
            .init("access_logs", \.accessLogs, .list(self.accessLog)),
            .init(
                "compression",
                \.compression,
                .optional(
                    .section(
                        Compression(),
                        [
                            .init("types", \.types, .list(.text)),
                            .init("min_length", \.minLength, .size),
                            .init("level", \.level, .number(1...9)),
                            .init("only_http_1_1", \.minVersionIs11, .flag),
                            .init("vary", \.addsVary, .flag),
                            .init("proxied", \.compressesProxied, .flag),
                        ]
                    )
                )
            ),
            .init("show_version", \.showsVersion, .flag),
            .init("absolute_redirects", \.isAbsoluteRedirect, .flag),
            .init("port_in_redirects", \.isPortInRedirect, .flag),
            .init("server_name_in_redirects", \.isServerNameInRedirect, .flag),
        ]
    }

    // MARK: - Their values

    private static var accessRule: GatewayCodec<AccessRule> {
        .words("'allow' or 'deny' with an address, a block or 'all', like 'deny all'") { text in
            let words = text.split(separator: " ")
            guard words.count == 2, words[0] == "allow" || words[0] == "deny" else { return nil }
            if words[1] == "all" { return AccessRule(isAllowed: words[0] == "allow", block: nil) }
            return CIDR(String(words[1])).map { AccessRule(isAllowed: words[0] == "allow", block: $0) }
        } write: {
            "\($0.isAllowed ? "allow" : "deny") \($0.block?.description ?? "all")"
        }
    }

    private static var jwt: GatewayCodec<JWTRules> {
        struct Remote: Equatable {
            var url: String
            var refresh: Int
        }
        let remote = GatewayCodec<Remote>.section(
            Remote(url: "", refresh: 3_600_000),
            [
                .init("url", \.url, .text, isRequired: true),
                .init("refresh", \.refresh, .duration),
            ]
        )
        return .section(
            JWTRules(keys: .file("")),
            [
                .choice(
                    "key_file",
                    \.keys,
                    .text,
                    { .file($0) },
                    { keys in
                        if case .file(let path) = keys { return path }
                        return nil
                    }
                ),
                .choice(
                    "key_set",
                    \.keys,
                    remote,
                    { .url($0.url, refreshMilliseconds: $0.refresh) },
                    { keys in
                        if case .url(let url, let refresh) = keys { return Remote(url: url, refresh: refresh) }
                        return nil
                    }
                ),
                .init("issuer", \.issuer, .optional(.text)),
                .init("audiences", \.audiences, .list(.text)),
                .init("leeway", \.leeway, .duration),
                .init("forward_claims", \.forwardedClaims, self.textTable),
            ]
        )
    }

    private static var cors: GatewayCodec<CORSRules> {
        .section(
            CORSRules(origins: []),
            [
                .init("origins", \.origins, .list(.text), isRequired: true),
                .init("methods", \.methods, .list(.text)),
                .init("headers", \.headers, .list(.text)),
                .init("exposed_headers", \.exposedHeaders, .list(.text)),
                .init("credentials", \.allowsCredentials, .flag),
                .init("max_age", \.maxAgeSeconds, .optional(.seconds)),
            ]
        )
    }

    private static var realIP: GatewayCodec<RealIP> {
        .section(
            RealIP(trusted: [], source: .field("X-Forwarded-For")),
            [
                .init("trusted", \.trusted, .list(.block), isRequired: true),
                .init("header", \.source, self.realIPField),
                .init("proxy_protocol", \.source, self.realIPProxyProtocol),
                .init("recursive", \.isRecursive, .flag),
            ].map { (field: GatewayField<RealIP>) in
                var field = field
                // Only the key that fits the source is written.
                if field.key == "proxy_protocol" {
                    field.write = { root, _ in root.source == .proxyProtocol ? GatewayNode.text("true") : nil }
                } else if field.key == "header" {
                    let write = field.write
                    field.write = { root, base in root.source == .proxyProtocol ? nil : write(root, base) }
                }
                return field
            }
        )
    }

    private static var realIPField: GatewayCodec<RealIP.Source> {
        GatewayCodec<String>.text.map {
            .field($0)
        } _: { source in
            if case .field(let name) = source { return name }
            return ""
        }
    }

    private static var realIPProxyProtocol: GatewayCodec<RealIP.Source> {
        .words("true, or left away") {
            $0 == "true" ? .proxyProtocol : nil
        } write: { _ in
            "true"
        }
    }

    private static var requestLimit: GatewayCodec<RequestLimitUse> {
        let delay = GatewayCodec<RequestLimitUse.Delay>.words("all, none, or a number of requests") { text in
            switch text {
            case "all": return .all
            case "none": return RequestLimitUse.Delay.none
            default: return Int(text).flatMap { (0...1_000_000).contains($0) ? .above($0) : nil }
            }
        } write: { delay in
            switch delay {
            case .all: return "all"
            case .none: return "none"
            case .above(let number): return "\(number)"
            }
        }
        let zone = GatewayCodec<String>.reference(.requestZone)
        return GatewayCodec<RequestLimitUse>.section(
            RequestLimitUse(zone: ""),
            [
                .init("zone", \.zone, zone, isRequired: true),
                .init("burst", \.burst, .number()),
                .init("delay", \.delay, delay),
            ]
        ).orWord { node, name, reading in
            zone.read(node, name, reading).map { RequestLimitUse(zone: $0) }
        } _: { use in
            use == RequestLimitUse(zone: use.zone) ? zone.write(use.zone) : nil
        }
    }

    private static var addedField: GatewayCodec<AddedField> {
        .section(
            AddedField(name: "", value: Template("")),
            [
                .init("name", \.name, .text, isRequired: true),
                .init("value", \.value, .template, isRequired: true),
                .init("always", \.isAlways, .flag),
            ]
        )
    }

    private static var errorPage: GatewayCodec<ErrorPage> {
        let status = GatewayCodec<ErrorPage.Status>.words("unchanged, answered, or a status") { text in
            switch text {
            case "unchanged": return .unchanged
            case "answered": return .answered
            default: return Int(text).flatMap { (100...999).contains($0) ? .replaced($0) : nil }
            }
        } write: { status in
            switch status {
            case .unchanged: return "unchanged"
            case .answered: return "answered"
            case .replaced(let number): return "\(number)"
            }
        }
        return .section(
            ErrorPage(statuses: [], target: Template("")),
            [
                .init("statuses", \.statuses, .list(.number(300...599)), isRequired: true),
                .init("status", \.status, status),
                .init("target", \.target, .template, isRequired: true),
            ]
        )
    }

    private static var accessLog: GatewayCodec<AccessLogUse> {
        GatewayCodec<AccessLogUse>.section(
            AccessLogUse(path: ""),
            [
                .init("path", \.path, .text, isRequired: true),
                .init("format", \.format, .optional(.reference(.logFormat))),
                .init("if", \.condition, .optional(.template)),
            ]
        ).orWord { node, name, reading in
            reading.text(node, name).map { AccessLogUse(path: $0) }
        } _: { use in
            use == AccessLogUse(path: use.path) ? GatewayNode.text(use.path) : nil
        }
    }

    /// Texts by name; the order has no meaning.
    private static var textTable: GatewayCodec<[String: String]> {
        struct Entry: Sendable, Hashable {
            var name = ""
            var value: String
        }
        let value = GatewayCodec<String>.text.map {
            Entry(value: $0)
        } _: {
            $0.value
        }
        return GatewayCodec<[Entry]>.named(\.name, value).map { entries in
            Dictionary(entries.map { ($0.name, $0.value) }) { _, last in last }
        } _: { table in
            table.sorted { $0.key < $1.key }.map { Entry(name: $0.key, value: $0.value) }
        }
    }
}
