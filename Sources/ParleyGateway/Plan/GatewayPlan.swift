internal import NIOCore
internal import ParleyCore

/// A model, compiled: what the event loops look at for each request. Immutable, and taken or left as a whole: a request
/// that has begun under one plan ends under it.
final class GatewayPlan: Sendable {
    /// One address that is listened on, with the servers that share it. A class: each connection holds it.
    final class Socket: Sendable {
        let listen: ListenModel
        let servers: [CompiledServer]
        let table: ServerTable
        /// Asked when no name fits; its connection settings hold for every head that comes in here.
        let fallback: CompiledServer
        let certificates: ServerCertificates?

        /// Names it among those of its plan, and of the plans before and after. Stored, for each request compares it.
        let address: String

        init(
            listen: ListenModel,
            servers: [CompiledServer],
            table: ServerTable,
            fallback: CompiledServer,
            certificates: ServerCertificates?,
            address: String
        ) {
            self.listen = listen
            self.servers = servers
            self.table = table
            self.fallback = fallback
            self.certificates = certificates
            self.address = address
        }
    }

    let model: GatewayModel
    let generation: Int
    let sockets: [Socket]
    let upstreams: [String: Upstream]
    let maps: [String: MapTable]
    let metricsShape: MetricsShape
    let requestZones: [String: RequestZone]
    let connectionZones: [String: ConnectionZone]
    let keySeed: LimitKeySeed
    let sharedServers: [String: SharedLimitServer]
    /// The access logs that it names.
    let logs: Set<Int>

    init(_ model: GatewayModel, generation: Int, parts: PlanParts) throws {
        self.model = model
        self.generation = generation
        self.upstreams = parts.upstreams
        self.requestZones = parts.requestZones
        self.connectionZones = parts.connectionZones
        self.keySeed = parts.keySeed
        self.sharedServers = parts.sharedServers
        var maps: [String: MapTable] = [:]
        for map in model.maps {
            maps[map.variable] = try GatewayError.placed("map $\(map.variable)") { try MapTable(map) }
        }
        self.maps = maps
        var nextIndex = 0
        var servers: [CompiledServer] = []
        for server in model.servers {
            servers.append(try CompiledServer(server, nextIndex: &nextIndex, parts: parts))
        }
        var routes: [MetricsShape.Route] = []
        for server in servers {
            for location in server.locations + [server.outside] {
                let name = String(decoding: server.name, as: UTF8.self)
                routes.append(MetricsShape.Route(server: name, route: location.model.name))
            }
        }
        self.metricsShape = MetricsShape(
            routes: routes,
            upstreams: model.upstreams.map(\.name),
            zones: model.requestZones.map(\.name) + model.connectionZones.map(\.name)
        )
        self.logs = Set(parts.logNumbers.values)
        self.sockets = try Self.sockets(servers, parts)
    }

    /// One entry for each server; one without a certificate shows that of the socket's default, as in nginx.
    private static func certificates(
        _ servers: [ServerModel],
        _ listen: ListenModel,
        _ fallback: Int,
        _ time: any TimeSource
    ) throws -> ServerCertificates {
        let shared = servers[fallback].tls ?? servers.lazy.compactMap(\.tls).first
        guard let shared else {
            throw GatewayError(
                .invalidConfiguration,
                "no \"ssl_certificate\" is defined for the \"listen ... ssl\" on \(listen.host):\(listen.port)"
            )
        }
        return try ServerCertificates(
            entries: servers.map { ServerCertificates.Entry(tls: $0.tls ?? shared, hasHTTP2: listen.hasHTTP2) },
            time: time
        )
    }

