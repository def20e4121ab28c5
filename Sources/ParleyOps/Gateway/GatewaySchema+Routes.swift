internal import ParleyGateway
internal import Yams

extension GatewaySchema {
    /// Deeper nesting of routes is a mistake.
    private static let maxDepth = 16

    /// Routes that begin from the settings around them.
    static func routes(in outer: LocationSettings, depth: Int) -> GatewayCodec<[LocationModel]> {
        .list(
            GatewayCodec { node, name, reading in
                guard depth < self.maxDepth else {
                    reading.problem(node, "'\(name)' is nested deeper than \(self.maxDepth)")
                    return nil
                }
                return self.route(in: outer, depth: depth).read(node, name, reading)
            } write: {
                self.route(in: outer, depth: depth).write($0)
            }
        )
    }

    /// A location with what only its text has: which keys were there.
    private struct Route: Equatable {
        var location: LocationModel
        var match: LocationModel.Match?
        var name: String?
        var action: LocationModel.Action?
        var methods: [String] = []
        var response: FixedResponse?
    }

    private static func route(in outer: LocationSettings, depth: Int) -> GatewayCodec<LocationModel> {
        var blank = LocationModel(match: .segments("/"))
        blank.settings = outer
        let fields: [GatewayField<Route>] =
            self.matches + [
                .init("name", \.name, .optional(.text)),
                .init("methods", \.methods, .list(.text)),
                .init("when", \.location.conditions, .list(self.routeCondition)),
                .init("internal", \.location.isInternal, .flag),
            ] + self.actions + self.settings.map { $0.lifted(\.location.settings) } + [
                .init("return", \.response, .optional(self.response)),
                .init("rewrites", \.location.rewrites, self.rewrites),
                GatewayField("routes") { node, name, route, reading in
                    let codec = self.routes(in: route.location.settings, depth: depth + 1)
                    if let routes = codec.read(node, name, reading) { route.location.locations = routes }
                } write: { route, _ in
                    let inner = route.location.locations
                    let codec = self.routes(in: route.location.settings, depth: depth + 1)
                    return inner.isEmpty ? nil : codec.write(inner)
                },
            ]
        let codec = GatewayCodec<Route>.section(Route(location: blank), fields)
        return GatewayCodec { node, name, reading in
            guard let route = codec.read(node, name, reading) else { return nil }
            guard let match = route.match else {
                reading.problem(node, "'\(name)' needs one of the keys: path, exact, prefix, regex, named")
                return nil
            }
            var location = route.location
            location.match = match
            location.name = route.name ?? match.text
            if !route.methods.isEmpty { location.conditions.insert(.methods(route.methods), at: 0) }
            if let response = route.response { location.rewrites.append(.respond(response)) }
            location.action = route.action ?? .notFound
            return location
        } write: { location in
            codec.write(
                Route(
                    location: location,
                    match: location.match,
                    name: location.name == location.match.text ? nil : location.name,
                    action: location.action == .notFound ? nil : location.action
                )
            )
        }
    }

    private static var matches: [GatewayField<Route>] {
        [
            self.match("path") {
                .segments($0)
            } _: { match in
                if case .segments(let path) = match { return path }
                return nil
            },
            self.match("exact") {
                .exact($0)
            } _: { match in
                if case .exact(let path) = match { return path }
                return nil
            },
            self.match("prefix") {
                .prefix($0, isFinal: false)
            } _: { match in
                if case .prefix(let path, false) = match { return path }
                return nil
            },
            self.match("final_prefix") {
                .prefix($0, isFinal: true)
            } _: { match in
                if case .prefix(let path, true) = match { return path }
                return nil
            },
            .choice(
                "regex",
                \.match,
                .regex,
                { .regex($0) },
                { match in
                    if case .regex(let regex) = match { return regex }
                    return nil
                }
            ),
            self.match("named") {
                .named($0)
            } _: { match in
                if case .named(let name) = match { return name }
                return nil
            },
        ]
    }

    private static func match(
        _ key: String,
        _ make: @escaping (String) -> LocationModel.Match,
        _ content: @escaping (LocationModel.Match?) -> String?
    ) -> GatewayField<Route> {
        .choice(key, \.match, .text, { make($0) }, content)
    }

