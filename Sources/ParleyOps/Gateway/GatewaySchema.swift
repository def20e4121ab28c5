internal import ParleyGateway
internal import Yams

/// The keys of the section `gateway`.
///
/// Defaults differ from nginx's where another is better today: see ``GatewayDefaults``.
enum GatewaySchema {
    /// What holds for the whole gateway.
    static var gateway: [GatewayField<GatewayModel>] {
        [
            .init("workers", \.workers, .optional(.number(1...1_024))),
            .init("max_connections", \.maxConnections, .number(1...10_000_000)),
            .init("error_format", \.errorFormat, .word([.html, .problem])),
            .init("resolver", \.resolver, .optional(self.resolver)),
            .init("zones", \.requestZones, .named(\.name, self.requestZone)),
            .init("connection_zones", \.connectionZones, .named(\.name, self.connectionZone)),
            .init("maps", \.maps, .list(self.map)),
            .init("log_formats", \.logFormats, .named(\.name, self.logFormat)),
            .init("upstreams", \.upstreams, .named(\.name, self.upstream)),
        ]
    }

    private static var resolver: GatewayCodec<ResolverModel> {
        .section(
            ResolverModel(servers: []),
            [
                .init("servers", \.servers, .list(.text), isRequired: true),
                .init("valid", \.validMilliseconds, .optional(.duration)),
            ]
        )
    }

    private static var requestZone: GatewayCodec<RequestZoneModel> {
        .section(
            RequestZoneModel(
                name: "",
                key: Template(parts: [.variable(.binaryRemoteAddress)]),
                bytes: 10 << 20,
                rate: 0
            ),
            [
                .init("key", \.key, .template),
                .init("size", \.bytes, .size),
                .init("rate", \.rate, .rate, isRequired: true),
                .init(
                    "shared",
                    \.shared,
                    .optional(
                        .section(
                            SharedCounter(url: "", onFailure: .local),
                            [
                                .init("url", \.url, .text, isRequired: true),
                                .init("on_failure", \.onFailure, .word([.local, .open, .closed])),
                                .init("timeout", \.timeoutMilliseconds, .duration),
                            ]
                        )
                    )
                ),
            ]
        )
    }

    private static var connectionZone: GatewayCodec<ConnectionZoneModel> {
        .section(
            ConnectionZoneModel(
                name: "",
                key: Template(parts: [.variable(.binaryRemoteAddress)]),
                bytes: 10 << 20
            ),
            [.init("key", \.key, .template), .init("size", \.bytes, .size)]
        )
    }

    private static var map: GatewayCodec<MapModel> {
        .section(
            MapModel(source: Template(""), variable: "", entries: [], fallback: Template("")),
            [
                .init("source", \.source, .template, isRequired: true),
                .init("variable", \.variable, .text, isRequired: true),
                .init("default", \.fallback, .template),
                .init("hosts", \.matchesHosts, .flag),
                .init("entries", \.entries, .list(self.mapEntry)),
            ]
        )
    }

    private static var mapEntry: GatewayCodec<MapModel.Entry> {
        .section(
            MapModel.Entry(key: .exact(""), value: Template("")),
            [
                .choice(
                    "exact",
                    \.key,
                    .text,
                    { .exact($0) },
                    { key in
                        if case .exact(let text) = key { return text }
                        return nil
                    }
                ),
                .choice(
                    "wildcard",
                    \.key,
                    .text,
                    { .wildcard($0) },
                    { key in
                        if case .wildcard(let text) = key { return text }
                        return nil
                    }
                ),
                .choice(
                    "regex",
                    \.key,
                    .regex,
                    { .regex($0) },
                    { key in
                        if case .regex(let regex) = key { return regex }
                        return nil
                    }
                ),
                .init("value", \.value, .template, isRequired: true),
            ]
        )
    }

    private static var logFormat: GatewayCodec<LogFormatModel> {
        GatewayCodec<LogFormatModel>.section(
            LogFormatModel(name: "", escape: .standard, line: Template("")),
            [
                .init("escape", \.escape, .word([.standard, .json, .none])),
                .init("line", \.line, .template, isRequired: true),
            ]
        ).orWord { node, name, reading in
            reading.template(node, name).map { LogFormatModel(name: "", escape: .standard, line: $0) }
        } _: { _ in
            nil
        }
    }
}

extension GatewayField {
    /// One of several keys that all stand for one part: whichever is there.
    static func choice<Value, Content>(
        _ key: String,
        _ path: WritableKeyPath<Root, Value>,
        _ codec: GatewayCodec<Content>,
        _ make: @escaping (Content) -> Value,
        _ content: @escaping (Value) -> Content?
    ) -> GatewayField {
        GatewayField(key) { node, name, root, reading in
            if let value = codec.read(node, name, reading) { root[keyPath: path] = make(value) }
        } write: { root, _ in
            content(root[keyPath: path]).map(codec.write)
        }
    }
}

/// What a file of YAML begins from. nginx's values are those of another time: HTTP/1.0 to the instances, no kept
/// connections, a fresh set of forwarded headers to write for each location.
enum GatewayDefaults {
    static var gateway: GatewayModel {
        var model = GatewayModel()
        model.errorFormat = .problem
        return model
    }

    static var settings: LocationSettings {
        var settings = LocationSettings()
        settings.showsVersion = false
        settings.proxy.version = .http11
        settings.proxy.carriesContext = true
        settings.proxy.setFields = [
            SetField(name: "Host", value: Template(parts: [.variable(.host)])),
            SetField(name: "Connection", value: Template("")),
            SetField(name: "X-Real-IP", value: Template(parts: [.variable(.remoteAddress)])),
            SetField(name: "X-Forwarded-For", value: Template(parts: [.variable(.proxyAddForwardedFor)])),
            SetField(name: "X-Forwarded-Proto", value: Template(parts: [.variable(.scheme)])),
            SetField(name: "X-Request-ID", value: Template(parts: [.variable(.requestID)])),
        ]
        return settings
    }

    static var keepalive: UpstreamKeepalive {
        var keepalive = UpstreamKeepalive()
        keepalive.connections = 32
        return keepalive
    }

    static func upstream(_ name: String, _ instances: UpstreamModel.Instances) -> UpstreamModel {
        var upstream = UpstreamModel(name: name, instances: instances)
        upstream.keepalive = Self.keepalive
        return upstream
    }
}
