internal import ParleyGateway
internal import Yams

extension GatewaySchema {
    /// A list of instances is short for a mapping with `servers`.
    static var upstream: GatewayCodec<UpstreamModel> {
        GatewayCodec<UpstreamModel>.section(
            GatewayDefaults.upstream("", .fixed([])),
            [
                .choice(
                    "servers",
                    \.instances,
                    .list(self.peer),
                    { .fixed($0) },
                    { instances in
                        if case .fixed(let peers) = instances { return peers }
                        return nil
                    }
                ),
                .choice(
                    "service",
                    \.instances,
                    .text,
                    { .service($0) },
                    { instances in
                        if case .service(let name) = instances { return name }
                        return nil
                    }
                ),
                .choice(
                    "dns",
                    \.instances,
                    self.endpoint,
                    { .dns(name: $0.host, port: $0.port) },
                    { instances in
                        if case .dns(let name, let port) = instances { return Endpoint(host: name, port: port) }
                        return nil
                    }
                ),
                .init("method", \.method, self.method),
                .init("keepalive", \.keepalive, self.keepalive),
                .init("outlier_detection", \.outliers, .optional(self.outliers)),
                .init("circuit_breaker", \.limits, .optional(self.circuit)),
                .init("health_check", \.healthCheck, .optional(self.healthCheck)),
                .init("retry_budget", \.retryBudget, .optional(self.retryBudget)),
            ]
        ).orWord { node, name, reading in
            GatewayCodec<[PeerModel]>.list(self.peer).read(node, name, reading)
                .map { GatewayDefaults.upstream("", .fixed($0)) }
        } _: { upstream in
            guard case .fixed(let peers) = upstream.instances,
                upstream == GatewayDefaults.upstream(upstream.name, upstream.instances)
            else { return nil }
            return GatewayCodec<[PeerModel]>.list(self.peer).write(peers)
        }
    }

    struct Endpoint: Sendable, Hashable {
        var host: String
        var port: Int

        /// `host:port`, and `[::1]:port`.
        init?(_ text: String) {
            guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
                (1...65_535).contains(port)
            else { return nil }
            var host = text[..<colon]
            if host.hasPrefix("["), host.hasSuffix("]") {
                host = host.dropFirst().dropLast()
            } else if host.contains(":") {
                return nil
            }
            guard !host.isEmpty, host.utf8.count <= 255 else { return nil }
            self.host = String(host)
            self.port = port
        }

        init(host: String, port: Int) {
            self.host = host
            self.port = port
        }

        var text: String { self.host.contains(":") ? "[\(self.host)]:\(self.port)" : "\(self.host):\(self.port)" }
    }

    static var endpoint: GatewayCodec<Endpoint> {
        .words("host:port, like 127.0.0.1:8001") {
            Endpoint($0)
        } write: {
            $0.text
        }
    }

    private struct Peer: Equatable {
        var address: Endpoint
        var name: String?
        var model: PeerModel
    }

    static var peer: GatewayCodec<PeerModel> {
        let word = GatewayCodec<PeerModel> { node, name, reading in
            Self.endpoint.read(node, name, reading).map { PeerModel(host: $0.host, port: $0.port) }
        } write: {
            Self.endpoint.write(Endpoint(host: $0.host, port: $0.port))
        }
        return GatewayCodec<Peer>.section(
            Peer(address: Endpoint(host: "", port: 0), model: PeerModel(host: "", port: 0)),
            [
                .init("address", \.address, self.endpoint, isRequired: true),
                .init("name", \.name, .optional(.text)),
                .init("weight", \.model.weight, .number(1...65_535)),
                .init("max_connections", \.model.maxConnections, .number()),
                .init("max_fails", \.model.maxFails, .number()),
                .init("fail_timeout", \.model.failTimeout, .seconds),
                .init("slow_start", \.model.slowStart, .seconds),
                .init("backup", \.model.isBackup, .flag),
                .init("down", \.model.isDown, .flag),
            ]
        ).map { peer in
            var model = peer.model
            model.host = peer.address.host
            model.port = peer.address.port
            model.name = peer.name ?? PeerModel(host: model.host, port: model.port).name
            return model
        } _: { model in
            let standard = PeerModel(host: model.host, port: model.port).name
            var plain = model
            plain.host = ""
            plain.port = 0
            plain.name = PeerModel(host: "", port: 0).name
            return Peer(
                address: Endpoint(host: model.host, port: model.port),
                name: model.name == standard ? nil : model.name,
                model: plain
            )
        }.orWord(word.read) { model in
            model == PeerModel(host: model.host, port: model.port) ? word.write(model) : nil
        }
    }

