internal import GRPCCore
internal import Logging
internal import ParleyConsul
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyGRPC
internal import ParleyGateway
internal import ParleyHTTPServer
internal import ParleyRegistry
internal import ParleySQLite
internal import ServiceLifecycle

/// Puts services together: the composition root, where the backends are chosen and everything is handed what it needs.
struct Assembly {
    let settings: Settings
    /// Who is told where the services are.
    private var registrar: any ServiceRegistrar
    /// Where the services answer HTTP.
    private(set) var resolver: any ServiceResolver
    private let addresses: StaticResolver
    private let rpcAddresses: StaticResolver
    /// Where they answer gRPC.
    private(set) var rpcResolver: any ServiceResolver
    let announcements: Announcements
    /// A service that runs alone takes `DB_URL` from the environment.
    let isAlone: Bool
    /// In the order of starting; they stop the other way round, so that the gateway goes first and the databases last.
    private(set) var services: [any Service] = []
    private var bus: Bus?

    init(settings: Settings, kinds: [ServiceKind], isAlone: Bool, announcements: Announcements) throws {
        self.settings = settings
        self.isAlone = isAlone
        self.announcements = announcements
        let elsewhere = Set(ServiceKind.allCases).subtracting(kinds)
        self.addresses = try settings.addresses(of: elsewhere) { $0.defaultPort }
        // A gateway is told where the services answer HTTP.
        let isGateway = kinds == [.gateway]
        self.rpcAddresses = try settings.addresses(of: elsewhere, hasPort: !isGateway) { $0.defaultGRPCPort }
        let registry = InProcessRegistry()
        self.registrar = registry
        self.resolver = FallbackResolver([registry, self.addresses])
        self.rpcResolver = FallbackResolver([registry, self.rpcAddresses])
        if let consul = try settings.chosenRegistry() { try self.use(consul) }
    }

    /// A registry elsewhere. Whom it does not know is looked for where the environment says.
    private mutating func use(_ configuration: ConsulConfiguration) throws {
        let logger = self.settings.logger("consul")
        let client = try ConsulClient(configuration)
        let resolver = ConsulResolver(client: client, logger: logger)
        let registrar = ConsulRegistrar(client: client, logger: logger)
        self.services += [resolver, registrar]
        self.registrar = registrar
        self.resolver = FallbackResolver([resolver, self.addresses])
        self.rpcResolver = FallbackResolver([resolver, self.rpcAddresses])
    }

    /// - Parameter ports: 0 for a free one.
    mutating func add(_ kind: ServiceKind, ports: Ports) async throws {
        let port = ports.http
        switch kind {
        case .userService: try await self.addUsers(ports: ports)
        case .productService: try await self.addProducts(port: port)
        case .inventoryService: try await self.addInventory(port: port)
        case .paymentService: try await self.addPayments(port: port)
        case .orderService: try await self.addOrders(ports: ports)
        case .notificationService: try await self.addNotifications(port: port)
        case .gateway: try self.addGateway(ports: ports)
        }
    }

    /// A registry in this process, which the services register with and are found by.
    ///
    /// It is kept in memory: all that it knows is in this process, or registers again by itself.
    mutating func addRegistry(httpPort: Int, dnsPort: Int) async throws {
        let logger = self.settings.logger("registry")
        let registry = try await Registry(
            RegistryConfiguration(host: self.settings.host, port: httpPort),
            onListening: { [announcements] in announcements.registryListening(at: $0) },
            logger: logger
        )
        var names = DNSServer.Configuration(nodeName: registry.configuration.nodeName)
        names.host = self.settings.host
        names.port = dnsPort
        let dns = try DNSServer(configuration: names, source: registry.names, logger: logger)
        self.services += [registry, dns, DNSAnnouncement(dns: dns, announcements: self.announcements)]
        self.registrar = registry.registrar(healthPath: "/health/ready")
        self.resolver = FallbackResolver([registry.resolver, self.addresses])
        self.rpcResolver = FallbackResolver([registry.resolver, self.rpcAddresses])
    }

    mutating func append(_ service: any Service) { self.services.append(service) }

    func logger(_ kind: ServiceKind) -> Logger { self.settings.logger(kind.rawValue) }

    /// Opens a service's own database.
    mutating func openDatabase(of kind: ServiceKind) async throws -> SQLiteBackend {
        let path = try self.settings.databasePath(of: kind.rawValue, isAlone: self.isAlone)
        let backend = try await SQLiteBackend(path: path, logger: self.logger(kind))
        self.services.append(backend)
        return backend
    }

