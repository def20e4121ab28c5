internal import ParleyGateway
internal import Yams

extension GatewaySchema {
    /// How requests go to an upstream, under the key `proxy`.
    static var proxy: [GatewayField<ProxySettings>] {
        [
            .init("version", \.version, .word([.http10, .http11, .http2])),
            .init("set_headers", \.setFields, self.setFields),
            .init("pass_request_headers", \.passesRequestFields, .flag),
            .init("pass_request_body", \.passesRequestBody, .flag),
            .init("method", \.method, .optional(.template)),
            .init("hide_headers", \.hiddenFields, .list(.text)),
            .init("pass_headers", \.passedFields, .list(.text)),
            .init("ignore_headers", \.ignoredFields, .list(.text)),
            .init("connect_timeout", \.connectTimeout, .duration),
            .init("send_timeout", \.sendTimeout, .duration),
            .init("read_timeout", \.readTimeout, .duration),
            .init("total_timeout", \.totalTimeout, .duration),
            .init("head_size", \.headSize, .size),
            .init("buffering", \.isBuffering, .flag),
            .init("buffer_size", \.bufferedBytes, .size),
            .init("request_buffering", \.isRequestBuffering, .flag),
            .init(
                "next_upstream",
                in: \.nextUpstream,
                [
                    .init("on", \.reasons, self.reasons),
                    .init("tries", \.tries, .number()),
                    .init("timeout", \.timeout, .duration),
                ]
            ),
            .init("redirects", \.redirects, self.redirects),
            .init("cookie_domains", \.cookieDomains, .list(self.replacement)),
            .init("cookie_paths", \.cookiePaths, .list(self.replacement)),
            .init("intercept_errors", \.interceptsErrors, .flag),
            .init("ignore_client_abort", \.ignoresClientAbort, .flag),
            .init("context", \.carriesContext, .flag),
            .init(
                "tls",
                in: \.tls,
                [
                    .init("verify", \.verifies, .flag),
                    .init("name", \.name, .optional(.text)),
                    .init("send_server_name", \.sendsServerName, .flag),
                    .init("ca", \.authorities, .optional(.text)),
                    .init("certificate", \.certificate, .optional(.text)),
                    .init("key", \.key, .optional(.text)),
                ]
            ),
        ]
    }

    /// A mapping, or a list where a name is there twice.
    private static var setFields: GatewayCodec<[SetField]> {
        let value = GatewayCodec<Template>.template.map {
            SetField(name: "", value: $0)
        } _: {
            $0.value
        }
        let table = GatewayCodec<[SetField]>.named(\.name, value)
        let list = GatewayCodec<[SetField]>.list(
            .section(
                SetField(name: "", value: Template("")),
                [
                    .init("name", \.name, .text, isRequired: true),
                    .init("value", \.value, .template, isRequired: true),
                ]
            )
        )
        return table.orWord(list.read) { fields in
            Set(fields.map(\.name)).count == fields.count ? nil : list.write(fields)
        }
    }

    private static var reasons: GatewayCodec<Set<NextUpstream.Reason>> {
        GatewayCodec<[NextUpstream.Reason]>.list(.word(NextUpstream.Reason.allCases)).map {
            Set($0)
        } _: { reasons in
            NextUpstream.Reason.allCases.filter { reasons.contains($0) }
        }
    }

    private static var redirects: GatewayCodec<Redirects> {
        let rule = GatewayCodec<Redirects.Rule>.section(
            Redirects.Rule(pattern: .standard, replacement: Template("")),
            [
                .choice(
                    "prefix",
                    \.pattern,
                    .template,
                    { .prefix($0) },
                    { pattern in
                        if case .prefix(let text) = pattern { return text }
                        return nil
                    }
                ),
                .choice(
                    "regex",
                    \.pattern,
                    .regex,
                    { .regex($0) },
                    { pattern in
                        if case .regex(let regex) = pattern { return regex }
                        return nil
                    }
                ),
                .init("to", \.replacement, .template),
            ]
        ).orWord { node, name, reading in
            guard let text = reading.text(node, name) else { return nil }
            if text == "standard" { return Redirects.Rule(pattern: .standard, replacement: Template("")) }
            reading.problem(node, "'\(name)' must be 'standard', or have the keys prefix or regex, and to")
            return nil
        } _: { rule in
            rule == Redirects.Rule(pattern: .standard, replacement: Template(""))
                ? GatewayNode.text("standard") : nil
        }
        let rules = GatewayCodec<[Redirects.Rule]>.list(rule)
        return GatewayCodec<Redirects> { node, name, reading in
            if GatewayNode.isNothing(node) { return .off }
            if case .scalar(let scalar) = node, scalar.string == "standard" { return .standard }
            return rules.read(node, name, reading).map { .rules($0) }
        } write: { redirects in
            switch redirects {
            case .off: GatewayNode.nothing
            case .standard: GatewayNode.text("standard")
            case .rules(let list): rules.write(list)
            }
        }
    }

    private static var replacement: GatewayCodec<Replacement> {
        .section(
            Replacement(pattern: .text(""), replacement: Template("")),
            [
                .choice(
                    "text",
                    \.pattern,
                    .text,
                    { .text($0) },
                    { pattern in
                        if case .text(let text) = pattern { return text }
                        return nil
                    }
                ),
                .choice(
                    "regex",
                    \.pattern,
                    .regex,
                    { .regex($0) },
                    { pattern in
                        if case .regex(let regex) = pattern { return regex }
                        return nil
                    }
                ),
                .init("to", \.replacement, .template, isRequired: true),
            ]
        )
    }
}
