internal import Logging
internal import NIOCore
internal import NIOPosix
internal import ParleyCore

/// Makes plans of models: resolves names, opens logs, reads certificates, and takes over from the plan before what has
/// not changed: what balancers and limits have learnt outlives a reload.
final class PlanCompiler: Sendable {
    enum Purpose: Sendable {
        case running
        /// To say where requests go: no name is resolved, no file is read or written.
        case routing
    }

    private let time: any TimeSource
    private let random: any RandomSource
    private let logger: Logger
    private let log: AccessLogWriter
    private let accessLog: String?
    private let upstreamCertificates: UpstreamCertificates
    private let keySeed: LimitKeySeed
    private let authenticators: AuthenticatorStore
    private let answerKeepers: AnswerKeepers
    private let purpose: Purpose

    init(
        purpose: Purpose = .running,
        time: any TimeSource,
        random: any RandomSource,
        logger: Logger,
        log: AccessLogWriter,
        accessLog: String?,
        upstreamCertificates: UpstreamCertificates,
        questions: OwnQuestions
    ) {
        self.purpose = purpose
        self.time = time
        self.random = random
        self.logger = logger
        self.log = log
        self.accessLog = accessLog
        self.upstreamCertificates = upstreamCertificates
        self.keySeed = LimitKeySeed(first: random.next(), second: random.next())
        self.answerKeepers = AnswerKeepers(time: time)
        let document = KeyDocument(questions: questions)
        self.authenticators = AuthenticatorStore(time: time, random: random) { try await document.bytes(at: $0) }
    }

    /// Blocks nobody: names are resolved and files are read on threads of their own.
    ///
    /// - Throws: ``GatewayError`` with the place of what is wrong.
    func compile(_ model: GatewayModel, after old: GatewayPlan?) async throws -> GatewayPlan {
        try await NIOThreadPool.singleton.runIfActive { try self.compileBlocking(model, after: old) }
    }

    func compileBlocking(_ model: GatewayModel, after old: GatewayPlan?) throws -> GatewayPlan {
        var parts = PlanParts(
            model: model,
            purpose: self.purpose,
            keySeed: old?.keySeed ?? self.keySeed,
            authenticatorStore: self.authenticators,
            answerKeepers: self.answerKeepers,
            time: self.time
        )
        for (index, upstream) in model.upstreams.enumerated() {
            parts.upstreams[upstream.name] = try GatewayError.placed("upstream \"\(upstream.name)\"") {
                try self.upstream(upstream, index: index, after: old)
            }
        }
        for zone in model.requestZones {
            let kept = old?.model.requestZones.first { $0 == zone }.flatMap { old?.requestZones[$0.name] }
            parts.requestZones[zone.name] = try GatewayError.placed("limit_req_zone \"\(zone.name)\"") {
                try kept ?? RequestZone(name: zone.name, bytes: zone.bytes, rate: zone.rate)
            }
            parts.requestKeys[zone.name] = zone.key
            if let url = zone.shared?.url, parts.sharedServers[url] == nil {
                parts.sharedServers[url] =
                    try old?.sharedServers[url]
                    ?? SharedLimitServer(url: url, logger: self.logger, time: self.time, random: self.random)
            }
        }
        for zone in model.connectionZones {
            let kept = old?.model.connectionZones.first { $0 == zone }.flatMap { old?.connectionZones[$0.name] }
            parts.connectionZones[zone.name] = try GatewayError.placed("limit_conn_zone \"\(zone.name)\"") {
                try kept ?? ConnectionZone(name: zone.name, bytes: zone.bytes)
            }
            parts.connectionKeys[zone.name] = zone.key
        }
        for format in model.logFormats { parts.logFormats[format.name] = AccessLogFormat(format) }
        if self.purpose == .running { try self.openLogs(&parts) }
        let plan = try GatewayPlan(model, generation: (old?.generation ?? 0) + 1, parts: parts)
        if self.purpose == .running { try self.prepareUpstreamTLS(plan) }
        return plan
    }

    private func openLogs(_ parts: inout PlanParts) throws {
        parts.defaultLog = self.accessLog
        for path in Self.logPaths(parts.model) + [self.accessLog].compactMap({ $0 }) {
            do {
                parts.logNumbers[path] = try self.log.log(at: path)
            } catch {
                throw GatewayError(.unusableFile, "\(error)")
            }
        }
    }

    private func upstream(_ model: UpstreamModel, index: Int, after old: GatewayPlan?) throws -> Upstream {
        if let kept = old?.upstreams[model.name], kept.model == model, kept.index == index { return kept }
        switch model.instances {
        case .fixed(let peers) where self.purpose == .routing:
            return try Upstream(model, peers: peers, index: index)
        case .fixed(let peers):
            return try Upstream(model, peers: try peers.flatMap(Self.resolved), index: index)
        case .service, .dns:
            // What is known stays until there is news of it.
            let old = old?.upstreams[model.name].flatMap { $0.model.instances == model.instances ? $0 : nil }
            let known = old?.group.states(now: MonotonicTime.milliseconds).map(\.peer) ?? []
            return try Upstream(model, peers: old?.model.found == model.found ? known : [], index: index)
        }
    }

    /// One peer for each address of its host, as nginx has them.
    private static func resolved(_ peer: PeerModel) throws -> [PeerModel] {
        if IPAddress(peer.host) != nil { return [peer] }
        let addresses = try HostLookup.addresses(of: peer.host, port: peer.port)
        guard !addresses.isEmpty else {
            throw GatewayError(
                .unknownHost,
                "host not found in upstream \"\(peer.name)\": is the name right, and does DNS answer?"
            )
        }
        return addresses.map { address in
            var one = peer
            one.host = address
            one.name = address.contains(":") ? "[\(address)]:\(peer.port)" : "\(address):\(peer.port)"
            return one
        }
    }

    private static func logPaths(_ model: GatewayModel) -> Set<String> {
        var paths: Set<String> = []
        func add(_ settings: LocationSettings) {
            if settings.isLogged { paths.formUnion(settings.accessLogs.map(\.path)) }
        }
        func add(_ locations: [LocationModel]) {
            for location in locations {
                add(location.settings)
                add(location.locations)
            }
        }
        for server in model.servers {
            add(server.settings)
            add(server.locations)
        }
        return paths
    }

    private func prepareUpstreamTLS(_ plan: GatewayPlan) throws {
        for socket in plan.sockets {
            for location in socket.servers.flatMap(\.locations) {
                guard let scheme = location.target?.scheme, scheme == .https || scheme == .grpcs else { continue }
                let protocols = location.proxy.version == .http2 ? ["h2"] : []
                _ = try GatewayError.placed("location \"\(location.model.name)\"") {
                    try self.upstreamCertificates.prepare(location.proxy.tls, protocols: protocols)
                }
            }
        }
    }
}
