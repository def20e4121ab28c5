/// What is in force on a level of the configuration, and what has been written on it so far.
///
/// A level begins as a copy of the one around it. That is how everything is inherited: a value that is written replaces
/// the one that was copied, and the first directive of a list empties the copied list.
struct NginxScope: Sendable {
    var context: NginxContexts
    /// The directives and lists that this level has.
    var seen: Set<String> = []

    // Inherited.
    var settings = LocationSettings()
    var grpc = ProxySettings.grpcDefaults
    var connection = ConnectionSettings()
    var tls = TLS()
    var auth = Auth()
    var realIP = RealIPParts()
    var compresses = false
    var compression = Compression()
    var proxyBuffers = Buffers()

    // Of this level only.
    var rewrites: [RewriteStep] = []
    var action: LocationModel.Action?
    var isInternal = false
    var match: LocationModel.Match?
    var server = Server()
    var upstream: UpstreamParts?

    struct TLS: Sendable {
        var isOn = false
        var certificate: Certificate?
        var key: String?
        var versions: Set<ServerTLS.Version> = [.v12, .v13]
        var ciphers: String?
        var clientCertificate = ServerTLS.ClientCertificate.off
        var clientAuthorities: String?

        struct Certificate: Sendable {
            var path: String
            var place: NginxPlace
        }
    }

    struct Auth: Sendable {
        /// `nil` is off.
        var realm: Template?
        var userFile: String?
    }

    struct RealIPParts: Sendable {
        var trusted: [CIDR] = []
        var source = RealIP.Source.field("X-Real-IP")
        var isRecursive = false
    }

    /// `proxy_buffers`, for the check of nginx that they fit together.
    struct Buffers: Sendable {
        var count = 8
        var size = 4_096
        var busy: Int?
    }

    struct Server: Sendable {
        var listens: [Listen] = []
        var names: [ServerName] = []
        var http2: Bool?
    }

    struct Listen: Sendable {
        var model: ListenModel
        var place: NginxPlace
        /// Whether it sets options of the socket, which only one server may do.
        var hasOptions: Bool
    }

    struct UpstreamParts: Sendable {
        var name: String
        var peers: [PeerModel] = []
        var method: UpstreamModel.Method?
        var keepalive = UpstreamKeepalive()
        var allowsBackup = true
    }

    /// While levels are read, `setFields` has only what is written; ``finished()`` adds the defaults.
    init(context: NginxContexts) {
        self.context = context
        self.settings.proxy.setFields = []
        self.grpc.setFields = []
    }

    /// A level within this one.
    func inner(_ context: NginxContexts) -> NginxScope {
        var scope = self
        scope.context = context
        scope.seen = []
        scope.rewrites = []
        scope.action = nil
        scope.isInternal = false
        scope.match = nil
        scope.server = Server()
        scope.upstream = nil
        return scope
    }

    /// The settings with the parts that only together have a meaning. What goes to a gRPC service has its own rules.
    func finished() -> LocationSettings {
        var settings = self.settings
        var fields = SetField.defaults
        if case .proxy(let target)? = self.action {
            if target.scheme == .grpc || target.scheme == .grpcs {
                settings.proxy = self.grpc
                fields = SetField.grpcDefaults
            }
            if target.wasWrittenWithVariables, settings.proxy.redirects == .standard {
                settings.proxy.redirects = .off
            }
        }
        let written = Set(settings.proxy.setFields.map { $0.name.lowercased() })
        settings.proxy.setFields += fields.filter { !written.contains($0.name.lowercased()) }
        if let realm = self.auth.realm, let file = self.auth.userFile {
            settings.basicAuth = BasicAuth(realm: realm, userFile: file)
        }
        if !self.realIP.trusted.isEmpty {
            settings.realIP = RealIP(
                trusted: self.realIP.trusted,
                source: self.realIP.source,
                isRecursive: self.realIP.isRecursive
            )
        }
        settings.compression = self.compresses ? self.compression : nil
        return settings
    }
}

extension ProxySettings {
    /// What `grpc_pass` begins with.
    static let grpcDefaults: ProxySettings = {
        var settings = ProxySettings()
        settings.carryCalls()
        settings.hiddenFields = Self.grpcHidden
        settings.redirects = .off
        return settings
    }()

    static let proxyHidden = ProxySettings().hiddenFields
    static let grpcHidden = ["Date", "Server"] + Self.accelerated
}

extension ProxyTarget {
    /// Then nginx has no address of which it could make a default `proxy_redirect`.
    var wasWrittenWithVariables: Bool {
        if case .template = self.destination { return true }
        return self.uri.map { $0.constant == nil } ?? false
    }
}

extension SetField {
    static let grpcDefaults = [SetField(name: "Host", value: Template(parts: [.variable(.proxyHost)]))]
}
