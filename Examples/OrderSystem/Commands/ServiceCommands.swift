internal import ArgumentParser
internal import Foundation
internal import Logging
internal import ParleyCore
internal import ServiceLifecycle

/// Everything in one process.
struct Up: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the whole system in this process.",
        discussion: """
            EXAMPLES
              order-system up
              order-system up --port 9080 --data /tmp/shop
              order-system up --ephemeral-ports --json     for scripts: free ports, printed as one line of JSON
              order-system up --without payment-service    to see what happens when a participant is down
              order-system up --saga choreography          nobody leads: the services react to each other's events
              order-system up --broker amqp://guest:guest@localhost/%2F    events over RabbitMQ
              order-system up --registry consul://localhost:8500    with a Consul, or `parley registry`
              order-system up --mirror redis://localhost:6379    then redis-cli HGETALL saga:order:<id>
            """
    )

    @OptionGroup var settings: Settings

    @Option(help: "The gateway's port.")
    var port = ServiceKind.gateway.defaultPort

    @Flag(help: "Take free ports for everything; the services find each other all the same.")
    var ephemeralPorts = false

    @Option(help: ArgumentHelp("Leave a service out; may be given several times.", valueName: "service"))
    var without: [ServiceKind] = []

    @Flag(help: "Without the registry (Consul's HTTP API on 8500, DNS on 8600).")
    var withoutRegistry = false

    @Flag(help: "Print the addresses as JSON.")
    var json = false

    func validate() throws {
        guard (0...65_535).contains(self.port) else { throw ValidationError("--port must be 0 to 65535") }
    }

    func run() async throws {
        let kinds = ServiceKind.allCases.filter { !self.without.contains($0) }
        try await Runner.run(
            settings: self.settings,
            kinds: kinds,
            isAlone: false,
            asJSON: self.json,
            registryPorts: try self.withoutRegistry || self.settings.chosenRegistry() != nil
                ? nil : self.ephemeralPorts ? (0, 0) : (8_500, 8_600)
        ) { kind in
            if self.ephemeralPorts { return Ports(http: 0, grpc: 0) }
            return Ports(
                http: kind == .gateway ? self.port : kind.defaultPort,
                grpc: kind.defaultGRPCPort ?? 0,
                tls: ServiceKind.defaultTLSPort
            )
        }
    }
}

/// What a service that runs alone is told.
struct SingleServiceOptions: ParsableArguments {
    @OptionGroup var settings: Settings

    @Option(help: "Port; 0 takes a free one. The default is the service's own.")
    var port: Int?

    @Option(help: "Port for gRPC, where the service has it; 0 takes a free one, as with --port 0. Or GRPC_PORT.")
    var grpcPort: Int?

    @Flag(help: "Print the address as JSON.")
    var json = false

    func validate() throws {
        guard (0...65_535).contains(self.port ?? 0) else { throw ValidationError("--port must be 0 to 65535") }
        _ = try self.grpcPort(of: .userService)
    }

    func grpcPort(of kind: ServiceKind) throws -> Int {
        let variable = ProcessInfo.processInfo.environment["GRPC_PORT"]
        let ownPort = self.port == 0 ? 0 : kind.defaultGRPCPort
        let port = self.grpcPort ?? variable.map { Int($0) ?? -1 } ?? ownPort ?? 0
        guard (0...65_535).contains(port) else {
            throw ValidationError("\(self.grpcPort == nil ? "GRPC_PORT" : "--grpc-port") must be 0 to 65535")
        }
        return port
    }
}

/// A service in a process of its own.
protocol SingleServiceCommand: AsyncParsableCommand {
    static var kind: ServiceKind { get }
    var options: SingleServiceOptions { get }
}

extension SingleServiceCommand {
    static func describe() -> CommandConfiguration {
        CommandConfiguration(
            commandName: self.kind.rawValue,
            abstract: "Run the \(self.kind.rawValue) alone, on port \(self.kind.defaultPort).",
            discussion: """
                It finds the others by the environment (USER_SERVICE=host:port and so on) or on their usual ports, and \
                stores in the data folder, or where DB_URL=sqlite:PATH says.
                """
        )
    }

    func run() async throws {
        let ports = Ports(
            http: self.options.port ?? Self.kind.defaultPort,
            grpc: try self.options.grpcPort(of: Self.kind),
            // As with the other ports: who asks for a free one gets free ones.
            tls: self.options.port == 0 ? 0 : ServiceKind.defaultTLSPort
        )
        try await Runner.run(
            settings: self.options.settings,
            kinds: [Self.kind],
            isAlone: true,
            asJSON: self.options.json
        ) { _ in ports }
    }
}

struct UserServiceCommand: SingleServiceCommand {
    static let kind = ServiceKind.userService
    static let configuration = Self.describe()
    @OptionGroup var options: SingleServiceOptions
}

struct ProductServiceCommand: SingleServiceCommand {
    static let kind = ServiceKind.productService
    static let configuration = Self.describe()
    @OptionGroup var options: SingleServiceOptions
}

struct OrderServiceCommand: SingleServiceCommand {
    static let kind = ServiceKind.orderService
    static let configuration = Self.describe()
    @OptionGroup var options: SingleServiceOptions
}

struct InventoryServiceCommand: SingleServiceCommand {
    static let kind = ServiceKind.inventoryService
    static let configuration = Self.describe()
    @OptionGroup var options: SingleServiceOptions
}

struct PaymentServiceCommand: SingleServiceCommand {
    static let kind = ServiceKind.paymentService
    static let configuration = Self.describe()
    @OptionGroup var options: SingleServiceOptions
}

struct NotificationServiceCommand: SingleServiceCommand {
    static let kind = ServiceKind.notificationService
    static let configuration = Self.describe()
    @OptionGroup var options: SingleServiceOptions
}

struct GatewayCommand: SingleServiceCommand {
    static let kind = ServiceKind.gateway
    static let configuration = Self.describe()
    @OptionGroup var options: SingleServiceOptions
}
