internal import NIOCore
internal import ParleyCore

/// A location with everything prepared that a request needs there. Immutable; shared by all event loops.
final class CompiledLocation: Sendable {
    /// A field to be written: its name with its case, and what its value is made of.
    struct Field: Sendable {
        let name: [UInt8]
        let known: KnownField
        let value: Template

        init(_ name: String, _ value: Template) {
            let bytes = Array(name.utf8)
            self.name = bytes
            self.known = KnownField(bytes.span)
            self.value = value
        }
    }

    struct Log: Sendable {
        let number: Int
        let format: AccessLogFormat
        let condition: Template?
    }

    let model: LocationModel
    let nameBytes: [UInt8]
    let logs: [Log]
    /// Its place in metrics.
    let index: Int
    let rewrites: RewriteProgram
    let access: AccessList
    let requestLimiter: RequestLimiter
    /// Those of them that are counted together with other gateways.
    let sharedLimits: SharedLimits?
    let requestKeys: [Template]
    /// Their places in metrics.
    let requestZoneNumbers: [Int]
    let connectionLimiter: ConnectionLimiter
    let connectionKeys: [Template]
    let connectionZones: [ConnectionLimitUse]
    let connectionZoneNumbers: [Int]
    let authenticators: Authenticators
    let cors: CORSPolicy?
    let compression: CompressionPolicy?
    let idempotency: AnswerKeeper?
    let cookies: CookieRewriter?
    /// Sent to the upstream, in this order, before what came from the client.
    let setFields: [Field]
    /// Of the client, not passed on: set anew, or of the connection.
    let replacedFields: FieldNameSet
    /// Of the upstream, not passed on.
    let hiddenFields: FieldNameSet
    let addedFields: [(field: Field, isAlways: Bool)]
    let upstream: Upstream?
    let target: ProxyTarget?
    let upstreamURI: UpstreamURI?
    let redirects: RedirectRewriter?
    let timing: ClientTiming
    /// Whether the length of a body is told in the usual way; not when a rule sets it, or no body is passed on.
    let writesLength: Bool
    /// Neither an address nor credentials are asked for.
    let isOpen: Bool
    /// What `$proxy_host` is, unless variables name the upstream.
    let proxyHost: ByteBuffer

    var settings: LocationSettings { self.model.settings }
    var proxy: ProxySettings { self.model.settings.proxy }