    /// The bus that all services share.
    mutating func openBus() async throws -> Bus {
        if let bus { return bus }
        let bus = try await Bus.open(self.settings)
        self.services.append(bus.service)
        self.bus = bus
        return bus
    }

    /// The same instance over gRPC; its port is registered with the HTTP service that is added next.
    mutating func addGRPC(
        _ kind: ServiceKind,
        port: Int,
        services: [any RegistrableRPCService]
    ) throws -> GRPCService {
        var configuration = GRPCService.Configuration(name: kind.name, host: self.settings.host, port: port)
        // Ctrl-C means within five seconds, and the end by force comes as much later.
        configuration.drainTimeout = .seconds(2)
        let service = try GRPCService(
            configuration: configuration,
            services: services,
            descriptors: [OrderSystemDescriptors.base64],
            onListening: { [announcements] in announcements.listeningForGRPC(kind, at: $0) },
            logger: self.logger(kind)
        )
        self.services.append(service)
        return service
    }

    mutating func addHTTP(
        _ kind: ServiceKind,
        port: Int,
        router: ParleyRouter,
        health: HealthRegister? = nil,
        grpc: GRPCService? = nil
    ) {
        var configuration = HTTPService.Configuration(name: kind.name, host: self.settings.host, port: port)
        configuration.maxBodyBytes = 65_536
        self.services.append(
            HTTPService(
                configuration: configuration,
                router: router,
                health: health,
                registrar: self.registrar,
                metadata: { id in
                    guard let grpc else { return [:] }
                    grpc.identify(as: id)
                    return [ServiceInstance.grpcPort: "\(try await grpc.endpoint().port)"]
                },
                onListening: { [announcements] in announcements.listening(kind, at: $0) },
                logger: self.logger(kind)
            )
        )
    }

    private mutating func addGateway(ports: Ports) throws {
        func route(_ prefix: String, _ kind: ServiceKind, _ allowed: [CIDR]? = nil) -> GatewayRoute {
            GatewayRoute(prefix: prefix, service: kind.name, allowedClients: allowed)
        }
        let inside = ["10.0.0.0/8", "127.0.0.0/8", "::1/128"].compactMap { CIDR($0) }
        var configuration = GatewayConfiguration(
            host: self.settings.host,
            port: ports.http,
            routes: [
                route("/api/v1/users", .userService), route("/api/v1/products", .productService),
                route("/api/v1/orders", .orderService), route("/api/v1/inventory", .inventoryService),
                route("/api/v1/payments", .paymentService), route("/api/internal", .notificationService, inside),
            ]
        )
        let certificate = try DevelopmentCertificate(folder: self.settings.data, hosts: [self.settings.host])
        configuration.tls = GatewayTLS(port: ports.tls, certificate: certificate.path, key: certificate.keyPath)
        configuration.rpc = GatewayRPC(
            port: ports.grpc,
            services: [
                "users.v1.UserService": ServiceKind.userService.name,
                "orders.v1.OrderService": ServiceKind.orderService.name,
            ]
        )
        let gateway = try Gateway(
            configuration: configuration,
            resolver: self.resolver,
            rpcResolver: self.rpcResolver,
            logger: self.logger(.gateway)
        )
        self.services += [gateway, GatewayAnnouncement(gateway: gateway, announcements: self.announcements)]
    }
}

/// Where a service listens; 0 for a free port.
struct Ports {
    var http: Int
    var grpc: Int
    /// Of the gateway.
    var tls = 0
}

/// Says where the gateway listens, once it does.
private struct GatewayAnnouncement: Service {
    let gateway: Gateway
    let announcements: Announcements

    func run() async throws {
        // Who cannot listen says so itself.
        if let http = try? await self.gateway.endpoint(), let tls = try? await self.gateway.secureEndpoint(),
            let rpc = try? await self.gateway.rpcEndpoint()
        {
            self.announcements.gatewayListening(at: http, tls: tls, rpc: rpc)
        }
        try? await gracefulShutdown()
    }
}

/// Says where DNS is answered, once it is.
private struct DNSAnnouncement: Service {
    let dns: DNSServer
    let announcements: Announcements

    func run() async throws {
        if let endpoint = try? await self.dns.endpoint() { self.announcements.dnsListening(at: endpoint) }
        try? await gracefulShutdown()
    }
}