    private static var method: GatewayCodec<UpstreamModel.Method> {
        let words: [(String, UpstreamModel.Method)] = [
            ("round_robin", .roundRobin), ("least_conn", .leastConnections), ("ip_hash", .ipHash),
            ("random", .random(isTwo: false)), ("random_two", .random(isTwo: true)), ("ewma", .ewma),
        ]
        struct Hash: Equatable {
            var key: Template
            var isConsistent: Bool
        }
        return GatewayCodec<Hash>.section(
            Hash(key: Template(""), isConsistent: false),
            [
                .init("hash", \.key, .template, isRequired: true),
                .init("consistent", \.isConsistent, .flag),
            ]
        ).map {
            UpstreamModel.Method.hash($0.key, isConsistent: $0.isConsistent)
        } _: { method in
            if case .hash(let key, let isConsistent) = method { return Hash(key: key, isConsistent: isConsistent) }
            return Hash(key: Template(""), isConsistent: false)
        }.orWord { node, name, reading in
            guard let text = reading.text(node, name) else { return nil }
            if let word = words.first(where: { $0.0 == text }) { return word.1 }
            reading.problem(
                node,
                "'\(name)' is '\(text.prefix(80))'" + NearestWord.hint(text, among: words.map(\.0))
                    + "; it is one of: \(words.map(\.0).joined(separator: ", ")), or {hash: $key, consistent: true}"
            )
            return nil
        } _: { method in
            words.first { $0.1 == method }.map { GatewayNode.text($0.0) }
        }
    }

    private static var keepalive: GatewayCodec<UpstreamKeepalive> {
        GatewayCodec<UpstreamKeepalive>.section(
            GatewayDefaults.keepalive,
            [
                .init("connections", \.connections, .number()),
                .init("requests", \.requests, .number()),
                .init("time", \.time, .duration),
                .init("timeout", \.timeout, .duration),
            ]
        ).orWord { node, name, reading in
            var keepalive = GatewayDefaults.keepalive
            if GatewayNode.isNothing(node) {
                keepalive.connections = 0
            } else {
                guard let number = GatewayCodec<Int>.number().read(node, name, reading) else { return nil }
                keepalive.connections = number
            }
            return keepalive
        } _: { keepalive in
            var standard = GatewayDefaults.keepalive
            standard.connections = keepalive.connections
            return keepalive == standard ? GatewayNode.text("\(keepalive.connections)") : nil
        }
    }

    private static var outliers: GatewayCodec<OutlierRules> {
        .section(
            OutlierRules(),
            [
                .init("consecutive_5xx", \.consecutive5xx, .number()),
                .init("consecutive_gateway_failures", \.consecutiveGatewayFailures, .number()),
                .init("base_ejection", \.baseEjection, .duration),
                .init("max_ejection", \.maxEjection, .duration),
                .init("max_ejected_percent", \.maxEjectedPercent, .number(0...100)),
            ]
        )
    }

    private static var circuit: GatewayCodec<CircuitRules> {
        .section(
            CircuitRules(),
            [
                .init("max_connections", \.maxConnections, .number()),
                .init("max_pending", \.maxPending, .number()),
                .init("max_requests", \.maxRequests, .number()),
                .init("max_retries", \.maxRetries, .number()),
            ]
        )
    }

    private static var retryBudget: GatewayCodec<RetryBudgetRules> {
        .section(
            RetryBudgetRules(),
            [.init("percent", \.percent, .number(0...100)), .init("minimum", \.minimum, .number())]
        )
    }

    private struct HTTPCheck: Equatable {
        var path = "/"
        var host: String?
        var statuses = 200...399
    }

    private static var healthCheck: GatewayCodec<HealthCheckRules> {
        let http = GatewayCodec<HTTPCheck>.section(
            HTTPCheck(),
            [
                .init("path", \.path, .text, isRequired: true),
                .init("host", \.host, .optional(.text)),
                .init("statuses", \.statuses, self.statuses),
            ]
        )
        return .section(
            HealthCheckRules(kind: .tcp),
            [
                .choice(
                    "http",
                    \.kind,
                    http,
                    { .http(path: $0.path, host: $0.host, statuses: $0.statuses) },
                    { kind in
                        if case .http(let path, let host, let statuses) = kind {
                            return HTTPCheck(path: path, host: host, statuses: statuses)
                        }
                        return nil
                    }
                ),
                .choice(
                    "grpc",
                    \.kind,
                    .text,
                    { .grpc(service: $0) },
                    { kind in
                        if case .grpc(let service) = kind { return service }
                        return nil
                    }
                ),
                .init("interval", \.interval, .duration),
                .init("timeout", \.timeout, .duration),
                .init("healthy_threshold", \.healthyThreshold, .number(1...1_000)),
                .init("unhealthy_threshold", \.unhealthyThreshold, .number(1...1_000)),
            ]
        )
    }

    private static var statuses: GatewayCodec<ClosedRange<Int>> {
        .words("a status or a range of them, like 200-299") { text in
            let ends = text.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard let first = ends.first ?? nil, let last = ends.last ?? nil, ends.count <= 2, first <= last,
                first >= 100, last <= 599
            else { return nil }
            return first...last
        } write: {
            "\($0.lowerBound)-\($0.upperBound)"
        }
    }
}