    private static var routeCondition: GatewayCodec<RouteCondition> {
        struct Condition: Equatable {
            var methods: [String]?
            var header: String?
            var value: String?
            var regex: RegexModel?
        }
        let codec = GatewayCodec<Condition>.section(
            Condition(),
            [
                .init("methods", \.methods, .optional(.list(.text))),
                .init("header", \.header, .optional(.text)),
                .init("value", \.value, .optional(.text)),
                .init("regex", \.regex, .optional(.regex)),
            ]
        )
        return GatewayCodec { node, name, reading in
            guard let condition = codec.read(node, name, reading) else { return nil }
            if let methods = condition.methods { return .methods(methods) }
            guard let header = condition.header else {
                reading.problem(node, "'\(name)' needs the key 'methods' or 'header'")
                return nil
            }
            if let regex = condition.regex { return .headerRegex(name: header, regex: regex) }
            return .header(name: header, value: condition.value)
        } write: { condition in
            switch condition {
            case .methods(let methods): codec.write(Condition(methods: methods))
            case .header(let name, let value): codec.write(Condition(header: name, value: value))
            case .headerRegex(let name, let regex): codec.write(Condition(header: name, regex: regex))
            }
        }
    }

    // MARK: - Where requests go

    private static var actions: [GatewayField<Route>] {
        [
            // Short for what most routes do; the last two are written in the long form.
            .choice(
                "upstream",
                \.action,
                .reference(.upstream),
                { .proxy(ProxyTarget(scheme: .http, destination: .upstream($0), host: $0)) },
                { action in
                    guard case .proxy(let target) = action, case .upstream(let name) = target.destination,
                        target == ProxyTarget(scheme: .http, destination: .upstream(name), host: name)
                    else { return nil }
                    return name
                }
            ),
            GatewayField("service") { node, name, route, reading in
                guard let service = reading.text(node, name) else { return }
                reading.services.append(service)
                let target = ProxyTarget(scheme: .http, destination: .upstream(service), host: service)
                route.action = .proxy(target)
            } write: { _, _ in
                nil
            },
            GatewayField("address") { node, name, route, reading in
                guard let address = self.endpoint.read(node, name, reading) else { return }
                let peer = PeerModel(host: address.host, port: address.port, name: address.text)
                reading.addresses.append(peer)
                route.action = .proxy(
                    ProxyTarget(scheme: .http, destination: .upstream(peer.name), host: peer.name)
                )
            } write: { _, _ in
                nil
            },
            .choice(
                "pass",
                \.action,
                self.target,
                { .proxy($0) },
                { action in
                    guard case .proxy(let target) = action else { return nil }
                    if case .upstream(let name) = target.destination,
                        target == ProxyTarget(scheme: .http, destination: .upstream(name), host: name)
                    {
                        return nil
                    }
                    return target
                }
            ),
            self.action("stub_status", .stubStatus),
            self.action("health", .health),
        ]
    }

    private static func action(_ key: String, _ action: LocationModel.Action) -> GatewayField<Route> {
        .choice(
            key,
            \.action,
            .flag,
            { $0 ? action : nil },
            { $0 == action ? true : nil }
        )
    }

    private static var target: GatewayCodec<ProxyTarget> {
        struct Parts: Equatable {
            var scheme = ProxyTarget.Scheme.http
            var upstream: String?
            var service: String?
            var template: Template?
            var host: String?
            var uri: Template?
        }
        let codec = GatewayCodec<Parts>.section(
            Parts(),
            [
                .init("scheme", \.scheme, .word([.http, .https, .grpc, .grpcs])),
                .init("upstream", \.upstream, .optional(.reference(.upstream))),
                .init("service", \.service, .optional(.text)),
                .init("template", \.template, .optional(.template)),
                .init("host", \.host, .optional(.text)),
                .init("uri", \.uri, .optional(.template)),
            ]
        )
        return GatewayCodec { node, name, reading in
            guard let parts = codec.read(node, name, reading) else { return nil }
            var destination: ProxyTarget.Destination?
            if let service = parts.service {
                reading.services.append(service)
                destination = .upstream(service)
            } else if let upstream = parts.upstream {
                destination = .upstream(upstream)
            } else if let template = parts.template {
                destination = .template(template)
            }
            guard let destination else {
                reading.problem(node, "'\(name)' needs one of the keys: upstream, service, template")
                return nil
            }
            var target = ProxyTarget(scheme: parts.scheme, destination: destination, host: "", uri: parts.uri)
            switch destination {
            case .upstream(let name): target.host = parts.host ?? name
            case .template(let template): target.host = parts.host ?? TemplateText.write(template)
            }
            return target
        } write: { target in
            var parts = Parts(scheme: target.scheme, host: target.host, uri: target.uri)
            switch target.destination {
            case .upstream(let name):
                parts.upstream = name
                if target.host == name { parts.host = nil }
            case .template(let template):
                parts.template = template
                if target.host == TemplateText.write(template) { parts.host = nil }
            }
            return codec.write(parts)
        }
    }
}