    init(_ model: LocationModel, index: Int, parts: PlanParts) throws {
        var model = model
        if case .proxy(let target) = model.action, target.scheme.isGRPC { model.settings.proxy.carryCalls() }
        let settings = model.settings
        self.model = model
        self.nameBytes = Array(model.name.utf8)
        self.logs = parts.logs(settings)
        self.index = index
        self.rewrites = try RewriteProgram(model.rewrites)
        self.access = AccessList(settings.access)
        self.requestLimiter = try RequestLimiter(
            try settings.requestLimits.map { use in
                RequestLimiter.Limit(zone: try parts.requestZone(use.zone), burst: use.burst, delay: use.delay)
            },
            isDryRun: settings.isRequestLimitDry
        )
        self.sharedLimits = try SharedLimits(settings, parts: parts)
        self.requestKeys = settings.requestLimits.compactMap { parts.requestKeys[$0.zone] }
        self.requestZoneNumbers = settings.requestLimits.map { use in
            parts.model.requestZones.firstIndex { $0.name == use.zone } ?? .max
        }
        self.connectionLimiter = try ConnectionLimiter(
            try settings.connectionLimits.map { use in
                ConnectionLimiter.Limit(zone: try parts.connectionZone(use.zone), connections: use.limit)
            },
            isDryRun: settings.isConnectionLimitDry
        )
        self.connectionKeys = settings.connectionLimits.compactMap { parts.connectionKeys[$0.zone] }
        self.connectionZones = settings.connectionLimits
        self.connectionZoneNumbers = settings.connectionLimits.map { use in
            let number = parts.model.connectionZones.firstIndex { $0.name == use.zone }
            return number.map { parts.model.requestZones.count + $0 } ?? .max
        }
        self.cors = try settings.cors.map { try CORSPolicy($0) }
        self.compression = settings.compression.map { CompressionPolicy($0) }
        let cookies = try CookieRewriter(domains: settings.proxy.cookieDomains, paths: settings.proxy.cookiePaths)
        self.cookies = cookies.isEmpty ? nil : cookies
        self.authenticators = parts.authenticators(settings)
        let isGRPC: Bool
        if case .proxy(let target) = model.action {
            self.idempotency = settings.idempotency.map { parts.answerKeepers.keeper($0, settings) }
            self.target = target
            isGRPC = target.scheme.isGRPC
            self.upstreamURI = UpstreamURI(target, match: model.match)
            self.redirects = try RedirectRewriter(settings.proxy.redirects, target: target, match: model.match)
            if case .upstream(let name) = target.destination {
                self.upstream = try parts.upstream(name)
            } else {
                self.upstream = nil
            }
        } else {
            self.idempotency = nil
            self.target = nil
            self.upstreamURI = nil
            self.redirects = nil
            self.upstream = nil
            isGRPC = false
        }
        let set = Self.setFields(settings.proxy, isGRPC: isGRPC)
        self.setFields = set.fields
        // What a token says of a client, no client says of itself.
        var replaced = set.replaced
        for name in settings.jwt?.forwardedClaims.values.sorted() ?? [] { replaced.insert(name) }
        self.replacedFields = replaced
        var hidden = FieldNameSet(settings.proxy.hiddenFields)
        if settings.proxy.carriesContext { hidden.insert(.xRequestID) }
        for field: KnownField in [
            .connection, .keepAlive, .transferEncoding, .proxyConnection, .upgrade, .contentLength, .xParleyInstance,
        ] {
            hidden.insert(field)
        }
        for name in settings.proxy.passedFields { hidden.remove(name) }
        self.hiddenFields = hidden
        self.addedFields = settings.addedFields.map { (Field($0.name, $0.value), $0.isAlways) }
        self.timing = ClientTiming(
            body: settings.bodyTimeout,
            send: settings.sendTimeout,
            keepalive: settings.keepaliveTimeout,
            keepaliveRequests: settings.keepaliveRequests,
            keepaliveTime: settings.keepaliveTime,
            ignoresAbort: settings.proxy.ignoresClientAbort
        )
        self.isOpen = self.access.isEmpty && self.authenticators.isEmpty
        self.proxyHost = ByteBuffer(string: self.target?.host ?? "")
        self.writesLength =
            settings.proxy.passesRequestBody
            && !settings.proxy.setFields.contains { $0.name.lowercased() == "content-length" }
    }

    private static func setFields(
        _ proxy: ProxySettings,
        isGRPC: Bool
    ) -> (fields: [Field], replaced: FieldNameSet) {
        var names = Set<String>()
        var fields: [Field] = []
        for set in proxy.setFields {
            names.insert(set.name.lowercased())
            // Written once, with the rest of the context.
            if proxy.carriesContext, ContextFields.isWritten(set.name) { continue }
            if !set.value.isEmpty { fields.append(Field(set.name, set.value)) }
        }
        // HTTP/2 has no such field, and a connection that is kept says nothing.
        for set in SetField.defaults where !names.contains(set.name.lowercased()) {
            if isGRPC || proxy.version == .http2, set.name == "Connection" { continue }
            fields.append(Field(set.name, set.value))
        }
        var replaced = FieldNameSet(names)
        for field: KnownField in [
            .host, .connection, .contentLength, .transferEncoding, .keepAlive, .expect, .upgrade,
        ] {
            replaced.insert(field)
        }
        if proxy.carriesContext {
            for name in ContextFields.written { replaced.insert(name) }
        }
        // gRPC's servers ask for `te: trailers`; elsewhere it is the connection's.
        if !isGRPC, proxy.version != .http2 { replaced.insert(.te) }
        return (fields, replaced)
    }
}
