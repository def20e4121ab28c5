internal import ParleyCore
internal import ParleyHTTPServer

extension GatewayConfiguration {
    /// What the data plane runs.
    ///
    /// - Throws: ``ParleyHTTPServer/ServerError`` for a prefix that is no path or is given twice, or a service of gRPC
    ///   whose name is none.
    func model() throws -> GatewayModel {
        let routes = try RouteTable(self.routes, gateway: self.listener.name)
        var model = GatewayModel()
        model.name = self.listener.name.description
        model.workers = self.workers
        model.maxConnections = self.listener.maxConnections
        model.errorFormat = .problem
        model.upstreams = routes.services.map { self.upstream($0.description, of: $0) }
        var server = self.server(port: self.listener.port)
        if let tls = self.tls {
            server.tls = ServerTLS(certificate: tls.certificate, key: tls.key)
            server.listens.append(self.listen(port: tls.port, isTLS: true, hasHTTP2: true))
        }
        server.locations = self.healthLocations + routes.entries.map { self.location($0.path, $0.route) }
        model.servers = [server]
        if let rpc = self.rpc {
            model.upstreams += Set(rpc.services.values).sorted { $0.description < $1.description }.map {
                self.upstream("grpc/\($0)", of: $0)
            }
            model.servers.append(try self.rpcServer(rpc))
        }
        return model
    }

    private func listen(port: Int, isTLS: Bool = false, hasHTTP2: Bool = false) -> ListenModel {
        ListenModel(
            host: self.listener.host,
            port: port,
            isTLS: isTLS,
            hasHTTP2: hasHTTP2,
            backlog: self.listener.backlog
        )
    }

    private func server(port: Int, hasHTTP2: Bool = false) -> ServerModel {
        var server = ServerModel(listens: [self.listen(port: port, hasHTTP2: hasHTTP2)])
        server.connection.clientHeaderTimeout = self.listener.idleTimeout.wholeMilliseconds
        server.connection.lingerTimeout = self.listener.lingerTimeout.wholeMilliseconds
        server.connection.refusesMisleadingPaths = true
        server.settings = self.settings
        return server
    }

    private func upstream(_ name: String, of service: ServiceName) -> UpstreamModel {
        var upstream = UpstreamModel(name: name, instances: .service(service.description))
        upstream.keepalive.connections = 256
        // We close first, so that no request meets a connection that our servers are closing after their 60 seconds.
        upstream.keepalive.timeout = 30_000
        upstream.found.maxConnections = self.maxConnectionsPerEndpoint
        // The registry says who is well; what fails here is out for a moment only.
        upstream.found.failTimeout = 1
        return upstream
    }

    private var settings: LocationSettings {
        var settings = LocationSettings()
        settings.maxBodySize = Int64(self.maxBodyBytes)
        settings.bodyTimeout = self.listener.idleTimeout.wholeMilliseconds
        settings.sendTimeout = self.listener.idleTimeout.wholeMilliseconds
        settings.keepaliveTimeout = self.listener.idleTimeout.wholeMilliseconds
        settings.keepaliveRequests = .max
        settings.keepaliveTime = 86_400_000
        settings.showsVersion = false
        settings.proxy = self.proxy
        return settings
    }

    private var proxy: ProxySettings {
        var proxy = ProxySettings()
        proxy.version = .http11
        proxy.carriesContext = true
        proxy.setFields = [
            SetField(name: "Host", value: Self.variable(.requestField("host"))),
            SetField(name: "X-Forwarded-Host", value: Self.variable(.requestField("host"))),
            SetField(name: "X-Forwarded-Proto", value: Self.variable(.scheme)),
            SetField(name: "X-Forwarded-For", value: Self.variable(.proxyAddForwardedFor)),
            SetField(name: "X-Real-IP", value: Self.variable(.remoteAddress)),
        ]
        // For one connection only (RFC 9110, section 7.6.1).
        for name in ["Connection", "Proxy-Authorization", "Proxy-Connection", "Trailer"] {
            proxy.setFields.append(SetField(name: name, value: Template("")))
        }
        proxy.hiddenFields += ["Proxy-Authenticate"]
        proxy.connectTimeout = self.connectTimeout.wholeMilliseconds
        proxy.readTimeout = self.readTimeout.wholeMilliseconds
        proxy.sendTimeout = self.readTimeout.wholeMilliseconds
        proxy.headSize = 65_536
        proxy.isRequestBuffering = false
        proxy.redirects = .off
        proxy.nextUpstream.tries = max(1, self.maxAttempts)
        return proxy
    }

    private static func variable(_ variable: Variable) -> Template { Template(parts: [.variable(variable)]) }

    private func location(_ path: String, _ route: GatewayRoute) -> LocationModel {
        var location = LocationModel(match: .segments(path))
        location.settings = self.settings
        if let allowed = route.allowedClients {
            location.settings.access = allowed.map { AccessRule(isAllowed: true, block: $0) }
            location.settings.access.append(AccessRule(isAllowed: false, block: nil))
        }
        let name = route.service.description
        location.action = .proxy(ProxyTarget(scheme: .http, destination: .upstream(name), host: name))
        return location
    }

    /// The gateway's own, unless a route has the same path or everything.
    private var healthLocations: [LocationModel] {
        let prefixes = self.routes.compactMap { RequestPath($0.prefix)?.segments }
        return ["/health", "/health/live", "/health/ready"].compactMap { path in
            let segments = RequestPath(path)?.segments ?? []
            guard !prefixes.contains(where: { segments.starts(with: $0) }) else { return nil }
            var location = LocationModel(match: .exact(path))
            location.settings = self.settings
            location.settings.addedFields = [
                AddedField(name: "Cache-Control", value: Template("no-store"), isAlways: true)
            ]
            location.action = .health
            return location
        }
    }

    // MARK: - gRPC

    private func rpcServer(_ rpc: GatewayRPC) throws -> ServerModel {
        var server = self.server(port: rpc.port, hasHTTP2: true)
        server.locations = try rpc.services.sorted { $0.key < $1.key }.map { name, service in
            guard RequestPath("/\(name)")?.segments == [name] else {
                throw ServerError(
                    .invalidConfiguration,
                    "\(self.listener.name): \"\(name)\" is no name of a gRPC service; users.v1.UserService is one."
                )
            }
            var location = LocationModel(match: .segments("/\(name)"))
            location.settings = self.settings
            location.settings.proxy.version = .http2
            // A stream may be silent for long, and as large as it likes.
            location.settings.proxy.readTimeout = 86_400_000
            location.settings.bodyTimeout = 86_400_000
            location.settings.maxBodySize = 0
            let host = service.description
            location.action = .proxy(ProxyTarget(scheme: .grpc, destination: .upstream("grpc/\(host)"), host: host))
            return location
        }
        return server
    }
}

extension Duration {
    /// At least one, so that no limit is none.
    fileprivate var wholeMilliseconds: Int { Int(clamping: max(1, self.inMilliseconds)) }
}