    private static func sockets(_ servers: [CompiledServer], _ parts: PlanParts) throws -> [Socket] {
        var order: [String] = []
        var groups: [String: [(server: CompiledServer, listen: ListenModel)]] = [:]
        for server in servers {
            for listen in server.model.listens {
                // A free port is shared by those who speak the same.
                let speaks = (listen.isTLS ? "tls" : "plain") + (listen.hasHTTP2 ? "+h2" : "")
                let key = "\(listen.host):\(listen.port)" + (listen.port == 0 ? "/\(speaks)" : "")
                if groups[key] == nil { order.append(key) }
                groups[key, default: []].append((server, listen))
            }
        }
        return try order.map { key in
            let members = groups[key] ?? []
            let indexed: [(index: Int, names: [ServerName])] = members.enumerated().map {
                (index: $0.offset, names: $0.element.server.model.names)
            }
            let fallback = members.firstIndex { $0.listen.isDefault } ?? 0
            guard var listen = members.first?.listen else {
                throw GatewayError(.invalidConfiguration, "no server listens on \(key)")
            }
            // What one of them says about the socket holds for all, as in nginx.
            for member in members {
                listen.isTLS = listen.isTLS || member.listen.isTLS
                listen.hasHTTP2 = listen.hasHTTP2 || member.listen.hasHTTP2
                listen.hasProxyProtocol = listen.hasProxyProtocol || member.listen.hasProxyProtocol
            }
            return try GatewayError.placed("listen \(key)") { [listen] in
                let certificates =
                    listen.isTLS && parts.purpose != .routing
                    ? try Self.certificates(members.map(\.server.model), listen, fallback, parts.time) : nil
                return Socket(
                    listen: listen,
                    servers: members.map(\.server),
                    table: try ServerTable(indexed, fallback: fallback),
                    fallback: members[fallback].server,
                    certificates: certificates,
                    address: key
                )
            }
        }
    }
}

/// What the compiled parts of a plan share, and what is taken over from the plan before.
struct PlanParts: Sendable {
    let model: GatewayModel
    var purpose = PlanCompiler.Purpose.running
    var upstreams: [String: Upstream] = [:]
    var requestZones: [String: RequestZone] = [:]
    var requestKeys: [String: Template] = [:]
    /// By their addresses.
    var sharedServers: [String: SharedLimitServer] = [:]
    var connectionZones: [String: ConnectionZone] = [:]
    var connectionKeys: [String: Template] = [:]
    let keySeed: LimitKeySeed
    let authenticatorStore: AuthenticatorStore
    let answerKeepers: AnswerKeepers
    let time: any TimeSource
    /// Where each access log is written.
    var logNumbers: [String: Int] = [:]
    var logFormats: [String: AccessLogFormat] = [:]
    /// The log of locations that name none; `nil` is none.
    var defaultLog: String?

    func upstream(_ name: String) throws -> Upstream {
        guard let upstream = self.upstreams[name] else {
            throw GatewayError(.invalidConfiguration, "there is no upstream \"\(name)\"")
        }
        return upstream
    }

    func requestZone(_ name: String) throws -> RequestZone {
        guard let zone = self.requestZones[name] else {
            throw GatewayError(.invalidConfiguration, "there is no limit_req_zone \"\(name)\"")
        }
        return zone
    }

    func connectionZone(_ name: String) throws -> ConnectionZone {
        guard let zone = self.connectionZones[name] else {
            throw GatewayError(.invalidConfiguration, "there is no limit_conn_zone \"\(name)\"")
        }
        return zone
    }

    func logs(_ settings: LocationSettings) -> [CompiledLocation.Log] {
        guard settings.isLogged else { return [] }
        var uses = settings.accessLogs
        if uses.isEmpty, let defaultLog { uses = [AccessLogUse(path: defaultLog)] }
        return uses.compactMap { use in
            guard let number = self.logNumbers[use.path] else { return nil }
            let format = use.format.map { $0 == "combined" ? .combined : self.logFormats[$0] ?? .json } ?? .json
            return CompiledLocation.Log(number: number, format: format, condition: use.condition)
        }
    }

    func authenticators(_ settings: LocationSettings) -> Authenticators {
        self.authenticatorStore.authenticators(settings)
    }
}
